//! The document `heaptap.leaks/1` (docs/leaks.md).

use serde::Serialize;

use super::{Finding, Judged, Report};
use crate::exit::Failure;
use crate::output::identity::Identity;
use crate::pipeline::json;
use crate::pipeline::roster::Unseen;
use crate::profile::trend::{Doubt, Keeper, Place};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.leaks/1";

pub fn document(report: &Report) -> Result<String, Failure> {
    json(SCHEMA, &Document::new(report), true)
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    leaks: usize,
    processes: Vec<Process<'a>>,
    unseen: &'a [Unseen],
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    seconds: f64,
    heap_profiles: usize,
    leaks: usize,
    findings: Vec<JsonFinding<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    verdict: &'static str,
    of: &'static str,
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    stacks: usize,
    keeper: Option<&'static str>,
    slope: f64,
    slope_error: f64,
    grew: f64,
    samples: f64,
    stays: f64,
    live: f64,
    objects: Option<f64>,
    blocked: Option<u64>,
    looks: usize,
    seconds: f64,
    doubts: Vec<&'static str>,
    stack: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    function: &'a str,
    file: &'a str,
    line: u32,
}

impl<'a> Document<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        Self {
            schema: SCHEMA,
            leaks: report.leaks(),
            processes: report.processes.iter().map(Process::new).collect(),
            unseen: &report.unseen,
        }
    }
}

impl<'a> Process<'a> {
    fn new(judged: &'a Judged) -> Self {
        Self {
            identity: Identity::new(
                (judged.id.pid, judged.id.start),
                [&judged.comm, &judged.path],
                judged.go_version.as_deref(),
                judged.container.as_deref(),
                &judged.workload,
            ),
            seconds: judged.span,
            heap_profiles: judged.profiles,
            leaks: judged.leaks(),
            findings: judged.findings.iter().map(JsonFinding::new).collect(),
            notes: &judged.notes,
        }
    }
}

impl<'a> JsonFinding<'a> {
    fn new(finding: &'a Finding) -> Self {
        let place = finding.place.as_ref();
        let frame = |place: &'a Place| Frame {
            function: &place.function,
            file: &place.file,
            line: place.line,
        };
        let trend = &finding.trend;
        Self {
            verdict: trend.verdict.word(),
            of: finding.of.word(),
            function: place.map(|place| &*place.function),
            file: place.map(|place| &*place.file),
            line: place.map(|place| place.line),
            stacks: finding.stacks,
            keeper: finding.keeper.map(Keeper::word),
            slope: trend.slope,
            slope_error: trend.error,
            grew: trend.grew,
            samples: trend.hits,
            stays: trend.stays,
            live: finding.live,
            objects: finding.objects,
            blocked: finding.blocked,
            looks: trend.looks,
            seconds: trend.span,
            doubts: trend.doubts.iter().copied().map(Doubt::text).collect(),
            stack: finding.stack.iter().map(frame).collect(),
        }
    }
}
