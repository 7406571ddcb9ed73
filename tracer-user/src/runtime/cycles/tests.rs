//! Collections read from a made-up process: whole, torn, overwritten.

use super::*;
use crate::gobin::layout::LAYOUTS;
use crate::runtime::live::fake::live;
use crate::runtime::memory::MemoryError;
use crate::runtime::memory::fake::FakeMemory;
use std::cell::Cell;
use std::sync::Arc;
use tracer_common::collection::{CONTROLLER_WORDS, COUNTER_WORDS, WORK_WORDS};

const MEMSTATS: u64 = 0x10_0000;
const CONTROLLER: u64 = 0x20_0000;
const CYCLES: u64 = 0x30_0000;
const PHASE: u64 = 0x40_0000;
const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

type Change = Box<dyn Fn(&FakeMemory, u64, u32)>;

/// A memory that changes by itself: before a read at an address, after so many of the counters.
struct Moving {
    memory: FakeMemory,
    looks: Cell<u32>,
    change: Change,
}

impl Memory for Moving {
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        if (MEMSTATS..MEMSTATS + 0x10_000).contains(&at.0) && into.len() < 100 {
            self.looks.set(self.looks.get() + 1);
        }
        (self.change)(&self.memory, at.0, self.looks.get());
        self.memory.read(at, into)
    }

    fn check(&self) -> Result<(), MemoryError> {
        self.memory.check()
    }
}

/// What the runtime writes, at this release's places.
#[derive(Clone, Copy)]
struct Writer(&'static Layout);

impl Writer {
    fn stat(self, memory: &FakeMemory, offset: u32, value: u64) {
        memory.put_u64(MEMSTATS + u64::from(offset), value);
    }

    fn work(self, memory: &FakeMemory, offset: u32, value: u64) {
        memory.put_u64(CYCLES + u64::from(offset - self.0.work.cycles), value);
    }

    fn counts(self, memory: &FakeMemory, ended: u32, forced: u32) {
        memory.put(MEMSTATS + u64::from(self.0.mstats.numgc), &ended.to_le_bytes());
        memory.put(MEMSTATS + u64::from(self.0.mstats.numforcedgc), &forced.to_le_bytes());
    }

    fn begun(self, memory: &FakeMemory, cycles: u32, phase: u32) {
        memory.put(CYCLES, &cycles.to_le_bytes());
        memory.put(PHASE, &phase.to_le_bytes());
    }

    fn controller(self, memory: &FakeMemory, offset: u32, value: u64) {
        memory.put_u64(CONTROLLER + u64::from(offset), value);
    }

    /// The pause in the ring: collection n ends at n seconds and stopped the program for n µs.
    fn pause(self, memory: &FakeMemory, number: u32) {
        let m = &self.0.mstats;
        let at = 8 * ((number - 1) % m.pause_count);
        self.stat(memory, m.pause_ns + at, 1000 * u64::from(number));
        self.stat(memory, m.pause_end + at, SECOND * u64::from(number));
    }

    /// Collection n in full, and no other has begun.
    fn ended(self, memory: &FakeMemory, number: u32, forced: u32) {
        let (w, c) = (&self.0.work, &self.0.gc_controller);
        let end = SECOND * u64::from(number);
        self.pause(memory, number);
        let values = [
            (w.t_sweep_term, end - 5_000_000),
            (w.t_mark, end - 4_900_000),
            (w.t_mark_term, end - 100_000),
            (w.t_end, end),
            (w.pause_ns, 1000 * u64::from(number)),
            (w.heap0, 10 * MIB),
            (w.heap1, 12 * MIB),
            (w.heap2, 6 * MIB),
            (w.stwprocs, 2 | 4 << 32),
        ];
        for (offset, value) in values {
            self.work(memory, offset, value);
        }
        let values = [
            (c.assist_time, 300_000),
            (c.dedicated_mark_time, 1_000_000),
            (c.fractional_mark_time, 500_000),
            (c.idle_mark_time, 250_000),
            (c.last_heap_goal, 11 * MIB),
            (c.gc_percent_heap_goal, 11 * MIB),
            (c.memory_limit, NO_LIMIT),
            (c.heap_live, 7 * MIB),
            (c.heap_marked, 6 * MIB),
            (c.triggered, u64::MAX),
        ];
        for (offset, value) in values {
            self.controller(memory, offset, value);
        }
        memory.put(CONTROLLER + u64::from(c.gc_percent), &100u32.to_le_bytes());
        self.stat(memory, self.0.mstats.last_gc_nanotime, end);
        self.counts(memory, number, forced);
        self.begun(memory, number, 0);
    }
}

/// After collection 3, of which none was forced.
fn moving(
    layout: &'static Layout,
    change: impl Fn(&FakeMemory, u64, u32) + 'static,
) -> Live<Moving> {
    let made = live(
        layout,
        &[
            (Symbol::MemStats, MEMSTATS),
            (Symbol::GcController, CONTROLLER),
            (Symbol::WorkCycles, CYCLES),
            (Symbol::GcPhase, PHASE),
        ],
    );
    let memory = made.memory;
    memory.map(MEMSTATS, vec![0; layout.mstats.size as usize]);
    memory.map(CONTROLLER, vec![0; layout.gc_controller.size as usize]);
    memory.map(CYCLES, vec![0; 0x100]);
    memory.map(PHASE, vec![0; 8]);
    let writer = Writer(layout);
    (1..=3).for_each(|number| writer.pause(&memory, number));
    writer.ended(&memory, 3, 0);
    let moving = Moving { memory, looks: Cell::new(0), change: Box::new(change) };
    Live::new(Arc::clone(&made.program), made.bias, moving)
}

fn still(layout: &'static Layout) -> (Live<Moving>, Watcher, Writer) {
    let live = moving(layout, |_, _, _| {});
    let mut watcher = Watcher::default();
    let first = watcher.look(&live).unwrap();
    assert_eq!(first.cycles, [], "those before the first look");
    assert_eq!(first.sample.unwrap().live, 7 * MIB);
    (live, watcher, Writer(layout))
}

#[test]
fn a_collection_is_told_once_and_in_full() {
    for layout in &LAYOUTS {
        let (live, mut watcher, writer) = still(layout);
        writer.ended(&live.memory.memory, 4, 1);
        let look = watcher.look(&live).unwrap();
        let [cycle] = &look.cycles[..] else { panic!("{look:?}") };
        let expected = Cycle {
            number: 4,
            end_unix_ns: 4 * SECOND,
            pause_ns: 4000,
            since_last_ns: Some(SECOND),
            trigger: Some(Trigger::Forced),
            detail: Some(Detail {
                sweep_termination_ns: 100_000,
                mark_ns: 4_800_000,
                mark_termination_ns: 100_000,
                assist_ns: 300_000,
                background_ns: 1_500_000,
                idle_ns: 250_000,
                stopped_procs: 2,
                procs: 4,
                heap_before: 10 * MIB,
                heap_after: 12 * MIB,
                live: 6 * MIB,
                goal: Some(11 * MIB),
                goal_by: Some(GoalBy::Gogc),
            }),
        };
        assert_eq!(*cycle, expected, "Go 1.{}", layout.minor);
        assert_eq!(cycle.cpu_share(), Some(2_200_000.0 / 4e9));
        assert_eq!(watcher.look(&live).unwrap().cycles, []);
    }
}

#[test]
fn of_those_that_nobody_looked_at_the_ring_tells_pauses_alone() {
    let (live, mut watcher, writer) = still(&LAYOUTS[7]);
    let memory = &live.memory.memory;
    (4..=9).for_each(|number| writer.pause(memory, number));
    writer.ended(memory, 10, 0);
    let look = watcher.look(&live).unwrap();
    let numbers: Vec<u32> = look.cycles.iter().map(|cycle| cycle.number).collect();
    assert_eq!(numbers, [4, 5, 6, 7, 8, 9, 10]);
    let full: Vec<bool> = look.cycles.iter().map(|cycle| cycle.detail.is_some()).collect();
    assert_eq!(full, [false, false, false, false, false, false, true]);
    assert!(look.cycles.iter().all(|cycle| cycle.pause_ns == 1000 * u64::from(cycle.number)));
    assert!(look.cycles.iter().all(|cycle| cycle.trigger == Some(Trigger::Heap)));
    // Some were forced: nobody knows which.
    (11..=13).for_each(|number| writer.pause(memory, number));
    writer.ended(memory, 14, 2);
    let look = watcher.look(&live).unwrap();
    assert!(look.cycles.iter().all(|cycle| cycle.trigger.is_none()), "{look:?}");
}

#[test]
fn what_the_ring_has_lost_is_counted() {
    let (live, mut watcher, writer) = still(&LAYOUTS[7]);
    let memory = &live.memory.memory;
    (4..=399).for_each(|number| writer.pause(memory, number));
    writer.ended(memory, 400, 0);
    let look = watcher.look(&live).unwrap();
    // The place of 145 may be written to by the next one.
    assert_eq!(look.cycles.first().unwrap().number, 146);
    assert_eq!((look.cycles.len(), look.overwritten), (255, 142));
    assert_eq!(look.cycles[0].since_last_ns, None);
}

#[test]
fn a_record_that_the_next_collection_has_begun_to_overwrite_is_not_believed() {
    let (live, mut watcher, writer) = still(&LAYOUTS[7]);
    let memory = &live.memory.memory;
    writer.ended(memory, 4, 0);
    // gcStart has written the heap's size and cleared the pause.
    writer.work(memory, writer.0.work.heap0, 1);
    writer.work(memory, writer.0.work.pause_ns, 0);
    let look = watcher.look(&live).unwrap();
    assert_eq!(look.cycles[0].detail, None);
    assert_eq!(look.cycles[0].pause_ns, 4000);
    // The next one marks: times of the last one are gone.
    writer.ended(memory, 5, 0);
    writer.begun(memory, 6, 1);
    let look = watcher.look(&live).unwrap();
    assert_eq!(look.cycles[0].detail, None);
    assert!(look.sample.unwrap().collecting);
}

#[test]
fn a_record_that_changes_while_it_is_read_is_not_believed() {
    let layout = &LAYOUTS[7];
    let writer = Writer(layout);
    // gcStart writes the heap's size between the two reads of the record, and nothing else yet.
    let live = moving(layout, move |memory, at, _| {
        if at == PHASE {
            writer.work(memory, layout.work.heap0, 1);
        }
    });
    let mut watcher = Watcher::default();
    watcher.look(&live).unwrap();
    writer.ended(&live.memory.memory, 4, 0);
    let look = watcher.look(&live).unwrap();
    assert_eq!((look.cycles.len(), look.cycles[0].detail), (1, None));
    // A collection that ends in between makes the look void.
    let live = moving(layout, move |memory, at, reads| {
        if at == PHASE && reads == 3 {
            writer.ended(memory, 5, 0);
        }
    });
    let mut watcher = Watcher::default();
    watcher.look(&live).unwrap();
    writer.ended(&live.memory.memory, 4, 0);
    assert_eq!(watcher.look(&live).unwrap(), Look::default());
    let look = watcher.look(&live).unwrap();
    assert_eq!(look.cycles.iter().map(|c| c.number).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn the_end_of_a_collection_is_waited_for() {
    let (live, mut watcher, writer) = still(&LAYOUTS[7]);
    let memory = &live.memory.memory;
    // Mark termination: numforcedgc is counted before numgc.
    writer.begun(memory, 4, 2);
    assert_eq!(watcher.look(&live).unwrap(), Look::default());
    writer.begun(memory, 4, 0);
    writer.counts(memory, 3, 1);
    assert_eq!(watcher.look(&live).unwrap(), Look::default());
    writer.ended(memory, 4, 1);
    assert_eq!(watcher.look(&live).unwrap().cycles[0].trigger, Some(Trigger::Forced));
}

#[test]
fn impossible_records_are_not_believed() {
    let layout = &LAYOUTS[7];
    let w = &layout.work;
    let wrong = [
        (w.t_mark, 1),
        (w.t_end, 1),
        (w.heap1, u64::MAX),
        (w.stwprocs, 0),
        (w.stwprocs, u64::MAX),
        (w.pause_ns, 4001),
    ];
    for (offset, value) in wrong {
        let (live, mut watcher, writer) = still(layout);
        writer.ended(&live.memory.memory, 4, 0);
        writer.work(&live.memory.memory, offset, value);
        let look = watcher.look(&live).unwrap();
        assert_eq!(look.cycles[0].detail, None, "{offset} {value}");
    }
    let (live, mut watcher, _) = still(layout);
    live.memory.memory.gone.set(true);
    let gone = watcher.look(&live).unwrap_err();
    assert!(matches!(gone, Error::Memory(MemoryError::Gone { .. })));
}

fn counted(percent: i32, memory_limit: u64) -> Counted {
    Counted { ended: 1, forced: 0, percent_goal: 20 * MIB, percent, memory_limit, trigger: 9 * MIB }
}

#[test]
fn who_made_the_goal() {
    let free = counted(100, NO_LIMIT);
    let limited = counted(100, 50 * MIB);
    let off = counted(-1, 50 * MIB);
    let of = |goal, before, after, next| goal_by(Some(goal), before, after, next);
    assert_eq!(of(20 * MIB, free, free, false), Some(GoalBy::Gogc));
    assert_eq!(of(20 * MIB, limited, limited, true), Some(GoalBy::Gogc));
    assert_eq!(of(19 * MIB, limited, limited, true), Some(GoalBy::MemoryLimit));
    assert_eq!(of(19 * MIB, off, off, false), Some(GoalBy::MemoryLimit));
    // What GOGC would have made of one that was not the next is not known; nor when it was set.
    assert_eq!(of(19 * MIB, limited, limited, false), None);
    assert_eq!(of(19 * MIB, free, limited, true), None);
    assert_eq!(goal_by(None, free, free, true), None);
}

#[test]
fn why_a_collection_began() {
    let detail = Detail {
        sweep_termination_ns: 0,
        mark_ns: SECOND,
        mark_termination_ns: 0,
        assist_ns: 0,
        background_ns: 0,
        idle_ns: 0,
        stopped_procs: 1,
        procs: 1,
        heap_before: 9 * MIB,
        heap_after: 0,
        live: 0,
        goal: None,
        goal_by: None,
    };
    let cycle = |since: Option<u64>, detail: Option<Detail>| Cycle {
        number: 7,
        end_unix_ns: 1,
        pause_ns: 1,
        since_last_ns: since.map(|seconds| seconds * SECOND),
        trigger: None,
        detail,
    };
    let full = |since| cycle(Some(since), Some(detail));
    assert_eq!(trigger(&full(1), Some(true), None), Some(Trigger::Forced));
    assert_eq!(trigger(&full(1), None, None), None);
    assert_eq!(trigger(&full(121), Some(false), None), Some(Trigger::Heap));
    assert_eq!(trigger(&full(122), Some(false), Some(10 * MIB)), Some(Trigger::Periodic));
    assert_eq!(trigger(&full(122), Some(false), Some(9 * MIB)), Some(Trigger::Heap));
    assert_eq!(trigger(&full(122), Some(false), None), None);
    assert_eq!(trigger(&cycle(Some(121), None), Some(false), Some(1)), None);
    assert_eq!(trigger(&cycle(None, None), Some(false), Some(1)), None);
    let first = Cycle { number: 1, ..cycle(None, None) };
    assert_eq!(trigger(&first, Some(false), None), Some(Trigger::Heap));
}

/// What the trap at the end of a collection reads of a memory.
fn caught(watcher: &mut Watcher, live: &Live<Moving>, layout: &'static Layout) -> Option<Cycle> {
    let read = |at: u64, words: usize| {
        let mut bytes = vec![0; 8 * words];
        live.memory.memory.read(RuntimeAddr(at), &mut bytes).unwrap();
        bytes
    };
    let counters = read(MEMSTATS + u64::from(layout.mstats.numgc), COUNTER_WORDS);
    let (work, controller) = (read(CYCLES, WORK_WORDS), read(CONTROLLER, CONTROLLER_WORDS));
    let end_unix_ns = SECOND * u64::from(Record(&counters).u32(0));
    let caught = Caught { end_unix_ns, counters: &counters, work: &work, controller: &controller };
    watcher.caught(layout, caught)
}

#[test]
fn what_a_trap_reads_is_all_that_is_needed_in_every_release() {
    for layout in &LAYOUTS {
        let (m, w, c) = (&layout.mstats, &layout.work, &layout.gc_controller);
        assert_eq!((m.last_gc_nanotime + 8 - m.numgc) as usize, 8 * COUNTER_WORDS);
        assert!((w.heap2 + 8 - w.cycles) as usize <= 8 * WORK_WORDS);
        assert!(c.mapped_ready as usize + 8 <= 8 * CONTROLLER_WORDS);
        assert!(8 * CONTROLLER_WORDS <= c.size as usize);
    }
}

#[test]
fn a_collection_that_a_trap_has_caught_is_the_one_that_a_look_finds() {
    for layout in &LAYOUTS {
        let (live, mut watcher, writer) = still(layout);
        for (number, forced) in [(4, 0), (5, 1)] {
            writer.ended(&live.memory.memory, number, forced);
            let mut caught = caught(&mut watcher, &live, layout).unwrap();
            let look = watcher.look(&live).unwrap();
            // When the one before ended is not known of the first.
            assert_eq!(caught.since_last_ns.is_some(), number == 5);
            caught.complete(look.cycles[0].clone());
            assert_eq!([caught], look.cycles[..]);
        }
    }
}

#[test]
fn what_a_trap_catches_too_early_is_no_collection() {
    let layout = &LAYOUTS[7];
    let (live, mut watcher, writer) = still(layout);
    // gcSweep calls the same function when the world stays stopped (GODEBUG=gcstoptheworld=2).
    writer.begun(&live.memory.memory, 4, 0);
    assert_eq!(caught(&mut watcher, &live, layout), None);
    (4..=5).for_each(|number| writer.pause(&live.memory.memory, number));
    writer.ended(&live.memory.memory, 5, 1);
    let cycle = caught(&mut watcher, &live, layout).unwrap();
    // Of 4 it is not known whether it was forced.
    assert_eq!((cycle.number, cycle.trigger), (5, None));
    assert_eq!(cycle.detail.unwrap().goal_by, None);
}

#[test]
fn two_looks_at_one_collection_complete_each_other() {
    let (live, mut watcher, writer) = still(&LAYOUTS[7]);
    writer.ended(&live.memory.memory, 4, 0);
    let full = watcher.look(&live).unwrap().cycles.remove(0);
    let partly = Cycle { detail: None, trigger: None, since_last_ns: None, ..full.clone() };
    let mut completed = partly.clone();
    completed.complete(full.clone());
    assert_eq!(completed, full);
    let mut unsure = full.clone();
    unsure.detail.as_mut().unwrap().goal_by = None;
    unsure.complete(full.clone());
    assert_eq!(unsure, full);
    let mut other = Cycle { number: 5, ..partly.clone() };
    other.complete(full.clone());
    assert_eq!(other.detail, None, "another collection");
    let mut other = Cycle { pause_ns: 1, ..partly };
    other.complete(full);
    assert_eq!(other.detail, None, "a contradiction");
}
