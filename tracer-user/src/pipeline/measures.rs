//! What the sums measure that a kernel program keeps for each stack.
//!
//! In: a program, a stack's counts. Out: values with their kinds. Estimates nothing: what
//! allocations stand for, [`super::estimates`] says.

use tracer_common::os::Happening;

use super::targets::Counts;
use crate::{cli::probes::Value, probe::Program};

/// What a value is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// How often the program was run.
    Hits,
    /// What it counted as objects.
    Objects,
    Bytes,
    /// Of iterations that were followed.
    Iterations,
    Steps,
    Time,
}

/// What a program measures; nothing for those of allocations and those that only help others.
pub fn of(program: Program) -> Option<&'static [(Value, Sum)]> {
    match program {
        Program::Alloc
        | Program::SpanRefill
        | Program::SpanRelease
        | Program::SpanLarge
        | Program::SampleAlloc
        | Program::SampleFree => None,
        Program::MapCount => {
            Some(&[(Value::Iterations, Sum::Hits), (Value::Elements, Sum::Objects)])
        }
        Program::MapStart => Some(&[
            (Value::Iterations, Sum::Iterations),
            (Value::Steps, Sum::Steps),
            (Value::Time, Sum::Time),
        ]),
        // They add to what the start began, and keep no stacks.
        Program::MapNext | Program::MapEnd | Program::Gc | Program::Empty => Some(&[]),
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
    }
}

impl Sum {
    pub fn of(self, counts: &Counts) -> u64 {
        let followed = counts.iterations.as_deref();
        match self {
            Sum::Hits => counts.hits,
            Sum::Objects => counts.objects,
            Sum::Bytes => counts.bytes,
            Sum::Iterations => followed.map_or(0, |of| of.count),
            Sum::Steps => followed.map_or(0, |of| of.steps),
            Sum::Time => followed.map_or(0, |of| of.time),
        }
    }
}
