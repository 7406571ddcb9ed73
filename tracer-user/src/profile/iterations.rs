//! Iterations over maps of one stack: how many, how long, how deep, and when.
//!
//! In: iterations as they end. Out: sums, distributions, and the worst of them. Two can be added up.
//! Knows no process and no clock of its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What iterations were like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iterations {
    pub count: u64,
    /// Those that came to their end; others were left, or went on when the recording ended.
    pub complete: u64,
    /// Elements visited.
    pub steps: u64,
    /// Nanoseconds from the first to the last step, less `cost`.
    pub time: u64,
    /// Nanoseconds that recording took of it.
    pub cost: u64,
    /// Elements visited by each.
    pub by_steps: Histogram,
    /// Nanoseconds of each.
    pub by_time: Histogram,
    /// How many by depth: 1 for one that is nested in no other. Less than all where what they may be
    /// nested in was lost.
    pub by_depth: BTreeMap<u32, u64>,
    /// The longest ones.
    pub worst: Vec<Worst>,
    /// The one with most steps.
    pub most_steps: Option<Worst>,
    pub steps_at: Seconds,
}

/// One iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// The goroutine's id.
    pub goroutine: u64,
    pub steps: u64,
    /// Nanoseconds, as [`Iterations::time`].
    pub time: u64,
}

/// One iteration that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub what: Worst,
    pub is_complete: bool,
    /// Nanoseconds of `time` that were recording's.
    pub cost: u64,
    /// Nanoseconds of a clock at the first and last step.
    pub between: (u64, u64),
}

/// How many of the longest are kept.
const WORST: usize = 5;

/// Classes of depth: the deepest of each but the last, which has no end.
pub const DEPTHS: [u32; 2] = [3, 8];

impl Iterations {
    /// One more; its depth is told later.
    pub fn add_one(&mut self, ended: &Ended) {
        let what = ended.what;
        self.count += 1;
        self.complete += u64::from(ended.is_complete);
        self.steps = self.steps.saturating_add(what.steps);
        self.time = self.time.saturating_add(what.time);
        self.cost = self.cost.saturating_add(ended.cost);
        self.by_steps.add_one(what.steps);
        self.by_time.add_one(what.time);
        self.note(what);
        self.steps_at.spread(ended.between, what.steps);
    }

    /// So many were this deep.
    pub fn add_depth(&mut self, depth: u32, count: u64) {
        *self.by_depth.entry(depth).or_default() += count;
    }

    /// Those of another one.
    pub fn add(&mut self, other: &Iterations) {
        self.count = self.count.saturating_add(other.count);
        self.complete = self.complete.saturating_add(other.complete);
        self.steps = self.steps.saturating_add(other.steps);
        self.time = self.time.saturating_add(other.time);
        self.cost = self.cost.saturating_add(other.cost);
        self.by_steps.add(&other.by_steps);
        self.by_time.add(&other.by_time);
        for (depth, count) in &other.by_depth {
            self.add_depth(*depth, *count);
        }
        for worst in other.worst.iter().chain(&other.most_steps) {
            self.note(*worst);
        }
        self.steps_at.add(&other.steps_at);
    }

    /// How many in each class of depth.
    pub fn depth_classes(&self) -> [u64; DEPTHS.len() + 1] {
        let mut classes = [0; DEPTHS.len() + 1];
        for (depth, count) in &self.by_depth {
            let class = DEPTHS.iter().position(|most| depth <= most).unwrap_or(DEPTHS.len());
            classes[class] += count;
        }
        classes
    }

    /// Deepest nesting.
    pub fn deepest(&self) -> u32 {
        self.by_depth.last_key_value().map_or(0, |(depth, _)| *depth)
    }

    /// Keeps one if it is among the worst.
    fn note(&mut self, one: Worst) {
        if self.most_steps.is_none_or(|most| one.steps > most.steps) {
            self.most_steps = Some(one);
        }
        let is_worse = self.worst.len() < WORST
            || self.worst.last().is_some_and(|least| least.time < one.time);
        if is_worse && !self.worst.contains(&one) {
            self.worst.push(one);
            self.worst.sort_by_key(|worst| (Reverse(worst.time), worst.goroutine));
            self.worst.truncate(WORST);
        }
    }
}

impl Iterations {
    /// All that it says, as numbers that [`Self::from_numbers`] understands.
    pub fn numbers(&self) -> Vec<u64> {
        let mut to = vec![self.count, self.complete, self.steps, self.time, self.cost];
        let mut pairs = |pairs: &mut dyn ExactSizeIterator<Item = (u64, u64)>| {
            to.push(pairs.len() as u64);
            pairs.for_each(|(key, value)| to.extend([key, value]));
        };
        for histogram in [&self.by_steps, &self.by_time] {
            pairs(&mut histogram.0.iter().map(|(class, n)| (u64::from(*class), *n)));
        }
        pairs(&mut self.by_depth.iter().map(|(depth, n)| (u64::from(*depth), *n)));
        pairs(&mut self.steps_at.steps.iter().map(|(at, n)| (*at, *n)));
        to.push(self.steps_at.power.into());
        to.push(u64::from(self.most_steps.is_some()));
        for worst in self.most_steps.iter().chain(&self.worst) {
            to.extend([worst.goroutine, worst.steps, worst.time]);
        }
        to
    }

    /// What such numbers say; nothing where none can have said that.
    pub fn from_numbers(numbers: &[u64]) -> Option<Self> {
        // Counts that can be added up.
        const MOST: u64 = 1 << 48;
        let mut rest = numbers.iter().copied();
        let mut number = || rest.next();
        let mut of = Self {
            count: number()?,
            complete: number()?,
            steps: number()?,
            time: number()?,
            cost: number()?,
            ..Self::default()
        };
        for histogram in [&mut of.by_steps, &mut of.by_time] {
            for _ in 0..number()? {
                let class = u32::try_from(number()?).ok().filter(|of| *of <= class(u64::MAX))?;
                histogram.0.insert(class, number().filter(|n| *n <= MOST)?);
            }
        }
        for _ in 0..number()? {
            let depth = u32::try_from(number()?).ok()?;
            of.by_depth.insert(depth, number().filter(|n| *n <= MOST)?);
        }
        for _ in 0..number()? {
            let at = number().filter(|at| *at <= u64::MAX >> 32)?;
            of.steps_at.steps.insert(at, number().filter(|n| *n <= MOST)?);
        }
        // A year is 25.
        of.steps_at.power = u32::try_from(number()?).ok().filter(|power| *power < 30)?;
        let has_most = number()? == 1;
        let mut all = Vec::new();
        while let Some(goroutine) = number() {
            all.push(Worst { goroutine, steps: number()?, time: number()? });
        }
        let mut all = all.into_iter();
        of.most_steps = if has_most { Some(all.next()?) } else { None };
        of.worst = all.take(WORST).collect();
        let is_short = of.steps_at.steps.len() <= INTERVALS;
        is_short.then_some(of)
    }
}

/// How many values there are in classes, eight for each power of two: the class's ends differ by an
/// eighth at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<u32, u64>);

impl Histogram {
    pub fn add_one(&mut self, value: u64) {
        *self.0.entry(class(value)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Histogram) {
        for (class, count) in &other.0 {
            let own = self.0.entry(*class).or_default();
            *own = own.saturating_add(*count);
        }
    }

    /// Smallest and largest value of the class that a quantile lies in; nothing without values.
    pub fn quantile(&self, part: f64) -> Option<(u64, u64)> {
        let all: u64 = self.0.values().sum();
        // The first value that so many are not above.
        let wanted = ((all as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(class, count)| {
            seen += count;
            (seen >= wanted).then(|| bounds(*class))
        })
    }

    /// How many by power of two: smallest value of each class that has any, and the count.
    pub fn by_powers(&self) -> Vec<(u64, u64)> {
        let mut powers: BTreeMap<u64, u64> = BTreeMap::new();
        for (class, count) in &self.0 {
            let (low, _) = bounds(*class);
            let power = low.checked_ilog2().map_or(0, |power| 1 << power);
            *powers.entry(power).or_default() += count;
        }
        powers.into_iter().collect()
    }
}

fn class(value: u64) -> u32 {
    match value.checked_ilog2() {
        Some(power @ 3..) => (power - 2) * 8 + ((value >> (power - 3)) & 7) as u32,
        _ => value as u32,
    }
}

/// Smallest and largest value of a class.
fn bounds(class: u32) -> (u64, u64) {
    if class < 8 {
        return (class.into(), class.into());
    }
    let width = 1u64 << (class / 8 - 1);
    let low = u64::from(8 + class % 8) * width;
    (low, low + (width - 1))
}

/// Steps by time: in intervals of a second, or of a power of two of them when there are many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seconds {
    /// By number of the interval.
    steps: BTreeMap<u64, u64>,
    /// An interval has 2 to this power seconds.
    power: u32,
}

/// Most intervals kept.
const INTERVALS: usize = 1024;
const SECOND: u64 = 1_000_000_000;

impl Seconds {
    /// Steps evenly over a time.
    fn spread(&mut self, (from, to): (u64, u64), steps: u64) {
        let first = (from / SECOND) >> self.power;
        let last = (to.max(from) / SECOND) >> self.power;
        if first == last {
            self.add_steps(first, steps);
        } else if last - first >= INTERVALS as u64 {
            self.widen();
            return self.spread((from, to), steps);
        } else {
            let (length, width) = ((to - from) as f64, SECOND << self.power);
            let mut given = 0;
            for interval in first..=last {
                let until = to.min((interval + 1).saturating_mul(width));
                let so_far = (steps as f64 * ((until - from) as f64 / length)).round() as u64;
                self.add_steps(interval, so_far - given);
                given = so_far;
            }
        }
        while self.steps.len() > INTERVALS {
            self.widen();
        }
    }

    fn add_steps(&mut self, interval: u64, more: u64) {
        let steps = self.steps.entry(interval).or_default();
        *steps = steps.saturating_add(more);
    }

    fn widen(&mut self) {
        self.power += 1;
        for (interval, steps) in std::mem::take(&mut self.steps) {
            self.add_steps(interval / 2, steps);
        }
    }

    fn add(&mut self, other: &Seconds) {
        while self.power < other.power {
            self.widen();
        }
        for (interval, steps) in &other.steps {
            self.add_steps(interval >> (self.power - other.power), *steps);
        }
        while self.steps.len() > INTERVALS {
            self.widen();
        }
    }

    /// The same for several in intervals of the same length: seconds of an interval, and for each the
    /// steps by second of the clock at which an interval begins.
    pub fn aligned<'a>(
        all: impl Iterator<Item = &'a Seconds> + Clone,
    ) -> (u64, Vec<BTreeMap<u64, u64>>) {
        let power = all.clone().map(|one| one.power).max().unwrap_or(0);
        let aligned = all.map(|one| {
            let mut wide = one.clone();
            while wide.power < power {
                wide.widen();
            }
            wide.steps.into_iter().map(|(interval, steps)| (interval << power, steps)).collect()
        });
        (1 << power, aligned.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(goroutine: u64, steps: u64, time: u64) -> Ended {
        let what = Worst { goroutine, steps, time };
        Ended { what, is_complete: true, cost: 1, between: (0, time) }
    }

    #[test]
    fn steps_and_times_that_cannot_be_are_added_up_without_harm() {
        let mut sums = Iterations::default();
        for between in [(5, 5), (5, u64::MAX), (u64::MAX - 5, u64::MAX), (u64::MAX, 0)] {
            let what = Worst { goroutine: 1, steps: u64::MAX, time: u64::MAX };
            sums.add_one(&Ended { what, is_complete: true, cost: u64::MAX, between });
        }
        let one = sums.clone();
        sums.add(&one);
        assert_eq!((sums.count, sums.steps, sums.time), (8, u64::MAX, u64::MAX));
        assert!(sums.steps_at.steps.len() <= INTERVALS);
    }

    #[test]
    fn classes_are_narrow_and_without_gaps() {
        let mut next = 0;
        for at in 0..class(u64::MAX) {
            let (low, high) = bounds(at);
            assert_eq!((low, class(low), class(high)), (next, at, at));
            assert!((high - low) as f64 <= low as f64 / 8.0);
            next = high + 1;
        }
        assert_eq!(bounds(class(u64::MAX)).1, u64::MAX);
    }

    #[test]
    fn quantiles_are_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (0..99).for_each(|_| histogram.add_one(5));
        histogram.add_one(1_000);
        assert_eq!(histogram.quantile(0.99), Some((5, 5)));
        assert_eq!(histogram.quantile(1.0), Some((960, 1023)));
        histogram.add_one(1_000);
        assert_eq!(histogram.quantile(0.99), Some((960, 1023)));
        histogram.add_one(0);
        assert_eq!(histogram.by_powers(), [(0, 1), (4, 99), (512, 2)]);
    }

    #[test]
    fn numbers_say_all_of_it() {
        let mut of = Iterations::default();
        assert_eq!(Iterations::from_numbers(&of.numbers()), Some(of.clone()));
        for at in 0..20 {
            of.add_one(&ended(at, at * 100, at * 7_000_000_000));
            of.add_depth(at as u32 % 3, 1);
        }
        let numbers = of.numbers();
        assert_eq!(Iterations::from_numbers(&numbers), Some(of));
        let cut = |to: usize| Iterations::from_numbers(&numbers[..to]);
        let worst = numbers.len() - 3 * WORST;
        assert!((0..worst).all(|to| cut(to).is_none()));
        assert_eq!(Iterations::from_numbers(&[u64::MAX; 40]), None);
    }

    #[test]
    fn sums_of_parts_are_sums() {
        let all = [ended(1, 10, 500), ended(2, 20_000, 300), ended(3, 0, 0)];
        let [mut one, mut parts, mut part] = [(); 3].map(|()| Iterations::default());
        all.iter().for_each(|ended| one.add_one(ended));
        parts.add_one(&all[0]);
        all[1..].iter().for_each(|ended| part.add_one(ended));
        for (depth, to) in [(1, 0), (3, 1), (4, 1)] {
            one.add_depth(depth, 1);
            [&mut parts, &mut part][to].add_depth(depth, 1);
        }
        parts.add(&part);
        assert_eq!(one, parts);
        assert_eq!((one.count, one.steps, one.time, one.cost), (3, 20_010, 800, 3));
        assert_eq!((one.depth_classes(), one.deepest()), ([2, 1, 0], 4));
        assert_eq!(one.worst[0].goroutine, 1);
        assert_eq!(one.most_steps.unwrap().goroutine, 2);
    }

    #[test]
    fn steps_are_spread_over_the_time_that_they_took() {
        let mut seconds = Seconds::default();
        seconds.spread((SECOND / 2, 3 * SECOND), 100);
        let steps: Vec<_> = seconds.steps.iter().map(|(at, steps)| (*at, *steps)).collect();
        assert_eq!(steps, [(0, 20), (1, 40), (2, 40), (3, 0)]);
        seconds.spread((7 * SECOND, 7 * SECOND), 3);
        assert_eq!(seconds.steps[&7], 3);
    }

    #[test]
    fn a_long_recording_has_wider_intervals() {
        let mut seconds = Seconds::default();
        for at in 0..5_000 {
            seconds.spread((at * SECOND, at * SECOND), 1);
        }
        seconds.spread((0, 100_000 * SECOND), 1_000);
        assert!(seconds.steps.len() <= INTERVALS);
        assert_eq!(seconds.steps.values().sum::<u64>(), 6_000);
        let mut short = Seconds::default();
        short.spread((9 * SECOND, 9 * SECOND), 7);
        let (width, aligned) = Seconds::aligned([&seconds, &short].into_iter());
        assert_eq!((width, &aligned[1]), (128, &BTreeMap::from([(0, 7)])));
        let before: u64 = seconds.steps.values().sum();
        short.add(&seconds);
        assert_eq!(short.steps.values().sum::<u64>(), before + 7);
    }
}
