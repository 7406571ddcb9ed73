//! `heaptap gc`: each collection of running Go programs, as their runtimes have written it down.
//!
//! In: the configuration. Out: a line for each collection when it has ended, and at the end what they
//! have in common and by which stacks heaps grew, a picture or a document. Each process is looked at often enough to find the record of
//! a collection before the next one begins; one that collects too fast for that gets a trap at the end of
//! each collection.

mod followed;
mod growth;
mod merge;
mod traps;

use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep_until;

use super::opened::LiveProcess;
use super::roster::Roster;
use super::sampler::{self, Lent};
use super::top::footprint;
use super::{counted, naming, outputs, print_more, watch};
use crate::cli::gc::{Config, Mode};
use crate::exit::Failure;
use crate::output::gc::{self, Report, Unseen};
use crate::output::{Format, Sink, text};
use followed::Followed;
use growth::Growing;
use traps::Traps;

/// How often it is looked who is there.
const ROUND: Duration = Duration::from_secs(1);

/// Watches until it is told to end, and writes what was seen.
///
/// # Errors
/// Nobody to watch, or the first output that could not be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let sinks = outputs::open(&config.outputs)?;
    let mut watching = Watching::new(config)?;
    if !config.quiet {
        let until = config.duration.map_or_else(
            || "until Ctrl-C".to_owned(),
            |duration| format!("for {}", text::duration(duration)),
        );
        let who = counted(watching.followed.len(), "process");
        eprintln!("heaptap: recording collections of {who}, {until}");
    }
    watch::block_on(watching.go_on())?;
    watching.finish(sinks)
}

/// Everybody who is watched.
struct Watching<'a> {
    config: &'a Config,
    roster: Roster,
    followed: Vec<Followed>,
    unseen: Vec<Unseen>,
    traps: Traps,
    /// Samplers that were turned on.
    lent: Vec<Lent>,
    notes: Vec<String>,
    /// Lines carry pids.
    pids: bool,
    has_head: bool,
    started: SystemTime,
    clock: Instant,
    own: Option<Duration>,
}

impl<'a> Watching<'a> {
    /// Looks for the first time.
    fn new(config: &'a Config) -> Result<Self, Failure> {
        let pids = match &config.selection {
            crate::host::Selection::Pids(pids) => pids.len() > 1,
            _ => true,
        };
        let mut watching = Self {
            config,
            roster: Roster::new(&config.selection),
            followed: Vec::new(),
            unseen: Vec::new(),
            traps: Traps::default(),
            lent: Vec::new(),
            notes: Vec::new(),
            pids,
            has_head: false,
            started: SystemTime::now(),
            clock: Instant::now(),
            own: footprint::cpu_time(),
        };
        watching.find(true)?;
        Ok(watching)
    }

    /// Finds processes that are not followed yet.
    fn find(&mut self, first: bool) -> Result<(), Failure> {
        let looked = self.roster.look(|_| Ok(()))?;
        if first && looked.seen.is_empty() && !self.config.selection.is_all() {
            return Err(self.roster.nobody(&looked));
        }
        for (process, ()) in &looked.seen {
            if !self.followed.iter().any(|followed| followed.is(process)) {
                self.followed.push(Followed::new(process, self.identity(process)));
                if self.config.mode == Mode::Trap {
                    let attached = self.trap(self.followed.len() - 1);
                    if first && self.roster.is_named() {
                        attached?;
                    }
                }
            }
        }
        for unseen in looked.unseen {
            let known = self.unseen.iter().any(|known| known.pid == unseen.pid)
                || self.followed.iter().any(|followed| followed.report.pid == unseen.pid);
            if !known {
                let reason = unseen.failure.message;
                self.unseen.push(Unseen { pid: unseen.pid, comm: unseen.comm, reason });
            }
        }
        Ok(())
    }

    /// What is told of a process.
    fn identity(&self, opened: &LiveProcess) -> gc::Process {
        let process = &opened.process;
        let container = process.container.as_ref().ok().and_then(Option::as_ref);
        let version = opened.live.program.go.facts().version;
        gc::Process {
            pid: process.id.pid,
            start_ticks: process.id.start,
            comm: process.comm.to_string_lossy().into_owned(),
            path: opened.path.clone(),
            go_version: version.map(|version| version.to_string()),
            container: container.map(|container| container.id.clone()),
            workload: naming::workload(process),
            first_unix_ns: 0,
            last_unix_ns: 0,
            ended: false,
            looks: 0,
            traps: None,
            cycles: Vec::new(),
            dropped: 0,
            overwritten: 0,
            samples: Vec::new(),
            growth: None,
        }
    }

    /// Begins to follow what the heaps of those grow by that are new. Signals are waited for by now.
    fn follow_growth(&mut self) {
        if self.config.top == 0 {
            return;
        }
        for followed in self.followed.iter_mut().filter(|followed| followed.growing.is_none()) {
            let process = followed.process();
            let lent = self.config.enable_sampler.map(|every| sampler::enable(process, every));
            let lent = lent.transpose().unwrap_or_else(|failure| {
                self.notes.push(failure.to_string());
                None
            });
            let turned_on = lent.as_ref().is_some_and(Option::is_some);
            self.lent.extend(lent.flatten());
            followed.growing = Some(Growing::new(turned_on, self.config.max_memory));
        }
    }

    /// Looks again and again.
    async fn go_on(&mut self) -> Result<(), Failure> {
        let mut signals = watch::Signals::new()?;
        self.follow_growth();
        let end = watch::deadline(self.config.duration);
        let mut round = Instant::now() + ROUND;
        loop {
            let now = Instant::now();
            for index in 0..self.followed.len() {
                if self.followed[index].is_due(now) && self.look(index, false)?.is_break() {
                    return Ok(());
                }
            }
            if now >= round {
                self.find(false)?;
                self.follow_growth();
                round = Instant::now() + ROUND;
            }
            let named = self.roster.is_named();
            if named && self.followed.iter().all(|followed| followed.report.ended) {
                return Ok(());
            }
            let next = self.followed.iter().filter_map(Followed::due).min();
            let next = next.map_or(round, |next| next.min(round));
            tokio::select! {
                biased;
                () = signals.next() => return Ok(()),
                () = sleep_until(end.into()) => return Ok(()),
                () = sleep_until(next.into()) => {}
            }
        }
    }

    /// Gives a process a trap. What keeps it from that is told once.
    fn trap(&mut self, index: usize) -> Result<(), Failure> {
        let followed = &mut self.followed[index];
        match self.traps.attach(followed.process()) {
            Ok(image) => {
                followed.trap = Some(image);
                followed.report.traps = Some(0);
                Ok(())
            }
            Err(failure) => {
                let note = format!("no trap at the end of collections: {failure}");
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                followed.can_not_be_trapped = true;
                Err(failure)
            }
        }
    }

    /// Looks at one process and prints what is new.
    fn look(&mut self, index: usize, last: bool) -> Result<ControlFlow<()>, Failure> {
        let all = &mut self.followed;
        self.traps.each(|image, caught| {
            let of = all.iter_mut().find(|followed| followed.trap == Some(image));
            if let Some(followed) = of {
                followed.catch(caught);
            }
        });
        let followed = &mut self.followed[index];
        let given_up = followed.look(last);
        if followed.report.ended
            && let Some(image) = followed.trap.take()
        {
            self.traps.release(image, followed.report.pid);
        }
        let tries = self.config.mode == Mode::Auto && followed.due().is_some();
        if tries && followed.wants_trap() && self.traps.are_ready() {
            // Why not is in the notes: looking goes on.
            let _ = self.trap(index);
        }
        let followed = &mut self.followed[index];
        if let Some(failure) = given_up {
            let report = &followed.report;
            let (pid, comm) = (report.pid, report.comm.clone());
            let reason = format!("process {pid}: {failure}");
            self.unseen.push(Unseen { pid, comm, reason });
        }
        if !self.config.prints() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.has_head, true) {
            text.push_str(&gc::head(self.pids));
        }
        let followed = &self.followed[index];
        for cycle in followed.new_cycles() {
            text.push_str(&gc::row(&followed.report, cycle, self.pids));
        }
        if text.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        print_more(&text)
    }

    /// Looks for the last time and writes everything.
    fn finish(mut self, sinks: Vec<Sink>) -> Result<(), Failure> {
        for index in 0..self.followed.len() {
            if !self.followed[index].report.ended && self.look(index, true)?.is_break() {
                break;
            }
        }
        // Before anything is written; what fails is said after it.
        let restored = self.lent.drain(..).map(Lent::restore).fold(Ok(()), Result::and);
        let own = footprint::cpu_time();
        let own_cpu = own.zip(self.own).map(|(now, before)| now.saturating_sub(before));
        let report = Report {
            started: self.started,
            duration: self.clock.elapsed(),
            own_cpu,
            processes: self.followed.into_iter().map(Followed::tell).collect(),
            unseen: self.unseen,
            notes: self.notes,
            top: self.config.top,
        };
        let collections: u64 = report.processes.iter().map(gc::Process::count).sum();
        let summary = || {
            let collections = counted(usize::try_from(collections).unwrap_or(0), "collection");
            format!("{collections} of {}", counted(report.processes.len(), "process"))
        };
        outputs::write_with(self.config.quiet, &summary, sinks, &|format, out| match format {
            Format::Svg => gc::write_svg(&report, out),
            Format::Json => gc::write_json(&report, out),
            Format::Table | Format::Html | Format::Pprof | Format::Folded => {
                writeln!(out).and_then(|()| gc::write_summary(&report, out))
            }
        })?;
        restored
    }
}
