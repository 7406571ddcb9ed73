//! What machines said that passed: a file for each series of kernels, of which the table is made.
//!
//! In: what a machine said, and with what it was run. Out: files in `bench/results/kernels` with the lines that tell
//! something, and outcomes that are read from them again. So the table can be made in several runs, and who doubts it can
//! look at what was said.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::console::{self, Outcome};
use super::machine::Said;
use super::packages::Packaged;
use super::suite::Part;
use xtask::paths;

const DIR: &str = "bench/results/kernels";

/// With what a machine was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `2026-11-22`
    pub day: String,
    /// The commit of heaptap.
    pub commit: String,
    /// `QEMU emulator version 10.0.2`
    pub emulator: String,
}

/// Keeps what a machine said, in the place of what one of its series said before.
pub fn keep(kernel: &Packaged, run: &Run, said: &Said) -> Result<()> {
    let dir = paths::repo().join(DIR);
    fs::create_dir_all(&dir).with_context(|| format!("can't make {DIR}"))?;
    let path = dir.join(format!("{}.{}.txt", kernel.series.0, kernel.series.1));
    fs::write(&path, text(kernel, run, said))
        .with_context(|| format!("can't write {}", path.display()))
}

/// All that is kept, the oldest kernel first.
pub fn all(parts: &[&Part]) -> Result<Vec<(Run, Outcome)>> {
    let dir = paths::repo().join(DIR);
    let entries = fs::read_dir(&dir).with_context(|| format!("can't read {DIR}"))?;
    let mut all = Vec::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        let text =
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let read = read(&text, parts);
        all.push(read.with_context(|| format!("{} does not begin as it should", path.display()))?);
    }
    all.sort_by_key(|(_, outcome)| outcome.series);
    Ok(all)
}

fn text(kernel: &Packaged, run: &Run, said: &Said) -> String {
    let Run { day, commit, emulator } = run;
    let mut text = format!(
        "kernel: {}\npackage: {}\nday: {day}\nheaptap: {commit}\nemulator: {emulator}\nseconds: {}\n\n",
        kernel.version,
        kernel.packaged,
        said.took.as_secs()
    );
    let tells = |line: &&String| line.starts_with("@@ ") || line.starts_with("test result: ");
    for line in said.lines.iter().filter(tells) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn read(text: &str, parts: &[&Part]) -> Option<(Run, Outcome)> {
    let (head, lines) = text.split_once("\n\n")?;
    let value = |name: &str| {
        let find = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned);
        head.lines().find_map(find)
    };
    let kernel = Packaged::known(value("kernel")?, value("package")?)?;
    let took = Duration::from_secs(value("seconds")?.parse().ok()?);
    let said = Said { lines: lines.lines().map(str::to_owned).collect(), took, cut: false };
    let run = Run { day: value("day")?, commit: value("heaptap")?, emulator: value("emulator")? };
    Some((run, console::read(&kernel, parts, &said)))
}

#[cfg(test)]
mod tests {
    use super::super::console::Went;
    use super::super::suite::PARTS;
    use super::*;

    #[test]
    fn what_is_kept_tells_the_same_again() {
        let part = &PARTS[0];
        let lines = [
            "@@ kernel 6.1.0-56-cloud-amd64".to_owned(),
            "@@ doctor ok       attach cookies             there".to_owned(),
            format!("@@ begin {}", part.name),
            "noise".to_owned(),
            format!("test result: ok. {} passed; 0 failed; 0 ignored", part.tests.len()),
            format!("@@ end 0 {}", part.name),
            "@@ over".to_owned(),
        ];
        let said = Said { lines: lines.to_vec(), took: Duration::from_secs(7), cut: false };
        let kernel = Packaged::known("6.1.0-56".to_owned(), "6.1.192-2".to_owned()).unwrap();
        let word = |text: &str| text.to_owned();
        let run = Run { day: word("2026-11-22"), commit: word("0123abc"), emulator: word("QEMU") };
        let text = text(&kernel, &run, &said);
        assert!(!text.contains("noise"), "{text}");
        let (same, outcome) = read(&text, &[part]).unwrap();
        assert_eq!((same, outcome.series, outcome.took.as_secs()), (run, (6, 1), 7));
        assert_eq!(outcome.parts[0].1, Went::Passed(part.tests.len()));
        assert_eq!(outcome.failures().count(), 0, "{outcome:?}");
        assert!(read("kernel: 6.1.0-56\n\n", &[part]).is_none());
    }
}
