//! The document `heaptap.top/1` (docs/top-json.md).

use std::time::SystemTime;

use serde::Serialize;

use crate::exit::Failure;
use crate::output::identity::Identity;
use crate::output::json::unix_ns;
use crate::pipeline::json;
use crate::tui::model::Model;
use crate::tui::model::list::Line;
use crate::tui::model::process;

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.top/1";

/// One document in one line.
pub fn document(model: &Model) -> Result<String, Failure> {
    json(SCHEMA, &Document::new(model), false)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    unix_ns: u64,
    processes: Vec<Process<'a>>,
    unseen: Vec<Unseen<'a>>,
    heaptap: Own,
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    exact: bool,
    heap: u64,
    heap_marked: u64,
    heap_goal: Option<u64>,
    trend: Option<&'static str>,
    memory_limit: Option<u64>,
    cgroup_usage: Option<u64>,
    cgroup_limit: Option<u64>,
    limit_share: Option<f64>,
    allocated: u64,
    alloc_rate: Option<f64>,
    gc_cycles: u32,
    gc_cpu_fraction: f64,
    pause_p99_ns: Option<u64>,
    goroutines: u64,
    resident: Option<u64>,
}

#[derive(Serialize)]
struct Unseen<'a> {
    pid: u32,
    comm: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Own {
    resident: Option<u64>,
    cpu: Option<f64>,
}

impl<'a> Document<'a> {
    fn new(model: &'a Model) -> Self {
        let (mut processes, mut unseen) = (Vec::new(), Vec::new());
        for line in model.list.lines() {
            match line {
                Line::Read(process) => processes.push(Process::new(process)),
                Line::Unread(process::Unread { pid, comm, reason }) => {
                    unseen.push(Unseen { pid: *pid, comm, reason });
                }
            }
        }
        processes.sort_by_key(|process| process.identity.pid);
        Self {
            schema: SCHEMA,
            unix_ns: unix_ns(model.time.unwrap_or(SystemTime::UNIX_EPOCH)),
            processes,
            unseen,
            heaptap: Own { resident: model.footprint.resident, cpu: model.footprint.cpu },
        }
    }
}

impl<'a> Process<'a> {
    fn new(process: &'a process::Process) -> Self {
        let look = &process.look;
        let stats = &look.stats;
        Self {
            identity: Identity::new(
                (look.id.pid, look.id.start),
                [&look.comm, &look.path],
                look.go_version.as_deref(),
                look.container.as_deref(),
                &look.workload,
            ),
            exact: stats.exact,
            heap: stats.heap.alloc,
            heap_marked: stats.heap.marked,
            heap_goal: stats.heap.goal,
            trend: process.trend().word(),
            memory_limit: stats.collector.memory_limit,
            cgroup_usage: look.memory.cgroup.map(|cgroup| cgroup.usage),
            cgroup_limit: look.memory.cgroup.and_then(|cgroup| cgroup.limit),
            limit_share: process.limit().map(|limit| limit.share),
            allocated: stats.allocated.bytes,
            alloc_rate: process.history.rate(),
            gc_cycles: stats.collector.cycles,
            gc_cpu_fraction: stats.collector.cpu_fraction,
            pause_p99_ns: process.pause_p99(),
            goroutines: look.goroutines,
            resident: look.memory.resident,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::assert_described;
    use crate::tui::model::made;

    fn model() -> Model {
        let mut model = Model::default();
        model.update(made::now(), made::looks(), made::unread());
        model
    }

    #[test]
    fn every_field_is_described_and_nothing_else() {
        let document = serde_json::to_value(Document::new(&model())).unwrap();
        assert_described(&document, include_str!("../../../../docs/top-json.md"), SCHEMA);
    }

    #[test]
    fn a_document_is_one_line_in_the_order_of_pids() {
        let text = document(&model()).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pids: Vec<_> =
            back["processes"].as_array().unwrap().iter().map(|p| &p["pid"]).collect();
        assert_eq!(pids, [31, 777, 4242]);
        assert_eq!(back["processes"][2]["heap"], 12 << 20);
        assert_eq!(back["processes"][0]["heap_goal"], serde_json::Value::Null);
        assert_eq!(back["unseen"][0]["reason"], "/usr/bin/old: go1.16 is too old");
    }
}
