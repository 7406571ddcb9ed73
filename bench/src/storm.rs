//! Short-lived programs, hundreds a second, under a recording that follows; and how soon it follows.
//!
//! In: a rate and a time. Out: who was seen, what was lost, and what heaptap holds before and after. The
//! programs are the fixture `brief`: they live 100 ms, and half-way make a known number of objects.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use heaptap_tests::{
    Fixture, Variant,
    holding::{Holding, Processes, resident},
    profile::Profile,
    storm::Storm,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use xtask::programs::RealProgram;

use crate::{report, stats::Series, tracer::Tracer, work::cpu_seconds};

#[derive(clap::Args)]
pub struct Options {
    /// Programs a second
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Seconds of the storm
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Programs whose start is timed: of a file that is known; of new files an eighth as many
    #[arg(long, default_value_t = 400)]
    starts: usize,
    /// How heaptap selects
    #[arg(long, default_value = "--all", allow_hyphen_values = true)]
    selection: String,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

/// Objects that each program makes.
const OBJECTS: u64 = 100;
/// Processes told apart: few, so that memory is what it will be before the storm begins.
const APART: &str = "128";
/// Everything is counted: sums are known.
const EXACT: &[&str] = &["--mode", "exact", "--budget", "none"];
/// What a user gets without asking.
const DEFAULT: &[&str] = &[];
/// Before anything is compared: all tables are as large as they become.
const WARM: Duration = Duration::from_secs(10);
/// Parts of the storm after which memory is looked at.
const PARTS: u32 = 4;
/// Growth of memory that is no leak: 20,000 programs that leave a page each would be 80 MiB.
const GROWTH: f64 = 3.0;
/// Milliseconds within which a program is to be traced.
const SOON: f64 = 20.0;

pub fn run(options: &Options) -> Result<()> {
    let fixture = Fixture::build("brief", "1.26", Variant::Stripped)?;
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("storm");
    fs::copy(&fixture.program, &program)?;
    let mut failed = Vec::new();
    let mut body = String::new();
    for flags in [EXACT, DEFAULT] {
        body += &storm(options, flags, dir.path(), &program, &mut failed)?;
    }
    body += "`lost_exec_gap` are the events of each program before heaptap had looked at it: the \
             runtime's own, and those of its start. `ended_unseen` counts programs of any kind.\n";
    body += &soon(options, dir.path(), &program)?;
    body += &starts(options, dir.path(), &program)?;
    body +=
        "\nBars: nobody missed, every loss counted, nothing kept; traced within 20 ms of exec.\n";
    let versions = [
        format!("heaptap {}", env!("CARGO_PKG_VERSION")),
        format!("Go {}", fixture.release.version),
    ];
    report::keep("storm", "A storm of short-lived programs", &versions, &body)?;
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

fn record(options: &Options, flags: &[&str], output: &Path) -> Result<Tracer> {
    let output = output.to_str().context("a path that is no text")?;
    let mut arguments: Vec<&str> = options.selection.split(' ').collect();
    arguments.extend(["--max-processes", APART, "-o", output]);
    arguments.extend(flags);
    let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
    tracer.until_recording()?;
    Ok(tracer)
}

/// One that is there at the start, as a selection by name wants, and makes nothing. Killed when dropped.
struct First(Child);

impl First {
    fn start(program: &Path) -> Result<Self> {
        let command = &mut Command::new(program);
        Ok(Self(command.args(["600000", "0"]).spawn().context("can't start a program")?))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a profile says of the storm's programs.
struct Seen {
    profile: Profile,
    processes: u64,
    /// Made in `main.allocate`.
    objects: u64,
}

impl Seen {
    fn read(json: &Path) -> Result<Self> {
        let profile = Profile::read(json)?;
        let all = profile.processes.iter().enumerate();
        let mine: Vec<usize> =
            all.filter(|(_, process)| process.comm == "storm").map(|(at, _)| at).collect();
        let processes = mine.iter().map(|at| profile.processes[*at].processes).sum();
        let value = profile.value("alloc_objects")?;
        let of_storm = profile.stacks.iter().filter(|stack| mine.contains(&stack.process));
        let objects = of_storm
            .filter(|stack| stack.frames.first().is_some_and(|f| f.function == "main.allocate"))
            .map(|stack| stack.values[value])
            .sum();
        Ok(Self { profile, processes, objects })
    }
}

fn storm(
    options: &Options,
    flags: &[&str],
    dir: &Path,
    program: &Path,
    failed: &mut Vec<String>,
) -> Result<String> {
    let json = dir.join("storm.json");
    let objects = OBJECTS.to_string();
    let args = ["100", objects.as_str()];
    let first = First::start(program)?;
    let mut tracer = record(options, flags, &json)?;
    let heaptap = tracer.pid();
    let warm = Storm::run(program, &args, options.rate, WARM)?;
    let before = settled(heaptap)?;
    let (mut memory, cpu_before) = (vec![resident(heaptap)?], cpu_seconds(heaptap)?);
    let mut storm = Storm::default();
    for _ in 0..PARTS {
        let length = Duration::from_secs(options.seconds) / PARTS;
        let part = Storm::run(program, &args, options.rate, length)?;
        storm.started += part.started;
        storm.took += part.took;
        storm.most = storm.most.max(part.most);
        memory.push(resident(heaptap)?);
    }
    let cpu = cpu_seconds(heaptap)? - cpu_before;
    let after = settled(heaptap)?;
    tracer.stop()?;
    drop(first);
    let seen = Seen::read(&json)?;
    let started = (warm.started + storm.started) as u64;
    let flags_in_words: String = flags.iter().map(|flag| format!(" {flag}")).collect();
    let mut text = format!(
        "`heaptap record {} --max-processes {APART}{flags_in_words}`, and {} programs a second that \
         live 100 ms, for {} s (so that all tables are as large as they become), then for {} s.\n\n\
         | | |\n| --- | --- |\n",
        options.selection,
        options.rate,
        WARM.as_secs(),
        options.seconds
    );
    let mut row = |what: &str, value: String| writeln!(text, "| {what} | {value} |");
    row("programs started", format!("{started}, {:.0} a second", storm.rate()))?;
    row("at most at once", storm.most.to_string())?;
    row("seen", (seen.processes - 1).to_string())?;
    if flags == EXACT {
        row("objects made, at 50 ms of their lives", (started * OBJECTS).to_string())?;
        row("of them counted", seen.objects.to_string())?;
    }
    row("descriptors before, after", format!("{}, {}", before.descriptors, after.descriptors))?;
    row("links", format!("{}, {}", before.links, after.links))?;
    row(
        "entries of the table of processes",
        format!("{}, {}", before.processes(), after.processes()),
    )?;
    row("of the table of stacks", format!("{}, {}", before.stacks(), after.stacks()))?;
    let series: Vec<String> = memory.iter().map(|mib| format!("{mib:.1}")).collect();
    row("resident before, and after each quarter, MiB", series.join(", "))?;
    let share = 100.0 * cpu / storm.took.as_secs_f64();
    row("heaptap's CPU time", format!("{share:.1} % of one"))?;
    for counter in &seen.profile.counters {
        row(&format!("`{}`", counter.name), counter.count.to_string())?;
    }
    text += "\n";
    if seen.processes - 1 < started {
        failed.push(format!("{} of {started} programs were seen", seen.processes - 1));
    }
    if before != after {
        failed.push(format!("something is kept: {before:?}, {after:?}"));
    }
    let grown = memory[PARTS as usize] - memory[0];
    if grown > GROWTH {
        failed.push(format!("memory has grown by {grown:.1} MiB"));
    }
    Ok(text)
}

/// How many of a storm's programs are traced soon enough: each makes its objects that long after the
/// beginning of its `main`.
fn soon(options: &Options, dir: &Path, program: &Path) -> Result<String> {
    let json = dir.join("soon.json");
    let (milliseconds, objects) = ((2.0 * SOON).to_string(), OBJECTS.to_string());
    let first = First::start(program)?;
    let mut tracer = record(options, EXACT, &json)?;
    let length = Duration::from_secs(options.seconds) / 2;
    let storm = Storm::run(program, &[milliseconds.as_str(), &objects], options.rate, length)?;
    tracer.stop()?;
    drop(first);
    let seen = Seen::read(&json)?;
    let made = storm.started as u64 * OBJECTS;
    let share = 100.0 * seen.objects as f64 / made as f64;
    Ok(format!(
        "\nThe same with programs that live {milliseconds} ms and make their objects {SOON} ms after \
         their `main` began, for {:.0} s: {} of the {made} objects of {} programs were counted, \
         {share:.3} %.\n",
        length.as_secs_f64(),
        seen.objects,
        storm.started,
    ))
}

/// What it holds when those that have ended are out of the tables.
fn settled(heaptap: u32) -> Result<Holding> {
    let began = Instant::now();
    loop {
        let now = Holding::of(heaptap)?;
        thread::sleep(Duration::from_millis(300));
        let then = Holding::of(heaptap)?;
        if now == then || began.elapsed() > Duration::from_secs(10) {
            return Ok(then);
        }
    }
}

fn starts(options: &Options, dir: &Path, program: &Path) -> Result<String> {
    let mut text = String::from(
        "\nFrom a program's start (before the fork) to its entry in the table of traced processes, \
         looked at without pause, with nothing else going on:\n\n\
         | program | starts | median, ms | 99th percentile | slowest | above 20 ms |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut row = |what: &str, times: &Series| {
        let (p50, p99) = (times.quantile(0.5), times.quantile(0.99));
        let (most, count, above) = (times.quantile(1.0), times.len(), times.above(SOON));
        writeln!(text, "| {what} | {count} | {p50:.2} | {p99:.2} | {most:.2} | {above} |")
    };
    let first = First::start(program)?;
    let mut tracer = record(options, EXACT, &dir.join("starts.json"))?;
    let processes = Processes::of(tracer.pid())?;
    let mut known = Series::default();
    for _ in 0..options.starts {
        known.push(start(&processes, program, &["600000", "0"])?);
    }
    row("a file that is known", &known)?;
    let mut new = Series::default();
    for number in 0..options.starts / 8 {
        let copy = dir.join(format!("storm-{number}"));
        fs::copy(program, &copy)?;
        new.push(start(&processes, &copy, &["600000", "0"])?);
        fs::remove_file(&copy)?;
    }
    row("a new file, 1.5 MB", &new)?;
    if let Some(hugo) = RealProgram::Hugo.path()? {
        let mut large = Series::default();
        for number in 0..options.starts / 32 {
            let copy = dir.join(format!("storm-large-{number}"));
            fs::copy(&hugo, &copy)?;
            large.push(start(&processes, &copy, &["version"])?);
            fs::remove_file(&copy)?;
        }
        row("a new file, hugo, 95 MB", &large)?;
    }
    drop(first);
    tracer.stop()?;
    Ok(text)
}

/// Milliseconds until a program is traced. It is stopped as soon as it runs, so that it can't end
/// before, and does not compete for the CPU.
fn start(processes: &Processes, program: &Path, args: &[&str]) -> Result<f64> {
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("can't start a program")?;
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGSTOP)?;
    let waited = waited(processes, &child, began);
    child.kill()?;
    child.wait()?;
    waited
}

fn waited(processes: &Processes, child: &Child, began: Instant) -> Result<f64> {
    while !processes.is_counted(child.id()) {
        ensure!(began.elapsed() < Duration::from_secs(10), "a program was not traced in 10 s");
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
