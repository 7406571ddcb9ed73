//! Where a level goes: its present trend, how sure that is, and when it comes to a height.
//!
//! In: a figure over time. Out: a [`Course`]: slope with its 95 % interval, over the longest time that ends now
//! and in which it went the same way; and the [`When`] of any height.
//!
//! Levels of programs rise in steps and saws, and neighbouring readings are alike: the interval counts for as many
//! points as are their own, and grows wide where these are few. A trend is no trend before that leaves out zero.

use std::time::Duration;

use crate::profile::trend::Line;

/// Shorter windows tell nothing.
pub const SHORTEST: Duration = Duration::from_secs(15);
/// Points without which there is no trend.
pub const FEWEST: usize = 3;
/// Points in which a series is looked at, at most; and in which a part of one is.
const MOST: usize = 24;
const FEWEST_OF_PART: usize = 6;
/// The last part of a window that is looked at by itself is no shorter than this, in seconds.
const SHORTEST_PART: f64 = 7.0;
/// The halves of a window go different ways when their slopes differ by so many standard deviations, and by this
/// part of the larger one.
const DIFFERENT: f64 = 3.0;
const MATERIAL: f64 = 0.25;
/// A 95 % interval's half-width, of a normal distribution.
const NORMAL: f64 = 1.96;
/// Three standard deviations, in such half-widths.
const CLEAR: f64 = 1.5;
/// Later than in a year is never.
pub const HORIZON: f64 = 365.0 * 86_400.0;

/// What stands for the readings of a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Their highest: a limit is met by peaks.
    Peaks,
    Means,
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    TooEarly,
    /// Neither of the others for sure.
    Level,
    Grows,
    Falls,
}

impl Way {
    pub fn word(self) -> &'static str {
        match self {
            Way::TooEarly => "too early",
            Way::Level => "level",
            Way::Grows => "grows",
            Way::Falls => "falls",
        }
    }
}

/// How a figure goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    pub way: Way,
    /// The last value.
    pub now: f64,
    /// A second, with the half-width of its 95 % interval.
    pub slope: f64,
    pub error: f64,
    /// Between the first and the last point that it is judged by, and how many there were.
    pub seconds: f64,
    pub points: usize,
    /// It went another way before.
    pub has_turned: bool,
    /// Nothing while it is too early.
    line: Option<(Line, f64)>,
    /// When now is.
    end: f64,
}

/// When a height is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// It is too early to tell.
    TooEarly,
    /// Seconds from now, with the ends of the 95 % interval; nothing: later than in a year.
    In { seconds: f64, earliest: f64, latest: Option<f64> },
    /// It may never be; before so many seconds it is not, with 97.5 %. Nothing: not in a year.
    NotInSight { earliest: Option<f64> },
}

impl Course {
    /// Judges; a change by less than `least` is none.
    pub fn of(points: &[(f64, f64)], by: By, least: f64) -> Self {
        let now = points.last().map_or(0.0, |(_, y)| *y);
        let end = points.last().map_or(0.0, |(x, _)| *x);
        let mut course = Self {
            way: Way::TooEarly,
            now,
            slope: 0.0,
            error: 0.0,
            seconds: span(points),
            points: points.len(),
            has_turned: false,
            line: None,
            end,
        };
        if span(points) < SHORTEST.as_secs_f64() || points.len() < FEWEST {
            return course;
        }
        let (part, line) = present(points, by, least);
        let Some(line) = line else { return course };
        course.has_turned = part.len() < points.len();
        course.seconds = span(part);
        course.points = part.len();
        let own = own(&line);
        let line = Line { variance: line.variance * short(&line, own), ..line };
        let error = quantile(own - 2.0) * line.of_slope(own).sqrt();
        (course.slope, course.error) = (line.slope, error);
        course.line = Some((line, own));
        let is_clear = line.slope.abs() > error && line.slope.abs() * course.seconds >= least;
        course.way = match (is_clear, line.slope > 0.0) {
            (false, _) => Way::Level,
            (true, true) => Way::Grows,
            (true, false) => Way::Falls,
        };
        course
    }

    /// The same, of a series that was seen until then and had no more points.
    pub fn as_of(self, end: f64) -> Self {
        Self { end: self.end.max(end), ..self }
    }

    /// Whether it grows by more than chance makes of one in many figures: by three standard deviations.
    pub fn clearly_grows(&self) -> bool {
        self.way == Way::Grows && self.slope > CLEAR * self.error
    }

    /// Whether a trend is known, and none upwards.
    pub fn is_flat(&self) -> bool {
        matches!(self.way, Way::Level | Way::Falls)
    }

    /// By how much it grows in the time that it is judged by.
    pub fn growth(&self) -> f64 {
        self.slope * self.seconds
    }

    /// When it comes to a height above: all times at which the line and what is around it may be there (Fieller's
    /// interval).
    pub fn when(&self, height: f64) -> When {
        let Some((line, own)) = self.line else { return When::TooEarly };
        let q = quantile(own - 2.0).powi(2);
        let up = height - line.level;
        let still = q * (line.variance + line.variance / own);
        let turning = q * line.of_slope(own);
        // (up - slope u)² = still + turning u², for u seconds after the points' mean.
        let (a, b, c) = (line.slope.powi(2) - turning, up * line.slope, up.powi(2) - still);
        let since = self.end - line.at;
        let ahead = |u: f64| Some((u - since).max(0.0)).filter(|seconds| *seconds < HORIZON);
        let root = (b * b - a * c).max(0.0).sqrt();
        let earliest = if up <= 0.0 || c <= 0.0 {
            Some(0.0)
        } else if a > 0.0 {
            if line.slope > 0.0 { ahead((b - root) / a) } else { None }
        } else if a < 0.0 {
            // Of two roots, one is in the future.
            ahead((b - root) / a)
        } else {
            None
        };
        match (self.way, earliest) {
            (Way::Grows, Some(earliest)) => {
                let seconds = (up / line.slope - since).max(earliest);
                let latest = (a > 0.0).then(|| ahead((b + root) / a)).flatten();
                match seconds < HORIZON {
                    true => When::In { seconds, earliest, latest },
                    false => When::NotInSight { earliest: Some(earliest) },
                }
            }
            _ => When::NotInSight { earliest },
        }
    }
}

fn span(points: &[(f64, f64)]) -> f64 {
    match points {
        [(first, _), .., (last, _)] => last - first,
        _ => 0.0,
    }
}

/// The longest part that ends now and whose halves go the same way, and its line.
fn present(points: &[(f64, f64)], by: By, least: f64) -> (&[(f64, f64)], Option<Line>) {
    let mut part = points;
    loop {
        let line = Line::through(&blocks(part, by));
        let half = part.partition_point(|(x, _)| *x < part[0].0 + span(part) / 2.0);
        let (early, late) = part.split_at(half);
        if span(late) < SHORTEST_PART || late.len().min(early.len()) < FEWEST_OF_PART {
            return (part, line);
        }
        let lines = [early, late].map(|half| Line::through(&blocks(half, by)));
        let [Some(one), Some(two)] = lines else { return (part, line) };
        let chance = (one.of_slope(own(&one)) + two.of_slope(own(&two))).sqrt();
        let difference = (two.slope - one.slope).abs();
        let is_turned = difference > DIFFERENT * chance
            && difference > MATERIAL * one.slope.abs().max(two.slope.abs())
            && difference * span(late) > least;
        if !is_turned {
            return (part, line);
        }
        part = late;
    }
}

/// At most [`MOST`] points that stand for all: of equal times each its peak or its mean.
fn blocks(points: &[(f64, f64)], by: By) -> Vec<(f64, f64)> {
    let count = MOST.min(points.len() / 2).max(FEWEST_OF_PART);
    if points.len() <= count {
        return points.to_vec();
    }
    let (begin, length) = (points[0].0, span(points) / count as f64);
    let mut rest = points;
    let mut made = Vec::with_capacity(count);
    for number in 1..=count {
        let until = begin + length * number as f64;
        let cut =
            if number == count { rest.len() } else { rest.partition_point(|(x, _)| *x < until) };
        let (block, after) = rest.split_at(cut);
        rest = after;
        let size = block.len() as f64;
        let sum = block.iter().fold((0.0, 0.0), |(x, y), one| (x + one.0, y + one.1));
        match by {
            _ if block.is_empty() => {}
            By::Means => made.push((sum.0 / size, sum.1 / size)),
            By::Peaks => {
                made.extend(block.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a }))
            }
        }
    }
    made
}

/// For how many points of their own those of a line count. What is left around a line through few points looks less
/// alike than it is: by so much, in the mean (Marriott and Pope, for a mean and a slope).
fn own(line: &Line) -> f64 {
    let alike = line.alike.clamp(0.0, 1.0);
    line.own(alike + (2.0 + 4.0 * alike) / line.count)
}

/// How many times larger the variance around a line is than it looks: where neighbours are alike, the line follows
/// them.
fn short(line: &Line, own: f64) -> f64 {
    (line.count - 2.0) / (line.count * (1.0 - 2.0 / own))
}

/// A 95 % interval's half-width in standard deviations, of Student's distribution (Fisher's expansion).
fn quantile(freedom: f64) -> f64 {
    let z = NORMAL;
    let [z3, z5, z7, z9] = [3, 5, 7, 9].map(|power| z.powi(power));
    let terms = [
        (z3 + z) / 4.0,
        (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0,
        (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0,
        (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * z) / 92_160.0,
    ];
    let freedom = freedom.max(1.0);
    (1..).zip(terms).fold(z, |sum, (power, term)| sum + term / freedom.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_quantiles() {
        for (freedom, expected) in [(2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (22.0, 2.074)] {
            let found = quantile(freedom);
            assert!((found / expected - 1.0).abs() < 0.02, "{freedom}: {found}");
        }
        assert!(quantile(0.0) > 11.0);
    }

    #[test]
    fn blocks_keep_peaks_or_means() {
        let points: Vec<(f64, f64)> = (0..100).map(|x| (x.into(), f64::from(x % 4))).collect();
        assert!(blocks(&points, By::Peaks).iter().all(|(_, y)| *y == 3.0));
        assert_eq!(blocks(&points, By::Peaks).len(), 24);
        assert!(blocks(&points, By::Means).iter().all(|(_, y)| (1.0..2.1).contains(y)));
        assert_eq!(blocks(&points[..5], By::Means), &points[..5]);
        // Nothing was read for a while.
        let gap: Vec<(f64, f64)> =
            points.iter().copied().filter(|(x, _)| *x < 20.0 || *x > 80.0).collect();
        assert!(blocks(&gap, By::Means).len() < 24);
    }
}
