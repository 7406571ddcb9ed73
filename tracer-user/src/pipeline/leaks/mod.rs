//! `heaptap leaks`: what leaks in running programs or in a recording, and at which line.
//!
//! In: the configuration. Out: findings, as text or as a document `heaptap.leaks/1` (docs/leaks.md). Live, it
//! reads heap profiles, goroutines and statistics again and again, and attaches nothing; judging is done by
//! `profile::trend`.

pub mod creators;
mod file;
mod json;
mod text;
pub mod watched;

use std::ops::ControlFlow;
use std::time::Duration;

use super::roster::{Looked, Roster, Unseen};
use super::{counted, print, watch};
use crate::cli::leaks::{Config, Of};
use crate::exit::{Exit, Failure};
use crate::host::{Identity, MemoryReader};
use crate::profile::Workload;
use crate::profile::trend::{Grown, Keeper, Place, Trend, Verdict};
use watched::Watched;

/// How long to look when nothing is said.
const WINDOW: Duration = Duration::from_secs(60);
/// How often at most, and how many looks there are room for.
const EVERY: Duration = Duration::from_secs(1);
const LOOKS: u32 = 900;

/// What was found.
struct Report {
    processes: Vec<Judged>,
    unseen: Vec<Unseen>,
}

/// What was found in one process.
struct Judged {
    id: Identity,
    comm: String,
    path: String,
    go_version: Option<String>,
    container: Option<String>,
    workload: Workload,
    /// Seconds of the window, and how many heap profiles were seen in it that told something new.
    span: f64,
    profiles: usize,
    findings: Vec<Finding>,
    /// What could not be judged, and why.
    notes: Vec<String>,
}

/// Something that grows.
pub struct Finding {
    pub of: What,
    pub trend: Trend,
    /// Where to look; nothing where no line is known.
    pub place: Option<Place>,
    /// Innermost first.
    pub stack: Vec<Place>,
    /// How many stacks lead to the place.
    pub stacks: usize,
    /// What keeps it, if that is known.
    pub keeper: Option<Keeper>,
    /// At the end: bytes, or goroutines; and objects.
    pub live: f64,
    pub objects: Option<f64>,
    /// Goroutines that have not run since the look before.
    pub blocked: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Heap,
    Goroutines,
    OffHeap,
}

impl What {
    pub fn word(self) -> &'static str {
        match self {
            What::Heap => "heap",
            What::Goroutines => "goroutines",
            What::OffHeap => "off-heap",
        }
    }
}

impl Finding {
    /// Of what has no line: its level at the end.
    fn without_line(of: What, trend: Trend, live: f64) -> Self {
        let (place, stack, stacks) = (None, Vec::new(), 0);
        let (keeper, objects, blocked) = (None, None, None);
        Self { of, trend, place, stack, stacks, keeper, live, objects, blocked }
    }
}

impl From<Grown> for Finding {
    fn from(grown: Grown) -> Self {
        Self {
            of: What::Heap,
            trend: grown.trend,
            place: Some(grown.place),
            stack: grown.stack,
            stacks: grown.stacks,
            keeper: grown.keeper,
            live: grown.live,
            objects: Some(grown.objects),
            blocked: None,
        }
    }
}

impl Report {
    fn leaks(&self) -> usize {
        self.processes.iter().map(Judged::leaks).sum()
    }
}

impl Judged {
    fn leaks(&self) -> usize {
        self.findings.iter().filter(|finding| finding.trend.verdict == Verdict::Leak).count()
    }
}

/// Looks, judges and prints.
///
/// # Errors
/// Something leaks; a process that was asked for by pid can't be read, or nobody is there; the recording can't be read or has no
/// heap profiles.
pub fn run(config: &Config) -> Result<(), Failure> {
    let (report, failure) = match &config.of {
        Of::Processes(selection) => live(config, Roster::new(selection))?,
        Of::Recording(path) => (file::judge(path, config)?, None),
    };
    print(&match config.json {
        true => json::document(&report)?,
        false => text::report(&report, config.stacks),
    })?;
    let leaking = report.processes.iter().filter(|process| process.leaks() > 0).count();
    if leaking > 0 {
        let text =
            format!("{} in {}", counted(report.leaks(), "leak"), counted(leaking, "process"));
        return Err(Failure::new(Exit::Leaks, text));
    }
    failure.map_or(Ok(()), Err)
}

/// Looks at running programs; says also what is missing of what was asked for.
fn live(config: &Config, mut roster: Roster) -> Result<(Report, Option<Failure>), Failure> {
    let window = config.window.unwrap_or(WINDOW);
    let every = EVERY.max(window / LOOKS);
    // The runtime's own frames tell what is written: a map, a slice.
    let (max_memory, runtime_frames) = (config.max_memory, true);
    let heap = watched::Heap { max_memory, runtime_frames, ..super::heap::plain() };
    let mut watched: Vec<Watched> = Vec::new();
    let (mut unseen, mut is_first) = (Vec::new(), true);
    let mut done = false;
    // One look more: at the end of the window.
    watch::every(every, Some(window + every / 2), || {
        let mut memory = MemoryReader::default();
        let looked = roster.look(|process| {
            let id = process.process.id;
            let known = watched.iter().position(|one: &Watched| one.id() == id);
            let number = known.unwrap_or_else(|| {
                watched.push(Watched::new(process, &heap));
                watched.len() - 1
            });
            watched[number].look(process, &mut memory)
        })?;
        if std::mem::take(&mut is_first) {
            if looked.seen.is_empty() {
                return Err(roster.nobody(&looked));
            }
            if !config.quiet {
                let count = counted(looked.seen.len(), "process");
                let length = crate::output::text::duration(window);
                eprintln!("heaptap: looking at {count} for {length}");
            }
        }
        let Looked { seen, unseen: now, .. } = looked;
        done = seen.is_empty();
        unseen = now;
        Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let failure = unseen.first().filter(|_| roster.is_named()).map(|one| one.failure.clone());
    let mut processes: Vec<Judged> = watched.into_iter().map(Watched::judge).collect();
    processes.sort_by_key(|process| (process.leaks() == 0, process.id));
    Ok((Report { processes, unseen }, failure))
}

#[cfg(test)]
mod tests;
