//! What windows say about the time between them, and how sure that is.
//!
//! In: windows, each a few events by stack at a random moment, and how fast the program allocated
//! right before. Out: how what was allocated unseen divides among stacks, with the half-width of the
//! 95 % interval. Sums a few numbers for each stack, however many windows there are. Knows no clock.
//!
//! Window i gives shares p(i, s) = x(i, s) / y(i) of what was seen in it, and weighs r(i), the rate of
//! allocation of the running program: windows begin at moments that are uniform in time, and as much
//! more was allocated around a moment as the rate was higher. The share of a stack is Σ r p / Σ r. Of
//! U objects (or bytes) that nobody saw, U times that are its own.

use std::{collections::HashMap, hash::Hash};

/// Normal quantile of a two-sided 95 % interval.
pub const Z: f64 = 1.96;

/// Quantiles of Student's t, two-sided 95 %, for 1, 2, … degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// How many windows it is worth that windows are taken to differ, by how much of the most that they can, and
/// how far shares of nothing and of all are taken to be from that, in windows.
pub const GRANTED: f64 = 1.0;
const DIFFER: f64 = 0.25;
const SURELY: f64 = 0.1;

/// What a window saw of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub hits: u64,
    /// What all stacks divide among themselves: objects, or bytes.
    pub amount: f64,
    pub objects: f64,
    pub bytes: f64,
}

/// Sums over windows of one value of one stack: r p, r² p and (r p)².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    rp: f64,
    r2p: f64,
    r2p2: f64,
}

impl Sums {
    fn add(&mut self, rate: f64, share: f64) {
        self.rp += rate * share;
        self.r2p += rate * rate * share;
        self.r2p2 += (rate * share).powi(2);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Stack {
    hits: u64,
    amount: Sums,
    objects: Sums,
    bytes: Sums,
}

/// Part of what was not seen, each with the half-width of its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// Events, where those are what is measured.
    pub events: (f64, f64),
    pub objects: (f64, f64),
    pub bytes: (f64, f64),
}

impl Part {
    /// Adds what is independent of it.
    pub fn add(&mut self, other: &Part) {
        for (own, more) in [
            (&mut self.events, other.events),
            (&mut self.objects, other.objects),
            (&mut self.bytes, other.bytes),
        ] {
            *own = (own.0 + more.0, own.1.hypot(more.1));
        }
    }
}

/// The windows of one program.
#[derive(Clone, Debug)]
pub struct Ledger<K> {
    stacks: HashMap<K, Stack>,
    limit: usize,
    windows: u32,
    hits: u64,
    r: f64,
    r2: f64,
    /// Amounts of stacks for which there was no room.
    pub lost: f64,
}

impl<K: Hash + Eq + Clone> Ledger<K> {
    /// With room for so many stacks.
    pub fn new(limit: usize) -> Self {
        Self { stacks: HashMap::new(), limit, windows: 0, hits: 0, r: 0.0, r2: 0.0, lost: 0.0 }
    }

    pub fn windows(&self) -> u32 {
        self.windows
    }

    /// One window. `rate` only has to be in proportion.
    pub fn add<'a>(&mut self, rate: f64, window: impl Iterator<Item = (&'a K, Seen)> + Clone)
    where
        K: 'a,
    {
        let all: f64 = window.clone().map(|(_, seen)| seen.amount).sum();
        let rate = rate.max(0.0);
        if all <= 0.0 || rate == 0.0 || !rate.is_finite() {
            // Nothing was allocated around it: it has no weight.
            return;
        }
        self.windows += 1;
        self.r += rate;
        self.r2 += rate * rate;
        for (key, seen) in window {
            self.hits += seen.hits;
            if !self.stacks.contains_key(key) && self.stacks.len() >= self.limit {
                self.lost += seen.amount;
                continue;
            }
            let stack = self.stacks.entry(key.clone()).or_default();
            stack.hits += seen.hits;
            stack.amount.add(rate, seen.amount / all);
            stack.objects.add(rate, seen.objects / all);
            stack.bytes.add(rate, seen.bytes / all);
        }
    }

    /// The part of a stack in an amount that was not seen. `per` is objects and bytes in one of its
    /// amount, for a stack that no window has met.
    pub fn part(&self, key: &K, unseen: f64, per: (f64, f64)) -> Part {
        if unseen <= 0.0 || self.r <= 0.0 {
            return Part::default();
        }
        let Some(stack) = self.stacks.get(key) else {
            // Never met in so many events: the score interval's upper end, of its mean size.
            let few = Z * Z / (self.hits as f64 + Z * Z);
            let most = unseen * few.max(self.half_width(0.0, 0.0));
            return Part {
                objects: (0.0, most * per.0),
                bytes: (0.0, most * per.1),
                ..Part::default()
            };
        };
        let share = stack.amount.rp / self.r;
        // Within a window events are chosen as they come; with few of them the score interval.
        let spread = stack.hits as f64 * (1.0 - share).max(0.0);
        let few = (Z * Z / 2.0 + Z * (spread + Z * Z / 4.0).sqrt()) / stack.hits.max(1) as f64;
        let few = if stack.hits == self.hits { 0.0 } else { few };
        Part {
            objects: self.value(&stack.objects, unseen, share, few),
            bytes: self.value(&stack.bytes, unseen, share, few),
            ..Part::default()
        }
    }

    fn value(&self, sums: &Sums, unseen: f64, share: f64, few: f64) -> (f64, f64) {
        let mean = sums.rp / self.r;
        let value = unseen * mean;
        if self.windows < 2 {
            // One window says nothing about how different another one would be.
            return (value, value * ((1.0 - share) / share).max(1.0));
        }
        // A window that weighs much draws the mean to itself, and so differs from it by less than it should.
        let counting = self.counting();
        let drawn = counting / (counting - 1.0).max(0.5);
        let squares = sums.r2p2 - 2.0 * mean * sums.r2p + mean * mean * self.r2;
        let variance = drawn * drawn * squares.max(0.0) / (self.r * self.r);
        let scale = if share > 0.0 { mean / share } else { 0.0 };
        // In shares, of which it is known what they can be.
        let own = if scale > 0.0 { variance / (scale * scale) } else { 0.0 };
        (value, (unseen * scale * self.half_width(share, own)).max(value * few))
    }

    /// Rates differ: fewer windows count than there are.
    fn counting(&self) -> f64 {
        self.r * self.r / self.r2
    }

    /// Half-width of the interval around a share of such a variance.
    fn half_width(&self, share: f64, variance: f64) -> f64 {
        let counting = self.counting();
        let freedom = (counting - 1.0).max(0.0);
        // A few windows can all have met the same, and say then that nothing ever differs. So as much as
        // one window is worth it is taken for granted that they differ, by a quarter of the most that
        // shares can.
        let likely = (counting * share + SURELY) / (counting + 2.0 * SURELY);
        let before = DIFFER * likely * (1.0 - likely) / counting;
        let variance = (freedom * variance + GRANTED * before) / (freedom + GRANTED);
        quantile(freedom + GRANTED) * variance.sqrt()
    }
}

/// Of Student's t, two-sided 95 %, for at least one degree of freedom.
pub fn quantile(freedom: f64) -> f64 {
    T.get((freedom.max(1.0)) as usize - 1).copied().unwrap_or(Z)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// A program: at each moment (of a second) its rate and the share of each stack.
    type Program = fn(f64) -> (f64, [f64; 3]);

    fn steady(_: f64) -> (f64, [f64; 3]) {
        (1.0, [0.6, 0.37, 0.03])
    }

    fn phases(at: f64) -> (f64, [f64; 3]) {
        if (at * 5.0).fract() < 0.3 { (10.0, [0.9, 0.1, 0.0]) } else { (1.0, [0.2, 0.7, 0.1]) }
    }

    fn slow_drift(at: f64) -> (f64, [f64; 3]) {
        (1.0 + at, [0.5 * at + 0.2, 0.7 - 0.5 * at, 0.1])
    }

    /// Truth and estimate of 1,000,000 objects.
    fn covered(program: Program, windows: u32, events: u32, stack: usize) -> f64 {
        let mut random = Random(11);
        let moments = 10_000;
        let (mut all, mut own) = (0.0, 0.0);
        for moment in 0..moments {
            let (rate, shares) = program(f64::from(moment) / f64::from(moments));
            all += rate;
            own += rate * shares[stack];
        }
        let truth = 1e6 * own / all;
        let runs = 200;
        let mut held = 0;
        for _ in 0..runs {
            let mut ledger = Ledger::new(10);
            for _ in 0..windows {
                let (rate, shares) = program(random.next());
                let mut seen = [Seen::default(); 3];
                for _ in 0..events {
                    let at = random.next();
                    let mut end = 0.0;
                    for (seen, share) in seen.iter_mut().zip(shares) {
                        end += share;
                        if at < end {
                            seen.hits += 1;
                            seen.amount += 1.0;
                            seen.objects += 1.0;
                            seen.bytes += 16.0;
                            break;
                        }
                    }
                }
                let keys = [0, 1, 2];
                let window = keys.iter().zip(seen).filter(|(_, seen)| seen.hits > 0);
                ledger.add(rate, window);
            }
            let part = ledger.part(&stack, 1e6, (1.0, 16.0));
            assert!((part.bytes.0 - 16.0 * part.objects.0).abs() < 1e-3);
            held += u32::from((part.objects.0 - truth).abs() <= part.objects.1);
        }
        f64::from(held) / f64::from(runs)
    }

    #[test]
    fn the_interval_holds_the_truth() {
        for (name, program) in
            [("steady", steady as Program), ("phases", phases), ("drift", slow_drift)]
        {
            for (windows, events) in [(5, 400), (15, 400), (60, 200)] {
                for stack in 0..3 {
                    let coverage = covered(program, windows, events, stack);
                    // Few windows of a program with two phases can all have met the same one.
                    let least = if windows < 10 { 0.8 } else { 0.92 };
                    assert!(
                        coverage >= least,
                        "{name}, {windows} windows, stack {stack}: {coverage}"
                    );
                }
            }
        }
    }

    #[test]
    fn few_windows_say_little_also_where_they_agree() {
        let mut ledger = Ledger::new(2);
        let seen = |objects: u64| Seen {
            hits: objects,
            amount: objects as f64,
            objects: objects as f64,
            bytes: 0.0,
        };
        ledger.add(1.0, [(&'a', seen(10))].into_iter());
        assert_eq!(ledger.part(&'a', 100.0, (1.0, 8.0)).objects, (100.0, 100.0));
        ledger.add(1.0, [(&'a', seen(10))].into_iter());
        // Two say little more.
        let (value, width) = ledger.part(&'a', 100.0, (1.0, 8.0)).objects;
        assert!(value == 100.0 && (15.0..30.0).contains(&width), "{value} ± {width}");
        let other = ledger.part(&'b', 100.0, (1.0, 8.0));
        assert_eq!(other.bytes, (0.0, 8.0 * other.objects.1));
        assert!((15.0..30.0).contains(&other.objects.1), "{other:?}");
        assert_eq!(ledger.part(&'b', 0.0, (1.0, 8.0)), Part::default());
        // A window in which nothing happened, or before which nothing did.
        ledger.add(1.0, [(&'a', Seen::default())].into_iter());
        ledger.add(0.0, [(&'a', seen(10))].into_iter());
        assert_eq!(ledger.windows(), 2);
        for _ in 0..98 {
            ledger.add(1.0, [(&'a', seen(10))].into_iter());
        }
        let (value, width) = ledger.part(&'a', 100.0, (1.0, 8.0)).objects;
        assert!((value - 100.0).abs() < 1e-6 && width < 0.2, "{value} ± {width}");
    }

    #[test]
    fn it_stays_small_and_counts_what_it_leaves_out() {
        let mut ledger = Ledger::new(2);
        for round in 0..10 {
            let keys = [round, round + 1, round + 2];
            let seen = Seen { hits: 1, amount: 1.0, objects: 1.0, bytes: 8.0 };
            ledger.add(1.0, keys.iter().map(|key| (key, seen)));
        }
        assert_eq!(ledger.stacks.len(), 2);
        assert!(ledger.lost > 0.0);
    }
}
