//! What in a profile is worth a look: slow and long iterations over maps.
//!
//! In: a [`Profile`], limits. Out: sentences, the worst first.

use std::cmp::Reverse;
use std::time::Duration;

use super::label;
use crate::output::text::{grouped, nanoseconds};
use crate::profile::{MAP_STEPS, Profile, iterations::Worst};

/// What is worth a finding when it is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What 99 % of a stack's iterations take at most.
    pub p99: Duration,
    /// Elements that one iteration visits.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { p99: Duration::from_micros(500), steps: 100_000 }
    }
}

/// How notes that are findings begin.
pub const FINDING: &str = "finding: ";
/// Findings of one kind that are told; others are counted.
const TOLD: usize = 10;

/// A finding about a stack, and how bad it is.
struct Found {
    badness: u64,
    text: String,
}

/// What exceeds the limits, as sentences that begin with [`FINDING`].
pub fn findings(profile: &Profile, limits: &Limits) -> Vec<String> {
    let Some(steps) = profile.value_of_kind(MAP_STEPS) else { return Vec::new() };
    let (mut slow, mut long) = (Vec::new(), Vec::new());
    let ranking = profile.ranked(steps);
    for one in &ranking.stacks {
        let Some(of) = one.iterations.as_deref() else { continue };
        let place = label(profile, one.frames.iter().map(|id| ranking.frame(*id)));
        // The class's lower end: what is told is sure.
        let p99 = of.by_time.quantile(0.99).map_or(0, |(low, _)| low);
        if u128::from(p99) > limits.p99.as_nanos() {
            let longest =
                of.worst.first().map_or(String::new(), |worst| told(worst, "; the longest"));
            let count = grouped(of.count);
            let p99_text = nanoseconds(p99);
            let text =
                format!("{place}: 1 % of {count} iterations take longer than {p99_text}{longest}");
            slow.push(Found { badness: p99, text });
        }
        if let Some(most) = of.most_steps.filter(|most| most.steps > limits.steps) {
            let (elements, it) = (grouped(most.steps), told(&most, "; it"));
            let text = format!("{place}: one iteration visited {elements} elements{it}");
            long.push(Found { badness: most.steps, text });
        }
    }
    let all = [slow, long].into_iter().flat_map(worst_first);
    all.map(|text| format!("{FINDING}{text}")).collect()
}

fn told(worst: &Worst, what: &str) -> String {
    let Worst { goroutine, steps, time } = worst;
    format!(
        "{what} took {} for {} steps in goroutine {goroutine}",
        nanoseconds(*time),
        grouped(*steps)
    )
}

fn worst_first(mut found: Vec<Found>) -> Vec<String> {
    found.sort_by_key(|one| Reverse(one.badness));
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    let mut texts: Vec<String> = found.into_iter().map(|one| one.text).collect();
    if more > 0 {
        texts.push(format!("{more} more stacks like the last one, less so"));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn what_exceeds_the_limits_is_told() {
        let profile = sample::maps();
        let found = findings(&profile, &Limits::default());
        assert_eq!(found.len(), 2, "{found:?}");
        let slow =
            "finding: main.rebuild (shop/index.go:88): 1 % of 40 iterations take longer than";
        assert!(found[0].starts_with(slow), "{found:?}");
        assert!(found[1].contains("visited 250,000 elements") && found[1].contains("goroutine 17"));
        assert!(findings(&profile, &Limits { p99: Duration::MAX, steps: u64::MAX }).is_empty());
        assert!(findings(&sample::server(), &Limits::default()).is_empty());
    }

    #[test]
    fn many_findings_are_counted() {
        let found = (0..12).map(|n| Found { badness: n, text: n.to_string() }).collect();
        let texts = worst_first(found);
        assert_eq!((texts.len(), texts[0].as_str()), (11, "11"));
        assert_eq!(texts[10], "2 more stacks like the last one, less so");
    }
}
