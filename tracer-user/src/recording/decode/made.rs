//! The profile of a snapshot, of what its segment has said.
//!
//! In: a [`Decoder`]. Out: a profile with the files, processes, places and stacks of the last snapshot alone.

use super::{Decoder, Fault, Room, Series};
use crate::profile::{
    Ages, BinaryId, Frame, Location, LocationId, Process, ProcessId, Profile, Sample,
};
use crate::recording::sampled::{self, Sampled};

impl Decoder {
    /// The profile of the last snapshot.
    pub(super) fn profile(&self) -> Result<Profile, Fault> {
        let mut room = self.room;
        let mut profile = Profile::new(self.meta.clone());
        profile.names = self.names.clone();
        let mut binaries = vec![None; self.binaries.len()];
        for (at, id) in self.of_binaries.iter().enumerate() {
            if binaries[*id as usize].replace(BinaryId(at as u32)).is_some() {
                return Err("a file is there twice".into());
            }
            profile.binaries.push(self.binaries[*id as usize].clone());
        }
        let binary = |BinaryId(id): BinaryId| {
            binaries[id as usize].ok_or(Fault::Wrong("a file is not there"))
        };
        let mut processes = vec![None; self.processes.len()];
        for (at, present) in self.of_processes.iter().enumerate() {
            if processes[present.id as usize].replace(ProcessId(at as u32)).is_some() {
                return Err("a process is there twice".into());
            }
            let process = &self.processes[present.id as usize];
            profile.processes.push(Process {
                binary: binary(process.binary)?,
                processes: present.processes,
                cost: present.cost,
                ..process.clone()
            });
        }
        let mut locations: Vec<Option<LocationId>> = vec![None; self.locations.len()];
        let mut location = |profile: &mut Profile, room: &mut Room, LocationId(id): LocationId| {
            if let Some(known) = locations[id as usize] {
                return Ok::<_, Fault>(known);
            }
            let Location { binary: of, address, frames, raw } = &self.locations[id as usize];
            room.take(size_of::<Location>() + size_of::<Frame>() * frames.len())?;
            let (frames, of) = (frames.clone(), of.map(binary).transpose()?);
            let made = match (raw, of) {
                (Some(raw), Some(of)) => {
                    let path = &profile.binaries[of.0 as usize].path;
                    room.take(size_of::<Frame>() + path.len() + 64)?;
                    profile.raw(*raw, of, *address)
                }
                _ => {
                    let (binary, address) = (of, *address);
                    profile.locations.push(Location { binary, address, frames, raw: None });
                    LocationId(profile.locations.len() as u32 - 1)
                }
            };
            locations[id as usize] = Some(made);
            Ok(made)
        };
        let mut sampled = None;
        if let Some(exp) = self.sampled {
            let what = "it has no sampler whose counts these could be";
            sampled = Some(Sampled::new(&self.meta, exp).ok_or(what)?);
        }
        for (first, count) in &self.runs {
            for Series { sample, node } in &self.series[*first as usize..][..*count as usize] {
                let depth = node.map_or(0, |node| self.nodes[node as usize].depth);
                let width = sample.values.len() + sample.error.len() + 3 * sample.labels.len();
                room.take(size_of::<Sample>() + 4 * depth as usize + 8 * width)?;
                room.take(sample.ages.as_ref().map_or(0, |_| size_of::<Ages>()))?;
                let mut sample =
                    Sample { stack: Vec::with_capacity(depth as usize), ..sample.clone() };
                let mut next = *node;
                while let Some(node) = next.map(|node| &self.nodes[node as usize]) {
                    sample.stack.push(location(&mut profile, &mut room, node.location)?);
                    next = node.parent;
                }
                if let Some(leaf) = &mut sample.leaf {
                    *leaf = location(&mut profile, &mut room, *leaf)?;
                }
                if let (Some(sampled), [allocs, alive]) = (&mut sampled, &sample.values[..]) {
                    let size = sampled::size(&profile, &sample).ok_or("a size is missing")?;
                    sample.values = sampled.values(size, [*allocs, *alive]);
                }
                let process = processes[sample.process.0 as usize];
                sample.process = process.ok_or(Fault::Wrong("a process is not there"))?;
                profile.samples.push(sample);
            }
        }
        Ok(profile)
    }
}
