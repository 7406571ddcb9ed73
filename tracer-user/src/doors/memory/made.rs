//! Memory of a program, made by hand for each release: what the corpus begins with, and the proof that the door leads
//! to everything that is read.

use super::*;
use crate::doors::replay::seed;
use crate::gobin::fake::MAIN;
use crate::gobin::layout::Layout;
use crate::gobin::symbols::SWEEP_DRAINED;

/// Where variables lie: one behind the other.
const VARIABLES: u32 = 0x10_0000;
const EACH: u32 = 0x2_0000;
/// Where everything else does.
const HEAP: u64 = 0x1000;

/// Memory in the making.
struct World {
    layout: &'static Layout,
    head: Vec<u8>,
    pieces: Vec<u8>,
    next: u64,
}

impl World {
    fn new(index: usize) -> Self {
        let mut head = vec![index as u8, 0];
        let places = (0..Symbol::ALL.len() as u32).map(|n| VARIABLES + EACH * n);
        head.extend(places.flat_map(u32::to_le_bytes));
        Self { layout: &LAYOUTS[index], head, pieces: Vec::new(), next: HEAP }
    }

    fn at(symbol: Symbol) -> u64 {
        u64::from(VARIABLES + EACH * symbol as u32)
    }

    fn put_since(&mut self, since: u16, at: u64, bytes: &[u8]) {
        self.pieces.extend((at as u32).to_le_bytes());
        self.pieces.extend(since.to_le_bytes());
        self.pieces.extend((bytes.len() as u16).to_le_bytes());
        self.pieces.extend(bytes);
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.put_since(0, at, bytes);
    }

    fn word(&mut self, at: u64, value: u64) {
        let bytes = value.to_le_bytes();
        let len = bytes.iter().rposition(|b| *b != 0).map_or(1, |last| last + 1);
        self.put(at, &bytes[..len]);
    }

    /// Zeros: that the pages are there is enough.
    fn zeros(&mut self, at: u64, len: u32) {
        for page in
            (at..at + u64::from(len)).step_by(PAGE as usize).chain([at + u64::from(len) - 1])
        {
            self.put(page, &[0]);
        }
    }

    /// Room for so many bytes.
    fn room(&mut self, len: u32) -> u64 {
        let at = self.next;
        self.next = (at + u64::from(len)).next_multiple_of(16);
        self.zeros(at, len);
        at
    }

    fn variable(&mut self, symbol: Symbol, value: u64) {
        self.zeros(Self::at(symbol), 16);
        self.word(Self::at(symbol), value);
    }

    fn field(&mut self, at: u64, offset: u32, value: u64) {
        self.word(at + u64::from(offset), value);
    }

    fn bucket(&mut self, kind: u64, next: u64, counts: [(u32, u64); 2]) -> u64 {
        let l = self.layout.bucket;
        let at =
            self.room(l.size + 16 + self.layout.mem_record.size.max(self.layout.block_record.size));
        let pcs = at + u64::from(l.size);
        for (offset, value) in [(l.allnext, next), (l.typ, kind), (l.slot_size, 64), (l.nstk, 2)] {
            self.field(at, offset, value);
        }
        self.word(pcs, MAIN + 4);
        self.word(pcs + 8, MAIN + 0x48);
        for (offset, value) in counts {
            self.word(pcs + 16 + u64::from(offset), value);
        }
        at
    }

    fn buckets(&mut self) {
        let (r, c, b) = (self.layout.mem_record, self.layout.mem_cycle, self.layout.block_record);
        let counts = [(r.active + c.allocs, 5), (r.active + c.frees, 2)];
        let old = self.bucket(1, 0, counts);
        let head = self.bucket(1, old, counts);
        self.variable(Symbol::MBuckets, head);
        for (list, kind) in [(Symbol::BBuckets, 2), (Symbol::XBuckets, 3)] {
            let head = self.bucket(kind, 0, [(b.count, 2.0f64.to_bits()), (b.cycles, 900)]);
            self.variable(list, head);
        }
        self.variable(Symbol::MProfCycle, 4 << 1);
        self.variable(Symbol::SweepState, SWEEP_DRAINED);
        self.variable(Symbol::ProfMemActiveLock, 0);
        for rate in [Symbol::MemProfileRate, Symbol::BlockProfileRate, Symbol::MutexProfileRate] {
            self.variable(rate, 512 << 10);
        }
        self.zeros(Self::at(Symbol::Ticks), 64);
        self.word(Self::at(Symbol::Ticks) + u64::from(self.layout.ticks.val), 1_000_000_000);
    }

    fn labels(&mut self) -> u64 {
        let texts = self.room(16);
        self.put(texts, b"keyvalue");
        let pair = [texts, 3, texts + 3, 5];
        let at = self.room(64);
        if self.layout.minor >= 24 {
            let list = self.room(32);
            pair.iter().zip(0..).for_each(|(word, n)| self.word(list + 8 * n, *word));
            [list, 1, 1].iter().zip(0..).for_each(|(word, n)| self.word(at + 8 * n, *word));
            return at;
        }
        // A map of one bucket: the mark of its first slot, its key, its value.
        let (map, bucket) = (self.room(48), self.room(272));
        self.word(at, map);
        self.word(map, 1);
        self.word(map + 16, bucket);
        self.put(bucket, &[9]);
        for (offset, word) in [8, 16, 136, 144].into_iter().zip(pair) {
            self.word(bucket + offset, word);
        }
        at
    }

    fn goroutines(&mut self) {
        let labels = self.labels();
        let g = self.layout.g;
        let list = self.room(40);
        // Waits, waits with labels, runs, is in a system call, is dead; the last entry leads nowhere.
        for (n, status) in [4u64, 4, 2, 3, 6].into_iter().enumerate() {
            let (at, stack) = (self.room(g.size), self.room(256));
            self.word(list + 8 * n as u64, at);
            // main.main, called by main.run.
            self.word(stack + 64 + 8, MAIN + 0x48);
            for (offset, value) in [
                (g.stack_lo, stack),
                (g.stack_hi, stack + 256),
                (g.sched_sp, stack + 64),
                (g.sched_pc, MAIN + 4),
                (g.goid, 17 + n as u64),
                (g.atomicstatus, status),
                (g.waitsince, 5),
                (g.waitreason, 2),
                (g.startpc, MAIN + 64),
                (g.gopc, MAIN + 4),
                (g.labels, if n == 1 { labels } else { 0 }),
            ] {
                self.field(at, offset, value);
            }
            if status == 3 {
                self.field(at, g.syscallsp, stack + 64);
                self.field(at, g.syscallpc, MAIN + 4);
            }
        }
        self.variable(Symbol::AllGLen, 5);
        self.variable(Symbol::AllGPtr, list);
        self.variable(Symbol::FingStatus, 0);
    }

    fn caches(&mut self) {
        let l = self.layout;
        let list = self.room(8);
        let (p, cache) =
            (self.room(l.p.mcache + 8), self.room(l.mcache.alloc + 8 * l.mcache.alloc_count));
        let span = self.room(l.mspan.elemsize + 64);
        self.word(list, p);
        self.field(p, l.p.mcache, cache);
        for class in 0..l.mcache.alloc_count {
            self.field(cache, l.mcache.alloc + 8 * class, span);
        }
        self.field(span, l.mspan.alloc_count, 0);
        self.variable(Symbol::AllP, list);
        self.word(Self::at(Symbol::AllP) + 8, 1);
    }

    /// The fourth collection, and another one that has ended when the first look is over.
    fn collector(&mut self, second: u32) {
        let (m, c, w) = (self.layout.mstats, self.layout.gc_controller, self.layout.work);
        let stats = Self::at(Symbol::MemStats);
        self.zeros(stats, m.size + 8);
        self.zeros(Self::at(Symbol::GcController), c.size);
        self.zeros(Self::at(Symbol::MHeap) + u64::from(self.layout.mheap.spans_in_use), 8);
        self.zeros(Self::at(Symbol::MHeap) + u64::from(self.layout.mheap.mcaches_in_use), 8);
        self.zeros(Self::at(Symbol::WorkCycles), w.heap2 + 8 - w.cycles);
        self.variable(Symbol::GcPhase, 0);
        let controller = Self::at(Symbol::GcController);
        for (offset, value) in [
            (c.gc_percent, 100),
            (c.memory_limit, i64::MAX as u64),
            (c.gc_percent_heap_goal, 8 << 20),
            (c.triggered, u64::MAX),
            (c.heap_live, 3 << 20),
            (c.heap_marked, 2 << 20),
            (c.last_heap_goal, 8 << 20),
        ] {
            self.field(controller, offset, value);
        }
        let work = Self::at(Symbol::WorkCycles);
        for (ended, since) in [(4, 0), (second, 7)] {
            let end = 1000 * u64::from(ended);
            let mut set = |at: u64, value: u64| self.put_since(since, at, &value.to_le_bytes());
            let times =
                [w.t_sweep_term, w.t_mark, w.t_mark_term, w.t_end].into_iter().zip([30, 20, 10, 0]);
            for (offset, before) in times {
                set(work + u64::from(offset - w.cycles), end - before);
            }
            for offset in [w.heap0, w.heap1, w.heap2] {
                set(work + u64::from(offset - w.cycles), 2 << 20);
            }
            set(work + u64::from(w.pause_ns - w.cycles), 77);
            set(stats + u64::from(m.last_gc_nanotime), end);
            set(stats + u64::from(m.pause_ns + 8 * ((ended - 1) % m.pause_count)), 77);
            set(stats + u64::from(m.pause_end + 8 * ((ended - 1) % m.pause_count)), end);
            let mut half = |at: u64, value: u32| self.put_since(since, at, &value.to_le_bytes());
            half(stats + u64::from(m.numgc), ended);
            half(work, ended);
            half(work + u64::from(w.stwprocs - w.cycles), 1);
            half(work + u64::from(w.maxprocs - w.cycles), 2);
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        self.head.extend(self.pieces);
        self.head
    }
}

/// The memory of a program of a release.
fn made(index: usize) -> Vec<u8> {
    let mut world = World::new(index);
    world.buckets();
    world.goroutines();
    world.caches();
    world.collector(5);
    world.bytes()
}

#[test]
fn what_is_made_is_read_in_every_release() {
    for (index, layout) in LAYOUTS.iter().enumerate() {
        let bytes = made(index);
        let live = || live(&bytes).unwrap();
        let minor = layout.minor;
        let (one, mut watcher) = (live(), Watcher::default());
        assert_eq!(watcher.look(&one).unwrap().ended, Some(4), "{minor}");
        let cycles = watcher.look(&one).unwrap().cycles;
        assert_eq!(cycles.len(), 1, "{minor}");
        assert!(cycles[0].detail.is_some(), "{minor}: {cycles:?}");
        let heap = live().heap_records(BUCKETS).unwrap();
        assert_eq!(
            (heap.buckets.len(), heap.refused, heap.buckets[0].allocs),
            (2, 0, 5),
            "{minor}"
        );
        let waits = live().contention_records(Contention::Mutex, BUCKETS).unwrap();
        assert_eq!(waits.buckets.len(), 1, "{minor}");
        let as_of = live().heap_as_of(&mut Known::default(), BUCKETS).unwrap().unwrap();
        assert_eq!(as_of.counts.len(), 2, "{minor}");
        assert!(matches!(live().stats().unwrap().collector.cycles, 4 | 5), "{minor}");
        let snapshot = live().snapshot(GOROUTINES).unwrap();
        assert_eq!((snapshot.goroutines.len(), snapshot.unreadable), (4, 0), "{minor}");
        assert_eq!(snapshot.stacks[0].pcs.len(), 2, "{minor}: {:?}", snapshot.stacks);
        assert_eq!(snapshot.labels, [[("key".to_owned(), "value".to_owned())]], "{minor}");
        seed("memory", &format!("go1.{minor}"), &bytes);
    }
}

#[test]
fn a_leap_over_a_billion_collections_is_told_at_once() {
    let mut world = World::new(LAYOUTS.len() - 1);
    world.buckets();
    world.collector(1_000_000_004);
    let bytes = world.bytes();
    let (live, mut watcher) = (live(&bytes).unwrap(), Watcher::default());
    watcher.look(&live).unwrap();
    let look = watcher.look(&live).unwrap();
    assert_eq!(look.cycles.last().unwrap().number, 1_000_000_004);
    assert_eq!(look.overwritten as usize + look.cycles.len(), 1_000_000_000);
}
