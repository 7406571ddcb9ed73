//! The document `heaptap.gc/1` (docs/gc.md).

use std::io::{self, Write};

use serde::Serialize;

use super::growth::live_change;
use super::{Amounts, Growth, Process, Report, Span};
use crate::output::identity::Identity;
use crate::output::json::unix_ns;
use crate::profile::Frame;
use crate::runtime::cycles::{Cycle, GoalBy, Trigger};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.gc/1";

/// Writes the document and a newline.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::new(report)).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    started_unix_ns: u64,
    duration_ns: u64,
    own_cpu_ns: Option<u64>,
    processes: Vec<One<'a>>,
    unseen: Vec<Unseen<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Unseen<'a> {
    pid: u32,
    comm: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    first_unix_ns: u64,
    last_unix_ns: u64,
    ended: bool,
    looks: u64,
    traps: Option<u64>,
    count: u64,
    in_full: u64,
    dropped: u64,
    overwritten: u64,
    cycles: Vec<JsonCycle>,
    samples: Vec<Sample>,
    growth: Option<JsonGrowth<'a>>,
}

#[derive(Serialize)]
struct JsonGrowth<'a> {
    source: &'static str,
    rate: Option<u64>,
    unknown: u64,
    notes: &'a [String],
    total: Option<JsonSpan>,
    spans: Vec<JsonSpan>,
    stacks: Vec<Vec<JsonFrame<'a>>>,
}

#[derive(Serialize)]
struct JsonFrame<'a> {
    function: &'a str,
    file: &'a str,
    line: u32,
    kind: &'static str,
}

#[derive(Serialize)]
struct JsonSpan {
    first: u32,
    last: u32,
    live_change: Option<i64>,
    #[serde(flatten)]
    sum: JsonAmounts,
    by_stack: Option<Vec<JsonBy>>,
}

#[derive(Serialize)]
struct JsonBy {
    stack: u32,
    #[serde(flatten)]
    amounts: JsonAmounts,
}

#[derive(Serialize)]
struct JsonAmounts {
    allocated_objects: u64,
    allocated_bytes: u64,
    allocated_error: u64,
    grew_objects: i64,
    grew_bytes: i64,
    grew_error: u64,
}

#[derive(Serialize)]
struct JsonCycle {
    number: u32,
    end_unix_ns: u64,
    pause_ns: u64,
    since_last_ns: Option<u64>,
    trigger: Option<&'static str>,
    cpu_share: Option<f64>,
    detail: Option<Detail>,
}

#[derive(Serialize)]
struct Detail {
    sweep_termination_ns: u64,
    mark_ns: u64,
    mark_termination_ns: u64,
    assist_ns: u64,
    background_ns: u64,
    idle_ns: u64,
    cpu_ns: u64,
    stopped_procs: u32,
    gomaxprocs: u32,
    heap_before: u64,
    heap_after: u64,
    live: u64,
    goal: Option<u64>,
    goal_by: Option<&'static str>,
}

#[derive(Serialize)]
struct Sample {
    unix_ns: u64,
    live: u64,
    goal: Option<u64>,
    next_gc_at: Option<u64>,
    mapped: u64,
    memory_limit: Option<u64>,
    gogc: Option<u32>,
    collecting: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let ns = |length: std::time::Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let unseen = report.unseen.iter();
        Self {
            schema: SCHEMA,
            started_unix_ns: unix_ns(report.started),
            duration_ns: ns(report.duration),
            own_cpu_ns: report.own_cpu.map(ns),
            processes: report.processes.iter().map(One::new).collect(),
            unseen: unseen
                .map(|u| Unseen { pid: u.pid, comm: &u.comm, reason: &u.reason })
                .collect(),
            notes: &report.notes,
        }
    }
}

impl<'a> One<'a> {
    fn new(process: &'a Process) -> Self {
        Self {
            identity: Identity::new(
                (process.pid, process.start_ticks),
                [&process.comm, &process.path],
                process.go_version.as_deref(),
                process.container.as_deref(),
                &process.workload,
            ),
            first_unix_ns: process.first_unix_ns,
            last_unix_ns: process.last_unix_ns,
            ended: process.ended,
            looks: process.looks,
            traps: process.traps,
            count: process.count(),
            in_full: process.cycles.iter().filter(|cycle| cycle.detail.is_some()).count() as u64,
            dropped: process.dropped,
            overwritten: process.overwritten,
            cycles: process.cycles.iter().map(JsonCycle::new).collect(),
            samples: process
                .samples
                .iter()
                .map(|(unix_ns, sample)| Sample {
                    unix_ns: *unix_ns,
                    live: sample.live,
                    goal: sample.goal,
                    next_gc_at: sample.trigger,
                    mapped: sample.mapped,
                    memory_limit: sample.memory_limit,
                    gogc: sample.percent,
                    collecting: sample.collecting,
                })
                .collect(),
            growth: process.growth.as_ref().map(|growth| JsonGrowth::new(process, growth)),
        }
    }
}

impl<'a> JsonGrowth<'a> {
    fn new(process: &Process, growth: &'a Growth) -> Self {
        let frame = |frame: &Frame| JsonFrame {
            function: growth.names.text(frame.function),
            file: growth.names.text(frame.file),
            line: frame.line,
            kind: frame.kind.word(),
        };
        let span = |span: &Span| JsonSpan {
            first: span.first,
            last: span.last,
            live_change: live_change(process, span),
            sum: JsonAmounts::new(&span.sum),
            by_stack: (!span.is_cut).then(|| span.by.iter().map(JsonBy::new).collect()),
        };
        Self {
            source: "heap_profile",
            rate: growth.rate,
            unknown: growth.unknown,
            notes: &growth.notes,
            total: growth.total.as_ref().map(span),
            spans: growth.spans.iter().map(span).collect(),
            stacks: (growth.stacks.iter()).map(|stack| stack.iter().map(frame).collect()).collect(),
        }
    }
}

impl JsonBy {
    fn new((stack, amounts): &(u32, Amounts)) -> Self {
        Self { stack: *stack, amounts: JsonAmounts::new(amounts) }
    }
}

impl JsonAmounts {
    fn new(amounts: &Amounts) -> Self {
        let Amounts {
            allocated_objects,
            allocated_bytes,
            allocated_error,
            grew_objects,
            grew_bytes,
            grew_error,
        } = *amounts;
        Self {
            allocated_objects,
            allocated_bytes,
            allocated_error,
            grew_objects,
            grew_bytes,
            grew_error,
        }
    }
}

impl JsonCycle {
    fn new(cycle: &Cycle) -> Self {
        Self {
            number: cycle.number,
            end_unix_ns: cycle.end_unix_ns,
            pause_ns: cycle.pause_ns,
            since_last_ns: cycle.since_last_ns,
            trigger: cycle.trigger.map(Trigger::word),
            cpu_share: cycle.cpu_share(),
            detail: cycle.detail.map(|detail| Detail {
                sweep_termination_ns: detail.sweep_termination_ns,
                mark_ns: detail.mark_ns,
                mark_termination_ns: detail.mark_termination_ns,
                assist_ns: detail.assist_ns,
                background_ns: detail.background_ns,
                idle_ns: detail.idle_ns,
                cpu_ns: detail.cpu_ns(),
                stopped_procs: detail.stopped_procs,
                gomaxprocs: detail.procs,
                heap_before: detail.heap_before,
                heap_after: detail.heap_after,
                live: detail.live,
                goal: detail.goal,
                goal_by: detail.goal_by.map(GoalBy::word),
            }),
        }
    }
}
