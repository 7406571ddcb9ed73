//! The heap profile as of the end of one collection, to the last count, and which collection that was.
//!
//! In: a [`Live`] process, read again and again. Out: what had been allocated by then from each stack,
//! and what of that this collection or one before it has found dead. Reads what is certain and nothing
//! else (mprof.go, `memRecord`): in the profile's cycle c, which begins when collection c ends, an
//! allocation is counted under c + 2 and an object that is swept under c + 1; what was counted under c
//! is final, and what was counted under c + 1 when sweeping is over. `runtime.GC` moves that over early
//! (`mProf_PostSweep`), but not before sweeping is over. So:
//!
//! - sweeping is over: active + c + c + 1 is as of collection c, whatever was moved;
//! - it goes on, and no next collection has begun: nothing was moved early, and active + c is as of
//!   collection c − 1;
//! - it seems to go on, and the next collection has begun: that is its end, which nothing is read in.

use std::ops::Range;

use super::{ATTEMPTS, Counts, HEAP, Limits, Stacks, WAITS, number};
use crate::address::RuntimeAddr;
use crate::gobin::bytes::{u32_at, u64_at};
use crate::gobin::symbols::{SWEEP_DRAINED, Symbol};
use crate::runtime::live::{Error, Live, Record};
use crate::runtime::memory::{Batch, Memory, Range as Part};
use crate::runtime::windows::Windows;

/// The profile's cycles are counted up to this (mprof.go, `mProfCycleWrap`).
const WRAP: u32 = 3 * (2 << 24);

/// Every bucket of a process that was met, oldest first, with what does not change.
#[derive(Debug, Default)]
pub struct Known {
    stacks: Stacks,
    buckets: Vec<Bucket>,
    /// Bytes held, roughly.
    held: usize,
}

#[derive(Debug)]
struct Bucket {
    at: u64,
    stack: Range<usize>,
    size: u64,
}

impl Known {
    /// Its return addresses, and the size of its objects.
    pub fn bucket(&self, index: u32) -> Option<(&[RuntimeAddr], u64)> {
        let bucket = self.buckets.get(index as usize)?;
        Some((self.stacks.get(&bucket.stack), bucket.size))
    }

    /// Adds buckets that are newer than all others, the newest first.
    fn add(&mut self, new: Vec<Bucket>, stacks: Stacks) {
        let shift = self.stacks.0.len();
        self.held += size_of_val(&stacks.0[..]) + new.len() * size_of::<Bucket>();
        self.stacks.0.extend(stacks.0);
        self.buckets.extend(new.into_iter().rev().map(|bucket| {
            let stack = bucket.stack.start + shift..bucket.stack.end + shift;
            Bucket { stack, ..bucket }
        }));
    }
}

/// Counts of all buckets, in the order of [`Known`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AsOf {
    /// Number of the collection; 0: before the first one.
    pub collection: u32,
    /// Mean bytes between samples; 0 when the sampler is off.
    pub rate: u64,
    pub counts: Vec<Counts>,
    /// Buckets whose header or counts can't be.
    pub refused: u64,
}

/// What was sampled from one stack and size between the ends of two collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// In [`Known`].
    pub bucket: u32,
    /// Alive before it.
    pub before: u64,
    pub allocs: u64,
    pub frees: u64,
}

impl AsOf {
    /// What has changed since an earlier one of the same process.
    pub fn since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = Change> + 'a {
        let then = earlier.counts.iter().copied().chain(std::iter::repeat(Counts::default()));
        (0..).zip(&self.counts).zip(then).filter_map(|((bucket, now), then)| {
            let allocs = now.allocs.checked_sub(then.allocs)?;
            let frees = now.frees.checked_sub(then.frees)?;
            let before = then.allocs.saturating_sub(then.frees);
            (allocs > 0 || frees > 0).then_some(Change { bucket, before, allocs, frees })
        })
    }
}

/// What can be read at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    /// The profile's cycle.
    cycle: u32,
    /// Nothing is left to sweep.
    swept: bool,
    /// Collections begun.
    begun: u32,
    head: u64,
    rate: u64,
}

/// Which collection, and up to which of the profile's cycles counts are added up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Readable {
    collection: u32,
    up_to: u32,
}

impl Moment {
    /// What is certain at this moment.
    ///
    /// # Errors
    /// The profile's cycles are not those of collections.
    fn readable(&self) -> Result<Option<Readable>, Error> {
        let is = |collections: u32| collections % WRAP == self.cycle;
        let ended = match self.begun.checked_sub(1) {
            _ if is(self.begun) => self.begun,
            Some(before) if is(before) => before,
            _ => {
                return Err(Error::Implausible {
                    what: "the heap profile's cycle",
                    detail: format!(
                        "it is {} and {} collections have begun; GODEBUG=gcstoptheworld=2 does that",
                        self.cycle, self.begun
                    ),
                });
            }
        };
        Ok(match self.swept {
            true => Some(Readable { collection: ended, up_to: self.cycle + 1 }),
            // Of the first one that is as of the program's start.
            false if ended == self.begun && ended > 0 => {
                Some(Readable { collection: ended - 1, up_to: self.cycle })
            }
            false => None,
        })
    }
}

impl<M: Memory> Live<M> {
    /// The newest collection that [`Live::heap_as_of`] can read the profile of now; nothing at the very
    /// end of one. And the sampler's rate.
    ///
    /// # Errors
    /// A variable can't be found, the profile's cycles are not those of collections, or the process is
    /// gone.
    pub fn newest_heap(&self) -> Result<(Option<u32>, u64), Error> {
        let Some(moment) = self.moment()? else { return Ok((None, 0)) };
        Ok((moment.readable()?.map(|readable| readable.collection), moment.rate))
    }

    /// Reads the heap profile as of the newest collection that it can be read of. It is read twice, and
    /// believed when both looks agree and nobody was adding counts up. Nothing: collections follow each
    /// other too fast.
    ///
    /// # Errors
    /// As [`Live::newest_heap`]; the list leads nowhere, is another one than before, or longer than
    /// allowed.
    pub fn heap_as_of(&self, known: &mut Known, limits: Limits) -> Result<Option<AsOf>, Error> {
        let mut waits = WAITS;
        for _ in 0..ATTEMPTS {
            if self.is_added_up_soon(&mut waits)? {
                let read = self.try_heap(known, limits)?;
                self.memory.check()?;
                if read.is_some() {
                    return Ok(read);
                }
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn try_heap(&self, known: &mut Known, limits: Limits) -> Result<Option<AsOf>, Error> {
        let Some(before) = self.moment()? else { return Ok(None) };
        let Some(readable) = before.readable()? else { return Ok(None) };
        let cycle = self.address(Symbol::MProfCycle)?;
        let left = limits.memory.saturating_sub(known.held);
        let limits = Limits { memory: left, ..limits };
        let mut windows = Windows::new(&self.memory, cycle, left);
        let (mut new, mut counts) = (Vec::new(), Vec::new());
        let mut stacks = Stacks::default();
        // Known ones that were not met yet: all lie behind the new ones, newest first.
        let mut rest = known.buckets.iter().rev().peekable();
        let all = known.buckets.len();
        let mut is_list = true;
        let refused = self.walk(HEAP, before.head, &mut windows, limits, |raw| {
            counts.push(self.up_to(raw.record, before.cycle, readable.up_to));
            if rest.next_if(|bucket| bucket.at == raw.at).is_some() {
                return size_of::<Counts>();
            }
            is_list &= rest.len() == all;
            let stack = stacks.add(raw.pcs);
            new.push(Bucket { at: raw.at, stack, size: raw.size });
            size_of_val(raw.pcs) + size_of::<Bucket>() + size_of::<Counts>()
        })?;
        if !is_list || rest.next().is_some() {
            return Err(Error::Implausible {
                what: "the list of heap profile buckets",
                detail: "it is not the one that it was".to_owned(),
            });
        }
        let mut agree = self.is_added_up()?;
        windows.read_again();
        let mut then = counts.iter();
        self.walk(HEAP, before.head, &mut windows, limits, |raw| {
            let now = self.up_to(raw.record, before.cycle, readable.up_to);
            agree &= then.next() == Some(&now);
            0
        })?;
        agree &= then.next().is_none() && self.is_added_up()?;
        drop(windows);
        let after = self.moment()?;
        let same = after.is_some_and(|after| {
            // What goes on at the end went on all the time.
            after.cycle == before.cycle
                && (before.swept || after.readable().ok() == Some(Some(readable)))
        });
        if !agree || !same {
            return Ok(None);
        }
        known.add(new, stacks);
        counts.reverse();
        let mut as_of =
            AsOf { collection: readable.collection, rate: before.rate, counts, refused };
        for counts in as_of.counts.iter_mut().filter(|counts| counts.frees > counts.allocs) {
            *counts = Counts::default();
            as_of.refused += 1;
        }
        Ok(Some(as_of))
    }

    /// Active counts and those of the profile's cycles from `cycle` up to `last`.
    fn up_to(&self, record: Record<'_>, cycle: u32, last: u32) -> Counts {
        let (layout, size) = (&self.layout().mem_record, self.layout().mem_cycle.size);
        let due = (cycle..=last).map(|n| self.counts(record, layout.future + n % 3 * size));
        due.fold(self.counts(record, layout.active), Counts::plus)
    }

    /// Nothing: the profile's cycle changed meanwhile.
    fn moment(&self) -> Result<Option<Moment>, Error> {
        let word = |symbol, len| Ok::<_, Error>(Part { at: self.address(symbol)?, len });
        let cycle = word(Symbol::MProfCycle, 4)?;
        let ranges = [
            cycle,
            word(Symbol::MBuckets, 8)?,
            word(Symbol::MemProfileRate, 8)?,
            word(Symbol::SweepState, 4)?,
            // After the state: as long as no collection has begun, the state is the last one's.
            word(Symbol::WorkCycles, 4)?,
            cycle,
        ];
        let mut batch = Batch::default();
        self.memory.read_many(&ranges, &mut batch)?;
        let unmapped = |index: usize| Error::Implausible {
            what: "a variable of the runtime",
            detail: format!("there is no memory at {}", ranges[index].at),
        };
        let bytes = |index: usize| batch.get(index).ok_or_else(|| unmapped(index));
        let u32_of = |index| u32_at(bytes(index)?, 0).ok_or_else(|| unmapped(index));
        let u64_of = |index| u64_at(bytes(index)?, 0).ok_or_else(|| unmapped(index));
        let cycles = [number(u32_of(0)?), number(u32_of(5)?)];
        Ok((cycles[0] == cycles[1]).then_some(Moment {
            cycle: cycles[0],
            head: u64_of(1)?,
            // It is an int; what is below 0 is off too (malloc.go, `nextSample`).
            rate: i64::from_le_bytes(u64_of(2)?.to_le_bytes()).try_into().unwrap_or(0),
            swept: u64::from(u32_of(3)?) == SWEEP_DRAINED,
            begun: u32_of(4)?,
        }))
    }
}
