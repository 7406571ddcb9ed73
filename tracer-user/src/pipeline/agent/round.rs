//! Rounds: one look at every process, made a picture.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nix::unistd::gethostname;

use super::super::heap;
use super::super::opened::LiveProcess;
use super::super::roster::{Looked, Roster};
use super::super::stats::{Snapshot, snapshot};
use super::super::top::footprint::cpu_time;
use crate::agent::config::Watch;
use crate::agent::node::{Goroutines, Node, Own, Process, Unread, Who};
use crate::agent::push::Figures;
use crate::cli::heap::Config as HeapConfig;
use crate::exit::{Exit, Failure};
use crate::host::{self, Identity, MemoryReader, Selection};
use crate::profile::Profile;

/// Looks again and again.
pub struct Rounds<'a> {
    roster: Roster,
    watch: Watch,
    name: Arc<str>,
    /// Who they are; forgotten when they end.
    known: HashMap<Identity, Arc<Who>>,
    opened: HashMap<Identity, Rc<LiveProcess>>,
    heaps: HashMap<Identity, heap::Watched<'a>>,
    heap: &'a HeapConfig,
    own: Own,
}

impl<'a> Rounds<'a> {
    pub fn new(selection: &Selection, watch: &Watch, heap: &'a HeapConfig) -> Self {
        Self {
            roster: Roster::new(selection),
            watch: watch.clone(),
            name: name(watch),
            known: HashMap::new(),
            opened: HashMap::new(),
            heaps: HashMap::new(),
            heap,
            own: Own::default(),
        }
    }

    /// From now on as said here.
    pub fn set(&mut self, watch: &Watch) {
        self.watch = watch.clone();
        self.name = name(watch);
    }

    /// Looks at every process.
    ///
    /// # Errors
    /// /proc can't be listed.
    pub fn look(&mut self, push: Vec<Figures>) -> Result<Arc<Node>, Failure> {
        let (time, began) = (SystemTime::now(), Instant::now());
        let mut memory = MemoryReader::default();
        let mut room = self.watch.max_processes;
        let mut left_out = 0;
        let looked = self.roster.look(|process| {
            if room == 0 {
                left_out += 1;
                return Ok(None);
            }
            let snapshot = snapshot(process, &mut memory)?;
            room -= 1;
            Ok(Some(snapshot))
        })?;
        let Looked { seen, unseen, .. } = looked;
        self.opened = seen.iter().map(|(one, _)| (one.process.id, Rc::clone(one))).collect();
        self.heaps.retain(|id, _| self.opened.contains_key(id));
        let mut processes: Vec<Arc<Process>> = seen
            .into_iter()
            .filter_map(|(opened, snapshot)| Some(Arc::new(self.process(&opened, snapshot?))))
            .collect();
        processes.sort_by_key(|process| process.who.id.pid);
        self.known.retain(|id, _| processes.iter().any(|process| process.who.id == *id));
        let unread = unseen.into_iter().map(|unseen| Unread {
            pid: unseen.pid,
            comm: unseen.comm,
            reason: unseen.failure.message,
        });
        let unread = unread.collect();
        let own = self.measure(began, left_out);
        Ok(Arc::new(Node { time, name: Arc::clone(&self.name), processes, unread, own, push }))
    }

    /// Reads the heap profile of a process of the last round.
    ///
    /// # Errors
    /// The process is gone, keeps no such profile, or its records can't be read consistently.
    pub fn heap(&mut self, id: Identity) -> Result<&Profile, Failure> {
        let gone = || Failure::new(Exit::Target, format!("process {} is gone", id.pid));
        let opened = self.opened.get(&id).ok_or_else(gone)?;
        let watched = self.heaps.entry(id).or_insert_with(|| heap::Watched::new(self.heap));
        watched.look(opened)?;
        Ok(watched.profile())
    }

    fn process(&mut self, opened: &LiveProcess, snapshot: Snapshot) -> Process {
        let Snapshot { id, comm, path, go_version, container, workload, stats, .. } = snapshot;
        let super::super::stats::Goroutines { program, runtime, unreadable } = snapshot.goroutines;
        debug_assert_eq!(id, opened.process.id);
        let who = Who { id, comm, path, go_version, container, workload };
        let known = self.known.entry(id).or_insert_with(|| Arc::new(who.clone()));
        if **known != who {
            *known = Arc::new(who);
        }
        Process {
            who: Arc::clone(known),
            stats,
            memory: snapshot.memory,
            goroutines: Goroutines { program, runtime, unreadable },
        }
    }

    /// What the round has taken.
    fn measure(&mut self, began: Instant, left_out: u64) -> Own {
        let took = began.elapsed();
        self.own = Own {
            cpu: cpu_time().unwrap_or(self.own.cpu),
            resident: host::memory_use(std::process::id()).ok().and_then(|memory| memory.resident),
            rounds: self.own.rounds + 1,
            late: self.own.late + u64::from(took > self.watch.every),
            took,
            left_out,
        };
        self.own
    }
}

/// What the node is called.
fn name(watch: &Watch) -> Arc<str> {
    let of_host = || Some(gethostname().ok()?.to_string_lossy().into_owned());
    watch.node.clone().or_else(of_host).unwrap_or_default().into()
}
