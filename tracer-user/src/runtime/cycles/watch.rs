//! Looks at a process again and again and tells the collections that ended in between.
//!
//! What is read must be of one moment: counters and the collection's record are read, then the rest,
//! then both again, in one system call that reads in this order. The record belongs to the last
//! collection from its end until the next one writes its own times into it: when it is the same both
//! times, no other had begun (`work.cycles`), and its pause is the one in the ring, which nobody changes.

use super::{Cycle, Detail, GoalBy, PERIOD_NS, Sample, Trigger};
use crate::address::RuntimeAddr;
use crate::gobin::layout::Layout;
use crate::gobin::symbols::Symbol;
use crate::runtime::live::{Error, Live, Record};
use crate::runtime::memory::{Batch, Memory, Range};
use crate::runtime::pacer::{NO_LIMIT, Pacer};

/// More CPUs has no host.
const MOST_PROCS: u32 = 1 << 16;
/// No heap is larger.
const MOST_BYTES: u64 = 1 << 57;

/// What one look told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Nothing: the collector was between two states, or what was read can't be.
    pub sample: Option<Sample>,
    /// Number of the last collection that ended; nothing as above.
    pub ended: Option<u32>,
    /// Those that ended since the last look, in order.
    pub cycles: Vec<Cycle>,
    /// Collections of which not even the pauses are there any more.
    pub overwritten: u32,
}

/// Counters of collections at a moment that does not lie within the end of one.
#[derive(Clone, Copy, Debug)]
struct Counted {
    ended: u32,
    forced: u32,
    /// The pacer's settings and goal for the collection that comes next, and where it begins.
    percent_goal: u64,
    percent: i32,
    memory_limit: u64,
    trigger: u64,
}

/// Follows the collections of one process.
#[derive(Debug, Default)]
pub struct Watcher {
    last: Option<Counted>,
    /// As of the last collection that a trap has caught, and its end.
    caught: Option<(Counted, u64)>,
    batch: Batch,
}

/// What a trap at the end of a collection has read, while the next one can't begin.
#[derive(Clone, Copy, Debug)]
pub struct Caught<'a> {
    pub end_unix_ns: u64,
    /// From `memstats.numgc` on.
    pub counters: &'a [u8],
    /// From `work.cycles` on.
    pub work: &'a [u8],
    pub controller: &'a [u8],
}

/// One read of everything but the pauses.
struct Raw {
    counted: Counted,
    /// The record of the last collection, when it still is there.
    record: Option<Written>,
    sample: Sample,
}

/// What `work` and the controller say of the last collection.
struct Written {
    pause_ns: u64,
    detail: Detail,
}

impl Watcher {
    /// Looks at the process. The first look tells no collections: those that it finds ended before.
    ///
    /// # Errors
    /// The process is gone, or a variable can't be found.
    pub fn look<M: Memory>(&mut self, live: &Live<M>) -> Result<Look, Error> {
        let Some(raw) = self.read(live)? else {
            live.memory.check()?;
            return Ok(Look::default());
        };
        let mut look =
            Look { sample: Some(raw.sample), ended: Some(raw.counted.ended), ..Look::default() };
        if let Some(last) = self.last {
            let new = raw.counted.ended.wrapping_sub(last.ended);
            // Counters that go back are of another program; check tells.
            if new > 0 && new < u32::MAX / 2 && !self.tell(live, &raw, last, &mut look)? {
                live.memory.check()?;
                return Ok(Look { sample: look.sample, ended: look.ended, ..Look::default() });
            }
        }
        live.memory.check()?;
        self.last = Some(raw.counted);
        Ok(look)
    }

    /// The collection that a trap has caught; nothing when what was read can't be one's end. They come
    /// in order.
    pub fn caught(&mut self, layout: &Layout, caught: Caught<'_>) -> Option<Cycle> {
        let [counters, work, controller] =
            [caught.counters, caught.work, caught.controller].map(Record);
        // The trap lies behind the end of marking.
        let raw = moment(layout, counters, work, controller, 0)?;
        let record = raw.record?;
        let number = raw.counted.ended;
        let before = self.caught.replace((raw.counted, caught.end_unix_ns));
        let before = before.map(|(counted, end)| (counted, Some(end)));
        let before = before.or(self.last.map(|counted| (counted, None)));
        let before = before.filter(|(counted, _)| number.wrapping_sub(counted.ended) == 1);
        let counted = before.map(|(counted, _)| counted);
        let end = before.and_then(|(_, end)| end);
        let mut cycle = Cycle {
            number,
            end_unix_ns: caught.end_unix_ns,
            pause_ns: record.pause_ns,
            since_last_ns: end.and_then(|end| caught.end_unix_ns.checked_sub(end)),
            trigger: None,
            detail: Some(record.detail),
        };
        if let (Some(detail), Some(before)) = (&mut cycle.detail, counted) {
            detail.goal_by = goal_by(detail.goal, before, raw.counted, true);
            let forced = raw.counted.forced.wrapping_sub(before.forced) == 1;
            cycle.trigger = trigger(&cycle, Some(forced), Some(before.trigger));
        }
        Some(cycle)
    }

    /// Everything at one moment; nothing when there was none.
    fn read<M: Memory>(&mut self, live: &Live<M>) -> Result<Option<Raw>, Error> {
        let layout = live.layout();
        let w = &layout.work;
        let counters = self::counters(live)?;
        let cycles = live.address(Symbol::WorkCycles)?;
        // Patch releases move `work` as a whole: only distances within it are the table's.
        let work = Range { at: cycles, len: (w.heap2 + 8 - w.cycles) as usize };
        let controller = live.address(Symbol::GcController)?;
        let ranges = [
            counters,
            work,
            Range { at: live.address(Symbol::GcPhase)?, len: 4 },
            Range { at: controller, len: layout.gc_controller.size as usize },
            work,
            counters,
        ];
        live.memory.read_many(&ranges, &mut self.batch)?;
        let bytes = |index: usize| {
            self.batch.get(index).ok_or_else(|| Error::Implausible {
                what: "a variable of the runtime",
                detail: format!("there is no memory at {}", ranges[index].at),
            })
        };
        let (before, after) = (Record(bytes(0)?), Record(bytes(5)?));
        let (work, again) = (Record(bytes(1)?), Record(bytes(4)?));
        let (phase, controller) = (Record(bytes(2)?).u32(0), Record(bytes(3)?));
        let counts = before.0.get(..8);
        if after.0.get(..8) != counts || again.u32(0) != work.u32(0) {
            return Ok(None);
        }
        let Some(mut raw) = moment(layout, before, work, controller, phase) else {
            return Ok(None);
        };
        if work.0 != again.0 || before.0 != after.0 {
            raw.record = None;
        }
        Ok(Some(raw))
    }

    /// Adds the collections since the last look; false: the ring can't be believed, which another look
    /// mends.
    fn tell<M: Memory>(
        &mut self,
        live: &Live<M>,
        raw: &Raw,
        last: Counted,
        look: &mut Look,
    ) -> Result<bool, Error> {
        let m = &live.layout().mstats;
        let base = live.address(Symbol::MemStats)?;
        let place = |offset: u32, len: usize| Range {
            at: RuntimeAddr(base.0.wrapping_add(offset.into())),
            len,
        };
        let ring = 8 * m.pause_count as usize;
        let ranges = [place(m.pause_ns, ring), place(m.pause_end, ring), counters(live)?];
        live.memory.read_many(&ranges, &mut self.batch)?;
        let bytes = |index| self.batch.get(index).map(Record);
        let (Some(pauses), Some(ends), Some(now)) = (bytes(0), bytes(1), bytes(2)) else {
            return Ok(false);
        };
        let ended = raw.counted.ended;
        // The one that ends now may be writing into the place of the oldest.
        let newest = now.u32(0).wrapping_add(1);
        let is_there = |number: u32| newest.wrapping_sub(number) < m.pause_count;
        let end_of = |number: u32| {
            let at = 8 * (number.wrapping_sub(1) % m.pause_count);
            Some(ends.u64(at)).filter(|ns| number > 0 && is_there(number) && *ns > 0)
        };
        let count = ended.wrapping_sub(last.ended);
        let forced = match raw.counted.forced.wrapping_sub(last.forced) {
            0 => Some(false),
            all if all == count => Some(true),
            _ => None,
        };
        // Of those that are older not even the pauses are there.
        look.overwritten = count.saturating_sub(m.pause_count);
        let mut number = last.ended.wrapping_add(look.overwritten);
        while number != ended {
            number = number.wrapping_add(1);
            let Some(end_unix_ns) = end_of(number) else {
                look.overwritten += 1;
                continue;
            };
            let pause_ns = pauses.u64(8 * (number.wrapping_sub(1) % m.pause_count));
            let written = raw.record.as_ref().filter(|_| number == ended);
            let before = end_of(number.wrapping_sub(1));
            let mut cycle = Cycle {
                number,
                end_unix_ns,
                pause_ns,
                since_last_ns: before.and_then(|before| end_unix_ns.checked_sub(before)),
                trigger: None,
                detail: written.filter(|w| w.pause_ns == pause_ns).map(|w| w.detail),
            };
            if let Some(detail) = &mut cycle.detail {
                detail.goal_by = goal_by(detail.goal, last, raw.counted, count == 1);
            }
            let known = (count == 1).then_some(last.trigger);
            cycle.trigger = trigger(&cycle, forced, known);
            look.cycles.push(cycle);
        }
        Ok(true)
    }
}

/// `numgc`, `numforcedgc` and what follows them up to `last_gc_nanotime`.
fn counters<M: Memory>(live: &Live<M>) -> Result<Range, Error> {
    let m = &live.layout().mstats;
    let at = RuntimeAddr(live.address(Symbol::MemStats)?.0.wrapping_add(m.numgc.into()));
    Ok(Range { at, len: (m.last_gc_nanotime + 8 - m.numgc) as usize })
}

/// What memory says of one moment; nothing when that lies within the begin or the end of a collection, or
/// when it can't be.
fn moment(
    layout: &Layout,
    counters: Record,
    work: Record,
    controller: Record,
    phase: u32,
) -> Option<Raw> {
    let (m, c) = (&layout.mstats, &layout.gc_controller);
    let (ended, forced) = (counters.u32(0), counters.u32(m.numforcedgc - m.numgc));
    let begun = work.u32(0);
    let idle = begun == ended && phase == 0;
    let marking = begun == ended.wrapping_add(1) && phase == 1;
    if !idle && !marking {
        return None;
    }
    let pacer = Pacer::read(controller, c);
    let percent = i32::from_le_bytes(controller.u32(c.gc_percent).to_le_bytes());
    let minor = layout.minor;
    let memory_limit = Some(pacer.memory_limit).filter(|limit| *limit < NO_LIMIT);
    let on = percent >= 0 || memory_limit.is_some();
    let sample = Sample {
        live: controller.u64(c.heap_live),
        goal: on.then(|| pacer.goal(minor)),
        trigger: on.then(|| pacer.trigger(minor)),
        mapped: pacer.mapped,
        memory_limit,
        percent: u32::try_from(percent).ok(),
        collecting: marking,
    };
    if sample.live >= MOST_BYTES || sample.mapped >= MOST_BYTES {
        return None;
    }
    let counted = Counted {
        ended,
        forced,
        percent_goal: pacer.percent_goal,
        percent,
        memory_limit: pacer.memory_limit,
        trigger: sample.trigger.unwrap_or(u64::MAX),
    };
    let end = counters.u64(m.last_gc_nanotime - m.numgc);
    let record = if idle { written(layout, work, controller, end) } else { None };
    Some(Raw { counted, record, sample })
}

/// The record of the collection that ended at `end`; nothing when it can't be that.
fn written(layout: &Layout, work: Record, controller: Record, end: u64) -> Option<Written> {
    let (w, c) = (&layout.work, &layout.gc_controller);
    let u64_of = |offset: u32| work.u64(offset - w.cycles);
    let u32_of = |offset: u32| work.u32(offset - w.cycles);
    if u64_of(w.t_end) != end {
        return None;
    }
    let times = [w.t_sweep_term, w.t_mark, w.t_mark_term, w.t_end].map(u64_of);
    let [sweep_term, mark, mark_term, end] = times;
    let [heap_before, heap_after, live] = [w.heap0, w.heap1, w.heap2].map(u64_of);
    let [assist_ns, dedicated, fractional, idle_ns] =
        [c.assist_time, c.dedicated_mark_time, c.fractional_mark_time, c.idle_mark_time]
            .map(|offset| controller.u64(offset));
    let goal = controller.u64(c.last_heap_goal);
    let [stopped_procs, procs] = [w.stwprocs, w.maxprocs].map(u32_of);
    let sizes = [heap_before, heap_after, live];
    let spent = [assist_ns, dedicated, fractional, idle_ns];
    let plausible = sizes.iter().all(|size| *size < MOST_BYTES)
        && spent.iter().all(|ns| i64::try_from(*ns).is_ok())
        && [stopped_procs, procs].iter().all(|procs| (1..MOST_PROCS).contains(procs));
    if !plausible {
        return None;
    }
    let detail = Detail {
        sweep_termination_ns: mark.checked_sub(sweep_term)?,
        mark_ns: mark_term.checked_sub(mark)?,
        mark_termination_ns: end.checked_sub(mark_term)?,
        assist_ns,
        background_ns: dedicated + fractional,
        idle_ns,
        stopped_procs,
        procs,
        heap_before,
        heap_after,
        live,
        goal: Some(goal).filter(|goal| *goal < MOST_BYTES),
        goal_by: None,
    };
    Some(Written { pause_ns: u64_of(w.pause_ns), detail })
}

/// What made the goal of a collection: what was set before and after it must be the same. The pacer
/// takes the lower of two goals; what GOGC makes was read before the collection, when that was the
/// `next` one.
fn goal_by(goal: Option<u64>, before: Counted, after: Counted, next: bool) -> Option<GoalBy> {
    let set = |at: &Counted| (at.percent, at.memory_limit);
    let goal = goal.filter(|_| set(&before) == set(&after))?;
    if before.memory_limit >= NO_LIMIT {
        return Some(GoalBy::Gogc);
    }
    if before.percent < 0 {
        return Some(GoalBy::MemoryLimit);
    }
    let by = if goal < before.percent_goal { GoalBy::MemoryLimit } else { GoalBy::Gogc };
    next.then_some(by)
}

/// Why a collection began, by the runtime's own rule (`gcTrigger.test`). `at` is the size of the heap at
/// which it was to begin, where that is known.
fn trigger(cycle: &Cycle, forced: Option<bool>, at: Option<u64>) -> Option<Trigger> {
    if forced? {
        return Some(Trigger::Forced);
    }
    // The first one has no time to count from.
    let Some(since) = cycle.since_last_ns else {
        return (cycle.number == 1).then_some(Trigger::Heap);
    };
    let began = since.saturating_sub(cycle.detail.map_or(0, |detail| detail.length_ns()));
    if began <= PERIOD_NS {
        return Some(Trigger::Heap);
    }
    let (heap, at) = (cycle.detail?.heap_before, at?);
    Some(if heap >= at { Trigger::Heap } else { Trigger::Periodic })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
