//! `heaptap heap`, `block` and `mutex`: the profiles that a program's own runtime keeps.
//!
//! In: pids, or all Go processes. Out: a profile, equal to what the program's own pprof would give at
//! that moment. Nothing is written into a program but, when that is asked for, its sampler's rate,
//! which is put back before anything is shown.

mod assemble;
mod clock;

use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep_until};

use super::opened::{self, LiveProcess, Opener, not_readable};
use super::{counted, outputs, sampler};
use crate::cli::heap::{Config, Profile};
use crate::exit::{Exit, Failure};
use crate::host::{self, Selection};
use crate::runtime::buckets::{Contention, ContentionRecords, HeapRecords, Limits};
use crate::runtime::memory::Memory;
use crate::runtime::sampler::Sampler;
use assemble::Assembled;

/// How often a process that samples is looked after.
const LOOK: Duration = Duration::from_millis(200);

/// What was read of one process.
struct Read {
    target: LiveProcess,
    records: Records,
}

enum Records {
    Heap(HeapRecords),
    Contention(ContentionRecords),
}

/// Processes that are there, and why others are not.
struct Found<T> {
    there: Vec<T>,
    refused: Vec<Failure>,
}

impl<T> Found<T> {
    fn nothing() -> Self {
        Self { there: Vec::new(), refused: Vec::new() }
    }
}

/// A time during which samplers were on.
#[derive(Clone, Copy)]
struct Sampled {
    since: SystemTime,
    length: Duration,
}

/// Reads and writes.
///
/// # Errors
/// No process has such a profile; one that was asked for by pid has none (the others are written
/// first); an output can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let sinks = outputs::open(&config.show.outputs)?;
    let (meant, mut opened) = open(&config.selection)?;
    let mut sampled = None;
    let found = match config.enable_sampler {
        None => read_all(config, std::mem::take(&mut opened.there)),
        Some(every) => {
            let (found, time) = sample(config, every, std::mem::take(&mut opened.there))?;
            sampled = Some(time);
            found
        }
    };
    let mut refused = opened.refused;
    refused.extend(found.refused);
    // Of processes that were not named those that are no Go programs were not meant.
    let named = matches!(config.selection, Selection::Pids(_));
    if !named {
        refused.retain(|failure| failure.exit != Exit::Target);
    }
    if found.there.is_empty() {
        let many = refused.len();
        let first = match many {
            0 => opened::nobody(&config.selection, meant),
            _ => refused.swap_remove(0),
        };
        return Err(match many {
            0 | 1 => first,
            _ => Failure::new(first.exit, format!("{first} (and {} more)", many - 1)),
        });
    }
    let mut profile = Assembled::new(config, sampled).profile(found.there);
    profile.meta.notes.extend(refused.iter().map(|failure| format!("not read: {failure}")));
    outputs::write(&config.show, false, &profile, sinks)?;
    match refused.into_iter().next().filter(|_| named) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Opens the processes that are meant; how many that are.
fn open(selection: &Selection) -> Result<(usize, Found<LiveProcess>), Failure> {
    let selected = host::select(selection).map_err(not_readable)?;
    let meant = selected.processes.len();
    let mut opener = Opener::default();
    let mut found = Found::nothing();
    found.refused.extend(selected.refused.into_iter().map(not_readable));
    let own = std::process::id();
    for process in selected.processes.iter().filter(|process| process.id.pid != own) {
        match opener.open(process.id.pid) {
            Ok(target) => found.there.push(target),
            Err(failure) => found.refused.push(failure),
        }
    }
    Ok((meant, found))
}

fn read_all(config: &Config, targets: Vec<LiveProcess>) -> Found<Read> {
    let mut found = Found::nothing();
    for target in targets {
        match read(config, &target) {
            Ok(records) => found.there.push(Read { target, records }),
            Err(failure) => found.refused.push(failure),
        }
    }
    found
}

fn read(config: &Config, target: &LiveProcess) -> Result<Records, Failure> {
    let pid = target.process.id.pid;
    let unreadable = |error: crate::runtime::Error| {
        // Errors of memory name the process themselves.
        let text = error.to_string();
        let named = text.contains(&format!("process {pid}"));
        let text = if named { text } else { format!("process {pid}: {text}") };
        Failure::new(error.exit(), text)
    };
    let limits = Limits { memory: config.max_memory, ..Limits::default() };
    let contention = |which| target.live.contention_records(which, limits).map_err(unreadable);
    let off = |why: String| Err(Failure::new(Exit::Unsupported, format!("process {pid} {why}")));
    match config.profile {
        Profile::Heap(_) => {
            let records = target.live.heap_records(limits).map_err(unreadable)?;
            if records.rate > 0 {
                return Ok(Records::Heap(records));
            }
            off(format!(
                "keeps no heap profile: its sampler is off (the linker leaves it off in programs \
                 that never ask for the profile); `heaptap heap -p {pid} --enable-sampler` turns it \
                 on for a time, `heaptap record -p {pid} --mode span` needs none"
            ))
        }
        Profile::Block(_) | Profile::Mutex(_) => {
            let (which, name, switch) = match config.profile {
                Profile::Block(_) => (Contention::Block, "block", "SetBlockProfileRate"),
                _ => (Contention::Mutex, "mutex", "SetMutexProfileFraction"),
            };
            let records = contention(which)?;
            let lost = which == Contention::Mutex && records.rate == 0;
            if lost && !records.buckets.is_empty() && assemble::unscaled(target) {
                return off(
                    "has turned its mutex profile off, without which this Go version's records mean \
                     nothing"
                        .to_owned(),
                );
            }
            if records.rate > 0 || !records.buckets.is_empty() || records.refused > 0 {
                return Ok(Records::Contention(records));
            }
            off(format!("keeps no {name} profile: it has not turned it on with runtime.{switch}"))
        }
    }
}

/// Turns samplers on, waits, reads, and turns them off, whatever happens meanwhile.
fn sample(
    config: &Config,
    every: u64,
    targets: Vec<LiveProcess>,
) -> Result<(Found<Read>, Sampled), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
    runtime.block_on(async {
        // Before anything is written: a signal must not end heaptap from here on.
        let mut signals = Signals::new()?;
        let mut refused = Vec::new();
        let mut samplers: Vec<(u32, Sampler)> = Vec::new();
        let mut there = Vec::new();
        for target in targets {
            let pid = target.process.id.pid;
            match sampler::enable(&target, every) {
                Ok(switched) => {
                    samplers.extend(switched.map(|sampler| (pid, sampler)));
                    there.push(target);
                }
                Err(failure) => refused.push(failure),
            }
        }
        let (began, since) = (Instant::now(), SystemTime::now());
        if !samplers.is_empty() {
            wait(config, &there, &mut signals).await;
        }
        let sampled = Sampled { since, length: began.elapsed() };
        let mut found = read_all(config, there);
        for (pid, sampler) in samplers {
            if let Err(failure) = sampler::restore(pid, sampler) {
                refused.push(failure);
            }
        }
        found.refused.splice(0..0, refused);
        Ok((found, sampled))
    })
}

/// Until the time is up, a signal comes, or nobody is left.
async fn wait(config: &Config, targets: &[LiveProcess], signals: &mut Signals) {
    let until = match config.duration {
        Some(duration) => format!("for {} s", duration.as_secs_f64()),
        None => "until Ctrl-C".to_owned(),
    };
    // Scripts wait for this line, so it is there with --quiet too.
    eprintln!("heaptap: sampling {} {until}", counted(targets.len(), "process"));
    // A century stands for no end: sleeping must not overflow the clock.
    let longest = Duration::from_secs(100 * 365 * 86_400);
    let end = Instant::now() + config.duration.unwrap_or(longest).min(longest);
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            () = sleep_until(end.into()) => return,
            () = signals.next() => return,
            _ = looks.tick() => {
                if targets.iter().all(|target| target.live.memory.check().is_err()) {
                    return;
                }
            }
        }
    }
}

/// The signals that end heaptap.
struct Signals(Vec<tokio::signal::unix::Signal>);

impl Signals {
    fn new() -> Result<Self, Failure> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
        ];
        let signals: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
        let failed =
            |err| Failure::new(Exit::Failure, format!("signals can't be waited for: {err}"));
        signals.map(Self).map_err(failed)
    }

    async fn next(&mut self) {
        let [a, b, c, d] = &mut self.0[..] else { return };
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
            _ = d.recv() => {}
        }
    }
}
