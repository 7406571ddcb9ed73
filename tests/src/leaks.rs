//! The labelled set: cases of the fixture `leaks`, and where each may be named.
//!
//! In: the fixture's sources and what it lists. Out: cases, their processes, and whether a finding is right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::paths;

use crate::{Fixture, Running};

/// What a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Leak,
    Innocent,
    /// A leak that is told late or not at all.
    Hard,
    /// No leak, and the same as one for longer than it is looked at.
    Alike,
}

/// One way to run the fixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub kind: Kind,
    pub name: String,
    /// File names and lines that may be named.
    pub lines: BTreeSet<(String, u64)>,
}

/// What heaptap says of a case.
#[derive(Clone, Debug)]
pub struct Told {
    /// `leak`, `growing` or nothing, of what grows most.
    pub verdict: Option<String>,
    /// A leak is found at one of the case's lines.
    pub is_named: bool,
    /// What is found, for people.
    pub findings: Vec<String>,
    pub profiles: u64,
}

/// All cases of a built fixture.
pub fn cases(fixture: &Fixture) -> Result<Vec<Case>> {
    let mut marked = marked()?;
    let output = Command::new(&fixture.program).arg("list").output()?;
    let text = String::from_utf8(output.stdout)?;
    let case = |line: &str| {
        let (kind, name) = line.split_once(' ').with_context(|| line.to_owned())?;
        let kind = match kind {
            "leak" => Kind::Leak,
            "innocent" => Kind::Innocent,
            "hard" => Kind::Hard,
            "alike" => Kind::Alike,
            _ => anyhow::bail!("what is a case of kind {kind}?"),
        };
        let lines = marked.remove(name).unwrap_or_default();
        let leaks = matches!(kind, Kind::Leak | Kind::Hard);
        ensure!(leaks != lines.is_empty(), "{name} has {} lines marked", lines.len());
        Ok(Case { kind, name: name.to_owned(), lines })
    };
    let cases = text.lines().map(case).collect::<Result<Vec<_>>>()?;
    ensure!(marked.is_empty(), "marked and no case: {:?}", marked.keys());
    Ok(cases)
}

/// Lines that end in `// LEAK name`, by name.
fn marked() -> Result<BTreeMap<String, BTreeSet<(String, u64)>>> {
    let mut marked: BTreeMap<String, BTreeSet<(String, u64)>> = BTreeMap::new();
    for entry in fs::read_dir(paths::repo().join("tests/fixtures/leaks"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        for (number, line) in (1..).zip(text.lines()) {
            if let Some((_, name)) = line.split_once("// LEAK ") {
                marked.entry(name.trim().to_owned()).or_default().insert((base(&path), number));
            }
        }
    }
    Ok(marked)
}

fn base(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Case {
    /// Starts it; `rate` is the sampler's, where it is not the usual one.
    pub fn start(&self, fixture: &Fixture, rate: Option<u64>) -> Result<Running> {
        let mut command = Command::new(&fixture.program);
        command.arg(&self.name).envs(rate.map(|rate| ("LEAKS_RATE", rate.to_string())));
        Running::start(command)
    }

    /// What a document `heaptap.leaks/1` says of the process that ran it.
    pub fn told(&self, document: &Value, pid: u32) -> Result<Told> {
        let processes = document["processes"].as_array().context("no processes")?;
        let process = processes.iter().find(|process| process["pid"] == pid);
        let process = process.with_context(|| format!("{} is not in the document", self.name))?;
        let findings = process["findings"].as_array().context("no findings")?;
        let place = |finding: &Value| {
            let file = base(Path::new(finding["file"].as_str().unwrap_or_default()));
            (file, finding["line"].as_u64().unwrap_or(0))
        };
        let text = |finding: &Value| {
            let (file, line) = place(finding);
            let [verdict, of] = ["verdict", "of"].map(|key| finding[key].as_str().unwrap_or("?"));
            let at = if file.is_empty() { String::new() } else { format!(" {file}:{line}") };
            let doubts: Vec<&str> = finding["doubts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let doubts =
                if doubts.is_empty() { String::new() } else { format!(" ({})", doubts.join("; ")) };
            format!("{verdict} {of}{at}{doubts}")
        };
        Ok(Told {
            verdict: findings.first().and_then(|first| Some(first["verdict"].as_str()?.to_owned())),
            is_named: (findings.iter()).any(|finding| {
                finding["verdict"] == "leak" && self.lines.contains(&place(finding))
            }),
            findings: findings.iter().map(text).collect(),
            profiles: process["heap_profiles"].as_u64().unwrap_or(0),
        })
    }
}
