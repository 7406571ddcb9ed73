//! A program that does everything at once, under every probe at once, attached and taken off again and
//! again.
//!
//! In: a Go release, a time, a heaptap. Out: what both have counted. Fails when the program or one of its own
//! checks fails, when heaptap does, or when a probe is left behind. A new probe takes part by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum as _;
use heaptap::cli::probes::Probe;
use serde::Deserialize;

use crate::profile::{Counter, Profile};
use crate::{Fixture, Recording, Running, Variant, code};

/// What the program says at its end.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// By worker.
    pub rounds: BTreeMap<String, u64>,
    pub collections: u64,
    pub mallocs: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Stress {
    pub report: Option<Report>,
    /// Recordings that were written.
    pub recordings: u64,
    /// Those that were killed while they recorded.
    pub killed: u64,
    /// Other commands that looked at the program meanwhile.
    pub looks: u64,
    /// Counters of all recordings.
    pub counters: BTreeMap<String, u64>,
    pub losses: BTreeMap<String, u64>,
    /// Probes that found no place, and why.
    pub left_out: Vec<String>,
}

/// What recordings are like, in turn. Those with `--probe` have what is named: within a budget its probes are
/// put on and taken off many times a second; the others have all, and with a budget they are taken off once.
pub const WAYS: [&[&str]; 8] = [
    &["--mode", "exact"],
    &["--probe", "alloc,map-count,stack,box,slice", "--mode", "exact", "--budget", "1%"],
    &["--mode", "span", "--labels"],
    &["--mode", "sample"],
    &["--mode", "exact", "--by", "type"],
    &["--probe", "alloc", "--mode", "span", "--budget", "0.2%"],
    &["--mode", "exact", "--perf-events"],
    &["--mode", "exact", "--budget", "1%"],
];
/// Room for stacks: of recursions there are more than anybody wants to read.
const STACKS: &str = "1024";
/// One recording of so many is killed, the second one first.
const KILLED: u64 = 3;
/// What else looks at the program meanwhile; the first one has traps of its own.
const LOOKS: [&[&str]; 5] = [
    &["gc", "--mode", "trap", "-d", "2"],
    &["heap", "--quiet"],
    &["gc", "--mode", "trap", "-d", "1"],
    &["goroutines", "--quiet"],
    &["stats"],
];

/// Every probe that there is, as it is typed.
pub fn probes() -> String {
    let all: Vec<String> = Probe::value_variants().iter().map(|probe| probe.word()).collect();
    all.join(",")
}

/// Runs it for so long.
pub fn run(go: &str, length: Duration, heaptap: &Path) -> Result<Stress> {
    let fixture = Fixture::build("stress", go, Variant::Default)?;
    let mut program = fixture.start()?;
    let given_up = given_up()?;
    let until = Instant::now() + length;
    let failed = AtomicBool::new(false);
    let under_way = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    let pid = program.pid().to_string();
    let path = fixture.program.to_str().context("a path that is no text")?;
    let (by_pid, by_file) = (["-p", pid.as_str()], ["--exe", path]);
    let done: Vec<Result<Stress>> = thread::scope(|scope| {
        let threads = [
            scope.spawn(|| noted(&failed, record(heaptap, &by_pid, &under_way))),
            scope.spawn(|| noted(&failed, record(heaptap, &by_file, &under_way))),
            scope.spawn(|| noted(&failed, look(heaptap, &by_pid, &under_way))),
        ];
        let panicked = || Err(anyhow::anyhow!("a thread panicked"));
        threads.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).collect()
    });
    // What the program says comes first: when it fails, so does heaptap.
    let report = finish(&fixture, &mut program, heaptap, given_up)?;
    let mut all = Stress { report: Some(report), ..Stress::default() };
    for one in done {
        all.add(one?);
    }
    Ok(all)
}

/// The program is as it was, and all that it has done was right.
fn finish(
    fixture: &Fixture,
    program: &mut Running,
    heaptap: &Path,
    before: usize,
) -> Result<Report> {
    let untouched = take_off(heaptap, program.pid(), before);
    let report = program.ask("quit");
    let status = program.wait()?;
    ensure!(status.success(), "the program has ended with {status}: see what it says above");
    untouched?;
    // Whoever runs the file now has none either.
    let other = fixture.start()?;
    code::is_untouched(other.pid())?;
    serde_json::from_str(&report?).context("the fixture's report is not as told")
}

/// Fails when a probe is left in a process; but where the kernel's log says that it has given up more often than
/// `before`, whoever took it off was killed in that moment (docs/limits.md), and the next recording takes it
/// off: whether that was so.
pub fn take_off(heaptap: &Path, pid: u32, before: usize) -> Result<bool> {
    let Err(left) = code::is_untouched(pid) else { return Ok(false) };
    if given_up()? <= before {
        return Err(left);
    }
    eprintln!("{left}: taken off by the next recording");
    for mode in ["exact", "span", "sample"] {
        let mut command = Command::new(heaptap);
        command.args(["record", "-p", &pid.to_string(), "--mode", mode, "-d", "1"]);
        command.args(["--probe", &probes(), "--budget", "none", "-o", "-"]);
        command.args(["--max-stacks", STACKS]);
        crate::heaptap::run_command(command)?.expect(0)?;
    }
    code::is_untouched(pid)?;
    Ok(true)
}

/// How often the kernel has given up taking a probe off, as its log has it.
pub fn given_up() -> Result<usize> {
    let log = Command::new("dmesg").output().context("the kernel's log can't be read")?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    Ok(log.lines().filter(|line| line.contains("failed to unregister, leaking uprobe")).count())
}

fn noted<T>(failed: &AtomicBool, result: Result<T>) -> Result<T> {
    failed.fetch_or(result.is_err(), Ordering::Relaxed);
    result
}

/// Records again and again.
fn record(heaptap: &Path, who: &[&str], under_way: &dyn Fn() -> bool) -> Result<Stress> {
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let mut all = Stress::default();
    for way in WAYS.iter().cycle() {
        if !under_way() {
            break;
        }
        let mut command = Command::new(heaptap);
        command.arg("record").args(who).args(*way);
        if !way.contains(&"--budget") {
            command.args(["--budget", "none"]);
        }
        if !way.contains(&"--probe") {
            command.args(["--probe", &probes()]);
        }
        command.args(["-d", "1", "--max-stacks", STACKS, "-o"]).arg(&json).stdin(Stdio::null());
        let recording = Recording::of(&mut command)?;
        if (all.recordings + all.killed) % KILLED == 1 {
            drop(recording);
            all.killed += 1;
            continue;
        }
        recording.finish()?.expect(0)?;
        all.recordings += 1;
        let profile = Profile::read(&json)?;
        let lost: u64 = profile.losses().iter().map(|counter| counter.count).sum();
        ensure!(
            profile.meta.lost_events == lost,
            "{} are lost of {lost}",
            profile.meta.lost_events
        );
        for Counter { name, count, is_loss } in profile.counters {
            let kind = if is_loss { &mut all.losses } else { &mut all.counters };
            *kind.entry(name).or_default() += count;
        }
        all.left_out.extend(profile.notes.into_iter().filter(|note| note.contains("left out:")));
    }
    Ok(all)
}

/// Looks at it in other ways again and again.
fn look(heaptap: &Path, who: &[&str], under_way: &dyn Fn() -> bool) -> Result<Stress> {
    let mut all = Stress::default();
    for words in LOOKS.iter().cycle() {
        if !under_way() {
            break;
        }
        let mut command = Command::new(heaptap);
        command.args(*words).args(who);
        let ended = crate::heaptap::run_command(command)?;
        if ended.code != Some(0) {
            bail!("heaptap {} ended with {:?}: {}", words[0], ended.code, ended.stderr.trim());
        }
        all.looks += 1;
    }
    Ok(all)
}

impl Stress {
    fn add(&mut self, other: Stress) {
        self.recordings += other.recordings;
        self.killed += other.killed;
        self.looks += other.looks;
        for (of, more) in [(&mut self.counters, other.counters), (&mut self.losses, other.losses)] {
            for (name, count) in more {
                *of.entry(name).or_default() += count;
            }
        }
        self.left_out.extend(other.left_out);
        self.left_out.sort();
        self.left_out.dedup();
    }

    /// Events that were counted under a stack.
    pub fn recorded(&self) -> u64 {
        self.counters.get("recorded").copied().unwrap_or_default()
    }

    /// `lost_stacks_full 12, …`; `nothing`.
    pub fn lost(&self) -> String {
        let all: Vec<String> =
            self.losses.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if all.is_empty() { "nothing".to_string() } else { all.join(", ") }
    }
}
