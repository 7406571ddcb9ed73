//! The currency: stacks with values, and what the values are.
//!
//! Every source makes a [`Profile`], every output takes one. In: symbolized locations and counts
//! from the pipeline. Out: the same, interned, merged, folded or ranked. A profile knows no kernel
//! map, no /proc and no output format, and needs no root.
//!
//! The usual way of a profile that is complete: [`fold::fold_runtime`] unless runtime frames are
//! wanted, [`Profile::add_leaves`], [`Profile::merge_equal`], then an output.

mod ages;
pub mod build;
pub mod diff;
pub mod estimate;
pub mod exp;
pub mod fold;
mod intern;
pub mod iterations;
pub mod ledger;
mod made;
mod only;
pub mod phases;
mod rank;
pub mod raw;
pub mod scale;
mod since;
pub mod trend;
mod values;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::address::VAddr;
pub use ages::{AGES, Ages, add};
pub use intern::{Interner, Name};
pub use iterations::Iterations;
pub use made::TRUNCATED;
pub use rank::{FrameId, Ranked, RankedType, Ranking};
pub use raw::Raw;

/// Index in [`Profile::processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

/// Index in [`Profile::binaries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BinaryId(pub u32);

/// Index in [`Profile::locations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocationId(pub u32);

/// Stacks with values, complete with what is needed to print them anywhere.
#[derive(Clone, Debug)]
pub struct Profile {
    pub meta: Meta,
    pub names: Interner,
    pub processes: Vec<Process>,
    pub binaries: Vec<Binary>,
    pub locations: Vec<Location>,
    pub samples: Vec<Sample>,
    /// Locations that folding keeps: see [`Profile::keep_leaf`].
    leaves: HashSet<LocationId>,
    /// Locations without an address, by their only frame: see [`Profile::made_up`].
    made: HashMap<(Name, FrameKind), LocationId>,
}

/// What was measured, how, and what is missing from it.
#[derive(Clone, Debug)]
pub struct Meta {
    pub source: Source,
    /// How it was measured, where the source alone does not say it (one line).
    pub method: Option<String>,
    pub started: SystemTime,
    /// Zero for what was read at one moment.
    pub duration: Duration,
    /// What [`Sample::values`] hold, in order; pprof's standard names.
    pub value_types: Vec<ValueType>,
    /// Index in `value_types` of what is shown when only one value can be.
    pub default_value: usize,
    /// Between two events that were sampled, where the source samples.
    pub period: Option<Period>,
    /// Counters of the kernel programs that are not zero: name, count, help, and whether it is a loss.
    pub counters: Vec<CounterValue>,
    /// Part of its CPU time that recording might cost each process, where that was limited.
    pub budget: Option<f64>,
    /// Whether some process was seen in windows only.
    pub in_windows: bool,
    /// Sentences that a reader must know to read the numbers right (one line each).
    pub notes: Vec<String>,
}

impl Meta {
    /// Whether values are estimates.
    pub fn is_estimate(&self) -> bool {
        match self.source {
            Source::Exact => self.in_windows,
            Source::Span | Source::Sample => true,
            Source::Records => self.period.is_some_and(|p| p.of == SPACE && p.length > 1),
        }
    }

    /// Events asked for and not in the result.
    pub fn lost(&self) -> u64 {
        self.counters.iter().filter(|c| c.is_loss).map(|c| c.count).sum()
    }
}

/// Which of the ways to see made the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Every allocation was counted.
    Exact,
    /// Slow-path sites only: values are estimates with [`Sample::error`].
    Span,
    /// Objects that the runtime's own sampler chose, from allocation to free: values are estimates.
    Sample,
    /// What the runtime itself has written down, read from the process's memory.
    Records,
}

impl Source {
    /// The word used on the command line and in outputs.
    pub fn word(self) -> &'static str {
        match self {
            Source::Exact => "exact",
            Source::Span => "span",
            Source::Sample => "sample",
            Source::Records => "records",
        }
    }
}

/// A kind of value, in pprof's words: `alloc_objects`/`count`, `alloc_space`/`bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueType {
    pub kind: &'static str,
    pub unit: &'static str,
}

/// A counter: heap profiles that are not of one moment.
pub const UNSETTLED: &str = "heap_profiles_unsettled";

pub const ALLOC_OBJECTS: ValueType = ValueType { kind: "alloc_objects", unit: "count" };
pub const ALLOC_SPACE: ValueType = ValueType { kind: "alloc_space", unit: "bytes" };
pub const INUSE_OBJECTS: ValueType = ValueType { kind: "inuse_objects", unit: "count" };
pub const INUSE_SPACE: ValueType = ValueType { kind: "inuse_space", unit: "bytes" };
pub const CONTENTIONS: ValueType = ValueType { kind: "contentions", unit: "count" };
pub const DELAY: ValueType = ValueType { kind: "delay", unit: "nanoseconds" };
pub const MAP_ITERATIONS: ValueType = ValueType { kind: "map_iterations", unit: "count" };
/// Elements visited, where each step is followed.
pub const MAP_STEPS: ValueType = ValueType { kind: "map_steps", unit: "count" };
/// Elements that maps had when iterations over them began.
pub const MAP_ELEMENTS: ValueType = ValueType { kind: "map_elements", unit: "count" };
pub const MAP_TIME: ValueType = ValueType { kind: "map_time", unit: "nanoseconds" };
/// What became resident, and what ceased to be.
pub const RESIDENT_GROWTH: ValueType = ValueType { kind: "resident_growth", unit: "bytes" };
pub const RELEASED_SPACE: ValueType = ValueType { kind: "released_space", unit: "bytes" };
/// What was mapped and is still mapped at the end.
pub const MAPPED_SPACE: ValueType = ValueType { kind: "mapped_space", unit: "bytes" };
pub const MMAP_CALLS: ValueType = ValueType { kind: "mmap_calls", unit: "count" };
pub const MMAP_SPACE: ValueType = ValueType { kind: "mmap_space", unit: "bytes" };
pub const MUNMAP_CALLS: ValueType = ValueType { kind: "munmap_calls", unit: "count" };
pub const MUNMAP_SPACE: ValueType = ValueType { kind: "munmap_space", unit: "bytes" };
pub const MADVISE_CALLS: ValueType = ValueType { kind: "madvise_calls", unit: "count" };
pub const MADVISE_SPACE: ValueType = ValueType { kind: "madvise_space", unit: "bytes" };
pub const MREMAP_CALLS: ValueType = ValueType { kind: "mremap_calls", unit: "count" };
pub const MREMAP_SPACE: ValueType = ValueType { kind: "mremap_space", unit: "bytes" };
pub const BRK_CALLS: ValueType = ValueType { kind: "brk_calls", unit: "count" };
pub const BRK_SPACE: ValueType = ValueType { kind: "brk_space", unit: "bytes" };
/// Pages taken from the kernel's free ones: how often, and how much.
pub const PAGES_TAKEN: ValueType = ValueType { kind: "pages_takings", unit: "count" };
pub const PAGES_SPACE: ValueType = ValueType { kind: "pages_space", unit: "bytes" };
/// Spans that the runtime got from its page heap, how long that took, and how much of that in the kernel.
pub const SPAN_CALLS: ValueType = ValueType { kind: "slow_spans", unit: "count" };
pub const SPAN_TIME: ValueType = ValueType { kind: "slow_time", unit: "nanoseconds" };
pub const SPAN_KERNEL_TIME: ValueType = ValueType { kind: "kernel_slow_time", unit: "nanoseconds" };
/// All of them: of what the kernel did.
const OF_OS: [ValueType; 18] = [
    RESIDENT_GROWTH,
    RELEASED_SPACE,
    MAPPED_SPACE,
    MMAP_CALLS,
    MMAP_SPACE,
    MUNMAP_CALLS,
    MUNMAP_SPACE,
    MADVISE_CALLS,
    MADVISE_SPACE,
    MREMAP_CALLS,
    MREMAP_SPACE,
    BRK_CALLS,
    BRK_SPACE,
    PAGES_TAKEN,
    PAGES_SPACE,
    SPAN_CALLS,
    SPAN_TIME,
    SPAN_KERNEL_TIME,
];
/// Values put into interfaces, those of them that take memory, and how much.
pub const BOX_VALUES: ValueType = ValueType { kind: "box_values", unit: "count" };
pub const BOX_OBJECTS: ValueType = ValueType { kind: "box_objects", unit: "count" };
pub const BOX_SPACE: ValueType = ValueType { kind: "box_space", unit: "bytes" };
/// Calls that make, grow and copy slices and build strings, what they copy of old contents and what they
/// ask the heap for.
pub const SLICE_CALLS: ValueType = ValueType { kind: "slice_calls", unit: "count" };
pub const SLICE_COPIED: ValueType = ValueType { kind: "slice_copied", unit: "bytes" };
pub const SLICE_SPACE: ValueType = ValueType { kind: "slice_space", unit: "bytes" };
/// Calls of `sync.Pool`'s Get, those of them that found nothing, and calls of its Put.
pub const POOL_GETS: ValueType = ValueType { kind: "pool_gets", unit: "count" };
pub const POOL_MISSES: ValueType = ValueType { kind: "pool_misses", unit: "count" };
pub const POOL_PUTS: ValueType = ValueType { kind: "pool_puts", unit: "count" };
/// The label that says which pool a sample is of.
pub const POOL: &str = "sync_pool";
/// Assists of the collector, how long they took, and what of that they marked.
pub const GC_ASSISTS: ValueType = ValueType { kind: "gc_assists", unit: "count" };
pub const GC_ASSIST_TIME: ValueType = ValueType { kind: "gc_assist_time", unit: "nanoseconds" };
pub const GC_ASSIST_MARKING: ValueType =
    ValueType { kind: "gc_assist_marking", unit: "nanoseconds" };
pub const GOROUTINE: ValueType = ValueType { kind: "goroutine", unit: "count" };
/// Goroutines that were made, and what became of them.
pub const GOROUTINES_CREATED: ValueType = ValueType { kind: "goroutines_created", unit: "count" };
pub const GOROUTINES_ENDED: ValueType = ValueType { kind: "goroutines_ended", unit: "count" };
pub const GOROUTINES_LIVE: ValueType = ValueType { kind: "goroutines_live", unit: "count" };
/// Moves of goroutines' stacks to larger and to smaller ones, and what was copied.
pub const STACK_GROWTHS: ValueType = ValueType { kind: "stack_growths", unit: "count" };
pub const STACK_SHRINKS: ValueType = ValueType { kind: "stack_shrinks", unit: "count" };
pub const STACK_COPIED: ValueType = ValueType { kind: "stack_copied", unit: "bytes" };
/// What the heap profile's period is of.
pub const SPACE: ValueType = ValueType { kind: "space", unit: "bytes" };

impl ValueType {
    /// What goes together with it: `alloc`, `inuse`; empty for kinds without such a word.
    pub fn family(self) -> &'static str {
        self.kind.split_once('_').map_or("", |(family, _)| family)
    }

    /// Whether its sum is known, which stacks divide among themselves.
    pub fn divides(self) -> bool {
        [ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE].contains(&self)
    }

    /// Whether it is of what the kernel did (probe os).
    pub fn is_of_os(self) -> bool {
        OF_OS.contains(&self)
    }
}

/// Mean distance of sampled events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub of: ValueType,
    pub length: u64,
}

/// A counter of the kernel programs with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterValue {
    pub name: Cow<'static, str>,
    pub help: Cow<'static, str>,
    pub is_loss: bool,
    pub count: u64,
}

/// One program run by one process (an exec makes a new one).
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks from boot to its start: with `pid` it is told from all others of this boot.
    pub start_ticks: u64,
    /// As the kernel has it: up to 15 bytes, any bytes. Outputs must escape it.
    pub comm: String,
    /// Container id, full length.
    pub container: Option<String>,
    /// What else tells where it runs.
    pub workload: Workload,
    /// The binary it runs.
    pub binary: BinaryId,
    /// How many it stands for: more than 1 for ended ones that are not told apart, of which `pid` is
    /// the first.
    pub processes: u64,
    /// `go1.26.6`, or nothing when the binary does not tell.
    pub go_version: Option<String>,
    /// What it was caused, where that was kept to a budget.
    pub cost: Option<Cost>,
}

/// What recording cost a process, and how much of the process was seen for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub traps: u64,
    /// Time of its own that it lost to them.
    pub caused: Duration,
    /// CPU time that heaptap itself took for its windows and to look at it.
    pub own: Duration,
    /// CPU time that it used while being recorded, as far as it could be read.
    pub cpu: Duration,
    /// How often its probes were taken off; 0: everything was seen. With [`Rest::Over`] once, for good.
    pub windows: u32,
    /// With the probes on, of `traced`.
    pub observed: Duration,
    pub traced: Duration,
    /// What is said of the rest.
    pub rest: Rest,
}

/// What is said of the time in which a process was not seen; the worst comes last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rest {
    /// Values stand for it too: the runtime's own counters tell how much was allocated, and for other
    /// events time does.
    #[default]
    Estimated,
    /// There were not enough windows for time to tell anything.
    TooFew,
    /// Events came too fast for that.
    TooDense,
    /// The runtime's counters can't be read.
    Unreadable,
    /// There is nothing to be said: it was recorded once, until it had cost what it may.
    Over,
}

impl Cost {
    /// Both together, in percent of its CPU time; nothing when that could not be read.
    pub fn percent(&self) -> Option<f64> {
        let cpu = self.cpu.as_secs_f64();
        (cpu > 0.0).then(|| 100.0 * (self.caused + self.own).as_secs_f64() / cpu)
    }

    /// Whether its recording has ended before the whole one, because of what it had cost.
    pub fn is_over(&self) -> bool {
        self.windows > 0 && self.rest == Rest::Over
    }

    /// How much of the time it was seen, in percent.
    pub fn observed_percent(&self) -> f64 {
        match self.windows {
            0 => 100.0,
            _ => 100.0 * self.observed.as_secs_f64() / self.traced.as_secs_f64().max(1e-9),
        }
    }
}

/// Names of what a process runs in, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The container's name.
    pub container: Option<String>,
    /// Kubernetes' pod.
    pub pod: Option<String>,
    pub namespace: Option<String>,
    /// systemd's service, outside of containers.
    pub unit: Option<String>,
}

impl Workload {
    /// Names that OpenTelemetry has for resources (its semantic conventions), and for a unit, which
    /// has none there, one in their manner; with what they are here.
    pub fn attributes(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("container.name", self.container.as_deref()),
            ("k8s.pod.name", self.pod.as_deref()),
            ("k8s.namespace.name", self.namespace.as_deref()),
            ("systemd.unit", self.unit.as_deref()),
        ]
    }
}

impl Process {
    /// `4242`, or `12 processes` where it stands for several.
    pub fn who(&self) -> String {
        match self.processes {
            1 => self.pid.to_string(),
            several => format!("{several} processes"),
        }
    }
}

/// A file that addresses belong to.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Path as the process sees it.
    pub path: String,
    /// GNU build id as hex, else the Go build id, else empty.
    pub build_id: String,
    /// Link-time start and end of the executable segment that addresses lie in.
    pub text_start: VAddr,
    pub text_end: VAddr,
    /// File offset of `text_start`.
    pub text_offset: u64,
}

/// A place in a binary and its frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Nothing when the address lies in no known file.
    pub binary: Option<BinaryId>,
    /// Link-time address of the call (a return address less one); 0 for made-up locations.
    pub address: VAddr,
    /// Innermost first: inlined calls, then the function that was really called. Never empty.
    pub frames: Vec<Frame>,
    /// Set where it has no name yet; its frame shows the address.
    pub raw: Option<Raw>,
}

/// One function at one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Name as Go's own profiles print it. For unknown frames the text that is shown, with reason.
    pub function: Name,
    /// Path as the compiler recorded it; the empty name when there is none.
    pub file: Name,
    /// 0 when unknown.
    pub line: u32,
    /// Line of the function's declaration, 0 when unknown.
    pub start_line: u32,
    pub kind: FrameKind,
}

/// Whose code a frame is: what the palette, folding and filters go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// `runtime.…`, `internal/runtime/…`: the Go runtime.
    Runtime,
    /// The rest of Go's standard library.
    Standard,
    /// The program and its modules.
    Program,
    /// C code of cgo programs and shared libraries.
    Native,
    /// A Go type as a leaf (`--by type`).
    Type,
    /// Made by heaptap: [`TRUNCATED`].
    Marker,
    /// Made by heaptap: what stacks are grouped by, as their outermost frame, or as their innermost one.
    Group,
    /// An address without a name; the function's text says why.
    Unknown,
}

impl FrameKind {
    /// All kinds, in the order in which a legend lists them.
    pub const ALL: [FrameKind; 8] = [
        FrameKind::Program,
        FrameKind::Standard,
        FrameKind::Runtime,
        FrameKind::Native,
        FrameKind::Type,
        FrameKind::Group,
        FrameKind::Marker,
        FrameKind::Unknown,
    ];

    /// Stable lower-case word, used in outputs.
    pub fn word(self) -> &'static str {
        match self {
            FrameKind::Runtime => "runtime",
            FrameKind::Standard => "standard",
            FrameKind::Program => "program",
            FrameKind::Native => "native",
            FrameKind::Type => "type",
            FrameKind::Marker => "marker",
            FrameKind::Group => "group",
            FrameKind::Unknown => "unknown",
        }
    }
}

/// One stack of one process and its values.
#[derive(Clone, Debug)]
pub struct Sample {
    pub process: ProcessId,
    /// Innermost first.
    pub stack: Vec<LocationId>,
    /// One for each of [`Meta::value_types`].
    pub values: Vec<u64>,
    /// Half-width of the 95 % confidence interval of each value; empty when values are exact.
    pub error: Vec<f64>,
    /// What was allocated, when that was asked for.
    pub go_type: Option<Name>,
    /// What else came of it, to be put on top of its stack: where a goroutine starts.
    pub leaf: Option<LocationId>,
    /// What else sets it apart from samples of the same stack; sorted.
    pub labels: Vec<Label>,
    /// How old its objects became, where that was followed.
    pub ages: Option<Box<Ages>>,
    /// What its iterations over maps were like, where they were followed.
    pub iterations: Option<Box<Iterations>>,
}

/// A word about a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    pub key: Name,
    pub value: LabelValue,
}

/// What a [`Label`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LabelValue {
    Text(Name),
    Number(u64),
}

impl Profile {
    /// An empty profile.
    pub fn new(meta: Meta) -> Self {
        Self {
            meta,
            names: Interner::default(),
            processes: Vec::new(),
            binaries: Vec::new(),
            locations: Vec::new(),
            samples: Vec::new(),
            leaves: HashSet::new(),
            made: HashMap::new(),
        }
    }

    /// Has [`fold::fold_runtime`] keep a location of the runtime where it is innermost.
    pub fn keep_leaf(&mut self, location: LocationId) {
        self.leaves.insert(location);
    }

    /// Frames of a sample, innermost first, inlined calls included.
    pub fn frames<'a>(&'a self, sample: &'a Sample) -> impl DoubleEndedIterator<Item = &'a Frame> {
        sample.stack.iter().flat_map(|id| self.locations[id.0 as usize].frames.iter())
    }

    /// Sum of one value over all samples.
    pub fn total(&self, value: usize) -> u64 {
        self.samples.iter().map(|s| s.value(value)).fold(0, u64::saturating_add)
    }

    /// Where in [`Meta::value_types`] a kind of value is, if it was measured.
    pub fn value_of_kind(&self, kind: ValueType) -> Option<usize> {
        self.meta.value_types.iter().position(|t| *t == kind)
    }
}

impl Sample {
    /// One of the values; 0 when there is none at this index.
    pub fn value(&self, value: usize) -> u64 {
        self.values.get(value).copied().unwrap_or(0)
    }

    /// Half-width of the 95 % confidence interval of one of the values; 0 when it is exact.
    pub fn error(&self, value: usize) -> f64 {
        self.error.get(value).copied().unwrap_or(0.0)
    }
}
