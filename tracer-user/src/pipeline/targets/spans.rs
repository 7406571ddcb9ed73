//! When a process is seen: from when until when, and which time that stands for.
//!
//! In: moments, and how many of its events each CPU had. Out: how long a window lasted, and how many of the
//! program's threads paid for what was seen in it. Reads no clock.

use std::time::Duration;

use super::rates::Time;

/// How much of a window it may take to begin it, as a part of one: what was not seen of it meanwhile is not
/// known.
const LATE: u32 = 10;
/// Pairs of events without which nothing is said of threads.
const PAIRS: u64 = 20;

/// A time in which a process is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    began: Duration,
    /// Where what is seen has no say in that.
    meant: Option<Meant>,
    ended: Option<Duration>,
    /// Whether it ended because of what it had cost.
    is_cut: bool,
    /// The time that it stands for, in nanoseconds.
    gap: f64,
}

/// How a window is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meant {
    /// How long it was meant to be.
    pub length: Duration,
    /// When it ends if nothing is seen in it.
    pub until: Duration,
    /// By how much each event puts off its end, in nanoseconds.
    pub each: f64,
}

impl Span {
    /// A window that stands for a time, in nanoseconds, and was opened at some moment between two.
    pub fn new(opened: (Duration, Duration), meant: Option<Meant>, gap: f64) -> Self {
        let took = opened.1.saturating_sub(opened.0);
        let is_late = meant.is_some_and(|meant| took * LATE > meant.length);
        Self {
            meant,
            gap: if is_late { 0.0 } else { gap },
            ..Self::for_itself(opened.0 + took / 2)
        }
    }

    /// It says nothing of other times: its beginning was no matter of chance.
    pub fn for_itself(began: Duration) -> Self {
        Self { began, meant: None, ended: None, is_cut: false, gap: 0.0 }
    }

    /// It ends, unless it has before.
    pub fn end(&mut self, at: Duration) {
        self.ended = Some(self.ended.map_or(at, |ended| ended.min(at)));
    }

    /// It ended because of what it had cost.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Whether it began later.
    pub fn is_after(&self, at: Duration) -> bool {
        self.began > at
    }

    /// Whether it has an end that was chosen before.
    pub fn has_end(&self) -> bool {
        self.meant.is_some()
    }

    fn lasted(&self, now: Duration) -> Duration {
        self.ended.unwrap_or(now).saturating_sub(self.began)
    }

    /// How long it was as it was meant, or until it had cost too much; nothing where nothing was meant.
    pub fn meant(&self, now: Duration) -> Option<Duration> {
        let Meant { length, .. } = self.meant?;
        let less = length.saturating_sub(Duration::from_nanos(1));
        Some(if self.is_cut { self.lasted(now).min(less) } else { length })
    }

    /// What it was, when it is over; `each` is what an event costs where that was not said before.
    pub fn time(&self, now: Duration, each: f64) -> Time {
        // It was meant to end at a time; how long that is is known when it has begun.
        let progress = |meant: Meant| meant.until.saturating_sub(self.began).as_nanos() as f64;
        Time {
            length: self.lasted(now).as_nanos() as f64,
            progress: self.meant.map_or(f64::INFINITY, progress),
            gap: self.gap,
            each: self.meant.map_or(each, |meant| meant.each.floor()),
        }
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
        let meant = |until| Some(Meant { length: 2 * MS, until, each: 700.9 });
        let mut span = Span::new((10 * MS, 10 * MS), meant(12 * MS), 5e6);
        assert!(span.has_end() && span.is_after(9 * MS) && !span.is_after(10 * MS));
        assert_eq!(span.meant(50 * MS), Some(2 * MS));
        span.end(13 * MS);
        // What comes too late changes nothing.
        span.end(30 * MS);
        let time = Time { length: 3e6, progress: 2e6, gap: 5e6, each: 700.0 };
        assert_eq!(span.time(50 * MS, 1.0), time);
        span.cut();
        assert!(span.meant(50 * MS).unwrap() < 2 * MS);
        span.end(11 * MS);
        assert_eq!((span.meant(50 * MS), span.time(MS, 1.0).length), (Some(MS), 1e6));
        // Nobody knows what came while it was opened.
        let late = Span::new((10 * MS, 11 * MS), meant(12 * MS), 5e6);
        assert_eq!(late.time(MS, 1.0).gap, 0.0);
        // What it took to open it is no part of it.
        let short = Span::new((9 * MS, 9 * MS + MS / 10), meant(10 * MS + MS / 2), 5e6);
        let time = short.time(50 * MS, 1.0);
        assert_eq!((time.progress, time.gap), (1.45e6, 5e6));
        let first = Span::for_itself(MS);
        assert_eq!((first.has_end(), first.meant(9 * MS)), (false, None));
        let time = first.time(4 * MS, 9.0);
        assert_eq!((time.length, time.gap, time.each), (3e6, 0.0, 9.0));
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
