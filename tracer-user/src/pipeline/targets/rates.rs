//! What windows say about the time between them, of events that no runtime counts.
//!
//! In: windows, each with how long it was, what an event in it cost, the time after which it was to be
//! expected, and what was seen in it. Out: what each stack stands for in the time that was not seen, with the
//! half-width of the 95 % interval. Knows no clock.
//!
//! While it is seen a program is slower, by what each event costs it: of a window's length l(i) with n(i)
//! events of cost c it went on for l(i) - c n(i), which is its **progress** t(i). A stack of which x(i) events
//! were seen has r(i) = g(i) x(i) / t(i) in the time g(i) that the window stands for, and T Σ r / Σ g in a
//! progress of T that was not seen. How sure that is the r(i) - g(i) Σ r / Σ g tell; windows that saw none of it
//! count as all others do. What it is if events cost more than was measured, or if the program has idle
//! time in which it makes up for them, comes on top.
//!
//! For how long the program goes on in a window must not depend on what is seen in it: windows that the beginning
//! of a burst cuts short would make too much of it. See [`crate::probe::budget`].

use std::collections::HashMap;

use super::Counts;
use crate::profile::{
    Rest,
    ledger::{GRANTED, Part, Z, quantile},
};

/// By how much of it the cost of an event may be off: what is measured is a loop that has the caches for
/// itself.
const UNSURE: f64 = 0.2;
/// The least part of a window that is likely to be progress, and that is.
const LIKELY: f64 = 0.05;
const LEAST: f64 = 0.01;
/// By how many times, as a power of e, a value may be off for all that is known from windows.
const FURTHEST: f64 = 3.0;
/// How many times as many events as are likely there may be, if events cost more, for that to be an estimate.
const TOO_DENSE: f64 = 3.0;
/// By how much windows are taken to differ, in parts of the mean, for as much as [`GRANTED`] windows.
const DIFFER: f64 = 0.5;

/// When a window was, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    pub length: f64,
    /// For how long the program was to go on in it.
    pub progress: f64,
    /// The time that it stands for; 0: none but itself.
    pub gap: f64,
    /// By how much each event in it made it longer.
    pub each: f64,
}

impl Time {
    /// How long it was in all with so many events, of which its end may have been told late.
    fn lasted(&self, events: u64) -> f64 {
        self.length.min(self.progress + events as f64 * self.each)
    }

    /// For how long the program went on in it: likely, and at least.
    pub fn progress(&self, events: u64) -> (f64, f64) {
        let (length, cost) = (self.lasted(events), events as f64 * self.each);
        let left = |cost: f64, least: f64| (length - cost).max(least * length);
        (left(cost, LIKELY), left(cost * (1.0 + UNSURE), LEAST))
    }
}

/// Windows of one program.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    stacks: HashMap<u32, Stack>,
    all: Sums,
    windows: u32,
    gap: f64,
    gap2: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stack {
    hits: u64,
    /// Of the windows that saw it.
    gap: f64,
    events: Sums,
    objects: Sums,
    bytes: Sums,
}

/// Sums over windows: r, r², r g, and what r may be at most and, if the program makes up for what it lost, at
/// least.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    r: f64,
    r2: f64,
    rg: f64,
    most: f64,
    least: f64,
}

impl Sums {
    fn add(&mut self, amount: u64, gap: f64, length: f64, (likely, least): (f64, f64)) {
        let r = gap * amount as f64 / likely;
        self.r += r;
        self.r2 += r * r;
        self.rg += r * gap;
        self.most += gap * amount as f64 / least;
        self.least += gap * amount as f64 / length;
    }
}

impl Rates {
    /// One window, which may have seen nothing; `events` are all that cost it time.
    pub fn add<'a>(
        &mut self,
        time: Time,
        events: u64,
        seen: impl Iterator<Item = (u32, &'a Counts)>,
    ) {
        let (length, gap) = (time.lasted(events), time.gap);
        if length <= 0.0 || gap <= 0.0 || !(length * gap).is_finite() {
            return;
        }
        self.windows += 1;
        self.gap += gap;
        self.gap2 += gap * gap;
        let progress = time.progress(events);
        for (number, counts) in seen {
            let stack = self.stacks.entry(number).or_default();
            stack.hits += counts.hits;
            stack.gap += gap;
            stack.events.add(counts.hits, gap, length, progress);
            stack.objects.add(counts.objects, gap, length, progress);
            stack.bytes.add(counts.bytes, gap, length, progress);
            self.all.add(counts.hits, gap, length, progress);
        }
    }

    /// Whether they say anything of other times. One window does not know how different another one would
    /// be; and where events follow each other so fast that next to nothing is left of a window without
    /// what they cost, nobody knows how many there would have been.
    pub fn rest(&self) -> Rest {
        if self.windows < 2 {
            Rest::TooFew
        } else if self.all.most > TOO_DENSE * self.all.r {
            Rest::TooDense
        } else {
            Rest::Estimated
        }
    }

    /// The part of a stack in a progress that was not seen. `own` is all that was seen of it, in whatever
    /// window, in a progress of `observed`.
    pub fn part(&self, number: u32, unseen: f64, own: &Counts, observed: f64) -> Part {
        if unseen <= 0.0 || self.windows < 2 {
            return Part::default();
        }
        let counting = self.gap * self.gap / self.gap2;
        let Some(stack) = self.stacks.get(&number) else {
            // Met by none of so many windows: it can be there for three of as many, as densely as where it was
            // seen.
            let most = (3.0 / counting).min(1.0) * unseen / observed.max(1.0);
            let none = |amount: u64| (0.0, most * amount as f64);
            return Part {
                events: none(own.hits),
                objects: none(own.objects),
                bytes: none(own.bytes),
            };
        };
        // Few windows that met it, or few events: the upper ends of the score interval and of Poisson's, in
        // parts of the value.
        let met = counting * stack.gap / self.gap;
        let root = (met * (1.0 - met / counting).max(0.0) + Z * Z / 4.0).sqrt();
        let of_windows =
            counting * (met + Z * Z / 2.0 + Z * root) / ((counting + Z * Z) * met) - 1.0;
        let of_events = (2.0 + 2.0 * (stack.hits as f64 + 1.0).sqrt()) / stack.hits.max(1) as f64;
        let few = of_windows.max(of_events);
        let value =
            |sums: &Sums, own: u64| self.value(sums, own as f64 / observed.max(1.0), unseen, few);
        Part {
            events: value(&stack.events, own.hits),
            objects: value(&stack.objects, own.objects),
            bytes: value(&stack.bytes, own.bytes),
        }
    }

    /// `density` is how much there was of it when it was seen, in whatever window.
    fn value(&self, sums: &Sums, density: f64, unseen: f64, few: f64) -> (f64, f64) {
        let mean = sums.r / self.gap;
        let value = unseen * mean;
        let unsure = unseen * (sums.most - sums.r).max(sums.r - sums.least) / self.gap;
        // Windows that stand for much count for more: fewer count than there are.
        let counting = self.gap * self.gap / self.gap2;
        let (freedom, drawn) = (counting - 1.0, counting / (counting - 1.0).max(0.5));
        let squares = (sums.r2 - 2.0 * mean * sums.rg + mean * mean * self.gap2).max(0.0);
        let variance = drawn * drawn * squares / (self.gap * self.gap);
        // A few windows can all have met the same, and say then that nothing ever differs.
        let before = (DIFFER * mean.max(density)).powi(2) / counting;
        let variance = (freedom * variance + GRANTED * before) / (freedom + GRANTED);
        // Who sees little of something that comes in bursts sees too little of how different they are: what
        // is never negative is as likely to be so many times as much as it is to be so many times less.
        let wide = quantile(freedom + GRANTED) * variance.sqrt();
        let times = (wide / mean.max(f64::MIN_POSITIVE)).min(FURTHEST).exp_m1();
        (value, (unseen * wide).max(value * times.max(few)) + unsure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(hits: u64, size: u64) -> Counts {
        Counts { hits, objects: 2 * hits, bytes: hits * size, ..Counts::default() }
    }

    fn add(rates: &mut Rates, time: Time, hits: u64) {
        let seen = (hits > 0).then(|| (7, counts(hits, 16)));
        rates.add(time, hits, seen.iter().map(|(number, of)| (*number, of)));
    }

    fn part(rates: &Rates, number: u32, own: &Counts) -> Part {
        rates.part(number, 1e9, own, 10e6)
    }

    const FREE: Time = Time { length: 1e6, progress: f64::INFINITY, gap: 1e8, each: 0.0 };

    #[test]
    fn what_is_steady_is_scaled_by_time() {
        let mut rates = Rates::default();
        for round in 0..400 {
            add(&mut rates, Time { gap: f64::from(50 + round % 3 * 50) * 1e6, ..FREE }, 1_000);
        }
        // A thousand in a millisecond: a million in a second.
        let whole = part(&rates, 7, &counts(4_000, 16));
        assert!((whole.events.0 - 1e6).abs() < 1.0, "{whole:?}");
        assert!((whole.objects.0 - 2e6).abs() < 1.0 && (whole.bytes.0 - 16e6).abs() < 16.0);
        assert!((0.002..0.02).contains(&(whole.events.1 / whole.events.0)), "{whole:?}");
        // Four windows that have met the same are no proof that all would.
        let mut rates = Rates::default();
        (0..4).for_each(|_| add(&mut rates, FREE, 1_000));
        let few = part(&rates, 7, &counts(4_000, 16));
        assert!((0.2..0.6).contains(&(few.events.1 / few.events.0)), "{few:?}");
        // Seen in none of them.
        let other = part(&rates, 8, &counts(10, 100));
        assert_eq!((other.events, other.bytes), ((0.0, 750.0), (0.0, 75_000.0)));
        assert_eq!(rates.part(7, 0.0, &counts(1, 1), 1.0), Part::default());
        assert_eq!(part(&Rates::default(), 7, &counts(1, 1)), Part::default());
        assert_eq!(rates.rest(), Rest::Estimated);
    }

    #[test]
    fn what_events_cost_is_no_time_of_the_programs() {
        let mut rates = Rates::default();
        // Half of each window.
        (0..100).for_each(|_| add(&mut rates, Time { each: 1_000.0, ..FREE }, 500));
        let half = part(&rates, 7, &counts(1, 1));
        assert!((half.events.0 - 1e6).abs() < 1.0 && rates.rest() == Rest::Estimated, "{half:?}");
        // They may cost more, and there are more of them then.
        assert!(half.events.0 + half.events.1 > 500.0 / 401e3 * 1e9, "{half:?}");
        let mut rates = Rates::default();
        (0..100).for_each(|_| add(&mut rates, Time { each: 1_000.0, ..FREE }, 990));
        assert_eq!(rates.rest(), Rest::TooDense);
        // What stands for itself says nothing of others, and what has no length says nothing.
        let mut rates = Rates::default();
        add(&mut rates, Time { gap: 0.0, ..FREE }, 5);
        add(&mut rates, Time { length: 0.0, ..FREE }, 5);
        assert_eq!(rates.rest(), Rest::TooFew);
    }

    #[test]
    fn windows_that_saw_nothing_count() {
        let mut rates = Rates::default();
        (0..40).for_each(|round| add(&mut rates, FREE, if round % 4 == 0 { 100 } else { 0 }));
        let one = part(&rates, 7, &counts(1_000, 8));
        assert!((one.events.0 - 25_000.0).abs() < 1.0, "{one:?}");
        assert!((0.4..0.8).contains(&(one.events.1 / one.events.0)), "{one:?}");
    }

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// A program whose events come in bursts, of which each is `burst` long, one in every `every`. Microseconds.
    struct Bursts {
        burst: f64,
        every: f64,
        /// Events in a microsecond of them.
        rate: f64,
    }

    /// What an event costs, in microseconds.
    const COST: f64 = 1.2;

    impl Bursts {
        /// A window at a random moment, of so much progress or until it has cost too much; its length and events.
        fn window(&self, random: &mut Random, length: f64, most: u64) -> (f64, u64) {
            let (mut at, mut passed, mut events) = (self.every * random.next(), 0.0, 0);
            loop {
                at %= self.every;
                let (step, event) = if at >= self.burst {
                    (self.every - at, false)
                } else {
                    (-random.next().ln() / self.rate, true)
                };
                let cut = event && at + step >= self.burst;
                let step = if cut { self.burst - at + 1e-9 } else { step };
                passed += step;
                let cost = events as f64 * COST;
                if passed >= length {
                    return (length + cost, events);
                }
                at += step;
                if event && !cut {
                    events += 1;
                    if events >= most {
                        return (passed + cost + COST, events);
                    }
                }
            }
        }

        /// How often the interval holds the truth, and the mean of the estimates in parts of it.
        fn estimates(&self, windows: u32, length: f64, most: u64) -> (f64, f64) {
            let mut random = Random(7);
            let (mut held, mut sum) = (0, 0.0);
            let truth = 1e6 * self.rate * self.burst / self.every;
            for _ in 0..500 {
                let mut rates = Rates::default();
                for _ in 0..windows {
                    let (length, events) = self.window(&mut random, length, most);
                    let gap = 1e8 * (0.5 + random.next());
                    let (length, each) = (length * 1e3, COST * 1e3);
                    add(&mut rates, Time { length, gap, each, ..FREE }, events);
                }
                let (value, width) = part(&rates, 7, &counts(1, 8)).events;
                held += u32::from((value - truth).abs() <= width);
                sum += value / truth;
            }
            (f64::from(held) / 500.0, sum / 500.0)
        }
    }

    #[test]
    fn the_interval_holds_the_truth() {
        for (bursts, windows) in [
            (Bursts { burst: 1e4, every: 1e4, rate: 0.1 }, 30),
            (Bursts { burst: 1e4, every: 1e4, rate: 0.001 }, 30),
            (Bursts { burst: 1e3, every: 5e3, rate: 0.4 }, 30),
            (Bursts { burst: 2e5, every: 6e5, rate: 0.2 }, 100),
            (Bursts { burst: 2e4, every: 2e5, rate: 0.2 }, 100),
            (Bursts { burst: 3e4, every: 1e5, rate: 0.1 }, 6),
        ] {
            let (held, mean) = bursts.estimates(windows, 500.0, u64::MAX);
            println!("{held} {mean}");
            let least = if windows < 10 { 0.85 } else { 0.95 };
            assert!(held >= least, "{held} of the intervals of 95 % hold the truth");
            assert!((mean - 1.0).abs() < 0.04, "{mean} of the truth on average");
        }
    }

    /// Why windows have an end of their own.
    #[test]
    fn windows_that_end_with_what_they_see_make_too_much_of_bursts() {
        let bursts = Bursts { burst: 1e3, every: 5e3, rate: 0.4 };
        let (_, mean) = bursts.estimates(100, 3_000.0, 100);
        assert!(mean > 1.2, "{mean}");
    }
}
