//! Many sites in one link (uprobe_multi, kernel 6.6), which aya 0.14 can't make.
//!
//! In: the kernel object and the maps that aya made of it. Out: programs for such links, and links.
//! All sites of a link are attached in one call and taken off in one: the kernel waits once for
//! programs under way (about 0.1 s), where perf events wait once each.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    ffi::{CStr, CString},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{Object, generated::bpf_insn};

use super::{
    Error, Program,
    syscall::{AttachType, MultiSites, ProgramKind, Refused, link_multi, load},
};

/// The uprobe programs of the kernel object, loaded for such links when first used.
pub struct Multi {
    object: Object,
    /// One of its own, as the kernel has each such map be of programs of one kind.
    _nowhere: Option<MapData>,
    loaded: HashMap<Program, OwnedFd>,
}

impl Multi {
    /// Prepares the object's programs for the maps that aya made. All maps must still be there.
    pub fn new(ebpf: &Ebpf) -> Result<Self, Error> {
        let mut object = Object::parse(super::object())?;
        let text = object.functions.keys().map(|(section, _)| *section).collect::<HashSet<_>>();
        let maps = std::mem::take(&mut object.maps);
        let name = "NOWHERE";
        let make = |map: &aya_obj::Map| MapData::create(map.clone(), name, None);
        let nowhere = maps.get(name).map(make).transpose();
        let nowhere = nowhere.map_err(|source| Error::Map { map: name, source })?;
        let own = nowhere.iter().map(|data| (name, data));
        let made = ebpf.maps().filter_map(|(name, map)| Some((name, data(map)?))).chain(own);
        let made = made.filter_map(|(name, data)| {
            Some((name, data.fd().as_fd().as_raw_fd(), maps.get(name)?))
        });
        object.relocate_maps(made, &text)?;
        object.relocate_calls(&text)?;
        // The kernel needs no debug information to run them.
        (object.btf, object.btf_ext) = (None, None);
        Ok(Self { object, _nowhere: nowhere, loaded: HashMap::new() })
    }

    /// Attaches a program to sites of the file at `path`, as long as the link is kept.
    pub fn attach(
        &mut self,
        program: Program,
        path: &CStr,
        sites: &MultiSites<'_>,
    ) -> Result<OwnedFd, Refused> {
        match self.loaded.entry(program) {
            Entry::Occupied(loaded) => link_multi(loaded.get(), path, sites),
            Entry::Vacant(place) => {
                let loaded = load_program(&self.object, program)?;
                link_multi(place.insert(loaded), path, sites)
            }
        }
    }

    /// One more descriptor of a program.
    pub fn copy(&mut self, program: Program) -> Option<OwnedFd> {
        self.prepare(program).ok()?;
        self.loaded.get(&program)?.try_clone().ok()
    }

    /// Loads a program, if that was not done yet.
    pub fn prepare(&mut self, program: Program) -> Result<(), Refused> {
        if let Entry::Vacant(place) = self.loaded.entry(program) {
            place.insert(load_program(&self.object, program)?);
        }
        Ok(())
    }
}

fn load_program(object: &Object, program: Program) -> Result<OwnedFd, Refused> {
    let name = program.name();
    let function = object.programs.get(name);
    let function = function.and_then(|p| object.functions.get(&p.function_key()));
    let code: Vec<u64> =
        function.map(|f| f.instructions.iter().map(raw).collect()).unwrap_or_default();
    let name = CString::new(name).unwrap_or_default();
    load(ProgramKind::Kprobe, AttachType::UprobeMulti, &name, &code)
}

/// An instruction as the kernel reads it (`struct bpf_insn`, little-endian).
fn raw(instruction: &bpf_insn) -> u64 {
    u64::from(instruction.code)
        | u64::from(instruction.dst_reg()) << 8
        | u64::from(instruction.src_reg()) << 12
        | u64::from(instruction.off as u16) << 16
        | u64::from(instruction.imm as u32) << 32
}

/// A map's descriptor, for the kinds that heaptap has.
pub(super) fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}
