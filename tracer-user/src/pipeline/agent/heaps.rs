//! Heap profiles of many processes, with the names of programs that several run kept once.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::agent::node::{Frame, Heap, Stack};
use crate::cli::heap::Config;
use crate::exit::Failure;
use crate::pipeline::heap;
use crate::pipeline::opened::LiveProcess;
use crate::profile::{ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, LocationId, Profile};
use crate::runtime::Program;

/// Programs whose names are kept; of others they are found out anew.
const MOST: usize = 32;

/// Reads heap profiles.
pub struct Heaps<'a> {
    config: &'a Config,
    /// The one that was read last is the last.
    by_program: Vec<(Arc<Program>, heap::Watched<'a>)>,
}

impl<'a> Heaps<'a> {
    pub fn new(config: &'a Config) -> Self {
        Self { config, by_program: Vec::new() }
    }

    /// Reads the profile of a process.
    ///
    /// # Errors
    /// The process is gone, keeps no such profile, or its records can't be read consistently.
    pub fn look(&mut self, process: &Rc<LiveProcess>) -> Result<&Profile, Failure> {
        let program = &process.live.program;
        let known = self.by_program.iter().position(|(known, _)| Arc::ptr_eq(known, program));
        let one = match known {
            Some(known) => self.by_program.remove(known),
            None => (Arc::clone(program), heap::Watched::new(self.config)),
        };
        if self.by_program.len() >= MOST {
            self.by_program.remove(0);
        }
        self.by_program.push(one);
        let (_, watched) = self.by_program.last_mut().ok_or_else(unreachable)?;
        watched.look(process)?;
        Ok(watched.profile())
    }

    /// Lets go of processes that have ended, and of programs that none of `running` runs.
    pub fn forget_ended<'r>(&mut self, running: impl Iterator<Item = &'r Rc<LiveProcess>>) {
        let running: Vec<_> = running.map(|process| &process.live.program).collect();
        let runs = |known: &Arc<Program>| running.iter().any(|one| Arc::ptr_eq(one, known));
        self.by_program.retain(|(program, _)| runs(program));
        for (_, watched) in &mut self.by_program {
            watched.forget_ended();
        }
    }
}

fn unreachable() -> Failure {
    Failure::new(crate::exit::Exit::Failure, "no heap profile was kept")
}

/// What is told of a profile of one process, with its `top` largest stacks.
pub fn told(profile: &Profile, top: usize) -> Heap {
    let index = |kind| profile.value_of_kind(kind).unwrap_or(usize::MAX);
    let kinds = [INUSE_SPACE, INUSE_OBJECTS, ALLOC_SPACE].map(index);
    let mut by_stack: std::collections::HashMap<&[LocationId], [u64; 3]> = Default::default();
    for sample in &profile.samples {
        let sums = by_stack.entry(&sample.stack).or_default();
        for (sum, kind) in sums.iter_mut().zip(kinds) {
            *sum = sum.saturating_add(sample.value(kind));
        }
    }
    let sum = |at: usize| by_stack.values().map(|values| values[at]).fold(0, u64::saturating_add);
    let (bytes, objects, stacks) = (sum(0), sum(1), by_stack.len());
    let mut all: Vec<(&[LocationId], [u64; 3])> =
        by_stack.into_iter().filter(|(_, values)| values[0] > 0).collect();
    // Which of equals is told does not depend on chance.
    all.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
    let mut found: Vec<Stack> = Vec::new();
    for (locations, [bytes, objects, allocated]) in all {
        if found.len() == top {
            break;
        }
        let frames = frames(profile, locations);
        let id = Stack::id_of(&frames);
        match found.iter_mut().find(|known| known.id == id) {
            // The same to a reader.
            Some(known) => {
                known.bytes = known.bytes.saturating_add(bytes);
                known.objects = known.objects.saturating_add(objects);
                known.allocated = known.allocated.saturating_add(allocated);
            }
            None => found.push(Stack { id, frames, bytes, objects, allocated }),
        }
    }
    Heap { at: SystemTime::now(), bytes, objects, stacks, top: found }
}

fn frames(profile: &Profile, locations: &[LocationId]) -> Vec<Frame> {
    let of = |id: &LocationId| profile.locations[id.0 as usize].frames.iter();
    let frame = |frame: &crate::profile::Frame| Frame {
        function: Arc::clone(profile.names.shared(frame.function)),
        file: Arc::clone(profile.names.shared(frame.file)),
        line: frame.line,
    };
    locations.iter().flat_map(of).map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn the_largest_stacks_are_told_and_the_whole() {
        let mut profile = sample::heap();
        for times in 2..5 {
            let mut another = profile.samples[0].clone();
            another.stack.extend(vec![another.stack[0]; times]);
            another.values.iter_mut().for_each(|value| *value *= times as u64);
            profile.samples.push(another);
        }
        let all = told(&profile, 100);
        let two = told(&profile, 2);
        let total = profile.total(profile.value_of_kind(INUSE_SPACE).unwrap());
        assert_eq!((two.bytes, all.bytes), (total, total));
        assert_eq!(all.top.iter().map(|stack| stack.bytes).sum::<u64>(), total);
        assert_eq!(two.top, all.top[..2]);
        assert!(all.top.is_sorted_by(|a, b| a.bytes >= b.bytes));
        let mut ids: Vec<u64> = all.top.iter().map(|stack| stack.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.top.len());
        assert!(told(&profile, 0).top.is_empty());
    }
}
