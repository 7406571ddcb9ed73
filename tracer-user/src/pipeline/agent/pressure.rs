//! What a collector takes of the CPUs, now and not in the mean since the program began.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::agent::node::GcTime;
use crate::host::Identity;
use crate::pipeline::forecast::watched::collected;
use crate::runtime::stats::Stats;

/// What "now" is.
const LATELY: Duration = Duration::from_secs(60);
/// Points are so far apart at least.
const APART: Duration = Duration::from_secs(1);
/// Of less time nothing is told.
const SHORTEST: Duration = Duration::from_secs(5);

/// CPU time of one collector over the last minute.
#[derive(Default)]
pub struct Pressure {
    points: VecDeque<(Instant, f64)>,
    seconds: f64,
}

impl Pressure {
    /// Adds a look.
    pub fn add(&mut self, now: Instant, id: Identity, stats: &Stats) -> GcTime {
        let collector = &stats.collector;
        let procs = stats.procs as f64;
        // The runtime keeps its share of all CPU time until the end of the last collection.
        let seconds = collected(id, stats).map(|until| collector.cpu_fraction * procs * until);
        self.seconds = self.seconds.max(seconds.unwrap_or(0.0));
        if self.points.back().is_none_or(|(at, _)| now - *at >= APART) {
            self.points.push_back((now, self.seconds));
        }
        while self.points.get(1).is_some_and(|(at, _)| now - *at >= LATELY) {
            self.points.pop_front();
        }
        let pressure = self.points.front().and_then(|(at, before)| {
            let length = now - *at;
            let had = length.as_secs_f64() * procs;
            (length >= SHORTEST).then(|| ((self.seconds - before) / had).clamp(0.0, 1.0))
        });
        let known = seconds.map(|_| self.seconds).or((collector.cycles == 0).then_some(0.0));
        GcTime { seconds: known, pressure: pressure.filter(|share| share.is_finite()) }
    }
}
