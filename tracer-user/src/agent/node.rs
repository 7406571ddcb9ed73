//! The picture of one moment: every Go program of the node, who could not be read, and what looking has cost.
//!
//! In: what the loop has read. Out: [`Node`], which never changes once it is made, so that whoever serves, sends or
//! judges it holds an `Arc` and asks nobody.

#[cfg(test)]
pub mod made;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::iterations::Iterations;
use super::pauses::Pauses;
use super::push::Figures;
use super::rules::State;
use super::web::Requests;
use crate::forecast::Forecast;
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
    pub judged: State,
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

/// A process at one moment. What takes more to find out is not asked each time, and says of when it is.
#[derive(Clone, Debug)]
pub struct Process {
    pub who: Arc<Who>,
    /// Counters do not go back from one picture to the next, also where a look has missed what caches hold. Without
    /// the list of pauses: they are in `pauses`.
    pub stats: Stats,
    pub memory: MemoryUse,
    pub pauses: Arc<Pauses>,
    pub gc: GcTime,
    pub goroutines: Option<Arc<Goroutines>>,
    pub heap: Option<Arc<Heap>>,
    /// Why there is no heap profile, or no new one.
    pub no_heap: Option<Arc<str>>,
    pub trends: Option<Arc<Trends>>,
    /// Nothing: no recording of iterations over maps has ended.
    pub iterations: Option<Arc<Iterations>>,
    /// Heap profiles of before, the oldest first.
    pub kept: Arc<Vec<Arc<Kept>>>,
}

/// A heap profile that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub at: SystemTime,
    /// As pprof.
    pub pprof: Vec<u8>,
}

/// CPU time of the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GcTime {
    /// Seconds since the program began, as of the end of the last collection.
    pub seconds: Option<f64>,
    /// Of the CPU time that GOMAXPROCS CPUs had in the last minute, from 0 to 1; nothing: not known yet.
    pub pressure: Option<f64>,
}

/// Goroutines that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goroutines {
    pub at: SystemTime,
    /// As `runtime.NumGoroutine` counts.
    pub program: u64,
    /// The runtime's own.
    pub runtime: u64,
    /// Entries of the runtime's list that could not be read.
    pub unreadable: u64,
    /// The program's: what each does, or waits for, as Go's tracebacks call it; sorted.
    pub states: Vec<(String, u64)>,
}

/// What a heap profile tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Heap {
    pub at: SystemTime,
    /// Alive as of the last collection, as the runtime's samples estimate it.
    pub bytes: u64,
    pub objects: u64,
    /// How many different stacks there are.
    pub stacks: usize,
    /// Those with most bytes alive, most first.
    pub top: Vec<Stack>,
}

/// Objects of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Tells it from all others, in this and any other process: made of functions, files and lines.
    pub id: u64,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Alive.
    pub bytes: u64,
    pub objects: u64,
    /// Since the program began.
    pub allocated: u64,
}

/// A function at a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    pub function: Arc<str>,
    pub file: Arc<str>,
    /// 0 when unknown.
    pub line: u32,
}

/// Where it goes.
#[derive(Clone, Debug)]
pub struct Trends {
    pub at: SystemTime,
    pub forecast: Option<Forecast>,
    /// What grows; leaks first.
    pub findings: Vec<Finding>,
}

/// Something that grows (docs/leaks.md).
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// `heap`, `goroutines` or `off-heap`.
    pub of: &'static str,
    /// `leak` or `growing`.
    pub verdict: &'static str,
    /// Where to look; nothing where no line is known.
    pub place: Option<Frame>,
    /// Innermost first.
    pub stack: Vec<Frame>,
    /// Bytes or goroutines a second, with the half-width of its 95 % interval.
    pub slope: f64,
    pub error: f64,
    /// Bytes or goroutines.
    pub grew: f64,
    pub live: f64,
    /// Seconds that were looked at.
    pub seconds: f64,
    pub doubts: Vec<&'static str>,
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
    /// Of looks at goroutines, heaps and where they go: how many there were, and how long they took.
    pub turns: u64,
    pub turns_took: Duration,
    /// Those that failed.
    pub turns_failed: u64,
    /// Recordings of iterations over maps that gave something, and those that failed.
    pub recorded: u64,
    pub recorded_failed: u64,
    pub requests: Requests,
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

impl Frame {
    /// `main.read (conn.go:31)`, as it may be shown anywhere.
    pub fn text(&self) -> String {
        use crate::output::text::{printable, short_path};

        let name = printable(&self.function);
        match self.line {
            0 => name.into_owned(),
            line => format!("{name} ({}:{line})", printable(short_path(&self.file))),
        }
    }
}

impl Stack {
    /// What tells it from others, from the functions, files and lines of its frames.
    pub fn id_of(frames: &[Frame]) -> u64 {
        // FNV-1a: the same on every node and in every version.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
        };
        for frame in frames {
            add(frame.function.as_bytes());
            add(&[0]);
            add(frame.file.as_bytes());
            add(&[0]);
            add(&frame.line.to_le_bytes());
        }
        hash
    }
}
