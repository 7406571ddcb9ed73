//! Who was recorded for a part of the time only, since that had cost what it may.
//!
//! In: a profile with what recording cost. Out: findings.

use crate::profile::{Cost, Process, Profile};

use super::describe::{NAMED, counted};
use super::text::{duration, printable};

/// Processes whose recording ended before the whole one did, since it had cost what it may; as findings.
pub fn findings(profile: &Profile) -> Vec<String> {
    let Some(budget) = profile.meta.budget else { return Vec::new() };
    let over = profile.processes.iter().filter_map(|process| {
        let cost = process.cost.filter(Cost::is_over)?;
        Some((process, cost))
    });
    let mut over: Vec<_> = over.collect();
    over.sort_by_key(|(_, cost)| cost.observed);
    let told = |(process, cost): &(&Process, Cost)| {
        // Processes of one file may have had to end together.
        let others = over
            .iter()
            .any(|(other, _)| other.binary == process.binary && !std::ptr::eq(*other, *process));
        let who = if others { "it, or another one of its file," } else { "it" };
        format!(
            "finding: {} ({}) was recorded for {} of {}: by then {who} had cost the {} % of its CPU \
             time that it may; all until then is here, nothing of what came after (--budget none \
             records it throughout)",
            process.who(),
            printable(&process.comm),
            duration(cost.observed),
            duration(cost.traced),
            100.0 * budget
        )
    };
    let mut told: Vec<String> = over.iter().take(NAMED).map(told).collect();
    let more = over.len().saturating_sub(NAMED);
    if more > 0 {
        told.push(format!(
            "finding: so it is with {} (-o FILE.json tells)",
            counted(more as u64, "more process")
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::describe::costs;
    use crate::profile::build::Build;
    use crate::profile::{Rest, Source};

    #[test]
    fn who_was_recorded_once_and_not_to_the_end_is_told_with_for_how_long() {
        let over = Cost {
            cpu: Duration::from_secs(2),
            windows: 1,
            observed: Duration::from_millis(3_200),
            traced: Duration::from_secs(30),
            rest: Rest::Over,
            ..Cost::default()
        };
        let mut build = Build::new(Source::Exact);
        for pid in 0..6 {
            let process = build.process(pid, "orders", "");
            build.cost(process, if pid == 3 { Cost::default() } else { over });
        }
        let mut profile = build.done();
        let told = findings(&profile);
        assert_eq!(told.len(), 5);
        assert!(
            told[0].starts_with(
                "finding: 0 (orders) was recorded for 3.2 s of 30.0 s: by then it had cost the 1 %"
            ),
            "{told:?}"
        );
        assert!(told[4].contains("1 more process"), "{told:?}");
        assert!(costs(&profile).iter().any(|line| line.ends_with("recorded 3.2 s of 30.0 s")));
        profile.processes[4].binary = profile.processes[0].binary;
        let told = findings(&profile);
        assert!(told[0].contains(": by then it, or another one of its file, had cost"), "{told:?}");
        assert!(told[1].contains(": by then it had cost"), "{told:?}");
        profile.meta.budget = None;
        assert!(findings(&profile).is_empty());
    }
}
