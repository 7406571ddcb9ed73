//! The table of kernel × feature, as Markdown.
//!
//! In: how each kernel went, in which run. Out: text; written between two marks of docs/kernels.md.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::console::{Outcome, Went};
use super::kept::Run;
use super::suite::Part;
use xtask::paths;

const FILE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- made by `cargo xtask kernels --write` -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// Lines of doctor that differ between kernels.
const LINES: [&str; 4] = ["attach cookies", "uprobe_multi", "probe os", "probe os-alloc"];

/// Kernels are columns. What a kernel lacks is told below.
pub fn text(runs: &[(Run, Outcome)], parts: &[&Part]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let of_each = |cell: &dyn Fn(&Run, &Outcome) -> String| -> Vec<String> {
        runs.iter().map(|(run, one)| cell(run, one)).collect()
    };
    let mut text = row("", of_each(&|_, one| format!("{}.{}", one.series.0, one.series.1)));
    text += &row("---", of_each(&|_, _| "---".to_owned()));
    for name in LINES {
        let cell = |(_, one): &(Run, Outcome)| match one.line(name) {
            Some(line) if line.is_ok => "yes".to_owned(),
            Some(line) => mark(&mut reasons, format!("{name}: {}", line.text)),
            None => "?".to_owned(),
        };
        text += &row(&format!("doctor: {name}"), runs.iter().map(cell).collect::<Vec<_>>());
    }
    for part in parts {
        let cell = |(_, one): &(Run, Outcome)| {
            let went = one.parts.iter().find(|(name, _)| name == part.name).map(|(_, went)| went);
            match went {
                Some(Went::Passed(passed)) => format!("{passed} ok"),
                Some(Went::Lacks(why)) => mark(&mut reasons, why.clone()),
                Some(Went::Failed(_)) | None => "**FAILED**".to_owned(),
            }
        };
        text += &row(part.name, runs.iter().map(cell).collect::<Vec<_>>());
    }
    text += &row("seconds", of_each(&|_, one| one.took.as_secs().to_string()));
    text += &row("day", of_each(&|run, _| run.day.clone()));
    text += &row("heaptap", of_each(&|run, _| run.commit.clone()));
    text.push('\n');
    for (at, reason) in reasons.iter().enumerate() {
        text += &format!("{}. {reason}\n", at + 1);
    }
    let version = |_: &Run, one: &Outcome| format!("{} ({})", one.version, one.packaged);
    text += &format!("\nKernels (Debian's packages): {}.\n", of_each(&version).join(", "));
    let mut emulators = of_each(&|run, _| run.emulator.clone());
    emulators.dedup();
    text += &format!("Emulated by {}.\n", emulators.join(", "));
    text
}

fn row(name: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

/// The number of a reason, which is told once.
fn mark(reasons: &mut Vec<String>, why: String) -> String {
    let at = reasons.iter().position(|known| *known == why).unwrap_or_else(|| {
        reasons.push(why);
        reasons.len() - 1
    });
    format!("no ({})", at + 1)
}

/// Puts it into the documentation.
pub fn write(runs: &[(Run, Outcome)], parts: &[&Part]) -> Result<()> {
    let path = paths::repo().join(FILE);
    let old = fs::read_to_string(&path).with_context(|| format!("can't read {FILE}"))?;
    let new = replaced(&old, &text(runs, parts))
        .with_context(|| format!("{FILE} has no place for the table"))?;
    fs::write(&path, new).with_context(|| format!("can't write {FILE}"))?;
    println!("written: {FILE}");
    Ok(())
}

fn replaced(text: &str, made: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{made}\n{END}{after}"))
}

/// `2026-11-22`, by the calendar of RFC 3339.
pub fn day(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Howard Hinnant's civil_from_days, for days after 1970.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::kept;
    use super::super::suite::PARTS;
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| day(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(
            (at(0), at(951_782_400), at(1_798_675_200)),
            ("1970-01-01".to_owned(), "2000-02-29".to_owned(), "2026-12-31".to_owned())
        );
    }

    #[test]
    fn a_reason_is_told_once() {
        let mut reasons = Vec::new();
        let marks = ["a", "b", "a"].map(|why| mark(&mut reasons, why.to_owned()));
        assert_eq!(marks, ["no (1)", "no (2)", "no (1)"]);
        assert_eq!(reasons, ["a", "b"]);
    }

    #[test]
    fn the_documentation_shows_what_is_kept() {
        let documented = fs::read_to_string(paths::repo().join(FILE)).unwrap();
        let parts: Vec<&Part> = PARTS.iter().collect();
        let kept = kept::all(&parts).unwrap();
        let made = text(&kept, &parts);
        assert_eq!(
            Some(&documented),
            replaced(&documented, &made).as_ref(),
            "`cargo xtask kernels --table` writes it"
        );
        assert!(!made.contains("FAILED"), "these are to be run again:\n{made}");
    }
}
