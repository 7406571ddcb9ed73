//! What a process was like in the last rounds: rates, trend, and the points of charts.
//!
//! In: its statistics, round by round. Out: numbers. Bounded: older rounds are forgotten.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::runtime::stats::{Pause, Stats};

/// Rounds that are kept: five minutes of seconds.
pub const ROUNDS: usize = 300;

/// A round, as charts need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub heap: u64,
    /// Survived the last collection.
    pub marked: u64,
    pub goal: Option<u64>,
    /// Bytes allocated in a second; nothing in the first round.
    pub rate: Option<f64>,
    pub goroutines: u64,
    /// Collections that ended.
    pub cycles: u32,
}

/// Where the live heap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    Up,
    Flat,
    Down,
    /// Too few collections were seen.
    Unknown,
}

/// Collections that are needed to tell a trend.
const MIN_COLLECTIONS: usize = 4;
/// A trend is a change by more than this share of what was, and by more than [`MIN_CHANGE`].
const MIN_SHARE: f64 = 0.05;
const MIN_CHANGE: u64 = 64 << 10;

impl Trend {
    /// The word for scripts; nothing when it is not known.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Trend::Up => Some("up"),
            Trend::Flat => Some("flat"),
            Trend::Down => Some("down"),
            Trend::Unknown => None,
        }
    }

    pub fn arrow(self) -> &'static str {
        match self {
            Trend::Up => "↑",
            Trend::Flat => "→",
            Trend::Down => "↓",
            Trend::Unknown => "·",
        }
    }
}

/// The last rounds of one process.
#[derive(Clone, Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    /// Bytes allocated until the last look without, and with, what caches hold.
    last: [Option<(SystemTime, u64)>; 2],
}

impl History {
    /// Adds a round.
    pub fn add(&mut self, now: SystemTime, stats: &Stats, goroutines: u64) {
        // With the caches' contents or without: the two differ by more than what was allocated.
        let last = &mut self.last[usize::from(stats.exact)];
        let rate = last.and_then(|(then, before)| {
            let elapsed = now.duration_since(then).ok().filter(|e| *e > Duration::ZERO)?;
            let bytes = stats.allocated.bytes.checked_sub(before)?;
            Some(bytes as f64 / elapsed.as_secs_f64())
        });
        *last = Some((now, stats.allocated.bytes));
        if self.points.len() == ROUNDS {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            heap: stats.heap.alloc,
            marked: stats.heap.marked,
            goal: stats.heap.goal,
            rate,
            goroutines,
            cycles: stats.collector.cycles,
        });
    }

    /// Oldest first.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &Point> + DoubleEndedIterator {
        self.points.iter()
    }

    /// Bytes allocated in a second, between the last two looks.
    pub fn rate(&self) -> Option<f64> {
        self.points.back()?.rate
    }

    /// What survived collections that were seen, the older half of them against the newer one, by
    /// their medians: the heap itself goes up and down between collections.
    pub fn trend(&self) -> Trend {
        let mut seen: Vec<(u32, u64)> = self.points.iter().map(|p| (p.cycles, p.marked)).collect();
        seen.dedup_by_key(|(cycles, _)| *cycles);
        if seen.len() < MIN_COLLECTIONS {
            return Trend::Unknown;
        }
        let mut marked: Vec<u64> = seen.into_iter().map(|(_, marked)| marked).collect();
        let half = marked.len() / 2;
        let newer = median(&mut marked.split_off(half));
        let older = median(&mut marked);
        let least = (older as f64 * MIN_SHARE) as u64;
        match newer.abs_diff(older) > least.max(MIN_CHANGE) {
            false => Trend::Flat,
            true if newer > older => Trend::Up,
            true => Trend::Down,
        }
    }
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// The pause that 99 of 100 of a program's last collections (256 at most) did not exceed.
pub fn pause_p99(pauses: &[Pause]) -> Option<u64> {
    let mut lengths: Vec<u64> = pauses.iter().map(|pause| pause.ns).collect();
    lengths.sort_unstable();
    // The nearest rank: the smallest that is not below 99 % of them.
    let rank = (lengths.len() * 99).div_ceil(100);
    lengths.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn stats(allocated: u64, marked: u64, cycles: u32) -> Stats {
        let mut stats = crate::runtime::stats::made::stats();
        stats.allocated.bytes = allocated;
        stats.heap.marked = marked;
        stats.collector.cycles = cycles;
        stats
    }

    #[test]
    fn rates_are_between_looks_of_the_same_kind() {
        let mut history = History::default();
        assert_eq!(history.rate(), None);
        history.add(at(1), &stats(1000, 0, 0), 1);
        assert_eq!(history.rate(), None);
        history.add(at(3), &stats(5000, 0, 0), 1);
        assert_eq!(history.rate(), Some(2000.0));
        let busy = Stats { exact: false, ..stats(4000, 0, 0) };
        history.add(at(4), &busy, 1);
        assert_eq!(history.rate(), None, "less than before, but not of the same things");
        history.add(at(5), &stats(9000, 0, 0), 1);
        assert_eq!(history.rate(), Some(2000.0), "over two seconds");
        history.add(at(5), &stats(9999, 0, 0), 1);
        assert_eq!(history.rate(), None, "no time went by");
    }

    fn trend(marked: impl IntoIterator<Item = u64>) -> Trend {
        let mut history = History::default();
        for (second, marked) in (1..).zip(marked) {
            history.add(at(second), &stats(0, marked << 20, second as u32), 1);
        }
        history.trend()
    }

    #[test]
    fn trends_are_of_what_survives_and_need_some_collections() {
        assert_eq!(trend([10, 20, 30]), Trend::Unknown);
        assert_eq!(trend([10, 20, 30, 40]), Trend::Up);
        assert_eq!(trend([40, 30, 20, 10]), Trend::Down);
        assert_eq!(trend([100, 104, 99, 102]), Trend::Flat);
        assert_eq!(trend([100, 100, 100, 900, 100, 100, 100]), Trend::Flat, "one outlier");
        assert_eq!(trend((0..1000).map(|n| 100 + n)), Trend::Up, "old rounds are forgotten");
        let mut still = History::default();
        (1..50).for_each(|second| still.add(at(second), &stats(0, second << 20, 7), 1));
        assert_eq!(still.trend(), Trend::Unknown, "one collection, seen often");
        assert_eq!(still.points().len(), 49);
    }

    #[test]
    fn the_99th_percentile_is_the_nearest_rank() {
        let pauses = |lengths: &[u64]| -> Vec<Pause> {
            lengths.iter().map(|ns| Pause { end_unix_ns: 0, ns: *ns }).collect()
        };
        assert_eq!(pause_p99(&[]), None);
        assert_eq!(pause_p99(&pauses(&[7])), Some(7));
        assert_eq!(pause_p99(&pauses(&[9, 1, 5])), Some(9));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(pause_p99(&pauses(&hundred)), Some(99));
    }
}
