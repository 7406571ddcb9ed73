//! What a process was like in the last rounds: rates, trend, and the points of charts.
//!
//! In: its statistics, round by round. Out: numbers. Bounded: older rounds are forgotten.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::runtime::stats::{Pause, Stats};

/// Rounds that are kept: five minutes of seconds.
pub const ROUNDS: usize = 300;
/// Collections that a trend is of, at most. They are kept apart: a calm program collects once in two
/// minutes.
const COLLECTIONS: usize = 300;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trend {
    Up,
    Flat,
    Down,
    /// Too few collections were seen.
    #[default]
    Unknown,
}

/// Collections that are needed to tell a trend: with fewer no order of them is beyond chance.
const MIN_COLLECTIONS: usize = 10;
/// A trend is a change by more than this share of what was, and by more than [`MIN_CHANGE`].
const MIN_SHARE: f64 = 0.05;
const MIN_CHANGE: u64 = 64 << 10;
/// And one that chance alone makes in one of 100 cases, in standard deviations.
const BEYOND_CHANCE: f64 = 2.58;

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
    /// What survived each collection that was seen, oldest first.
    marked: VecDeque<u64>,
    trend: Trend,
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
        if self.points.back().is_none_or(|before| before.cycles != stats.collector.cycles) {
            if self.marked.len() == COLLECTIONS {
                self.marked.pop_front();
            }
            self.marked.push_back(stats.heap.marked);
            self.trend = trend(self.marked.make_contiguous());
        }
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

    /// What survived collections, the newer half of those that were seen against the older one: the
    /// heap itself goes up and down between collections.
    pub fn trend(&self) -> Trend {
        self.trend
    }
}

/// Where values go, oldest first: by the medians of their halves, and not where chance does the same.
fn trend(values: &[u64]) -> Trend {
    if values.len() < MIN_COLLECTIONS {
        return Trend::Unknown;
    }
    let (older, newer) = values.split_at(values.len() / 2);
    let (before, now) = (median(older), median(newer));
    let least = (before as f64 * MIN_SHARE) as u64;
    let larger = now.abs_diff(before) > least.max(MIN_CHANGE);
    match (larger, deviation(older, newer)) {
        (true, deviation) if now > before && deviation > BEYOND_CHANCE => Trend::Up,
        (true, deviation) if now < before && deviation < -BEYOND_CHANCE => Trend::Down,
        _ => Trend::Flat,
    }
}

/// How far the order of two groups is from what chance makes, in standard deviations: above 0 when the
/// newer values are the larger ones (the rank sum test of Mann and Whitney, by its normal form).
fn deviation(older: &[u64], newer: &[u64]) -> f64 {
    let mut sorted = older.to_vec();
    sorted.sort_unstable();
    // Pairs of an older and a newer value in which the newer is larger; equal ones count half.
    let larger = |value: &u64| {
        let below = sorted.partition_point(|older| older < value);
        let equal = sorted.partition_point(|older| older <= value) - below;
        below as f64 + equal as f64 / 2.0
    };
    let pairs: f64 = newer.iter().map(larger).sum();
    let (a, b) = (older.len() as f64, newer.len() as f64);
    (pairs - a * b / 2.0) / (a * b * (a + b + 1.0) / 12.0).sqrt()
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
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
        assert_eq!(trend(1..10), Trend::Unknown);
        assert_eq!(trend(1..11), Trend::Up);
        assert_eq!(trend((1..11).rev()), Trend::Down);
        assert_eq!(trend((0..12).map(|n| 100 + n % 5)), Trend::Flat);
        assert_eq!(
            trend((0..20).map(|n| if n == 15 { 900 } else { 100 })),
            Trend::Flat,
            "one outlier"
        );
        assert_eq!(trend((0..1000).map(|n| 100 + n)), Trend::Up, "old ones are forgotten");
        let stopped = (0..1000).map(|n: u64| 100 + n.min(600));
        assert_eq!(trend(stopped), Trend::Flat, "it rose, and has stopped");
        let mut still = History::default();
        (1..50).for_each(|second| still.add(at(second), &stats(0, second << 20, 7), 1));
        assert_eq!(still.trend(), Trend::Unknown, "one collection, seen often");
        assert_eq!(still.points().len(), 49);
    }

    /// Numbers from 0 to 999 without any order (Marsaglia's xorshift), the same ones each time.
    fn noise() -> impl Iterator<Item = u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 1000
        })
    }

    #[test]
    fn a_heap_that_only_jitters_has_no_trend_and_a_leak_below_jitter_has() {
        let mut noise = noise();
        let mut arrows = |rise: u64| {
            let mut history = History::default();
            let looks = (1..=300).map(|second: u64| {
                let marked = (500 + noise.next().unwrap() + second * rise) << 10;
                history.add(at(second), &stats(0, marked, second as u32), 1);
                history.trend()
            });
            looks.collect::<Vec<_>>()
        };
        let steady: Vec<Trend> = (0..20).flat_map(|_| arrows(0)).collect();
        let told = steady.iter().filter(|t| matches!(t, Trend::Up | Trend::Down)).count();
        assert!(told * 50 < steady.len(), "{told} arrows in {} looks", steady.len());
        let leaks = (0..20).filter(|_| arrows(5).last() == Some(&Trend::Up)).count();
        assert_eq!(leaks, 20);
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
