//! What a running heaptap holds in the kernel and of it: descriptors, links, entries of its tables.
//!
//! In: its process id. Out: counts, from /proc and through the kernel's numbers of its maps. The names
//! of the maps are those of `tracer-ebpf/src/maps.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapInfo, MapType};
use aya::programs::{ProgramInfo, loaded_programs};
use nix::libc;
use tracer_common::{ProcEntry, record::PROC_LIVE};

/// At one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub descriptors: usize,
    pub links: usize,
    /// Entries of each of its tables, by name.
    pub entries: BTreeMap<String, usize>,
}

impl Holding {
    pub fn of(pid: u32) -> Result<Holding> {
        let facts = descriptors(pid)?;
        let links = facts.iter().filter(|text| text.contains("link_type:")).count();
        let mut tables = BTreeMap::new();
        for id in facts.iter().filter_map(|text| map_id(text)) {
            let info = MapInfo::from_id(id)?;
            if matches!(info.map_type()?, MapType::Hash | MapType::LruHash) {
                let name = info.name_as_str().unwrap_or_default().to_owned();
                *tables.entry(name).or_default() += entries(&info)?;
            }
        }
        Ok(Holding { descriptors: facts.len(), links, entries: tables })
    }

    /// Entries of the table of processes.
    pub fn processes(&self) -> usize {
        self.entries.get("PROCESSES").copied().unwrap_or_default()
    }

    /// Entries of the table of stacks.
    pub fn stacks(&self) -> usize {
        self.entries.get("STACKS").copied().unwrap_or_default()
    }
}

/// How many keys a table has now.
fn entries(info: &MapInfo) -> Result<usize> {
    /// What bpf(2) takes to tell the key after another one.
    #[repr(C)]
    struct Next {
        map: u32,
        key: u64,
        next: u64,
    }
    const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
    let map = info.fd()?;
    let mut keys = [vec![0_u8; info.key_size() as usize], vec![0_u8; info.key_size() as usize]];
    let mut count = 0;
    loop {
        let [key, next] = &mut keys;
        let asked = Next {
            map: map.as_fd().as_raw_fd() as u32,
            key: if count == 0 { 0 } else { key.as_ptr() as u64 },
            next: next.as_mut_ptr() as u64,
        };
        // SAFETY: both keys have the length that the map's keys have, and the kernel keeps neither.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_GET_NEXT_KEY, &raw const asked, size_of::<Next>())
        };
        // None is left, or the table changes faster than it is walked.
        if done != 0 || count > info.max_entries() as usize {
            return Ok(count);
        }
        count += 1;
        keys.swap(0, 1);
    }
}

/// A heaptap's table of processes, to be asked often.
pub struct Processes(HashMap<MapData, u32, ProcEntry>);

impl Processes {
    pub fn of(heaptap: u32) -> Result<Processes> {
        Ok(Processes(table(&descriptors(heaptap)?, "PROCESSES")?))
    }

    /// Whether it counts a process now.
    pub fn is_counted(&self, pid: u32) -> bool {
        self.0.get(&pid, 0).is_ok_and(|entry| entry.state == PROC_LIVE)
    }
}

/// Whether heaptap counts a process now.
pub fn is_counted(heaptap: u32, pid: u32) -> Result<bool> {
    Ok(Processes::of(heaptap)?.is_counted(pid))
}

/// Megabytes that it has resident.
pub fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The names of the kernel programs that it holds.
pub fn programs(heaptap: u32) -> Result<BTreeSet<String>> {
    let all = programs_held(heaptap)?;
    Ok(all.iter().filter_map(|info| info.name_as_str().map(str::to_owned)).collect())
}

pub(crate) fn programs_held(heaptap: u32) -> Result<Vec<ProgramInfo>> {
    let id = |text: &String| -> Option<u32> {
        // A link tells its program's number, too.
        text.lines().find(|line| line.starts_with("prog_type:"))?;
        text.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok()
    };
    let held: BTreeSet<u32> = descriptors(heaptap)?.iter().filter_map(id).collect();
    Ok(loaded_programs().filter_map(Result::ok).filter(|info| held.contains(&info.id())).collect())
}

/// What the kernel tells of each descriptor.
fn descriptors(pid: u32) -> Result<Vec<String>> {
    let dir = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&dir).with_context(|| format!("can't list {dir}"))?;
    // One that is closed meanwhile is none.
    Ok(entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()).collect())
}

/// The kernel's number of a map, when a descriptor is one.
fn map_id(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
}

fn table<K: aya::Pod, V: aya::Pod>(
    descriptors: &[String],
    name: &str,
) -> Result<HashMap<MapData, K, V>> {
    let id = |text: &String| {
        let id = map_id(text)?;
        MapInfo::from_id(id).ok().filter(|info| info.name_as_str() == Some(name)).map(|_| id)
    };
    let id = descriptors.iter().find_map(id).with_context(|| format!("it has no map {name}"))?;
    Ok(HashMap::try_from(Map::HashMap(MapData::from_id(id)?))?)
}
