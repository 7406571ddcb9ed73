//! The document `heaptap.forecast/1` (docs/forecast.md).

use serde::Serialize;

use super::{Report, Told};
use crate::exit::Failure;
use crate::forecast::{Course, Evidence, Judged, Limit, Ratios, When};
use crate::output::identity::Identity;
use crate::pipeline::json;
use crate::pipeline::roster::Unseen;

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.forecast/1";

pub fn document(report: &Report) -> Result<String, Failure> {
    json(SCHEMA, &Document::new(report), true)
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    within: f64,
    near: usize,
    processes: Vec<Process<'a>>,
    unseen: &'a [Unseen],
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    seconds: f64,
    readings: usize,
    collections: u32,
    ended: bool,
    near: bool,
    limits: Vec<JsonLimit<'a>>,
    trends: Vec<Trend>,
    ways: Vec<Way>,
    ratios: JsonRatios,
    gogc: Option<u32>,
    memory_limit: Option<u64>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct JsonLimit<'a> {
    limit: &'static str,
    group: Option<&'a str>,
    bytes: u64,
    used: u64,
    droppable_left_out: Option<bool>,
    outlook: &'static str,
    seconds: Option<f64>,
    earliest: Option<f64>,
    latest: Option<f64>,
    from: &'static str,
    slope: f64,
    slope_error: f64,
    judged_seconds: f64,
    turned: bool,
}

#[derive(Serialize)]
struct Trend {
    of: &'static str,
    way: &'static str,
    now: f64,
    slope: f64,
    slope_error: f64,
    seconds: f64,
    points: usize,
    turned: bool,
}

#[derive(Serialize)]
struct Way {
    way: &'static str,
    sign: &'static str,
    evidence: Vec<JsonEvidence>,
}

#[derive(Serialize)]
struct JsonEvidence {
    what: &'static str,
    speaks: &'static str,
    value: f64,
    error: Option<f64>,
    unit: &'static str,
}

#[derive(Serialize)]
struct JsonRatios {
    live_of_goal: Option<f64>,
    goal_of_live: Option<f64>,
    spans_filled: Option<f64>,
    idle: Option<f64>,
    released: Option<f64>,
    stacks: Option<f64>,
    off_heap: Option<f64>,
    gc_of_available: Option<f64>,
    gc_of_used: Option<f64>,
    collections: Option<f64>,
    limit_binds: Option<f64>,
    allocated: Option<f64>,
    turnover: Option<f64>,
    mean_object: Option<f64>,
    large_allocated: Option<f64>,
    large_there: Option<f64>,
}

impl<'a> Document<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let within = report.within;
        let near = report.processes.iter().filter(|one| one.forecast.near(within).is_some());
        Self {
            schema: SCHEMA,
            within,
            near: near.count(),
            processes: report.processes.iter().map(|told| Process::new(told, within)).collect(),
            unseen: &report.unseen,
        }
    }
}

impl<'a> Process<'a> {
    fn new(told: &'a Told, within: f64) -> Self {
        let (who, forecast) = (&told.who, &told.forecast);
        let trends = forecast.courses.all();
        Self {
            identity: Identity::new(
                (who.id.pid, who.id.start),
                [&who.comm, &who.path],
                who.go_version.as_deref(),
                who.container.as_deref(),
                &who.workload,
            ),
            seconds: forecast.seconds,
            readings: forecast.readings,
            collections: forecast.collections,
            ended: told.has_ended,
            near: forecast.near(within).is_some(),
            limits: forecast.limits.iter().map(JsonLimit::new).collect(),
            trends: trends.into_iter().map(|(of, course)| Trend::new(of, course)).collect(),
            ways: forecast.ways.iter().map(Way::new).collect(),
            ratios: JsonRatios::new(&forecast.ratios),
            gogc: forecast.last.gogc,
            memory_limit: forecast.last.memory_limit,
            notes: &told.notes,
        }
    }
}

impl<'a> JsonLimit<'a> {
    fn new(limit: &'a Limit) -> Self {
        let (outlook, seconds, earliest, latest) = match limit.when {
            _ if limit.is_reached => ("reached", None, None, None),
            When::TooEarly => ("too early", None, None, None),
            When::In { seconds, earliest, latest } => {
                ("expected", Some(seconds), Some(earliest), latest)
            }
            When::NotInSight { earliest } => ("not in sight", None, earliest, None),
        };
        Self {
            limit: limit.of.word(),
            group: limit.group.as_deref(),
            bytes: limit.bytes,
            used: limit.used,
            droppable_left_out: limit.is_kept,
            outlook,
            seconds,
            earliest,
            latest,
            from: limit.from.word(),
            slope: limit.course.slope,
            slope_error: limit.course.error,
            judged_seconds: limit.course.seconds,
            turned: limit.course.has_turned,
        }
    }
}

impl Trend {
    fn new(of: &'static str, course: &Course) -> Self {
        Self {
            of,
            way: course.way.word(),
            now: course.now,
            slope: course.slope,
            slope_error: course.error,
            seconds: course.seconds,
            points: course.points,
            turned: course.has_turned,
        }
    }
}

impl Way {
    fn new(judged: &Judged) -> Self {
        let evidence = |one: &Evidence| JsonEvidence {
            what: one.what.word(),
            speaks: if one.is_for { "for" } else { "against" },
            value: one.value,
            error: one.error,
            unit: one.what.unit().word(),
        };
        Self {
            way: judged.way.word(),
            sign: judged.sign.word(),
            evidence: judged.evidence.iter().map(evidence).collect(),
        }
    }
}

impl JsonRatios {
    fn new(ratios: &Ratios) -> Self {
        Self {
            live_of_goal: ratios.live_of_goal,
            goal_of_live: ratios.goal_of_live,
            spans_filled: ratios.spans_filled,
            idle: ratios.idle,
            released: ratios.released,
            stacks: ratios.stacks,
            off_heap: ratios.off_heap,
            gc_of_available: ratios.gc_of_available,
            gc_of_used: ratios.gc_of_used,
            collections: ratios.collections,
            limit_binds: ratios.limit_binds,
            allocated: ratios.allocated,
            turnover: ratios.turnover,
            mean_object: ratios.mean_object,
            large_allocated: ratios.large_allocated,
            large_there: ratios.large_there,
        }
    }
}
