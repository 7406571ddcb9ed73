//! Rules: conditions on metrics of processes, and what follows when they hold.
//!
//! In: a picture of the node for each round, and checked rules. Out: [`Alert`]s that begin and end, of which each says
//! what is to be captured and who is to be told. Knows no process, no file and no network; what time it is the picture
//! says. What is kept is bounded, and what there is no room for is counted.

mod course;
mod engine;
mod what;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::node::Who;

pub use engine::{Counts, Engine, MOST_COURSES};
pub use what::{Bound, Metric, Of, Pattern};

/// A condition on a metric, of every process that is meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub name: String,
    pub metric: Metric,
    /// Labels that the number itself must have: `go_memory_type = "stack"`.
    pub labels: Vec<(String, String)>,
    pub whom: Whom,
    pub of: Of,
    pub bound: Bound,
    /// For how long it must hold without a break.
    pub hold: Duration,
    pub severity: Severity,
    pub capture: Vec<Capture>,
    /// Names of receivers; nothing: all.
    pub notify: Option<Vec<String>>,
    /// For how long the same is not told again after it has ended.
    pub cooldown: Duration,
}

/// Which processes are meant: those that match all that is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whom {
    pub comm: Option<Pattern>,
    pub container: Option<Pattern>,
    pub pod: Option<Pattern>,
    pub namespace: Option<Pattern>,
}

impl Whom {
    pub fn means(&self, who: &Who) -> bool {
        let matches = |pattern: &Option<Pattern>, text: Option<&str>| match (pattern, text) {
            (None, _) => true,
            (Some(pattern), text) => text.is_some_and(|text| pattern.matches(text)),
        };
        let Who { workload, .. } = who;
        let named = workload.container.as_deref();
        matches(&self.comm, Some(&who.comm))
            && (matches(&self.container, named)
                || matches(&self.container, who.container.as_deref()))
            && matches(&self.pod, workload.pod.as_deref())
            && matches(&self.namespace, workload.namespace.as_deref())
    }
}

/// How bad it is, as receivers sort it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What is kept of a process when a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    Heap,
    Goroutines,
    /// Allocations, for so long.
    Record(Duration),
    /// Iterations over maps, for so long.
    Map(Duration),
    /// What becomes resident, for so long.
    Os(Duration),
}

impl Capture {
    /// What there is.
    pub const WORDS: [&str; 5] = ["heap", "goroutines", "record", "map", "os"];

    /// What a word means; `length` is that of what takes time.
    pub fn of(word: &str, length: Duration) -> Option<Self> {
        Some(match word {
            "heap" => Capture::Heap,
            "goroutines" => Capture::Goroutines,
            "record" => Capture::Record(length),
            "map" => Capture::Map(length),
            "os" => Capture::Os(length),
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Capture::Heap => "heap",
            Capture::Goroutines => "goroutines",
            Capture::Record(_) => "record",
            Capture::Map(_) => "map",
            Capture::Os(_) => "os",
        }
    }

    /// Which probe is attached, and for how long; nothing for what is read.
    pub fn recorded(self) -> Option<(&'static str, Duration)> {
        match self {
            Capture::Heap | Capture::Goroutines => None,
            Capture::Record(length) => Some(("alloc", length)),
            Capture::Map(length) => Some(("map", length)),
            Capture::Os(length) => Some(("os", length)),
        }
    }
}

/// What became of captures since the agent began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    pub made: u64,
    pub failed: u64,
    /// Beyond what may be made in an hour, or wait.
    pub left_out: u64,
    /// Removed for want of room, or because they were old.
    pub removed: u64,
}

/// What has become of rules and of what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub rules: Counts,
    pub captures: Captured,
    /// Alerts that a receiver has not heard of because it had heard of too many.
    pub hushed: u64,
}

/// A rule that holds of a process, or does no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The same for as long as it holds, and no other's.
    pub id: u64,
    pub rule: Arc<Rule>,
    pub who: Arc<Who>,
    /// The number's own labels, as they are printed.
    pub labels: String,
    /// What the number was when it was told.
    pub value: f64,
    /// When it began to hold.
    pub since: SystemTime,
    /// When it was told to hold, and when to hold no more.
    pub at: SystemTime,
    pub ended: Option<SystemTime>,
}

#[cfg(test)]
mod tests;
