//! `heaptap stats`: memory statistics of Go programs, read from their runtimes' own counters.
//!
//! In: pids, or all Go processes. Out: text for people or documents `heaptap.stats/1`
//! (docs/stats-json.md), once or again and again.

mod json;
mod recorded;
mod text;

use std::io;
use std::ops::ControlFlow;
use std::time::SystemTime;

use super::naming;
use super::opened::{LiveProcess, not_readable};
use super::roster::{Looked, Roster, Unseen};
use super::watch::{self, Waiting};
use super::{counted, outputs, print, print_more};
use crate::cli::stats::Config;
use crate::exit::Failure;
use crate::host::{Identity, MemoryReader, MemoryUse};
use crate::output::text::printable;
use crate::profile::Workload;
use crate::recording::Writer;
use crate::runtime::g::Goroutines;
use crate::runtime::stats::Stats;

pub use json::{document, process};
pub use recorded::{Beside, alone};
pub use text::{Table, once};

/// What one look at one process told.
#[derive(Clone)]
pub struct Snapshot {
    pub id: Identity,
    pub comm: String,
    pub path: String,
    pub go_version: Option<String>,
    pub container: Option<String>,
    pub workload: Workload,
    pub stats: Stats,
    pub goroutines: Goroutines,
    pub memory: MemoryUse,
}

/// What one look at all processes told.
pub struct Round {
    time: SystemTime,
    pub snapshots: Vec<Snapshot>,
    /// Processes that could not be read, and why.
    pub unseen: Vec<Unseen>,
}

/// Reads and prints.
///
/// # Errors
/// A pid that was asked for can't be read; with several, the others are printed first. Nothing runs the
/// file or has the name that was asked for (with `--watch` it waits for one).
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut roster = Roster::new(&config.selection);
    let mut recording = config.kept.as_ref().map(outputs::recording).transpose()?;
    let Some(period) = config.watch else {
        let (round, nobody) = Round::read(&mut roster)?;
        let sought = !config.selection.is_by_pid() && !config.selection.is_all();
        if let Some(failure) = nobody.filter(|_| sought && round.unseen.is_empty()) {
            return Err(failure);
        }
        record(&mut recording, &round, true)?;
        let text = match config.json {
            true => json::document(&round, true)?,
            false => text::once(&round, config.selection.is_all()),
        };
        print(&text)?;
        return finish(round, config);
    };
    let mut table = text::Table::default();
    let (mut first, mut waiting) = (true, Waiting::default());
    watch::every(period, None, || {
        let (round, nobody) = Round::read(&mut roster)?;
        match nobody {
            // They were there and have ended: what there was to see was shown.
            Some(_) if roster.is_named() && !first => return Ok(ControlFlow::Break(())),
            Some(failure) if !roster.is_named() => waiting.say(&failure),
            _ => waiting.over(),
        }
        record(&mut recording, &round, first)?;
        let text = if config.json { json::document(&round, false)? } else { table.rows(&round) };
        let more = print_more(&text)?;
        if (roster.is_named() || !round.snapshots.is_empty()) && std::mem::take(&mut first) {
            finish(round, config)?;
        }
        Ok(more)
    })
}

/// Adds a round to the recording, if there is one.
fn record(recording: &mut Option<Writer>, round: &Round, is_first: bool) -> Result<(), Failure> {
    let Some(recording) = recording else { return Ok(()) };
    let written = recording.write_statistics(&round.recorded());
    written.map_err(|err| outputs::unwritten(recording, &err))?;
    if is_first {
        let count = counted(round.snapshots.len(), "process");
        let path = recording.path().to_string_lossy();
        eprintln!("heaptap: statistics of {count} are recorded in {}", printable(&path));
    }
    Ok(())
}

/// Says what is missing: as the command's failure when it was asked for by pid.
fn finish(mut round: Round, config: &Config) -> Result<(), Failure> {
    if config.selection.is_by_pid() {
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
pub fn remark(round: &Round) -> Option<String> {
    let first = round.unseen.first()?;
    let reason = crate::output::text::printable(&first.failure.message).into_owned();
    Some(match round.unseen.len() {
        1 => reason,
        count => format!("{reason} (and {} more; --json tells all)", count - 1),
    })
}

impl Round {
    /// Looks at every process once; says also why there is none to show, if so.
    ///
    /// # Errors
    /// /proc can't be listed.
    fn read(roster: &mut Roster) -> Result<(Self, Option<Failure>), Failure> {
        let time = SystemTime::now();
        let mut memory = MemoryReader::default();
        let looked = roster.look(|process| snapshot(process, &mut memory))?;
        let nobody = looked.seen.is_empty().then(|| roster.nobody(&looked));
        let Looked { seen, unseen, .. } = looked;
        let snapshots = seen.into_iter().map(|(_, s)| s).collect();
        Ok((Self { time, snapshots, unseen }, nobody))
    }
}

/// Reads one process.
///
/// # Errors
/// It is gone, or its records can't be read consistently.
pub fn snapshot(opened: &LiveProcess, memory: &mut MemoryReader) -> Result<Snapshot, Failure> {
    let LiveProcess { process, path, .. } = opened;
    let failure = |err: crate::runtime::Error| {
        Failure::new(err.exit(), format!("process {}: {err}", process.id.pid))
    };
    let (stats, goroutines) = opened.stats_and_goroutines().map_err(failure)?;
    let memory = opened.memory_use(memory).map_err(not_readable)?;
    Ok(Snapshot {
        id: process.id,
        comm: opened.comm(),
        path: path.clone(),
        go_version: opened.go_version(),
        container: opened.container(),
        workload: naming::workload(process),
        stats,
        goroutines,
        memory,
    })
}

impl Snapshot {
    /// Resident memory that the runtime did not map, at least: all that it mapped may be resident,
    /// but need not. Nothing when the kernel does not tell.
    pub fn off_heap(&self) -> Option<u64> {
        let mapped = self.stats.sys.saturating_sub(self.stats.heap.released);
        Some(self.memory.resident?.saturating_sub(mapped))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::Exit;
    use crate::host::{CgroupMemory, Selection};
    use crate::runtime::stats::made;

    /// A made-up process.
    pub(crate) fn made() -> Snapshot {
        const MIB: u64 = 1 << 20;
        Snapshot {
            id: Identity { pid: 4242, start: 77 },
            comm: "orders".into(),
            path: "/usr/bin/orders".into(),
            go_version: Some("1.27.3".into()),
            container: Some("3f8a6c0d9e1b".into()),
            workload: Workload { container: Some("orders-1".into()), ..Workload::default() },
            stats: made::stats(),
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
        Round { time, snapshots: vec![made()], unseen: vec![unseen] }
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
        let config = |selection| Config { selection, watch: None, json: false, kept: None };
        let failure = finish(round(), &config(Selection::Pids(vec![7]))).unwrap_err();
        assert_eq!(failure.exit, Exit::Unsupported);
        finish(round(), &config(Selection::All)).unwrap();
        assert_eq!(remark(&round()).unwrap(), "process 7: too old");
    }
}
