//! ELF symbol tables: what a file that is not stripped says of its addresses.
//!
//! In: an [`Image`]. Out: symbols of the wanted kinds, sorted, and their names. Knows no Go.

use object::LittleEndian as LE;
use object::elf::{SHN_UNDEF, Sym64, SymbolType};
use object::pod::slice_from_all_bytes;

use super::bytes::c_str_at;
use super::error::Error;
use super::image::Image;
use crate::address::VAddr;

/// Largest symbol table and table of names read.
const MAX_SYMBOLS: u64 = 64 << 20;
/// How many symbols before an address are tried: they may overlap.
const OVERLAPS: usize = 8;

/// Symbols of one file.
#[derive(Debug, Default)]
pub struct SymbolTable {
    names: Vec<u8>,
    /// Sorted by start.
    pub symbols: Vec<Symbol>,
}

/// Where something lies.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    pub start: u64,
    pub end: u64,
    /// Offset in the table of names.
    pub name: u32,
}

impl SymbolTable {
    /// Reads the table that lies in a section of this type; nothing when there is none. `kinds` are types
    /// of symbols.
    pub fn read(image: &Image, section: u32, kinds: &[SymbolType]) -> Result<Option<Self>, Error> {
        let table = image.sections.iter().find(|s| s.kind == section && s.size > 0);
        let strings = table.and_then(|table| image.sections.get(table.link as usize));
        let (Some(table), Some(strings)) = (table, strings) else { return Ok(None) };
        let names = image.section_bytes(strings, MAX_SYMBOLS)?;
        let raw = image.section_bytes(table, MAX_SYMBOLS)?;
        let whole = raw.len() - raw.len() % size_of::<Sym64<LE>>();
        let symbols = slice_from_all_bytes::<Sym64<LE>>(&raw[..whole]).unwrap_or_default();
        let wanted = symbols.iter().filter(|symbol| {
            kinds.contains(&symbol.st_info.st_type()) && symbol.st_shndx.get(LE) != SHN_UNDEF
        });
        let mut symbols: Vec<Symbol> = wanted
            .map(|symbol| {
                let start = symbol.st_value.get(LE);
                let end = start.saturating_add(symbol.st_size.get(LE));
                Symbol { start, end, name: symbol.st_name.get(LE) }
            })
            .collect();
        symbols.sort_unstable_by_key(|s| (s.start, s.end));
        Ok(Some(Self { names, symbols }))
    }

    /// The symbol that an address lies in.
    pub fn at(&self, at: VAddr) -> Option<Symbol> {
        let after = self.symbols.partition_point(|s| s.start <= at.0);
        let mut before = self.symbols[..after].iter().rev().take(OVERLAPS);
        before.find(|s| at.0 < s.end).copied()
    }

    /// The name of a symbol.
    pub fn name(&self, symbol: Symbol) -> Option<&[u8]> {
        c_str_at(&self.names, symbol.name as usize)
    }
}
