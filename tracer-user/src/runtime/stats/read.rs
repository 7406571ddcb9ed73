//! Reads the statistics.
//!
//! The runtime's counters are three slots that take turns (mstats.go, `consistentHeapStats`) and are
//! merged now and then: they are read twice, and taken only when no merge can have happened between or
//! during the two. What each P has allocated since its last refill is not in them; it is added from
//! the P's own cache when nothing else moved meanwhile.

use super::{Allocated, Class, Collector, Heap, Large, Pause, Phase, Stats};
use crate::address::RuntimeAddr;
use crate::gobin::bytes::u64_at;
use crate::gobin::layout::SIZE_CLASSES;
use crate::gobin::symbols::Symbol;
use crate::runtime::caches::Caches;
use crate::runtime::live::{Error, Live, Record, rate_of};
use crate::runtime::memory::{Batch, Memory, Range};
use crate::runtime::pacer::{NO_LIMIT, Pacer};

const CLASSES: usize = SIZE_CLASSES.len();
/// Looks for a moment in which nothing moves, before what the caches hold is left out.
const QUIET_ATTEMPTS: u32 = 8;
/// No address space has more bytes.
const MOST_BYTES: u64 = 1 << 57;

/// One look at everything that lies at a fixed place.
struct Look {
    memstats: Vec<u8>,
    controller: Vec<u8>,
    /// `spanalloc.inuse`, `cachealloc.inuse`, the sampler's rate, the phase, `allp`.
    spans_in_use: u64,
    caches_in_use: u64,
    sampler_rate: u64,
    phase: u32,
    procs: (u64, u64),
}

impl<M: Memory> Live<M> {
    /// Reads the statistics.
    ///
    /// # Errors
    /// A variable that can't be found; numbers that contradict each other however often they are read.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.stats_within(QUIET_ATTEMPTS)
    }

    /// The same in as little time as can be, without what the caches of all Ps hold.
    ///
    /// # Errors
    /// As above.
    pub fn stats_at_once(&self) -> Result<Stats, Error> {
        self.stats_within(0)
    }

    fn stats_within(&self, mut quiet: u32) -> Result<Stats, Error> {
        self.steady("the memory statistics", || {
            let before = self.look()?;
            // Only a look in which nothing moves tells what belongs to the caches' contents.
            let caches = match quiet {
                0 => None,
                _ => Some(self.caches_of(before.procs)?).filter(|caches| caches.whole),
            };
            let after = self.look()?;
            if !self.same_turn(&before, &after) {
                return Ok(None);
            }
            let still = self.counters_equal(&before, &after);
            if quiet > 0 && !(still && caches.is_some()) {
                quiet -= 1;
                return Ok(None);
            }
            let caches = caches.filter(|_| still);
            self.sum(&after, caches.as_ref())
        })
    }

    fn look(&self) -> Result<Look, Error> {
        let layout = self.layout();
        let heap = self.address(Symbol::MHeap)?;
        let field = |at: RuntimeAddr, offset: u32| RuntimeAddr(at.0.wrapping_add(offset.into()));
        let ranges = [
            (self.address(Symbol::MemStats)?, layout.mstats.size as usize),
            (self.address(Symbol::GcController)?, layout.gc_controller.size as usize),
            (field(heap, layout.mheap.spans_in_use), 8),
            (field(heap, layout.mheap.mcaches_in_use), 8),
            (self.address(Symbol::MemProfileRate)?, 8),
            (self.address(Symbol::GcPhase)?, 4),
            (self.address(Symbol::AllP)?, 16),
        ];
        let ranges = ranges.map(|(at, len)| Range { at, len });
        let mut batch = Batch::default();
        self.memory.read_many(&ranges, &mut batch)?;
        let bytes = |index: usize| {
            batch.get(index).ok_or_else(|| Error::Implausible {
                what: "a variable of the runtime",
                detail: format!("there is no memory at {}", ranges[index].at),
            })
        };
        let word = |index| bytes(index).map(|b| u64_at(b, 0).unwrap_or(0));
        Ok(Look {
            memstats: bytes(0)?.to_vec(),
            controller: bytes(1)?.to_vec(),
            spans_in_use: word(2)?,
            caches_in_use: word(3)?,
            sampler_rate: rate_of(word(4)?),
            phase: Record(bytes(5)?).u32(0),
            procs: (word(6)?, u64_at(bytes(6)?, 8).unwrap_or(0)),
        })
    }

    /// Whether no slot was merged and no collection ended between two looks: the same slot is
    /// written, the others stand still, and counters only grew.
    fn same_turn(&self, before: &Look, after: &Look) -> bool {
        let (mstats, slot) = (&self.layout().mstats, &self.layout().heap_stats);
        let (a, b) = (Record(&before.memstats), Record(&after.memstats));
        let turn = a.u32(mstats.stats_gen) % mstats.stats_count;
        let collections = |r: Record| (r.u32(mstats.numgc), r.u64(mstats.pause_total_ns));
        let slots = (0..mstats.stats_count).all(|index| {
            let at = mstats.stats + index * slot.size;
            let place = at as usize..(at + slot.size) as usize;
            if index != turn {
                return before.memstats.get(place.clone()) == after.memstats.get(place);
            }
            // Signed sizes go up and down; everything behind them only grows.
            (slot.tiny_alloc_count..slot.size).step_by(8).all(|o| a.u64(at + o) <= b.u64(at + o))
        });
        a.u32(mstats.stats_gen) == b.u32(mstats.stats_gen)
            && collections(a) == collections(b)
            && before.phase == after.phase
            && slots
    }

    /// Whether the counters stood still: no P refilled its cache, nothing was swept.
    fn counters_equal(&self, before: &Look, after: &Look) -> bool {
        let (mstats, slot) = (&self.layout().mstats, &self.layout().heap_stats);
        let all = mstats.stats as usize..(mstats.stats + mstats.stats_count * slot.size) as usize;
        before.memstats.get(all.clone()) == after.memstats.get(all)
            && before.controller == after.controller
            && before.procs == after.procs
    }

    /// The statistics of one look; nothing when its numbers can't be.
    fn sum(&self, look: &Look, caches: Option<&Caches>) -> Result<Option<Stats>, Error> {
        let layout = self.layout();
        let (m, slot) = (&layout.mstats, &layout.heap_stats);
        let stats = Record(&look.memstats);
        let total = |offset: u32| {
            let at = (0..m.stats_count).map(|slot_index| m.stats + slot_index * slot.size);
            at.map(|at| stats.u64(at + offset)).fold(0u64, u64::wrapping_add)
        };
        let mut allocated = Allocated {
            bytes: total(slot.large_alloc),
            objects: total(slot.large_alloc_count),
            frees: total(slot.large_free_count),
            tiny: total(slot.tiny_alloc_count).wrapping_add(caches.map_or(0, |c| c.tiny)),
            large: Large {
                bytes: total(slot.large_alloc),
                objects: total(slot.large_alloc_count),
                freed_bytes: total(slot.large_free),
                frees: total(slot.large_free_count),
            },
            classes: Vec::with_capacity(CLASSES - 1),
        };
        let mut freed = total(slot.large_free);
        for (class, size) in SIZE_CLASSES.into_iter().enumerate().skip(1) {
            let place = |first: u32| first + 8 * class as u32;
            // With pointers and without.
            let held = |place: usize| caches.and_then(|c| c.by_span_class.get(place)).unwrap_or(&0);
            let held = held(2 * class) + held(2 * class + 1);
            let objects = total(place(slot.small_alloc_count)).wrapping_add(held);
            let frees = total(place(slot.small_free_count));
            allocated.bytes = allocated.bytes.wrapping_add(objects.wrapping_mul(size.into()));
            allocated.objects = allocated.objects.wrapping_add(objects);
            allocated.frees = allocated.frees.wrapping_add(frees);
            freed = freed.wrapping_add(frees.wrapping_mul(size.into()));
            allocated.classes.push(Class { size, objects, frees });
        }
        allocated.objects = allocated.objects.wrapping_add(allocated.tiny);
        allocated.frees = allocated.frees.wrapping_add(allocated.tiny);
        let c = &layout.gc_controller;
        let controller = Record(&look.controller);
        let [in_use, free, released] =
            [c.heap_in_use, c.heap_free, c.heap_released].map(|offset| controller.u64(offset));
        let idle = free.wrapping_add(released);
        let heap_sys = in_use.wrapping_add(idle);
        let stacks_in_use = total(slot.in_stacks);
        let scalars = slot.in_ptr_scalar_bits.map_or(0, total);
        let gc_sys = stats.u64(m.gc_misc_sys).wrapping_add(total(slot.in_work_bufs));
        let gc_sys = gc_sys.wrapping_add(scalars);
        let stacks_sys = stacks_in_use.wrapping_add(stats.u64(m.stacks_sys));
        let records = [m.mspan_sys, m.mcache_sys, m.buckhash_sys, m.other_sys];
        let records = records.map(|offset| stats.u64(offset));
        let parts = [in_use, free, released, stacks_sys, gc_sys].into_iter().chain(records);
        let possible = parts.clone().all(|bytes| bytes < MOST_BYTES);
        let sys = parts.fold(0u64, u64::wrapping_add);
        let pacer = Pacer::read(controller, c);
        let plausible = possible
            && allocated.classes.iter().all(|class| class.frees <= class.objects)
            && allocated.large.freed_bytes <= allocated.large.bytes
            && allocated.large.frees <= allocated.large.objects
            && allocated.frees <= allocated.objects
            && freed <= allocated.bytes
            && look.phase <= 2;
        if !plausible {
            return Ok(None);
        }
        let minor = layout.minor;
        let percent = i32::from_le_bytes(controller.u32(c.gc_percent).to_le_bytes());
        let percent = u32::try_from(percent).ok();
        let memory_limit = Some(pacer.memory_limit).filter(|limit| *limit < NO_LIMIT);
        let on = percent.is_some() || memory_limit.is_some();
        Ok(Some(Stats {
            exact: caches.is_some(),
            heap: Heap {
                alloc: allocated.bytes - freed,
                objects: allocated.objects - allocated.frees,
                sys: heap_sys,
                in_use,
                idle,
                released,
                marked: pacer.marked,
                live: controller.u64(c.heap_live),
                goal: on.then(|| pacer.goal(minor)),
                trigger: on.then(|| pacer.trigger(minor)),
            },
            collector: Collector {
                percent,
                memory_limit,
                limit_binds: pacer.limit_binds(minor),
                phase: [Phase::Off, Phase::Mark, Phase::MarkTermination][look.phase as usize],
                cycles: stats.u32(m.numgc),
                forced: stats.u32(m.numforcedgc),
                last_unix_ns: stats.u64(m.last_gc_unix),
                pause_total_ns: stats.u64(m.pause_total_ns),
                pauses: self.pauses(stats),
                cpu_fraction: f64::from_bits(stats.u64(m.gc_cpu_fraction)),
            },
            allocated,
            stacks_in_use,
            stacks_sys,
            spans_in_use: look.spans_in_use,
            spans_sys: stats.u64(m.mspan_sys),
            caches_in_use: look.caches_in_use,
            caches_sys: stats.u64(m.mcache_sys),
            buckets_sys: stats.u64(m.buckhash_sys),
            gc_sys,
            other_sys: stats.u64(m.other_sys),
            sys,
            sampler_rate: look.sampler_rate,
            procs: look.procs.1,
        }))
    }

    /// The ring of pauses, newest first: that of collection n is at (n + 255) mod 256.
    fn pauses(&self, stats: Record) -> Vec<Pause> {
        let m = &self.layout().mstats;
        let count = stats.u32(m.numgc);
        let pause = |back: u32| {
            let index = count.wrapping_sub(1 + back) % m.pause_count;
            let end_unix_ns = stats.u64(m.pause_end + 8 * index);
            Pause { end_unix_ns, ns: stats.u64(m.pause_ns + 8 * index) }
        };
        (0..count.min(m.pause_count)).map(pause).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;
    use crate::gobin::layout::{LAYOUTS, Layout};
    use crate::runtime::live::fake::live;
    use crate::runtime::memory::MemoryError;
    use crate::runtime::memory::fake::FakeMemory;

    const MEMSTATS: u64 = 0x10_0000;
    const CONTROLLER: u64 = 0x20_0000;
    const HEAP: u64 = 0x30_0000;
    const RATE: u64 = 0x40_0000;
    const PHASE: u64 = 0x40_0100;
    const ALLP: u64 = 0x40_0200;
    const LIST: u64 = 0x50_0000;
    const P: u64 = 0x51_0000;
    const CACHE: u64 = 0x52_0000;
    const EMPTY: u64 = 0x53_0000;
    const SPAN: u64 = 0x54_0000;

    type Change = Box<dyn Fn(&FakeMemory, u32)>;

    /// A memory that changes by itself: before each read of the counters.
    struct Moving {
        memory: FakeMemory,
        looks: Cell<u32>,
        change: Change,
    }

    impl Memory for Moving {
        fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
            if at.0 == MEMSTATS {
                self.looks.set(self.looks.get() + 1);
                (self.change)(&self.memory, self.looks.get());
            }
            self.memory.read(at, into)
        }

        fn check(&self) -> Result<(), MemoryError> {
            self.memory.check()
        }
    }

    fn slot(layout: &Layout, index: u64, offset: u32) -> u64 {
        MEMSTATS + index * u64::from(layout.heap_stats.size) + u64::from(offset)
    }

    /// Class 5 (48 bytes): 100 objects in slot 0, 7 in slot 1, 40 freed; 3 in the only P's cache.
    fn moving(
        layout: &'static Layout,
        change: impl Fn(&FakeMemory, u32) + 'static,
    ) -> Live<Moving> {
        let made = live(
            layout,
            &[
                (Symbol::MemStats, MEMSTATS),
                (Symbol::GcController, CONTROLLER),
                (Symbol::MHeap, HEAP),
                (Symbol::MemProfileRate, RATE),
                (Symbol::GcPhase, PHASE),
                (Symbol::AllP, ALLP),
            ],
        );
        let memory = made.memory;
        memory.map(MEMSTATS, vec![0; layout.mstats.size as usize]);
        memory.map(CONTROLLER, vec![0; layout.gc_controller.size as usize]);
        memory.map(HEAP, vec![0; layout.mheap.mcaches_in_use as usize + 8]);
        memory.map(RATE, vec![0; 0x300]);
        memory.put_u64(ALLP, LIST);
        memory.put_u64(ALLP + 8, 1);
        memory.map(LIST, P.to_le_bytes().to_vec());
        memory.map(P, vec![0; 0x100]);
        memory.put_u64(P + u64::from(layout.p.mcache), CACHE);
        memory.map(CACHE, vec![0; 0x1000]);
        let (mcache, mspan) = (&layout.mcache, &layout.mspan);
        memory.put_u64(CACHE + u64::from(mcache.tiny_allocs), 9);
        for place in 0..u64::from(mcache.alloc_count) {
            let span = if place == 11 { SPAN } else { EMPTY };
            memory.put_u64(CACHE + u64::from(mcache.alloc) + 8 * place, span);
        }
        memory.map(EMPTY, vec![0; 0x100]);
        memory.map(SPAN, vec![0; 0x100]);
        memory.put(SPAN + u64::from(mspan.alloc_count), &[8, 0]);
        memory.put(SPAN + u64::from(mspan.alloc_count_before_cache), &[5, 0]);
        memory.put(SPAN + u64::from(mspan.spanclass), &[11]);
        memory.put_u64(SPAN + u64::from(mspan.elemsize), 48);
        let (allocated, freed) = (
            layout.heap_stats.small_alloc_count + 8 * 5,
            layout.heap_stats.small_free_count + 8 * 5,
        );
        memory.put_u64(slot(layout, 0, allocated), 100);
        memory.put_u64(slot(layout, 1, allocated), 7);
        memory.put_u64(slot(layout, 2, freed), 40);
        let moving = Moving { memory, looks: Cell::new(0), change: Box::new(change) };
        Live::new(Arc::clone(&made.program), made.bias, moving)
    }

    /// Objects of class 5, allocated and freed, and whether the caches are included.
    fn class_5(stats: &Stats) -> (u64, u64, bool) {
        let class = &stats.allocated.classes[4];
        assert_eq!(class.size, 48);
        (class.objects, class.frees, stats.exact)
    }

    #[test]
    fn slots_and_caches_are_added_up() {
        for layout in &LAYOUTS {
            let stats = moving(layout, |_, _| {}).stats().unwrap();
            assert_eq!(class_5(&stats), (110, 40, true));
            assert_eq!(stats.allocated.tiny, 9);
            assert_eq!((stats.heap.objects, stats.heap.alloc), (70, 70 * 48));
        }
    }

    /// The runtime merges slot 0 into slot 1 while it is read: 100 objects are seen twice or not at
    /// all, and a second look finds another slot that changed.
    #[test]
    fn a_merge_under_way_is_seen_and_read_again() {
        for layout in &LAYOUTS {
            let allocated = layout.heap_stats.small_alloc_count + 8 * 5;
            let generation = MEMSTATS + u64::from(layout.mstats.stats_gen);
            let live = moving(layout, move |memory, look| match look {
                1 => memory.put(generation, &2u32.to_le_bytes()),
                // Merged, and not cleared yet.
                2 => memory.put_u64(slot(layout, 1, allocated), 107),
                3 => memory.put_u64(slot(layout, 0, allocated), 0),
                _ => {}
            });
            assert_eq!(class_5(&live.stats().unwrap()), (110, 40, true));
            assert_eq!(live.memory.looks.get(), 4, "two looks that differ, and two more");
        }
    }

    #[test]
    fn a_rate_below_0_is_off() {
        let live = moving(&LAYOUTS[7], |_, _| {});
        for (word, rate) in [(524_288, 524_288), (0, 0), (u64::MAX, 0), (1 << 63, 0)] {
            live.memory.memory.put_u64(RATE, word);
            assert_eq!(live.stats().unwrap().sampler_rate, rate);
            assert_eq!(live.sampler_rate().unwrap(), rate);
        }
    }

    #[test]
    fn a_busy_program_is_read_without_its_caches() {
        let layout = &LAYOUTS[7];
        let allocated = layout.heap_stats.small_alloc_count + 8 * 5;
        let live = moving(layout, move |memory, look| {
            memory.put_u64(slot(layout, 0, allocated), 100 + u64::from(look));
        });
        let (objects, frees, exact) = class_5(&live.stats().unwrap());
        assert_eq!((frees, exact), (40, false));
        assert_eq!(objects, 107 + u64::from(live.memory.looks.get()));
    }

    #[test]
    fn numbers_that_can_not_be_are_never_told() {
        let layout = &LAYOUTS[7];
        let freed = layout.heap_stats.small_free_count + 8 * 5;
        let more_freed = moving(layout, move |memory, _| {
            memory.put_u64(slot(layout, 2, freed), 111);
        });
        assert!(matches!(more_freed.stats(), Err(Error::Unsteady { .. })));
        let in_use = CONTROLLER + u64::from(layout.gc_controller.heap_in_use);
        let huge = moving(layout, move |memory, _| memory.put_u64(in_use, u64::MAX));
        assert!(matches!(huge.stats(), Err(Error::Unsteady { .. })));
        let collecting = moving(layout, move |memory, look| {
            memory.put_u64(MEMSTATS + u64::from(layout.mstats.numgc), look.into());
        });
        assert!(matches!(collecting.stats(), Err(Error::Unsteady { .. })));
        let procs = moving(layout, |memory, _| memory.put_u64(ALLP + 8, u64::MAX));
        assert!(matches!(procs.stats(), Err(Error::TooMany { .. })));
    }
}
