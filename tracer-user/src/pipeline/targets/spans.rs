//! When a process is seen: from when until when, and which time that stands for.
//!
//! In: moments, and how many of its events each CPU had. Out: how long a window lasted, and how many of the
//! program's threads paid for what was seen in it. Reads no clock.

use std::time::Duration;

/// How much of a window it may take to begin it, as a part of one: what was not seen of it meanwhile is not
/// known.
const LATE: u32 = 10;
/// Pairs of events without which nothing is said of threads.
const PAIRS: u64 = 20;

/// A time in which a process is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    began: Duration,
    /// Its end, where what is seen in it has no say in that.
    until: Option<Duration>,
    ended: Option<Duration>,
    /// The time that it stands for, in nanoseconds.
    gap: f64,
}

impl Span {
    /// A window that stands for a time, in nanoseconds.
    pub fn new(began: Duration, begun: Duration, length: Option<Duration>, gap: f64) -> Self {
        let until = length.map(|length| began + length);
        let is_late = length.is_some_and(|length| (begun - began.min(begun)) * LATE > length);
        Self { began, until, ended: None, gap: if is_late { 0.0 } else { gap } }
    }

    /// It says nothing of other times: its beginning was no matter of chance.
    pub fn for_itself(began: Duration) -> Self {
        Self { began, until: None, ended: None, gap: 0.0 }
    }

    /// It ends, unless it has before.
    pub fn end(&mut self, at: Duration) {
        self.ended = Some(self.ended.map_or(at, |ended| ended.min(at)));
    }

    /// Whether it began later.
    pub fn is_after(&self, at: Duration) -> bool {
        self.began > at
    }

    /// Whether it has an end that was chosen before.
    pub fn has_end(&self) -> bool {
        self.until.is_some()
    }

    /// Whether that has come.
    pub fn is_over(&self, at: Duration) -> bool {
        self.until.is_some_and(|until| until <= at)
    }

    /// How long it was, when it is over.
    pub fn lasted(&self, now: Duration) -> Duration {
        let ended = self.ended.unwrap_or(now);
        self.until.map_or(ended, |until| until.min(ended)).saturating_sub(self.began)
    }

    pub fn gap(&self) -> f64 {
        self.gap
    }
}

/// How a program's events are spread over CPUs within windows: over so many threads, as no thread moves that
/// often.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    before: Vec<u64>,
    /// Pairs of events of one window, and those of them on the same CPU.
    pairs: u64,
    same: u64,
}

impl Spread {
    /// A window begins; events so far, by CPU.
    pub fn begin(&mut self, events: Vec<u64>) {
        self.before = events;
    }

    /// It has ended.
    pub fn end(&mut self, events: &[u64]) {
        let own = events.iter().zip(&self.before).map(|(now, before)| now.saturating_sub(*before));
        let pairs = |n: u64| n * n.saturating_sub(1) / 2;
        let (mut all, mut same) = (0, 0);
        for n in own {
            all += n;
            same += pairs(n);
        }
        self.pairs += pairs(all);
        self.same += same;
    }

    /// How many threads events are spread over: two of as many equally busy ones are the same one in so many
    /// cases.
    pub fn threads(&self) -> f64 {
        if self.pairs < PAIRS { 1.0 } else { self.pairs as f64 / self.same.max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_ends_when_it_was_to_end_or_before() {
        let mut span = Span::new(10 * MS, 10 * MS, Some(2 * MS), 5e6);
        assert!(span.has_end() && !span.is_over(11 * MS) && span.is_over(12 * MS));
        assert_eq!((span.lasted(11 * MS), span.lasted(50 * MS)), (MS, 2 * MS));
        assert!(span.is_after(9 * MS) && !span.is_after(10 * MS));
        // What comes too late changes nothing.
        span.end(30 * MS);
        assert_eq!(span.lasted(50 * MS), 2 * MS);
        span.end(11 * MS);
        span.end(12 * MS);
        assert_eq!((span.lasted(50 * MS), span.gap()), (MS, 5e6));
        // Nobody knows what came while it was opened.
        assert_eq!(Span::new(10 * MS, 11 * MS, Some(2 * MS), 5e6).gap(), 0.0);
        let mut first = Span::for_itself(MS);
        assert!(!first.is_over(99 * MS) && !first.has_end());
        first.end(4 * MS);
        assert_eq!((first.lasted(9 * MS), first.gap()), (3 * MS, 0.0));
    }

    #[test]
    fn threads_are_told_by_events_that_share_a_cpu() {
        let mut spread = Spread::default();
        assert_eq!(spread.threads(), 1.0);
        // One thread, now here and now there.
        for round in 0..10u64 {
            spread.begin(vec![5, 5]);
            spread.end(&if round % 2 == 0 { [11, 5] } else { [5, 11] });
        }
        assert_eq!(spread.threads(), 1.0);
        // Four that take turns.
        let mut spread = Spread::default();
        for _ in 0..10 {
            spread.begin(vec![0; 4]);
            spread.end(&[100, 100, 100, 100]);
        }
        assert!((spread.threads() - 4.0).abs() < 0.1, "{}", spread.threads());
    }
}
