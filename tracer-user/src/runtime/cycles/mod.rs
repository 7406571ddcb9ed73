//! Collections of a live process, each as the runtime has written it down.
//!
//! In: a [`super::Live`] process, looked at often. Out: a [`Cycle`] for each collection that ended
//! meanwhile. The runtime keeps the pauses of the last 256 collections, and everything else of the last
//! one alone, until the next begins: of a collection that nobody looked at in between only the pauses
//! are known, and it is told so.

mod watch;

pub use watch::{Caught, Look, Watcher};

/// A collection begins by itself when there was none for that long (`forcegcperiod`, proc.go).
pub const PERIOD_NS: u64 = 120_000_000_000;

/// One collection that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// Counted from 1 since the program began, as `GODEBUG=gctrace=1` does.
    pub number: u32,
    /// Nanoseconds since 1970.
    pub end_unix_ns: u64,
    /// Nanoseconds in which the program was stopped (`MemStats.PauseNs`).
    pub pause_ns: u64,
    /// Nanoseconds since the end of the one before; nothing: there was none, or it is not known.
    pub since_last_ns: Option<u64>,
    /// Why it began; nothing: that can't be told.
    pub trigger: Option<Trigger>,
    /// Nothing: the next one had begun before anybody looked.
    pub detail: Option<Detail>,
}

/// What began a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The heap has grown to the size that the pacer had chosen.
    Heap,
    /// There was none for two minutes.
    Periodic,
    /// `runtime.GC`, or something that calls it.
    Forced,
}

impl Trigger {
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Heap => "heap",
            Trigger::Periodic => "periodic",
            Trigger::Forced => "forced",
        }
    }
}

/// What made a heap goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalBy {
    Gogc,
    MemoryLimit,
}

impl GoalBy {
    pub fn word(self) -> &'static str {
        match self {
            GoalBy::Gogc => "gogc",
            GoalBy::MemoryLimit => "memory_limit",
        }
    }
}

/// A collection in full. Times in nanoseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// From its begin to where marking began: the first stop, and waiting for it.
    pub sweep_termination_ns: u64,
    /// Marking beside the program.
    pub mark_ns: u64,
    /// The second stop.
    pub mark_termination_ns: u64,
    /// CPU time of goroutines that had to mark before they could allocate.
    pub assist_ns: u64,
    /// CPU time of the workers that the program paid for: dedicated and fractional.
    pub background_ns: u64,
    /// CPU time of workers on Ps that had nothing else to do.
    pub idle_ns: u64,
    /// CPUs that a stop is counted for, and GOMAXPROCS.
    pub stopped_procs: u32,
    pub procs: u32,
    /// The heap when it began, when marking ended, and what was found alive.
    pub heap_before: u64,
    pub heap_after: u64,
    pub live: u64,
    /// What the heap should not exceed when it ended; nothing: GOGC was off and no limit set.
    pub goal: Option<u64>,
    /// Nothing: not known.
    pub goal_by: Option<GoalBy>,
}

impl Detail {
    /// CPU time that it took from the program, as `GODEBUG=gctrace=1` adds it up; without idle Ps.
    pub fn cpu_ns(&self) -> u64 {
        let stops = self.sweep_termination_ns.saturating_add(self.mark_termination_ns);
        stops
            .saturating_mul(self.stopped_procs.into())
            .saturating_add(self.assist_ns)
            .saturating_add(self.background_ns)
    }

    /// From its begin to its end.
    pub fn length_ns(&self) -> u64 {
        self.sweep_termination_ns
            .saturating_add(self.mark_ns)
            .saturating_add(self.mark_termination_ns)
    }
}

impl Cycle {
    /// Takes what another way of looking at the same collection has told, and this one has not.
    pub fn complete(&mut self, other: Cycle) {
        if (self.number, self.end_unix_ns, self.pause_ns)
            != (other.number, other.end_unix_ns, other.pause_ns)
        {
            return;
        }
        self.since_last_ns = self.since_last_ns.or(other.since_last_ns);
        self.trigger = self.trigger.or(other.trigger);
        match (&mut self.detail, other.detail) {
            (Some(detail), Some(other)) => detail.goal_by = detail.goal_by.or(other.goal_by),
            (detail, other) => *detail = detail.or(other),
        }
    }

    /// Share of the CPU time of GOMAXPROCS CPUs since the end of the one before, from 0 to 1.
    pub fn cpu_share(&self) -> Option<f64> {
        let (detail, since) = (self.detail?, self.since_last_ns?);
        let whole = since as f64 * f64::from(detail.procs);
        (whole > 0.0).then(|| detail.cpu_ns() as f64 / whole)
    }
}

/// The heap at one moment. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// What the pacer takes for the heap's size: what survived the last collection, and what was
    /// allocated since.
    pub live: u64,
    /// What the next collection, or the one under way, aims at; nothing: the collector is off.
    pub goal: Option<u64>,
    /// The heap at which the next one begins.
    pub trigger: Option<u64>,
    /// What a memory limit is held against: mapped and not given back.
    pub mapped: u64,
    /// GOMEMLIMIT, if any.
    pub memory_limit: Option<u64>,
    /// GOGC; nothing: off.
    pub percent: Option<u32>,
    /// A collection is under way.
    pub collecting: bool,
}
