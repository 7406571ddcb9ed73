//! Pauses of a collector: how many were how long, each counted once.
//!
//! In: the runtime's ring of pauses and its count of collections, look after look. Out: [`Pauses`]. A ring holds the
//! last 256; of collections that came and went between two looks beyond that only the number is known.

use super::metrics::Histogram;
use crate::runtime::stats::Collector;

/// Upper ends of ranges, in nanoseconds.
const ENDS: [u64; 15] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
];

/// Pauses since the first look at a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The last one is of what is longer than all ends.
    counts: [u64; ENDS.len() + 1],
    count: u64,
    sum_ns: u64,
    /// Collections whose pauses were overwritten before a look.
    pub missed: u64,
    /// Collections until the last look; nothing: there was none.
    cycles: Option<u32>,
    /// That 99 of 100 of the last pauses, 256 at most, did not exceed.
    pub p99_ns: Option<u64>,
}

impl Pauses {
    /// Whether there is something to be added.
    pub fn is_behind(&self, collector: &Collector) -> bool {
        self.cycles != Some(collector.cycles)
    }

    /// Adds those since the last look. The first look adds none: when the agent is started
    /// again nothing counts twice.
    pub fn add(&mut self, collector: &Collector) {
        let last = self.cycles.replace(collector.cycles);
        let new = last.map_or(0, |last| collector.cycles.saturating_sub(last)) as usize;
        let seen = new.min(collector.pauses.len());
        for pause in &collector.pauses[..seen] {
            self.counts[ENDS.partition_point(|end| *end < pause.ns)] += 1;
            self.count += 1;
            self.sum_ns = self.sum_ns.saturating_add(pause.ns);
        }
        self.missed += (new - seen) as u64;
        if last.is_none() || new > 0 {
            let mut lengths: Vec<u64> = collector.pauses.iter().map(|pause| pause.ns).collect();
            lengths.sort_unstable();
            // The nearest rank: the smallest that is not below 99 % of them.
            let rank = (lengths.len() * 99).div_ceil(100);
            self.p99_ns = rank.checked_sub(1).and_then(|at| lengths.get(at).copied());
        }
    }

    pub fn histogram(&self) -> Histogram {
        let ends = ENDS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        Histogram {
            sum: self.sum_ns as f64 / 1e9,
            count: self.count,
            buckets: ends.zip(self.counts).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stats::Pause;

    fn ring(cycles: u32, lengths: &[u64]) -> Collector {
        let pauses = lengths.iter().map(|ns| Pause { end_unix_ns: 0, ns: *ns }).collect();
        Collector { cycles, pauses, ..Collector::default() }
    }

    #[test]
    fn each_pause_counts_once() {
        let mut pauses = Pauses::default();
        pauses.add(&ring(3, &[900, 20_000, 30_000]));
        assert_eq!((pauses.histogram().count, pauses.p99_ns), (0, Some(30_000)));
        assert!(pauses.is_behind(&ring(5, &[])));
        pauses.add(&ring(5, &[10_000, 10_001, 900, 20_000]));
        pauses.add(&ring(5, &[10_000, 10_001, 900, 20_000]));
        assert!(!pauses.is_behind(&ring(5, &[])));
        let told = pauses.histogram();
        assert_eq!((told.count, told.sum, pauses.missed), (2, 20_001.0 / 1e9, 0));
        assert_eq!(told.buckets[..2], [(1e-5, 1), (2.5e-5, 1)]);
        assert_eq!(told.buckets.len(), 16);
    }

    #[test]
    fn what_was_overwritten_is_counted_and_not_made_up() {
        let mut pauses = Pauses::default();
        pauses.add(&ring(1, &[5]));
        pauses.add(&ring(10, &[2_000_000_000, 7]));
        let told = pauses.histogram();
        assert_eq!((told.count, pauses.missed), (2, 7));
        assert_eq!(told.buckets[15], (f64::INFINITY, 1));
        // A counter that goes back is another program's; nothing is counted.
        pauses.add(&ring(4, &[3]));
        assert_eq!((pauses.histogram().count, pauses.missed), (2, 7));
    }
}
