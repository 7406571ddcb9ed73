//! Lists made by hand: every release's records, cycles under way, and what can't be.

use std::cell::{Cell, RefCell};

use super::*;
use crate::gobin::layout::{LAYOUTS, Layout};
use crate::runtime::live::fake::live;
use crate::runtime::memory::MemoryError;
use crate::runtime::memory::fake::FakeMemory;

const HEAD: u64 = 0x1000;
const RATE: u64 = 0x1008;
const CYCLE: u64 = 0x1010;
const SWEEP: u64 = 0x1018;
const BEGUN: u64 = 0x1020;
const LOCK: u64 = 0x1028;
const TICKS: u64 = 0x1100;
const FIRST: u64 = 0x40_0000;

const SYMBOLS: [(Symbol, u64); 11] = [
    (Symbol::MBuckets, HEAD),
    (Symbol::BBuckets, HEAD),
    (Symbol::XBuckets, HEAD),
    (Symbol::MemProfileRate, RATE),
    (Symbol::BlockProfileRate, RATE),
    (Symbol::MutexProfileRate, RATE),
    (Symbol::MProfCycle, CYCLE),
    (Symbol::Ticks, TICKS),
    (Symbol::SweepState, SWEEP),
    (Symbol::WorkCycles, BEGUN),
    (Symbol::ProfMemActiveLock, LOCK),
];

type Mutation = dyn FnMut(&FakeMemory, usize);

/// Memory that changes while it is read.
struct Moving {
    memory: FakeMemory,
    /// Called before each read with the number of reads before it.
    change: RefCell<Box<Mutation>>,
    reads: Cell<usize>,
}

impl Memory for Moving {
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        self.change.borrow_mut()(&self.memory, self.reads.get());
        self.reads.set(self.reads.get() + 1);
        self.memory.read(at, into)
    }

    fn check(&self) -> Result<(), MemoryError> {
        self.memory.check()
    }
}

/// Allocations and frees of active and the three cycles to come.
type Numbers = [(u64, u64); 4];

struct Made {
    layout: &'static Layout,
    memory: FakeMemory,
    end: u64,
}

impl Made {
    fn new(layout: &'static Layout) -> Self {
        let memory = FakeMemory::default();
        memory.map(HEAD, vec![0; 4096]);
        // Backed by one mapping, as persistentalloc does it.
        memory.map(FIRST, vec![0; 1 << 18]);
        memory.put_u64(RATE, 512 << 10);
        memory.put(CYCLE, &2u32.to_le_bytes());
        Self { layout, memory, end: FIRST }
    }

    /// Puts a bucket in front of the list and gives its address.
    fn bucket(&mut self, kind: Kind, pcs: &[u64], size: u64) -> u64 {
        let at = self.end;
        let layout = &self.layout.bucket;
        let head = self.head();
        let put = |offset: u32, value| self.memory.put_u64(at + u64::from(offset), value);
        put(layout.allnext, head);
        put(layout.typ, kind.word);
        put(layout.slot_size, size);
        put(layout.nstk, pcs.len() as u64);
        for (i, pc) in pcs.iter().enumerate() {
            put(layout.size + 8 * i as u32, *pc);
        }
        self.memory.put_u64(HEAD, at);
        self.end = self.record(at, pcs.len()) + 128;
        at
    }

    fn head(&self) -> u64 {
        let mut word = [0; 8];
        self.memory.read(RuntimeAddr(HEAD), &mut word).unwrap();
        u64::from_le_bytes(word)
    }

    fn record(&self, at: u64, pcs: usize) -> u64 {
        at + u64::from(self.layout.bucket.size) + 8 * pcs as u64
    }

    fn heap(&mut self, pcs: &[u64], size: u64, numbers: Numbers) -> u64 {
        let at = self.bucket(HEAP, pcs, size);
        let record = self.record(at, pcs.len());
        put_numbers(&self.memory, self.layout, record, size, numbers);
        at
    }

    fn live(self) -> Live<FakeMemory> {
        let mut live = live(self.layout, &SYMBOLS);
        live.memory = self.memory;
        live
    }

    fn moving(self, change: impl FnMut(&FakeMemory, usize) + 'static) -> Live<Moving> {
        let Live { program, bias, .. } = live(self.layout, &SYMBOLS);
        let change = RefCell::new(Box::new(change) as Box<_>);
        Live::new(program, bias, Moving { memory: self.memory, change, reads: Cell::new(0) })
    }
}

fn put_numbers(memory: &FakeMemory, layout: &Layout, record: u64, size: u64, numbers: Numbers) {
    let (mem, cycle) = (&layout.mem_record, &layout.mem_cycle);
    for (i, (allocs, frees)) in numbers.into_iter().enumerate() {
        let base = match i {
            0 => mem.active,
            i => mem.future + (i as u32 - 1) * cycle.size,
        };
        let put = |offset: u32, n| memory.put_u64(record + u64::from(base + offset), n);
        put(cycle.allocs, allocs);
        put(cycle.frees, frees);
        if let (Some(allocated), Some(freed)) = (cycle.alloc_bytes, cycle.free_bytes) {
            put(allocated, allocs * size);
            put(freed, frees * size);
        }
    }
}

fn counts(records: &HeapRecords) -> Vec<(u64, u64)> {
    records.buckets.iter().map(|b| (b.allocs, b.frees)).collect()
}

/// Go 1.19 to 1.26 keep bytes in the record, Go 1.27 does not; the cycle word is 2: cycle 1, to be
/// flushed.
#[test]
fn what_pprof_would_publish_in_every_release() {
    for layout in &LAYOUTS {
        let mut made = Made::new(layout);
        made.heap(&[0x10, 0x20], 64, [(5, 1), (100, 0), (3, 2), (200, 0)]);
        made.heap(&[0x30], 16, [(0, 0), (7, 0), (0, 0), (0, 0)]);
        let records = made.live().heap_records(Limits::default()).unwrap();
        assert_eq!(counts(&records), [(0, 0), (8, 3)], "Go 1.{}", layout.minor);
        assert_eq!((records.rate, records.cycles), (512 << 10, (1, 1)));
        assert!(records.collected && records.refused == 0);
        let pcs = records.stacks.get(&records.buckets[1].stack);
        assert_eq!(
            (pcs, records.buckets[1].size),
            (&[RuntimeAddr(0x10), RuntimeAddr(0x20)][..], 64)
        );
    }
}

#[test]
fn before_the_first_collection_everything_counts() {
    let mut made = Made::new(&LAYOUTS[7]);
    made.memory.put(CYCLE, &0u32.to_le_bytes());
    made.heap(&[0x10], 64, [(0, 0), (0, 0), (0, 0), (9, 0)]);
    let records = made.live().heap_records(Limits::default()).unwrap();
    assert_eq!((counts(&records), records.collected), (vec![(9, 0)], false));
}

#[test]
fn no_bucket_is_an_empty_profile() {
    let records = Made::new(&LAYOUTS[3]).live().heap_records(Limits::default()).unwrap();
    assert!(records.buckets.is_empty() && !records.collected);
}

/// A collection ends between the looks: the next attempt is of the new cycle alone.
#[test]
fn a_cycle_that_ends_meanwhile_is_read_again() {
    let layout = &LAYOUTS[6];
    let mut made = Made::new(layout);
    let at = made.heap(&[0x10], 64, [(5, 1), (0, 0), (3, 2), (20, 4)]);
    let record = made.record(at, 1);
    // The first look is six reads: three words, and three for a window.
    let live = made.moving(move |memory, reads| {
        if reads == 6 {
            memory.put(CYCLE, &4u32.to_le_bytes());
        }
    });
    let records = live.heap_records(Limits::default()).unwrap();
    assert_eq!((counts(&records), records.cycles), (vec![(25, 5)], (2, 2)));
    // And a flush between the looks, which changes no number that is published.
    let mut made = Made::new(layout);
    made.heap(&[0x10], 64, [(5, 1), (0, 0), (3, 2), (20, 4)]);
    let live = made.moving(move |memory, reads| {
        if reads == 6 {
            memory.put(CYCLE, &3u32.to_le_bytes());
            put_numbers(memory, layout, record, 64, [(8, 3), (0, 0), (0, 0), (20, 4)]);
        }
    });
    let records = live.heap_records(Limits::default()).unwrap();
    assert_eq!(counts(&records), [(8, 3)]);
}

/// Who flushes was stopped after it added a bucket's counts, and before it took them from where they were: both looks
/// would agree on 8 + 3.
#[test]
fn counts_that_are_being_added_up_are_waited_for() {
    let layout = &LAYOUTS[7];
    let torn = [(8, 3), (0, 0), (3, 2), (20, 4)];
    let made = || {
        let mut made = Made::new(layout);
        let at = made.heap(&[0x10], 64, torn);
        made.memory.put_u64(LOCK, 1);
        put_state(&made.memory, 1, 1, DRAINED);
        (made.record(at, 1), made)
    };
    let (record, goes_on) = made();
    let live = goes_on.moving(move |memory, reads| {
        if reads == 10 {
            put_numbers(memory, layout, record, 64, [(8, 3), (0, 0), (0, 0), (20, 4)]);
            memory.put_u64(LOCK, 0);
        }
    });
    let records = live.heap_records(Limits::default()).unwrap();
    assert_eq!((counts(&records), records.unsettled), (vec![(8, 3)], false));
    // Taken, held and given back between two looks, whatever they agree on.
    let (_, begins) = made();
    begins.memory.put_u64(LOCK, 0);
    let live = begins.moving(|memory, reads| memory.put_u64(LOCK, u64::from(reads % 50 == 6)));
    live.heap_records(Limits::default()).unwrap();
    assert!(live.memory.reads.get() > 12, "believed at once");
    // For ever: it is told.
    let stopped = made().1.live();
    let records = stopped.heap_records(Limits::default()).unwrap();
    assert_eq!((counts(&records), records.unsettled), (vec![(11, 5)], true));
    assert_eq!(stopped.heap_as_of(&mut Known::default(), Limits::default()).unwrap(), None);
}

/// Collections all the time: every bucket is of a cycle of its own, and that is told.
#[test]
fn cycles_that_never_stand_still_are_told() {
    let layout = &LAYOUTS[5];
    let mut made = Made::new(layout);
    made.heap(&[0x10], 64, [(5, 1), (1, 1), (1, 1), (1, 1)]);
    made.end = FIRST + (1 << 17);
    made.heap(&[0x20], 64, [(6, 1), (1, 1), (1, 1), (1, 1)]);
    // An attempt is nine reads here: three words, and three for each of two windows.
    let live = made.moving(|memory, reads| {
        let cycle = reads as u32 / 9 * 2 + u32::from(reads % 9 >= 6);
        memory.put(CYCLE, &(2 * cycle).to_le_bytes());
    });
    let records = live.heap_records(Limits::default()).unwrap();
    assert_eq!(counts(&records), [(7, 2), (6, 2)]);
    assert!(records.unsettled && records.cycles.0 < records.cycles.1, "{:?}", records.cycles);
}

#[test]
fn lists_that_lead_back_or_nowhere_are_errors() {
    for length in [1, 2, 3, 7, 100] {
        let mut made = Made::new(&LAYOUTS[4]);
        let first = made.heap(&[0x10], 64, [(1, 0); 4]);
        for _ in 1..length {
            made.heap(&[0x10], 64, [(1, 0); 4]);
        }
        let next = first + u64::from(made.layout.bucket.allnext);
        made.memory.put_u64(next, made.head());
        let error = made.live().heap_records(Limits::default()).unwrap_err();
        assert!(error.to_string().contains("leads back"), "{length}: {error}");
    }
    for next in [8, 0x40_0004, u64::MAX - 7, 0xffff_8000_0000_0000] {
        let mut made = Made::new(&LAYOUTS[4]);
        let first = made.heap(&[0x10], 64, [(1, 0); 4]);
        made.memory.put_u64(first + u64::from(made.layout.bucket.allnext), next);
        let error = made.live().heap_records(Limits::default()).unwrap_err();
        assert!(error.to_string().contains("it leads to"), "{next:#x}: {error}");
    }
}

#[test]
fn what_can_not_be_is_counted_and_the_rest_is_read() {
    let mut made = Made::new(&LAYOUTS[7]);
    let layout = made.layout.bucket;
    made.heap(&[0x10], 64, [(4, 1), (0, 0), (0, 0), (0, 0)]);
    for (field, value) in [
        (layout.nstk, u64::MAX),
        (layout.nstk, MAX_STACK + 1),
        (layout.slot_size, 1 << 60),
        (layout.typ, 2),
    ] {
        let at = made.heap(&[0x10], 64, [(1, 0); 4]);
        made.memory.put_u64(at + u64::from(field), value);
    }
    made.heap(&[0x10], 64, [(1, 2), (0, 0), (0, 0), (0, 0)]);
    made.heap(&[0x10], 1 << 40, [(1 << 40, 2), (0, 0), (0, 0), (0, 0)]);
    let records = made.live().heap_records(Limits::default()).unwrap();
    assert_eq!((counts(&records), records.refused), (vec![(4, 1)], 6));
}

#[test]
fn limits_hold() {
    let made = || {
        let mut made = Made::new(&LAYOUTS[7]);
        for _ in 0..10 {
            made.heap(&[0x10], 64, [(1, 0); 4]);
        }
        made.live()
    };
    let limits = Limits { buckets: 9, ..Limits::default() };
    let error = made().heap_records(limits).unwrap_err();
    assert!(error.to_string().contains("10, more than the 9"), "{error}");
    let limits = Limits { memory: 1 << 10, ..Limits::default() };
    assert!(made().heap_records(limits).unwrap_err().to_string().contains("--max-memory"));
    assert!(made().heap_records(Limits { buckets: 10, ..Limits::default() }).is_ok());
    let gone = made();
    gone.memory.gone.set(true);
    assert!(matches!(gone.heap_records(Limits::default()), Err(Error::Memory(_))));
}

#[test]
fn contention_with_its_rate_and_clock() {
    for layout in &LAYOUTS {
        let mut made = Made::new(layout);
        for (count, cycles) in [(2.5f64, 9000u64), (f64::NAN, 1), (1.0, u64::MAX)] {
            let at = made.bucket(MUTEX, &[0x10, 0x20], 0);
            let record = made.record(at, 2);
            made.memory.put_u64(record + u64::from(layout.block_record.count), count.to_bits());
            made.memory.put_u64(record + u64::from(layout.block_record.cycles), cycles);
        }
        made.memory.put_u64(RATE, 5);
        made.memory.put_u64(TICKS + u64::from(layout.ticks.val), 2_000_000_000);
        let live = made.live();
        let records = live.contention_records(Contention::Mutex, Limits::default()).unwrap();
        let found: Vec<_> = records.buckets.iter().map(|b| (b.count, b.cycles)).collect();
        assert_eq!((found, records.refused), (vec![(2.5, 9000)], 2));
        assert_eq!((records.rate, records.ticks_per_second), (5, Some(2_000_000_000)));
        let block = live.contention_records(Contention::Block, Limits::default()).unwrap();
        assert_eq!((block.buckets.len(), block.refused), (0, 3), "they are of the other kind");
    }
}

/// A record that is written while it is read is read until it is the same twice.
#[test]
fn contention_goes_on_meanwhile() {
    let layout = &LAYOUTS[2];
    let mut made = Made::new(layout);
    let at = made.bucket(BLOCK, &[0x10], 0);
    let record = made.record(at, 1);
    let live = made.moving(move |memory, reads| {
        let events = reads.min(20) as u64;
        let half = u64::from(reads % 2 == 1 && reads < 20);
        memory.put_u64(record, ((events + half) as f64).to_bits());
        memory.put_u64(record + 8, events * 10);
    });
    let records = live.contention_records(Contention::Block, Limits::default()).unwrap();
    assert_eq!((records.buckets[0].count, records.buckets[0].cycles), (20.0, 200));
}

#[test]
fn counts_that_cannot_be_are_compared_without_harm() {
    let counts = |allocs, frees| AsOf { counts: vec![Counts { allocs, frees }], ..AsOf::default() };
    let (first, second) = (counts(0, 0), counts(u64::MAX, u64::MAX));
    let changes: Vec<Change> = second.since(&first).collect();
    assert_eq!((changes.len(), changes[0].frees), (1, u64::MAX));
    assert_eq!(first.since(&first).count(), 0);
}

const DRAINED: u32 = 1 << 31;

fn put_state(memory: &FakeMemory, cycle: u32, begun: u32, sweep: u32) {
    memory.put(CYCLE, &(cycle << 1).to_le_bytes());
    memory.put(BEGUN, &begun.to_le_bytes());
    memory.put(SWEEP, &sweep.to_le_bytes());
}

/// As of which collection, and counts by age of the bucket.
fn as_of<M: Memory>(live: &Live<M>, known: &mut Known) -> Option<(u32, Vec<(u64, u64)>)> {
    let read = live.heap_as_of(known, Limits::default()).unwrap()?;
    let newest = live.newest_heap().unwrap();
    assert_eq!(newest, (Some(read.collection), read.rate));
    Some((read.collection, read.counts.iter().map(|c| (c.allocs, c.frees)).collect()))
}

/// Cycle 4: what is due lies in place 1, what this collection frees in 2, what is allocated in 0.
#[test]
fn each_collection_has_its_own_counts_whatever_was_moved() {
    for layout in &LAYOUTS {
        let mut made = Made::new(layout);
        let at = made.heap(&[0x10], 64, [(50, 5), (1000, 0), (20, 2), (300, 7)]);
        let record = made.record(at, 1);
        let live = made.live();
        let read = |cycle, begun, sweep, numbers: Option<Numbers>| {
            put_state(&live.memory, cycle, begun, sweep);
            if let Some(numbers) = numbers {
                put_numbers(&live.memory, layout, record, 64, numbers);
            }
            as_of(&live, &mut Known::default())
        };
        // Sweeping goes on: collection 3 alone is final. So it is when what was due was moved.
        let third = Some((3, vec![(70, 7)]));
        assert_eq!(read(4, 4, 2, None), third);
        assert_eq!(read(4, 4, 0, Some([(70, 7), (1000, 0), (0, 0), (300, 7)])), third);
        // It is over.
        let fourth = Some((4, vec![(370, 14)]));
        assert_eq!(read(4, 4, DRAINED, None), fourth);
        // runtime.GC has moved what pprof would have shown after the next one.
        assert_eq!(read(4, 4, DRAINED, Some([(370, 14), (1000, 0), (0, 0), (0, 0)])), fourth);
        // The next one marks.
        assert_eq!(read(4, 5, DRAINED, None), fourth);
        // It ends: sweeping has begun, and the cycle not.
        assert_eq!(read(4, 5, 0, None), None);
        assert_eq!(live.newest_heap().unwrap(), (None, 512 << 10));
        // It has ended: 1,000 more.
        assert_eq!(read(5, 5, 1, None), fourth);
        assert_eq!(read(5, 5, DRAINED, None), Some((5, vec![(1370, 14)])));
        // Drained, and somebody still sweeps.
        assert_eq!(read(5, 5, DRAINED | 1, None), fourth);
    }
}

#[test]
fn before_the_first_collection_nothing_was_allocated() {
    let mut made = Made::new(&LAYOUTS[0]);
    made.heap(&[0x10], 64, [(0, 0), (0, 0), (0, 0), (9, 0)]);
    let live = made.live();
    put_state(&live.memory, 0, 0, DRAINED);
    assert_eq!(as_of(&live, &mut Known::default()), Some((0, vec![(0, 0)])));
    // The first one's sweep.
    put_state(&live.memory, 1, 1, 3);
    assert_eq!(as_of(&live, &mut Known::default()), Some((0, vec![(0, 0)])));
    put_state(&live.memory, 1, 1, DRAINED);
    assert_eq!(as_of(&live, &mut Known::default()), Some((1, vec![(9, 0)])));
}

#[test]
fn changes_are_those_of_the_same_bucket() {
    let mut made = Made::new(&LAYOUTS[7]);
    put_state(&made.memory, 3, 3, DRAINED);
    let old = made.heap(&[0x10, 0x20], 64, [(5, 1), (0, 0), (0, 0), (0, 0)]);
    let record = made.record(old, 2);
    let live = made.live();
    let mut known = Known::default();
    let first = live.heap_as_of(&mut known, Limits::default()).unwrap().unwrap();
    assert_eq!((first.collection, first.rate, first.refused), (3, 512 << 10, 0));
    let mut made = Made { layout: live.layout(), memory: live.memory, end: old + 256 };
    made.heap(&[0x30], 16, [(7, 2), (0, 0), (0, 0), (0, 0)]);
    made.heap(&[0x40], 32, [(0, 0), (0, 0), (0, 0), (0, 0)]);
    put_numbers(&made.memory, made.layout, record, 64, [(6, 4), (0, 0), (0, 0), (0, 0)]);
    put_state(&made.memory, 5, 5, DRAINED);
    let live = made.live();
    let second = live.heap_as_of(&mut known, Limits::default()).unwrap().unwrap();
    let changes: Vec<Change> = second.since(&first).collect();
    let old = Change { bucket: 0, before: 4, allocs: 1, frees: 3 };
    assert_eq!(changes, [old, Change { bucket: 1, before: 0, allocs: 7, frees: 2 }]);
    let stack = |index| known.bucket(index).map(|(stack, size)| (stack.to_vec(), size));
    assert_eq!(stack(0), Some((vec![RuntimeAddr(0x10), RuntimeAddr(0x20)], 64)));
    assert_eq!(stack(1), Some((vec![RuntimeAddr(0x30)], 16)));
    assert_eq!(stack(3), None);
    // Another list is another program's.
    live.memory.put_u64(HEAD, FIRST + 256);
    live.memory.put_u64(FIRST + 256 + u64::from(live.layout().bucket.allnext), 0);
    let error = live.heap_as_of(&mut known, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("is not the one that it was"), "{error}");
}

#[test]
fn what_is_no_collections_profile_is_refused() {
    let made = Made::new(&LAYOUTS[0]);
    let live = made.live();
    // Each collection counts twice.
    put_state(&live.memory, 6, 3, DRAINED);
    let error = live.heap_as_of(&mut Known::default(), Limits::default()).unwrap_err();
    assert!(error.to_string().contains("gcstoptheworld"), "{error}");
    assert!(live.newest_heap().is_err());
    // The number starts again.
    put_state(&live.memory, 1, 3 * (2 << 24) + 1, DRAINED);
    assert_eq!(live.newest_heap().unwrap().0, Some(3 * (2 << 24) + 1));
}

/// A collection ends between two looks: neither is believed.
#[test]
fn a_profile_that_moves_on_is_read_again() {
    let mut made = Made::new(&LAYOUTS[3]);
    let at = made.heap(&[0x10], 64, [(1, 0), (2, 0), (4, 0), (8, 0)]);
    let record = made.record(at, 1);
    let layout = made.layout;
    put_state(&made.memory, 4, 4, DRAINED);
    let mut ended = false;
    let live = made.moving(move |memory, reads| {
        if reads == 10 && !ended {
            ended = true;
            put_numbers(memory, layout, record, 64, [(5, 0), (2, 0), (0, 0), (8, 1)]);
            put_state(memory, 5, 5, 1);
        }
    });
    let found = live.heap_as_of(&mut Known::default(), Limits::default()).unwrap().unwrap();
    assert!(live.memory.reads.get() > 10);
    // 5 and 8, which collection 4 has by now swept one of.
    assert_eq!((found.collection, &found.counts[..]), (4, &[Counts { allocs: 13, frees: 1 }][..]));
    // In a program whose cycle changes with every read nothing is told.
    let mut made = Made::new(layout);
    made.heap(&[0x10], 64, [(1, 0), (2, 0), (4, 0), (8, 0)]);
    let live = made.moving(|memory, reads| {
        let cycle = (reads / 9) as u32;
        put_state(memory, cycle, cycle, DRAINED);
    });
    assert_eq!(live.heap_as_of(&mut Known::default(), Limits::default()).unwrap(), None);
}
