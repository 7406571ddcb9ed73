//! The picture of one moment: every Go program of the node, who could not be read, and what looking has cost.
//!
//! In: what the loop has read. Out: [`Node`], which never changes once it is made, so that whoever serves, sends or
//! judges it holds an `Arc` and asks nobody.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::agent::push::Figures;
use crate::host::{Identity, MemoryUse};
use crate::profile::Workload;
use crate::runtime::stats::Stats;

/// The node at one moment.
#[derive(Clone, Debug)]
pub struct Node {
    pub time: SystemTime,
    /// What the node is called.
    pub name: Arc<str>,
    /// By pid.
    pub processes: Vec<Arc<Process>>,
    pub unread: Vec<Unread>,
    pub own: Own,
    /// What became of what was pushed, of each receiver.
    pub push: Vec<Figures>,
}

/// Who a process is; the same for as long as it runs one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub id: Identity,
    pub comm: String,
    pub path: String,
    pub go_version: Option<String>,
    /// Id of its container.
    pub container: Option<String>,
    pub workload: Workload,
}

/// A process at one moment.
#[derive(Clone, Debug)]
pub struct Process {
    pub who: Arc<Who>,
    /// Counters do not go back from one picture to the next, also where a look has missed what caches hold.
    pub stats: Stats,
    pub memory: MemoryUse,
    pub goroutines: Goroutines,
}

/// Goroutines that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goroutines {
    /// As `runtime.NumGoroutine` counts.
    pub program: u64,
    /// The runtime's own.
    pub runtime: u64,
    /// Entries of the runtime's list that could not be read.
    pub unreadable: u64,
}

/// A Go program that can't be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub pid: u32,
    pub comm: String,
    pub reason: String,
}

/// What the agent takes and loses itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// CPU time since its start.
    pub cpu: Duration,
    /// Bytes.
    pub resident: Option<u64>,
    /// Rounds since its start, and those that took longer than the time between two.
    pub rounds: u64,
    pub late: u64,
    /// How long the last one took.
    pub took: Duration,
    /// Processes that the last round left out because there are more than are allowed.
    pub left_out: u64,
}

impl Process {
    /// Of the runtime: mapped and not given back.
    pub fn mapped(&self) -> u64 {
        self.stats.sys.saturating_sub(self.stats.heap.released)
    }

    /// Resident memory that the runtime did not map, at least; nothing when the kernel does not tell.
    pub fn off_heap(&self) -> Option<u64> {
        Some(self.memory.resident?.saturating_sub(self.mapped()))
    }
}
