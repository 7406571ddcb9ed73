//! What in a profile is worth a look: pools that give more than they get back, and pools that mostly have
//! nothing to give.
//!
//! In: a [`Profile`], limits. Out: sentences, the worst first.

use super::{Pool, caller, pools};
use crate::output::maps::FINDING;
use crate::output::text::{grouped, printable};
use crate::profile::Profile;

/// What is worth a finding when it is passed, in percent of the gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Puts that should come at least.
    pub back: u64,
    /// Gets that may find nothing.
    pub misses: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { back: 90, misses: 50 }
    }
}

/// Fewer things than this may be away, or missing, without a word.
const FEW: u64 = 100;
/// Findings that are told; others are counted.
const TOLD: usize = 10;

/// What passes the limits, as sentences that begin with [`FINDING`].
pub fn findings(profile: &Profile, limits: &Limits) -> Vec<String> {
    let mut found: Vec<(u64, String)> =
        pools(profile).iter().filter_map(|pool| finding(profile, pool, limits)).collect();
    found.sort_by_key(|(badness, _)| std::cmp::Reverse(*badness));
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    let mut texts: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    if more > 0 {
        texts.push(format!("{more} more pools like the last one, less so"));
    }
    texts.into_iter().map(|text| format!("{FINDING}{text}")).collect()
}

/// How many things it is about, and the sentence.
fn finding(profile: &Profile, pool: &Pool, limits: &Limits) -> Option<(u64, String)> {
    let part_of_gets = |percent: u64| u128::from(pool.gets) * u128::from(percent) / 100;
    let by = |which: usize| {
        let sample = &profile.samples[pool.hottest[which]?];
        Some(format!("; most by {}", caller(profile, sample)))
    };
    let name = printable(profile.names.text(pool.name));
    let (gets, misses, puts) = (grouped(pool.gets), grouped(pool.misses), grouped(pool.puts));
    let away = pool.gets.saturating_sub(pool.puts);
    if away >= FEW && u128::from(pool.puts) < part_of_gets(limits.back) {
        let by = by(0).unwrap_or_default();
        let text = format!(
            "pool {name} gives {gets} and gets {puts} back; empty in {misses} of the gets{by}"
        );
        return Some((away, text));
    }
    if pool.misses >= FEW && u128::from(pool.misses) > part_of_gets(limits.misses) {
        let by = by(1).unwrap_or_default();
        let text = format!(
            "pool {name} is empty in {misses} of {gets} gets, although {puts} were put back{by}"
        );
        return Some((pool.misses, text));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn what_passes_the_limits_is_told_worst_first() {
        let profile = sample::pools();
        let found = findings(&profile, &Limits::default());
        assert_eq!(
            found,
            [
                "finding: pool main.frames (New main.newFrame) gives 9,000 and gets 10 back; empty in \
                 8,995 of the gets; most by main.(*conn).read (shop/conn.go:31)",
                "finding: pool main.rare is empty in 700 of 1,000 gets, although 1,000 were put back; \
                 most by main.sweep (shop/sweep.go:9)",
            ]
        );
        assert!(findings(&profile, &Limits { back: 0, misses: 100 }).is_empty());
        assert!(findings(&sample::server(), &Limits::default()).is_empty());
    }

    #[test]
    fn few_are_not_worth_a_word() {
        let mut profile = sample::pools();
        for sample in &mut profile.samples {
            sample.values.iter_mut().for_each(|value| *value /= 100);
        }
        assert!(findings(&profile, &Limits::default()).is_empty());
    }
}
