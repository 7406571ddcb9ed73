//! The ELF file as an image: headers, segments, sections, relocations, bounded reads.
//!
//! In: an opened file. Out: where each link-time address lies and the bytes there. Knows nothing of Go.
//! Section headers may be missing: nothing here depends on them.

use std::fs::File;
use std::ops::ControlFlow;

use object::LittleEndian as LE;
use object::elf::{
    DT_NEEDED, DT_NULL, DT_RELA, DT_RELASZ, DT_STRSZ, DT_STRTAB, Dyn64, ELFCLASS64, ELFDATA2LSB,
    ELFMAG, ET_DYN, ET_EXEC, FileHeader64, PF_W, PF_X, PT_DYNAMIC, PT_LOAD, PT_NOTE,
    ProgramHeader64, Rela64, SHF_COMPRESSED, SHT_NOBITS, SHT_SYMTAB, SectionHeader64,
};
use object::pod::{from_bytes, slice_from_all_bytes};

use super::bytes::{short_c_str, u32_at};
use super::error::Error;
use super::machine::Machine;
use super::opened::Opened;
use crate::address::{FileOffset, VAddr};

/// Most program headers accepted; Go's linker writes about 10.
const MAX_SEGMENTS: u64 = 1024;
/// Most section headers accepted; past 0xff00 ELF counts them another way, which no Go binary needs.
const MAX_SECTIONS: u64 = 0xff00;
/// Longest table of section names accepted.
const MAX_SECTION_NAMES: u64 = 4 << 20;
/// Longest name of a section or library that is kept; they may overlap, and are compared with short ones.
const MAX_NAME: usize = 256;
/// Most libraries that a file may ask for.
const MAX_NEEDED: usize = 1024;
/// Most bytes of all note segments.
const MAX_NOTES: u64 = 1 << 20;
/// Longest dynamic section read.
const MAX_DYNAMIC: u64 = 1 << 20;
/// Longest table of relocations walked: a 1 GiB table means 44 million pointers.
const MAX_RELA: u64 = 1 << 30;
/// Unit in which long regions are walked.
const CHUNK: u64 = 1 << 20;
/// The smallest page of the architectures that heaptap knows.
const PAGE: u64 = 4096;

/// A PT_LOAD entry.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub vaddr: u64,
    pub offset: u64,
    /// Bytes of it that the file has; the rest up to `mem_size` is zero.
    pub file_size: u64,
    pub mem_size: u64,
    pub writable: bool,
    pub executable: bool,
}

/// An executable segment, as pprof's mappings want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: VAddr,
    pub end: VAddr,
    pub offset: FileOffset,
}

/// A section header with its name.
#[derive(Clone, Debug)]
pub struct Section {
    pub name: String,
    pub vaddr: u64,
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    pub kind: u32,
    /// Another section that belongs to this one: the strings of a symbol table.
    pub link: u32,
    pub compressed: bool,
}

/// The parts of an ELF file that tell what it is.
#[derive(Debug)]
pub struct Image {
    file: Opened,
    machine: Machine,
    /// Whether the loader may place it anywhere (ET_DYN).
    pub relocatable: bool,
    pub segments: Vec<Segment>,
    /// Empty when the file has no section headers or broken ones.
    pub sections: Vec<Section>,
    notes: Vec<Vec<u8>>,
    dynamic: Dynamic,
}

#[derive(Debug, Default)]
struct Dynamic {
    rela: u64,
    rela_size: u64,
    needed: Vec<String>,
}

impl Image {
    /// Reads the headers of `file`.
    pub fn open(file: File) -> Result<Self, Error> {
        let mut image = Self {
            file: Opened::new(file)?,
            // Read below.
            machine: Machine::Amd64,
            relocatable: false,
            segments: Vec::new(),
            sections: Vec::new(),
            notes: Vec::new(),
            dynamic: Dynamic::default(),
        };
        image.read_headers()?;
        Ok(image)
    }

    fn read_headers(&mut self) -> Result<(), Error> {
        if self.size() < 4 || self.read_file(0, 4)? != ELFMAG {
            return Err(Error::NotElf);
        }
        let head = self.read_file(0, size_of::<FileHeader64<LE>>() as u64)?;
        let Ok((elf, _)) = from_bytes::<FileHeader64<LE>>(&head) else {
            return Err(Error::BadElf("header too short"));
        };
        if elf.e_ident.class != ELFCLASS64 {
            return Err(Error::Class("32-bit"));
        }
        if elf.e_ident.data != ELFDATA2LSB {
            return Err(Error::Class("big-endian"));
        }
        let machine = elf.e_machine.get(LE).0;
        self.machine = Machine::of_elf(machine).ok_or(Error::Machine(machine))?;
        let kind = elf.e_type.get(LE);
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(Error::Kind(kind.0));
        }
        self.relocatable = kind == ET_DYN;
        let dynamic = self.read_segments(elf)?;
        // A file is run by its program headers: broken section headers are as good as none.
        self.sections = self.read_sections(elf).unwrap_or_default();
        if let Some((offset, len)) = dynamic {
            self.dynamic = self.read_dynamic(offset, len.min(MAX_DYNAMIC)).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills segments and notes; returns file offset and size of the dynamic section.
    fn read_segments(&mut self, elf: &FileHeader64<LE>) -> Result<Option<(u64, u64)>, Error> {
        let each = size_of::<ProgramHeader64<LE>>() as u64;
        let count = u64::from(elf.e_phnum.get(LE));
        if count == 0 {
            return Err(Error::BadElf("no program headers"));
        }
        if count > MAX_SEGMENTS || u64::from(elf.e_phentsize.get(LE)) != each {
            return Err(Error::BadElf("program headers of an impossible number or size"));
        }
        let raw = self.read_file(elf.e_phoff.get(LE), count * each)?;
        let headers = slice_from_all_bytes::<ProgramHeader64<LE>>(&raw)
            .map_err(|()| Error::BadElf("program headers are cut"))?;
        let (mut dynamic, mut notes_left) = (None, MAX_NOTES);
        for header in headers {
            let kind = header.p_type.get(LE);
            let offset = header.p_offset.get(LE);
            let file_size = header.p_filesz.get(LE);
            if kind == PT_LOAD {
                let flags = header.p_flags.get(LE);
                let vaddr = header.p_vaddr.get(LE);
                let mem_size = header.p_memsz.get(LE).max(file_size);
                if vaddr.checked_add(mem_size).is_none() || offset.checked_add(file_size).is_none()
                {
                    return Err(Error::BadElf("a segment wraps around the address space"));
                }
                if offset + file_size > self.size() {
                    return Err(Error::Truncated { offset, len: file_size, size: self.size() });
                }
                self.segments.push(Segment {
                    vaddr,
                    offset,
                    file_size,
                    mem_size,
                    writable: flags.0 & PF_W.0 != 0,
                    executable: flags.0 & PF_X.0 != 0,
                });
            } else if kind == PT_NOTE && file_size <= notes_left {
                notes_left -= file_size;
                self.notes.extend(self.read_file(offset, file_size).ok());
            } else if kind == PT_DYNAMIC {
                dynamic = Some((offset, file_size));
            }
        }
        if self.segments.is_empty() {
            return Err(Error::BadElf("nothing in it is loaded"));
        }
        Ok(dynamic)
    }

    fn read_sections(&self, elf: &FileHeader64<LE>) -> Option<Vec<Section>> {
        let each = size_of::<SectionHeader64<LE>>() as u64;
        let count = u64::from(elf.e_shnum.get(LE));
        if count > MAX_SECTIONS || u64::from(elf.e_shentsize.get(LE)) != each {
            return None;
        }
        let raw = self.read_file(elf.e_shoff.get(LE), count * each).ok()?;
        let headers = slice_from_all_bytes::<SectionHeader64<LE>>(&raw).ok()?;
        let names = headers.get(usize::from(elf.e_shstrndx.get(LE).0))?;
        let names_size = names.sh_size.get(LE);
        if names_size > MAX_SECTION_NAMES {
            return None;
        }
        let names = self.read_file(names.sh_offset.get(LE), names_size).ok()?;
        let section = |header: &SectionHeader64<LE>| {
            let name = short_c_str(&names, header.sh_name.get(LE) as usize, MAX_NAME)?;
            let kind = header.sh_type.get(LE);
            Some(Section {
                name: String::from_utf8_lossy(name).into_owned(),
                vaddr: header.sh_addr.get(LE),
                offset: header.sh_offset.get(LE),
                size: if kind == SHT_NOBITS { 0 } else { header.sh_size.get(LE) },
                kind: kind.0,
                link: header.sh_link.get(LE),
                compressed: header.sh_flags.get(LE).0 & SHF_COMPRESSED.0 != 0,
            })
        };
        headers.iter().map(section).collect()
    }

    fn read_dynamic(&self, offset: u64, len: u64) -> Option<Dynamic> {
        let raw = self.read_file(offset, len - len % size_of::<Dyn64<LE>>() as u64).ok()?;
        let entries = slice_from_all_bytes::<Dyn64<LE>>(&raw).ok()?;
        let mut dynamic = Dynamic::default();
        let (mut strings, mut strings_size, mut needed) = (0, 0, Vec::new());
        for entry in entries {
            let value = entry.d_val.get(LE);
            match entry.d_tag.get(LE) {
                DT_NULL => break,
                DT_RELA => dynamic.rela = value,
                DT_RELASZ => dynamic.rela_size = value,
                DT_STRTAB => strings = value,
                DT_STRSZ => strings_size = value,
                DT_NEEDED => needed.push(value as usize),
                _ => {}
            }
        }
        let strings = match strings_size <= MAX_SECTION_NAMES {
            true => self.read(VAddr(strings), strings_size as usize).unwrap_or_default(),
            false => Vec::new(),
        };
        let needed = needed.iter().take(MAX_NEEDED);
        let names = needed.filter_map(|at| short_c_str(&strings, *at, MAX_NAME));
        dynamic.needed = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        Some(dynamic)
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// The bytes of a section, as they are in the file.
    pub fn section_bytes(&self, section: &Section, limit: u64) -> Result<Vec<u8>, Error> {
        if section.size > limit {
            return Err(Error::TooBig { what: "one of its sections", size: section.size, limit });
        }
        self.read_file(section.offset, section.size)
    }

    /// Whether the file has a symbol table beside the dynamic one.
    pub fn has_symbols(&self) -> bool {
        self.sections.iter().any(|s| s.kind == SHT_SYMTAB.0 && s.size > 0)
    }

    /// Names of the shared libraries that it asks for.
    pub fn needed(&self) -> &[String] {
        &self.dynamic.needed
    }

    /// The body of the ELF note `kind` of `owner` (its name without the end mark).
    pub fn note(&self, owner: &str, kind: u32) -> Option<&[u8]> {
        self.notes.iter().find_map(|notes| {
            let mut rest = notes.as_slice();
            loop {
                let name_len = u32_at(rest, 0)? as usize;
                let body_len = u32_at(rest, 4)? as usize;
                let name_end = 12usize.checked_add(name_len)?;
                let body_at = name_end.checked_next_multiple_of(4)?;
                let body_end = body_at.checked_add(body_len)?;
                let name = rest.get(12..name_end)?;
                let body = rest.get(body_at..body_end)?;
                // GNU pads names with one end mark, Go up to a multiple of 4 bytes.
                if u32_at(rest, 8)? == kind
                    && name.split(|b| *b == 0).next() == Some(owner.as_bytes())
                {
                    return Some(body);
                }
                rest = rest.get(body_end.checked_next_multiple_of(4)?..)?;
            }
        })
    }

    /// The machine that it was built for.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The file itself.
    pub fn file(&self) -> &Opened {
        &self.file
    }

    /// Bytes of the file when it was opened.
    pub fn size(&self) -> u64 {
        self.file.size
    }

    /// Bytes of the file.
    pub fn read_file(&self, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
        self.file.read(offset, len)
    }

    /// Bytes that the file has for link-time addresses from `at` on; relocations are not applied.
    pub fn read(&self, at: VAddr, len: usize) -> Result<Vec<u8>, Error> {
        let offset = self.place(at, len as u64)?;
        self.read_file(offset.0, len as u64)
    }

    /// Where the file has that many bytes for link-time addresses from `at` on.
    pub fn place(&self, at: VAddr, len: u64) -> Result<FileOffset, Error> {
        let offset = self.file_offset(at).filter(|_| len <= self.file_backed(at));
        offset.ok_or(Error::NotLoaded { at: at.0, len })
    }

    /// Where the file has the byte of a link-time address.
    pub fn file_offset(&self, at: VAddr) -> Option<FileOffset> {
        let segment = self.backing(at)?;
        Some(FileOffset(segment.offset + (at.0 - segment.vaddr)))
    }

    /// How many bytes from `at` on one segment takes from the file.
    pub fn file_backed(&self, at: VAddr) -> u64 {
        self.backing(at).map_or(0, |s| s.vaddr + s.file_size - at.0)
    }

    /// The link-time address of a byte of the file, as executable segments place it: how an address
    /// in a process's mapping of the file becomes one of the file.
    pub fn executable_vaddr(&self, at: FileOffset) -> Option<VAddr> {
        let holds =
            |s: &&Segment| s.executable && at.0 >= s.offset && at.0 - s.offset < s.file_size;
        self.segments.iter().find(holds).map(|s| VAddr(s.vaddr + (at.0 - s.offset)))
    }

    /// The executable segment that an address lies in.
    pub fn executable_at(&self, at: VAddr) -> Option<Mapping> {
        let segment = self.backing(at).filter(|s| s.executable)?;
        Some(Mapping {
            start: VAddr(segment.vaddr),
            end: VAddr(segment.vaddr + segment.mem_size),
            offset: FileOffset(segment.offset),
        })
    }

    /// Whether an address lies in a writable segment, in the file or beyond (zero at start).
    pub fn is_writable(&self, at: VAddr) -> bool {
        let holds = |s: &Segment| at.0 >= s.vaddr && at.0 - s.vaddr < s.mem_size;
        self.segments.iter().any(|s| s.writable && holds(s))
    }

    fn backing(&self, at: VAddr) -> Option<&Segment> {
        self.segments.iter().find(|s| at.0 >= s.vaddr && at.0 - s.vaddr < s.file_size)
    }

    /// The page of the lowest link-time address: what a load bias is counted from.
    pub fn lowest_page(&self) -> VAddr {
        VAddr(self.segments.iter().map(|s| s.vaddr).min().unwrap_or(0) & !(PAGE - 1))
    }

    /// End of the highest segment.
    pub fn end(&self) -> VAddr {
        VAddr(self.segments.iter().map(|s| s.vaddr.saturating_add(s.mem_size)).max().unwrap_or(0))
    }

    /// Walks the file bytes of a segment in chunks that overlap by `overlap` bytes. `each` gets the
    /// link-time address of a chunk and its bytes. What lies beyond the end of the file is left out.
    pub fn walk<B>(
        &self,
        segment: &Segment,
        overlap: u64,
        mut each: impl FnMut(u64, &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, Error> {
        let size = segment.file_size.min(self.size().saturating_sub(segment.offset));
        let mut at = 0;
        while at < size {
            let len = (size - at).min(CHUNK + overlap);
            let data = self.read_file(segment.offset + at, len)?;
            if let ControlFlow::Break(found) = each(segment.vaddr + at, &data) {
                return Ok(Some(found));
            }
            at += CHUNK;
        }
        Ok(None)
    }

    /// Every pointer that the loader will fill in by adding the load bias: its place and its value
    /// at link time. Nothing in files that have no such table.
    pub fn relative_pointers(&self, mut each: impl FnMut(u64, u64)) -> Result<(), Error> {
        let entry = size_of::<Rela64<LE>>() as u64;
        let Dynamic { rela, rela_size, .. } = self.dynamic;
        let size = rela_size - rela_size % entry;
        if size > MAX_RELA {
            let what = "its table of relocations";
            return Err(Error::TooBig { what, size, limit: MAX_RELA });
        }
        let step = CHUNK - CHUNK % entry;
        let relative = self.machine.relative_relocation();
        let mut at = 0;
        while at < size {
            let raw = self.read(VAddr(rela.wrapping_add(at)), (size - at).min(step) as usize)?;
            for rela in slice_from_all_bytes::<Rela64<LE>>(&raw).unwrap_or_default() {
                if rela.r_info.get(LE) as u32 == relative {
                    each(rela.r_offset.get(LE), rela.r_addend.get(LE) as u64);
                }
            }
            at += step;
        }
        Ok(())
    }

    /// Like [`Image::read`], with pointers as link-time addresses also where the file leaves them to
    /// the loader.
    pub fn read_relocated(&self, at: VAddr, len: usize) -> Result<Vec<u8>, Error> {
        let mut data = self.read(at, len)?;
        if self.relocatable {
            self.relative_pointers(|place, value| {
                let Some(offset) = place.checked_sub(at.0).map(|o| o as usize) else { return };
                if let Some(end) = offset.checked_add(8)
                    && let Some(word) = data.get_mut(offset..end)
                {
                    word.copy_from_slice(&value.to_le_bytes());
                }
            })?;
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::fake::file;

    /// Program headers of which all but the first are notes, all of the same bytes.
    fn notes(count: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56 * (count + 1)];
        bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        let mut put =
            |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(16, 2 | 62 << 16 | 1 << 32);
        put(32, 64);
        put(52, 56 << 16 | (count as u64 + 1) << 32);
        for header in 0..=count {
            let at = 64 + 56 * header;
            let kind = if header == 0 { PT_LOAD } else { PT_NOTE };
            put(at, u64::from(kind.0) | 5 << 32);
            put(at + 32, if header == 0 { 8 } else { size as u64 });
            put(at + 40, 8);
        }
        bytes.resize(bytes.len().max(size), 0);
        bytes
    }

    #[test]
    fn notes_that_overlap_are_held_up_to_a_limit() {
        let image = Image::open(file(&notes(1000, 100 << 10))).unwrap();
        let held: usize = image.notes.iter().map(Vec::len).sum();
        assert!(held > 0 && held as u64 <= MAX_NOTES, "{held}");
        assert_eq!(image.note("GNU", 3), None);
    }
}
