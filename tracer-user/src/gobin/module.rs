//! The linker's record of one Go module (`runtime.moduledata`): where text, tables and types are.
//!
//! In: an [`Image`] and the function table's header. Out: [`Module`]. The head of the record is the
//! same in Go 1.18 to 1.27, its tail is not (facts 3.7).

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::bytes::u64_at;
use super::error::Error;
use super::facts::GoVersion;
use super::image::Image;
use super::pclntab::{Format, Header};
use crate::address::VAddr;

/// Bytes of the record that are read: up to the last field used in any release.
const SIZE: usize = 352;

/// Most places that may point to the function table: each one makes for a walk through the relocations.
const MAX_CANDIDATES: usize = 64;

/// Offsets in the head of the record, equal in all releases.
const NAMES: usize = 8;
const FUNCS: usize = 104;
const FUNCS_LEN: usize = 112;
const INDEX: usize = 128;
const INDEX_LEN: usize = 136;
const TEXT: usize = 176;
const ETEXT: usize = 184;

/// Offsets in the tail of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail {
    types: usize,
    etypes: usize,
    gofunc: usize,
}

/// Go 1.18 and 1.19.
const TAIL_118: Tail = Tail { types: 280, etypes: 288, gofunc: 304 };
/// Go 1.20 to 1.26: `covctrs` and `ecovctrs` came before.
const TAIL_120: Tail = Tail { types: 296, etypes: 304, gofunc: 320 };
/// Go 1.27: `typedesclen`, `itaboffset` and `itabsize` came between.
const TAIL_127: Tail = Tail { types: 296, etypes: 312, gofunc: 344 };

/// Newest release that is known; of newer ones neither this record nor the allocator's entries are.
pub const NEWEST: u32 = 27;

/// What the record says.
#[derive(Clone, Debug)]
pub struct Module {
    /// Go's text. C code of cgo programs lies outside.
    pub text: VAddr,
    pub etext: VAddr,
    /// Where the function table ends.
    pub table_end: VAddr,
    raw: Vec<u8>,
}

/// The part of the record that depends on the release.
#[derive(Clone, Copy, Debug)]
pub struct ModuleTail {
    /// Type data.
    pub types: VAddr,
    pub etypes: VAddr,
    /// What offsets of inline trees are counted from.
    pub gofunc: VAddr,
}

impl Module {
    /// Finds the record by its first two pointers: to the table's header and to its names (facts 4.4).
    pub fn find(image: &Image, header: &Header) -> Result<Self, Error> {
        let section = image.section(".go.module").map(|s| VAddr(s.vaddr));
        if let Some(module) = section.and_then(|at| Self::read(image, header, at).ok()) {
            return Ok(module);
        }
        let mut found: Vec<Module> = Vec::new();
        let mut reason = "nothing points to the function table";
        let candidates = candidates(image, header)?;
        if candidates.len() > MAX_CANDIDATES {
            return Err(Error::NoModule("too many places point to the function table"));
        }
        for at in candidates {
            match Self::read(image, header, at) {
                Ok(module) => found.push(module),
                Err(why) => reason = why,
            }
        }
        match found.len() {
            1 => found.pop().ok_or(Error::NoModule(reason)),
            0 => Err(Error::NoModule(reason)),
            several => Err(Error::SeveralModules(several)),
        }
    }

    /// Reads and checks the record at `at`.
    fn read(image: &Image, header: &Header, at: VAddr) -> Result<Self, &'static str> {
        let raw = image.read_relocated(at, SIZE).map_err(|_| "the record is cut")?;
        let word = |at| u64_at(&raw, at).unwrap_or(0);
        let table = header.at.0;
        if word(0) != table || word(NAMES) != table.wrapping_add(header.names) {
            return Err("it does not point to the function table");
        }
        if word(FUNCS) != table.wrapping_add(header.funcs)
            || word(INDEX) != word(FUNCS)
            || word(INDEX_LEN) != header.functions + 1
        {
            return Err("it contradicts the function table");
        }
        let end = word(FUNCS).checked_add(word(FUNCS_LEN)).ok_or("its sizes are impossible")?;
        if word(TEXT) >= word(ETEXT) {
            return Err("it has no text");
        }
        Ok(Self { text: VAddr(word(TEXT)), etext: VAddr(word(ETEXT)), table_end: VAddr(end), raw })
    }

    /// The tails that this record may have, the likeliest first: one for a known release.
    pub fn tails(&self, version: Option<GoVersion>, format: Format) -> Vec<ModuleTail> {
        let tails: &[Tail] = match (version, format) {
            (_, Format::Go118) => &[TAIL_118],
            (Some(v), _) if !v.at_least(27) => &[TAIL_120],
            (Some(_), _) => &[TAIL_127],
            // The file does not tell its release: the caller tests which one fits.
            (None, _) => &[TAIL_127, TAIL_120],
        };
        let word = |at| VAddr(u64_at(&self.raw, at).unwrap_or(0));
        let read = |tail: &Tail| ModuleTail {
            types: word(tail.types),
            etypes: word(tail.etypes),
            gofunc: word(tail.gofunc),
        };
        tails.iter().map(read).collect()
    }
}

/// Places that hold the address of the function table and, 8 bytes on, that of its names.
fn candidates(image: &Image, header: &Header) -> Result<Vec<VAddr>, Error> {
    let (first, second) = (header.at.0, header.at.0.wrapping_add(header.names));
    let mut found = Vec::new();
    for segment in image.segments.iter().filter(|s| s.writable) {
        image.walk::<()>(segment, 8, |vaddr, data| {
            let skip = vaddr.wrapping_neg() % 8;
            let words = data.get(skip as usize..).unwrap_or_default();
            let at = words.windows(16).step_by(8).enumerate().filter(|(_, pair)| {
                u64_at(pair, 0) == Some(first) && u64_at(pair, 8) == Some(second)
            });
            found.extend(at.map(|(i, _)| VAddr(vaddr + skip + 8 * i as u64)));
            ControlFlow::Continue(())
        })?;
    }
    if image.relocatable {
        let (mut to_header, mut to_names) = (Vec::new(), HashSet::new());
        image.relative_pointers(|place, value| {
            if value == first {
                to_header.push(place);
            } else if value == second {
                to_names.insert(place);
            }
        })?;
        let both = to_header.iter().filter(|place| to_names.contains(&place.wrapping_add(8)));
        found.extend(both.map(|place| VAddr(*place)));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
