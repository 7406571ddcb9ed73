//! Rounds: one look at every process, turns of what takes more, and a picture of it all.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::gethostname;

use super::heaps::Heaps;
use super::turns::Allowance;
use super::watched::Watched;
use crate::agent::asked::{Asked, NoProfile};
use crate::agent::config::Watch;
use crate::agent::node::{Node, Own, Process, Unread};
use crate::agent::push::Figures;
use crate::agent::rules::State;
use crate::agent::web::Requests;
use crate::cli::heap::Config as HeapConfig;
use crate::exit::{Exit, Failure};
use crate::host::{self, Identity, MemoryReader, MemoryUse, Selection};
use crate::pipeline::opened::{LiveProcess, not_readable};
use crate::pipeline::roster::{Looked, Roster};
use crate::pipeline::top::footprint::{cpu_time, cpu_time_of_children};
use crate::profile::Profile;
use crate::runtime::stats::Stats;

/// Bytes of all heap profiles that are kept.
const MOST_KEPT: usize = 16 << 20;

/// Looks again and again.
pub struct Rounds<'a> {
    roster: Roster,
    watch: Watch,
    name: Arc<str>,
    /// Forgotten when they end.
    watched: HashMap<Identity, Watched>,
    heaps: Heaps<'a>,
    allowance: Allowance,
    own: Own,
}

/// What a picture has that is not read in its round.
pub struct Beside {
    pub requests: Requests,
    pub push: Vec<Figures>,
    pub judged: State,
}

/// What a round reads of each process; nothing of those for whom there is no room.
type Read = Option<(Instant, Stats, MemoryUse)>;

impl<'a> Rounds<'a> {
    pub fn new(selection: &Selection, watch: &Watch, heap: &'a HeapConfig) -> Self {
        Self {
            roster: Roster::new(selection),
            watch: watch.clone(),
            name: name(watch),
            watched: HashMap::new(),
            heaps: Heaps::new(heap),
            allowance: Allowance::new(watch.cpu, Instant::now()),
            own: Own::default(),
        }
    }

    /// From now on as said here.
    pub fn set(&mut self, watch: &Watch) {
        self.watch = watch.clone();
        self.name = name(watch);
        self.allowance.set(watch.cpu);
    }

    /// Looks at every process.
    ///
    /// # Errors
    /// /proc can't be listed.
    pub fn look(&mut self, beside: Beside) -> Result<Arc<Node>, Failure> {
        let Beside { requests, push, judged } = beside;
        let (time, began) = (SystemTime::now(), Instant::now());
        let mut memory = MemoryReader::default();
        let mut room = self.watch.max_processes;
        let mut left_out = 0;
        let looked = self.roster.look(|process| {
            if room == 0 {
                left_out += 1;
                return Ok(None);
            }
            let read = read(process, self.watched.get(&process.process.id), &mut memory)?;
            room -= 1;
            Ok(Some(read))
        })?;
        let Looked { seen, unseen, .. } = looked;
        let mut processes = self.processes(seen);
        self.turns(&mut memory);
        self.make_room();
        for process in &mut processes {
            if let Some(watched) = self.watched.get(&process.who.id) {
                watched.complete(process);
            }
        }
        processes.sort_by_key(|process| process.who.id.pid);
        let unread = unseen.into_iter().map(|unseen| Unread {
            pid: unseen.pid,
            comm: unseen.comm,
            reason: unseen.failure.message,
        });
        let unread = unread.collect();
        self.measure(began, left_out, requests);
        let processes = processes.into_iter().map(Arc::new).collect();
        let (name, own) = (Arc::clone(&self.name), self.own);
        Ok(Arc::new(Node { time, name, processes, unread, own, push, judged }))
    }

    /// A process of the last round.
    pub fn opened(&self, id: Identity) -> Option<&Rc<LiveProcess>> {
        self.watched.get(&id).map(|watched| &watched.process)
    }

    /// Reads the heap profile of a process of the last round.
    ///
    /// # Errors
    /// The process is gone, keeps no such profile, or its records can't be read consistently.
    pub fn heap(&mut self, id: Identity) -> Result<&Profile, Failure> {
        let gone = || Failure::new(Exit::Target, format!("process {} is gone", id.pid));
        let watched = self.watched.get(&id).ok_or_else(gone)?;
        self.heaps.look(&watched.process)
    }

    /// Whose iterations over maps were not recorded for longest, of those for whom it can be done.
    pub fn next_to_record(&mut self, now: Instant) -> Option<Identity> {
        let able = self.watched.values_mut().filter(|one| one.iterates);
        let next = able.min_by_key(|one| (one.recorded_at, one.process.process.id))?;
        next.recorded_at = Some(now);
        Some(next.process.process.id)
    }

    /// What such a recording has given.
    pub fn recorded(&mut self, id: Identity, json: Result<Vec<u8>, Failure>) {
        let told = match self.watched.get_mut(&id) {
            Some(watched) => watched.recorded(json),
            None => return,
        };
        match told {
            true => self.own.recorded += 1,
            false => self.own.recorded_failed += 1,
        }
    }

    /// What a round has read, as parts of a picture; who is not there any more is forgotten.
    fn processes(&mut self, seen: Vec<(Rc<LiveProcess>, Read)>) -> Vec<Process> {
        let every = self.watch.every;
        let mut processes = Vec::with_capacity(seen.len());
        let mut before = std::mem::take(&mut self.watched);
        for (process, read) in seen {
            let Some((at, stats, memory)) = read else { continue };
            let id = process.process.id;
            // An exec makes another program of it.
            let known = before.remove(&id).filter(|known| known.is_of(&process));
            let mut watched = known.unwrap_or_else(|| Watched::new(&process, at, every));
            processes.push(watched.round(at, stats, memory));
            self.watched.insert(id, watched);
        }
        let has_ended = !before.is_empty();
        drop(before);
        if has_ended {
            self.heaps.forget_ended(self.watched.values().map(|watched| &watched.process));
        }
        processes
    }

    /// Looks that are due, as far as they are allowed now: the one that waits longest first.
    fn turns(&mut self, memory: &mut MemoryReader) {
        loop {
            let now = Instant::now();
            if !self.allowance.allows(now) {
                return;
            }
            let next = self.watched.values_mut().map(|one| (one.next(), one));
            let first = next.min_by_key(|((due, _), one)| (*due, one.process.process.id));
            let Some(((_, kind), one)) = first.filter(|((due, _), _)| *due <= now) else { return };
            let done = one.turn(kind, &mut self.heaps, memory, self.watch.top_stacks);
            // One that has ended is no failure.
            let has_failed = done.is_err() && one.process.is_there();
            let took = now.elapsed();
            self.allowance.took(took);
            self.own.turns += 1;
            self.own.turns_took += took;
            self.own.turns_failed += u64::from(has_failed);
        }
    }

    /// Whether a look that somebody asks for may begin.
    pub fn may_look(&mut self) -> bool {
        self.allowance.allows(Instant::now())
    }

    /// After which time one may.
    pub fn wait(&self) -> Duration {
        self.allowance.wait()
    }

    /// Looks at a process for somebody.
    pub fn answer(&mut self, asked: Asked) {
        if asked.answer.is_closed() {
            return;
        }
        let began = Instant::now();
        let found = self.watched.values_mut().find(|one| one.process.process.id.pid == asked.pid);
        let told = match found {
            None => Err(NoProfile::NoProcess),
            Some(one) => one
                .profile(asked.of, &mut self.heaps)
                .map_err(|failure| NoProfile::Unreadable(failure.message)),
        };
        let took = began.elapsed();
        self.allowance.took(took);
        self.own.turns += 1;
        self.own.turns_took += took;
        // Who asked may have gone.
        let _ = asked.answer.send(told);
    }

    /// Lets the oldest profiles go until there is room for those that are kept.
    fn make_room(&mut self) {
        let bytes_of =
            |one: &Watched| one.kept().iter().map(|kept| kept.pprof.len()).sum::<usize>();
        let mut bytes: usize = self.watched.values().map(bytes_of).sum();
        while bytes > MOST_KEPT {
            let oldest = self.watched.values_mut().filter(|one| !one.kept().is_empty());
            let Some(one) = oldest.min_by_key(|one| one.kept().first().map(|kept| kept.at)) else {
                return;
            };
            bytes -= one.kept().first().map_or(0, |kept| kept.pprof.len());
            one.forget_oldest();
        }
    }

    /// What the round has taken.
    fn measure(&mut self, began: Instant, left_out: u64, requests: Requests) {
        let took = began.elapsed();
        let own = host::memory_use(std::process::id());
        let used = cpu_time().zip(cpu_time_of_children()).map(|(own, others)| own + others);
        self.own = Own {
            cpu: used.unwrap_or(self.own.cpu),
            resident: own.ok().and_then(|memory| memory.resident),
            rounds: self.own.rounds + 1,
            late: self.own.late + u64::from(took > self.watch.every),
            took,
            left_out,
            requests,
            ..self.own
        };
    }
}

/// The part of a look that is taken each round.
fn read(
    opened: &LiveProcess,
    watched: Option<&Watched>,
    memory: &mut MemoryReader,
) -> Result<(Instant, Stats, MemoryUse), Failure> {
    let pid = opened.process.id.pid;
    let at = Instant::now();
    let stats = opened.stats();
    let stats = stats.map_err(|err| Failure::new(err.exit(), format!("process {pid}: {err}")))?;
    let used = match watched {
        Some(watched) => memory.resident(pid, watched.groups()),
        None => memory.resident(pid, &host::groups_of(pid)),
    };
    Ok((at, stats, used.map_err(not_readable)?))
}

/// What the node is called.
fn name(watch: &Watch) -> Arc<str> {
    let of_host = || Some(gethostname().ok()?.to_string_lossy().into_owned());
    watch.node.clone().or_else(of_host).unwrap_or_default().into()
}
