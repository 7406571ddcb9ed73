//! What is searched of the records of all functions: one pass over them, which keeps little of each.
//!
//! In: the file's records, of which 12 MB in a 90 MB binary go through a small buffer: to touch fresh
//! memory takes longer than to read. Out: an [`Index`]. Knows the layout of a record, and no release.

use super::bytes::{u8_at, u32_at};
use super::error::Error;
use super::opened::Opened;
use super::pclntab::{Format, Header, inline_tree};

/// Longest record that is looked at: 44 bytes, and 4 for each of its tables.
pub const MAX_RECORD: u64 = 1 << 10;
/// Bytes that are read together.
const BUFFER: u64 = 256 << 10;
/// How often, at most: the largest tables accepted take half of them when records are in order.
const MAX_READS: u32 = 4096;
/// An offset that no name and no tree has; the runtime's own mark for it.
const ABSENT: u32 = u32::MAX;

/// All functions by ascending address.
#[derive(Debug)]
pub struct Index {
    entries: Vec<Entry>,
    /// Where the last one ends.
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where it begins, from the start of text on.
    start: u32,
    /// Offset in the table of names; [`ABSENT`] when the record is damaged.
    name: u32,
    /// Its inline tree; [`ABSENT`] when it has none.
    inline_tree: u32,
    func_id: u8,
}

impl Index {
    /// Reads the index, which begins at an offset of the file and with its records takes `len` bytes.
    pub fn read(file: &Opened, header: &Header, at: u64, len: u64) -> Result<Self, Error> {
        let cut = Error::NoPclntab("it is shorter than its index");
        let mut slots = Window { file, at, len, start: 0, bytes: Vec::new(), reads: 0 };
        let mut records = Window { bytes: Vec::new(), ..slots };
        let mut entries = Vec::with_capacity(header.functions as usize);
        for index in 0..header.functions {
            let slot = slots.get(8 * index, 8)?;
            let (Some(start), Some(offset)) = (u32_at(slot, 0), u32_at(slot, 4)) else {
                return Err(cut);
            };
            let record = records.get(offset.into(), MAX_RECORD)?;
            entries.push(Entry::of(header.format, start, record));
        }
        let end = u32_at(slots.get(8 * header.functions, 4)?, 0).ok_or(cut)?;
        Ok(Self { entries, end })
    }

    /// Number of functions.
    pub fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Where function `index` begins, from the start of text on; at `len()` where the last one ends.
    pub fn start(&self, index: u32) -> Option<u32> {
        let end = (index == self.len()).then_some(self.end);
        self.entries.get(index as usize).map(|entry| entry.start).or(end)
    }

    /// The function that lies at an offset.
    pub fn at(&self, offset: u32) -> Option<u32> {
        if offset >= self.end {
            return None;
        }
        (self.entries.partition_point(|entry| entry.start <= offset) as u32).checked_sub(1)
    }

    /// Offset in the table of names, and FuncID.
    pub fn name(&self, index: u32) -> Option<(u32, u8)> {
        let entry = self.entries.get(index as usize)?;
        Some((entry.name, entry.func_id)).filter(|(name, _)| *name != ABSENT)
    }

    /// The offset of each function's name, with the function.
    pub fn names(&self) -> impl Iterator<Item = (u32, u32)> {
        let names = self.entries.iter().map(|entry| entry.name).zip(0..);
        names.filter(|(name, _)| *name != ABSENT)
    }

    /// Each function's inline tree, with the function.
    pub fn inline_trees(&self) -> impl Iterator<Item = (u32, u32)> {
        let trees = self.entries.iter().map(|entry| entry.inline_tree).zip(0..);
        trees.filter(|(tree, _)| *tree != ABSENT)
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

impl Entry {
    fn of(format: Format, start: u32, record: &[u8]) -> Self {
        let name = u32_at(record, 4).unwrap_or(ABSENT);
        let tree = inline_tree(format, record).flatten().unwrap_or(ABSENT);
        match u8_at(record, format.func_size() - 4) {
            Some(func_id) => Self { start, name, inline_tree: tree, func_id },
            None => Self { start, name: ABSENT, inline_tree: ABSENT, func_id: 0 },
        }
    }
}

/// Part of a file that is read from its beginning to its end, more or less.
struct Window<'a> {
    file: &'a Opened,
    /// Where the part begins, and how long it is.
    at: u64,
    len: u64,
    /// What is in memory, and where in the part.
    start: u64,
    bytes: Vec<u8>,
    reads: u32,
}

impl Window<'_> {
    /// That many bytes from an offset on, or those that there are.
    fn get(&mut self, offset: u64, wanted: u64) -> Result<&[u8], Error> {
        let wanted = wanted.min(self.len.saturating_sub(offset));
        let skip = offset.wrapping_sub(self.start);
        if skip.checked_add(wanted).is_none_or(|end| end > self.bytes.len() as u64) {
            return self.read(offset).map(|bytes| &bytes[..wanted as usize]);
        }
        Ok(&self.bytes[skip as usize..(skip + wanted) as usize])
    }

    fn read(&mut self, offset: u64) -> Result<&[u8], Error> {
        self.reads += 1;
        if self.reads > MAX_READS {
            return Err(Error::NoPclntab("its records are in no order"));
        }
        let len = BUFFER.min(self.len.saturating_sub(offset));
        self.bytes.resize(len as usize, 0);
        self.file.read_into(&mut self.bytes, self.at + offset)?;
        self.start = offset;
        Ok(&self.bytes)
    }
}
