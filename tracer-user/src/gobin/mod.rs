//! Facts from a Go binary's bytes: ELF, build info, pclntab, inline tree, probe sites, types.
//!
//! In: an opened file. Out: [`GoBinary`]: what the file says of itself ([`Facts`]), its functions
//! and the bytes at its link-time addresses. What names addresses later is read into memory when
//! the file is opened, so names stay true when the file is deleted or overwritten. Files belong to
//! other people: every size is bounded and every offset checked. Knows no process and needs no root.

pub mod bytes;
mod error;
mod facts;
mod image;
pub mod layout;
mod module;
mod pclntab;
pub mod sites;
mod version;

use std::fs::File;

use crate::address::{FileOffset, VAddr};
pub use error::Error;
pub use facts::{Facts, GoVersion, LoadType, VersionFrom};
use image::Image;
use module::{Module, ModuleTail};
pub use pclntab::Function;
use pclntab::{Header, Pclntab};

/// A Go binary, opened.
#[derive(Debug)]
pub struct GoBinary {
    image: Image,
    facts: Facts,
    table: Pclntab,
    module: Module,
    tail: ModuleTail,
}

/// A segment as pprof's mappings want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: VAddr,
    pub end: VAddr,
    pub offset: FileOffset,
}

impl GoBinary {
    /// Reads headers, build information and the function table.
    ///
    /// Errors: no ELF file, no Go program, too old or too new, damaged, runtime in another file.
    pub fn open(file: File) -> Result<Self, Error> {
        let image = Image::open(file)?;
        let mut facts = Facts::read(&image)?;
        let known_as_go = facts.version.is_some() || facts.go_build_id.is_some();
        let header = Header::find(&image).map_err(|e| match e {
            Error::NoPclntab("not found") if !known_as_go => Error::NotGo,
            e => e,
        })?;
        let module = Module::find(&image, &header)?;
        let table = Pclntab::load(&image, header, module.table_end, module.text)?;
        if facts.version.is_none()
            && let Some(text) = version::runtime_string(&image, &table)
        {
            facts.set_version(&text, VersionFrom::RuntimeString)?;
        }
        let tails = module.tails(facts.version, header.format);
        let tail = tails.first().copied().ok_or(Error::NoModule("its release is unknown"))?;
        let mut binary = Self { image, facts, table, module, tail };
        // Assembly of runtime/cgo that every program with C code has.
        binary.facts.cgo = binary.find_function("crosscall2").is_some();
        binary.facts.loads_plugins = binary.find_function("plugin.open").is_some();
        Ok(binary)
    }

    /// The cheap part: what the file says of itself, without its function table.
    ///
    /// A file without Go's marks (build information, build id note, section of the function table)
    /// is searched for a function table when it has no section headers, and is `NotGo` otherwise.
    pub fn peek(file: &File) -> Result<Facts, Error> {
        let file = file.try_clone().map_err(|source| Error::Read { offset: 0, len: 0, source })?;
        let image = Image::open(file)?;
        let facts = Facts::read(&image)?;
        let marked = facts.version.is_some()
            || facts.go_build_id.is_some()
            || image.section(".gopclntab").is_some()
            || image.section(".data.rel.ro.gopclntab").is_some();
        if !marked && (!image.sections.is_empty() || Header::find(&image).is_err()) {
            return Err(Error::NotGo);
        }
        Ok(facts)
    }

    /// What the file says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// All functions by ascending address; damaged records are left out.
    pub fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        (0..self.table.len()).filter_map(|index| self.table.function(index))
    }

    /// The functions whose name is wanted.
    pub fn functions_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<Function<'_>> {
        self.functions().filter(|f| wanted(f.name)).collect()
    }

    /// The function of that name: its body, not the wrapper that some assembly and linkname
    /// functions have beside it (facts 2.3).
    pub fn find_function(&self, name: &str) -> Option<Function<'_>> {
        self.find_functions(&[name]).pop().flatten()
    }

    /// [`GoBinary::find_function`] of several names in one pass; as many as `names`, in order.
    pub fn find_functions(&self, names: &[&str]) -> Vec<Option<Function<'_>>> {
        let mut found = vec![None; names.len()];
        let wanted: Vec<_> = names.iter().map(|name| self.table.name_offset(name)).collect();
        for index in 0..self.table.len() {
            let Some(offset) = self.table.name_offset_of(index) else { continue };
            let Some(at) = wanted.iter().position(|w| *w == Some(offset)) else { continue };
            let Some(function) = self.table.function(index) else { continue };
            // A wrapper lies behind its function in every binary seen, so the first one is kept
            // also where the number of wrapper's FuncID is not known.
            if found[at].is_none_or(|f: Function| self.is_wrapper(&f)) {
                found[at] = Some(function);
            }
        }
        found
    }

    /// Whether the compiler or linker made the function (FuncIDWrapper), as far as that is known.
    pub fn is_wrapper(&self, function: &Function) -> bool {
        version::wrapper_id(self.facts.version) == Some(function.func_id)
    }

    /// The function that `at` lies in.
    pub fn function_at(&self, at: VAddr) -> Option<Function<'_>> {
        self.table.function(self.table.index_of(at)?)
    }

    /// The file's bytes for link-time addresses from `at` on. Pointers that the loader fills in are
    /// as the file has them (mostly 0): see [`GoBinary::read_relocated`].
    pub fn read(&self, at: VAddr, len: usize) -> Result<Vec<u8>, Error> {
        self.image.read(at, len)
    }

    /// Like [`GoBinary::read`], with pointers as link-time addresses in position-independent files.
    pub fn read_relocated(&self, at: VAddr, len: usize) -> Result<Vec<u8>, Error> {
        self.image.read_relocated(at, len)
    }

    /// Where the file has the byte of a link-time address: what a probe is attached by.
    pub fn file_offset(&self, at: VAddr) -> Option<FileOffset> {
        self.image.file_offset(at)
    }

    /// Start and end of Go's own text. C code of cgo programs lies outside.
    pub fn text_range(&self) -> (VAddr, VAddr) {
        (self.module.text, self.module.etext)
    }

    /// The executable segment that Go's text lies in.
    pub fn text_mapping(&self) -> Option<Mapping> {
        let text = self.module.text.0;
        let holds =
            |s: &&image::Segment| s.executable && text >= s.vaddr && text - s.vaddr < s.file_size;
        self.image.segments.iter().find(holds).map(|s| Mapping {
            start: VAddr(s.vaddr),
            end: VAddr(s.vaddr + s.mem_size),
            offset: FileOffset(s.offset),
        })
    }

    /// Page of the lowest link-time address. Load bias = lowest mapping of the file − this (facts 4.1).
    pub fn lowest_page(&self) -> VAddr {
        self.image.lowest_page()
    }

    /// Where type data lies: start and end.
    pub fn types_range(&self) -> (VAddr, VAddr) {
        (self.tail.types, self.tail.etypes)
    }

    /// Bytes held in memory for naming addresses.
    pub fn memory(&self) -> usize {
        self.table.memory()
    }
}
