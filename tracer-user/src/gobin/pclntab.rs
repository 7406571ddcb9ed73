//! The function table (`.gopclntab`): names and addresses of all Go functions.
//!
//! In: an [`Image`]. Out: where the table lies, and after loading its functions. The table survives
//! stripping; its format is told by its magic (runtime/symtab.go `pcHeader`): Go 1.18 and 1.19, and
//! Go 1.20 to 1.27. Knows no Go version beyond that.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use super::address_table::{AddressTable, MAX_ENTRIES};
use super::bytes::{short_c_str, u8_at, u32_at, u64_at};
use super::error::Error;
use super::image::Image;
use super::index::{Index, MAX_RECORD};
use super::opened::Opened;
use crate::address::VAddr;

/// Largest table accepted; that of a 90 MB binary has about 30 MB.
pub const MAX_TABLE: u64 = 512 << 20;
/// Longest name of a function, or of a file, accepted: many may share the bytes of one.
const MAX_NAME: usize = 16 << 10;
/// Eight bytes that names begin with.
const SOUGHT: [&[u8; 8]; 3] = [b"runtime.", b"crosscal", b"plugin.o"];
/// Bytes of an address table that are read: nearly every one fits into the first of them, and the longest
/// accepted, with two numbers of at most five bytes for each entry, into the last.
const LENGTHS: [u64; 3] = [64 << 10, 1 << 20, 10 * MAX_ENTRIES as u64 + 1];
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
        let data = data.first_chunk::<HEADER>().ok_or(CUT)?;
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

/// The table: what finding functions takes is in memory, the rest when it is asked for.
#[derive(Debug)]
pub struct Pclntab {
    pub header: Header,
    /// Start of Go's text: what the table's addresses are counted from.
    text: VAddr,
    names: Vec<u8>,
    index: Index,
    /// Functions whose names begin as one of [`SOUGHT`], and the offsets of their names: nearly all that
    /// is looked for by name, a twentieth of all names.
    sought: Vec<(u32, u32)>,
    file: Opened,
    /// Where the file has what lies behind the names, and how long that is.
    rest_at: u64,
    rest_len: u64,
    /// Nothing in it when somebody has written to the file.
    rest: OnceLock<Option<Vec<u8>>>,
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
    /// What it was made to call, likewise.
    pub wrapped: Option<u32>,
}

/// PCDATA_InlTreeIndex and FUNCDATA_InlTree (internal/abi/symtab.go; runtime/funcdata.h).
const PCDATA_INLINE: usize = 2;
const FUNCDATA_INLINE: usize = 3;
/// Likewise, `FUNCDATA_WrapInfo`; Go 1.19 to 1.27.
const FUNCDATA_WRAPPED: usize = 7;

impl Pclntab {
    /// Reads the table, which ends at `end`; `text` is the module's start of text.
    pub fn load(image: &Image, header: Header, end: VAddr, text: VAddr) -> Result<Self, Error> {
        let size = end.0.saturating_sub(header.at.0);
        if size > MAX_TABLE {
            return Err(Error::TooBig { what: "its function table", size, limit: MAX_TABLE });
        }
        let each = 8 + header.format.func_size() as u64;
        if header.functions * each + 4 > size.saturating_sub(header.funcs) {
            return Err(Error::NoPclntab("it is shorter than its index"));
        }
        let at = image.place(header.at, size)?.0;
        let file = image.file().clone();
        let names = file.read(at + header.names, header.units - header.names)?;
        let index = Index::read(&file, &header, at + header.funcs, size - header.funcs)?;
        let is_sought =
            |(name, _): &(u32, u32)| head(&names, *name).is_some_and(|head| SOUGHT.contains(&head));
        let sought = index.names().filter(is_sought).collect();
        let (rest_at, rest_len) = (at + header.units, size - header.units);
        let rest = OnceLock::new();
        Ok(Self { header, text, names, index, sought, file, rest_at, rest_len, rest })
    }

    /// Reads what names files and lines, unless that was done: what the file says later does not matter
    /// then. Tells whether it could be read, as it was when the file was opened.
    pub fn complete(&self) -> bool {
        self.rest().is_some()
    }

    fn rest(&self) -> Option<&[u8]> {
        let read = || self.file.read_unchanged(self.rest_at, self.rest_len);
        self.rest.get_or_init(read).as_deref()
    }

    /// Number of functions.
    pub fn len(&self) -> u32 {
        self.index.len()
    }

    /// Bytes held, or that will be.
    pub fn memory(&self) -> usize {
        let sought = self.sought.capacity() * size_of::<(u32, u32)>();
        self.names.capacity() + self.index.memory() + sought + self.rest_len as usize
    }

    /// Address where function `index` begins; at `len()` where the last one ends.
    pub fn entry(&self, index: u32) -> Option<VAddr> {
        Some(VAddr(self.text.0.wrapping_add(u64::from(self.index.start(index)?))))
    }

    /// Bytes of code of function `index`, padding included; 0 when its record is damaged.
    pub fn size_of(&self, index: u32) -> u32 {
        match (
            self.index.start(index),
            index.checked_add(1).and_then(|next| self.index.start(next)),
        ) {
            (Some(entry), Some(end)) => end.saturating_sub(entry),
            _ => 0,
        }
    }

    /// Position in the table of the function that `at` lies in.
    pub fn index_of(&self, at: VAddr) -> Option<u32> {
        self.index.at(u32::try_from(at.0.checked_sub(self.text.0)?).ok()?)
    }

    /// Function `index`; nothing when its record is damaged.
    pub fn function(&self, index: u32) -> Option<Function<'_>> {
        let (name, func_id) = self.index.name(index)?;
        let (entry, end) = (self.entry(index)?, self.entry(index + 1)?);
        Some(Function { name: self.name(name)?, entry, end, func_id, index })
    }

    /// The decoded record of function `index`; nothing when it is damaged.
    pub fn details(&self, index: u32) -> Option<Record> {
        if index >= self.len() {
            return None;
        }
        let funcs = self.between(self.header.funcs, self.header.units + self.rest_len)?;
        let offset = u32_at(funcs, index as usize * 8 + 4)? as usize;
        Record::decode(self.header.format, funcs.get(offset..)?)
    }

    /// Decodes a function's table of inlined calls, as far as it is sound, without the rest of the table.
    pub fn inlined_calls(&self, index: u32, into: &mut AddressTable) {
        into.clear();
        let _whole = self.decode_inlined_calls(index, into);
    }

    fn decode_inlined_calls(&self, index: u32, into: &mut AddressTable) -> Option<()> {
        let Header { units, tables, funcs, format, quantum, .. } = self.header;
        let part = |from: u64, end: u64, most: u64| {
            let len = end.checked_sub(from)?.min(most);
            self.file.read(self.rest_at + (from - units), len).ok()
        };
        let end = units + self.rest_len;
        let offset = u32_at(&part(funcs + 8 * u64::from(index) + 4, end, 4)?, 0)?;
        let record = part(funcs + u64::from(offset), end, MAX_RECORD)?;
        let at = tables + u64::from(Record::decode(format, &record)?.inline_table);
        let decode = |into: &mut AddressTable, most| {
            into.decode(&part(at, funcs, most)?, quantum, self.size_of(index))
        };
        if at == tables {
            return None;
        }
        LENGTHS.into_iter().find_map(|most| decode(into, most))
    }

    /// The name at an offset in the table of names.
    pub fn name(&self, offset: u32) -> Option<&str> {
        text(&self.names, offset)
    }

    /// One byte of the table of names.
    pub fn name_byte(&self, offset: u32) -> Option<u8> {
        u8_at(&self.names, offset as usize)
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
        text(files, offset)
    }

    /// All functions whose names begin in one of these ways, and maybe others, by ascending address.
    pub fn named_like(&self, beginnings: &[&str]) -> impl Iterator<Item = (u32, &str)> {
        // Only what is longer can be told by its head.
        let heads: Option<Vec<&[u8; 8]>> =
            beginnings.iter().map(|b| b.as_bytes().first_chunk()).collect();
        let is_sought = heads.as_ref().is_some_and(|h| h.iter().all(|h| SOUGHT.contains(h)));
        let like = move |name: &u32| match &heads {
            Some(heads) => head(&self.names, *name).is_some_and(|head| heads.contains(&head)),
            None => true,
        };
        let sought = is_sought.then_some(&self.sought).into_iter().flatten().copied();
        let all = (!is_sought).then(|| self.index.names()).into_iter().flatten();
        let found = sought.chain(all.filter(move |(name, _)| like(name)));
        found.filter_map(|(name, index)| Some((index, self.name(name)?)))
    }

    /// Offset in the table of names of function `index`.
    pub fn name_offset_of(&self, index: u32) -> Option<u32> {
        self.index.name(index).map(|(name, _)| name)
    }

    /// Offset of a name in the table of names, where each is once.
    pub fn name_offset(&self, name: &str) -> Option<u32> {
        let whole = |at: &usize| {
            let before = at.checked_sub(1).and_then(|at| self.names.get(at));
            before.is_none_or(|b| *b == 0) && self.names.get(at + name.len()) == Some(&0)
        };
        let at = memchr::memmem::find_iter(&self.names, name).find(whole)?;
        u32::try_from(at).ok()
    }

    /// Each function's inline tree, from the module's `gofunc` on, with the function.
    pub fn inline_trees(&self) -> impl Iterator<Item = (u32, u32)> {
        self.index.inline_trees()
    }

    /// What lies between two offsets, behind the names.
    fn between(&self, from: u64, to: u64) -> Option<&[u8]> {
        let units = self.header.units;
        self.rest()?.get((from - units) as usize..(to - units) as usize)
    }
}

/// The text that ends with the next end mark, unless it is too long for one.
fn text(texts: &[u8], offset: u32) -> Option<&str> {
    let text = short_c_str(texts, offset as usize, MAX_NAME + 1)?;
    std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_NAME)
}

/// How the name at an offset begins, or with it all of a shorter one.
fn head(names: &[u8], offset: u32) -> Option<&[u8; 8]> {
    names.get(offset as usize..)?.first_chunk()
}

impl Record {
    /// Reads a `_func` record; nothing when it is cut.
    fn decode(format: Format, record: &[u8]) -> Option<Self> {
        let word = |at| u32_at(record, at);
        let size = format.func_size();
        let has_table = word(28)? as usize > PCDATA_INLINE;
        Some(Self {
            name: word(4)?,
            start_line: if format == Format::Go118 { 0 } else { word(36)? },
            func_id: u8_at(record, size - 4)?,
            flags: u8_at(record, size - 3)?,
            frame_table: word(16)?,
            file_table: word(20)?,
            line_table: word(24)?,
            inline_table: if has_table { word(size + 4 * PCDATA_INLINE)? } else { 0 },
            unit: word(32)?,
            inline_tree: inline_tree(format, record)?,
            wrapped: function_data(format, record, FUNCDATA_WRAPPED)?,
        })
    }
}

/// [`Record::inline_tree`] of a record; nothing when that is damaged.
pub fn inline_tree(format: Format, record: &[u8]) -> Option<Option<u32>> {
    function_data(format, record, FUNCDATA_INLINE)
}

/// Offset of a function's data of a kind, from the module's `gofunc` on, if it has any; nothing when the
/// record is damaged.
fn function_data(format: Format, record: &[u8], kind: usize) -> Option<Option<u32>> {
    let size = format.func_size();
    if usize::from(u8_at(record, size - 1)?) <= kind {
        return Some(None);
    }
    let slot = (u32_at(record, 28)? as usize).checked_add(kind)?;
    let offset = u32_at(record, size.checked_add(slot.checked_mul(4)?)?)?;
    Some(Some(offset).filter(|offset| *offset != u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_end_is_none() {
        let mut names = vec![b'a'; MAX_NAME + 1];
        names.extend(b"\0main.run\0last");
        assert_eq!(text(&names, 0), None);
        assert_eq!(text(&names, 1).map(str::len), Some(MAX_NAME));
        let next = MAX_NAME as u32 + 2;
        assert_eq!((text(&names, next), text(&names, next + 9)), (Some("main.run"), None));
    }
}
