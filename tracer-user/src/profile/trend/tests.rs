//! Judgements of made series: what a sampler with a period of 512 KiB would see of programs whose truth is known.

use super::judge::*;
use crate::profile::estimate::random;

const PERIOD: f64 = 524_288.0;

/// A program of one stack, second by second: `made` bytes are allocated in each, `live` are alive at its end.
struct Truth {
    made: Vec<f64>,
    /// How much of what was alive or was made is let go of in each second.
    freed: Vec<f64>,
}

impl Truth {
    /// `step` says what is made in a second and what is let go of, by what is alive.
    fn of(seconds: usize, mut step: impl FnMut(f64, f64) -> (f64, f64)) -> Self {
        let (mut made, mut freed, mut live) = (Vec::new(), Vec::new(), 0.0_f64);
        for second in 0..seconds {
            let (more, less) = step(second as f64, live);
            let less = less.min(live + more);
            live += more - less;
            made.push(more);
            freed.push(less);
        }
        Self { made, freed }
    }

    /// What is sampled of it: each sample is an object, and the oldest go first, or any.
    fn sampled(&self, every: usize, oldest_first: bool, state: &mut u64) -> Vec<Point> {
        let mut points = Vec::new();
        // Each sampled object, by what was made before it.
        let mut alive: Vec<f64> = Vec::new();
        let (mut next, mut made, mut freed, mut hits) = (distance(state), 0.0, 0.0, 0.0);
        for (second, (more, less)) in self.made.iter().zip(&self.freed).enumerate() {
            let live = made + more - freed;
            made += more;
            while next < made {
                alive.push(next);
                hits += 1.0;
                next += distance(state);
            }
            freed += less;
            if oldest_first {
                alive.retain(|at| *at >= freed);
            } else if live > 0.0 {
                alive.retain(|_| random(state) >= less / live);
            }
            if second % every == 0 {
                points.push(Point {
                    at: second as f64,
                    live: alive.len() as f64 * PERIOD,
                    made: hits * PERIOD,
                    live_hits: alive.len() as f64,
                    made_hits: hits,
                });
            }
        }
        points
    }
}

fn distance(state: &mut u64) -> f64 {
    -PERIOD * (1.0 - random(state)).ln()
}

/// How many of 200 seeded runs were judged so.
fn count(truth: impl Fn() -> Truth, is: Verdict, oldest_first: bool) -> usize {
    count_loaded(truth, is, oldest_first, |_| 1.0)
}

fn count_loaded(
    truth: impl Fn() -> Truth,
    is: Verdict,
    oldest_first: bool,
    load: impl Fn(f64) -> f64,
) -> usize {
    (1..=200_u64)
        .filter(|seed| {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let points = truth().sampled(1 + (*seed as usize % 4), oldest_first, &mut state);
            let mut all = 0.0;
            let load: Vec<f64> = (points.iter())
                .map(|p| {
                    all += load(p.at);
                    all
                })
                .collect();
            judge(&points, &load).verdict == is
        })
        .count()
}

const MIB: f64 = 1048576.0;

fn leak(rate: f64) -> Truth {
    Truth::of(61, |_, _| (rate, 0.0))
}

#[test]
fn leaks_are_told_from_some_hundred_kilobytes_a_second_on() {
    assert!(count(|| leak(2.0 * MIB), Verdict::Leak, true) >= 195);
    assert!(count(|| leak(0.5 * MIB), Verdict::Leak, true) >= 178);
    assert!(count(|| leak(0.25 * MIB), Verdict::Leak, true) >= 165);
    // 30 KB/s are four samples in a minute.
    assert_eq!(count(|| leak(0.03 * MIB), Verdict::Leak, true), 0);
}

#[test]
fn a_leak_among_what_comes_and_goes_is_told() {
    // 8 MiB/s that live a second, of which a tenth stays.
    let truth = || Truth::of(61, |_, _| (8.0 * MIB, 7.2 * MIB));
    let told = count(truth, Verdict::Leak, true);
    assert!(told >= 140, "{told}");
}

#[test]
fn what_has_filled_is_no_leak() {
    for (until, most) in [(10.0, 0), (20.0, 0), (35.0, 0), (45.0, 2)] {
        for rate in [0.3 * MIB, 0.6 * MIB, 3.0 * MIB] {
            let fills = || Truth::of(61, |s, _| (if s < until { rate } else { 0.0 }, 0.0));
            let accused = count(fills, Verdict::Leak, true);
            assert!(accused <= most, "full after {until} s at {rate}: {accused} accused");
        }
    }
    // Then each new one takes the place of the oldest, or of any.
    for (seconds, until, rate) in [(61, 25.0, 0.5 * MIB), (61, 25.0, MIB), (25, 10.0, MIB)] {
        let evicts = || Truth::of(seconds, |s, _| (rate, if s < until { 0.0 } else { rate }));
        for oldest_first in [true, false] {
            let accused = count(evicts, Verdict::Leak, oldest_first);
            assert!(accused <= 1, "full after {until} s of {seconds}: {accused}");
        }
    }
}

#[test]
fn what_slows_down_is_in_doubt() {
    for length in [10.0, 20.0] {
        let fills =
            || Truth::of(61, |_, live| (3.0 * MIB * (1.0 - live / (3.0 * MIB * length)), 0.0));
        assert_eq!(count(fills, Verdict::Leak, true), 0, "{length}");
    }
    let slowly = || Truth::of(61, |_, live| (3.0 * MIB * (1.0 - live / (3.0 * MIB * 40.0)), 0.0));
    assert!(count(slowly, Verdict::Leak, true) <= 4);
    assert!(count(slowly, Verdict::Growing, true) >= 190);
}

#[test]
fn what_comes_and_goes_is_no_leak() {
    let steady = || Truth::of(61, |s, _| (8.0 * MIB, if s < 3.0 { 4.0 * MIB } else { 8.0 * MIB }));
    assert_eq!(count(steady, Verdict::Leak, true), 0);
    assert_eq!(count(steady, Verdict::Leak, false), 0);
    for period in [5.0, 12.0, 25.0, 40.0] {
        let saw = || {
            Truth::of(61, |s, live| {
                (MIB, if s % period == period - 1.0 { live + MIB } else { 0.0 })
            })
        };
        assert_eq!(count(saw, Verdict::Leak, true), 0, "{period}");
    }
    let large = || {
        Truth::of(61, |s, _| match s {
            0.0 => (200.0 * MIB, 0.0),
            _ => (2.0 * MIB, 2.0 * MIB),
        })
    };
    assert_eq!(count(large, Verdict::Leak, false), 0);
}

#[test]
fn more_load_is_no_leak() {
    // What is made lives five seconds, and ever more is made.
    let rate = |s: f64| 0.5 * MIB + 0.1 * MIB * s;
    let grows = || Truth::of(61, |s, _| (rate(s), if s < 5.0 { 0.0 } else { rate(s - 5.0) }));
    let accused = count_loaded(grows, Verdict::Leak, true, rate);
    assert!(accused == 0, "{accused}");
    // Sessions that stay, as many more as the program has to do.
    let sessions =
        || Truth::of(61, |s, _| if s == 0.0 { (20.0 * MIB, 0.0) } else { (0.4 * MIB, 0.0) });
    let accused = count_loaded(sessions, Verdict::Leak, true, |s| 20.0 + 0.4 * s);
    assert_eq!(accused, 0);
    // The same growth where the program does as much as ever.
    assert!(count(sessions, Verdict::Leak, true) >= 150);
}

#[test]
fn a_slice_that_is_replaced_by_larger_ones_is_told_by_its_steps() {
    let points = |until: f64| -> Vec<Point> {
        let (mut size, mut made) = (MIB, 1.0);
        (0..=60)
            .map(|s| {
                let length = MIB * (1.0 + f64::from(s).min(until) * 0.25);
                while size < length {
                    size *= 1.25;
                    made += 1.0;
                }
                Point {
                    at: f64::from(s),
                    live: size,
                    made: size * 4.0,
                    live_hits: 1.0,
                    made_hits: made,
                }
            })
            .collect()
    };
    let load: Vec<f64> = (0..=60).map(f64::from).collect();
    assert_eq!(judge(&points(60.0), &load).verdict, Verdict::Leak);
    assert_ne!(judge(&points(20.0), &load).verdict, Verdict::Leak);
    // A sawtooth of them.
    let mut saw = points(60.0);
    saw[40].live = MIB;
    assert_ne!(judge(&saw, &load).verdict, Verdict::Leak);
}

#[test]
fn the_interval_holds_the_truth() {
    let inside = (1..=200_u64).filter(|seed| {
        let points = leak(0.5 * MIB).sampled(2, true, &mut seed.wrapping_mul(77_777_777_777));
        let trend = judge(&points, &[]);
        (trend.slope - 0.5 * MIB).abs() <= trend.error
    });
    let inside = inside.count();
    assert!(inside >= 186, "{inside} of 200");
}

#[test]
fn levels_are_judged_without_samples() {
    let level = |of: &dyn Fn(f64) -> f64| -> Trend {
        let noise = |s: f64| (s * 1.7).sin() * 0.3 * MIB;
        let point = |s: u32| Point {
            at: s.into(),
            live: of(s.into()) + noise(s.into()),
            ..Point::default()
        };
        judge_level(&(0..=60).map(point).collect::<Vec<_>>())
    };
    assert_eq!(level(&|s| 50.0 * MIB + s * MIB).verdict, Verdict::Leak);
    assert_eq!(level(&|s| 50.0 * MIB + s.min(20.0) * MIB).verdict, Verdict::Steady);
    assert_eq!(level(&|_| 50.0 * MIB).verdict, Verdict::Steady);
    assert_ne!(level(&|s| 60.0 * MIB * (1.0 - (-s / 20.0).exp())).verdict, Verdict::Leak);
    assert_ne!(level(&|s| (s % 25.0) * MIB).verdict, Verdict::Leak);
}

#[test]
fn it_is_too_early_when_little_was_seen() {
    let points = leak(MIB).sampled(1, true, &mut 7);
    assert_eq!(judge(&points[..15], &[]).verdict, Verdict::TooEarly);
    let few: Vec<Point> = points.iter().copied().step_by(20).collect();
    assert_eq!(judge(&few, &[]).verdict, Verdict::TooEarly);
    assert_eq!(judge(&[], &[]).verdict, Verdict::TooEarly);
}
