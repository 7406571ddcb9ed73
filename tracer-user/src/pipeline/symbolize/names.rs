//! One snapshot after the other, from addresses to names.
//!
//! In: profiles with locations that have no names ([`Raw`]), and files. Out: profiles with the names that the files
//! tell; what no file was given for stays an address. Everything is named once, for as long as the same files are there.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use super::files::Files;
use crate::address::VAddr;
use crate::cli::symbolize::Config;
use crate::exit::{Exit, Failure};
use crate::gobin::GoBinary;
use crate::output::text::printable;
use crate::output::{maps, pools};
use crate::pipeline::naming::Namer;
use crate::pipeline::natives;
use crate::pipeline::record;
use crate::pipeline::written::{How, WrittenStacks};
use crate::profile::{
    Binary, BinaryId, Frame, INUSE_SPACE, Label, LabelValue, Location, LocationId, Profile, Raw,
    Sample, Source,
};
use crate::symbolize::logical::Written;
use crate::symbolize::native::NativeSymbols;

/// Locations from which on everything begins anew.
const MANY: usize = 1 << 20;

/// What names snapshots.
pub struct Names<'a> {
    files: Files,
    config: &'a Config,
    /// With what was said of earlier snapshots of the same files.
    made: Option<Made>,
    /// Files that have named something, and those that were not given.
    pub known: usize,
    pub missing: Vec<Binary>,
    told: HashSet<(String, String)>,
}

/// The profile in the making.
struct Made {
    profile: Profile,
    binaries: Vec<Option<Known>>,
    /// Locations of the profile that need no file.
    others: HashMap<Location, LocationId>,
}

/// A file that names addresses.
enum Known {
    Go(Box<Code>),
    Native(Box<NativeSymbols>, HashMap<VAddr, LocationId>),
}

struct Code {
    namer: Namer,
    /// Addresses that it has named.
    named: HashSet<VAddr>,
    written: WrittenStacks,
}

impl<'a> Names<'a> {
    pub fn new(files: Files, config: &'a Config) -> Self {
        let (missing, told) = Default::default();
        Self { files, config, made: None, known: 0, missing, told }
    }

    /// The same profile, with names.
    ///
    /// # Errors
    /// A file that is needed can't be read; none of all is of the recording.
    pub fn of(&mut self, raw: &Profile) -> Result<&Profile, Failure> {
        let is_same = |made: &Made| {
            let ids = |profile: &Profile| -> Vec<(String, String)> {
                profile.binaries.iter().map(|b| (b.path.clone(), b.build_id.clone())).collect()
            };
            made.profile.locations.len() < MANY && ids(&made.profile) == ids(raw)
        };
        let made = match self.made.take().filter(is_same) {
            Some(made) => made,
            None => self.begin(raw)?,
        };
        let made = self.made.insert(made);
        made.profile.meta = raw.meta.clone();
        made.profile.processes.clone_from(&raw.processes);
        made.profile.samples.clear();
        made.name_calls(raw);
        let mut stacks = made.written(raw, self.config.runtime_frames);
        for (at, sample) in raw.samples.iter().enumerate() {
            let stack = match stacks.remove(&at) {
                Some(stack) => stack,
                None => made.stack(raw, &sample.stack),
            };
            let sample = made.sample(raw, sample, stack);
            made.profile.samples.push(sample);
        }
        if raw.meta.source != Source::Records {
            let Config { runtime_frames, short_lived, .. } = *self.config;
            let (maps, pools) = (maps::Limits::default(), pools::Limits::default());
            record::complete(&mut made.profile, runtime_frames, short_lived, &maps, &pools);
        }
        Ok(&made.profile)
    }

    /// Opens the files of a profile.
    fn begin(&mut self, raw: &Profile) -> Result<Made, Failure> {
        let mut profile = Profile::new(raw.meta.clone());
        profile.binaries.clone_from(&raw.binaries);
        // C code of a program lies in its own file.
        let native: HashSet<BinaryId> = (raw.locations.iter())
            .filter(|location| location.raw == Some(Raw::Native))
            .filter_map(|location| location.binary)
            .collect();
        let mut binaries = Vec::new();
        for (id, binary) in (0..).map(BinaryId).zip(&raw.binaries) {
            let of_program = || {
                let is_it =
                    |other: &&Binary| other.path == binary.path && !other.build_id.is_empty();
                raw.binaries.iter().find(is_it).and_then(|other| self.files.of(other))
            };
            let path = self.files.of(binary).or_else(|| {
                of_program().filter(|_| binary.build_id.is_empty() && native.contains(&id))
            });
            let is_new = self.told.insert((binary.path.clone(), binary.build_id.clone()));
            let Some(path) = path else {
                if is_new {
                    self.missing.push(binary.clone());
                }
                binaries.push(None);
                continue;
            };
            let failed = |err: &dyn std::fmt::Display| {
                let text = format!("{}: {err}", path.display());
                Failure::new(Exit::Unsupported, printable(&text).into_owned())
            };
            let file = File::open(path).map_err(|err| failed(&err))?;
            binaries.push(Some(if native.contains(&id) {
                let symbols = NativeSymbols::open(file).map_err(|err| failed(&err))?;
                Known::Native(Box::new(symbols), HashMap::new())
            } else {
                let go = Arc::new(GoBinary::open(file).map_err(|err| failed(&err))?);
                Known::Go(Box::new(Code {
                    namer: Namer::new(Arc::clone(&go), id),
                    named: HashSet::new(),
                    written: WrittenStacks::new(&go, id),
                }))
            }));
            self.known += usize::from(is_new);
        }
        if self.known == 0 {
            return Err(super::none(&self.missing));
        }
        Ok(Made { profile, binaries, others: HashMap::new() })
    }
}

impl Made {
    /// Names the calls of all stacks at once, which is much faster than one at a time.
    fn name_calls(&mut self, raw: &Profile) {
        let mut new: Vec<Vec<VAddr>> = vec![Vec::new(); self.binaries.len()];
        for Location { binary, address, raw, .. } in &raw.locations {
            if let (Some(Raw::Call), Some(BinaryId(id))) = (raw, binary)
                && let Some(Some(Known::Go(code))) = self.binaries.get_mut(*id as usize)
                && code.named.insert(*address)
            {
                new[*id as usize].push(*address);
            }
        }
        for (known, addresses) in self.binaries.iter_mut().zip(new) {
            if let Some(Known::Go(code)) = known {
                code.namer.name_all(&addresses);
            }
        }
    }

    /// Stacks that a runtime wrote down, by the number of their sample.
    fn written(&mut self, raw: &Profile, runtime_frames: bool) -> HashMap<usize, Vec<LocationId>> {
        let is_heap = raw.value_of_kind(INUSE_SPACE).is_some();
        let mut by: HashMap<(u32, bool), Vec<usize>> = HashMap::new();
        for (at, sample) in raw.samples.iter().enumerate() {
            if let Some(of) = of_runtime(raw, &sample.stack) {
                by.entry(of).or_default().push(at);
            }
        }
        let mut stacks = HashMap::new();
        for ((id, is_logical), samples) in by {
            let Some(Some(Known::Go(code))) = self.binaries.get_mut(id as usize) else { continue };
            let written = if is_logical { Written::Logical } else { Written::Physical };
            let how = How { written, without_runtime: is_heap && !runtime_frames, raw: false };
            let returns = samples.iter().map(|at| {
                let stack = raw.samples[*at].stack.iter();
                stack.map(|id| VAddr(raw.locations[id.0 as usize].address.0.wrapping_add(1)))
            });
            let named = code.written.named(&mut self.profile, returns, how);
            stacks.extend(samples.iter().copied().zip(named));
        }
        stacks
    }

    /// A stack, location by location.
    fn stack(&mut self, raw: &Profile, of: &[LocationId]) -> Vec<LocationId> {
        let mut callee = 0;
        of.iter().filter_map(|id| self.location(raw, *id, &mut callee)).collect()
    }

    /// A location; nothing when Go's own profiles leave it out. Sets `callee` to the function that calls the next one.
    fn location(&mut self, raw: &Profile, id: LocationId, callee: &mut u8) -> Option<LocationId> {
        let location = &raw.locations[id.0 as usize];
        let (Some(way), Some(binary)) = (location.raw, location.binary) else {
            *callee = 0;
            return Some(self.other(raw, location));
        };
        let (profile, at) = (&mut self.profile, location.address);
        match (self.binaries.get_mut(binary.0 as usize), way) {
            (Some(Some(Known::Go(code))), Raw::Call) => code.namer.location(profile, at, callee),
            (Some(Some(Known::Go(code))), Raw::Place) => code.namer.place(profile, at),
            (Some(Some(Known::Go(code))), Raw::Kept) => code.namer.kept(profile, at),
            (Some(Some(Known::Go(code))), Raw::Start) => code.namer.start(profile, at),
            (Some(Some(Known::Native(symbols, locations))), Raw::Native) => {
                *callee = 0;
                Some(*locations.entry(at).or_insert_with(|| {
                    let frames = natives::frames(&mut profile.names, symbols, at);
                    profile.locations.push(Location {
                        binary: Some(binary),
                        address: at,
                        frames,
                        raw: None,
                    });
                    LocationId(profile.locations.len() as u32 - 1)
                }))
            }
            // No file was given for it.
            _ => {
                *callee = 0;
                Some(self.other(raw, location))
            }
        }
    }

    /// The same location.
    fn other(&mut self, raw: &Profile, location: &Location) -> LocationId {
        let names = &mut self.profile.names;
        let mut name = |name| names.intern(raw.names.text(name));
        let frame = |of: &Frame| Frame { function: name(of.function), file: name(of.file), ..*of };
        let frames = location.frames.iter().map(frame).collect();
        let same = Location { frames, ..*location };
        let profile = &mut self.profile;
        *self.others.entry(same).or_insert_with_key(|same| match same.frames[..] {
            [frame] if same.binary.is_none() && same.address == VAddr(0) => {
                let text = raw.names.text(location.frames[0].function);
                profile.made_up(text, frame.kind)
            }
            _ => {
                profile.locations.push(same.clone());
                LocationId(profile.locations.len() as u32 - 1)
            }
        })
    }

    /// A sample with another stack.
    fn sample(&mut self, raw: &Profile, sample: &Sample, stack: Vec<LocationId>) -> Sample {
        let leaf = sample.leaf.and_then(|leaf| self.location(raw, leaf, &mut 0));
        let names = &mut self.profile.names;
        let mut name = |name| names.intern(raw.names.text(name));
        let labels = sample.labels.iter().map(|label| Label {
            key: name(label.key),
            value: match label.value {
                LabelValue::Text(text) => LabelValue::Text(name(text)),
                number => number,
            },
        });
        let mut labels: Vec<Label> = labels.collect();
        labels.sort();
        let go_type = sample.go_type.map(name);
        Sample { stack, leaf, labels, go_type, ..sample.clone() }
    }
}

/// The binary of a stack that its runtime wrote down, and whether it has an address for each logical frame.
fn of_runtime(raw: &Profile, stack: &[LocationId]) -> Option<(u32, bool)> {
    let of = |id: &LocationId| {
        let location = &raw.locations[id.0 as usize];
        match location.raw? {
            Raw::Logical => Some((location.binary?.0, true)),
            Raw::Physical => Some((location.binary?.0, false)),
            _ => None,
        }
    };
    let first = of(stack.first()?)?;
    stack.iter().all(|id| of(id) == Some(first)).then_some(first)
}
