//! Fixtures that do what lines say and tell what they have done, recorded meanwhile.
//!
//! In: a fixture, the words of a heaptap command, lines. Out: what heaptap has written, and what the program
//! itself tells. What a line or a report means is the test's.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::holding::is_counted;
use crate::profile::Profile;
use crate::{Ended, Fixture, Recording, Running, Variant, heaptap, require_root};

/// What heaptap and the program say.
pub struct Told<T> {
    pub profile: Profile,
    pub report: T,
    pub ended: Ended,
}

/// Records a program from before the first line to after the last.
pub fn record<T: DeserializeOwned>(
    fixture: &str,
    go: &str,
    variant: Variant,
    words: &[&str],
    lines: &[&str],
) -> Result<Told<T>> {
    require_root()?;
    let mut program = Running::start(Command::new(Fixture::build(fixture, go, variant)?.program))?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let recording = start(words, ["-p".as_ref(), program.pid().to_string().as_ref()], &json)?;
    do_all(&mut program, lines)?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    Ok(Told { profile: Profile::read(&json)?, report: report(&mut program)?, ended })
}

/// The same of a program that runs already and of one that starts meanwhile, both of which end before the
/// recording does.
pub fn record_two<T: DeserializeOwned>(
    fixture: &str,
    go: &str,
    words: &[&str],
    lines: &[&str],
) -> Result<Told<[T; 2]>> {
    require_root()?;
    let program = Fixture::build(fixture, go, Variant::Stripped)?.program;
    let mut first = Running::start(Command::new(&program))?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let recording = start(words, ["--exe".as_ref(), program.as_ref()], &json)?;
    let mut second = Running::start(Command::new(&program))?;
    while !is_counted(recording.pid(), second.pid())? {
        thread::yield_now();
    }
    let run = |program: &mut Running| {
        do_all(program, lines)?;
        report(program)
    };
    let report = [run(&mut first)?, run(&mut second)?];
    first.wait()?;
    second.wait()?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    Ok(Told { profile: Profile::read(&json)?, report, ended })
}

/// Starts heaptap with these words; without a budget unless they name one.
fn start(words: &[&str], whom: [&OsStr; 2], json: &Path) -> Result<Recording> {
    let mut command = Command::new(heaptap::program()?);
    command.args(words).args(whom).arg("-o").arg(json);
    if !words.contains(&"--budget") {
        command.args(["--budget", "none"]);
    }
    Recording::of(command.stdin(Stdio::null()))
}

fn do_all(program: &mut Running, lines: &[&str]) -> Result<()> {
    for line in lines {
        let answer = program.ask(line)?;
        ensure!(answer == "done", "the fixture answered {answer:?}");
    }
    Ok(())
}

/// What it has done; it ends.
fn report<T: DeserializeOwned>(program: &mut Running) -> Result<T> {
    let report = program.ask("quit")?;
    serde_json::from_str(&report).context("the fixture's report is not as told")
}
