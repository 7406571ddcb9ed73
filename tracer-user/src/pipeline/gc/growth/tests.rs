//! Profiles made by hand: what is told of them, and how sure that is.

use super::*;
use crate::output::gc::made;
use crate::profile::estimate::random;
use crate::runtime::buckets::Counts;

fn as_of(collection: u32, rate: u64, counts: &[(u64, u64)]) -> AsOf {
    let counts = counts.iter().map(|(allocs, frees)| Counts { allocs: *allocs, frees: *frees });
    AsOf { collection, rate, counts: counts.collect(), refused: 0 }
}

fn told(growing: &Growing) -> Vec<(u32, u32, usize)> {
    let len = |span: &Sampled| match &span.kept {
        Kept::Changes(changes) => changes.len(),
        Kept::Sum(_) => usize::MAX,
    };
    growing.spans.iter().map(|span| (span.first, span.last, len(span))).collect()
}

#[test]
fn what_is_between_two_profiles_is_told_together() {
    let mut growing = Growing::new(false, 1 << 20);
    growing.take(as_of(6, 1, &[(5, 1)]));
    growing.take(as_of(7, 1, &[(5, 2), (9, 0)]));
    growing.take(as_of(9, 1, &[(5, 2), (10, 4)]));
    assert_eq!(told(&growing), [(7, 7, 2), (8, 9, 1)]);
    let total = |bucket: usize| growing.total[bucket];
    assert_eq!(total(0), Some(Change { bucket: 0, before: 4, allocs: 0, frees: 1 }));
    assert_eq!(total(1), Some(Change { bucket: 1, before: 0, allocs: 10, frees: 4 }));
    assert_eq!(growing.notes(0).len(), 1, "its sampler was never seen to be on");
}

#[test]
fn of_two_rates_nothing_is_told_together() {
    let mut growing = Growing::new(false, 1 << 20);
    growing.rate = Some(4096);
    growing.take(as_of(6, 1, &[(5, 1)]));
    growing.take(as_of(7, 1, &[(6, 1)]));
    growing.take(as_of(8, 4096, &[(8, 1)]));
    assert_eq!((told(&growing), growing.total.len()), (vec![], 0));
    assert_eq!((growing.rate, growing.first), (Some(4096), None));
    growing.take(as_of(9, 4096, &[(9, 1)]));
    assert_eq!(told(&growing), [(9, 9, 1)]);
    assert!(growing.notes(2)[0].contains("changed its sampler's rate"));
}

#[test]
fn the_oldest_stacks_go_first_and_sums_stay() {
    let mut growing = Growing::new(false, 1 << 20);
    let many = |n: u64| vec![(n, 0); MOST_CHANGES / 2 + 1];
    (0..4).for_each(|n| growing.take(as_of(n, 1, &many(u64::from(n)))));
    assert_eq!(told(&growing).iter().filter(|span| span.2 == usize::MAX).count(), 2);
    assert!(growing.changes <= MOST_CHANGES);
    assert_eq!(growing.total.len(), MOST_CHANGES / 2 + 1);
    growing.rate = Some(1);
    assert_eq!(growing.notes(0), ["stacks of the first 2 are told together only"]);
    // Sums go at last.
    let mut growing = Growing::new(false, 1 << 20);
    let long = MOST_SPANS as u32 + 10;
    (0..=long).for_each(|n| growing.take(as_of(n, 1, &[(u64::from(n), 0)])));
    assert_eq!((growing.spans.len(), growing.first), (MOST_SPANS, Some(1)));
    assert_eq!(growing.total[0].map(|total| total.allocs), Some(u64::from(long)));
    assert_eq!((growing.forgotten, growing.changes), (10, MOST_SPANS));
}

#[test]
fn collections_that_nobody_saw_end_are_not_missed() {
    let mut process = made::report().processes.remove(0);
    let span = |first, last| Span { first, last, ..Span::default() };
    assert_eq!(unknown(&process, &[]), 3);
    assert_eq!(unknown(&process, &[span(6, 7), span(9, 9)]), 1);
    assert_eq!(unknown(&process, &[span(7, 12)]), 0);
    process.overwritten = 2;
    assert_eq!(unknown(&process, &[span(7, 9)]), 2);
    process.cycles.clear();
    assert_eq!(unknown(&process, &[span(7, 9)]), 2);
}

fn amounts(before: u64, allocs: u64, frees: u64, rate: u64) -> Amounts {
    let mut sum = Sum::default();
    sum.add(&Change { bucket: 0, before, allocs, frees }, 512, rate);
    sum.amounts()
}

#[test]
fn what_every_object_is_sampled_of_is_exact() {
    let found = amounts(4, 10, 14, 1);
    let expected = Amounts {
        allocated_objects: 10,
        allocated_bytes: 5120,
        grew_objects: -4,
        grew_bytes: -2048,
        ..Amounts::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn what_comes_and_goes_is_no_error_of_growth() {
    let rate = 64 << 10;
    let wasted = amounts(0, 1000, 1000, rate);
    assert_eq!((wasted.grew_bytes, wasted.grew_error), (0, 0));
    assert!(wasted.allocated_error > 0);
    let kept = amounts(0, 1000, 0, rate);
    assert_eq!((kept.grew_error, kept.grew_bytes), (kept.allocated_error, 65_792_333));
    assert_eq!(kept.allocated_bytes as i64, kept.grew_bytes);
    // 500 old ones for 500 new ones: both were a matter of chance.
    let replaced = amounts(500, 500, 500, rate);
    assert_eq!(replaced.grew_bytes, 0);
    assert_eq!(replaced.grew_error, kept.grew_error);
}

#[test]
fn intervals_of_growth_hold_the_truth_19_times_in_20() {
    let (mut state, rate, mut held) = (42, 16 << 10, 0);
    let (old, new, freed_old, freed_new) = (3000, 5000, 1000, 2500);
    for _ in 0..1000 {
        let mut sampled = |objects: u64| {
            (0..objects).filter(|_| random(&mut state) < chance(512, rate)).count() as u64
        };
        let (freed, freed_too) = (sampled(freed_old), sampled(freed_new));
        let before = freed + sampled(old - freed_old);
        let allocs = freed_too + sampled(new - freed_new);
        let found = amounts(before, allocs, freed + freed_too, rate);
        let truth = (new - freed_old - freed_new) as i64 * 512;
        held += u32::from((found.grew_bytes - truth).unsigned_abs() <= found.grew_error);
    }
    assert!(held >= 940, "{held} of 1000");
}
