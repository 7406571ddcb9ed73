//! The function table (`.gopclntab`): names and addresses of all Go functions.
//!
//! In: an [`Image`]. Out: where the table lies, and after loading its functions. The table survives
//! stripping; its format is told by its magic (runtime/symtab.go `pcHeader`): Go 1.18 and 1.19, and
//! Go 1.20 to 1.27. Knows no Go version beyond that.

use std::ops::ControlFlow;

use super::bytes::{c_str_at, u8_at, u32_at, u64_at};
use super::error::Error;
use super::image::Image;
use crate::address::VAddr;

/// Largest table accepted; that of a 90 MB binary has about 30 MB.
pub const MAX_TABLE: u64 = 512 << 20;
/// Bytes of the header in all known formats.
const HEADER: usize = 72;
/// Values of the magic, newest last (internal/abi/symtab.go).
const MAGIC_1_2: u32 = 0xffff_fffb;
const MAGIC_1_16: u32 = 0xffff_fffa;
const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
/// All known and probably all coming values share these 28 bits.
const MAGIC_MASK: u32 = 0xffff_fff0;

/// How records are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Go 1.18 and 1.19.
    Go118,
    /// Go 1.20 to 1.27.
    Go120,
}

impl Format {
    /// Bytes of the fixed part of a `_func` record.
    pub fn func_size(self) -> usize {
        match self {
            Format::Go118 => 40,
            Format::Go120 => 44,
        }
    }
}

/// The table's header, checked, and where it was found.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub at: VAddr,
    pub format: Format,
    /// Smallest instruction: the unit of the address deltas in the tables.
    pub quantum: u8,
    pub functions: u64,
    /// Offsets of the tables from `at`, ascending.
    pub names: u64,
    pub units: u64,
    pub files: u64,
    pub tables: u64,
    pub funcs: u64,
}

impl Header {
    /// Reads a header that begins `data`.
    fn parse(at: VAddr, data: &[u8]) -> Result<Self, &'static str> {
        const CUT: &str = "its header is cut";
        let word = |at| u64_at(data, at).ok_or(CUT);
        let format = match u32_at(data, 0).ok_or(CUT)? {
            MAGIC_1_18 => Format::Go118,
            MAGIC_1_20 => Format::Go120,
            _ => return Err("its magic is unknown"),
        };
        if data[4..6] != [0, 0] || !matches!(data[6], 1 | 2 | 4) || data[7] != 8 {
            return Err("its header is malformed");
        }
        let header = Self {
            at,
            format,
            quantum: data[6],
            functions: word(8)?,
            names: word(32)?,
            units: word(40)?,
            files: word(48)?,
            tables: word(56)?,
            funcs: word(64)?,
        };
        let offsets =
            [HEADER as u64, header.names, header.units, header.files, header.tables, header.funcs];
        if !offsets.is_sorted() || header.funcs > MAX_TABLE {
            return Err("its tables are not in order");
        }
        let index = header.functions.checked_mul(8).and_then(|size| size.checked_add(4));
        if index.is_none_or(|size| size > MAX_TABLE) || header.functions == 0 {
            return Err("its number of functions is impossible");
        }
        Ok(header)
    }

    /// Finds the table: in its section, else by its header in any segment (facts 4.3).
    pub fn find(image: &Image) -> Result<Self, Error> {
        let mut reason = "not found";
        for name in [".gopclntab", ".data.rel.ro.gopclntab"] {
            let Some(section) = image.section(name) else { continue };
            let at = VAddr(section.vaddr);
            let head = image.read(at, HEADER)?;
            match Self::parse(at, &head) {
                Ok(header) => return Ok(header),
                Err(why) => reason = why,
            }
            Self::refuse_other_formats(u32_at(&head, 0).unwrap_or(0))?;
        }
        for segment in &image.segments {
            let found = image.walk(segment, HEADER as u64, scan)?;
            if let Some(header) = found {
                return Ok(header);
            }
        }
        Err(Error::NoPclntab(reason))
    }

    fn refuse_other_formats(magic: u32) -> Result<(), Error> {
        match magic {
            MAGIC_1_2 | MAGIC_1_16 => Err(Error::TooOldTable),
            MAGIC_1_18 | MAGIC_1_20 => Ok(()),
            other if other & MAGIC_MASK == MAGIC_MASK => Err(Error::UnknownTable(other)),
            _ => Ok(()),
        }
    }
}

/// Looks for a header in part of a segment.
fn scan(vaddr: u64, data: &[u8]) -> ControlFlow<Header> {
    for at in memchr::memmem::find_iter(data, b"\xff\xff\xff\0\0") {
        // The magic's first byte comes before what was searched for.
        let Some(at) = at.checked_sub(1) else { continue };
        let here = VAddr(vaddr + at as u64);
        let Ok(header) = Header::parse(here, &data[at..]) else { continue };
        if matches!(header.names, 0x48 | 0x60) {
            return ControlFlow::Break(header);
        }
    }
    ControlFlow::Continue(())
}

/// The table in memory.
#[derive(Debug)]
pub struct Pclntab {
    pub header: Header,
    data: Vec<u8>,
    /// Start of Go's text: what the table's addresses are counted from.
    text: VAddr,
}

/// One function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// As the linker has it: generic functions carry their shapes, `main.F[go.shape.int]`.
    pub name: &'a str,
    pub entry: VAddr,
    /// Where the next function begins; padding included.
    pub end: VAddr,
    /// `internal/abi.FuncID`; its numbers change with the release.
    pub func_id: u8,
    /// Position in the table.
    pub index: u32,
}

/// What a `_func` record says beside the name; offsets as the runtime keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub name: u32,
    /// Line of the declaration; 0 up to Go 1.19, which does not keep it.
    pub start_line: u32,
    pub func_id: u8,
    /// `internal/abi.FuncFlag`.
    pub flags: u8,
    /// Address tables: bytes of the frame, file number, line, index in the inline tree. 0 when there
    /// is none.
    pub frame_table: u32,
    pub file_table: u32,
    pub line_table: u32,
    pub inline_table: u32,
    /// First file of the compilation unit.
    pub unit: u32,
    /// Inline tree, from the module's `gofunc` on.
    pub inline_tree: Option<u32>,
}

/// PCDATA_InlTreeIndex and FUNCDATA_InlTree (internal/abi/symtab.go; runtime/funcdata.h).
const PCDATA_INLINE: usize = 2;
const FUNCDATA_INLINE: usize = 3;

impl Pclntab {
    /// Reads the table, which ends at `end`; `text` is the module's start of text.
    pub fn load(image: &Image, header: Header, end: VAddr, text: VAddr) -> Result<Self, Error> {
        let size = end.0.saturating_sub(header.at.0);
        if size > MAX_TABLE {
            return Err(Error::TooBig { what: "its function table", size, limit: MAX_TABLE });
        }
        if header.funcs + header.functions * 8 + 4 > size {
            return Err(Error::NoPclntab("it is shorter than its index"));
        }
        let data = image.read(header.at, size as usize)?;
        Ok(Self { header, data, text })
    }

    /// Number of functions.
    pub fn len(&self) -> u32 {
        self.header.functions as u32
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.data.capacity()
    }

    /// Address where function `index` begins; at `len()` where the last one ends.
    pub fn entry(&self, index: u32) -> Option<VAddr> {
        let offset = u32_at(&self.data, self.slot(index))?;
        Some(VAddr(self.text.0.wrapping_add(u64::from(offset))))
    }

    /// Bytes of code of function `index`, padding included; 0 when its record is damaged.
    pub fn size_of(&self, index: u32) -> u32 {
        let offset = |index| u32_at(&self.data, self.slot(index));
        match (offset(index), index.checked_add(1).and_then(offset)) {
            (Some(entry), Some(end)) => end.saturating_sub(entry),
            _ => 0,
        }
    }

    /// Position in the table of the function that `at` lies in.
    pub fn index_of(&self, at: VAddr) -> Option<u32> {
        let offset = u32::try_from(at.0.checked_sub(self.text.0)?).ok()?;
        let (mut low, mut high) = (0, self.len());
        if offset >= u32_at(&self.data, self.slot(high))? {
            return None;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match u32_at(&self.data, self.slot(middle))? <= offset {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low.checked_sub(1)
    }

    /// Function `index`; nothing when its record is damaged.
    pub fn function(&self, index: u32) -> Option<Function<'_>> {
        let record = self.record(index)?;
        Some(Function {
            name: self.name(u32_at(record, 4)?)?,
            entry: self.entry(index)?,
            end: self.entry(index + 1)?,
            func_id: u8_at(record, self.header.format.func_size() - 4)?,
            index,
        })
    }

    /// The decoded record of function `index`; nothing when it is damaged.
    pub fn details(&self, index: u32) -> Option<Record> {
        let record = self.record(index)?;
        let word = |at| u32_at(record, at);
        let size = self.header.format.func_size();
        let has_table = word(28)? as usize > PCDATA_INLINE;
        let inline_table = if has_table { word(size + 4 * PCDATA_INLINE)? } else { 0 };
        Some(Record {
            name: word(4)?,
            start_line: if self.header.format == Format::Go118 { 0 } else { word(36)? },
            func_id: u8_at(record, size - 4)?,
            flags: u8_at(record, size - 3)?,
            frame_table: word(16)?,
            file_table: word(20)?,
            line_table: word(24)?,
            inline_table,
            unit: word(32)?,
            inline_tree: self.inline_tree_of(record)?,
        })
    }

    /// [`Record::inline_tree`] of function `index`, without the rest.
    pub fn inline_tree(&self, index: u32) -> Option<u32> {
        self.inline_tree_of(self.record(index)?)?
    }

    /// Of a record; nothing when that is damaged.
    fn inline_tree_of(&self, record: &[u8]) -> Option<Option<u32>> {
        let size = self.header.format.func_size();
        if usize::from(u8_at(record, size - 1)?) <= FUNCDATA_INLINE {
            return Some(None);
        }
        let slot = (u32_at(record, 28)? as usize).checked_add(FUNCDATA_INLINE)?;
        let offset = u32_at(record, size.checked_add(slot.checked_mul(4)?)?)?;
        Some(Some(offset).filter(|offset| *offset != u32::MAX))
    }

    /// The `_func` record of function `index` and all that follows it.
    fn record(&self, index: u32) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        let offset = u32_at(&self.data, self.slot(index) + 4)? as usize;
        self.data.get((self.header.funcs as usize).checked_add(offset)?..)
    }

    /// The name at an offset in the table of names.
    pub fn name(&self, offset: u32) -> Option<&str> {
        let names = self.between(self.header.names, self.header.units)?;
        std::str::from_utf8(c_str_at(names, offset as usize)?).ok()
    }

    /// One byte of the table of names.
    pub fn name_byte(&self, offset: u32) -> Option<u8> {
        u8_at(self.between(self.header.names, self.header.units)?, offset as usize)
    }

    /// The bytes of an address table and all that follows it; nothing when there is none.
    pub fn address_table(&self, offset: u32) -> Option<&[u8]> {
        let tables = self.between(self.header.tables, self.header.funcs)?;
        tables.get(offset as usize..).filter(|_| offset != 0)
    }

    /// Bytes of all address tables.
    pub fn address_tables_size(&self) -> u64 {
        self.header.funcs - self.header.tables
    }

    /// Path of file `number` of a compilation unit.
    pub fn file(&self, unit: u32, number: u32) -> Option<&str> {
        let units = self.between(self.header.units, self.header.files)?;
        let offset = u32_at(units, unit.checked_add(number)?.checked_mul(4)? as usize)?;
        let files = self.between(self.header.files, self.header.tables)?;
        std::str::from_utf8(c_str_at(files, offset as usize)?).ok()
    }

    /// Offset of a whole name in the table of names; the linker stores each name once.
    pub fn name_offset(&self, name: &str) -> Option<u32> {
        let names = self.between(self.header.names, self.header.units)?;
        let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
        // The first name has no end mark of another before it.
        let at = match names.starts_with(&wanted[1..]) {
            true => 0,
            false => memchr::memmem::find(names, &wanted)? + 1,
        };
        u32::try_from(at).ok()
    }

    /// All names that begin so, of functions and of what was inlined, with their offsets.
    pub fn names_that_begin(&self, beginning: &str) -> Vec<(u32, &str)> {
        let Some(names) = self.between(self.header.names, self.header.units) else {
            return Vec::new();
        };
        let first = names.starts_with(beginning.as_bytes()).then_some(0);
        let wanted = [b"\0", beginning.as_bytes()].concat();
        let others = memchr::memmem::find_iter(names, &wanted).map(|at| at + 1);
        let at = first.into_iter().chain(others).filter_map(|at| u32::try_from(at).ok());
        at.filter_map(|at| Some((at, self.name(at)?))).collect()
    }

    /// Offset in the table of names of function `index`.
    pub fn name_offset_of(&self, index: u32) -> Option<u32> {
        u32_at(self.record(index)?, 4)
    }

    fn between(&self, from: u64, to: u64) -> Option<&[u8]> {
        self.data.get(from as usize..to as usize)
    }

    fn slot(&self, index: u32) -> usize {
        self.header.funcs as usize + index as usize * 8
    }
}
