//! Names C code: what lies outside Go's text in a cgo program, and shared libraries.
//!
//! In: an opened ELF file. Out: frames from DWARF where the file has it, else the symbol's name, else
//! the reason. DWARF is read when the first address is asked for. Knows no Go and no process.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;

use addr2line::Context;
use gimli::{EndianArcSlice, LittleEndian};
use object::LittleEndian as LE;
use object::elf::{
    CompressionHeader64, ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC,
    STT_GNU_IFUNC,
};
use object::pod::from_bytes;
use object::{CompressedData, CompressionFormat};

use super::{SymFrame, Unknown};
use crate::address::{FileOffset, VAddr};
use crate::gobin::{Error, Image, Mapping, SymbolTable, gnu_build_id};

/// Most DWARF read, uncompressed; a file with more is named by its symbols.
const MAX_DWARF: u64 = if cfg!(test) { 1 << 30 } else { 128 << 20 };

type Dwarf = Context<EndianArcSlice<LittleEndian>>;

/// Names addresses of one ELF file.
pub struct NativeSymbols {
    image: Image,
    symbols: SymbolTable,
    has_table: bool,
    dwarf: Option<Option<Dwarf>>,
}

impl NativeSymbols {
    /// Reads headers and symbol table.
    pub fn open(file: File) -> Result<Self, Error> {
        let image = Image::open(file)?;
        let mut this =
            Self { image, symbols: SymbolTable::default(), has_table: false, dwarf: None };
        // The full table holds all that the dynamic one does.
        this.has_table = this.read_symbols(SHT_SYMTAB.0)? || this.read_symbols(SHT_DYNSYM.0)?;
        Ok(this)
    }

    fn read_symbols(&mut self, kind: u32) -> Result<bool, Error> {
        let functions = SymbolTable::read(&self.image, kind, &[STT_FUNC, STT_GNU_IFUNC])?;
        let Some(functions) = functions else { return Ok(false) };
        self.symbols = functions;
        // Assembly often has no size: such a symbol reaches to the next one.
        let (mut here, mut next) = (u64::MAX, u64::MAX);
        for symbol in self.symbols.symbols.iter_mut().rev() {
            if symbol.start < here {
                (here, next) = (symbol.start, here);
            }
            if symbol.end == symbol.start {
                let segment = self.image.executable_at(VAddr(symbol.start));
                symbol.end = segment.map_or(symbol.end, |s| s.end.0.min(next));
            }
        }
        Ok(true)
    }

    /// Addresses of symbols, and of the places around them ([`crate::doors`]).
    #[cfg(any(test, fuzzing))]
    pub fn any_addresses(&self, most: usize) -> Vec<VAddr> {
        let symbols = self.symbols.symbols.iter().take(most);
        let around = symbols.flat_map(|s| [s.start, s.start.wrapping_add(1), s.end]);
        let segments = self.image.segments.iter().take(most).map(|s| s.vaddr);
        around.chain(segments).chain([0, u64::MAX]).map(VAddr).collect()
    }

    /// The GNU build id in hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        gnu_build_id(&self.image)
    }

    /// The executable segment that an address lies in.
    pub fn mapping(&self, at: VAddr) -> Option<Mapping> {
        self.image.executable_at(at)
    }

    /// Link-time address of a byte of the file that is mapped executable.
    pub fn vaddr(&self, at: FileOffset) -> Option<VAddr> {
        self.image.executable_vaddr(at)
    }

    /// Frames of an address, innermost first. An address is that of the call: a return address less
    /// one.
    pub fn symbolize(&mut self, at: VAddr) -> Result<Vec<SymFrame<'static>>, Unknown> {
        if self.image.executable_at(at).is_none() {
            return Err(Unknown::NotInFile);
        }
        let symbol = self.symbol(at);
        if let Some(frames) = self.dwarf_frames(at, symbol.as_deref()) {
            return Ok(frames);
        }
        match symbol {
            Some(name) => Ok(vec![frame(name, "", 0)]),
            None if self.has_table => Err(Unknown::NoSymbol),
            None => Err(Unknown::NoSymbolTable),
        }
    }

    /// The name of the symbol that an address lies in.
    fn symbol(&self, at: VAddr) -> Option<String> {
        let name = String::from_utf8_lossy(self.symbols.name(self.symbols.at(at)?)?);
        Some(addr2line::demangle_auto(name, None).into_owned()).filter(|name| !name.is_empty())
    }

    /// Frames as DWARF has them; nothing when it has none for this address.
    fn dwarf_frames(&mut self, at: VAddr, symbol: Option<&str>) -> Option<Vec<SymFrame<'static>>> {
        let image = &self.image;
        let dwarf = self.dwarf.get_or_insert_with(|| load_dwarf(image)).as_ref()?;
        let mut found = dwarf.find_frames(at.0).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while let Ok(Some(next)) = found.next() {
            let name = next.function.as_ref().and_then(|f| f.demangle().ok());
            // The function itself may have a symbol where DWARF has no name.
            let name = name.map(Cow::into_owned).or_else(|| symbol.map(str::to_owned))?;
            let place = next.location;
            let file = place.as_ref().and_then(|p| p.file).unwrap_or_default();
            frames.push(frame(name, file, place.as_ref().and_then(|p| p.line).unwrap_or(0)));
        }
        let last = frames.len().checked_sub(1)?;
        frames[..last].iter_mut().for_each(|frame| frame.inlined = true);
        Some(frames)
    }
}

fn frame(function: String, file: &str, line: u32) -> SymFrame<'static> {
    SymFrame {
        function: function.into(),
        file: file.to_owned().into(),
        line,
        start_line: 0,
        inlined: false,
        func_id: 0,
        at: VAddr(0),
    }
}

/// Reads and indexes DWARF; nothing when there is none, too much of it, or it can't be read.
fn load_dwarf(image: &Image) -> Option<Dwarf> {
    let mut left = MAX_DWARF;
    image.section(".debug_info")?;
    let load = |id: gimli::SectionId| {
        let data = dwarf_section(image, id.name(), left).ok_or(())?;
        left = left.saturating_sub(data.len() as u64);
        Ok::<_, ()>(EndianArcSlice::new(data, LittleEndian))
    };
    Context::from_dwarf(gimli::Dwarf::load(load).ok()?).ok()
}

/// A section's bytes, uncompressed; empty when the file does not have it, nothing when it is too long
/// or damaged.
fn dwarf_section(image: &Image, name: &str, limit: u64) -> Option<Arc<[u8]>> {
    let Some(section) = image.section(name) else { return Some(Arc::from([])) };
    let raw = image.section_bytes(section, limit).ok()?;
    if !section.compressed {
        return Some(raw.into());
    }
    let (header, data) = from_bytes::<CompressionHeader64<LE>>(&raw).ok()?;
    let format = match header.ch_type.get(LE) {
        ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
        ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
        _ => return None,
    };
    let uncompressed_size = header.ch_size.get(LE);
    if uncompressed_size > limit {
        return None;
    }
    let data = CompressedData { format, data, uncompressed_size }.decompress().ok()?;
    Some(Arc::from(data.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own executable has symbols and DWARF.
    #[test]
    fn names_its_own_code() {
        let file = File::open("/proc/self/exe").unwrap();
        let mut native = NativeSymbols::open(file).unwrap();
        let wanted = native.symbols.symbols.iter().find(|s| {
            let name = native.symbols.name(**s).unwrap();
            memchr::memmem::find(name, b"names_its_own_code").is_some() && s.end > s.start + 8
        });
        let at = VAddr(wanted.unwrap().start + 4);
        let frames = native.symbolize(at).unwrap();
        let last = frames.last().unwrap();
        assert!(last.function.contains("names_its_own_code"), "{last:?}");
        assert!(last.file.ends_with("native.rs") && last.line > 0, "{last:?}");
        assert!(!last.inlined);
        assert_eq!(native.symbolize(VAddr(1)), Err(Unknown::NotInFile));
        let mapping = native.mapping(at).unwrap();
        let offset = FileOffset(at.0 - mapping.start.0 + mapping.offset.0);
        assert_eq!(native.vaddr(offset), Some(at));
    }

    #[test]
    fn a_library_without_debug_information_has_its_symbols() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().filter_map(|l| l.split_whitespace().nth(5));
        let libc = libc.into_iter().find(|path| path.contains("/libc.so")).unwrap();
        let mut native = NativeSymbols::open(File::open(libc).unwrap()).unwrap();
        let all = &native.symbols;
        let malloc =
            all.symbols.iter().find(|s| all.name(**s) == Some(b"malloc") && s.end > s.start);
        let at = VAddr(malloc.unwrap().start + 1);
        let frames = native.symbolize(at).unwrap();
        assert!(frames.last().unwrap().function.contains("malloc"), "{frames:?}");
    }
}
