//! One process, looked at again and again.
//!
//! In: an opened process. Out: its part of each picture. Statistics are read each round; goroutines, the heap and where
//! all that goes in turns with other processes (`turns`), since they take more.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::counters::Counters;
use super::growth::Growth;
use super::heaps::{self, Heaps};
use super::pressure::Pressure;
use crate::agent::asked::Of;
use crate::agent::iterations::Iterations;
use crate::agent::node::{Goroutines, Heap, Kept, Process, Trends, Who};
use crate::agent::pauses::Pauses;
use crate::exit::{Exit, Failure};
use crate::forecast::{Figures, Forecast};
use crate::host::{self, MemoryReader, MemoryUse};
use crate::output::pprof;
use crate::pipeline::forecast::watched::figures;
use crate::pipeline::leaks::creators::Seen;
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::{goroutines, naming};
use crate::profile::Profile;
use crate::runtime::g::{Entry, MAX_GOROUTINES};
use crate::runtime::stats::Stats;

/// How far apart looks at heaps and trends are at least, in rounds.
const APART: u32 = 10;
/// And those at which a heap profile is kept, how many are, and how large one may be.
const KEPT_APART: u32 = 60;
const MOST_KEPT: usize = 12;
const LARGEST_KEPT: usize = 1 << 20;
/// Of more goroutines nobody gets a profile by asking.
const MOST_GOROUTINES: u64 = 100_000;
/// A look that took long comes after this many times as long: one process does not take the turns of all others.
const REST: u32 = 100;
/// Readings that a forecast is made of.
const READINGS: usize = 90;

/// What is known of a process.
pub struct Watched {
    pub process: Rc<LiveProcess>,
    began: Instant,
    who: Arc<Who>,
    counters: Counters,
    pauses: Arc<Pauses>,
    pressure: Pressure,
    /// Its control groups, as of the last look at trends.
    groups: Vec<u8>,
    /// As of the last round.
    last: Option<(Stats, MemoryUse)>,
    /// Names of what goroutines wait for; nothing: not read yet.
    reasons: Option<Vec<String>>,
    goroutines: Option<Arc<Goroutines>>,
    heap: Option<Arc<Heap>>,
    no_heap: Option<Arc<str>>,
    trends: Option<Arc<Trends>>,
    iterations: Option<Arc<Iterations>>,
    /// When iterations over maps were recorded last.
    pub recorded_at: Option<Instant>,
    /// Whether its binary has iterations over maps that can be recorded, as far as is known.
    pub iterates: bool,
    kept: Arc<Vec<Arc<Kept>>>,
    keep_at: Instant,
    readings: Vec<Figures>,
    growth: Growth,
    due: [Instant; 3],
    /// Between two rounds.
    every: Duration,
}

/// Looks that are taken in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Goroutines,
    Heap,
    Trends,
}

const KINDS: [Kind; 3] = [Kind::Goroutines, Kind::Heap, Kind::Trends];

impl Watched {
    pub fn new(process: &Rc<LiveProcess>, now: Instant, every: Duration) -> Self {
        Self {
            process: Rc::clone(process),
            began: now,
            who: Arc::new(who(process)),
            counters: Counters::default(),
            pauses: Arc::default(),
            pressure: Pressure::default(),
            groups: host::groups_of(process.process.id.pid),
            last: None,
            reasons: None,
            goroutines: None,
            heap: None,
            no_heap: None,
            trends: None,
            iterations: None,
            recorded_at: None,
            iterates: true,
            kept: Arc::default(),
            keep_at: now,
            readings: Vec::new(),
            growth: Growth::new(process),
            // Trends are told of something.
            due: [now, now, now + every * APART],
            every,
        }
    }

    pub fn is_of(&self, process: &Rc<LiveProcess>) -> bool {
        Rc::ptr_eq(&self.process, process)
    }

    /// What a round has read, as a part of the picture.
    pub fn round(&mut self, now: Instant, mut stats: Stats, memory: MemoryUse) -> Process {
        self.counters.raise(&mut stats);
        // Rings are large and change seldom.
        if self.pauses.is_behind(&stats.collector) {
            Arc::make_mut(&mut self.pauses).add(&stats.collector);
        }
        stats.collector.pauses = Vec::new();
        let gc = self.pressure.add(now, self.who.id, &stats);
        self.last = Some((stats.clone(), memory));
        Process {
            who: Arc::clone(&self.who),
            stats,
            memory,
            pauses: Arc::clone(&self.pauses),
            gc,
            goroutines: self.goroutines.clone(),
            heap: self.heap.clone(),
            no_heap: self.no_heap.clone(),
            trends: self.trends.clone(),
            iterations: self.iterations.clone(),
            kept: Arc::clone(&self.kept),
        }
    }

    /// Completes a picture's part with what turns have told since.
    pub fn complete(&self, process: &mut Process) {
        process.goroutines.clone_from(&self.goroutines);
        process.heap.clone_from(&self.heap);
        process.no_heap.clone_from(&self.no_heap);
        process.trends.clone_from(&self.trends);
        process.iterations.clone_from(&self.iterations);
        process.kept.clone_from(&self.kept);
    }

    /// What a recording of iterations over maps has given; whether that was something.
    pub fn recorded(&mut self, json: Result<Vec<u8>, Failure>) -> bool {
        self.iterates = json.as_ref().err().is_none_or(|why| why.exit != Exit::Unsupported);
        let seen = Arc::make_mut(self.iterations.get_or_insert_default());
        json.is_ok_and(|json| seen.add(&json).is_ok())
    }

    /// As /proc/PID/cgroup had it.
    pub fn groups(&self) -> &[u8] {
        &self.groups
    }

    /// What is due first, and since when.
    pub fn next(&self) -> (Instant, Kind) {
        let first = self.due.iter().zip(KINDS).min_by_key(|(due, _)| **due);
        first.map_or((self.began, Kind::Goroutines), |(due, kind)| (*due, kind))
    }

    /// Looks.
    ///
    /// # Errors
    /// It is gone, or its records can't be read.
    pub fn turn(
        &mut self,
        kind: Kind,
        heaps: &mut Heaps<'_>,
        memory: &mut MemoryReader,
        top: usize,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let at = (began - self.began).as_secs_f64();
        let (done, least) = match kind {
            Kind::Goroutines => (self.look_at_goroutines(at), Duration::ZERO),
            Kind::Heap => (self.look_at_heap(at, heaps, top), self.every * APART),
            Kind::Trends => {
                self.look_ahead(at, memory);
                (Ok(()), self.every * APART)
            }
        };
        let now = Instant::now();
        if let Some(due) = self.due.get_mut(kind as usize) {
            *due = now + ((now - began) * REST).max(least);
        }
        done
    }

    fn look_at_goroutines(&mut self, at: f64) -> Result<(), Failure> {
        let live = &self.process.live;
        let failure = |err: crate::runtime::Error| {
            let pid = self.process.process.id.pid;
            Failure::new(err.exit(), format!("process {pid}: {err}"))
        };
        let reasons = match self.reasons.take() {
            Some(reasons) => reasons,
            None => live.wait_reasons().map_err(failure)?,
        };
        let (mut seen, mut states) = (Seen::default(), BTreeMap::<(u32, u8), u64>::new());
        let (mut program, mut runtime, mut unreadable) = (0, 0, 0);
        let read = live.each_goroutine(MAX_GOROUTINES, |entry| match entry {
            Entry::Unreadable => unreadable += 1,
            Entry::Dead => {}
            Entry::Live(g) if g.system => runtime += 1,
            Entry::Live(g) => {
                program += 1;
                *states.entry((g.status, g.wait_reason)).or_default() += 1;
                seen.add(&g);
            }
        });
        let mut by_word = BTreeMap::<&str, u64>::new();
        for ((status, reason), count) in states {
            *by_word.entry(goroutines::state(status, reason, &reasons)).or_default() += count;
        }
        let states = by_word.into_iter().map(|(word, count)| (word.to_owned(), count)).collect();
        self.reasons = Some(reasons);
        read.map_err(failure)?;
        let at_time = SystemTime::now();
        let told = Goroutines { at: at_time, program, runtime, unreadable, states };
        self.goroutines = Some(Arc::new(told));
        let allocated = self.last.as_ref().map_or(0, |(stats, _)| stats.allocated.bytes);
        // What grows is judged by looks that are further apart.
        if self.trends_are_due() {
            self.growth.goroutines(at, allocated, &seen.done());
        }
        Ok(())
    }

    fn trends_are_due(&self) -> bool {
        self.due.get(Kind::Trends as usize).is_some_and(|due| *due <= Instant::now())
    }

    fn look_at_heap(&mut self, at: f64, heaps: &mut Heaps<'_>, top: usize) -> Result<(), Failure> {
        match heaps.look(&self.process) {
            Ok(profile) => {
                self.heap = Some(Arc::new(heaps::told(profile, top)));
                self.no_heap = None;
                self.growth.heap(at, profile);
                let now = Instant::now();
                if now >= self.keep_at {
                    self.keep_at = now + self.every * KEPT_APART;
                    keep(&mut self.kept, profile);
                }
                Ok(())
            }
            Err(failure) => {
                self.no_heap = Some(failure.message.as_str().into());
                // A program that keeps no profile is none that can't be read.
                if failure.exit == Exit::Unsupported { Ok(()) } else { Err(failure) }
            }
        }
    }

    /// Lets the oldest profile that is kept go.
    pub fn forget_oldest(&mut self) {
        if !self.kept.is_empty() {
            Arc::make_mut(&mut self.kept).remove(0);
        }
    }

    /// Profiles that are kept, the oldest first.
    pub fn kept(&self) -> &[Arc<Kept>] {
        &self.kept
    }

    /// A profile as of now.
    ///
    /// # Errors
    /// It is gone, keeps no such profile, or has too many goroutines.
    pub fn profile(&mut self, of: Of, heaps: &mut Heaps<'_>) -> Result<Profile, Failure> {
        if of == Of::Heap {
            return heaps.look(&self.process).cloned();
        }
        let count = self.goroutines.as_ref().map_or(0, |told| told.program + told.runtime);
        if count > MOST_GOROUTINES {
            let why = format!(
                "it has {count} goroutines, and the agent reads the stacks of {MOST_GOROUTINES} at most; \
                 heaptap goroutines -p {} reads more",
                self.who.id.pid
            );
            return Err(Failure::new(Exit::Unsupported, why));
        }
        let mut watched = goroutines::Watched::new(&self.process);
        watched.look()?;
        Ok(watched.goroutines().profile(false, None))
    }

    fn look_ahead(&mut self, at: f64, memory: &mut MemoryReader) {
        let Some((stats, used)) = &self.last else { return };
        let id = self.who.id;
        self.groups = host::groups_of(id.pid);
        let group = memory.nearest(id.pid);
        let counted = self.goroutines.as_ref().filter(|told| told.unreadable == 0);
        let counted = counted.map(|told| told.program);
        self.readings.push(figures(at, id, stats, used, counted, group));
        if self.readings.len() > READINGS {
            self.readings.remove(0);
        }
        self.growth.level(at, stats, used.resident);
        let findings = self.growth.judge();
        let forecast = Forecast::of(&self.readings);
        self.trends = Some(Arc::new(Trends { at: SystemTime::now(), forecast, findings }));
    }
}

/// Keeps a profile.
fn keep(kept: &mut Arc<Vec<Arc<Kept>>>, profile: &Profile) {
    let mut bytes = Vec::new();
    let value = profile.meta.default_value;
    // Writing to memory does not fail.
    let written = pprof::write(profile, value, &mut bytes);
    if written.is_err() || bytes.len() > LARGEST_KEPT {
        return;
    }
    let kept = Arc::make_mut(kept);
    if kept.len() == MOST_KEPT {
        kept.remove(0);
    }
    kept.push(Arc::new(Kept { at: SystemTime::now(), pprof: bytes }));
}

fn who(opened: &LiveProcess) -> Who {
    let LiveProcess { process, path, .. } = opened;
    Who {
        id: process.id,
        comm: opened.comm(),
        path: path.clone(),
        go_version: opened.go_version(),
        container: opened.container(),
        workload: naming::workload(process),
    }
}
