//! Iterations over maps of a process: how many, and how many were how long, while they were recorded.
//!
//! In: what `heaptap record --probe map` wrote, recording after recording. Out: sums that only grow. Between
//! recordings nobody looks: what there was a second is these by [`Iterations::recorded`].

use std::time::Duration;

use serde::Deserialize;

use super::metrics::Histogram;

/// Powers of two in nanoseconds at which ranges end: 1 µs, 4 µs, and so on to 1 s.
const ENDS: [u32; 11] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];

/// Since the first recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Iterations {
    /// For how long they were recorded.
    pub recorded: Duration,
    pub count: u64,
    /// Elements visited.
    pub steps: u64,
    /// Events of the recordings that were lost.
    pub lost: u64,
    sum_ns: u64,
    /// The last one is of what is longer than all ends.
    by_time: [u64; ENDS.len() + 1],
}

/// The parts of `heaptap.profile` that are needed.
#[derive(Deserialize)]
struct Document {
    meta: Meta,
    stacks: Vec<Stack>,
}

#[derive(Deserialize)]
struct Meta {
    duration_ns: u64,
    lost_events: u64,
    value_types: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct Stack {
    values: Vec<u64>,
    iterations: Option<Distributions>,
}

#[derive(Deserialize)]
struct Distributions {
    /// The smallest value of a power of two, and how many were in it.
    by_time_ns: Vec<(u64, u64)>,
}

impl Iterations {
    /// Adds what a recording has seen.
    ///
    /// # Errors
    /// It is none of iterations over maps.
    pub fn add(&mut self, json: &[u8]) -> Result<(), String> {
        let document: Document = serde_json::from_slice(json).map_err(|err| err.to_string())?;
        let types = &document.meta.value_types;
        let value = |wanted: &str| {
            let at = types.iter().position(|of| of.kind == wanted);
            let at = at.ok_or_else(|| format!("a recording without {wanted}"))?;
            let values = document.stacks.iter().filter_map(|stack| stack.values.get(at));
            Ok::<u64, String>(values.fold(0, |sum, value| sum.saturating_add(*value)))
        };
        let (count, steps, time) =
            (value("map_iterations")?, value("map_steps")?, value("map_time")?);
        self.count = self.count.saturating_add(count);
        self.steps = self.steps.saturating_add(steps);
        self.sum_ns = self.sum_ns.saturating_add(time);
        self.lost = self.lost.saturating_add(document.meta.lost_events);
        self.recorded += Duration::from_nanos(document.meta.duration_ns);
        for stack in &document.stacks {
            let pairs = stack.iterations.iter().flat_map(|of| &of.by_time_ns);
            for (least, count) in pairs {
                // A range of the recording has no end of ours within it.
                let at = ENDS.partition_point(|end| *least >= 1 << end);
                self.by_time[at] = self.by_time[at].saturating_add(*count);
            }
        }
        Ok(())
    }

    pub fn histogram(&self) -> Histogram {
        let seconds = |end: &u32| (1_u64 << end) as f64 / 1e9;
        let ends = ENDS.iter().map(seconds).chain([f64::INFINITY]);
        Histogram {
            sum: self.sum_ns as f64 / 1e9,
            count: self.by_time.iter().sum(),
            buckets: ends.zip(self.by_time).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = r#"{"schema": "heaptap.profile/1", "meta": {"duration_ns": 2000000000, "lost_events": 1,
        "value_types": [{"kind": "map_iterations"}, {"kind": "map_steps"}, {"kind": "map_time"}]},
        "stacks": [
            {"values": [3, 30, 5000], "iterations": {"by_time_ns": [[0, 1], [512, 1], [4096, 1]]}},
            {"values": [1, 9, 2000000000], "iterations": {"by_time_ns": [[1073741824, 1]]}}]}"#;

    #[test]
    fn recordings_add_up() {
        let mut seen = Iterations::default();
        for _ in 0..2 {
            seen.add(RECORDED.as_bytes()).unwrap();
        }
        assert_eq!((seen.count, seen.steps, seen.lost), (8, 78, 2));
        assert_eq!(seen.recorded, Duration::from_secs(4));
        let told = seen.histogram();
        assert_eq!((told.count, told.sum), (8, 4.00001));
        let some: Vec<(f64, u64)> = told.buckets.into_iter().filter(|of| of.1 > 0).collect();
        assert_eq!(some, [(1.024e-6, 4), (16.384e-6, 2), (f64::INFINITY, 2)]);
    }

    #[test]
    fn what_is_no_such_recording_adds_nothing() {
        let mut seen = Iterations::default();
        for wrong in ["", "{}", "[]", &RECORDED.replace("map_time", "alloc_space")] {
            assert!(seen.add(wrong.as_bytes()).is_err());
        }
        assert_eq!(seen, Iterations::default());
    }
}
