//! A process as the list shows it.
//!
//! In: what a round read of it. Out: [`Process`], with the figures of one line and their order.

use std::cmp::Ordering;

use super::history::{History, Trend, pause_p99};
use crate::host::{Identity, MemoryUse};
use crate::profile::Workload;
use crate::runtime::stats::Stats;

/// What a round read of one process.
#[derive(Clone, Debug)]
pub struct Look {
    pub id: Identity,
    pub comm: String,
    pub path: String,
    pub go_version: Option<String>,
    /// Id of its container.
    pub container: Option<String>,
    pub workload: Workload,
    pub stats: Stats,
    /// Of the program.
    pub goroutines: u64,
    pub memory: MemoryUse,
}

/// A process that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub pid: u32,
    pub comm: String,
    pub reason: String,
}

/// A process and its last rounds.
#[derive(Clone, Debug)]
pub struct Process {
    pub look: Look,
    pub history: History,
    /// Worked out once a round, not each time that rows are sorted.
    pause_p99: Option<u64>,
}

/// Which limit a process is nearest to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Of its limit, 0 to 1 and more.
    pub share: f64,
    pub of: LimitKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// GOMEMLIMIT.
    Go,
    /// That of its control group.
    Cgroup,
}

impl Process {
    pub fn new(look: Look, history: History) -> Self {
        let pause_p99 = pause_p99(&look.stats.collector.pauses);
        Self { look, history, pause_p99 }
    }

    /// Pause that 99 of 100 of its last collections did not exceed.
    pub fn pause_p99(&self) -> Option<u64> {
        self.pause_p99
    }

    pub fn trend(&self) -> Trend {
        self.history.trend()
    }

    /// GOMEMLIMIT or the control group's limit: of the two the one that it has used more of.
    pub fn limit(&self) -> Option<Limit> {
        let Stats { sys, heap, collector, .. } = &self.look.stats;
        let share = |used: u64, limit: u64| used as f64 / limit.max(1) as f64;
        // What the limit is of (mgcpacer.go, `memoryLimit`): all that is mapped, less what was given
        // back.
        let go = collector.memory_limit.map(|limit| Limit {
            share: share(sys.saturating_sub(heap.released), limit),
            of: LimitKind::Go,
        });
        let cgroup = self.look.memory.cgroup.and_then(|group| {
            Some(Limit { share: share(group.usage, group.limit?), of: LimitKind::Cgroup })
        });
        go.into_iter().chain(cgroup).max_by(|a, b| a.share.total_cmp(&b.share))
    }

    /// The name of what it runs in: `namespace/pod`, a container's name or id, or a service.
    pub fn place(&self) -> Option<String> {
        let Look { workload, container, .. } = &self.look;
        if let Some(pod) = &workload.pod {
            return Some(match &workload.namespace {
                Some(namespace) => format!("{namespace}/{pod}"),
                None => pod.clone(),
            });
        }
        let short = container.as_ref().map(|id| id.chars().take(12).collect());
        workload.container.clone().or(short).or_else(|| workload.unit.clone())
    }

    /// Whether a filter, in lower case, is part of anything that names it.
    pub fn matches(&self, filter: &str) -> bool {
        let Look { id, comm, path, container, workload, .. } = &self.look;
        let names = [Some(comm), Some(path), container.as_ref(), workload.container.as_ref()];
        let more = [&workload.pod, &workload.namespace, &workload.unit].map(Option::as_ref);
        let contains = |name: &str| name.to_lowercase().contains(filter);
        names.into_iter().chain(more).flatten().any(|name| contains(name))
            || contains(&id.pid.to_string())
    }
}

impl Unread {
    /// As [`Process::matches`].
    pub fn matches(&self, filter: &str) -> bool {
        self.comm.to_lowercase().contains(filter) || self.pid.to_string().contains(filter)
    }
}

/// What the list can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Pid,
    Name,
    Trend,
    Heap,
    Goal,
    Limit,
    Rate,
    Gc,
    Pause,
    Goroutines,
    Resident,
    Place,
}

impl Column {
    /// In the order in which they are shown.
    pub const ALL: [Column; 12] = [
        Column::Pid,
        Column::Name,
        Column::Trend,
        Column::Heap,
        Column::Goal,
        Column::Limit,
        Column::Rate,
        Column::Gc,
        Column::Pause,
        Column::Goroutines,
        Column::Resident,
        Column::Place,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Column::Pid => "PID",
            Column::Name => "NAME",
            Column::Trend => "T",
            Column::Heap => "HEAP",
            Column::Goal => "GOAL",
            Column::Limit => "LIMIT",
            Column::Rate => "ALLOC/S",
            Column::Gc => "GC%",
            Column::Pause => "P99",
            Column::Goroutines => "GORO",
            Column::Resident => "RSS",
            Column::Place => "CONTAINER",
        }
    }

    /// The key that sorts by it.
    pub fn key(self) -> char {
        match self {
            Column::Pid => 'I',
            Column::Name => 'N',
            Column::Trend => 'T',
            Column::Heap => 'H',
            Column::Goal => 'O',
            Column::Limit => 'L',
            Column::Rate => 'A',
            Column::Gc => 'C',
            Column::Pause => 'P',
            Column::Goroutines => 'G',
            Column::Resident => 'R',
            Column::Place => 'K',
        }
    }

    /// What a column is of.
    pub fn help(self) -> &'static str {
        match self {
            Column::Pid => "process id",
            Column::Name => "command name",
            Column::Trend => {
                "what survives collections, newer half of the last 300 seen against the older: ↑ ↓ by \
                 more than 5 % and than chance, → less, · fewer than 10 seen"
            }
            Column::Heap => "objects that live or were not swept yet; bar: of the goal",
            Column::Goal => "heap size at which the collector wants to be done",
            Column::Limit => {
                "used of GOMEMLIMIT (go) or of the cgroup's limit (cg), the fuller one"
            }
            Column::Rate => "bytes allocated in a second, since the look before",
            Column::Gc => "collector's share of the CPU time of GOMAXPROCS CPUs since the start",
            Column::Pause => "99 of 100 of the last 256 collections stopped it for less",
            Column::Goroutines => "goroutines of the program",
            Column::Resident => "resident memory",
            Column::Place => "pod, container or service",
        }
    }

    /// Whether it begins with what is largest.
    fn is_descending(self) -> bool {
        !matches!(self, Column::Pid | Column::Name | Column::Place)
    }

    /// The order of two processes as it is usual for this column; equal ones by pid.
    pub fn compare(self, a: &Process, b: &Process) -> Ordering {
        let heap = |p: &Process| p.look.stats.heap.alloc;
        let rank = |p: &Process| match p.trend() {
            Trend::Unknown => 0,
            Trend::Down => 1,
            Trend::Flat => 2,
            Trend::Up => 3,
        };
        let order = match self {
            Column::Pid => a.look.id.pid.cmp(&b.look.id.pid),
            Column::Name => a.look.comm.cmp(&b.look.comm),
            Column::Trend => rank(a).cmp(&rank(b)),
            Column::Heap => heap(a).cmp(&heap(b)),
            Column::Goal => a.look.stats.heap.goal.cmp(&b.look.stats.heap.goal),
            Column::Limit => {
                let share = |p: &Process| p.limit().map_or(-1.0, |limit| limit.share);
                share(a).total_cmp(&share(b))
            }
            Column::Rate => {
                let rate = |p: &Process| p.history.rate().unwrap_or(-1.0);
                rate(a).total_cmp(&rate(b))
            }
            Column::Gc => {
                let share = |p: &Process| p.look.stats.collector.cpu_fraction;
                share(a).total_cmp(&share(b))
            }
            Column::Pause => a.pause_p99().cmp(&b.pause_p99()),
            Column::Goroutines => a.look.goroutines.cmp(&b.look.goroutines),
            Column::Resident => a.look.memory.resident.cmp(&b.look.memory.resident),
            // Those that are in none come last.
            Column::Place => {
                let place = |p: &Process| (p.place().is_none(), p.place());
                place(a).cmp(&place(b))
            }
        };
        let order = if self.is_descending() { order.reverse() } else { order };
        order.then(a.look.id.pid.cmp(&b.look.id.pid))
    }
}
