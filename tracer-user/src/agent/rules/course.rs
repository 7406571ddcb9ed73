//! How one number went: what a rule looks back at.
//!
//! In: values with times. Out: how fast it changes, or a quantile of what was added to a histogram. So many points are
//! kept at most, evenly over the time that is asked for.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::agent::metrics::Histogram;

/// Points that are kept of one number.
const POINTS: u32 = 60;
/// A change is told when this part of the time that was asked for was seen.
const ENOUGH: f64 = 0.9;

type Point<T> = (SystemTime, T);

/// A number over time.
#[derive(Debug)]
pub struct Course<T> {
    over: Duration,
    points: VecDeque<Point<T>>,
}

impl<T> Course<T> {
    pub fn new(over: Duration) -> Self {
        Self { over, points: VecDeque::new() }
    }

    /// The number as of now; a clock that was put back begins anew.
    pub fn add(&mut self, at: SystemTime, value: T) {
        if self.points.back().is_some_and(|(last, _)| at < *last) {
            self.points.clear();
        }
        // The newest one stands for itself until there is one that is far enough from the one before it.
        let apart = self.over / POINTS;
        let before_last = self.points.len().checked_sub(2).map(|number| self.points[number].0);
        if before_last.is_some_and(|before| since(at, before) < apart) {
            self.points.pop_back();
        }
        self.points.push_back((at, value));
        // One that is older stays: what lies within the time begins between two.
        while self.points.get(1).is_some_and(|(second, _)| since(at, *second) >= self.over) {
            self.points.pop_front();
        }
    }

    /// The first point and the last, if there is enough in between.
    fn ends(&self) -> Option<[&Point<T>; 2]> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let seen = since(last.0, first.0);
        (seen > Duration::ZERO && seen >= self.over.mul_f64(ENOUGH)).then_some([first, last])
    }
}

fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

impl Course<f64> {
    /// By how much it changes a second: the slope of the line that is nearest to all points. Of what only grows the
    /// difference between its ends; one that went back began anew, and says nothing.
    pub fn rate(&self, is_counter: bool) -> Option<f64> {
        let [(began, first), (ended, last)] = self.ends()?;
        if is_counter {
            let steps = self.points.iter().zip(self.points.iter().skip(1));
            let is_steady = steps.into_iter().all(|((_, one), (_, next))| next >= one);
            return is_steady.then(|| (last - first) / since(*ended, *began).as_secs_f64());
        }
        let seconds = |at: &SystemTime| since(*at, *began).as_secs_f64();
        let n = self.points.len() as f64;
        let mean = |of: &dyn Fn(&Point<f64>) -> f64| self.points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(&|(at, _)| seconds(at)), mean(&|(_, value)| *value));
        let both = mean(&|(at, value)| (seconds(at) - x) * (value - y));
        let square = mean(&|(at, _)| (seconds(at) - x).powi(2));
        (square > 0.0).then(|| both / square)
    }
}

impl Course<Histogram> {
    /// The value that this part of what was added is not above, as Prometheus works it out: evenly within a range;
    /// of the last one, which has no end, its beginning.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let [(_, first), (_, last)] = self.ends()?;
        let same = first.buckets.len() == last.buckets.len();
        let pairs = last.buckets.iter().zip(&first.buckets);
        let added: Option<Vec<(f64, u64)>> =
            pairs.map(|((end, now), (_, then))| Some((*end, now.checked_sub(*then)?))).collect();
        let added = added.filter(|_| same)?;
        let all: u64 = added.iter().map(|(_, count)| count).sum();
        let wanted = part * all as f64;
        let (mut below, mut begin) = (0.0, 0.0);
        for (end, count) in added.into_iter().filter(|_| all > 0) {
            let count = count as f64;
            if below + count >= wanted && count > 0.0 {
                let is_open = end.is_infinite();
                return Some(if is_open {
                    begin
                } else {
                    begin + (end - begin) * (wanted - below) / count
                });
            }
            (below, begin) = (below + count, end);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1e9 + seconds)
    }

    fn course(over: u64, values: impl IntoIterator<Item = (f64, f64)>) -> Course<f64> {
        let mut course = Course::new(Duration::from_secs(over));
        values.into_iter().for_each(|(second, value)| course.add(at(second), value));
        course
    }

    #[test]
    fn a_rate_is_told_when_enough_was_seen() {
        let line = |seconds: u32| (0..=seconds).map(|n| (f64::from(n), 3.0 * f64::from(n)));
        assert_eq!(course(60, line(50)).rate(false), None);
        for seconds in [54, 60, 1000] {
            let course = course(60, line(seconds));
            assert!((course.rate(false).unwrap() - 3.0).abs() < 1e-9);
            assert!((course.rate(true).unwrap() - 3.0).abs() < 1e-9);
            assert!(course.points.len() <= POINTS as usize + 2, "{}", course.points.len());
        }
        // It goes up and down and nowhere.
        let waves = (0..=300).map(|n| (f64::from(n), f64::from(n % 7)));
        assert!(course(300, waves).rate(false).unwrap().abs() < 0.01);
        // Often looked at: as many points, and the same answer.
        let often = (0..=6000).map(|n| (f64::from(n) / 100.0, f64::from(n) / 100.0));
        let often = course(60, often);
        assert!(often.points.len() <= POINTS as usize + 2 && often.points.len() > 50);
        assert!((often.rate(false).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_began_anew_says_nothing() {
        assert_eq!(
            course(10, (0..=20).map(|n| (f64::from(n), f64::from(n % 15)))).rate(true),
            None
        );
        let back = [(0.0, 1.0), (100.0, 2.0), (50.0, 3.0)];
        assert_eq!(course(10, back).rate(true), None);
    }

    #[test]
    fn quantiles_are_of_what_was_added() {
        let histogram = |counts: [u64; 3]| Histogram {
            sum: 0.0,
            count: counts.iter().sum(),
            buckets: [1.0, 2.0, f64::INFINITY].into_iter().zip(counts).collect(),
        };
        let mut course = Course::new(Duration::from_secs(10));
        course.add(at(0.0), histogram([1000, 0, 5]));
        assert_eq!(course.quantile(0.5), None);
        course.add(at(10.0), histogram([1000, 0, 5]));
        assert_eq!(course.quantile(0.5), None);
        course.add(at(10.0), histogram([1050, 50, 5]));
        assert_eq!(course.quantile(0.5), Some(1.0));
        assert_eq!(course.quantile(0.75), Some(1.5));
        course.add(at(10.0), histogram([1050, 50, 905]));
        assert_eq!(course.quantile(0.99), Some(2.0));
    }
}
