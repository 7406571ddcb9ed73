//! `heaptap stats`: memory statistics of Go programs, read from their runtimes' own counters.
//!
//! In: pids, or all Go processes. Out: text for people or documents `heaptap.stats/1`
//! (docs/stats-json.md), once or again and again.

mod json;
mod text;

use std::collections::HashMap;
use std::io;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::opened::{self, LiveProcess, Opener, not_readable};
use super::print;
use crate::cli::stats::Config;
use crate::exit::{Exit, Failure};
use crate::gobin::GoBinary;
use crate::host::{self, Identity, MemoryUse, Selection};
use crate::runtime::g::{Entry, MAX_GOROUTINES};
use crate::runtime::stats::Stats;

/// What one look at one process told.
struct Snapshot {
    id: Identity,
    comm: String,
    path: String,
    go_version: Option<String>,
    container: Option<String>,
    stats: Stats,
    goroutines: Goroutines,
    memory: MemoryUse,
}

#[derive(Clone, Copy, Debug, Default)]
struct Goroutines {
    /// As `runtime.NumGoroutine` counts.
    program: u64,
    /// The runtime's own.
    runtime: u64,
    /// Entries that could not be read.
    unreadable: u64,
}

/// What one look at all processes told.
struct Round {
    time: SystemTime,
    /// How many processes were meant, Go programs or not.
    meant: usize,
    snapshots: Vec<Snapshot>,
    /// Processes that could not be read, and why.
    unseen: Vec<Unseen>,
}

impl Round {
    /// Fails when a file or a name was asked for and nothing runs it.
    fn somebody(&self, selection: &Selection) -> Result<(), Failure> {
        let found = matches!(selection, Selection::All | Selection::Pids(_))
            || !(self.snapshots.is_empty() && self.unseen.is_empty());
        if found { Ok(()) } else { Err(opened::nobody(selection, self.meant)) }
    }
}

struct Unseen {
    pid: u32,
    comm: String,
    failure: Failure,
}

/// Reads and prints.
///
/// # Errors
/// A pid that was asked for can't be read; with several, the others are printed first.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut reader = Reader::default();
    let Some(period) = config.watch else {
        let round = reader.round(&config.selection)?;
        round.somebody(&config.selection)?;
        let text = match config.json {
            true => json::document(&round, true)?,
            false => text::once(&round, config.selection == Selection::All),
        };
        print(&text)?;
        return finish(round, config);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
    runtime.block_on(watch(config, period, &mut reader))
}

/// Reads again and again, until Ctrl-C or until none of the named processes is left.
async fn watch(config: &Config, period: Duration, reader: &mut Reader) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|err| Failure::new(Exit::Failure, err.to_string()));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut table = text::Table::default();
    let mut first = true;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let round = reader.round(&config.selection)?;
        if first {
            round.somebody(&config.selection)?;
        } else if is_named(&config.selection) && round.snapshots.is_empty() {
            // They were there and have ended: what there was to see was shown.
            return Ok(());
        }
        print(&if config.json { json::document(&round, false)? } else { table.rows(&round) })?;
        if first {
            first = false;
            finish(round, config)?;
        }
    }
}

/// Says what is missing: as the command's failure when it was asked for by pid.
fn finish(mut round: Round, config: &Config) -> Result<(), Failure> {
    if is_named(&config.selection) {
        return match round.unseen.is_empty() {
            true => Ok(()),
            false => Err(round.unseen.swap_remove(0).failure),
        };
    }
    if let Some(remark) = remark(&round) {
        // A remark that nobody can read is no failure.
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("heaptap: {remark}\n"));
    }
    Ok(())
}

/// One line about what is not in the table.
fn remark(round: &Round) -> Option<String> {
    let first = round.unseen.first()?;
    let reason = crate::output::text::printable(&first.failure.message).into_owned();
    Some(match round.unseen.len() {
        1 => reason,
        count => format!("{reason} (and {} more; --json tells all)", count - 1),
    })
}

/// Keeps what is opened from one round to the next.
#[derive(Default)]
struct Reader {
    opener: Opener,
    open: HashMap<Identity, LiveProcess>,
}

impl Reader {
    /// Looks at every process once.
    ///
    /// # Errors
    /// /proc can't be listed.
    fn round(&mut self, selection: &Selection) -> Result<Round, Failure> {
        let selected = host::select(selection).map_err(not_readable)?;
        let (meant, named) = (selected.processes.len(), is_named(selection));
        let (snapshots, unseen) = Default::default();
        let mut round = Round { time: SystemTime::now(), meant, snapshots, unseen };
        let mut open = std::mem::take(&mut self.open);
        for process in selected.processes {
            let id = process.id;
            let looked = match open.remove(&id).map(|process| (snapshot(&process), process)) {
                // An exec of the same process: what was opened is gone, another look opens it.
                Some((Ok(snapshot), process)) => Some((Ok(snapshot), Some(process))),
                _ if !named && !is_go(id.pid) => None,
                _ => Some(match self.opener.open(id.pid) {
                    Ok(process) => (snapshot(&process), Some(process)),
                    Err(failure) => (Err(failure), None),
                }),
            };
            match looked {
                None => {}
                Some((Ok(snapshot), process)) => {
                    round.snapshots.push(snapshot);
                    self.open.extend(process.map(|process| (id, process)));
                }
                // It ended meanwhile: not there to be listed.
                Some((Err(_), _)) if !named && !id.is_alive() => {}
                Some((Err(failure), _)) => {
                    let comm = process.comm.to_string_lossy().into_owned();
                    round.unseen.push(Unseen { pid: id.pid, comm, failure });
                }
            }
        }
        for error in selected.refused {
            let failure = not_readable(error.clone());
            let pid = error.pid().unwrap_or(0);
            round.unseen.push(Unseen { pid, comm: String::new(), failure });
        }
        Ok(round)
    }
}

/// Whether each process was asked for by its number; of others found, those that are no Go programs
/// were not meant.
fn is_named(selection: &Selection) -> bool {
    matches!(selection, Selection::Pids(_))
}

/// Whether a process runs a Go program, or one that can't be told from it.
fn is_go(pid: u32) -> bool {
    use crate::gobin::Error;
    match host::open_exe(pid) {
        Ok(exe) => !matches!(
            GoBinary::peek(&exe.file),
            Err(Error::NotGo
                | Error::NotElf
                | Error::NotAFile
                | Error::Class(_)
                | Error::Machine(_)
                | Error::Kind(_))
        ),
        Err(error) => error.is_permission(),
    }
}

/// Reads one process.
fn snapshot(opened: &LiveProcess) -> Result<Snapshot, Failure> {
    let LiveProcess { process, path, live } = opened;
    let failure = |err: crate::runtime::Error| {
        Failure::new(err.exit(), format!("process {}: {err}", process.id.pid))
    };
    let stats = live.stats().map_err(failure)?;
    let mut goroutines = Goroutines::default();
    let counted = live.each_goroutine(MAX_GOROUTINES, |entry| match entry {
        Entry::Unreadable => goroutines.unreadable += 1,
        Entry::Dead => {}
        Entry::Live(g) if g.system => goroutines.runtime += 1,
        Entry::Live(_) => goroutines.program += 1,
    });
    counted.map_err(failure)?;
    let memory = host::memory_use(process.id.pid).map_err(not_readable)?;
    let container = process.container.as_ref().ok().and_then(Option::as_ref);
    Ok(Snapshot {
        id: process.id,
        comm: process.comm.to_string_lossy().into_owned(),
        path: path.clone(),
        go_version: live.program.go.facts().version.map(|version| version.to_string()),
        container: container.map(|container| container.id.clone()),
        stats,
        goroutines,
        memory,
    })
}

impl Snapshot {
    /// Resident memory that the runtime did not map, at least: all that it mapped may be resident,
    /// but need not. Nothing when the kernel does not tell.
    fn off_heap(&self) -> Option<u64> {
        let mapped = self.stats.sys.saturating_sub(self.stats.heap.released);
        Some(self.memory.resident?.saturating_sub(mapped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CgroupMemory;
    use crate::runtime::stats::{Allocated, Class, Collector, Heap, Large, Pause, Phase};

    /// A made-up process.
    pub(super) fn made() -> Snapshot {
        const MIB: u64 = 1 << 20;
        Snapshot {
            id: Identity { pid: 4242, start: 77 },
            comm: "orders".into(),
            path: "/usr/bin/orders".into(),
            go_version: Some("1.27.3".into()),
            container: Some("3f8a6c0d9e1b".into()),
            stats: Stats {
                exact: true,
                heap: Heap {
                    alloc: 12 * MIB,
                    objects: 123_456,
                    sys: 24 * MIB,
                    in_use: 14 * MIB,
                    idle: 10 * MIB,
                    released: 3 * MIB,
                    marked: 9 * MIB,
                    live: 13 * MIB,
                    goal: Some(18 * MIB),
                    trigger: Some(17 * MIB),
                },
                collector: Collector {
                    percent: Some(100),
                    memory_limit: Some(512 * MIB),
                    limit_binds: false,
                    phase: Phase::Off,
                    cycles: 2,
                    forced: 1,
                    last_unix_ns: 1_700_000_000_000_000_000,
                    pause_total_ns: 150_000,
                    pauses: vec![
                        Pause { end_unix_ns: 1_700_000_000_000_000_000, ns: 90_000 },
                        Pause { end_unix_ns: 1_699_999_990_000_000_000, ns: 60_000 },
                    ],
                    cpu_fraction: 0.0125,
                },
                allocated: Allocated {
                    bytes: 400 * MIB,
                    objects: 5_000_000,
                    frees: 4_876_544,
                    tiny: 1000,
                    large: Large { bytes: 99 * MIB, objects: 9, freed_bytes: 90 * MIB, frees: 8 },
                    classes: vec![
                        Class { size: 8, objects: 10, frees: 10 },
                        Class { size: 16, objects: 4_000_000, frees: 3_900_000 },
                        Class { size: 24, objects: 0, frees: 0 },
                    ],
                },
                stacks_in_use: MIB,
                stacks_sys: 2 * MIB,
                spans_in_use: 100_000,
                spans_sys: 200_000,
                caches_in_use: 4800,
                caches_sys: 15600,
                buckets_sys: 4000,
                gc_sys: 3 * MIB,
                other_sys: 50_000,
                sys: 30 * MIB,
                sampler_rate: 524_288,
                procs: 8,
            },
            goroutines: Goroutines { program: 120, runtime: 6, unreadable: 0 },
            memory: MemoryUse {
                resident: Some(40 * MIB),
                anonymous: Some(30 * MIB),
                swapped: Some(0),
                cgroup: Some(CgroupMemory { usage: 100 * MIB, limit: Some(1024 * MIB) }),
            },
        }
    }

    pub(super) fn round() -> Round {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_003);
        let unseen = Unseen {
            pid: 7,
            comm: "old".into(),
            failure: Failure::new(Exit::Unsupported, "process 7: too old"),
        };
        Round { time, meant: 2, snapshots: vec![made()], unseen: vec![unseen] }
    }

    #[test]
    fn what_is_resident_beyond_the_runtimes_own() {
        assert_eq!(made().off_heap(), Some((40 - 27) << 20));
        let mut small = made();
        small.memory.resident = Some(1);
        assert_eq!(small.off_heap(), Some(0));
        small.memory.resident = None;
        assert_eq!(small.off_heap(), None);
    }

    #[test]
    fn named_processes_that_are_missing_are_a_failure_and_others_a_remark() {
        let config = |selection| Config { selection, watch: None, json: false };
        let failure = finish(round(), &config(Selection::Pids(vec![7]))).unwrap_err();
        assert_eq!(failure.exit, Exit::Unsupported);
        finish(round(), &config(Selection::All)).unwrap();
        assert_eq!(remark(&round()).unwrap(), "process 7: too old");
    }
}
