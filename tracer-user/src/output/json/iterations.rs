//! Iterations over maps of a stack, as `docs/output.md` describes them.

use serde::Serialize;

use crate::profile::iterations::{Histogram, Iterations, Worst};

/// Distributions are pairs: the smallest value of a power of two, and how many are in it.
#[derive(Serialize)]
pub struct StackIterations {
    complete: u64,
    cost_ns: u64,
    p50_ns: u64,
    p99_ns: u64,
    by_time_ns: Vec<(u64, u64)>,
    by_steps: Vec<(u64, u64)>,
    by_depth: Vec<(u32, u64)>,
    longest: Vec<One>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most_steps: Option<One>,
}

#[derive(Serialize)]
struct One {
    goroutine: u64,
    steps: u64,
    time_ns: u64,
}

impl From<&Iterations> for StackIterations {
    fn from(of: &Iterations) -> Self {
        let quantile = |of: &Histogram, part| of.quantile(part).map_or(0, |(_, high)| high);
        Self {
            complete: of.complete,
            cost_ns: of.cost,
            p50_ns: quantile(&of.by_time, 0.5),
            p99_ns: quantile(&of.by_time, 0.99),
            by_time_ns: of.by_time.by_powers(),
            by_steps: of.by_steps.by_powers(),
            by_depth: of.by_depth.iter().map(|(depth, count)| (*depth, *count)).collect(),
            longest: of.worst.iter().map(One::from).collect(),
            most_steps: of.most_steps.as_ref().map(One::from),
        }
    }
}

impl From<&Worst> for One {
    fn from(worst: &Worst) -> Self {
        Self { goroutine: worst.goroutine, steps: worst.steps, time_ns: worst.time }
    }
}
