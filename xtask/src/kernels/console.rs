//! What a machine's lines mean.
//!
//! In: the lines of one machine. Out: what heaptap's doctor said there, and how each part of the suite went. A part that
//! is not told of has failed.

use std::time::Duration;

use super::machine::Said;
use super::packages::Packaged;
use super::suite::{Part, Takes};
use crate::build::Machine;

/// How one part went on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Went {
    /// So many tests passed.
    Passed(usize),
    /// The kernel lacks what it takes, as the line says.
    Lacks(String),
    Failed(String),
}

/// One kernel.
#[derive(Debug)]
pub struct Outcome {
    /// `6.12.117+deb13`, and Debian's version of the package.
    pub version: String,
    pub packaged: String,
    pub series: (u32, u32),
    /// Lines of `heaptap doctor`: state, name, text.
    pub doctor: Vec<Line>,
    pub parts: Vec<(String, Went)>,
    /// Warnings in the kernel's log, and what became of the machine if it did not end by itself.
    pub warnings: Vec<String>,
    pub took: Duration,
}

/// A line of `heaptap doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub is_ok: bool,
    pub is_missing: bool,
    pub name: String,
    pub text: String,
}

/// The oldest kernel on which everything that records must work.
pub const RECORDS_FROM: (u32, u32) = (5, 15);
/// The oldest on which the probes `os` and `os-alloc` must; on arm64 there is none yet.
pub const OS_FROM: (u32, u32) = (6, 2);

impl Outcome {
    /// What is not as it should be, in words.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        let parts = self.parts.iter().filter_map(|(name, went)| match went {
            Went::Failed(why) => Some(format!("{}: {name}: {why}", self.version)),
            _ => None,
        });
        parts.chain(self.warnings.iter().map(|said| format!("{}: {said}", self.version)))
    }

    pub fn line(&self, name: &str) -> Option<&Line> {
        self.doctor.iter().find(|line| line.name == name)
    }
}

/// What to show of a line while the machine runs.
pub fn progress(line: &str) -> Option<String> {
    let told = line.strip_prefix("@@ ")?;
    let (word, rest) = told.split_once(' ').unwrap_or((told, ""));
    match word {
        "end" => {
            let (code, name) = rest.split_once(' ')?;
            Some(if code == "0" { format!("ok      {name}") } else { format!("FAILED  {name}") })
        }
        "lacks" => Some(format!("lacks   {rest}")),
        "verdict" | "kernel" => Some(format!("{word} {rest}")),
        _ => None,
    }
}

/// Reads all that a machine said.
pub fn read(kernel: &Packaged, parts: &[&Part], said: &Said) -> Outcome {
    let told = |word: &'static str| {
        said.lines.iter().filter_map(move |line| line.strip_prefix("@@ ")?.strip_prefix(word))
    };
    let doctor: Vec<Line> = told("doctor ").filter_map(doctor_line).collect();
    let mut warnings: Vec<String> = told("kernel said ").map(str::to_owned).collect();
    if said.cut {
        warnings.push(format!("ended after {} s, before it was done", said.took.as_secs()));
    } else if told("over").next().is_none() {
        let last = said.lines.iter().rev().find(|line| !line.is_empty());
        warnings.push(format!("it ended early; last it said: {}", last.map_or("", |line| line)));
    }
    let went = parts.iter().map(|part| (part.name.to_owned(), went(part, kernel, &doctor, said)));
    Outcome {
        version: kernel.version.clone(),
        packaged: kernel.packaged.clone(),
        series: kernel.series,
        parts: went.collect(),
        doctor,
        warnings,
        took: said.took,
    }
}

fn went(part: &Part, kernel: &Packaged, doctor: &[Line], said: &Said) -> Went {
    if said.lines.iter().any(|line| *line == format!("@@ lacks {}", part.name)) {
        return lacks(part, kernel, doctor);
    }
    let from = format!("@@ begin {}", part.name);
    let lines = said.lines.iter().skip_while(|line| **line != from).skip(1);
    let lines: Vec<&String> = lines.take_while(|line| !line.starts_with("@@ begin ")).collect();
    let end = lines.iter().find_map(|line| {
        let (code, name) = line.strip_prefix("@@ end ")?.split_once(' ')?;
        (name == part.name).then_some(code)
    });
    let passed = lines.iter().find_map(|line| {
        let (passed, _) = line.strip_prefix("test result: ok. ")?.split_once(" passed")?;
        passed.parse::<usize>().ok()
    });
    match (end, passed) {
        (Some("0"), Some(passed)) if passed == part.tests.len() => Went::Passed(passed),
        (Some("0"), passed) => {
            let passed = passed.unwrap_or(0);
            Went::Failed(format!("{passed} of {} tests were found", part.tests.len()))
        }
        (Some(_), _) => {
            let why = lines.iter().find(|line| line.starts_with("Error: "));
            Went::Failed(why.map_or("see its log".to_owned(), |line| (*line).clone()))
        }
        (None, _) => Went::Failed("nothing was heard of its end".to_owned()),
    }
}

/// A kernel may lack something if it is old enough, and doctor says what.
fn lacks(part: &Part, kernel: &Packaged, doctor: &[Line]) -> Went {
    let refused = kernel.machine == Machine::Aarch64 && matches!(part.takes, Takes::Line(_));
    let (from, line) = match part.takes {
        Takes::Nothing => return Went::Failed("it takes nothing, and was left out".to_owned()),
        Takes::Recording => (RECORDS_FROM, doctor.iter().find(|line| line.is_missing)),
        Takes::Line(name) => {
            let missing = || doctor.iter().find(|line| line.is_missing);
            (OS_FROM, missing().or_else(|| doctor.iter().find(|line| line.name == name)))
        }
    };
    match line {
        None => Went::Failed("left out, and doctor does not say why".to_owned()),
        Some(line) if kernel.series >= from && !refused => {
            Went::Failed(format!("should work here; doctor: {}: {}", line.name, line.text))
        }
        Some(line) => Went::Lacks(format!("{}: {}", line.name, line.text)),
    }
}

/// `limited  uprobe_multi               not there (…)`: the name may have single spaces in it.
fn doctor_line(text: &str) -> Option<Line> {
    let (state, rest) = text.split_once(' ')?;
    let (name, text) = rest.trim_start().split_once("  ")?;
    let (name, text) = (name.to_owned(), text.trim().to_owned());
    Some(Line { is_ok: state == "ok", is_missing: state == "missing", name, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: Part = Part {
        name: "record --mode exact",
        takes: Takes::Recording,
        file: "exact",
        tests: &["a", "b"],
        fixtures: &[],
    };

    fn outcome(series: (u32, u32), lines: &[&str]) -> Outcome {
        let version = format!("{}.{}.0", series.0, series.1);
        let kernel = Packaged::known(version, String::new()).unwrap();
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        read(&kernel, &[&RECORDS], &Said { lines, took: Duration::ZERO, cut: false })
    }

    fn failures(outcome: &Outcome) -> String {
        outcome.failures().collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_part_has_passed_when_all_its_tests_were_run() {
        let said = |result| {
            let begin = "@@ begin record --mode exact";
            [begin, result, "", "@@ end 0 record --mode exact", "@@ over"]
        };
        let all = outcome((6, 1), &said("test result: ok. 2 passed; 0 failed; 0 ignored"));
        assert_eq!(failures(&all), "");
        assert_eq!(all.parts[0].1, Went::Passed(2));
        let one = outcome((6, 1), &said("test result: ok. 1 passed; 0 failed; 0 ignored"));
        assert!(failures(&one).contains("1 of 2 tests"), "{one:?}");
    }

    #[test]
    fn what_was_not_told_has_failed() {
        let nothing = outcome((6, 1), &[]);
        assert_eq!(nothing.failures().count(), 2, "{nothing:?}");
        let lines =
            ["@@ begin record --mode exact", "Error: 3 of 4", "@@ end 101 record --mode exact"];
        let failed = outcome((6, 1), &lines);
        assert!(failures(&failed).contains("Error: 3 of 4"), "{failed:?}");
    }

    #[test]
    fn only_old_kernels_may_lack_something_and_doctor_says_what() {
        let lines = [
            "@@ doctor missing  attach cookies             not there (EINVAL); it needs kernel 5.15",
            "@@ lacks record --mode exact",
            "@@ over",
        ];
        let old = outcome((5, 10), &lines);
        assert_eq!(failures(&old), "");
        let why = "attach cookies: not there (EINVAL); it needs kernel 5.15";
        assert_eq!(old.parts[0].1, Went::Lacks(why.to_owned()));
        assert!(failures(&outcome((5, 15), &lines)).contains("should work here"));
        assert!(failures(&outcome((5, 10), &lines[1..])).contains("does not say why"));
    }

    #[test]
    fn what_a_machine_is_refused_it_may_lack() {
        let part = Part { name: "probe os", takes: Takes::Line("probe os"), ..RECORDS };
        let said = ["@@ doctor limited  probe os      only elsewhere", "@@ lacks probe os"];
        let lines: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
        let doctor: Vec<Line> = lines[..1].iter().filter_map(|l| doctor_line(&l[10..])).collect();
        let said = Said { lines, took: Duration::ZERO, cut: false };
        let mut kernel = Packaged::known("6.12.0".to_owned(), String::new()).unwrap();
        assert!(matches!(went(&part, &kernel, &doctor, &said), Went::Failed(_)));
        kernel.machine = Machine::Aarch64;
        assert!(matches!(went(&part, &kernel, &doctor, &said), Went::Lacks(_)));
    }
}
