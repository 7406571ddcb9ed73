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
        let trees = |index| table.details(index).and_then(|d| Some((index, d, d.inline_tree?)));
        let all = || (0..table.len()).filter_map(trees);
        let format = table.header.format;
        let Some((index, record, last)) = all().max_by_key(|(_, _, tree)| *tree) else {
            return Ok(Some(Self { data: Vec::new(), start: 0, format }));
        };
        let start = all().map(|(_, _, tree)| tree).min().unwrap_or(last);
        // Nothing says how long a tree is but the indices that are used.
        let mut indices = AddressTable::default();
        if let Some(data) = table.address_table(record.inline_table) {
            let _whole = indices.decode(data, table.header.quantum, table.size_of(index));
        }
        let records = (indices.largest().max(-1) + 1) as u64;
        let size = u64::from(last - start) + records * record_size(format) as u64;
        if size > MAX_TREES {
            return Err(Error::TooBig { what: "its inline data", size, limit: MAX_TREES });
        }
        let at = VAddr(gofunc.0.wrapping_add(u64::from(start)));
        let Ok(data) = image.read(at, size as usize) else { return Ok(None) };
        let this = Self { data, start, format };
        let step = (table.len() as usize / SAMPLE).max(1);
        let sound = all().step_by(step).all(|(index, _, tree)| this.is_sound(table, index, tree));
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

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.data.capacity()
    }
}

fn record_size(format: Format) -> usize {
    match format {
        Format::Go118 => 20,
        Format::Go120 => 16,
    }
}
