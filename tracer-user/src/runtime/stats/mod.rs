//! Memory statistics of a live process: what `runtime.ReadMemStats` would say, and more.
//!
//! In: a [`super::Live`] process. Out: [`Stats`].

#[cfg(test)]
pub mod made;
mod read;

/// Statistics of a process. Bytes unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Nothing moved while it was read, so that the caches of all Ps are included; otherwise what
    /// was allocated since each one's last refill is left out.
    pub exact: bool,
    pub heap: Heap,
    pub collector: Collector,
    pub allocated: Allocated,
    /// Stacks of goroutines, and with those that the system gave.
    pub stacks_in_use: u64,
    pub stacks_sys: u64,
    /// The runtime's own records: spans, caches, profile buckets, collector, others.
    pub spans_in_use: u64,
    pub spans_sys: u64,
    pub caches_in_use: u64,
    pub caches_sys: u64,
    pub buckets_sys: u64,
    pub gc_sys: u64,
    pub other_sys: u64,
    /// Everything that the runtime mapped.
    pub sys: u64,
    /// Mean bytes between samples of the heap profiler; 0: off.
    pub sampler_rate: u64,
    /// GOMAXPROCS.
    pub procs: u64,
}

/// The heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Objects that live or were not swept yet (`HeapAlloc`), and their number.
    pub alloc: u64,
    pub objects: u64,
    /// `HeapSys`, `HeapInuse`, `HeapIdle`, `HeapReleased`.
    pub sys: u64,
    pub in_use: u64,
    pub idle: u64,
    pub released: u64,
    /// Survived the last collection.
    pub marked: u64,
    /// What the pacer takes for the heap's size: spans in caches count as full.
    pub live: u64,
    /// How large it may be when the next collection ends (`NextGC`); nothing: the collector is off.
    pub goal: Option<u64>,
    /// How large it is when the next one begins.
    pub trigger: Option<u64>,
}

/// The collector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collector {
    /// GOGC; nothing: off.
    pub percent: Option<u32>,
    /// GOMEMLIMIT, if any.
    pub memory_limit: Option<u64>,
    /// Whether the limit, and not GOGC, makes the goal.
    pub limit_binds: bool,
    pub phase: Phase,
    pub cycles: u32,
    pub forced: u32,
    /// End of the last collection, in nanoseconds since 1970; 0: there was none.
    pub last_unix_ns: u64,
    /// Nanoseconds in which the program was stopped.
    pub pause_total_ns: u64,
    /// The last 256 at most, newest first.
    pub pauses: Vec<Pause>,
    /// Share of the CPU time of GOMAXPROCS CPUs since its start, from 0 to 1 (`GCCPUFraction`).
    pub cpu_fraction: f64,
}

/// What the collector is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Off,
    Mark,
    MarkTermination,
}

impl Phase {
    /// As documents have it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Off => "off",
            Phase::Mark => "mark",
            Phase::MarkTermination => "mark termination",
        }
    }
}

/// Stops of one collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// Nanoseconds since 1970.
    pub end_unix_ns: u64,
    /// Nanoseconds.
    pub ns: u64,
}

/// What was allocated and freed since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// `TotalAlloc`, `Mallocs`, `Frees`: tiny objects are in the last two, their blocks in all.
    pub bytes: u64,
    pub objects: u64,
    pub frees: u64,
    /// Objects below 16 bytes without pointers.
    pub tiny: u64,
    pub large: Large,
    /// By size class, class 0 left out.
    pub classes: Vec<Class>,
}

/// Objects above 32 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Large {
    pub bytes: u64,
    pub objects: u64,
    pub freed_bytes: u64,
    pub frees: u64,
}

/// Objects of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    pub size: u16,
    pub objects: u64,
    pub frees: u64,
}
