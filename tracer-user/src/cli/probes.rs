//! What can be recorded, and what stacks can be weighed by; shared by the commands that record.
//!
//! In: names. Out: parts of configurations.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::output::maps::Limits;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, BOX_OBJECTS, BOX_SPACE, BOX_VALUES, BRK_CALLS, BRK_SPACE,
    GC_ASSIST_MARKING, GC_ASSIST_TIME, GC_ASSISTS, GOROUTINES_CREATED, GOROUTINES_ENDED,
    GOROUTINES_LIVE, MADVISE_CALLS, MADVISE_SPACE, MAP_ELEMENTS, MAP_ITERATIONS, MAP_STEPS,
    MAP_TIME, MAPPED_SPACE, MMAP_CALLS, MMAP_SPACE, MREMAP_CALLS, MREMAP_SPACE, MUNMAP_CALLS,
    MUNMAP_SPACE, PAGES_SPACE, PAGES_TAKEN, POOL_GETS, POOL_MISSES, POOL_PUTS, RELEASED_SPACE,
    RESIDENT_GROWTH, SLICE_CALLS, SLICE_COPIED, SLICE_SPACE, SPAN_CALLS, SPAN_KERNEL_TIME,
    SPAN_TIME, STACK_COPIED, STACK_GROWTHS, STACK_SHRINKS, ValueType,
};

/// What is recorded: a set of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes(u16);

/// What can be recorded. In the order in which profiles have what they measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Allocations; --mode says how
    Alloc,
    /// Iterations over maps, each step of each
    Map,
    /// Iterations over maps, counted as they begin: much cheaper
    MapCount,
    /// What the kernel does: resident memory, mmap and the like, pages taken; every event
    Os,
    /// Goroutines, by who makes them; which of them end, and how old they become
    Goroutine,
    /// Stacks of goroutines that are moved to larger or smaller ones
    Stack,
    /// Values put into interfaces
    Box,
    /// Slices made, grown and copied, and strings built
    Slice,
    /// The same, and how long slow allocations take: getting spans from the page heap, and how much of
    /// that is in the kernel
    OsAlloc,
    /// What every sync.Pool gives, has not, and gets back
    Pool,
    /// Goroutines that have to mark for the collector before they may allocate, and how long that takes
    Assist,
}

impl Probe {
    /// What it measures, in the order in which profiles have it. Of allocations some ways to see them
    /// measure more.
    pub fn values(self) -> &'static [Value] {
        match self {
            Probe::Alloc => &[Value::Objects, Value::Bytes],
            Probe::Map => &[Value::Iterations, Value::Steps, Value::Time],
            Probe::MapCount => &[Value::Iterations, Value::Elements],
            Probe::Os => &[
                Value::Resident,
                Value::Released,
                Value::Mapped,
                Value::MmapCalls,
                Value::Mmap,
                Value::MunmapCalls,
                Value::Munmap,
                Value::MadviseCalls,
                Value::Madvise,
                Value::MremapCalls,
                Value::Mremap,
                Value::BrkCalls,
                Value::Brk,
                Value::PagesTaken,
                Value::Pages,
            ],
            Probe::Goroutine => &[Value::Created, Value::Ended, Value::Live],
            Probe::Stack => &[Value::Growths, Value::Shrinks, Value::Copied],
            Probe::Box => &[Value::Boxed, Value::BoxedObjects, Value::BoxedBytes],
            Probe::Slice => &[Value::SliceCalls, Value::SliceCopied, Value::SliceBytes],
            Probe::Assist => &[Value::Assists, Value::AssistTime, Value::AssistMarking],
            Probe::OsAlloc => &[Value::SlowSpans, Value::SlowTime, Value::SlowKernelTime],
            Probe::Pool => &[Value::Gets, Value::Misses, Value::Puts],
        }
    }

    /// What stacks are weighed by when nothing is said.
    fn default_value(self) -> Value {
        match self {
            Probe::Alloc => Value::Bytes,
            Probe::Map => Value::Steps,
            Probe::MapCount => Value::Elements,
            Probe::Os => Value::Resident,
            Probe::Goroutine => Value::Created,
            Probe::Stack => Value::Copied,
            Probe::Box => Value::BoxedBytes,
            Probe::Slice => Value::SliceCopied,
            Probe::OsAlloc => Value::SlowTime,
            Probe::Pool => Value::Gets,
            Probe::Assist => Value::AssistTime,
        }
    }

    /// How it measures, as a profile says it; nothing where its source says that.
    pub fn method(self) -> Option<&'static str> {
        match self {
            Probe::Alloc => None,
            Probe::Map => Some("every step of every iteration over a map followed"),
            Probe::MapCount => Some("every iteration over a map counted as it began"),
            Probe::Os => Some("every change of resident memory, every mapping, every page taken"),
            Probe::Goroutine => Some("every goroutine counted, from its creation to its end"),
            Probe::Stack => Some("every move of a goroutine's stack counted"),
            Probe::Box => Some("every value that the runtime put into an interface counted"),
            Probe::Slice => Some("every slice and string that the runtime made or grew counted"),
            Probe::OsAlloc => Some("every span from the page heap timed"),
            Probe::Pool => Some("every Get and Put of a sync.Pool counted"),
            Probe::Assist => Some("every assist of the collector timed"),
        }
    }

    /// Whether it can be recorded in windows: it follows nothing from a beginning to an end.
    pub fn fits_windows(self) -> bool {
        match self {
            Probe::Alloc | Probe::MapCount | Probe::Stack | Probe::Box | Probe::Slice => true,
            Probe::Map
            | Probe::Os
            | Probe::OsAlloc
            | Probe::Goroutine
            | Probe::Pool
            | Probe::Assist => false,
        }
    }

    /// Whether it can tell types.
    pub fn has_types(self) -> bool {
        matches!(self, Probe::Alloc | Probe::Box | Probe::Slice)
    }

    /// As it is typed.
    pub fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Probes {
    /// Those that are named. The exact form of a probe includes its cheap form, and what times slow
    /// allocations needs what the kernel does.
    pub fn of(names: &[Probe]) -> Self {
        let needed = names.contains(&Probe::OsAlloc).then_some(&Probe::Os);
        let set = names.iter().chain(needed).fold(0, |set, probe| set | probe.bit());
        let exact = Self(set);
        if exact.has(Probe::Map) { Self(set & !Probe::MapCount.bit()) } else { exact }
    }

    pub fn has(self, probe: Probe) -> bool {
        self.0 & probe.bit() != 0
    }

    /// In the order of [`Probe`].
    pub fn iter(self) -> impl Iterator<Item = Probe> {
        Probe::value_variants().iter().copied().filter(move |probe| self.has(*probe))
    }

    /// What stacks are weighed by when nothing is said.
    pub(super) fn default_value(self) -> Value {
        if self == Self::of(&[Probe::OsAlloc]) {
            return Value::SlowTime;
        }
        self.iter().next().map_or(Value::Bytes, Probe::default_value)
    }

    /// Whether this is measured.
    pub(super) fn have(self, value: Value) -> bool {
        self.iter().any(|probe| probe.values().contains(&value))
    }
}

/// What stacks are weighed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Value {
    /// Bytes allocated
    Bytes,
    /// Number of allocations
    Objects,
    /// Iterations over maps
    Iterations,
    /// Elements that iterations visited (probe map)
    Steps,
    /// Time that iterations took, with what is nested in them (probe map)
    Time,
    /// Elements that maps had when iterations began (probe map-count)
    Elements,
    /// Memory that became resident (probe os)
    Resident,
    /// Memory that ceased to be resident (probe os)
    Released,
    /// What was mapped and still is at the end (probe os)
    Mapped,
    /// Memory mapped with mmap (probe os)
    Mmap,
    /// Calls of mmap (probe os)
    MmapCalls,
    /// Memory unmapped with munmap (probe os)
    Munmap,
    /// Calls of munmap (probe os)
    MunmapCalls,
    /// Memory that madvise was about (probe os)
    Madvise,
    /// Calls of madvise (probe os)
    MadviseCalls,
    /// Memory mapped anew with mremap (probe os)
    Mremap,
    /// Calls of mremap (probe os)
    MremapCalls,
    /// Memory that brk added (probe os)
    Brk,
    /// Calls of brk (probe os)
    BrkCalls,
    /// Memory taken from the kernel's free pages (probe os)
    Pages,
    /// How often pages were taken (probe os)
    PagesTaken,
    /// Goroutines that were made
    Created,
    /// Those of them that have ended
    Ended,
    /// Those of them that have not
    Live,
    /// Stacks of goroutines that became larger
    Growths,
    /// Stacks of goroutines that became smaller
    Shrinks,
    /// Bytes of stacks that were copied for that
    Copied,
    /// Values put into interfaces (probe box)
    Boxed,
    /// Those of them that take memory
    BoxedObjects,
    /// Bytes that they take
    BoxedBytes,
    /// Calls that make or grow slices or build strings (probe slice)
    SliceCalls,
    /// Bytes of old contents that they copy
    SliceCopied,
    /// Bytes that they ask the heap for
    SliceBytes,
    /// Spans that the runtime got from its page heap (probe os-alloc)
    SlowSpans,
    /// Time that getting them took (probe os-alloc)
    SlowTime,
    /// What of that the kernel worked (probe os-alloc)
    SlowKernelTime,
    /// Calls of sync.Pool's Get
    Gets,
    /// Those of them that found nothing to give
    Misses,
    /// Calls of sync.Pool's Put
    Puts,
    /// Times that goroutines had to assist the collector (probe assist)
    Assists,
    /// Time that this took, waiting for the collector included (probe assist)
    AssistTime,
    /// What of that they marked (probe assist)
    AssistMarking,
}

impl Value {
    pub fn value_type(self) -> ValueType {
        match self {
            Value::Bytes => ALLOC_SPACE,
            Value::Objects => ALLOC_OBJECTS,
            Value::Iterations => MAP_ITERATIONS,
            Value::Steps => MAP_STEPS,
            Value::Time => MAP_TIME,
            Value::Elements => MAP_ELEMENTS,
            Value::Resident => RESIDENT_GROWTH,
            Value::Released => RELEASED_SPACE,
            Value::Mapped => MAPPED_SPACE,
            Value::Mmap => MMAP_SPACE,
            Value::MmapCalls => MMAP_CALLS,
            Value::Munmap => MUNMAP_SPACE,
            Value::MunmapCalls => MUNMAP_CALLS,
            Value::Madvise => MADVISE_SPACE,
            Value::MadviseCalls => MADVISE_CALLS,
            Value::Mremap => MREMAP_SPACE,
            Value::MremapCalls => MREMAP_CALLS,
            Value::Brk => BRK_SPACE,
            Value::BrkCalls => BRK_CALLS,
            Value::Pages => PAGES_SPACE,
            Value::PagesTaken => PAGES_TAKEN,
            Value::Created => GOROUTINES_CREATED,
            Value::Ended => GOROUTINES_ENDED,
            Value::Live => GOROUTINES_LIVE,
            Value::Growths => STACK_GROWTHS,
            Value::Shrinks => STACK_SHRINKS,
            Value::Copied => STACK_COPIED,
            Value::Boxed => BOX_VALUES,
            Value::BoxedObjects => BOX_OBJECTS,
            Value::BoxedBytes => BOX_SPACE,
            Value::SliceCalls => SLICE_CALLS,
            Value::SliceCopied => SLICE_COPIED,
            Value::SliceBytes => SLICE_SPACE,
            Value::SlowSpans => SPAN_CALLS,
            Value::SlowTime => SPAN_TIME,
            Value::SlowKernelTime => SPAN_KERNEL_TIME,
            Value::Gets => POOL_GETS,
            Value::Misses => POOL_MISSES,
            Value::Puts => POOL_PUTS,
            Value::Assists => GC_ASSISTS,
            Value::AssistTime => GC_ASSIST_TIME,
            Value::AssistMarking => GC_ASSIST_MARKING,
        }
    }
}

/// What is told of iterations over maps beside their stacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MapReport {
    /// What is worth a finding.
    pub limits: Limits,
    /// Where the picture of steps over time goes.
    pub heat: Option<PathBuf>,
}
