//! Rounds: what every process tells, into the model.

use std::rc::Rc;
use std::time::SystemTime;

use super::footprint::Own;
use crate::cli::top::Config;
use crate::exit::Failure;
use crate::host::{Identity, MemoryReader, Selection};
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::roster::{Looked, Roster};
use crate::pipeline::stats::{Snapshot, snapshot};
use crate::tui::model::Model;
use crate::tui::model::process::{Look, Unread};

/// Keeps processes open between rounds.
pub struct Reading {
    roster: Roster,
    selection: Selection,
    own: Own,
    /// Those that the last round has read.
    seen: Vec<Rc<LiveProcess>>,
    /// Why the first process that was asked for by pid could not be read.
    failure: Option<Failure>,
}

impl Reading {
    pub fn new(config: &Config) -> Self {
        Self {
            roster: Roster::new(&config.selection),
            selection: config.selection.clone(),
            own: Own::default(),
            seen: Vec::new(),
            failure: None,
        }
    }

    /// Reads every process once.
    ///
    /// # Errors
    /// /proc can't be listed; in the first round also that nothing is there of what was asked for.
    pub fn round(&mut self, model: &mut Model, first: bool) -> Result<(), Failure> {
        let time = SystemTime::now();
        let mut memory = MemoryReader::default();
        let looked = self.roster.look(|process| snapshot(process, &mut memory))?;
        if first && !self.selection.is_all() && looked.seen.is_empty() {
            return Err(self.roster.nobody(&looked));
        }
        let Looked { seen, unseen, .. } = looked;
        if first && self.roster.is_named() {
            self.failure = unseen.first().map(|unseen| unseen.failure.clone());
        }
        let (processes, looks) =
            seen.into_iter().map(|(process, snapshot)| (process, look(snapshot))).unzip();
        self.seen = processes;
        let unread = unseen.into_iter().map(|unseen| Unread {
            pid: unseen.pid,
            comm: unseen.comm,
            reason: unseen.failure.message,
        });
        model.update(time, looks, unread.collect());
        model.footprint = self.own.measure();
        Ok(())
    }

    /// A process that the last round has read.
    pub fn process(&self, id: Identity) -> Option<&Rc<LiveProcess>> {
        self.seen.iter().find(|process| process.process.id == id)
    }

    /// Whether processes were asked for by pid and none is left.
    pub fn has_ended(&self, model: &Model) -> bool {
        self.roster.is_named() && model.list.totals().processes == 0
    }

    /// What is missing of what was asked for by pid.
    ///
    /// # Errors
    /// The first of those that could not be read.
    pub fn verdict(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

fn look(snapshot: Snapshot) -> Look {
    let Snapshot { id, comm, path, go_version, container, workload, stats, .. } = snapshot;
    Look {
        id,
        comm,
        path,
        go_version,
        container,
        workload,
        stats,
        goroutines: snapshot.goroutines.program,
        memory: snapshot.memory,
    }
}
