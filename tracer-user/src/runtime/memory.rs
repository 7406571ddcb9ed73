//! Reads the memory of another process: one range, or thousands of them in few system calls.
//!
//! In: a pid and its opened `/proc/PID/mem`, which belongs to one exec of one process for good. Out:
//! bytes, or why there are none. Knows nothing of Go.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::address::RuntimeAddr;

/// Most ranges of one system call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const MAX_RANGES: usize = 1024;
/// Most bytes that one call of [`Memory::read_many`] brings.
pub const MAX_BATCH: usize = 256 << 20;

/// Why memory can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error("process {pid} ended or started another program while it was read")]
    Gone { pid: u32 },
    #[error(
        "process {pid}: not allowed to read its memory; it takes root or CAP_SYS_PTRACE, and no \
         security module against it"
    )]
    Refused { pid: u32 },
    #[error("process {pid} has no memory at {at} (+{len})")]
    Unmapped { pid: u32, at: RuntimeAddr, len: usize },
    #[error("{len} bytes at once, more than the {limit} that heaptap reads")]
    TooMuch { len: usize, limit: usize },
    #[error("process {pid}: its memory can't be read: {errno}")]
    Read { pid: u32, errno: Errno },
}

/// Where bytes are in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub at: RuntimeAddr,
    pub len: usize,
}

/// What [`Memory::read_many`] brought: the bytes of each range, or nothing where there is no memory.
/// Kept and filled again to save allocations.
#[derive(Debug, Default)]
pub struct Batch {
    data: Vec<u8>,
    /// End of each range in `data`, and whether it was read.
    ends: Vec<(usize, bool)>,
}

impl Batch {
    /// The bytes of a range, by its place among those that were asked for.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, read) = *self.ends.get(index)?;
        read.then(|| &self.data[start..end])
    }

    /// How many ranges were asked for.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of neighbouring ranges as one, when all of them were read.
    pub fn span(&self, ranges: std::ops::Range<usize>) -> Option<&[u8]> {
        let read = self.ends.get(ranges.clone())?.iter().all(|(_, read)| *read);
        let end = self.ends.get(ranges.end.checked_sub(1)?)?.0;
        if read { self.data.get(self.start(ranges.start)..end) } else { None }
    }

    /// The bytes of every range, in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.ends.len()).map(|index| self.get(index))
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * size_of::<(usize, bool)>()
    }

    /// Makes room for `ranges`, all of them unread.
    fn prepare(&mut self, ranges: &[Range]) -> Result<(), MemoryError> {
        self.ends.clear();
        let mut end = 0usize;
        for range in ranges {
            end = end.saturating_add(range.len);
            self.ends.push((end, false));
        }
        if end > MAX_BATCH {
            self.ends.clear();
            return Err(MemoryError::TooMuch { len: end, limit: MAX_BATCH });
        }
        self.data.resize(end, 0);
        Ok(())
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before].0)
    }
}

/// Things of one length at different places, read with as few ranges as can be: those that lie in the page that
/// another one begins in are read with it, which is much faster. The whole of a page is there or nothing.
#[derive(Debug)]
pub struct Neighbours {
    ranges: Vec<Range>,
    /// Of each thing, its range and where it lies in that.
    within: Vec<(usize, usize)>,
    len: usize,
}

impl Neighbours {
    /// Only those that follow one another are looked at as neighbours.
    pub fn new(places: impl IntoIterator<Item = RuntimeAddr>, len: usize) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        let mut within = Vec::new();
        for at in places {
            match ranges.last_mut().filter(|last| is_near(last, at, len)) {
                Some(last) => {
                    let offset = (at.0 - last.at.0) as usize;
                    last.len = last.len.max(offset + len);
                    within.push((ranges.len() - 1, offset));
                }
                None => {
                    ranges.push(Range { at, len });
                    within.push((ranges.len() - 1, 0));
                }
            }
        }
        Self { ranges, within, len }
    }

    /// What is to be read.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The bytes of each thing in turn, of what was read.
    pub fn of<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.within.iter().map(|(range, offset)| batch.get(*range)?.get(*offset..offset + self.len))
    }
}

/// Whether something at this address lies in the page that a range begins in.
fn is_near(range: &Range, at: RuntimeAddr, len: usize) -> bool {
    const PAGE: u64 = 4096;
    let last = at.0.saturating_add(len as u64 - 1);
    at >= range.at && last / PAGE == range.at.0 / PAGE
}

/// The memory of a process.
pub trait Memory {
    /// Fills `into` from an address on.
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError>;

    /// Reads many ranges, one after the other; those where there is no memory are left out of the batch.
    ///
    /// # Errors
    /// The process is gone or may not be read, or the ranges are more than [`MAX_BATCH`] together.
    fn read_many(&self, ranges: &[Range], batch: &mut Batch) -> Result<(), MemoryError> {
        batch.prepare(ranges)?;
        for (index, range) in ranges.iter().enumerate() {
            let start = batch.start(index);
            let end = batch.ends[index].0;
            match self.read(range.at, &mut batch.data[start..end]) {
                Ok(()) => batch.ends[index].1 = true,
                Err(MemoryError::Unmapped { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills a few bytes as [`Self::read`] does; they need no [`Self::check`].
    ///
    /// # Errors
    /// Those of both.
    fn read_checked(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        self.read(at, into)?;
        self.check()
    }

    /// Whether this still is the memory of the same exec of the same process: asked after reading and
    /// before what was read is believed.
    fn check(&self) -> Result<(), MemoryError>;
}

/// The memory of a real process.
#[derive(Debug)]
pub struct ProcessMemory {
    pid: u32,
    /// `/proc/PID/mem`.
    file: File,
    /// An address that the program has for as long as it runs.
    landmark: RuntimeAddr,
}

impl ProcessMemory {
    /// `file` is the process's opened `/proc/PID/mem`; `landmark` an address of its program's text.
    ///
    /// # Errors
    /// The landmark can't be read.
    pub fn new(pid: u32, file: File, landmark: RuntimeAddr) -> Result<Self, MemoryError> {
        let memory = Self { pid, file, landmark };
        memory.check()?;
        Ok(memory)
    }

    /// One call for up to [`MAX_RANGES`] ranges; how many bytes were read from the front.
    fn readv(&self, ranges: &[RemoteIoVec], into: &mut [u8]) -> Result<usize, Errno> {
        let pid = Pid::from_raw(i32::try_from(self.pid).map_err(|_| Errno::ESRCH)?);
        process_vm_readv(pid, &mut [IoSliceMut::new(into)], ranges)
    }

    /// Reads through the file, which needs no other system call to be allowed.
    fn read_file(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        let pid = self.pid;
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], at.0.wrapping_add(done as u64)) {
                Ok(0) => return Err(MemoryError::Gone { pid }),
                Ok(read) => done += read,
                Err(error) => {
                    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    return Err(self.error(errno, at, into.len()));
                }
            }
        }
        Ok(())
    }

    fn error(&self, errno: Errno, at: RuntimeAddr, len: usize) -> MemoryError {
        let pid = self.pid;
        match errno {
            Errno::ESRCH => MemoryError::Gone { pid },
            Errno::EPERM | Errno::EACCES => MemoryError::Refused { pid },
            // An address beyond what the file can be asked for is no memory either.
            Errno::EFAULT | Errno::EIO | Errno::EINVAL | Errno::EOVERFLOW => {
                MemoryError::Unmapped { pid, at, len }
            }
            errno => MemoryError::Read { pid, errno },
        }
    }
}

impl Memory for ProcessMemory {
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        if into.is_empty() {
            return Ok(());
        }
        if into.len() > MAX_BATCH {
            return Err(MemoryError::TooMuch { len: into.len(), limit: MAX_BATCH });
        }
        let range = RemoteIoVec { base: at.0 as usize, len: into.len() };
        match self.readv(&[range], into) {
            Ok(read) if read == into.len() => Ok(()),
            // The end of a mapping: the file says the same in one way for all kernels.
            Ok(_) => self.read_file(at, into),
            Err(Errno::EPERM | Errno::ENOSYS | Errno::EACCES) => self.read_file(at, into),
            Err(errno) => Err(self.error(errno, at, into.len())),
        }
    }

    fn read_many(&self, ranges: &[Range], batch: &mut Batch) -> Result<(), MemoryError> {
        batch.prepare(ranges)?;
        let remote = |r: &Range| RemoteIoVec { base: r.at.0 as usize, len: r.len };
        let remote: Vec<RemoteIoVec> = ranges.iter().map(remote).collect();
        let mut index = 0;
        while index < ranges.len() {
            let end = ranges.len().min(index + MAX_RANGES);
            let (from, to) = (batch.start(index), batch.ends[end - 1].0);
            if from == to {
                batch.ends[index..end].iter_mut().for_each(|(_, read)| *read = true);
                index = end;
                continue;
            }
            let read = match self.readv(&remote[index..end], &mut batch.data[from..to]) {
                Ok(read) => read,
                Err(Errno::EFAULT) => 0,
                Err(Errno::EPERM | Errno::ENOSYS | Errno::EACCES) => {
                    return read_each(self, &ranges[index..], batch, index);
                }
                Err(errno) => return Err(self.error(errno, ranges[index].at, ranges[index].len)),
            };
            // What was read is whole up to the first range without memory; that one is skipped.
            while index < end && batch.ends[index].0 <= from + read {
                batch.ends[index].1 = true;
                index += 1;
            }
            if index < end {
                index += 1;
            }
        }
        Ok(())
    }

    fn read_checked(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        self.read_file(at, into)
    }

    fn check(&self) -> Result<(), MemoryError> {
        self.read_file(self.landmark, &mut [0])
    }
}

/// Reads the ranges from `first` on through the file, one by one.
fn read_each(
    memory: &ProcessMemory,
    ranges: &[Range],
    batch: &mut Batch,
    first: usize,
) -> Result<(), MemoryError> {
    for (index, range) in ranges.iter().enumerate().map(|(i, r)| (first + i, r)) {
        let (start, end) = (batch.start(index), batch.ends[index].0);
        match memory.read_file(range.at, &mut batch.data[start..end]) {
            Ok(()) => batch.ends[index].1 = true,
            Err(MemoryError::Unmapped { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fake {
    //! A process's memory made by hand.

    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::*;

    /// Blocks of bytes by address. What is between them is unmapped.
    #[derive(Debug, Default)]
    pub struct FakeMemory {
        blocks: RefCell<BTreeMap<u64, Vec<u8>>>,
        pub gone: Cell<bool>,
        /// Counts reads.
        pub reads: Cell<usize>,
    }

    impl FakeMemory {
        /// Maps a block.
        pub fn map(&self, at: u64, bytes: Vec<u8>) {
            self.blocks.borrow_mut().insert(at, bytes);
        }

        /// Writes into a mapped block.
        pub fn put(&self, at: u64, bytes: &[u8]) {
            let mut blocks = self.blocks.borrow_mut();
            let (start, block) = blocks.range_mut(..=at).next_back().expect("no block there");
            let from = (at - start) as usize;
            block[from..from + bytes.len()].copy_from_slice(bytes);
        }

        /// Writes a word.
        pub fn put_u64(&self, at: u64, value: u64) {
            self.put(at, &value.to_le_bytes());
        }
    }

    impl Memory for FakeMemory {
        fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
            self.reads.set(self.reads.get() + 1);
            self.check()?;
            let blocks = self.blocks.borrow();
            let found = blocks.range(..=at.0).next_back().and_then(|(start, block)| {
                let from = (at.0 - start) as usize;
                block.get(from..from.checked_add(into.len())?)
            });
            let unmapped = MemoryError::Unmapped { pid: 1, at, len: into.len() };
            into.copy_from_slice(found.ok_or(unmapped)?);
            Ok(())
        }

        fn check(&self) -> Result<(), MemoryError> {
            if self.gone.get() { Err(MemoryError::Gone { pid: 1 }) } else { Ok(()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, whose memory everybody may read who may trace at all.
    fn own(landmark: &u8) -> ProcessMemory {
        let file = File::open("/proc/self/mem").unwrap();
        let landmark = RuntimeAddr(std::ptr::from_ref(landmark) as u64);
        ProcessMemory::new(std::process::id(), file, landmark).unwrap()
    }

    fn at<T>(place: &[T]) -> RuntimeAddr {
        RuntimeAddr(place.as_ptr() as u64)
    }

    #[test]
    fn neighbours_of_a_page_are_read_in_one() {
        let memory = fake::FakeMemory::default();
        memory.map(0x5000, (0..=255).cycle().take(0x2000).collect());
        // The third begins in the page and ends in the next one; the fifth lies before the fourth; the last is nowhere.
        let places = [0x5010, 0x5f00, 0x5ffc, 0x6020, 0x6010, 0x9000].map(RuntimeAddr);
        let neighbours = Neighbours::new(places, 8);
        let ranges: Vec<(u64, usize)> =
            neighbours.ranges().iter().map(|range| (range.at.0, range.len)).collect();
        let expected = [(0x5010, 0xef8), (0x5ffc, 8), (0x6020, 8), (0x6010, 8), (0x9000, 8)];
        assert_eq!(ranges, expected);
        let mut batch = Batch::default();
        memory.read_many(neighbours.ranges(), &mut batch).unwrap();
        let firsts: Vec<Option<u8>> = neighbours.of(&batch).map(|bytes| Some(bytes?[0])).collect();
        assert_eq!(firsts, [Some(0x10), Some(0), Some(0xfc), Some(0x20), Some(0x10), None]);
        assert!(neighbours.of(&batch).flatten().all(|bytes| bytes.len() == 8));
    }

    #[test]
    fn what_is_there_is_read() {
        let place: Vec<u8> = (0..=255).collect();
        let memory = own(&place[0]);
        let mut into = [0; 16];
        memory.read(RuntimeAddr(at(&place).0 + 32), &mut into).unwrap();
        assert_eq!(into[..], place[32..48]);
        memory.read_file(RuntimeAddr(at(&place).0 + 64), &mut into).unwrap();
        assert_eq!(into[..], place[64..80]);
        memory.read(RuntimeAddr(0), &mut []).unwrap();
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        let memory = own(&0);
        for address in [0, 0x10, u64::MAX - 100, 0xffff_8000_0000_0000, 1 << 63] {
            let at = RuntimeAddr(address);
            let expected = MemoryError::Unmapped { pid: std::process::id(), at, len: 8 };
            assert_eq!(memory.read(at, &mut [0; 8]), Err(expected.clone()), "{address:#x}");
            assert_eq!(memory.read_file(at, &mut [0; 8]), Err(expected), "{address:#x}");
        }
    }

    /// Ranges of which every seventh is unmapped and some are empty, more than one call takes.
    fn many(place: &[u8]) -> Vec<Range> {
        let range = |i: usize| match i % 7 {
            3 => Range { at: RuntimeAddr(16), len: 8 },
            5 => Range { at: at(place), len: 0 },
            _ => Range { at: RuntimeAddr(at(place).0 + i as u64 % 100), len: i % 60 },
        };
        (0..5000).map(range).collect()
    }

    fn assert_read(place: &[u8], batch: &Batch) {
        assert_eq!(batch.iter().count(), 5000);
        for (i, bytes) in batch.iter().enumerate() {
            match i % 7 {
                3 => assert_eq!(bytes, None, "{i}"),
                5 => assert_eq!(bytes, Some(&[][..]), "{i}"),
                _ => assert_eq!(bytes, Some(&place[i % 100..i % 100 + i % 60]), "{i}"),
            }
        }
        assert_eq!(batch.get(5000), None);
    }

    #[test]
    fn many_ranges_with_holes() {
        let place: Vec<u8> = (0..=255).collect();
        let memory = own(&place[0]);
        let ranges = many(&place);
        let mut batch = Batch::default();
        memory.read_many(&ranges, &mut batch).unwrap();
        assert_read(&place, &batch);
        // The other way, where process_vm_readv is not allowed.
        batch.prepare(&ranges).unwrap();
        read_each(&memory, &ranges, &mut batch, 0).unwrap();
        assert_read(&place, &batch);
        memory.read_many(&[], &mut batch).unwrap();
        assert_eq!(batch.iter().count(), 0);
    }

    #[test]
    fn more_than_is_sensible_is_refused_before_memory_is_taken() {
        let memory = own(&0);
        let huge = Range { at: RuntimeAddr(4096), len: usize::MAX / 2 };
        let mut batch = Batch::default();
        let error = memory.read_many(&[huge; 3], &mut batch).unwrap_err();
        assert!(matches!(error, MemoryError::TooMuch { limit: MAX_BATCH, .. }));
        assert!(batch.memory() < 4096);
    }
}
