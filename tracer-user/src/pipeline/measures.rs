//! What the sums measure that a kernel program keeps for each stack.
//!
//! In: a program, a stack and its counts. Out: values with their kinds. Estimates nothing: what
//! allocations stand for, [`super::estimates`] says.

use tracer_common::{os::Happening, record::Moved};

use super::targets::{Counts, StackId};
use crate::{cli::probes::Value, probe::Program, profile::ledger::Part};

/// What a value is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// How often the program was run.
    Hits,
    /// What it counted as objects.
    Objects,
    /// Of iterations that were followed.
    Iterations,
    Steps,
    Time,
    /// What it counted as bytes.
    Bytes,
    /// What was followed from its beginning: how much of it has ended, and how much has not.
    Ended,
    Live,
    /// Hits of stacks that became larger, and of others.
    Growths,
    Shrinks,
}

/// What a program measures; nothing for those of allocations and those that only help others.
pub fn of(program: Program) -> Option<&'static [(Value, Sum)]> {
    match program {
        Program::Alloc | Program::Span | Program::SampleAlloc | Program::SampleFree => None,
        Program::MapCount => {
            Some(&[(Value::Iterations, Sum::Hits), (Value::Elements, Sum::Objects)])
        }
        Program::MapStart => Some(&[
            (Value::Iterations, Sum::Iterations),
            (Value::Steps, Sum::Steps),
            (Value::Time, Sum::Time),
        ]),
        Program::GoroutineNew => Some(&[
            (Value::Created, Sum::Hits),
            (Value::Ended, Sum::Ended),
            (Value::Live, Sum::Live),
        ]),
        Program::StackMove => Some(&[
            (Value::Growths, Sum::Growths),
            (Value::Shrinks, Sum::Shrinks),
            (Value::Copied, Sum::Bytes),
        ]),
        Program::Box => Some(&[
            (Value::Boxed, Sum::Hits),
            (Value::BoxedObjects, Sum::Objects),
            (Value::BoxedBytes, Sum::Bytes),
        ]),
        Program::Slice => Some(&[
            (Value::SliceCalls, Sum::Hits),
            (Value::SliceCopied, Sum::Objects),
            (Value::SliceBytes, Sum::Bytes),
        ]),
        Program::PoolGet => Some(&[(Value::Gets, Sum::Hits)]),
        Program::PoolMiss => Some(&[(Value::Misses, Sum::Hits)]),
        Program::PoolPut => Some(&[(Value::Puts, Sum::Hits)]),
        Program::AssistEnd => Some(&[
            (Value::Assists, Sum::Hits),
            (Value::AssistTime, Sum::Bytes),
            (Value::AssistMarking, Sum::Objects),
        ]),
        // They add to what the start began, and keep no stacks.
        Program::MapNext
        | Program::MapEnd
        | Program::GoroutineEnd
        | Program::AssistBegin
        | Program::AssistMark
        | Program::AssistMarked
        | Program::Gc
        | Program::Empty => Some(&[]),
        // What they keep is told by its happening.
        Program::OsSpanBegin | Program::OsSpanEnd => Some(&[]),
    }
}

/// What is measured of what the kernel does (probe os).
pub fn of_happening(happening: Happening) -> &'static [(Value, Sum)] {
    match happening {
        Happening::Mmap => &[(Value::MmapCalls, Sum::Hits), (Value::Mmap, Sum::Bytes)],
        Happening::Munmap => &[(Value::MunmapCalls, Sum::Hits), (Value::Munmap, Sum::Bytes)],
        Happening::Madvise => &[(Value::MadviseCalls, Sum::Hits), (Value::Madvise, Sum::Bytes)],
        Happening::Mremap => &[(Value::MremapCalls, Sum::Hits), (Value::Mremap, Sum::Bytes)],
        Happening::Brk => &[(Value::BrkCalls, Sum::Hits), (Value::Brk, Sum::Bytes)],
        Happening::Grow => &[(Value::Resident, Sum::Bytes)],
        Happening::Shrink => &[(Value::Released, Sum::Bytes)],
        Happening::Pages => &[(Value::PagesTaken, Sum::Hits), (Value::Pages, Sum::Bytes)],
        Happening::Left => &[(Value::Mapped, Sum::Bytes)],
        Happening::Span => &[(Value::SlowSpans, Sum::Hits), (Value::SlowTime, Sum::Bytes)],
        Happening::SpanKernel => &[(Value::SlowKernelTime, Sum::Bytes)],
    }
}

impl Sum {
    pub fn of(self, id: &StackId, counts: &Counts) -> u64 {
        let followed = counts.iterations.as_deref();
        let ages = counts.ages.as_deref();
        let sum = |ages: &[u64]| ages.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
        match self {
            Sum::Hits => counts.hits,
            Sum::Objects => counts.objects,
            Sum::Iterations => followed.map_or(0, |of| of.count),
            Sum::Steps => followed.map_or(0, |of| of.steps),
            Sum::Time => followed.map_or(0, |of| of.time),
            Sum::Bytes => counts.bytes,
            Sum::Ended => ages.map_or(0, |ages| sum(&ages.freed)),
            Sum::Live => ages.map_or(0, |ages| sum(&ages.live)),
            Sum::Growths | Sum::Shrinks => {
                let is_own = grows(id) == (self == Sum::Growths);
                if is_own { counts.hits } else { 0 }
            }
        }
    }
}

impl Sum {
    /// The part of it that was not seen, with the half-width of its interval. What is followed from a
    /// beginning to an end has none: it is not recorded in windows.
    pub fn part(self, id: &StackId, part: &Part) -> (f64, f64) {
        match self {
            Sum::Hits => part.events,
            Sum::Objects => part.objects,
            Sum::Bytes => part.bytes,
            Sum::Growths if grows(id) => part.events,
            Sum::Shrinks if !grows(id) => part.events,
            _ => (0.0, 0.0),
        }
    }
}

/// Whether a goroutine's stack became larger.
fn grows(id: &StackId) -> bool {
    let Moved { old, new } = Moved::of(id.class);
    new >= old
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Ages;

    #[test]
    fn sums_of_what_is_followed_and_of_what_is_moved() {
        let mut ages = Ages::default();
        (ages.freed[2], ages.freed[9], ages.live[4]) = (5, 6, 7);
        let counts =
            Counts { hits: 18, bytes: 99, ages: Some(Box::new(ages)), ..Counts::default() };
        let class = Moved { old: 4096, new: 2048 }.class();
        let id = StackId { entry: 0, site: 0, class, labels: 0, flags: 0, pcs: Box::default() };
        let sums = |program| -> Vec<u64> {
            of(program).unwrap().iter().map(|(_, sum)| sum.of(&id, &counts)).collect()
        };
        assert_eq!(sums(Program::GoroutineNew), [18, 11, 7]);
        assert_eq!(sums(Program::StackMove), [0, 18, 99]);
        let id = StackId { class: Moved { old: 4096, new: 8192 }.class(), ..id };
        let sums: Vec<u64> =
            of(Program::StackMove).unwrap().iter().map(|(_, s)| s.of(&id, &counts)).collect();
        assert_eq!(sums, [18, 0, 99]);
    }
}
