//! Histories of made-up profiles: lines, stacks and what takes the place of what.

use crate::profile::build::Build;
use crate::profile::trend::{Doubt, Grown, History, Verdict};
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, ProcessId, Profile, SPACE, Source,
};

const SIZE: u64 = 1024;

/// Frames, and objects made and alive at a second.
type Line<'a> = (&'a [&'a str], &'a dyn Fn(u64) -> (u64, u64));

/// Everything is sampled.
fn profile(second: u64, lines: &[Line<'_>]) -> Profile {
    let mut build = Build::new(Source::Records);
    let types = [ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE];
    build.values(&types, 3).records("", SPACE, 1);
    let process = build.process(7, "orders", "go1.27.3");
    for (frames, of) in lines {
        let (made, live) = of(second);
        build.stack(process, frames, 0, 0).label("bytes", SIZE);
        build.valued(&[made, made * SIZE, live, live * SIZE]);
    }
    build.done()
}

fn grown(lines: &[Line<'_>]) -> Vec<Grown> {
    let mut history = History::default();
    for second in 0..=60 {
        history.add(second as f64, &profile(second, lines), ProcessId(0));
    }
    history.grown()
}

const TRAFFIC: Line<'static> = (&["main.serve a.go:1", "main.main a.go:9"], &|s| (s * 5000, 100));

#[test]
fn a_line_is_where_the_programs_own_code_is() {
    let found = grown(&[
        TRAFFIC,
        (&["bytes.growSlice b.go:5", "main.add a.go:40", "main.main a.go:9"], &|s| {
            (s * 90, s * 90)
        }),
        (&["main.add a.go:40", "main.other a.go:12"], &|s| (s * 30, s * 30)),
    ]);
    let [leak] = &found[..] else { panic!("{found:?}") };
    assert_eq!(leak.trend.verdict, Verdict::Leak);
    assert_eq!((&*leak.place.function, leak.place.line, leak.stacks), ("main.add", 40, 2));
    assert_eq!(&*leak.stack[0].function, "bytes.growSlice");
    assert_eq!(leak.objects, 7200.0);
    assert!((leak.trend.slope - 120.0 * SIZE as f64).abs() < 1024.0, "{}", leak.trend.slope);
}

#[test]
fn one_stack_of_a_line_may_leak_while_others_come_and_go() {
    let noisy = |s: u64| (s * 3000, 3000 + (s * 7919) % 5000);
    let found = grown(&[
        (&["main.make a.go:3", "main.cached a.go:20"], &noisy),
        (&["main.make a.go:3", "main.leaks a.go:30"], &|s| (s * 40, s * 40)),
    ]);
    let leak = found.iter().find(|one| one.trend.verdict == Verdict::Leak).expect("a leak");
    assert_eq!((leak.place.line, leak.stacks), (3, 1));
    assert_eq!(&*leak.stack[1].function, "main.leaks");
}

#[test]
fn what_takes_the_place_of_something_else_is_no_leak() {
    let found = grown(&[
        TRAFFIC,
        // Of what was loaded at once not all is seen at the first look.
        (&["main.load a.go:50"], &|s| (9000, if s < 4 { 3000 } else { 9000 - s * 100 })),
        (&["main.update a.go:60"], &|s| (s * 100, s * 100)),
    ]);
    let update = found.iter().find(|one| one.place.line == 60).expect("grows");
    assert_eq!(update.trend.verdict, Verdict::Growing);
    assert_eq!(update.trend.doubts, [Doubt::Replaces]);
    // A batch that ends takes nobody's place.
    let found = grown(&[
        TRAFFIC,
        (&["main.batch a.go:50"], &|s| (9000, if s < 50 { 9000 } else { 0 })),
        (&["main.keep a.go:60"], &|s| (s * 100, s * 100)),
    ]);
    assert_eq!(found[0].trend.verdict, Verdict::Leak);
}

#[test]
fn profiles_that_say_nothing_new_are_not_counted() {
    let mut history = History::default();
    for second in 0..20 {
        let same = profile(second / 4, &[TRAFFIC]);
        history.add(second as f64, &same, ProcessId(0));
    }
    assert_eq!(history.looks(), 5);
    assert_eq!(history.span(), 16.0);
    assert!(history.grown().is_empty());
    assert!(!History::takes(&Build::new(Source::Exact).done()));
}
