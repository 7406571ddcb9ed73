//! One process whose collections are followed: when it is looked at next, and what is kept of it.
//!
//! In: an opened process. Out: its collections and a course of its heap, both bounded. It is looked at
//! four times in the shortest break that its last collections left, within limits: a program that does
//! not collect costs little, and one that begins to is found out soon.

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::growth::Growing;
use super::merge::Merge;
use super::traps::Image;
use crate::output::gc::Process;
use crate::output::json::unix_ns;
use crate::pipeline::opened::LiveProcess;
use crate::runtime;
use crate::runtime::cycles::{Caught, Cycle, Look, Watcher};
use crate::runtime::memory::MemoryError;

/// Between two looks.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);
/// With a trap, which misses nothing: for the course of the heap, and before the ring is full.
const WITH_TRAP: Duration = Duration::from_millis(20);
/// Until sweeping is over after a collection, and the heap profile can be read.
const UNTIL_SWEPT: Duration = Duration::from_millis(3);
/// Before anything is known of how it collects.
const AT_FIRST: Duration = Duration::from_millis(5);
/// Looks in a break between collections.
const IN_A_BREAK: u64 = 4;
/// A break that lasts this many times as long as the time between two looks makes that longer.
const OF_A_BREAK: u32 = 100;
/// Collections whose breaks count.
const RECENT: usize = 8;
/// Collections that are kept, the newest ones.
const MOST_CYCLES: usize = 100_000;
/// Points of the heap's course that are kept.
const MOST_SAMPLES: usize = 4096;
/// Looks that find nothing to believe before the process is given up.
const MOST_FAILURES: u32 = 100;

pub struct Followed {
    process: Rc<LiveProcess>,
    watcher: Watcher,
    pub report: Process,
    next: Instant,
    failures: u32,
    /// Least time between two points of the heap's course that are kept.
    sampled_every: u64,
    /// Collections that the last look has found.
    new: Range<usize>,
    /// Its trap, if it has one.
    pub trap: Option<Image>,
    /// A collection was not seen in full.
    has_missed: bool,
    /// It was tried, and will not be again.
    pub can_not_be_trapped: bool,
    merge: Merge,
    /// By which stacks its heap grows, where that is wanted.
    pub growing: Option<Growing>,
    /// Number of the last collection that ended.
    ended: Option<u32>,
}

impl Followed {
    pub fn new(process: &Rc<LiveProcess>, report: Process) -> Self {
        Self {
            process: Rc::clone(process),
            watcher: Watcher::default(),
            report,
            next: Instant::now(),
            failures: 0,
            sampled_every: 0,
            new: 0..0,
            trap: None,
            has_missed: false,
            can_not_be_trapped: false,
            merge: Merge::default(),
            growing: None,
            ended: None,
        }
    }

    pub fn process(&self) -> &LiveProcess {
        &self.process
    }

    /// Whether one of its collections was missed, and it has no trap.
    pub fn wants_trap(&self) -> bool {
        self.has_missed && self.trap.is_none() && !self.can_not_be_trapped
    }

    /// Takes what its trap has caught.
    pub fn catch(&mut self, caught: Caught<'_>) {
        if let Some(traps) = &mut self.report.traps {
            *traps += 1;
        }
        let layout = self.process.live.layout();
        if let Some(cycle) = self.watcher.caught(layout, caught) {
            self.merge.catch(cycle);
        }
    }

    /// Whether it is this process and the same exec of it.
    pub fn is(&self, process: &Rc<LiveProcess>) -> bool {
        Rc::ptr_eq(&self.process, process)
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// When to look at it again; nothing: it has ended.
    pub fn due(&self) -> Option<Instant> {
        (!self.report.ended).then_some(self.next)
    }

    /// What the last look has found.
    pub fn new_cycles(&self) -> &[Cycle] {
        self.report.cycles.get(self.new.clone()).unwrap_or_default()
    }

    /// Looks at it; why it is given up, when it is and has not just ended. The `last` look waits for no
    /// trap.
    pub fn look(&mut self, last: bool) -> Option<String> {
        self.new = 0..0;
        if let (true, Some(growing), Some(ended)) = (last, &mut self.growing, self.ended) {
            growing.look_last(&self.process.live, ended);
        }
        let looked = self.watcher.look(&self.process.live);
        let now = unix_ns(SystemTime::now());
        self.report.looks += 1;
        match looked {
            Ok(look) => {
                self.failures = 0;
                self.ended = look.ended.or(self.ended);
                self.take(look, now, last);
                if let (false, Some(growing), Some(ended)) = (last, &mut self.growing, self.ended) {
                    growing.look(&self.process.live, ended);
                }
                self.next = Instant::now() + self.pace();
                None
            }
            Err(runtime::Error::Memory(MemoryError::Gone { .. })) => {
                self.end();
                None
            }
            Err(error) => {
                self.failures += 1;
                self.next = Instant::now() + LONGEST;
                let is_final = matches!(error, runtime::Error::Symbol(_));
                if !is_final && self.failures < MOST_FAILURES {
                    return None;
                }
                self.end();
                Some(error.to_string())
            }
        }
    }

    fn take(&mut self, look: Look, now: u64, last: bool) {
        let report = &mut self.report;
        if report.first_unix_ns == 0 {
            report.first_unix_ns = now;
        }
        // Clocks may be set back.
        report.last_unix_ns = now.max(report.last_unix_ns);
        report.overwritten += u64::from(look.overwritten);
        let ready = self.merge.found(look.cycles, self.trap.is_some() && !last);
        self.keep(ready);
        let report = &mut self.report;
        let Some(sample) = look.sample else { return };
        let due = report.samples.last().is_none_or(|(last, before)| {
            // A change of settings is told at once.
            let settings = (sample.percent, sample.memory_limit);
            now.saturating_sub(*last) >= self.sampled_every
                || (before.percent, before.memory_limit) != settings
        });
        if due {
            report.samples.push((now, sample));
        }
        if report.samples.len() > MOST_SAMPLES {
            let mut index = 0;
            report.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            let watched = report.last_unix_ns.saturating_sub(report.first_unix_ns);
            self.sampled_every = watched / (MOST_SAMPLES as u64 / 2);
        }
    }

    /// What its trap has caught after the last look is the rest.
    fn end(&mut self) {
        self.report.ended = true;
        let rest = self.merge.rest();
        if let Some(last) = rest.last() {
            self.report.last_unix_ns = self.report.last_unix_ns.max(last.end_unix_ns);
        }
        self.keep(rest);
    }

    /// Keeps collections, the newest ones when they are too many.
    fn keep(&mut self, cycles: Vec<Cycle>) {
        let report = &mut self.report;
        let room = MOST_CYCLES.saturating_sub(cycles.len());
        if report.cycles.len() > room {
            // Many at once, so that it is not done for each.
            let surplus = (report.cycles.len() - room).max(MOST_CYCLES / 10);
            report.cycles.drain(..surplus);
            report.dropped += surplus as u64;
        }
        self.has_missed |= cycles.iter().any(|cycle| cycle.detail.is_none());
        let before = report.cycles.len();
        report.cycles.extend(cycles);
        self.new = before..report.cycles.len();
    }

    /// How long to wait for the next look.
    fn pace(&self) -> Duration {
        let pace = match self.trap {
            Some(_) => WITH_TRAP,
            None => pace(&self.report.cycles, self.report.watched()),
        };
        let is_behind =
            |growing: &Growing| self.ended.is_some_and(|ended| growing.is_behind(ended));
        match self.growing.as_ref().is_some_and(is_behind) {
            true => pace.min(UNTIL_SWEPT),
            false => pace,
        }
    }

    /// What is told of it.
    pub fn tell(mut self) -> Process {
        self.report.growth =
            self.growing.take().map(|growing| growing.tell(&self.process.live, &self.report));
        self.report
    }
}

/// From how a program's last collections followed each other, or how long there was none.
fn pace(cycles: &[Cycle], watched: Duration) -> Duration {
    let recent = &cycles[cycles.len().saturating_sub(RECENT)..];
    // A program that is quiet is looked at less often.
    let Some(last) = recent.last() else {
        return AT_FIRST.max(watched / OF_A_BREAK).min(LONGEST);
    };
    // One that was missed left less than there was between two looks.
    let of = |cycle: &Cycle| match (&cycle.detail, cycle.since_last_ns) {
        (Some(detail), Some(since)) => Some(since.saturating_sub(detail.length_ns())),
        (None, _) => Some(0),
        (Some(_), None) => None,
    };
    let shortest = recent.iter().filter_map(of).min();
    let pace = shortest.map_or(AT_FIRST, |ns| Duration::from_nanos(ns / IN_A_BREAK));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let quiet = now.saturating_sub(Duration::from_nanos(last.end_unix_ns));
    pace.max(quiet / OF_A_BREAK).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::gc::made;

    #[test]
    fn who_collects_often_is_looked_at_often() {
        assert_eq!(pace(&[], Duration::ZERO), AT_FIRST);
        assert_eq!(pace(&[], Duration::from_secs(2)), Duration::from_millis(20));
        assert_eq!(pace(&[], Duration::from_secs(200)), LONGEST);
        let pace = |cycles: &[Cycle]| pace(cycles, Duration::from_secs(200));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = now.as_nanos() as u64;
        // Each takes 3 ms.
        let each = |since_ms: u64| Cycle {
            end_unix_ns: now,
            since_last_ns: Some(since_ms * 1_000_000),
            ..made::cycle(7)
        };
        assert_eq!(pace(&[each(23)]), Duration::from_millis(5));
        assert_eq!(pace(&[each(1000), each(4), each(1000)]), SHORTEST);
        assert_eq!(pace(&[each(1000)]), LONGEST);
        let missed = Cycle { detail: None, ..each(1000) };
        assert_eq!(pace(&[each(1000), missed]), SHORTEST);
        let long_ago = Cycle { end_unix_ns: now - 3_000_000_000, ..each(4) };
        let quiet = pace(&[long_ago]);
        assert!(quiet >= Duration::from_millis(30) && quiet <= LONGEST, "{quiet:?}");
    }
}
