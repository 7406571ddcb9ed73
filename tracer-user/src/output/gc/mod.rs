//! Collections of Go programs as lines, as JSON and as a picture over time.
//!
//! In: a [`Report`]: what was seen of each process. Out: bytes. Reads no process and treats every
//! name as hostile.

mod growth;
mod json;
#[cfg(test)]
pub(crate) mod made;
mod plot;
mod summary;
mod svg;
mod text;

use std::time::{Duration, SystemTime};

pub use growth::{Amounts, Growth, Span};
pub use json::{SCHEMA, write as write_json};
pub use svg::write as write_svg;
pub use text::{head, row, write_summary};

use crate::profile::Workload;
use crate::runtime::cycles::{Cycle, Sample};

/// What was seen of the collectors of some processes.
#[derive(Clone, Debug)]
pub struct Report {
    pub started: SystemTime,
    pub duration: Duration,
    /// CPU time that heaptap itself took meanwhile.
    pub own_cpu: Option<Duration>,
    pub processes: Vec<Process>,
    /// Processes that could not be read, and why.
    pub unseen: Vec<Unseen>,
    /// What else is to be said.
    pub notes: Vec<String>,
    /// Stacks that are shown of a collection.
    pub top: usize,
}

/// A process that could not be read.
#[derive(Clone, Debug)]
pub struct Unseen {
    pub pid: u32,
    pub comm: String,
    pub reason: String,
}

/// One process: one exec of it.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub start_ticks: u64,
    pub comm: String,
    pub path: String,
    pub go_version: Option<String>,
    /// Id of its container.
    pub container: Option<String>,
    pub workload: Workload,
    /// Nanoseconds since 1970 of the first look and the last.
    pub first_unix_ns: u64,
    pub last_unix_ns: u64,
    /// It ended, or could not be read any more.
    pub ended: bool,
    pub looks: u64,
    /// Collections that a trap has caught; nothing: it has none.
    pub traps: Option<u64>,
    /// In order; the newest ones when there were too many to keep.
    pub cycles: Vec<Cycle>,
    /// Earlier ones that were not kept.
    pub dropped: u64,
    /// Collections of which the runtime had kept nothing when they were looked for.
    pub overwritten: u64,
    /// The heap from time to time, with nanoseconds since 1970.
    pub samples: Vec<(u64, Sample)>,
    /// By which stacks it grew; nothing: nobody wants to know.
    pub growth: Option<Growth>,
}

impl Process {
    /// All collections that ended while it was watched.
    pub fn count(&self) -> u64 {
        self.cycles.len() as u64 + self.dropped + self.overwritten
    }

    /// How long it was watched.
    pub fn watched(&self) -> Duration {
        Duration::from_nanos(self.last_unix_ns.saturating_sub(self.first_unix_ns))
    }

    /// `orders (pid 6213, go1.27.3)`.
    fn title(&self) -> String {
        use super::text::printable;
        let mut facts = format!("pid {}", self.pid);
        if let Some(version) = &self.go_version {
            facts.push_str(&format!(", go{}", printable(version)));
        }
        let short = self.container.as_ref().map(|id| id.chars().take(12).collect::<String>());
        if let Some(name) = self.workload.container.as_ref().or(short.as_ref()) {
            facts.push_str(&format!(", container {}", printable(name)));
        }
        format!("{} ({facts})", printable(&self.comm))
    }
}
