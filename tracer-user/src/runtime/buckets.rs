//! The runtime's profile buckets: heap, block and mutex profiles as the program itself has them.
//!
//! In: a [`Live`] process. Out: one record for each bucket: a stack as return addresses, and its
//! counts as the program's own pprof would publish them at that moment (runtime/mprof.go). Buckets
//! are never freed, moved or changed but in their counts, and new ones are put in front of the list,
//! so that walking it needs no lock. Names nothing and scales nothing.

mod as_of;

use std::ops::Range;
use std::time::Duration;

pub use as_of::{AsOf, Change, Known};

use super::live::{Error, Live, Record};
use super::memory::Memory;
use super::windows::Windows;
use crate::address::RuntimeAddr;
use crate::gobin::symbols::Symbol;

/// Longest stack that can be in a bucket: `maxProfStackDepth` and what inlining adds to it.
const MAX_STACK: u64 = 1024 + 16;
/// Largest object that can be.
const MAX_OBJECT: u64 = 1 << 48;
/// How often all of a list is read again because it changed meanwhile.
const ATTEMPTS: u32 = 8;
/// Either bit of a lock says that it is held, or about to be (lock_futex.go: locked, sleeping; lock_spinbit.go: the
/// first; the second that somebody waits).
const HELD: u64 = 3;
/// How often whoever holds it is waited for, in all attempts together: others may have its CPU for some milliseconds
/// each time, and who was stopped (SIGSTOP, a frozen control group) holds it until somebody else lets it go on.
const WAITS: u32 = 40;
const WAIT: Duration = Duration::from_millis(if cfg!(any(test, fuzzing)) { 0 } else { 1 });

/// What may be read of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub buckets: u64,
    /// Bytes of heaptap's memory, roughly.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { buckets: 10_000_000, memory: 512 << 20 }
    }
}

/// A heap profile that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeapRecords {
    pub stacks: Stacks,
    /// Newest first.
    pub buckets: Vec<HeapBucket>,
    /// Of the profile's cycles the first and the last that buckets are of: the same but in a program
    /// that collects faster than its buckets can be read.
    pub cycles: (u32, u32),
    /// Whether it was changing each time that it was read: buckets are as of neighbouring cycles, and one may be
    /// counted twice.
    pub unsettled: bool,
    /// Whether a collection has been published. If not, counts are of everything until now.
    pub collected: bool,
    /// Mean bytes between samples; 0 when the sampler is off.
    pub rate: u64,
    /// Buckets whose header or counts can't be.
    pub refused: u64,
}

impl HeapRecords {
    /// Whether the last of its buckets are those of `older`, one by one, with whatever counts: the
    /// runtime puts new buckets in front.
    pub fn goes_on_from(&self, older: &Self) -> bool {
        let Some(more) = self.buckets.len().checked_sub(older.buckets.len()) else { return false };
        let Some(shift) = self.stacks.0.len().checked_sub(older.stacks.0.len()) else {
            return false;
        };
        let same = |(new, old): (&HeapBucket, &HeapBucket)| {
            new.size == old.size
                && (new.stack.start, new.stack.end)
                    == (old.stack.start + shift, old.stack.end + shift)
        };
        self.stacks.0[shift..] == older.stacks.0[..]
            && self.buckets[more..].iter().zip(&older.buckets).all(same)
    }
}

/// One stack with one size of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapBucket {
    pub stack: Range<usize>,
    /// Bytes of the slot that an object got.
    pub size: u64,
    pub allocs: u64,
    pub frees: u64,
}

/// Return addresses of all stacks, one for each frame that a profile shows, innermost first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stacks(Vec<RuntimeAddr>);

impl Stacks {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }

    pub fn get(&self, stack: &Range<usize>) -> &[RuntimeAddr] {
        self.0.get(stack.clone()).unwrap_or_default()
    }

    fn add(&mut self, pcs: &[u8]) -> Range<usize> {
        let start = self.0.len();
        let words = pcs.as_chunks().0.iter().map(|pc| RuntimeAddr(u64::from_le_bytes(*pc)));
        self.0.extend(words);
        start..self.0.len()
    }
}

/// Which profile of contention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contention {
    Block,
    Mutex,
}

/// A block or mutex profile that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContentionRecords {
    pub stacks: Stacks,
    pub buckets: Vec<ContentionBucket>,
    /// Block: ticks that a wait lasts which is always counted. Mutex: one in that many is counted.
    /// 0 when it is off.
    pub rate: u64,
    /// Ticks in a second as the runtime has worked it out; nothing when it has not yet.
    pub ticks_per_second: Option<u64>,
    pub refused: u64,
}

/// One stack that waited, or that others waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct ContentionBucket {
    pub stack: Range<usize>,
    pub count: f64,
    /// Ticks waited.
    pub cycles: i64,
}

/// A bucket as it lies in memory.
struct Raw<'a> {
    at: u64,
    /// Zero to the type's tests; the object's size in heap profiles.
    size: u64,
    pcs: &'a [u8],
    record: Record<'a>,
    /// The word that was the same before and after all of it was read, if there is one.
    stamp: Option<u32>,
}

/// Objects that were sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub allocs: u64,
    pub frees: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            allocs: self.allocs.wrapping_add(other.allocs),
            frees: self.frees.wrapping_add(other.frees),
        }
    }
}

/// More frees than can be.
const TORN: Counts = Counts { allocs: 0, frees: 1 };

/// One look at a heap profile.
#[derive(Default)]
struct Look {
    records: HeapRecords,
    /// What there is of each bucket, for as long as nothing is published of any.
    all: Vec<Counts>,
    /// The first and the last that buckets are of.
    cycles: Option<(u32, u32)>,
}

impl<M: Memory> Live<M> {
    /// Reads the heap profile.
    ///
    /// It is read twice and believed when both looks are of one cycle and agree on everything that is
    /// published, and nobody held the lock under which that is added up, before, between and after: who
    /// has it may stand still in the middle of an addition, so that both looks agree on what never was.
    /// In a program that collects so fast that this never is, each bucket is taken as it was in a cycle
    /// of its own, and the result says that it is unsettled.
    ///
    /// # Errors
    /// The list can't be found or leads nowhere, is longer than allowed, or the process is gone.
    pub fn heap_records(&self, limits: Limits) -> Result<HeapRecords, Error> {
        let cycle = self.address(Symbol::MProfCycle)?;
        let mut windows = Windows::new(&self.memory, cycle, limits.memory);
        let (mut attempt, mut waits) = (1, WAITS);
        loop {
            let mut added_up = self.is_added_up_soon(&mut waits)?;
            let [head, rate] = self.words([Symbol::MBuckets, Symbol::MemProfileRate])?;
            windows.read_again();
            let mut look = self.look_at_heap(head, rate, &mut windows, limits)?;
            let agree = match windows.stamp().map(number) {
                None => head == 0,
                Some(cycle) => {
                    added_up &= self.is_added_up()?;
                    windows.read_again();
                    let agrees = self.agrees(head, cycle, &look.records, &mut windows, limits)?;
                    added_up &= self.is_added_up()?;
                    agrees && windows.stamp().map(number) == Some(cycle)
                }
            };
            self.memory.check()?;
            let settled = agree && added_up;
            if settled || attempt == ATTEMPTS {
                look.records.unsettled = !settled;
                return Ok(publish(look));
            }
            attempt += 1;
            std::thread::yield_now();
        }
    }

    /// Whether nobody adds up counts of the heap profile, or copies them.
    fn is_added_up(&self) -> Result<bool, Error> {
        let [lock] = self.words([Symbol::ProfMemActiveLock])?;
        Ok(lock & HELD == 0)
    }

    /// The same, after a while if need be, of which there are so many left.
    fn is_added_up_soon(&self, waits: &mut u32) -> Result<bool, Error> {
        loop {
            if self.is_added_up()? {
                return Ok(true);
            }
            let Some(left) = waits.checked_sub(1) else { return Ok(false) };
            *waits = left;
            std::thread::sleep(WAIT);
        }
    }

    fn look_at_heap(
        &self,
        head: u64,
        rate: u64,
        windows: &mut Windows<'_, M>,
        limits: Limits,
    ) -> Result<Look, Error> {
        let mut look = Look::default();
        look.records.rate = rate;
        let refused = self.walk(HEAP, head, windows, limits, |raw| {
            let records = &mut look.records;
            let stack = records.stacks.add(raw.pcs);
            let cycle = raw.stamp.map(number);
            let published = cycle.map_or(TORN, |cycle| self.published(raw.record, cycle));
            let Counts { allocs, frees } = published;
            records.buckets.push(HeapBucket { stack, size: raw.size, allocs, frees });
            if let Some(cycle) = cycle {
                let (first, last) = look.cycles.get_or_insert((cycle, cycle));
                (*first, *last) = (cycle.min(*first), cycle.max(*last));
            }
            if published != Counts::default() {
                records.collected = true;
                look.all = Vec::new();
            }
            if !records.collected {
                look.all.push(self.all(raw.record));
            }
            size_of_val(raw.pcs) + size_of::<HeapBucket>()
        })?;
        look.records.refused = refused;
        Ok(look)
    }

    /// Whether what is published still is what it was.
    fn agrees(
        &self,
        head: u64,
        cycle: u32,
        before: &HeapRecords,
        windows: &mut Windows<'_, M>,
        limits: Limits,
    ) -> Result<bool, Error> {
        let mut before = before.buckets.iter();
        let mut agree = true;
        self.walk(HEAP, head, windows, limits, |raw| {
            let Counts { allocs, frees } = self.published(raw.record, cycle);
            let same = |then: &HeapBucket| (then.allocs, then.frees) == (allocs, frees);
            agree &= before.next().is_some_and(same);
            0
        })?;
        Ok(agree && before.next().is_none())
    }

    /// What pprof publishes in a cycle, the active counts and those of the cycle: if they were flushed,
    /// there is nothing left in their place.
    fn published(&self, record: Record<'_>, cycle: u32) -> Counts {
        let layout = &self.layout().mem_record;
        let due = layout.future + cycle % 3 * self.layout().mem_cycle.size;
        self.counts(record, layout.active).plus(self.counts(record, due))
    }

    /// What there is, published or not.
    fn all(&self, record: Record<'_>) -> Counts {
        let (layout, size) = (&self.layout().mem_record, self.layout().mem_cycle.size);
        let future = (0..3).map(|n| self.counts(record, layout.future + n * size));
        future.fold(self.counts(record, layout.active), Counts::plus)
    }

    fn counts(&self, record: Record<'_>, at: u32) -> Counts {
        let cycle = &self.layout().mem_cycle;
        Counts { allocs: record.u64(at + cycle.allocs), frees: record.u64(at + cycle.frees) }
    }

    /// Reads a profile of contention. Each stack is as it was at some moment of the reading.
    ///
    /// # Errors
    /// As [`Live::heap_records`].
    pub fn contention_records(
        &self,
        which: Contention,
        limits: Limits,
    ) -> Result<ContentionRecords, Error> {
        let (list, rate, kind) = match which {
            Contention::Block => (Symbol::BBuckets, Symbol::BlockProfileRate, BLOCK),
            Contention::Mutex => (Symbol::XBuckets, Symbol::MutexProfileRate, MUTEX),
        };
        let [head, rate] = self.words([list, rate])?;
        // Nothing changes with the whole list here: any word that stays will do for a stamp.
        let stamp = self.address(Symbol::MProfCycle)?;
        let mut found = ContentionRecords { rate, ..ContentionRecords::default() };
        let layout = &self.layout().block_record;
        let mut before: Vec<(u64, u64)> = Vec::new();
        let counts = |record: Record<'_>| (record.u64(layout.count), record.u64(layout.cycles));
        let mut windows = Windows::new(&self.memory, stamp, limits.memory);
        self.walk(kind, head, &mut windows, limits, |raw| {
            before.push(counts(raw.record));
            size_of::<(u64, u64)>()
        })?;
        // A record whose two numbers were the same twice was not half written.
        let mut windows = Windows::new(&self.memory, stamp, limits.memory);
        let mut at = 0;
        let mut changing = Vec::new();
        found.refused = self.walk(kind, head, &mut windows, limits, |raw| {
            let (count, cycles) = counts(raw.record);
            if before.get(at) != Some(&(count, cycles)) {
                changing.push(at);
            }
            at += 1;
            let stack = found.stacks.add(raw.pcs);
            let (count, cycles) = (f64::from_bits(count), cycles as i64);
            found.buckets.push(ContentionBucket { stack, count, cycles });
            size_of_val(raw.pcs) + size_of::<ContentionBucket>()
        })?;
        drop(windows);
        self.settle(kind, head, &mut found, &changing, limits)?;
        found.ticks_per_second = match self.address(Symbol::Ticks) {
            Ok(at) => {
                let at = RuntimeAddr(at.0.wrapping_add(u64::from(self.layout().ticks.val)));
                Some(self.u64(at)?).filter(|ticks| (1_000..=1 << 40).contains(ticks))
            }
            Err(_) => None,
        };
        self.memory.check()?;
        let possible = |b: &ContentionBucket| {
            b.count.is_finite() && (0.0..=1e18).contains(&b.count) && b.cycles >= 0
        };
        let all = found.buckets.len();
        found.buckets.retain(possible);
        found.refused += (all - found.buckets.len()) as u64;
        Ok(found)
    }

    /// Reads again what changed between two looks, until it is the same twice.
    fn settle(
        &self,
        kind: Kind,
        head: u64,
        found: &mut ContentionRecords,
        changing: &[usize],
        limits: Limits,
    ) -> Result<(), Error> {
        let mut changing = changing.to_vec();
        let stamp = self.address(Symbol::MProfCycle)?;
        let layout = &self.layout().block_record;
        for _ in 0..ATTEMPTS {
            if changing.is_empty() {
                return Ok(());
            }
            let mut windows = Windows::new(&self.memory, stamp, limits.memory);
            let mut at = 0;
            let mut still = Vec::new();
            self.walk(kind, head, &mut windows, limits, |raw| {
                if changing.binary_search(&at).is_ok()
                    && let Some(bucket) = found.buckets.get_mut(at)
                {
                    let count = f64::from_bits(raw.record.u64(layout.count));
                    let cycles = raw.record.u64(layout.cycles) as i64;
                    if (bucket.count.to_bits(), bucket.cycles) != (count.to_bits(), cycles) {
                        still.push(at);
                    }
                    (bucket.count, bucket.cycles) = (count, cycles);
                }
                at += 1;
                0
            })?;
            changing = still;
        }
        // Busy to the end: both numbers grow together, and are off by one event at most.
        Ok(())
    }

    /// Visits every bucket of a list; `each` returns how many bytes it has put aside. Gives how many
    /// can't be what they should.
    fn walk(
        &self,
        kind: Kind,
        head: u64,
        windows: &mut Windows<'_, M>,
        limits: Limits,
        mut each: impl FnMut(Raw<'_>) -> usize,
    ) -> Result<u64, Error> {
        let layout = &self.layout().bucket;
        let record_size = match kind.word {
            1 => self.layout().mem_record.size,
            _ => self.layout().block_record.size,
        } as usize;
        let header_size = layout.size as usize;
        let corrupt = |detail: String| Error::Implausible { what: kind.what, detail };
        let (mut at, mut seen, mut refused, mut held) = (head, 0u64, 0, 0usize);
        // Brent's way to find a circle: a place to come back to, moved on at powers of two.
        let (mut mark, mut next_mark) = (0, 1u64);
        while at != 0 {
            if at == mark {
                return Err(corrupt(format!("it leads back to {} after {seen}", RuntimeAddr(at))));
            }
            if seen == next_mark {
                (mark, next_mark) = (at, next_mark.saturating_mul(2));
            }
            if seen == limits.buckets {
                let limit = limits.buckets;
                return Err(Error::TooMany { what: kind.what, count: limit + 1, limit });
            }
            seen += 1;
            let nowhere = || corrupt(format!("it leads to {}", RuntimeAddr(at)));
            if at % 8 != 0 {
                return Err(nowhere());
            }
            let (header, _) = windows.get(RuntimeAddr(at), header_size)?.ok_or_else(nowhere)?;
            let header = Record(header);
            let (next, size) = (header.u64(layout.allnext), header.u64(layout.slot_size));
            let (word, nstk) = (header.u64(layout.typ), header.u64(layout.nstk));
            let possible = word == kind.word && nstk <= MAX_STACK && size <= MAX_OBJECT;
            let whole = header_size + 8 * nstk.min(MAX_STACK) as usize + record_size;
            match windows.get(RuntimeAddr(at), whole)?.filter(|_| possible) {
                Some((bytes, stamp)) => {
                    let (pcs, record) =
                        bytes[header_size..].split_at(whole - header_size - record_size);
                    held += each(Raw { at, size, pcs, record: Record(record), stamp });
                }
                None => refused += 1,
            }
            if held + windows.memory() > limits.memory {
                let limit = (limits.memory >> 20) as u64;
                let what = "MiB of profile records (see --max-memory)";
                return Err(Error::TooMany { what, count: limit + 1, limit });
            }
            at = next;
        }
        Ok(refused)
    }
}

/// The number of the profile's cycle, without the bit that says that it was flushed.
fn number(word: u32) -> u32 {
    word >> 1
}

/// Makes of a look what pprof would publish, and leaves out what can't be.
fn publish(look: Look) -> HeapRecords {
    let Look { mut records, all, cycles } = look;
    // Nothing published at all means that no collection was: then all counts are (MemProfile, clear).
    if !records.collected {
        for (bucket, counts) in records.buckets.iter_mut().zip(all) {
            (bucket.allocs, bucket.frees) = (counts.allocs, counts.frees);
        }
    }
    records.cycles = cycles.unwrap_or_default();
    let all = records.buckets.len();
    let possible = |b: &HeapBucket| {
        let bytes = b.allocs.checked_mul(b.size.max(1));
        b.frees <= b.allocs && bytes.is_some_and(|bytes| i64::try_from(bytes).is_ok())
    };
    records.buckets.retain(possible);
    records.refused += (all - records.buckets.len()) as u64;
    records
}

/// What a list holds.
#[derive(Clone, Copy)]
struct Kind {
    /// `bucketType`.
    word: u64,
    what: &'static str,
}

const HEAP: Kind = Kind { word: 1, what: "the list of heap profile buckets" };
const BLOCK: Kind = Kind { word: 2, what: "the list of block profile buckets" };
const MUTEX: Kind = Kind { word: 3, what: "the list of mutex profile buckets" };

#[cfg(test)]
mod tests;
