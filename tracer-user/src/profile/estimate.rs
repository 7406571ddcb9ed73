//! What slow-path events say about all allocations, and how sure that is.
//!
//! The span probe sees one allocation of each span: the one that found the span before it used up.
//! That one stands for the objects allocated from that span (its weight), whoever allocated them.
//! In: hits and weights of a stack and of its whole span class, of one process. Out: the half-width
//! of the 95 % confidence interval, and the factor by which a class's hits fall short of what was
//! allocated in it. Knows no stack and no kernel.
//!
//! One thing is outside of the interval, and said with every span profile: programs whose
//! allocations of one size alternate in step with the number of objects in a span.

use super::Profile;

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.96;

/// Hits and weights of one stack, or of all stacks, in one span class of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weights {
    pub hits: u64,
    /// Sum of weights: objects.
    pub objects: u64,
    /// Sum of squared weights, of hits that stand for more than themselves.
    pub squares: u64,
}

impl Weights {
    pub fn add(&mut self, other: &Weights) {
        self.hits += other.hits;
        self.objects = self.objects.saturating_add(other.objects);
        self.squares = self.squares.saturating_add(other.squares);
    }
}

/// One span class of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Class {
    /// Spans that were used up: each has a stack.
    pub seen: Weights,
    /// Objects from spans that were not used up, whoever allocated them: taken back by a collection,
    /// or still in use at the end, less what was allocated from those in use at the start.
    pub unseen: i64,
}

impl Class {
    /// Objects allocated in all.
    pub fn objects(&self) -> u64 {
        self.seen.objects.saturating_add_signed(self.unseen)
    }

    /// What an object of [`Class::seen`] stands for.
    pub fn factor(&self) -> f64 {
        match self.seen.objects {
            0 => 1.0,
            seen => self.objects() as f64 / seen as f64,
        }
    }
}

/// Half-width, in objects, of the interval around `stack.objects`.
///
/// The share p of a stack in its class is a ratio of sums; the variance of the stack's sum with the
/// class's total given is (1 − 2p)·Σw²(stack) + p²·Σw²(class). With few hits the normal interval is
/// too narrow, so that the score interval's upper width is used, which is about Poisson's.
pub fn half_width(stack: &Weights, class: &Weights) -> f64 {
    if stack.squares == 0 || class.objects == 0 || stack.hits == 0 {
        // Every event was one object: nothing was estimated.
        return 0.0;
    }
    let p = stack.objects as f64 / class.objects as f64;
    let variance = ((1.0 - 2.0 * p) * stack.squares as f64 + p * p * class.squares as f64).max(0.0);
    let weight = (stack.squares as f64 / stack.hits as f64).sqrt();
    let spread = variance / (weight * weight);
    weight * (Z * Z / 2.0 + Z * (spread + Z * Z / 4.0).sqrt())
}

/// How likely the runtime's sampler chooses an object of this size (malloc.go, `nextSample`: points
/// on the line of allocated bytes, on average `rate` apart). 1 where every object is chosen.
pub fn chance(size: u64, rate: u64) -> f64 {
    if rate <= 1 { 1.0 } else { -f64::exp_m1(-(size as f64) / rate as f64) }
}

/// Half-width, in objects, of the interval around `hits / chance`.
pub fn sampled_half_width(hits: u64, chance: f64) -> f64 {
    if chance >= 1.0 || hits == 0 {
        return 0.0;
    }
    // Each object is chosen or not by itself; with few hits the score interval's upper width, which
    // is about Poisson's.
    let spread = hits as f64 * (1.0 - chance);
    (Z * Z / 2.0 + Z * (spread + Z * Z / 4.0).sqrt()) / chance
}

/// A generator good enough for a test: xorshift64*.
#[cfg(test)]
pub fn random(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
}

impl Profile {
    /// Gives errors three significant digits, and makes none smaller: more of them say nothing, and would be
    /// most of what a recording has to keep.
    pub fn round_errors(&mut self) {
        const BELOW: u64 = (1 << 42) - 1;
        for error in self.samples.iter_mut().flat_map(|sample| &mut sample.error) {
            *error = f64::from_bits(error.to_bits().saturating_add(BELOW) & !BELOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Source, build::Build};

    #[test]
    fn rounded_errors_are_hardly_larger() {
        let mut build = Build::new(Source::Span);
        let process = build.process(1, "x", "");
        for (one, two) in [(0.0, 1.0), (1_234.567_8, 0.333_333), (1e300, f64::INFINITY)] {
            build.stack(process, &["main.a a.go:1"], 1, 1).error(one, two);
        }
        let mut profile = build.done();
        let before = profile.clone();
        profile.round_errors();
        for (now, before) in profile.samples.iter().zip(&before.samples) {
            for (now, before) in now.error.iter().zip(&before.error) {
                assert!(
                    now == before || (*now > *before && *now < before * 1.001),
                    "{now} {before}"
                );
            }
        }
        assert_eq!(profile.samples[0].error, [0.0, 1.0]);
        assert_ne!(profile.samples[1].error[0], 1_234.567_8);
    }

    fn hits(hits: u64, weight: u64) -> Weights {
        Weights { hits, objects: hits * weight, squares: hits * weight * weight }
    }

    #[test]
    fn the_interval_holds_the_truth_19_times_in_20() {
        let mut state = 42;
        for (share, spans) in [(0.5, 400), (0.1, 400), (0.02, 400), (0.3, 60)] {
            let mut held = 0;
            let rounds = 2000;
            for _ in 0..rounds {
                let (mut stack, mut class) = (Weights::default(), Weights::default());
                let mut truth = 0;
                for span in 0..spans {
                    // Spans of different fill, as after a sweep.
                    let weight = 32 + span % 64;
                    let mut last = false;
                    for _ in 0..weight {
                        last = random(&mut state) < share;
                        truth += u64::from(last);
                    }
                    class.add(&hits(1, weight));
                    if last {
                        stack.add(&hits(1, weight));
                    }
                }
                // Nothing is said about a stack that was never seen.
                let missed = stack.hits == 0;
                let off = (stack.objects as f64 - truth as f64).abs();
                held += u32::from(missed || off <= half_width(&stack, &class));
            }
            let coverage = f64::from(held) / f64::from(rounds);
            assert!(coverage >= 0.94, "share {share}, {spans} spans: {coverage}");
        }
    }

    #[test]
    fn spans_that_were_not_used_up_count_for_the_class() {
        let class = |unseen| Class { seen: hits(10, 100), unseen };
        assert_eq!((class(250).objects(), class(250).factor()), (1250, 1.25));
        assert_eq!((class(-100).objects(), class(-100).factor()), (900, 0.9));
        assert_eq!(class(-5000).objects(), 0);
        let nothing = Class { seen: Weights::default(), unseen: 7 };
        assert_eq!((nothing.objects(), nothing.factor()), (7, 1.0));
    }

    #[test]
    fn a_sample_stands_for_as_many_as_it_is_unlikely() {
        assert_eq!((chance(64, 0), chance(64, 1)), (1.0, 1.0));
        assert!((1.0 / chance(512, 512 << 10) - 1024.5).abs() < 0.01);
        assert!(chance(1 << 30, 512 << 10) > 0.999_999);
        assert_eq!((sampled_half_width(9, 1.0), sampled_half_width(0, 0.1)), (0.0, 0.0));
    }

    #[test]
    fn sampled_intervals_hold_the_truth_19_times_in_20() {
        let mut state = 7;
        for (objects, chance) in [(2000, 0.01), (300, 0.5), (400, 0.05)] {
            let mut held = 0;
            for _ in 0..2000 {
                let hits = (0..objects).filter(|_| random(&mut state) < chance).count() as u64;
                let off = (hits as f64 / chance - f64::from(objects)).abs();
                held += u32::from(hits == 0 || off <= sampled_half_width(hits, chance));
            }
            assert!(held >= 1880, "{objects} objects, chance {chance}: {held} of 2000");
        }
    }

    #[test]
    fn what_is_seen_whole_has_no_width() {
        let large = Weights { hits: 10, objects: 10, squares: 0 };
        assert_eq!(half_width(&large, &large), 0.0);
        assert_eq!(half_width(&Weights::default(), &Weights::default()), 0.0);
    }

    #[test]
    fn more_hits_make_it_narrower() {
        let relative = |n| half_width(&hits(n, 64), &hits(2 * n, 64)) / (n * 64) as f64;
        assert!(relative(10) > 2.0 * relative(100));
        assert!(relative(1000) < 0.08);
    }
}
