//! The documents. Times are milliseconds since 1970, sizes bytes; what is not known is null.

use serde::Serialize;

use crate::agent::captured::{Captured, Listed};
use crate::agent::node::{Finding, Frame, Node, Process, Stack, Unread};
use crate::agent::timeline::{Point, millis};
use crate::agent::web::Refused;
use crate::forecast::{Limit, When};
use crate::output::identity::Identity;

#[derive(Serialize)]
pub struct NodeDocument<'a> {
    time: u64,
    node: &'a str,
    version: &'static str,
    processes: usize,
    unread: Vec<UnreadOne<'a>>,
    own: OwnCost,
}

#[derive(Serialize)]
struct UnreadOne<'a> {
    pid: u32,
    comm: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct OwnCost {
    cpu_seconds: f64,
    resident: Option<u64>,
    rounds: u64,
    rounds_late: u64,
    round_seconds: f64,
    left_out: u64,
    turns: u64,
    turns_failed: u64,
    turns_seconds: f64,
    answered: u64,
    refused: Vec<RefusedFor>,
}

#[derive(Serialize)]
struct RefusedFor {
    reason: &'static str,
    count: u64,
}

impl<'a> NodeDocument<'a> {
    pub fn new(node: &'a Node) -> Self {
        let own = &node.own;
        let unread =
            |one: &'a Unread| UnreadOne { pid: one.pid, comm: &one.comm, reason: &one.reason };
        let refused =
            |why: Refused| RefusedFor { reason: why.word(), count: own.requests.refused(why) };
        Self {
            time: millis(node.time),
            node: &node.name,
            version: env!("CARGO_PKG_VERSION"),
            processes: node.processes.len(),
            unread: node.unread.iter().map(unread).collect(),
            own: OwnCost {
                cpu_seconds: own.cpu.as_secs_f64(),
                resident: own.resident,
                rounds: own.rounds,
                rounds_late: own.late,
                round_seconds: own.took.as_secs_f64(),
                left_out: own.left_out,
                turns: own.turns,
                turns_failed: own.turns_failed,
                turns_seconds: own.turns_took.as_secs_f64(),
                answered: own.requests.answered,
                refused: Refused::ALL.map(refused).into(),
            },
        }
    }
}

/// All that the page's first view shows, of one picture.
#[derive(Serialize)]
pub struct Overview<'a> {
    node: NodeDocument<'a>,
    processes: Vec<Summary<'a>>,
    captures: Captures,
}

impl<'a> Overview<'a> {
    pub fn new(node: &'a Node, listed: &Listed) -> Self {
        let processes = super::processes(node);
        Self { node: NodeDocument::new(node), processes, captures: Captures::new(listed) }
    }
}

/// Whether there is something new in the list of captures, and whether more can be asked for.
#[derive(Serialize)]
struct Captures {
    files: usize,
    newest: Option<u64>,
    on_request: bool,
    longest_seconds: f64,
}

impl Captures {
    fn new(listed: &Listed) -> Self {
        Self {
            files: listed.files.len(),
            newest: listed.files.last().map(|file| millis(file.made)),
            on_request: listed.on_request,
            longest_seconds: listed.longest.as_secs_f64(),
        }
    }
}

/// A file that was captured.
#[derive(Serialize)]
pub struct CaptureDocument<'a> {
    name: &'a str,
    time: u64,
    bytes: u64,
    what: &'static str,
    pid: Option<u32>,
}

impl<'a> CaptureDocument<'a> {
    pub fn new(file: &'a Captured) -> Self {
        let Captured { name, made, bytes, what, pid } = file;
        Self { name, time: millis(*made), bytes: *bytes, what, pid: *pid }
    }
}

/// A process in short.
#[derive(Serialize)]
pub struct Summary<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    heap_live: u64,
    heap_goal: Option<u64>,
    resident: Option<u64>,
    /// Since the program began.
    allocated: u64,
    gc_pressure: Option<f64>,
    gc_pause_p99_seconds: Option<f64>,
    goroutines: Option<u64>,
    /// Of the limit of which most is used.
    limit_used: Option<f64>,
    /// Until the first limit at which it ends is reached.
    forecast_seconds: Option<f64>,
    leaks: usize,
    growing: usize,
}

impl<'a> Summary<'a> {
    pub fn new(process: &'a Process) -> Self {
        let Process { who, stats, memory, .. } = process;
        let count = |verdict: &str| {
            let findings = process.trends.iter().flat_map(|trends| &trends.findings);
            findings.filter(|finding| finding.verdict == verdict).count()
        };
        let part = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let of_go = stats.collector.memory_limit.map(|limit| part(process.mapped(), limit));
        let of_group = memory.cgroup.and_then(|of| Some(part(of.usage, of.limit?)));
        let forecast = process.trends.as_ref().and_then(|trends| trends.forecast.as_ref());
        let ends = forecast.iter().flat_map(|forecast| &forecast.limits);
        let seconds = ends.filter(|limit| limit.of.is_end()).filter_map(seconds);
        Self {
            identity: Identity::new(
                (who.id.pid, who.id.start),
                [&who.comm, &who.path],
                who.go_version.as_deref(),
                who.container.as_deref(),
                &who.workload,
            ),
            heap_live: stats.heap.marked,
            heap_goal: stats.heap.goal,
            resident: memory.resident,
            allocated: stats.allocated.bytes,
            gc_pressure: process.gc.pressure,
            gc_pause_p99_seconds: process.pauses.p99_ns.map(|ns| ns as f64 / 1e9),
            goroutines: process.goroutines.as_ref().map(|told| told.program),
            limit_used: of_go.into_iter().chain(of_group).max_by(f64::total_cmp),
            forecast_seconds: seconds.min_by(f64::total_cmp),
            leaks: count("leak"),
            growing: count("growing"),
        }
    }
}

fn seconds(limit: &Limit) -> Option<f64> {
    match limit.when {
        _ if limit.is_reached => Some(0.0),
        When::In { seconds, .. } => Some(seconds),
        When::TooEarly | When::NotInSight { .. } => None,
    }
}

/// A process in full.
#[derive(Serialize)]
pub struct ProcessDocument<'a> {
    time: u64,
    #[serde(flatten)]
    summary: Summary<'a>,
    memory: Memory,
    collector: Collector,
    states: Vec<State<'a>>,
    /// What the heap profile tells; null: there is none, and `no_profile` says why.
    profile: Option<ProfileTold<'a>>,
    no_profile: Option<&'a str>,
    forecast: Vec<LimitTold<'a>>,
    findings: Vec<FindingTold<'a>>,
    /// When heap profiles were kept that can be compared.
    kept: Vec<u64>,
    captures: Captures,
}

#[derive(Serialize)]
struct Memory {
    mapped: u64,
    stacks: u64,
    off_heap: Option<u64>,
    spans_used: u64,
    spans_idle: u64,
    spans_released: u64,
    objects: u64,
    go_limit: Option<u64>,
    cgroup_used: Option<u64>,
    cgroup_limit: Option<u64>,
}

#[derive(Serialize)]
struct Collector {
    cycles: u32,
    forced: u32,
    gogc_percent: Option<u32>,
    gomaxprocs: u64,
    cpu_seconds: Option<f64>,
    pauses_missed: u64,
}

#[derive(Serialize)]
struct State<'a> {
    state: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct ProfileTold<'a> {
    time: u64,
    bytes: u64,
    objects: u64,
    stacks: usize,
    top: Vec<StackTold<'a>>,
}

#[derive(Serialize)]
struct StackTold<'a> {
    id: String,
    bytes: u64,
    objects: u64,
    allocated: u64,
    frames: Vec<FrameTold<'a>>,
}

#[derive(Serialize)]
struct FrameTold<'a> {
    function: &'a str,
    file: &'a str,
    line: u32,
}

#[derive(Serialize)]
struct LimitTold<'a> {
    limit: &'static str,
    group: Option<&'a str>,
    bytes: u64,
    used: u64,
    is_reached: bool,
    seconds: Option<f64>,
    earliest: Option<f64>,
    latest: Option<f64>,
}

#[derive(Serialize)]
struct FindingTold<'a> {
    of: &'static str,
    verdict: &'static str,
    place: Option<FrameTold<'a>>,
    slope: f64,
    slope_error: f64,
    grew: f64,
    live: f64,
    seconds: f64,
    doubts: &'a [&'static str],
    frames: Vec<FrameTold<'a>>,
}

/// What grows, and where.
#[derive(Serialize)]
pub struct FindingOf<'a> {
    pid: u32,
    comm: &'a str,
    #[serde(flatten)]
    finding: FindingTold<'a>,
}

impl<'a> FindingOf<'a> {
    pub fn new(pid: u32, comm: &'a str, finding: &'a Finding) -> Self {
        Self { pid, comm, finding: FindingTold::new(finding) }
    }

    /// Whether it may be something that fills.
    pub fn is_doubted(&self) -> bool {
        self.finding.verdict != "leak"
    }
}

impl<'a> FindingTold<'a> {
    fn new(finding: &'a Finding) -> Self {
        Self {
            of: finding.of,
            verdict: finding.verdict,
            place: finding.place.as_ref().map(frame),
            slope: finding.slope,
            slope_error: finding.error,
            grew: finding.grew,
            live: finding.live,
            seconds: finding.seconds,
            doubts: &finding.doubts,
            frames: finding.stack.iter().map(frame).collect(),
        }
    }
}

fn frame(frame: &Frame) -> FrameTold<'_> {
    FrameTold { function: &frame.function, file: &frame.file, line: frame.line }
}

impl<'a> LimitTold<'a> {
    fn new(limit: &'a Limit) -> Self {
        let (seconds, earliest, latest) = match limit.when {
            When::In { seconds, earliest, latest } => (Some(seconds), Some(earliest), latest),
            When::NotInSight { earliest } => (None, earliest, None),
            When::TooEarly => (None, None, None),
        };
        Self {
            limit: limit.of.word(),
            group: limit.group.as_deref(),
            bytes: limit.bytes,
            used: limit.used,
            is_reached: limit.is_reached,
            seconds,
            earliest,
            latest,
        }
    }
}

impl<'a> ProcessDocument<'a> {
    pub fn new(node: &Node, process: &'a Process, listed: &Listed) -> Self {
        let Process { stats, memory, .. } = process;
        let (heap, collector) = (&stats.heap, &stats.collector);
        let trends = process.trends.as_deref();
        let forecast = trends.and_then(|trends| trends.forecast.as_ref());
        let states = process.goroutines.iter().flat_map(|told| &told.states);
        let stack = |stack: &'a Stack| StackTold {
            id: format!("{:016x}", stack.id),
            bytes: stack.bytes,
            objects: stack.objects,
            allocated: stack.allocated,
            frames: stack.frames.iter().map(frame).collect(),
        };
        Self {
            time: millis(node.time),
            summary: Summary::new(process),
            memory: Memory {
                mapped: process.mapped(),
                stacks: stats.stacks_in_use,
                off_heap: process.off_heap(),
                spans_used: heap.in_use,
                spans_idle: heap.idle.saturating_sub(heap.released),
                spans_released: heap.released,
                objects: heap.alloc,
                go_limit: collector.memory_limit,
                cgroup_used: memory.cgroup.map(|of| of.usage),
                cgroup_limit: memory.cgroup.and_then(|of| of.limit),
            },
            collector: Collector {
                cycles: collector.cycles,
                forced: collector.forced,
                gogc_percent: collector.percent,
                gomaxprocs: stats.procs,
                cpu_seconds: process.gc.seconds,
                pauses_missed: process.pauses.missed,
            },
            states: states.map(|(state, count)| State { state, count: *count }).collect(),
            profile: process.heap.as_ref().map(|heap| ProfileTold {
                time: millis(heap.at),
                bytes: heap.bytes,
                objects: heap.objects,
                stacks: heap.stacks,
                top: heap.top.iter().map(stack).collect(),
            }),
            no_profile: process.no_heap.as_deref(),
            forecast: forecast
                .iter()
                .flat_map(|forecast| &forecast.limits)
                .map(LimitTold::new)
                .collect(),
            findings: trends
                .iter()
                .flat_map(|trends| &trends.findings)
                .map(FindingTold::new)
                .collect(),
            kept: process.kept.iter().map(|kept| millis(kept.at)).collect(),
            captures: Captures::new(listed),
        }
    }
}

/// The course of a process: one array for each number, all of one length.
#[derive(Serialize)]
pub struct TimelineDocument {
    pid: u32,
    times: Vec<u64>,
    heap_live: Vec<u64>,
    heap_goal: Vec<Option<u64>>,
    resident: Vec<Option<u64>>,
    allocated: Vec<u64>,
    goroutines: Vec<Option<u64>>,
    gc_pressure: Vec<Option<f64>>,
}

impl TimelineDocument {
    pub fn new(pid: u32, points: &[Point]) -> Self {
        fn column<T>(points: &[Point], of: impl Fn(&Point) -> T) -> Vec<T> {
            points.iter().map(of).collect()
        }
        Self {
            pid,
            times: column(points, |point| point.time),
            heap_live: column(points, |point| point.heap_live),
            heap_goal: column(points, |point| point.heap_goal),
            resident: column(points, |point| point.resident),
            allocated: column(points, |point| point.allocated),
            goroutines: column(points, |point| point.goroutines),
            gc_pressure: column(points, |point| point.gc_pressure),
        }
    }
}
