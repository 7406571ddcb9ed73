//! What in a profile of goroutines is worth a look: creators whose goroutines do not end.
//!
//! In: a [`Profile`]. Out: sentences, those with most goroutines first.

use super::describe::{counted, living};
use super::maps::FINDING;
use super::text::{grouped, printable, short_path};
use crate::profile::{
    AGES, Ages, Frame, FrameKind, GOROUTINES_CREATED, GOROUTINES_ENDED, GOROUTINES_LIVE, Profile,
    Ranked,
};

/// Goroutines of a creator that have to live for this to be worth a finding, and the class of age that
/// they have to have reached: about a second.
const MANY: u64 = 10;
const OLD: usize = 11;
/// Of those that were made, at most one in this many has ended.
const FEW: u64 = 10;
/// Findings that are told; others are counted.
const TOLD: usize = 10;

/// Creators whose goroutines do not end, as sentences that begin with [`FINDING`].
pub fn findings(profile: &Profile) -> Vec<String> {
    let values =
        [GOROUTINES_CREATED, GOROUTINES_ENDED, GOROUTINES_LIVE].map(|of| profile.value_of_kind(of));
    let [Some(created), Some(ended), Some(live)] = values else { return Vec::new() };
    let ranking = profile.ranked(live);
    let found = ranking.stacks.iter().filter_map(|one| {
        let ages = one.ages.as_deref().filter(|ages| stay(ages))?;
        let frames: Vec<&Frame> = one.frames.iter().map(|id| ranking.frame(*id)).collect();
        Some(told(profile, one, &frames, [created, ended], ages))
    });
    let mut found: Vec<String> = found.collect();
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        let stacks = counted(more as u64, "more stack");
        found.push(format!("{FINDING}{stacks} whose goroutines do not end, with fewer of them"));
    }
    found
}

fn stay(ages: &Ages) -> bool {
    let sum = |counts: &[u64]| counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    let (ended, live) = (sum(&ages.freed), sum(&ages.live));
    sum(&ages.live[OLD.min(AGES)..]) >= MANY && ended.saturating_mul(FEW) <= ended + live
}

fn told(
    profile: &Profile,
    one: &Ranked,
    frames: &[&Frame],
    values: [usize; 2],
    ages: &Ages,
) -> String {
    let text = |frame: &Frame| {
        let name = printable(profile.names.text(frame.function)).into_owned();
        let file = printable(short_path(profile.names.text(frame.file))).into_owned();
        match frame.line {
            0 => name,
            line => format!("{name} ({file}:{line})"),
        }
    };
    // The innermost frame is where they start.
    let mut by = frames.get(1).map_or_else(|| "[no stack]".to_owned(), |frame| text(frame));
    // A library makes them for somebody.
    let own = frames.iter().skip(1).position(|frame| frame.kind == FrameKind::Program);
    if let Some(own) = own.filter(|at| *at > 0).and_then(|at| frames.get(at + 1)) {
        by.push_str(&format!(", called by {},", text(own)));
    }
    let start = frames.first().map_or_else(String::new, |frame| {
        printable(profile.names.text(frame.function)).into_owned()
    });
    let count = |value: usize| grouped(one.values.get(value).copied().unwrap_or(0));
    let [created, ended] = values.map(count);
    let live = living(ages).map_or_else(String::new, |live| format!("; {live}"));
    format!("{FINDING}{by} made {created} goroutines ({start}), of which {ended} ended{live}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn who_makes_goroutines_that_do_not_end_is_told() {
        let profile = sample::goroutines();
        let found = findings(&profile);
        let leak = "finding: main.(*Hub).subscribe (shop/hub.go:40) made 300 goroutines (go \
                    main.(*Hub).pump), of which 1 ended; 299 live, the oldest for 4 s or more";
        assert_eq!(found, [leak]);
        assert!(findings(&sample::server()).is_empty());
    }

    #[test]
    fn young_ones_and_few_ones_are_no_finding() {
        let mut ages = Ages::default();
        ages.live[OLD - 1] = 1000;
        assert!(!stay(&ages));
        ages.live[OLD] = MANY - 1;
        assert!(!stay(&ages));
        ages.live[OLD] = MANY;
        assert!(stay(&ages));
        ages.freed[0] = 1000;
        assert!(!stay(&ages));
    }

    #[test]
    fn many_are_counted() {
        let mut profile = sample::goroutines();
        let leak = profile.samples[1].clone();
        for at in 0..12 {
            let name =
                profile.made_up(&format!("go main.f{at}"), crate::profile::FrameKind::Program);
            let mut one = leak.clone();
            one.stack[0] = name;
            profile.samples.push(one);
        }
        let found = findings(&profile);
        assert_eq!(found.len(), TOLD + 1);
        assert!(found[TOLD].starts_with("finding: 3 more stacks whose"), "{found:?}");
    }
}
