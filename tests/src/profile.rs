//! heaptap's JSON output, as `docs/output.md` tells it: the fields that tests look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer};

use crate::report::{Frame, is_printed};

/// What a process may be caused before it has earned it, and what still comes until its probes are off, on a
/// quiet machine and on a busy one; in nanoseconds.
const BEFORE_EARNED: f64 = 10e6;
const CLOSING: f64 = 15e6;
const CLOSING_AT_MOST: f64 = 100e6;
/// CPU time of heaptap's own for a window; it is 3 ms on a quiet machine, unoptimized.
const OWN_AT_MOST: f64 = 6e6;

#[derive(Clone, Debug, Deserialize)]
pub struct Profile {
    pub schema: String,
    pub meta: Meta,
    pub counters: Vec<Counter>,
    pub notes: Vec<String>,
    pub processes: Vec<Process>,
    pub stacks: Vec<Stack>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Meta {
    pub source: String,
    pub estimate: bool,
    pub started_unix_ns: u64,
    pub duration_ns: u64,
    pub value_types: Vec<ValueType>,
    pub totals: Vec<u64>,
    pub lost_events: u64,
    pub budget: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ValueType {
    pub kind: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Counter {
    pub name: String,
    pub count: u64,
    pub is_loss: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// 0 where it stands for several.
    #[serde(deserialize_with = "or_zero")]
    pub pid: u32,
    /// How many it stands for.
    #[serde(default = "one")]
    pub processes: u64,
    pub comm: String,
    pub container: Option<String>,
    pub container_name: Option<String>,
    pub go_version: Option<String>,
    pub cost: Option<Cost>,
}

/// What recording cost a process.
#[derive(Clone, Debug, Deserialize)]
pub struct Cost {
    pub traps: u64,
    pub caused_ns: u64,
    /// CPU time of heaptap's own.
    pub own_ns: u64,
    pub cpu_ns: u64,
    pub percent: Option<f64>,
    pub windows: u32,
    pub observed_ns: u64,
    pub traced_ns: u64,
    pub scaled: bool,
    /// Recorded once, and not until the end.
    pub ended_early: bool,
}

fn or_zero<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<u32, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(0))
}

fn one() -> u64 {
    1
}

#[derive(Clone, Debug, Deserialize)]
pub struct Stack {
    /// Index in [`Profile::processes`].
    pub process: usize,
    pub values: Vec<u64>,
    /// Half-widths of the 95 % confidence intervals; empty when values are exact.
    pub error: Vec<f64>,
    pub go_type: Option<String>,
    /// What else sets it apart; numbers or texts.
    #[serde(default)]
    pub labels: BTreeMap<String, serde_json::Value>,
    /// How old objects became, in mode sample.
    pub ages: Option<Ages>,
    /// What its iterations over maps were like, with `--probe map`.
    pub iterations: Option<Iterations>,
    /// Innermost first.
    pub frames: Vec<StackFrame>,
}

/// Objects by class of age.
#[derive(Clone, Debug, Deserialize)]
pub struct Ages {
    pub freed: Vec<u64>,
    pub live: Vec<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Iterations {
    pub complete: u64,
    pub cost_ns: u64,
    pub p99_ns: u64,
    /// How many of each depth.
    pub by_depth: Vec<(u32, u64)>,
    pub longest: Vec<LongestIteration>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct LongestIteration {
    pub goroutine: u64,
    pub steps: u64,
    pub time_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct StackFrame {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub kind: String,
    pub inlined: bool,
    /// `0x4a5b6c`: where the call is, as the linker placed it.
    pub address: String,
}

impl Stack {
    /// The labels that are texts.
    pub fn text_labels(&self) -> BTreeMap<String, String> {
        let text = |(key, value): (&String, &serde_json::Value)| {
            Some((key.clone(), value.as_str()?.to_string()))
        };
        self.labels.iter().filter_map(text).collect()
    }
}

impl Profile {
    pub fn read(path: &Path) -> Result<Profile> {
        let text = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        let profile: Profile = serde_json::from_slice(&text).context("not the documented JSON")?;
        ensure!(profile.schema == "heaptap.profile/1", "unknown schema {:?}", profile.schema);
        Ok(profile)
    }

    /// Position of a kind of value (`alloc_objects`, `alloc_space`).
    pub fn value(&self, kind: &str) -> Result<usize> {
        let found = self.meta.value_types.iter().position(|value| value.kind == kind);
        found.with_context(|| format!("the profile has no value {kind}"))
    }

    /// Sum of one kind of value.
    pub fn total(&self, kind: &str) -> Result<u64> {
        let value = self.value(kind)?;
        Ok(self.stacks.iter().map(|stack| stack.values[value]).sum())
    }

    /// Sum of one value over stacks whose innermost frame is this, and the half-width of its interval.
    pub fn estimate(&self, value: usize, innermost: &str) -> (f64, f64) {
        let is = |stack: &&Stack| stack.frames.first().is_some_and(|f| f.function == innermost);
        let (mut sum, mut squares) = (0.0, 0.0);
        for stack in self.stacks.iter().filter(is) {
            sum += stack.values[value] as f64;
            squares += stack.error.get(value).map_or(0.0, |error| error * error);
        }
        (sum, squares.sqrt())
    }

    /// A counter of the kernel programs; 0 when it is not listed.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|c| c.name == name).map_or(0, |c| c.count)
    }

    /// That a process was caused no more than its share of its CPU time, with what heaptap took for itself;
    /// beside the loan, and what came until its probes were off once more. The kernel takes them off within some
    /// milliseconds, and needs longer where CPUs are busy: so traps that found the gate shut are let pass, but
    /// not as many as when probes stay on.
    pub fn is_within_budget(&self, cost: &Cost, share: f64) -> Result<()> {
        let each = cost.caused_ns as f64 / cost.traps.max(1) as f64;
        let late = self.counter("over_budget") as f64 * each;
        ensure!(late <= CLOSING_AT_MOST * f64::from(cost.windows.max(1)), "{late} late: {cost:?}");
        // Where the host gives this machine no time, that counts as heaptap's.
        let own = (cost.own_ns as f64).min(OWN_AT_MOST * f64::from(cost.windows.max(1)));
        let all = cost.caused_ns as f64 + own;
        let most = share * cost.cpu_ns as f64 + BEFORE_EARNED + late.max(CLOSING);
        ensure!(all <= most, "{all} of {most}, {late} late: {cost:?}");
        Ok(())
    }

    /// Counters that mean that something is missing.
    pub fn losses(&self) -> Vec<&Counter> {
        self.counters.iter().filter(|counter| counter.is_loss).collect()
    }

    /// Process ids that stacks belong to.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> =
            self.stacks.iter().map(|stack| self.processes[stack.process].pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

impl Stack {
    /// Whether outer frames are missing: the outermost frame is heaptap's mark.
    pub fn is_truncated(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.kind == "marker")
    }
}

impl StackFrame {
    /// Whether this is `frame`, whose name is as tracebacks have it: without type arguments.
    pub fn is(&self, frame: &Frame) -> bool {
        is_printed(&self.function, &frame.function)
            && self.file == frame.file
            && self.line == frame.line
    }
}
