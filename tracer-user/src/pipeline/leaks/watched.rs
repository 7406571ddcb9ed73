//! One running program, looked at again and again.
//!
//! In: an opened process. Out: what grows in it: lines of its heap profile, goroutines by creator, resident
//! memory that the runtime has not mapped. Each kind of look rests in proportion to what it took.

use std::rc::Rc;
use std::time::Instant;

use super::creators::Creators;
use super::{Finding, Judged, What};
use crate::exit::Failure;
use crate::host::{Identity, MemoryReader};
use crate::pipeline::heap;
use crate::pipeline::naming;
use crate::pipeline::opened::{LiveProcess, not_readable};
use crate::profile::ProcessId;
use crate::profile::trend::{FEWEST, History, Point, SHORTEST, Verdict, judge_level};
use crate::runtime::stats::{Class, Stats};

pub use crate::cli::heap::Config as Heap;

/// How long a look rests, in the time that it took: all three kinds take a tenth of a CPU at most.
const REST: u32 = 30;

/// What is known of a process.
pub struct Watched<'a> {
    process: Rc<LiveProcess>,
    began: Instant,
    heap: heap::Watched<'a>,
    history: History,
    /// Why there is no heap profile.
    no_heap: Option<String>,
    creators: Creators,
    /// Resident memory beyond what the runtime mapped, over time.
    off_heap: Vec<Point>,
    heap_due: Instant,
    creators_due: Instant,
    last: f64,
}

impl<'a> Watched<'a> {
    pub fn new(process: &Rc<LiveProcess>, config: &'a Heap) -> Self {
        let now = Instant::now();
        Self {
            process: Rc::clone(process),
            began: now,
            heap: heap::Watched::new(config),
            history: History::default(),
            no_heap: None,
            creators: Creators::new(process),
            off_heap: Vec::new(),
            heap_due: now,
            creators_due: now,
            last: 0.0,
        }
    }

    pub fn id(&self) -> Identity {
        self.process.process.id
    }

    /// Reads what is due.
    ///
    /// # Errors
    /// The process is gone, or its records can't be read.
    pub fn look(
        &mut self,
        process: &Rc<LiveProcess>,
        memory: &mut MemoryReader,
    ) -> Result<(), Failure> {
        let pid = process.process.id.pid;
        let unreadable =
            |err: crate::runtime::Error| Failure::new(err.exit(), format!("process {pid}: {err}"));
        let at = self.began.elapsed().as_secs_f64();
        let stats = process.stats().map_err(unreadable)?;
        let resident = memory.of(pid).map_err(not_readable)?.resident;
        self.off_heap.extend(resident.map(|resident| Point {
            at,
            live: resident.saturating_sub(mapped(&stats)) as f64,
            ..Point::default()
        }));
        self.history.count(at, stats.collector.cycles, alive(&stats));
        let now = Instant::now();
        if now >= self.creators_due {
            self.creators.look(at, stats.allocated.bytes as f64).map_err(unreadable)?;
            self.creators_due = now + now.elapsed() * REST;
        }
        let now = Instant::now();
        if now >= self.heap_due {
            match self.heap.look(process) {
                Ok(()) => {
                    self.no_heap = None;
                    self.history.add(at, self.heap.profile(), ProcessId(0));
                }
                Err(failure) => self.no_heap = Some(failure.message),
            }
            self.heap_due = now + now.elapsed() * REST;
        }
        self.last = at;
        Ok(())
    }

    /// What grew.
    pub(super) fn judge(mut self) -> Judged {
        let mut findings: Vec<Finding> =
            self.history.grown().into_iter().map(Finding::from).collect();
        findings.extend(self.creators.grown());
        findings.extend(off_heap_grown(&self.off_heap));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.trend.verdict));
        let mut notes = Vec::new();
        match &self.no_heap {
            Some(why) if self.history.looks() == 0 => {
                notes.push(format!("its heap is not judged: {why}"));
            }
            _ => notes.extend(too_early(&self.history, self.last)),
        }
        let LiveProcess { process, path, .. } = &*self.process;
        Judged {
            id: process.id,
            comm: self.process.comm(),
            path: path.clone(),
            go_version: self.process.go_version(),
            container: self.process.container(),
            workload: naming::workload(process),
            span: self.last,
            profiles: self.history.looks(),
            findings,
            notes,
        }
    }
}

/// Memory that is not Go's, if it is more and more.
pub fn off_heap_grown(points: &[Point]) -> Option<Finding> {
    let trend = judge_level(points);
    let live = points.last().map_or(0.0, |point| point.live);
    matches!(trend.verdict, Verdict::Leak | Verdict::Growing)
        .then(|| Finding::without_line(What::OffHeap, trend, live))
}

/// Why nothing is said of a heap, if so.
pub fn too_early(history: &History, watched: f64) -> Option<String> {
    let (looks, span) = (history.looks(), history.span());
    if looks >= FEWEST && span >= SHORTEST.as_secs_f64() {
        return None;
    }
    Some(format!(
        "too early to judge its heap: {looks} heap profiles in {watched:.0} s, over {span:.0} s; it takes \
         {FEWEST}, each of a collection of its own, and {} s (--for looks longer)",
        SHORTEST.as_secs()
    ))
}

/// Objects that are not freed, by the size of their class.
pub fn alive(stats: &Stats) -> impl Iterator<Item = (u64, u64)> {
    let of = |class: &Class| (class.size.into(), class.objects.saturating_sub(class.frees));
    stats.allocated.classes.iter().map(of)
}

/// What the runtime has of the system, as far as it can be resident.
pub fn mapped(stats: &Stats) -> u64 {
    stats.sys.saturating_sub(stats.heap.released)
}
