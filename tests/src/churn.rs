//! Programs that come and go under heaptaps that stay.
//!
//! In: a time. Out: what each heaptap holds whenever everything has been still for a moment: descriptors, links,
//! entries of its tables, memory. It must be the same each time.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::Agent;
use crate::holding::{Holding, resident};
use crate::storm::Storm;
use crate::{Fixture, Variant, stress};

pub struct Options {
    pub heaptap: PathBuf,
    pub length: Duration,
    /// Programs a second.
    pub rate: u32,
    /// A new file each few seconds, instead of the same ones in turn.
    pub new_files: bool,
}

/// What selects the programs: other tests' programs are not meant.
const NAMES: &str = "churned*";
/// Before anything is compared: tables are as large as they become, and a part of the whole time at least.
const WARM: Duration = Duration::from_secs(30);
const WARM_PART: u32 = 5;
/// Parts of the rest of the time, after each of which it is looked at.
const PARTS: u32 = 6;
/// After so long it is another file's turn.
const FILE: Duration = Duration::from_secs(5);
const FILES: usize = 4;
/// Milliseconds that most live, and that one of each file lives: what looks each second sees only that one.
const SHORT: &str = "100";
const LONG: &str = "3000";
/// Growth of memory that is no leak: a page for each of ten thousand programs would be 40 MiB.
pub const GROWTH: f64 = 3.0;
/// Descriptors, links and entries that may be more at the end than at the beginning: files that were opened are kept for a
/// while. One of a hundred programs that left something would be ten and more.
const SLACK: usize = 4;
/// How long it may take until nothing changes any more.
const SETTLES: Duration = Duration::from_secs(30);
/// How long it may take until what was attached to a file as a whole is let go: a minute after the last program. Files
/// are, of which more than a few run or are being let go at once, as happens where others want the processors.
const KEPT: Duration = Duration::from_secs(75);

/// A heaptap that stays.
struct Watcher {
    name: &'static str,
    child: Child,
    looks: Vec<(Holding, f64)>,
}

/// What became of one.
#[derive(Debug)]
pub struct Watched {
    pub name: &'static str,
    /// What it held, and MiB that were resident, at each stop.
    pub looks: Vec<(Holding, f64)>,
}

/// What became of all.
#[derive(Debug)]
pub struct Churned {
    pub started: usize,
    pub files: usize,
    pub captures: usize,
    pub watched: Vec<Watched>,
}

pub fn run(options: &Options) -> Result<Churned> {
    let dir = tempfile::tempdir()?;
    let fixture = Fixture::build("brief", "1.26", Variant::Stripped)?;
    let (dir_of_files, new) = (dir.path().to_owned(), options.new_files);
    let mut files = Files { fixture, dir: dir_of_files, new, turns: 0, made: 0 };
    // One is there all the time: what selects by name wants somebody at the start.
    let first = files.next()?;
    let first = Program::start(&first, "100000000")?;
    let mut watchers = watchers(options, dir.path())?;
    let agent = agent(options, dir.path())?;
    let agent_pid = agent.running.pid();
    let mut churned = Churned { started: 0, files: 0, captures: 0, watched: Vec::new() };
    let mut agent_looks = Vec::new();
    let warm = WARM.max(options.length / WARM_PART);
    let part = options.length.saturating_sub(warm) / PARTS;
    for number in 0..=PARTS {
        let length = if number == 0 { warm } else { part };
        churned.spell(options.rate, length, &mut files, &agent, first.0.id())?;
        for watcher in &mut watchers {
            watcher.look()?;
        }
        agent_looks.push(look(agent_pid, &agent_looks)?);
    }
    churned.files = files.made;
    churned.watched = watchers.into_iter().map(Watcher::end).collect::<Result<_>>()?;
    agent.running.stop()?.expect(0)?;
    churned.watched.push(Watched { name: "agent", looks: agent_looks });
    Ok(churned)
}

/// Heaptaps that are asked for nothing while they run.
fn watchers(options: &Options, dir: &Path) -> Result<Vec<Watcher>> {
    let probes = stress::probes();
    let output = |name: &str| dir.join(name).display().to_string();
    let (budgeted, exact, words) = (output("budgeted.json"), output("exact.json"), output("words"));
    // What is kept of those that have ended is as much as it becomes soon.
    let apart = ["--comm", NAMES, "--max-processes", "16", "--max-ended-stacks", "256", "-o"];
    let all: [(&str, Vec<&str>); 5] = [
        ("record", [&["record"], &apart[..], &[&budgeted]].concat()),
        (
            "record --mode exact, all probes",
            [
                &["record", "--mode", "exact", "--budget", "none", "--probe", &probes],
                &apart[..],
                &[&exact],
            ]
            .concat(),
        ),
        ("stats --watch 1", vec!["stats", "--watch", "1", "--comm", NAMES]),
        ("heap --watch 1", vec!["heap", "--watch", "1", "--comm", NAMES]),
        ("watch", vec!["watch", "--every", "1", "--comm", NAMES, "-o", &words]),
    ];
    let mut watchers = Vec::new();
    for (number, (name, words)) in all.into_iter().enumerate() {
        let said = File::create(dir.join(format!("said-{number}")))?;
        let mut command = Command::new(&options.heaptap);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().context("can't start heaptap")?;
        watchers.push(Watcher { name, child, looks: Vec::new() });
    }
    Ok(watchers)
}

fn agent(options: &Options, dir: &Path) -> Result<Agent> {
    let file = dir.join("agent.toml");
    let captures = dir.join("captures");
    let text = format!(
        "[watch]\nmaps = \"1s\"\n[captures]\ndir = \"{}\"\non_request = true\nper_hour = 1000\nmax_bytes = \"1MiB\"\n",
        captures.display()
    );
    fs::write(&file, text)?;
    let mut command = Command::new(&options.heaptap);
    command.args(["agent", "--listen", "127.0.0.1:0", "--comm", NAMES, "--config"]).arg(&file);
    Agent::of(command.stdin(Stdio::null()))
}

impl Churned {
    /// Programs for so long, each few seconds from the next file; then nothing until all have ended.
    fn spell(
        &mut self,
        rate: u32,
        length: Duration,
        files: &mut Files,
        agent: &Agent,
        captured: u32,
    ) -> Result<()> {
        let until = Instant::now() + length;
        while Instant::now() < until {
            let file = files.next()?;
            let left = until.saturating_duration_since(Instant::now()).min(FILE);
            let mut long = Program::start(&file, LONG)?;
            let storm = Storm::run(&file, &[SHORT, "100"], rate, left)?;
            long.end()?;
            self.started += storm.started + 1;
            agent.metrics()?;
            agent.json("/api/v1/overview")?;
            self.captures += usize::from(capture(agent, captured, self.captures)?);
        }
        Ok(())
    }
}

impl Watched {
    /// What is not flat.
    pub fn grown(&self) -> Option<String> {
        let (first, last) = (self.looks.first()?, self.looks.last()?);
        if is_more(&self.looks, last) {
            return Some(format!("{} held {:?}, and at the end {:?}", self.name, first.0, last.0));
        }
        let grown = last.1 - first.1;
        (grown > GROWTH).then(|| format!("{} has grown by {grown:.1} MiB", self.name))
    }
}

impl Churned {
    /// What is not flat.
    pub fn grown(&self) -> Vec<String> {
        self.watched.iter().filter_map(Watched::grown).collect()
    }

    /// A table in Markdown.
    pub fn table(&self) -> String {
        let mut text = "| heaptap | descriptors | links | entries of tables | resident, MiB |\n\
                        | --- | --- | --- | --- | --- |\n"
            .to_string();
        for Watched { name, looks } in &self.watched {
            let each = |of: &dyn Fn(&(Holding, f64)) -> String| {
                looks.iter().map(of).collect::<Vec<_>>().join(", ")
            };
            let descriptors = each(&|look| look.0.descriptors.to_string());
            let links = each(&|look| look.0.links.to_string());
            let entries = each(&|look| look.0.entries.values().sum::<usize>().to_string());
            let memory = each(&|look| format!("{:.1}", look.1));
            // Writing to text does not fail.
            let _ = writeln!(text, "| {name} | {descriptors} | {links} | {entries} | {memory} |");
        }
        text
    }
}

impl Watcher {
    fn look(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("heaptap {} has ended with {status}", self.name);
        }
        self.looks.push(look(self.child.id(), &self.looks)?);
        Ok(())
    }

    /// Ends it as Ctrl-C does.
    fn end(mut self) -> Result<Watched> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGINT)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "heaptap {} ended with {status}", self.name);
        Ok(Watched { name: self.name, looks: std::mem::take(&mut self.looks) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether more is held than at the moment when it was least: of descriptors, links or entries.
fn is_more(before: &[(Holding, f64)], now: &(Holding, f64)) -> bool {
    let held = |(holding, _): &(Holding, f64)| {
        [holding.descriptors, holding.links, holding.entries.values().sum()]
    };
    let more = |number: usize| {
        let least = before.iter().map(|look| held(look)[number]).min();
        least.is_some_and(|least| held(now)[number] > least + SLACK)
    };
    (0..3).any(more)
}

/// What it holds, and what is resident. Where that is more than before, what is kept for a while has time to go.
fn look(heaptap: u32, before: &[(Holding, f64)]) -> Result<(Holding, f64)> {
    let began = Instant::now();
    loop {
        let now = settled(heaptap)?;
        if !is_more(before, &now) || began.elapsed() > KEPT {
            return Ok(now);
        }
    }
}

/// What it holds, and what is resident, once that does not change any more.
fn settled(heaptap: u32) -> Result<(Holding, f64)> {
    let began = Instant::now();
    let mut last = Holding::of(heaptap)?;
    let mut same = 0;
    while same < 4 && began.elapsed() < SETTLES {
        thread::sleep(Duration::from_millis(500));
        let now = Holding::of(heaptap)?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    Ok((last, resident(heaptap)?))
}

/// Copies of a program, under names that go round.
struct Files {
    fixture: Fixture,
    dir: PathBuf,
    /// Whether each is a new one.
    new: bool,
    turns: usize,
    made: usize,
}

impl Files {
    fn next(&mut self) -> Result<PathBuf> {
        let path = self.dir.join(format!("churned-{}", self.turns % FILES));
        self.turns += 1;
        if self.new && path.exists() {
            fs::remove_file(&path)?;
        }
        if !path.exists() {
            crate::copy(&self.fixture.program, &path)?;
            self.made += 1;
        }
        Ok(path)
    }
}

/// A program that lives so long; killed when dropped.
struct Program(Child);

impl Program {
    fn start(file: &Path, milliseconds: &str) -> Result<Program> {
        let mut command = Command::new(file);
        command.args([milliseconds, "1000"]).stdin(Stdio::null());
        Ok(Program(command.spawn().context("can't start a program")?))
    }

    fn end(&mut self) -> Result<()> {
        ensure!(self.0.wait()?.success(), "a program failed");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the agent capture something, one kind after the other; whether it has said that it will.
fn capture(agent: &Agent, pid: u32, number: usize) -> Result<bool> {
    let what = ["record", "map", "heap", "goroutines"][number % 4];
    let answer = agent.capture(pid, what)?;
    // One at a time, and not before it has seen the process.
    ensure!([202, 404, 429, 503].contains(&answer.status), "{}", answer.text());
    Ok(answer.status == 202)
}
