//! The document `heaptap.stats/1` (docs/stats-json.md).

use serde::Serialize;

use super::{Round, Snapshot, Unseen};
use crate::exit::Failure;
use crate::output::identity::Identity;
use crate::output::json::unix_ns;
use crate::pipeline::json;

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.stats/1";

/// One document: over several lines, or in one.
pub fn document(round: &Round, pretty: bool) -> Result<String, Failure> {
    json(SCHEMA, &Document::new(round), pretty)
}

/// One process of the document.
pub fn process(snapshot: &Snapshot) -> impl Serialize + '_ {
    Process::new(snapshot)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    unix_ns: u64,
    processes: Vec<Process<'a>>,
    unseen: &'a [Unseen],
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    exact: bool,
    heap: Heap,
    gc: Gc,
    stacks: InUse,
    runtime: Runtime,
    allocated: Allocated,
    goroutines: Goroutines,
    sampler_rate: u64,
    gomaxprocs: u64,
    memory: Memory,
}

#[derive(Serialize)]
struct Heap {
    alloc: u64,
    objects: u64,
    sys: u64,
    in_use: u64,
    idle: u64,
    released: u64,
    marked: u64,
    live: u64,
    goal: Option<u64>,
    next_gc_at: Option<u64>,
}

#[derive(Serialize)]
struct Gc {
    gogc: Option<u32>,
    memory_limit: Option<u64>,
    limit_binds: bool,
    phase: &'static str,
    cycles: u32,
    forced: u32,
    last_unix_ns: Option<u64>,
    pause_total_ns: u64,
    pauses: Vec<Pause>,
    cpu_fraction: f64,
}

#[derive(Serialize)]
struct Pause {
    end_unix_ns: u64,
    ns: u64,
}

#[derive(Serialize)]
struct InUse {
    in_use: u64,
    sys: u64,
}

#[derive(Serialize)]
struct Runtime {
    spans: InUse,
    caches: InUse,
    buckets_sys: u64,
    gc_sys: u64,
    other_sys: u64,
    sys: u64,
}

#[derive(Serialize)]
struct Allocated {
    bytes: u64,
    objects: u64,
    frees: u64,
    tiny: u64,
    large: Large,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Large {
    bytes: u64,
    objects: u64,
    freed_bytes: u64,
    frees: u64,
}

#[derive(Serialize)]
struct Class {
    size: u16,
    objects: u64,
    frees: u64,
}

#[derive(Serialize)]
struct Goroutines {
    program: u64,
    runtime: u64,
    unreadable: u64,
}

#[derive(Serialize)]
struct Memory {
    resident: Option<u64>,
    anonymous: Option<u64>,
    swapped: Option<u64>,
    off_heap: Option<u64>,
    cgroup: Option<Cgroup>,
}

#[derive(Serialize)]
struct Cgroup {
    usage: u64,
    limit: Option<u64>,
}

impl<'a> Document<'a> {
    fn new(round: &'a Round) -> Self {
        Self {
            schema: SCHEMA,
            unix_ns: unix_ns(round.time),
            processes: round.snapshots.iter().map(Process::new).collect(),
            unseen: &round.unseen,
        }
    }
}

impl<'a> Process<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let stats = &snapshot.stats;
        let (heap, gc, allocated) = (&stats.heap, &stats.collector, &stats.allocated);
        Self {
            identity: Identity::new(
                (snapshot.id.pid, snapshot.id.start),
                [&snapshot.comm, &snapshot.path],
                snapshot.go_version.as_deref(),
                snapshot.container.as_deref(),
                &snapshot.workload,
            ),
            exact: stats.exact,
            heap: Heap {
                alloc: heap.alloc,
                objects: heap.objects,
                sys: heap.sys,
                in_use: heap.in_use,
                idle: heap.idle,
                released: heap.released,
                marked: heap.marked,
                live: heap.live,
                goal: heap.goal,
                next_gc_at: heap.trigger,
            },
            gc: Gc {
                gogc: gc.percent,
                memory_limit: gc.memory_limit,
                limit_binds: gc.limit_binds,
                phase: gc.phase.word(),
                cycles: gc.cycles,
                forced: gc.forced,
                last_unix_ns: Some(gc.last_unix_ns).filter(|ns| *ns > 0),
                pause_total_ns: gc.pause_total_ns,
                pauses: gc
                    .pauses
                    .iter()
                    .map(|p| Pause { end_unix_ns: p.end_unix_ns, ns: p.ns })
                    .collect(),
                cpu_fraction: gc.cpu_fraction,
            },
            stacks: InUse { in_use: stats.stacks_in_use, sys: stats.stacks_sys },
            runtime: Runtime {
                spans: InUse { in_use: stats.spans_in_use, sys: stats.spans_sys },
                caches: InUse { in_use: stats.caches_in_use, sys: stats.caches_sys },
                buckets_sys: stats.buckets_sys,
                gc_sys: stats.gc_sys,
                other_sys: stats.other_sys,
                sys: stats.sys,
            },
            allocated: Allocated {
                bytes: allocated.bytes,
                objects: allocated.objects,
                frees: allocated.frees,
                tiny: allocated.tiny,
                large: Large {
                    bytes: allocated.large.bytes,
                    objects: allocated.large.objects,
                    freed_bytes: allocated.large.freed_bytes,
                    frees: allocated.large.frees,
                },
                classes: allocated
                    .classes
                    .iter()
                    .map(|c| Class { size: c.size, objects: c.objects, frees: c.frees })
                    .collect(),
            },
            goroutines: Goroutines {
                program: snapshot.goroutines.program,
                runtime: snapshot.goroutines.runtime,
                unreadable: snapshot.goroutines.unreadable,
            },
            sampler_rate: stats.sampler_rate,
            gomaxprocs: stats.procs,
            memory: Memory {
                resident: snapshot.memory.resident,
                anonymous: snapshot.memory.anonymous,
                swapped: snapshot.memory.swapped,
                off_heap: snapshot.off_heap(),
                cgroup: snapshot
                    .memory
                    .cgroup
                    .map(|cgroup| Cgroup { usage: cgroup.usage, limit: cgroup.limit }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::round;
    use super::*;
    use crate::pipeline::assert_described;

    #[test]
    fn every_field_is_described_and_nothing_else() {
        let document = serde_json::to_value(Document::new(&round())).unwrap();
        let text = include_str!("../../../../docs/stats-json.md");
        assert_described(&document, text, SCHEMA);
    }

    #[test]
    fn a_watched_document_is_one_line() {
        let text = document(&round(), false).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["processes"][0]["heap"]["next_gc_at"], 17 << 20);
        assert_eq!(back["unseen"][0]["reason"], "process 7: too old");
    }
}
