//! Is it a leak? One series of what is alive, looked at until it can be told, or said why not.
//!
//! In: [`Point`]s of one stack, line or creator over time, and how much the whole program allocated meanwhile. Out: a
//! [`Trend`]: how fast it grows, within which interval, what of it dies, and a [`Verdict`].
//!
//! The worst mistake is to accuse what does not leak. So growth alone is no leak: it has to go on to the end
//! of the window as fast as it began, nothing of it may have been let go of, and more requests must not
//! explain it. What grows and passes only some of that is [`Verdict::Growing`], with what is in doubt.

use std::time::Duration;

use super::line::Line;

/// Shorter windows tell nothing.
pub const SHORTEST: Duration = Duration::from_secs(15);
/// Looks that see something new; fewer tell nothing.
pub const FEWEST: usize = 5;
/// Samples, or goroutines, by which a leak has to have grown.
pub const LEAST: f64 = 12.0;
/// By which something has to have grown that is in doubt.
const LEAST_DOUBTED: f64 = 6.0;
/// Steps by which something that is replaced by larger ones has to have grown.
const LEAST_STEPS: usize = 4;
/// Bytes of objects that are as good as all sampled.
const LARGE: f64 = 1e6;
/// Bytes that are worth a word, of levels that have no samples: the noise of resident memory is below it.
const LEAST_LEVEL: f64 = (4 << 20) as f64;
/// The last third must have grown at least this many times as fast as what was before.
const STILL: f64 = 0.5;
/// Less than this part of what was before is nothing.
const FLAT: f64 = 0.15;
/// The second half at least this many times as fast as the first, where chance does not explain it.
const EVEN: f64 = 0.75;
const UNEVEN_BY_CHANCE: f64 = 1.5;
/// How probable the time without growth at the end must be.
const PAUSE: f64 = 0.02;
/// Part of the growth that may have been let go of on the way.
const GIVEN_BACK: f64 = 0.25;
/// What of allocations stays; below it a stack mostly makes what dies, and growth has to be clearer.
const MOSTLY_STAYS: f64 = 0.3;
/// Where more than this part of what is made dies, that of the second half has to be clear by so many
/// standard deviations.
const RENEWED: f64 = 0.15;
const GOES_ON: f64 = 3.2;
/// Half-widths of 95 %.
const NORMAL: f64 = 1.96;
/// Standard deviations by which it must have grown, if as many came as went; and of a stack that mostly makes what dies.
const CLEAR: f64 = 3.4;
const CLEARER: f64 = 4.0;
/// More load than this explains growth.
const MORE_LOAD: f64 = 1.2;
/// Points in time that a series is looked at.
const GRID: usize = 24;

/// What was alive at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Seconds since the window began.
    pub at: f64,
    /// Bytes or objects that are alive, and all that were ever made.
    pub live: f64,
    pub made: f64,
    /// Samples that stand for them, which tells how sure they are; the numbers themselves where everybody was counted.
    pub live_hits: f64,
    pub made_hits: f64,
}

/// What is told of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is too early to tell.
    TooEarly,
    /// It does not grow, or not any more.
    Steady,
    /// It grows, and may be something that fills.
    Growing,
    Leak,
}

impl Verdict {
    /// As documents have it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::TooEarly => "too early",
            Verdict::Steady => "steady",
            Verdict::Growing => "growing",
            Verdict::Leak => "leak",
        }
    }
}

/// Why growth is not called a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Of so little nobody can tell how it goes on.
    Little,
    /// It grows more slowly than it did: what fills does that.
    Slowing,
    /// Some of it was let go of.
    GivesBack,
    /// The program does more, and this grows with it.
    Load,
    /// Not clearer than the coming and going around it.
    Noise,
    /// It grew in steps that are too few.
    Steps,
    /// Something else becomes less as this becomes more.
    Replaces,
    /// They are all that there are, whoever made them.
    Makers,
}

impl Doubt {
    /// As a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Doubt::Little => "too little of it was sampled to tell how it goes on",
            Doubt::Slowing => "it slows down, as something does that fills",
            Doubt::GivesBack => "some of it was let go of meanwhile",
            Doubt::Load => "the program allocates more as well, which may explain it",
            Doubt::Noise => "its coming and going hides how it grows",
            Doubt::Steps => "it grew in a few large steps only",
            Doubt::Replaces => {
                "what other lines made becomes less meanwhile: it may take its place"
            }
            Doubt::Makers => "who made them is not recorded: they are judged all together",
        }
    }
}

/// How a series goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    pub verdict: Verdict,
    /// A second.
    pub slope: f64,
    /// Half-width of its 95 % interval.
    pub error: f64,
    /// By how much it grew.
    pub grew: f64,
    /// In samples.
    pub hits: f64,
    /// What of that which was made in the window stayed, in net: 1 is everything.
    pub stays: f64,
    pub looks: usize,
    pub span: f64,
    pub doubts: Vec<Doubt>,
}

/// Judges a series of sampled or counted objects; `load` is what the whole program made until each of the points.
pub fn judge(points: &[Point], load: &[f64]) -> Trend {
    judge_knowing(points, load, |_| None)
}

/// The same where `slows` may know better than samples can tell whether it slows down.
pub fn judge_knowing(
    points: &[Point],
    load: &[f64],
    slows: impl FnOnce(&Trend) -> Option<bool>,
) -> Trend {
    let mut trend = Trend::measured(points);
    if trend.verdict == Verdict::TooEarly {
        return trend;
    }
    let series = Series { points };
    let (first, last) = (points[0], points[points.len() - 1]);
    let steps = series.steps();
    let is_replaced = trend.hits.abs() < LEAST && steps.ups >= 2 && steps.are_large;
    if trend.slope - trend.error <= 0.0 && !is_replaced || trend.grew <= 0.0 {
        return trend;
    }
    if !is_replaced && trend.hits < LEAST_DOUBTED {
        return trend;
    }
    let (earlier, later) = series.thirds(|p| p.live);
    let comes_and_goes = series.drawdown() > 0.5 * trend.grew.max(last.live);
    if !is_replaced && (later <= FLAT * earlier || comes_and_goes) {
        return trend;
    }
    let mut doubts = Vec::new();
    if is_replaced {
        // One object that is replaced by ever larger ones: a slice, a buffer.
        if steps.ups < LEAST_STEPS || !steps.goes_on {
            doubts.push(Doubt::Steps);
        }
    } else {
        if trend.hits < LEAST {
            doubts.push(Doubt::Little);
        }
        let mostly_stays = trend.stays >= MOSTLY_STAYS;
        let pause = series.pause();
        let no_chance = (1.0 - pause).max(0.0).powf(trend.hits) < PAUSE;
        let is_slowing = series.is_slowing() || !series.goes_on();
        let is_slowing = later < STILL * earlier || mostly_stays && no_chance || is_slowing;
        if slows(&trend).unwrap_or(is_slowing) {
            doubts.push(Doubt::Slowing);
        }
        let noise = first.live_hits.max(last.live_hits).sqrt() * series.weight();
        let tolerated = if mostly_stays { 0.0 } else { 2.5 * noise };
        if series.drawdown() > GIVEN_BACK * trend.grew + tolerated {
            doubts.push(Doubt::GivesBack);
        }
        let needed = if mostly_stays { CLEAR } else { CLEARER };
        if trend.hits >= LEAST && trend.hits < needed * series.chance() {
            doubts.push(Doubt::Noise);
        }
        if series.is_explained(load, mostly_stays) {
            doubts.push(Doubt::Load);
        }
    }
    trend.verdict = if doubts.is_empty() { Verdict::Leak } else { Verdict::Growing };
    trend.doubts = doubts;
    trend
}

/// Judges a level that nobody samples: resident memory. `live` of the points is all that is used.
pub fn judge_level(points: &[Point]) -> Trend {
    let mut trend = Trend::measured(points);
    if trend.verdict == Verdict::TooEarly || trend.grew < LEAST_LEVEL {
        return trend;
    }
    let series = Series { points };
    let (earlier, later) = series.thirds(|p| p.live);
    let level = points[points.len() - 1].live;
    if trend.slope <= trend.error
        || later <= FLAT * earlier
        || series.drawdown() > 0.5 * trend.grew.max(level)
    {
        return trend;
    }
    let half = points[0].at + trend.span / 2.0;
    let [a, b, c] =
        [points[0].at, half, points[0].at + trend.span].map(|at| series.at(at, |p| p.live));
    let mut doubts = Vec::new();
    if later < STILL * earlier || c - b < EVEN * (b - a) || series.pause() > 0.15 {
        doubts.push(Doubt::Slowing);
    }
    if series.drawdown() > GIVEN_BACK * trend.grew {
        doubts.push(Doubt::GivesBack);
    }
    trend.verdict = if doubts.is_empty() { Verdict::Leak } else { Verdict::Growing };
    trend.doubts = doubts;
    trend
}

/// By how much a series has become less since it was highest, beyond chance: something of which no more is made,
/// and that goes little by little. A batch and a buffer go at once, and what comes and goes is made again.
pub fn faded(points: &[Point]) -> f64 {
    let Some(last) = points.last() else { return 0.0 };
    let highest = (0..points.len()).max_by(|a, b| points[*a].live.total_cmp(&points[*b].live));
    let since = &points[highest.unwrap_or(0)..];
    let first = since[0];
    let (drop, hits) = (first.live - last.live, first.live_hits - last.live_hits);
    let at_once = since.windows(2).map(|pair| pair[0].live - pair[1].live).fold(0.0, f64::max);
    let is_clear = hits >= CLEAR * first.live_hits.max(0.0).sqrt();
    let is_made_again = last.made_hits - first.made_hits > hits / 2.0;
    if is_clear && !is_made_again && at_once <= drop / 2.0 { drop } else { 0.0 }
}

impl Trend {
    /// Takes back that it is a leak.
    pub fn doubt(&mut self, doubt: Doubt) {
        if self.verdict == Verdict::Leak {
            self.verdict = Verdict::Growing;
            self.doubts.push(doubt);
        }
    }

    /// All but the verdict, which is steady, or that it is too early.
    fn measured(points: &[Point]) -> Self {
        let mut trend = Self {
            verdict: Verdict::TooEarly,
            slope: 0.0,
            error: 0.0,
            grew: 0.0,
            hits: 0.0,
            stays: 0.0,
            looks: points.len(),
            span: 0.0,
            doubts: Vec::new(),
        };
        let [first, .., last] = points else { return trend };
        trend.span = last.at - first.at;
        trend.grew = last.live - first.live;
        trend.hits = last.live_hits - first.live_hits;
        let made = last.made_hits - first.made_hits;
        trend.stays = if made > 0.0 { (trend.hits / made).clamp(0.0, 1.0) } else { 0.0 };
        if trend.span < SHORTEST.as_secs_f64() || points.len() < FEWEST {
            return trend;
        }
        trend.verdict = Verdict::Steady;
        let series = Series { points };
        (trend.slope, trend.error) = series.slope(trend.hits);
        trend
    }
}

struct Series<'a> {
    points: &'a [Point],
}

struct Steps {
    ups: usize,
    /// The last one is not longer ago than what the ones before let expect.
    goes_on: bool,
    /// They are of objects that are all sampled.
    are_large: bool,
}

impl Series<'_> {
    fn begin(&self) -> f64 {
        self.points.first().map_or(0.0, |p| p.at)
    }

    fn span(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.at) - self.begin()
    }

    /// What was known at a moment: of the last point that is not after it.
    fn at(&self, at: f64, of: impl Fn(&Point) -> f64) -> f64 {
        let after = self.points.partition_point(|p| p.at <= at + 1e-9);
        self.points.get(after.saturating_sub(1)).map_or(0.0, of)
    }

    /// Bytes that a sample stands for.
    fn weight(&self) -> f64 {
        let [.., last] = self.points else { return 0.0 };
        let most =
            self.points.iter().fold(last, |a, b| if b.live_hits > a.live_hits { b } else { a });
        if most.live_hits > 0.0 { most.live / most.live_hits } else { 0.0 }
    }

    /// Slope a second and the half-width of its 95 % interval. Two things make it uncertain: what is sampled is
    /// sampled by chance (a sum of events that come by chance: its slope by least squares has 6/5 of the
    /// variance of its ends), and what is around the line, of which neighbours are alike (staircases).
    fn slope(&self, hits: f64) -> (f64, f64) {
        let (begin, span) = (self.begin(), self.span());
        let grid: Vec<(f64, f64)> = (0..GRID)
            .map(|i| {
                let at = begin + span * i as f64 / (GRID - 1) as f64;
                (at - begin, self.at(at, |p| p.live))
            })
            .collect();
        let Some(line) = Line::through(&grid) else { return (0.0, 0.0) };
        let around = line.of_slope(line.own(line.alike));
        let chance = 1.2 * hits.abs() * self.weight().powi(2) / (span * span);
        (line.slope, NORMAL * (around + chance).sqrt())
    }

    /// Growth a second of the first two thirds and of the last one.
    fn thirds(&self, of: impl Fn(&Point) -> f64 + Copy) -> (f64, f64) {
        let (begin, span) = (self.begin(), self.span());
        let [a, b, c] =
            [begin, begin + span * 2.0 / 3.0, begin + span].map(|moment| self.at(moment, of));
        ((b - a) / (span * 2.0 / 3.0), (c - b) / (span / 3.0))
    }

    /// The second half grew less than the first one, by more than chance.
    fn is_slowing(&self) -> bool {
        let (begin, span) = (self.begin(), self.span());
        let halves = |of: fn(&Point) -> f64| {
            let [a, b, c] = [0.0, 0.5, 1.0].map(|part| self.at(begin + span * part, of));
            (b - a, c - b)
        };
        let (first, second) = halves(|p| p.live);
        let (hits, more) = halves(|p| p.live_hits);
        let chance = (hits.abs() + more.abs()).sqrt().max(1.0);
        second < EVEN * first && (more - hits) / chance < -UNEVEN_BY_CHANCE
    }

    /// Whether the second half grew by more than chance, where some of what is made dies: what has filled and is
    /// renewed varies.
    fn goes_on(&self) -> bool {
        let [first, .., last] = self.points else { return false };
        let made = last.made_hits - first.made_hits;
        let gone = made - (last.live_hits - first.live_hits);
        let from = self.begin() + self.span() / 2.0;
        let then = self.points.partition_point(|p| p.at <= from + 1e-9).max(1) - 1;
        let end = Series { points: &self.points[then..] };
        let grew = last.live_hits - self.points[then].live_hits;
        gone <= RENEWED * made || grew >= GOES_ON * end.chance()
    }

    /// By how many samples it would have changed by chance alone. What came and went in between changes nothing, so that
    /// no more than what is alive at the end can have come, and than what was alive at the beginning have gone.
    fn chance(&self) -> f64 {
        let [first, .., last] = self.points else { return 0.0 };
        let made = last.made_hits - first.made_hits;
        let gone = made - (last.live_hits - first.live_hits);
        (made.min(last.live_hits) + gone.clamp(0.0, first.live_hits)).max(0.0).sqrt()
    }

    /// Part of the window at its end in which nothing came that stayed.
    fn pause(&self) -> f64 {
        let mut most = f64::MIN;
        let mut since = self.begin();
        for point in self.points {
            if point.live > most {
                (most, since) = (point.live, point.at);
            }
        }
        (self.begin() + self.span() - since) / self.span()
    }

    /// The most that was let go of again.
    fn drawdown(&self) -> f64 {
        let (mut most, mut drop) = (f64::MIN, 0.0_f64);
        for point in self.points {
            most = most.max(point.live);
            drop = drop.max(most - point.live);
        }
        drop
    }

    /// Mean of the first and of the last third.
    fn means(&self, of: impl Fn(&Point) -> f64 + Copy) -> (f64, f64) {
        let (begin, span) = (self.begin(), self.span());
        let third = GRID / 3;
        let mean = |from: usize| {
            let moments = (from..from + third).map(|i| i as f64 / (GRID - 1) as f64);
            moments.map(|part| self.at(begin + span * part, of)).sum::<f64>() / third as f64
        };
        (mean(0), mean(GRID - third))
    }

    /// Whether more allocations explain it: what lives as long as it did is as much more as allocations are. Those
    /// of its own, where most of them die; else those of the whole program.
    fn is_explained(&self, load: &[f64], mostly_stays: bool) -> bool {
        let loaded: Vec<Point> = match mostly_stays {
            true => {
                let load = load.iter().copied().chain(std::iter::repeat(0.0));
                self.points.iter().zip(load).map(|(p, made)| Point { made, ..*p }).collect()
            }
            false => self.points.to_vec(),
        };
        let loaded = Series { points: &loaded };
        let (begin, span) = (self.begin(), self.span());
        let made = |part: f64| loaded.at(begin + span * part, |p| p.made);
        let (before, after) = (made(1.0 / 3.0) - made(0.0), made(1.0) - made(2.0 / 3.0));
        if before <= 0.0 || after < MORE_LOAD * before {
            return false;
        }
        let more = after / before;
        let (live, then) = self.means(|p| p.live);
        let (hits, then_hits) = self.means(|p| p.live_hits);
        let (grew, expected) = (then - live, live * (more - 1.0));
        let chance = (then_hits + more * more * hits).sqrt() * self.weight();
        grew - expected < (0.5 * grew).max(if mostly_stays { 0.0 } else { 3.0 * chance })
    }

    /// Steps of what is not let go of later: while one is copied to a larger one, both are alive.
    fn steps(&self) -> Steps {
        let mut lowest = f64::MAX;
        let mut kept: Vec<(f64, f64)> = (self.points.iter().rev())
            .map(|point| {
                lowest = lowest.min(point.live);
                (point.at, lowest)
            })
            .collect();
        kept.reverse();
        let mut ups: Vec<f64> = Vec::new();
        let mut last = kept.first().map_or(0.0, |(_, live)| *live);
        for (at, live) in kept {
            if live > last * 1.05 {
                ups.push(at);
                last = live;
            }
        }
        let end = self.begin() + self.span();
        let goes_on = match ups[..] {
            [.., before, last] => end - last <= 2.5 * (last - before).max(self.span() / 12.0),
            _ => false,
        };
        let are_large = self.points.last().is_some_and(|p| p.live >= LARGE * p.live_hits);
        Steps { ups: ups.len(), goes_on, are_large }
    }
}
