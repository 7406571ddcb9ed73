//! Memory read in large aligned windows, for structures that lie close together.
//!
//! In: addresses. Out: the bytes there; the first that is asked for in a window brings the whole
//! window. Each window carries a stamp: a word of the process that was the same before and after the
//! window was read, so that what changes only with that word is of one state. Bounded in memory.

use std::collections::HashMap;

use super::live::Error;
use super::memory::{Batch, Memory, Range};
use crate::address::RuntimeAddr;
use crate::gobin::bytes::u32_at;

const PAGE: u64 = 4096;
const PAGES: usize = 16;
const WINDOW: u64 = PAGE * PAGES as u64;
/// How often a window is read again whose stamp changed meanwhile.
const ATTEMPTS: u32 = 20;

/// Bytes, and the stamp that all their windows have, if it is one.
pub type Stamped<'w> = (&'w [u8], Option<u32>);

/// Windows of one process's memory, kept until dropped.
pub struct Windows<'a, M> {
    memory: &'a M,
    stamp: RuntimeAddr,
    index: HashMap<u64, usize>,
    loaded: Vec<(Batch, u32)>,
    /// Number of the window that was used last, and where it is.
    last: (u64, usize),
    /// Most bytes that are kept.
    limit: usize,
    /// For what lies in two windows.
    joined: Vec<u8>,
}

impl<'a, M: Memory> Windows<'a, M> {
    /// `stamp` is the address of a u32.
    pub fn new(memory: &'a M, stamp: RuntimeAddr, limit: usize) -> Self {
        let (index, loaded, joined) = Default::default();
        Self { memory, stamp, index, loaded, last: (u64::MAX, 0), limit, joined }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.loaded.len() * WINDOW as usize
    }

    /// The stamp of every window; nothing when they differ.
    pub fn stamp(&self) -> Option<u32> {
        let (first, rest) = self.loaded.split_first()?;
        rest.iter().all(|(_, stamp)| *stamp == first.1).then_some(first.1)
    }

    /// The bytes at an address; nothing where there is no memory.
    ///
    /// # Errors
    /// The process is gone, a window's stamp changes all the time, or this would be more memory than
    /// may be held.
    pub fn get(&mut self, at: RuntimeAddr, len: usize) -> Result<Option<Stamped<'_>>, Error> {
        let Some(end) = at.0.checked_add(len as u64).filter(|_| len > 0) else { return Ok(None) };
        let (first, last) = (at.0 / WINDOW, (end - 1) / WINDOW);
        if first == last {
            let window = self.window(first)?;
            let (batch, stamp) = &self.loaded[window];
            return Ok(part(batch, at.0 % WINDOW, len).map(|bytes| (bytes, Some(*stamp))));
        }
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        let mut stamps = Vec::new();
        for number in first..=last {
            let window = self.window(number)?;
            let (batch, stamp) = &self.loaded[window];
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
        let known = self.index.get(&number).copied();
        let at = match known {
            Some(at) => at,
            None => self.load(number)?,
        };
        self.last = (number, at);
        Ok(at)
    }

    fn load(&mut self, number: u64) -> Result<usize, Error> {
        if self.memory() + WINDOW as usize > self.limit {
            let limit = (self.limit >> 20) as u64;
            let what = "MiB of profile records (see --max-memory)";
            return Err(Error::TooMany { what, count: limit + 1, limit });
        }
        let mut batch = Batch::default();
        let stamp = self.read(number, &mut batch)?;
        self.loaded.push((batch, stamp));
        self.index.insert(number, self.loaded.len() - 1);
        Ok(self.loaded.len() - 1)
    }

    /// Reads every window again, into the same memory.
    ///
    /// # Errors
    /// As [`Windows::get`].
    pub fn read_again(&mut self) -> Result<(), Error> {
        let mut loaded = std::mem::take(&mut self.loaded);
        for (number, at) in &self.index {
            if let Some((batch, stamp)) = loaded.get_mut(*at) {
                *stamp = self.read(*number, batch)?;
            }
        }
        self.loaded = loaded;
        Ok(())
    }

    /// A window in so many parts between two stamps. What is read in one call is read in this order.
    fn ranges(&self, number: u64, parts: usize) -> Vec<Range> {
        let stamp = Range { at: self.stamp, len: 4 };
        let len = WINDOW as usize / parts;
        let at = |part: usize| RuntimeAddr(number * WINDOW + (part * len) as u64);
        let parts = (0..parts).map(|part| Range { at: at(part), len });
        std::iter::once(stamp).chain(parts).chain([stamp]).collect()
    }

    /// Reads one window; its stamp.
    fn read(&self, number: u64, batch: &mut Batch) -> Result<u32, Error> {
        for _ in 0..ATTEMPTS {
            // One range is read much faster than many, but only where all of it is mapped.
            let mut pages = 1;
            self.memory.read_many(&self.ranges(number, pages), batch)?;
            if batch.get(1).is_none() {
                pages = PAGES;
                self.memory.read_many(&self.ranges(number, pages), batch)?;
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
    fn addresses_that_can_not_be_and_too_much_are_refused() {
        let memory = memory();
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 2 * WINDOW as usize);
        for (at, len) in [(u64::MAX, 1), (u64::MAX, 8), (u64::MAX - 3, 2), (0, 0)] {
            assert_eq!(get(&mut windows, at, len), None, "{at:#x}");
        }
        let mut windows = Windows::new(&memory, RuntimeAddr(STAMP), 2 * WINDOW as usize);
        assert_eq!(get(&mut windows, WINDOW, 1), None);
        assert_eq!(get(&mut windows, 2 * WINDOW, 1), None);
        let error = windows.get(RuntimeAddr(3 * WINDOW), 1).unwrap_err();
        assert!(error.to_string().contains("--max-memory"), "{error}");
    }
}
