//! Memory read in large aligned windows, for structures that lie close together.
//!
//! In: addresses. Out: the bytes there; the first that is asked for in a window brings the whole
//! window. Each window carries a stamp: a word of the process that was the same before and after the
//! window was read, so that what changes only with that word is of one state. A few windows are kept and
//! used again, the longest unused first, so that little memory is touched for the first time, which
//! takes longer than copying into it; more where one is asked for again that is not kept any more.

use std::collections::{HashMap, HashSet};

use super::live::Error;
use super::memory::{Batch, Memory, Range};
use crate::address::RuntimeAddr;
use crate::gobin::bytes::u32_at;

const PAGE: u64 = 4096;
const PAGES: usize = 16;
const WINDOW: u64 = PAGE * PAGES as u64;
/// Windows kept at first.
const KEPT: usize = 16;
/// How often a window is read again whose stamp changed meanwhile.
const ATTEMPTS: u32 = 20;

/// Bytes, and the stamp that all their windows have, if it is one.
pub type Stamped<'w> = (&'w [u8], Option<u32>);

/// Windows of one process's memory.
pub struct Windows<'a, M> {
    memory: &'a M,
    stamp: RuntimeAddr,
    /// Where windows are in `kept`, by their number.
    index: HashMap<u64, usize>,
    kept: Vec<Window>,
    /// Number of the window that was used last, and where it is.
    last: (u64, usize),
    /// Most windows that are kept, now and ever.
    most: usize,
    limit: usize,
    clock: u64,
    /// Windows that were read in this pass, and how many more than once.
    seen: HashSet<u64>,
    again: usize,
    stamps: Stamps,
    /// For what lies in two windows.
    joined: Vec<u8>,
}

struct Window {
    number: u64,
    batch: Batch,
    stamp: u32,
    /// When it was used last.
    used: u64,
}

/// The stamps of all windows that were read.
#[derive(Clone, Copy)]
enum Stamps {
    None,
    All(u32),
    Differ,
}

impl<'a, M: Memory> Windows<'a, M> {
    /// `stamp` is the address of a u32; `limit` is in bytes.
    pub fn new(memory: &'a M, stamp: RuntimeAddr, limit: usize) -> Self {
        let (index, kept, seen, joined) = Default::default();
        let limit = (limit / WINDOW as usize).max(2);
        Self {
            memory,
            stamp,
            index,
            kept,
            last: (u64::MAX, 0),
            most: KEPT.min(limit),
            limit,
            clock: 0,
            seen,
            again: 0,
            stamps: Stamps::None,
            joined,
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.kept.len() * WINDOW as usize
    }

    /// The stamp of every window that was read in this pass; nothing when they differ.
    pub fn stamp(&self) -> Option<u32> {
        match self.stamps {
            Stamps::All(stamp) => Some(stamp),
            Stamps::None | Stamps::Differ => None,
        }
    }

    /// Begins another pass, in which every window is read again.
    pub fn read_again(&mut self) {
        self.index.clear();
        self.seen.clear();
        for window in &mut self.kept {
            window.used = 0;
        }
        (self.last, self.clock, self.again) = ((u64::MAX, 0), 0, 0);
        self.stamps = Stamps::None;
    }

    /// The bytes at an address; nothing where there is no memory.
    ///
    /// # Errors
    /// The process is gone, or a window's stamp changes all the time.
    pub fn get(&mut self, at: RuntimeAddr, len: usize) -> Result<Option<Stamped<'_>>, Error> {
        let Some(end) = at.0.checked_add(len as u64).filter(|_| len > 0) else { return Ok(None) };
        let (first, last) = (at.0 / WINDOW, (end - 1) / WINDOW);
        if first == last {
            let at_window = self.window(first)?;
            let Window { batch, stamp, .. } = &self.kept[at_window];
            return Ok(part(batch, at.0 % WINDOW, len).map(|bytes| (bytes, Some(*stamp))));
        }
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        let mut stamps = Vec::new();
        for number in first..=last {
            let at_window = self.window(number)?;
            let Window { batch, stamp, .. } = &self.kept[at_window];
            let from = at.0.max(number * WINDOW);
            let to = end.min((number + 1).saturating_mul(WINDOW));
            joined.extend(part(batch, from % WINDOW, (to - from) as usize).unwrap_or_default());
            stamps.push(*stamp);
        }
        self.joined = joined;
        let whole = self.joined.len() == len;
        let stamp = stamps.first().copied().filter(|first| stamps.iter().all(|s| s == first));
        Ok(whole.then_some((&self.joined[..], stamp)))
    }

    /// Where the window of a number is; reads it when it is not there.
    fn window(&mut self, number: u64) -> Result<usize, Error> {
        if self.last.0 == number {
            return Ok(self.last.1);
        }
        let at = match self.index.get(&number) {
            Some(at) => *at,
            None => self.load(number)?,
        };
        self.clock += 1;
        self.kept[at].used = self.clock;
        self.last = (number, at);
        Ok(at)
    }

    fn load(&mut self, number: u64) -> Result<usize, Error> {
        if !self.seen.insert(number) {
            // Too few are kept for the order in which they are asked for.
            self.again += 1;
            if self.again > self.most {
                (self.most, self.again) = ((2 * self.most).min(self.limit), 0);
            }
        }
        let at = if self.kept.len() < self.most {
            self.kept.push(Window { number, batch: Batch::default(), stamp: 0, used: 0 });
            self.kept.len() - 1
        } else {
            let oldest = self.kept.iter().enumerate().min_by_key(|(_, window)| window.used);
            oldest.map_or(0, |(at, _)| at)
        };
        let mut batch = std::mem::take(&mut self.kept[at].batch);
        // What was there is gone, whether the new one can be read or not.
        self.index.remove(&self.kept[at].number);
        self.last = (u64::MAX, 0);
        let stamp = self.read(number, &mut batch)?;
        self.stamps = match self.stamps {
            Stamps::None => Stamps::All(stamp),
            Stamps::All(before) if before == stamp => Stamps::All(stamp),
            _ => Stamps::Differ,
        };
        self.kept[at] = Window { number, batch, stamp, used: 0 };
        self.index.insert(number, at);
        Ok(at)
    }

    /// Reads one window; its stamp.
    fn read(&self, number: u64, batch: &mut Batch) -> Result<u32, Error> {
        for _ in 0..ATTEMPTS {
            // One range is read much faster than many, but only where all of it is mapped. What is read
            // in one call is read in this order.
            let stamp = Range { at: self.stamp, len: 4 };
            let start = RuntimeAddr(number * WINDOW);
            let whole = [stamp, Range { at: start, len: WINDOW as usize }, stamp];
            self.memory.read_many(&whole, batch)?;
            let mut pages = 1;
            if batch.get(1).is_none() {
                pages = PAGES;
                let page = |n: u64| RuntimeAddr(start.0 + n * PAGE);
                let parts = (0..PAGES as u64).map(|n| Range { at: page(n), len: PAGE as usize });
                let ranges: Vec<Range> = [stamp].into_iter().chain(parts).chain([stamp]).collect();
                self.memory.read_many(&ranges, batch)?;
            }
            let word = |index| batch.get(index).and_then(|bytes| u32_at(bytes, 0));
            let (before, after) = (word(0), word(pages + 1));
            let Some(stamp) = before else {
                return Err(Error::Implausible {
                    what: "an address",
                    detail: format!("there is no memory at {}", self.stamp),
                });
            };
            if before == after {
                return Ok(stamp);
            }
        }
        Err(Error::Unsteady { what: "the number of the profile's cycle", attempts: ATTEMPTS })
    }
}

/// Bytes of one window.
fn part(batch: &Batch, from: u64, len: usize) -> Option<&[u8]> {
    // Range 0 is the stamp. A window that was read in one has three ranges.
    if batch.len() == 3 {
        return batch.get(1)?.get(from as usize..from as usize + len);
    }
    let end = from + len as u64;
    let pages = (from / PAGE) as usize + 1..((end - 1) / PAGE) as usize + 2;
    let skip = (from % PAGE) as usize;
    batch.span(pages)?.get(skip..skip + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::memory::fake::FakeMemory;

    const STAMP: u64 = 0x100;

    fn memory() -> FakeMemory {
        let memory = FakeMemory::default();
        memory.map(STAMP, vec![7, 0, 0, 0]);
        memory
    }

    fn get(windows: &mut Windows<'_, FakeMemory>, at: u64, len: usize) -> Option<Vec<u8>> {
        windows.get(RuntimeAddr(at), len).unwrap().map(|(bytes, _)| bytes.to_vec())
    }

    #[test]
    fn neighbours_cost_no_read_and_holes_are_told() {
        let memory = memory();
        let start = 5 * WINDOW;
        memory.map(start, (0..8192u32).map(|i| (i % 251) as u8).collect());
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 1 << 20);
        let expect = |at: u64, len: u64| Some((at..at + len).map(|i| (i % 251) as u8).collect());
        assert_eq!(get(&mut windows, start + 10, 20), expect(10, 20));
        let reads = memory.reads.get();
        assert_eq!(get(&mut windows, start + 4090, 20), expect(4090, 20));
        assert_eq!(get(&mut windows, start + 8191, 1), expect(8191, 1));
        assert_eq!(get(&mut windows, start + 8190, 20), None, "the third page is not mapped");
        assert_eq!(get(&mut windows, start + 9000, 20), None);
        assert_eq!(memory.reads.get(), reads);
        assert_eq!((windows.stamp(), windows.memory()), (Some(7), WINDOW as usize));
    }

    #[test]
    fn what_lies_in_two_windows_is_joined() {
        let memory = memory();
        memory.map(WINDOW * 2 - 4096, vec![1; 4096]);
        memory.map(WINDOW * 2, vec![2; 4096]);
        memory.map(WINDOW * 3 - 4096, vec![2; 4096]);
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 1 << 20);
        assert_eq!(get(&mut windows, WINDOW * 2 - 3, 5), Some(vec![1, 1, 1, 2, 2]));
        memory.put(STAMP, &[8]);
        memory.map(WINDOW * 3, vec![3; 4096]);
        let found = windows.get(RuntimeAddr(WINDOW * 3 - 1), 2).unwrap();
        assert_eq!(found, Some((&[2, 3][..], None)), "of two states");
        assert_eq!(windows.stamp(), None);
    }

    #[test]
    fn addresses_that_can_not_be() {
        let memory = memory();
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 2 * WINDOW as usize);
        for (at, len) in [(u64::MAX, 1), (u64::MAX, 8), (u64::MAX - 3, 2), (0, 0)] {
            assert_eq!(get(&mut windows, at, len), None, "{at:#x}");
        }
    }

    #[test]
    fn few_are_kept_more_where_they_are_asked_for_again_and_never_more_than_allowed() {
        let memory = memory();
        let count = 4 * KEPT as u64;
        for number in 1..=count {
            memory.map(number * WINDOW, vec![number as u8; WINDOW as usize]);
        }
        let ask = |windows: &mut Windows<'_, FakeMemory>, number: u64| {
            assert_eq!(get(windows, number * WINDOW + 5, 2), Some(vec![number as u8; 2]));
            windows.kept.len()
        };
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 1 << 30);
        for number in 1..=count {
            assert!(ask(&mut windows, number) <= KEPT);
        }
        // The latest are there.
        let reads = memory.reads.get();
        assert_eq!(ask(&mut windows, count - 1), KEPT);
        assert_eq!(memory.reads.get(), reads);
        // One after the other, again and again, is the worst order.
        for number in (0..10).flat_map(|_| 1..=count) {
            ask(&mut windows, number);
        }
        let reads = memory.reads.get();
        for number in 1..=count {
            ask(&mut windows, number);
        }
        assert_eq!(memory.reads.get(), reads, "all are kept by now");
        memory.put(count * WINDOW + 5, &[77, 77]);
        windows.read_again();
        assert_eq!(get(&mut windows, count * WINDOW + 5, 2), Some(vec![77; 2]));
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 3 * WINDOW as usize);
        for number in (0..10).flat_map(|_| 1..count) {
            assert!(ask(&mut windows, number) <= 3);
        }
    }
}
