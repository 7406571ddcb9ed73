//! Every table and ring of the kernel programs is driven over its limit: what finds no room is counted, what was counted and what
//! was lost are together what the program did, and every output says so.
//!
//! Rings overflow because heaptap is stopped meanwhile.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::watching::Watching;
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

/// What a function of the fixture `maps` has done.
#[derive(Deserialize)]
struct Path {
    iterations: u64,
}

/// A recording under way, of a program, into a file.
struct Recorded {
    dir: tempfile::TempDir,
    recording: Recording,
    program: Running,
}

impl Recorded {
    fn start(fixture: &str, flags: &[&str]) -> Result<Self> {
        // Whom, if that is not said.
        let all = flags.contains(&"--all");
        require_root()?;
        let program = Fixture::build(fixture, "1.27", Variant::Stripped)?.start()?;
        let dir = tempfile::tempdir()?;
        let out = |name: &str| dir.path().join(name).display().to_string();
        let pid = program.pid().to_string();
        let mut command = Command::new(heaptap::program()?);
        command.args(["record", "--budget", "none"]).args(flags);
        if !all {
            command.args(["-p", &pid]);
        }
        for name in ["out.json", "out.svg", "out.pb.gz", "out.htap"] {
            command.args(["-o", &out(name)]);
        }
        let recording = Recording::of(command.stdin(std::process::Stdio::null()))?;
        Ok(Self { dir, recording, program })
    }

    /// Has the program do this.
    fn ask(&mut self, line: &str) -> Result<()> {
        let answer = self.program.ask(line)?;
        ensure!(answer == "done" || answer.starts_with("done "), "{line}: {answer}");
        Ok(())
    }

    /// The same while heaptap sees nothing.
    fn ask_unseen(&mut self, line: &str) -> Result<()> {
        self.recording.pause()?;
        let asked = self.ask(line);
        self.recording.resume()?;
        asked
    }

    /// Ends it; how many were lost so. What was lost is in every output.
    fn finish(self, counter: &str) -> Result<(Profile, u64, Running)> {
        let ended = self.recording.stop()?;
        ended.expect(0)?;
        let profile = Profile::read(&self.dir.path().join("out.json"))?;
        let lost = profile.counter(counter);
        ensure!(lost > 0, "nothing was lost: {:?}", profile.losses());
        ensure!(profile.meta.lost_events >= lost, "{} of {lost}", profile.meta.lost_events);
        let number = grouped(lost);
        ensure!(ended.stderr.contains(&number), "no word of {number}: {}", ended.stderr);
        let path = |name: &str| self.dir.path().join(name);
        let svg = fs::read_to_string(path("out.svg"))?;
        ensure!(svg.contains(&number), "the picture has no word of {number}");
        let raw = Command::new("gzip").arg("-dc").arg(path("out.pb.gz")).output()?.stdout;
        let is_told = String::from_utf8_lossy(&raw).contains(&format!("{counter}={lost}"));
        ensure!(is_told, "pprof has no comment about {counter}");
        let told = heaptap::run([
            "export".as_ref(),
            path("out.htap").as_os_str(),
            "-o".as_ref(),
            "-".as_ref(),
        ])?;
        told.expect(0)?;
        ensure!(told.stdout.contains(&number), "no word of {number} in the table: {}", told.stdout);
        Ok((profile, lost, self.program))
    }
}

fn grouped(number: u64) -> String {
    ::heaptap::output::text::grouped(number)
}

/// Iterations that the program has made.
fn iterations(mut program: Running) -> Result<u64> {
    let report = program.ask("quit")?;
    let paths: Vec<Path> = serde_json::from_str(&report).context(report)?;
    Ok(paths.iter().map(|path| path.iterations).sum())
}

/// More stacks than the table has room for: events are lost, and each is counted.
#[test]
fn stacks() -> Result<()> {
    let mut recorded =
        Recorded::start("alloc", &["--mode", "exact", "--by", "type", "--max-stacks", "4"])?;
    recorded.program.rounds(10)?;
    let (profile, lost, program) = recorded.finish("lost_stacks_full")?;
    let report = program.report()?;
    let seen = profile.total("alloc_objects")?;
    let possible = report.mallocs..=report.mallocs + report.idle;
    ensure!(possible.contains(&(seen + lost)), "{seen} and {lost} lost of {possible:?}");
    ensure!(profile.stacks.len() <= 4, "{} stacks", profile.stacks.len());
    Ok(())
}

/// A ring that nobody empties.
#[test]
fn iterations_that_are_over() -> Result<()> {
    let mut recorded = Recorded::start("maps", &["--probe", "map"])?;
    recorded.ask("go 10")?;
    recorded.ask_unseen("go 200")?;
    recorded.ask("go 10")?;
    let (profile, lost, program) = recorded.finish("lost_iterations_full")?;
    let (seen, made) = (profile.total("map_iterations")?, iterations(program)?);
    ensure!(seen + lost == made, "{seen} and {lost} lost of {made}");
    Ok(())
}

/// More goroutines with an iteration under way than the table has room for.
#[test]
fn goroutines_that_iterate() -> Result<()> {
    let mut recorded = Recorded::start("maps", &["--probe", "map", "--max-goroutines", "4"])?;
    recorded.ask("stay 20")?;
    let (profile, lost, program) = recorded.finish("lost_goroutines_full")?;
    let (seen, made) = (profile.total("map_iterations")?, iterations(program)?);
    ensure!(seen > 0 && seen + lost == made, "{seen} and {lost} lost of {made}");
    Ok(())
}

/// More iterations in each other than are followed: the oldest are let go, as far as they came.
#[test]
fn iterations_in_each_other() -> Result<()> {
    let mut recorded = Recorded::start("maps", &["--probe", "map"])?;
    recorded.ask("nest 20")?;
    let (profile, lost, program) = recorded.finish("lost_nest_full")?;
    let (seen, made) = (profile.total("map_iterations")?, iterations(program)?);
    ensure!((seen, lost) == (made, 4), "{seen} of {made}, {lost} let go");
    Ok(())
}

/// More sets of labels than there is room for: events count without.
#[test]
fn labels() -> Result<()> {
    let flags = ["--mode", "exact", "--labels", "--max-stacks", "8"];
    let mut recorded = Recorded::start("labelled", &flags)?;
    recorded.ask("go 100")?;
    let (profile, _, _) = recorded.finish("lost_labels_full")?;
    ensure!(profile.stacks.len() <= 8, "{} stacks", profile.stacks.len());
    Ok(())
}

/// What is mapped and unmapped while nobody empties the ring.
#[test]
fn mappings() -> Result<()> {
    let mut recorded = Recorded::start("os", &["--probe", "os"])?;
    recorded.ask_unseen("go 20000")?;
    recorded.finish("lost_mappings_full")?;
    Ok(())
}

/// More programs start than there is room for.
#[test]
fn processes() -> Result<()> {
    let recorded = Recorded::start("life", &["--all", "--max-processes", "1"])?;
    let mut late = Fixture::build("life", "1.27", Variant::Stripped)?.start()?;
    late.ask("alloc 1000")?;
    let (profile, _, _) = recorded.finish("lost_processes_full")?;
    ensure!(profile.processes.iter().all(|process| process.pid != late.pid()));
    Ok(())
}

/// Collections that end while nobody looks: the runtime's own count tells how many, and that is said.
#[test]
fn collections() -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("gc", "1.27", Variant::Stripped)?.start()?;
    let watching = Watching::with(program.pid(), &["--mode", "trap"])?;
    let heaptap = Pid::from_raw(watching.id().try_into()?);
    let before: u64 = program.ask("force")?.parse()?;
    kill(heaptap, Signal::SIGSTOP)?;
    let after: u64 = program.ask("fast 1500")?.parse()?;
    kill(heaptap, Signal::SIGCONT)?;
    let last: u64 = program.ask("force")?.parse()?;
    let (document, _, rows) = watching.stop()?;
    let process = &document["processes"][0];
    let [count, in_full] = ["count", "in_full"].map(|name| process[name].as_u64());
    ensure!(count == Some(last - before + 1), "{count:?} of {before} to {last}: {rows}");
    let in_full = in_full.context("no number in full")?;
    ensure!(in_full < last - before && after - before >= 1500, "{in_full} in full: {rows}");
    ensure!(rows.contains("not seen at all") || rows.contains("not every one seen"), "{rows}");
    Ok(())
}
