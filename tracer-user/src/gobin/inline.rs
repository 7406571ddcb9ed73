//! Inline trees: which calls were inlined into a function, and where.
//!
//! In: the function table and the module's `gofunc`. Out: records by tree and index. A tree says at
//! its index i what call i is and where in the function its caller's code lies
//! (runtime/symtabinl.go). Trees of a wrong `gofunc` decode to nonsense, so a sample is checked.

use super::address_table::AddressTable;
use super::bytes::{u8_at, u32_at};
use super::error::Error;
use super::image::Image;
use super::pclntab::{Format, Pclntab};
use crate::address::VAddr;

/// Most bytes between the first and the last tree; 4 MB in a 90 MB binary.
const MAX_TREES: u64 = 256 << 20;
/// Most records that are looked at in search of a name, and functions for each of them.
const MAX_CHECKED: usize = 4096;
const MAX_SHARED: usize = 16;
/// Most entries of address tables that are decoded for that.
const MAX_DECODED: u64 = 64 << 20;
/// Bytes of trees that are looked at together.
const BLOCK: usize = 128;
/// How many functions' trees are checked before they are believed.
const SAMPLE: usize = 256;

/// All inline trees of a binary.
#[derive(Debug)]
pub struct InlineTrees {
    data: Vec<u8>,
    /// Offset from `gofunc` of what `data` begins with.
    start: u32,
    format: Format,
}

/// One inlined call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlinedCall {
    /// Offset in the table of names.
    pub name: u32,
    pub func_id: u8,
    /// Line of the declaration of what was inlined; 0 up to Go 1.19, which does not keep it.
    pub start_line: u32,
    /// Offset from the function's entry of an instruction at the place of the call.
    pub parent: u32,
}

impl InlineTrees {
    /// Reads all trees. Nothing when what lies at `gofunc` is no inline trees.
    pub fn load(image: &Image, table: &Pclntab, gofunc: VAddr) -> Result<Option<Self>, Error> {
        let format = table.header.format;
        let trees: Vec<(u32, u32)> = table.inline_trees().collect();
        let (Some((start, _)), Some((last, index))) = (trees.iter().min(), trees.iter().max())
        else {
            return Ok(Some(Self { data: Vec::new(), start: 0, format }));
        };
        let (start, last, index) = (*start, *last, *index);
        // Nothing says how long a tree is but the indices that are used.
        let mut indices = AddressTable::default();
        table.inlined_calls(index, &mut indices);
        let records = (i64::from(indices.largest()) + 1).max(0) as u64;
        let size = u64::from(last - start) + records * record_size(format) as u64;
        if size > MAX_TREES {
            return Err(Error::TooBig { what: "its inline data", size, limit: MAX_TREES });
        }
        let at = VAddr(gofunc.0.wrapping_add(u64::from(start)));
        let Ok(data) = image.read(at, size as usize) else { return Ok(None) };
        let this = Self { data, start, format };
        let step = (table.len() as usize / SAMPLE).max(1);
        let mut sample = trees.iter().step_by(step);
        let sound = sample.all(|(tree, index)| this.is_sound(table, *index, *tree));
        Ok(sound.then_some(this))
    }

    /// Whether a tree's first record is one: a name that begins where a name can, a place inside the
    /// function.
    fn is_sound(&self, table: &Pclntab, index: u32, tree: u32) -> bool {
        self.call(tree, 0).is_some_and(|call| {
            let name = table.name(call.name).is_some_and(|name| !name.is_empty());
            let whole = call.name == 0 || table.name_byte(call.name - 1) == Some(0);
            name && whole && call.parent < table.size_of(index).max(1)
        })
    }

    /// Record `index` of the tree at an offset from `gofunc`.
    pub fn call(&self, tree: u32, index: u32) -> Option<InlinedCall> {
        let at = tree.checked_sub(self.start)? as usize;
        let at = at.checked_add(record_size(self.format).checked_mul(index as usize)?)?;
        let word = |offset: usize| u32_at(&self.data, at.checked_add(offset)?);
        Some(match self.format {
            Format::Go118 => InlinedCall {
                func_id: u8_at(&self.data, at + 2)?,
                name: word(12)?,
                parent: word(16)?,
                start_line: 0,
            },
            Format::Go120 => InlinedCall {
                func_id: u8_at(&self.data, at)?,
                name: word(4)?,
                parent: word(8)?,
                start_line: word(12)?,
            },
        })
    }

    /// For each name (its offset in the table of names) functions that it was inlined into.
    ///
    /// One pass over all trees; what looks like a record that names one of them is believed when a
    /// function's table uses that record.
    pub fn inlined(&self, table: &Pclntab, names: &[Option<u32>]) -> Vec<Vec<u32>> {
        let mut into = vec![Vec::new(); names.len()];
        let name_at = match self.format {
            Format::Go118 => 12,
            Format::Go120 => 4,
        };
        let mut wanted: Vec<u32> = names.iter().flatten().copied().collect();
        wanted.sort_unstable();
        let (Some(low), Some(high)) = (wanted.first(), wanted.last()) else { return into };
        // Records are made of words, and so are trees one behind the other. Most blocks hold none of
        // those names, which is told without a branch for each word.
        let near = |word: u32| word.wrapping_sub(*low) <= high - low;
        let blocks = self.data.chunks(BLOCK).zip((u64::from(self.start)..).step_by(BLOCK));
        let records: Vec<(u32, u32)> = blocks
            .filter(|(block, _)| words(block).fold(false, |any, word| any | near(word)))
            .flat_map(|(block, at)| words(block).zip((at..).step_by(4)))
            .filter(|(word, _)| wanted.binary_search(word).is_ok())
            .filter_map(|(word, at)| Some((word, u32::try_from(at.checked_sub(name_at)?).ok()?)))
            .take(MAX_CHECKED)
            .collect();
        if records.is_empty() {
            return into;
        }
        let mut trees: Vec<(u32, u32)> = table.inline_trees().collect();
        trees.sort_unstable();
        let mut left = MAX_DECODED;
        for (name, at) in records {
            let Some(position) = names.iter().position(|n| *n == Some(name)) else { continue };
            let places: &mut Vec<u32> = &mut into[position];
            let place = self.user_of(table, &trees, at, &mut left);
            let place = place.filter(|place| !places.contains(place));
            places.extend(place);
        }
        into
    }

    /// A function that uses the record at this offset from `gofunc`. `trees`: offset and function,
    /// ascending; `left`: entries of tables that may still be decoded.
    fn user_of(
        &self,
        table: &Pclntab,
        trees: &[(u32, u32)],
        at: u32,
        left: &mut u64,
    ) -> Option<u32> {
        let end = trees.partition_point(|(tree, _)| *tree <= at);
        let (nearest, _) = trees.get(end.checked_sub(1)?)?;
        let size = record_size(self.format) as u32;
        let index = i32::try_from((at - nearest) / size).ok()?;
        if !(at - nearest).is_multiple_of(size) {
            return None;
        }
        // Functions with the same tree share it.
        let same = trees.iter().take(end).rev().take_while(|(tree, _)| tree == nearest);
        let mut indices = AddressTable::default();
        let mut same = same.take(MAX_SHARED).map(|(_, function)| *function);
        same.find(|function| {
            if *left == 0 {
                return false;
            }
            table.inlined_calls(*function, &mut indices);
            *left = left.saturating_sub(indices.cost());
            indices.largest() >= index
        })
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.data.capacity()
    }
}

fn words(block: &[u8]) -> impl Iterator<Item = u32> {
    block.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
}

fn record_size(format: Format) -> usize {
    match format {
        Format::Go118 => 20,
        Format::Go120 => 16,
    }
}
