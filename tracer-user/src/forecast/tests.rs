//! Made-up programs: what is told of them is what was put into them.

use super::course::{By, Course, Way as Goes, When};
use super::*;

const MIB: f64 = 1048576.0;

/// Xorshift, from 0 to 1.
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn even(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

/// Noise whose neighbours, half a second apart, are as alike as that.
fn noise(alike: f64, chance: &mut Chance) -> impl FnMut() -> f64 + '_ {
    let mut now = chance.normal();
    move || {
        now = alike * now + (1.0 - alike * alike).sqrt() * chance.normal();
        now
    }
}

fn level(seconds: f64, mut of: impl FnMut(f64) -> f64) -> Vec<(f64, f64)> {
    (0..=(seconds * 2.0) as u32).map(|at| (f64::from(at) / 2.0, of(f64::from(at) / 2.0))).collect()
}

fn way(points: &[(f64, f64)]) -> Goes {
    Course::of(points, By::Peaks, LEAST).way
}

/// How many of 300 seeded runs are so.
fn count(mut is: impl FnMut(&mut Chance) -> bool) -> usize {
    (1..=300).filter(|seed| is(&mut Chance::of(*seed))).count()
}

#[test]
fn the_interval_of_a_slope_holds_it() {
    for (alike, by, seconds) in [
        (0.0, By::Means, 60.0),
        (0.0, By::Peaks, 60.0),
        (0.0, By::Means, 20.0),
        (0.7, By::Means, 60.0),
        (0.9, By::Means, 60.0),
        (0.9, By::Peaks, 60.0),
        (0.95, By::Means, 60.0),
    ] {
        let inside = count(|chance| {
            let mut noise = noise(alike, chance);
            let points = level(seconds, |at| 100.0 * MIB + 0.5 * MIB * at + 3.0 * MIB * noise());
            let course = Course::of(&points, by, LEAST);
            (course.slope - 0.5 * MIB).abs() <= course.error
        });
        assert!(inside >= 270, "{alike} {by:?} {seconds}: {inside} of 300");
    }
}

#[test]
fn the_interval_of_a_time_holds_when_it_happens() {
    for (alike, size) in [(0.0, 1.0), (0.9, 2.0), (0.0, 4.0)] {
        let mut told = 0;
        let right = count(|chance| {
            let mut noise = noise(alike, chance);
            let mut at_level = |at: f64| 50.0 * MIB + 0.4 * MIB * at + size * MIB * noise();
            let points = level(60.0, &mut at_level);
            let limit = 150.0 * MIB;
            let happens = (121..)
                .map(|half| f64::from(half) / 2.0)
                .find(|at| at_level(*at) >= limit)
                .map(|at| at - 60.0)
                .unwrap();
            match Course::of(&points, By::Peaks, LEAST).when(limit) {
                When::In { seconds, earliest, latest } => {
                    told += 1;
                    assert!(earliest <= seconds && latest.is_none_or(|latest| seconds <= latest));
                    earliest <= happens && latest.is_none_or(|latest| happens <= latest)
                }
                When::NotInSight { earliest } => earliest.is_some_and(|e| e <= happens),
                When::TooEarly => false,
            }
        });
        assert!(right >= 270 && told >= 210, "{alike} {size}: {right} right, {told} told of 300");
    }
}

#[test]
fn what_only_wanders_is_rarely_called_growth() {
    for (alike, most) in [(0.0, 15), (0.7, 15), (0.9, 18), (0.97, 30)] {
        let grows = count(|chance| {
            let mut noise = noise(alike, chance);
            way(&level(60.0, |_| 100.0 * MIB + 5.0 * MIB * noise())) == Goes::Grows
        });
        assert!(grows <= most, "{alike}: {grows} of 300");
    }
    // Steps of any direction: nothing is known of what comes next.
    let walks = count(|chance| {
        let mut now = 0.0;
        let points = level(60.0, |_| {
            now += chance.normal();
            100.0 * MIB + MIB * now
        });
        way(&points) == Goes::Grows
    });
    assert!(walks <= 45, "{walks} of 300");
}

#[test]
fn saws_are_level_and_stairs_grow() {
    for period in [1.0, 3.0, 7.0, 12.0, 20.0, 31.0] {
        for phase in [0.0, 0.3, 0.6, 0.9] {
            let saw = level(60.0, |at| 100.0 * MIB + 40.0 * MIB * ((at / period + phase) % 1.0));
            assert_eq!(way(&saw), Goes::Level, "{period} {phase}");
        }
    }
    for steps in [4.0, 6.0, 9.0, 15.0, 40.0] {
        for phase in [0.0, 0.3, 0.6, 0.9] {
            let stairs =
                level(60.0, |at| 100.0 * MIB + 8.0 * MIB * (at * steps / 60.0 + phase).floor());
            assert_eq!(way(&stairs), Goes::Grows, "{steps} {phase}");
            let course = Course::of(&stairs, By::Peaks, LEAST);
            let truth = 8.0 * MIB * steps / 60.0;
            assert!((course.slope - truth).abs() <= course.error, "{steps} {phase}: {course:?}");
        }
    }
    // One step is none of many.
    assert_eq!(
        way(&level(60.0, |at| if at < 33.0 { 90.0 * MIB } else { 120.0 * MIB })),
        Goes::Level
    );
}

#[test]
fn what_has_ended_is_no_trend() {
    for end in [10.0, 20.0, 30.0, 40.0] {
        let warms = level(60.0, |at| 20.0 * MIB + MIB * at.min(end));
        let course = Course::of(&warms, By::Peaks, LEAST);
        assert_eq!(course.way, Goes::Level, "{end}: {course:?}");
        assert!(course.has_turned || end != 30.0);
    }
    let begins = level(60.0, |at| 20.0 * MIB + 2.0 * MIB * (at - 25.0).max(0.0));
    let course = Course::of(&begins, By::Peaks, LEAST);
    assert!(course.has_turned && (course.slope / MIB - 2.0).abs() < 0.1, "{course:?}");
    assert_eq!(way(&level(60.0, |at| 90.0 * MIB - 0.5 * MIB * at)), Goes::Falls);
}

#[test]
fn too_little_tells_nothing() {
    let grows = |at: f64| 20.0 * MIB + MIB * at;
    assert_eq!(way(&level(14.0, grows)), Goes::TooEarly);
    assert_eq!(Course::of(&level(14.0, grows), By::Peaks, LEAST).when(1e9), When::TooEarly);
    assert_eq!(way(&level(16.0, grows)), Goes::Grows);
    assert_eq!(way(&[(0.0, 1.0), (40.0, 5e9)]), Goes::TooEarly);
    assert_eq!(way(&[]), Goes::TooEarly);
    // Less than anybody can measure.
    assert_eq!(way(&level(60.0, |at| 1e8 + 9000.0 * at)), Goes::Level);
}

/// A program that allocates and collects, as Go's pacer would have it.
struct Program {
    seconds: u32,
    /// Bytes that live, and that come and go a second.
    live: fn(f64) -> f64,
    garbage: f64,
    object: f64,
    /// Of the spans.
    filled: f64,
    large: f64,
    goroutines: fn(f64) -> f64,
    off_heap: fn(f64) -> f64,
    gc_share: f64,
    /// It has not collected at this size yet.
    is_new: bool,
    memory_limit: Option<u64>,
    group: Option<u64>,
}

fn program() -> Program {
    Program {
        seconds: 60,
        live: |_| 30.0 * MIB,
        garbage: 20.0 * MIB,
        object: 200.0,
        filled: 0.95,
        large: 0.05,
        goroutines: |_| 40.0,
        off_heap: |_| 6.0 * MIB,
        gc_share: 0.005,
        is_new: false,
        memory_limit: None,
        group: None,
    }
}

impl Program {
    fn readings(&self) -> Vec<Figures> {
        let mut made = Vec::new();
        let (mut marked, mut young) = ((self.live)(0.0), 0.0);
        // It ran before.
        let mut most = if self.is_new { 0.0 } else { 2.0 * marked / self.filled };
        let (mut cycles, mut allocated, mut before) = (7, 1e9, (self.live)(0.0));
        for tenth in 0..=self.seconds * 10 {
            let at = f64::from(tenth) / 10.0;
            let live = (self.live)(at);
            let came = self.garbage / 10.0 + (live - before).max(0.0);
            (before, young, allocated) = (live, young + came, allocated + came);
            let goal = (2.0 * marked).max(4.0 * MIB);
            if marked + young >= goal {
                (marked, young, cycles) = (live, 0.0, cycles + 1);
            }
            let heap = marked + young;
            let in_use = heap / self.filled;
            most = most.max(in_use);
            if tenth % 5 != 0 {
                continue;
            }
            let goroutines = (self.goroutines)(at);
            let stacks = goroutines * 4096.0;
            let sys = most + stacks + 4.0 * MIB;
            let resident = sys + (self.off_heap)(at) - MIB;
            let share = |part: f64| (part * heap) as u64;
            made.push(Figures {
                at,
                resident: Some(resident as u64),
                group: self.group.map(|limit| Group {
                    path: "/pods/one".into(),
                    usage: (resident + 9.0 * MIB) as u64,
                    droppable: Some(9 << 20),
                    limit,
                }),
                cpu: Some(at * 0.4),
                goroutines: Some(goroutines as u64),
                sys: sys as u64,
                released: 0,
                in_use: in_use as u64,
                idle: (most - in_use) as u64,
                alloc: heap as u64,
                marked: marked as u64,
                goal: Some((2.0 * marked).max(4.0 * MIB) as u64),
                stacks: stacks as u64,
                allocated: allocated as u64,
                objects: (allocated / self.object) as u64,
                large: (allocated * self.large) as u64,
                exact: true,
                large_there: share(self.large),
                cycles,
                collected: Some(100.0 + at),
                gc_share: (0.1 * 100.0 + self.gc_share * at) / (100.0 + at),
                procs: 2,
                gogc: Some(100),
                memory_limit: self.memory_limit,
                limit_binds: false,
            });
        }
        made
    }

    fn forecast(&self) -> Forecast {
        Forecast::of(&self.readings()).unwrap()
    }
}

fn sign(forecast: &Forecast, way: Way) -> Sign {
    forecast.ways.iter().find(|one| one.way == way).map(|one| one.sign).unwrap()
}

/// Only this way shows signs, beside those.
fn only(forecast: &Forecast, way: Way, beside: &[Way]) {
    assert_eq!(
        (forecast.ways[0].way, forecast.ways[0].sign),
        (way, Sign::Likely),
        "{:#?}",
        forecast.ways
    );
    for one in &forecast.ways[1..] {
        assert!(one.sign == Sign::None || beside.contains(&one.way), "{one:#?}");
    }
}

#[test]
fn a_steady_program_has_no_end_in_sight_and_no_signs() {
    let steady = Program { group: Some(256 << 20), memory_limit: Some(200 << 20), ..program() };
    let forecast = steady.forecast();
    assert_eq!(forecast.limits.len(), 3);
    for limit in &forecast.limits {
        assert!(matches!(limit.when, When::NotInSight { .. }) && !limit.is_reached, "{limit:?}");
    }
    assert!(forecast.ways.iter().all(|way| way.sign == Sign::None), "{:#?}", forecast.ways);
    assert_eq!(forecast.near(3600.0), None);
    let ratios = &forecast.ratios;
    let is =
        |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 0.05 * expected;
    assert!(is(ratios.live_of_goal, 0.5) && is(ratios.goal_of_live, 2.0), "{ratios:?}");
    assert!(is(ratios.spans_filled, 0.95) && is(ratios.allocated, 20.0 * MIB), "{ratios:?}");
    assert!(is(ratios.gc_of_available, 0.005) && is(ratios.gc_of_used, 0.025), "{ratios:?}");
    assert!(is(ratios.mean_object, 200.0) && is(ratios.turnover, 2.0 / 3.0), "{ratios:?}");
    assert_eq!(ratios.limit_binds, Some(0.0));
}

#[test]
fn a_leak_comes_to_the_groups_limit_when_it_does() {
    let leak =
        Program { live: |at| 30.0 * MIB + 0.4 * MIB * at, group: Some(256 << 20), ..program() };
    let forecast = leak.forecast();
    only(&forecast, Way::Live, &[]);
    let [limit] = &forecast.limits[..] else { panic!("{:?}", forecast.limits) };
    let When::In { earliest, latest, .. } = limit.when else { panic!("{limit:#?}") };
    // The same program, until it is there.
    let on = Program { seconds: 400, ..leak }.readings();
    let happens =
        on.iter().find(|one| one.group.as_ref().unwrap().kept() >= 256 << 20).unwrap().at - 60.0;
    assert!(
        earliest <= happens && latest.is_none_or(|latest| happens <= latest),
        "{happens}: {limit:#?}"
    );
    assert_eq!(forecast.near(3600.0), Some(limit));
    assert_eq!(forecast.near(1.0), None);
}

#[test]
fn growth_below_an_old_peak_is_seen_in_the_goal() {
    // 400 MiB were mapped once.
    let leak = Program { live: |at| 30.0 * MIB + 0.4 * MIB * at, ..program() };
    let mut readings = leak.readings();
    for one in &mut readings {
        let heap = one.in_use + one.idle;
        one.idle = (400 << 20) - one.in_use;
        one.sys += (400 << 20) - heap;
        one.resident = Some(one.sys);
        let usage = one.sys;
        one.group = Some(Group { path: "/a".into(), usage, droppable: None, limit: 512 << 20 });
    }
    let forecast = Forecast::of(&readings).unwrap();
    let [limit] = &forecast.limits[..] else { panic!("{:?}", forecast.limits) };
    assert_eq!(limit.from, Basis::Goal, "{limit:#?}");
    // The goal, 2 × live, is 400 + (512 - 404.2) MiB when the live heap is half of that.
    let happens = (507.8 / 2.0 - 30.0) / 0.4 - 60.0;
    let When::In { earliest, latest, .. } = limit.when else { panic!("{limit:#?}") };
    assert!(
        earliest <= happens && latest.is_none_or(|latest| happens <= latest),
        "{happens}: {limit:#?}"
    );
    assert_eq!(limit.is_kept, Some(false));
}

#[test]
fn limits_that_are_reached_are_told_as_that() {
    let full = Program { group: Some(70 << 20), ..program() };
    let limit = &full.forecast().limits[0];
    assert!(limit.is_reached && limit.of == Of::Group, "{limit:?}");
    let full = Program { memory_limit: Some(66 << 20), group: Some(1 << 30), ..program() };
    let forecast = full.forecast();
    let reached: Vec<Of> = forecast.limits.iter().filter(|l| l.is_reached).map(|l| l.of).collect();
    assert_eq!(reached, [Of::Mapped]);
    // That is not the end.
    assert_eq!(forecast.near(3600.0), None);
    let full = Program { memory_limit: Some(32 << 20), ..program() };
    assert_eq!(full.forecast().near(3600.0).map(|limit| limit.of), Some(Of::Live));
}

#[test]
fn no_limit_and_too_early_are_told() {
    let forecast = program().forecast();
    assert!(forecast.limits.is_empty() && forecast.near(1e9).is_none());
    let early = Program { seconds: 10, group: Some(1 << 30), ..program() }.forecast();
    assert!(early.is_too_early());
    assert_eq!(early.limits[0].when, When::TooEarly);
    assert!(early.ways.iter().all(|way| !matches!(way.sign, Sign::Likely | Sign::Possible)));
    assert_eq!(Forecast::of(&[]), None);
    let one = Forecast::of(&program().readings()[..1]).unwrap();
    assert!(one.is_too_early() && one.ratios.allocated.is_none());
    assert_eq!(Forecast::of(&[Figures::default(), Figures::default()]).unwrap().ratios.idle, None);
}

#[test]
fn a_group_whose_limit_changes_begins_anew() {
    let leak =
        Program { live: |at| 30.0 * MIB + 0.4 * MIB * at, group: Some(256 << 20), ..program() };
    let mut readings = leak.readings();
    for one in &mut readings[..100] {
        one.group.as_mut().unwrap().limit = 128 << 20;
    }
    let forecast = Forecast::of(&readings).unwrap();
    assert_eq!(forecast.limits[0].when, When::TooEarly);
}

#[test]
fn ways_to_die_are_told_apart() {
    only(&Program { goroutines: |at| 40.0 + 10.0 * at, ..program() }.forecast(), Way::Outside, &[]);
    let off = Program { off_heap: |at| 6.0 * MIB + MIB * at, ..program() };
    only(&off.forecast(), Way::Outside, &[]);
    let churn = Program { garbage: 130.0 * MIB, gc_share: 0.1, object: 48.0, ..program() };
    only(&churn.forecast(), Way::Churn, &[]);
    let holes = Program { filled: 0.3, ..program() };
    only(&holes.forecast(), Way::Fragments, &[]);
    // Large objects come and go, and leave what nobody uses.
    let mut large = Program { large: 0.9, object: 200_000.0, ..program() }.readings();
    for one in &mut large {
        (one.idle, one.sys) = (one.idle + (90 << 20), one.sys + (90 << 20));
    }
    only(&Forecast::of(&large).unwrap(), Way::Fragments, &[]);
    // What grows and is large is a leak first.
    let leak =
        Program { live: |at| 30.0 * MIB + MIB * at, large: 0.9, object: 200_000.0, ..program() };
    only(&leak.forecast(), Way::Live, &[Way::Fragments]);
    // Goroutines that hold something.
    let held = Program {
        goroutines: |at| 40.0 + 10.0 * at,
        live: |at| 30.0 * MIB + 0.3 * MIB * at,
        ..program()
    };
    only(&held.forecast(), Way::Outside, &[Way::Live]);
    let fills = Program { goroutines: |at| 40.0 + 10.0 * at.min(20.0), ..program() };
    assert_eq!(sign(&fills.forecast(), Way::Outside), Sign::None);
}

#[test]
fn a_heap_that_does_not_fit_its_group_at_its_goal_may_be_churn() {
    let tight = Program {
        live: |_| 60.0 * MIB,
        garbage: 0.3 * MIB,
        is_new: true,
        group: Some(110 << 20),
        ..program()
    };
    let forecast = tight.forecast();
    assert_eq!(sign(&forecast, Way::Churn), Sign::Possible);
    let beyond = forecast.ways[0].evidence.iter().find(|one| one.what == What::PeakBeyondLimit);
    assert!(beyond.is_some_and(|one| one.is_for && one.value > 0.0), "{:#?}", forecast.ways);
}
