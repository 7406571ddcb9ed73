//! Facts from a Go binary's bytes: ELF, build info, pclntab, inline tree, probe sites, types.
//!
//! In: an opened file. Out: [`GoBinary`]: what the file says of itself ([`Facts`]), its functions
//! and the bytes at its link-time addresses. What finding functions takes is read when the file is
//! opened; files and lines when [`GoBinary::complete`] or the first address to be named asks for them,
//! from the opened file and only if nobody has written to it: names stay true when the file is deleted or
//! overwritten. Files belong to other people: every size is bounded and every offset checked. Knows no
//! process and needs no root.

mod address_table;
pub mod bytes;
mod decode;
mod error;
mod facts;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, dead_code, reason = "made for tests; fuzzers take a part of it")]
pub(crate) mod fake;
#[cfg(test)]
mod hostile;
mod image;
mod index;
mod inline;
pub mod layout;
mod machine;
mod module;
mod opened;
mod pclntab;
pub mod sites;
mod symbol_table;
pub mod symbols;
pub mod types;
mod version;

use std::collections::HashMap;
use std::fs::File;

use object::elf::{SHT_SYMTAB, STT_OBJECT};

use crate::address::{FileOffset, VAddr};
pub(crate) use address_table::AddressTable;
pub use error::Error;
pub(crate) use facts::gnu_build_id;
pub use facts::{Facts, GoVersion, LoadType, VersionFrom};
pub(crate) use image::Image;
pub use image::Mapping;
pub(crate) use inline::InlineTrees;
pub use machine::Machine;
use module::{Module, ModuleTail};
pub use pclntab::Function;
use pclntab::Header;
pub(crate) use pclntab::{Pclntab, Record};
pub(crate) use symbol_table::SymbolTable;

/// A Go binary, opened.
#[derive(Debug)]
pub struct GoBinary {
    image: Image,
    facts: Facts,
    table: Pclntab,
    module: Module,
    /// What depends on the release: nothing when the file does not tell it and no known form fits.
    tail: Option<(ModuleTail, InlineTrees)>,
    wrapper: Option<u8>,
}

impl GoBinary {
    /// Reads headers, build information and the function table.
    ///
    /// Errors: no ELF file, no Go program, too old or too new, damaged, runtime in another file.
    pub fn open(file: File) -> Result<Self, Error> {
        let image = Image::open(file)?;
        let mut facts = Facts::read(&image)?;
        facts.check_release()?;
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
            facts.set_version(&text, VersionFrom::RuntimeString);
            facts.check_release()?;
        }
        let mut tail = None;
        for candidate in module.tails(facts.version, header.format) {
            if let Some(trees) = InlineTrees::load(&image, &table, candidate.gofunc)? {
                tail = Some((candidate, trees));
                break;
            }
        }
        let mut binary = Self { image, facts, table, module, tail, wrapper: None };
        // FuncIDWrapper is the last FuncID, after that of systemstack_switch (internal/abi/symtab.go;
        // Go 1.18 to 1.27): the numbers themselves change with the release.
        // The second one is assembly of runtime/cgo that every program with C code has.
        let names = ["runtime.systemstack_switch", "crosscall2", "plugin.open"];
        let found = binary.find_functions(&names);
        let last = found[0].map(|f| f.func_id).filter(|id| *id != 0);
        let (cgo, loads_plugins) = (found[1].is_some(), found[2].is_some());
        binary.wrapper = last.and_then(|id| id.checked_add(1));
        (binary.facts.cgo, binary.facts.loads_plugins) = (cgo, loads_plugins);
        Ok(binary)
    }

    /// The cheap part: what the file says of itself, without its function table. Also of releases
    /// that [`GoBinary::open`] refuses.
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

    /// The machine that it was built for.
    pub fn machine(&self) -> Machine {
        self.image.machine()
    }

    /// Whether this machine runs it; files of others can be read.
    ///
    /// # Errors
    /// It does not.
    pub fn runs_here(&self) -> Result<(), Error> {
        match Machine::HOST {
            Some(host) if host == self.machine() => Ok(()),
            host => Err(Error::Foreign {
                built: self.machine().name(),
                host: host.map_or(std::env::consts::ARCH, Machine::name),
            }),
        }
    }

    /// What the file says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// All functions by ascending address; damaged records are left out.
    pub fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        (0..self.table.len()).filter_map(|index| self.table.function(index))
    }

    /// The functions whose name begins so and is wanted, by ascending address; found as
    /// [`GoBinary::find_function`] does.
    pub fn functions_where(
        &self,
        beginning: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<Function<'_>> {
        let wanted = |name: &str| name.starts_with(beginning) && wanted(name);
        let mut found: Vec<Function> = Vec::new();
        let mut places = HashMap::new();
        for (index, name) in self.table.named_like(&[beginning]).filter(|(_, n)| wanted(n)) {
            let Some(function) = self.table.function(index) else { continue };
            let at = *places.entry(name).or_insert(found.len());
            match found.get_mut(at) {
                Some(before) => self.prefer(before, function),
                None => found.push(function),
            }
        }
        found.sort_by_key(|function| function.index);
        found
    }

    /// The function of that name: its body, not the wrapper that some assembly and linkname
    /// functions have beside it (facts 2.3).
    pub fn find_function(&self, name: &str) -> Option<Function<'_>> {
        self.find_functions(&[name]).pop().flatten()
    }

    /// [`GoBinary::find_function`] of several names in one pass; as many as `names`, in order.
    pub fn find_functions(&self, names: &[&str]) -> Vec<Option<Function<'_>>> {
        let mut found: Vec<Option<Function>> = vec![None; names.len()];
        for (index, name) in self.table.named_like(names) {
            let Some(at) = names.iter().position(|wanted| *wanted == name) else { continue };
            let Some(function) = self.table.function(index) else { continue };
            match &mut found[at] {
                Some(before) => self.prefer(before, function),
                nothing => *nothing = Some(function),
            }
        }
        found
    }

    /// Of two functions of one name the body. A wrapper lies behind its function in every binary seen: the
    /// first one is kept.
    fn prefer<'a>(&self, before: &mut Function<'a>, function: Function<'a>) {
        if self.is_wrapper(before) {
            *before = function;
        }
    }

    /// For each function those that it was inlined into; in order.
    ///
    /// The compiler never inlines the allocator by itself, but does where a profile (PGO) says that
    /// it is hot: a probe at the function then misses what happens in the copy.
    pub fn find_inlined(&self, functions: &[Function]) -> Vec<Vec<Function<'_>>> {
        let Some(trees) = self.inline_trees() else { return vec![Vec::new(); functions.len()] };
        let names = functions.iter().map(|function| self.table.name_offset_of(function.index));
        let into = trees.inlined(&self.table, &names.collect::<Vec<_>>()).into_iter();
        into.map(|places| places.iter().filter_map(|i| self.table.function(*i)).collect()).collect()
    }

    /// The functions that one of a name was inlined into. It need not be a function of its own any more.
    pub fn find_copies(&self, name: &str) -> Vec<Function<'_>> {
        let Some(trees) = self.inline_trees() else { return Vec::new() };
        let into = trees.inlined(&self.table, &[self.table.name_offset(name)]);
        into.iter().flatten().filter_map(|index| self.table.function(*index)).collect()
    }

    /// Whether the compiler or linker made the function (FuncIDWrapper).
    pub fn is_wrapper(&self, function: &Function) -> bool {
        self.wrapper == Some(function.func_id)
    }

    /// What the function that begins at `at` was made to call, where the compiler made it for a `go` or
    /// `defer` statement with arguments (runtime/trace.go, `startPCForTrace`).
    pub fn wrapped_at(&self, at: VAddr) -> Option<VAddr> {
        let (tail, _) = self.tail.as_ref()?;
        let wrapped = self.table.details(self.table.index_of(at)?)?.wrapped?;
        let place = VAddr(tail.gofunc.0.checked_add(wrapped.into())?);
        let offset = bytes::u32_at(&self.image.read(place, 4).ok()?, 0)?;
        let function = VAddr(self.module.text.0.checked_add(offset.into())?);
        (function < self.module.etext).then_some(function)
    }

    /// The FuncID of wrappers in this binary's release.
    pub fn wrapper_id(&self) -> Option<u8> {
        self.wrapper
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

    /// Whether a link-time address lies in memory that the program may write: initialised data or not.
    pub fn is_writable(&self, at: VAddr) -> bool {
        self.image.is_writable(at)
    }

    /// Symbols of variables; nothing in a stripped file.
    pub(crate) fn variables(&self) -> Option<SymbolTable> {
        SymbolTable::read(&self.image, SHT_SYMTAB.0, &[STT_OBJECT]).ok().flatten()
    }

    /// Start and end of Go's own text. C code of cgo programs lies outside.
    pub fn text_range(&self) -> (VAddr, VAddr) {
        (self.module.text, self.module.etext)
    }

    /// The executable segment that Go's text lies in.
    pub fn text_mapping(&self) -> Option<Mapping> {
        self.image.executable_at(self.module.text)
    }

    /// Page of the lowest link-time address. Load bias = lowest mapping of the file − this (facts 4.1).
    pub fn lowest_page(&self) -> VAddr {
        self.image.lowest_page()
    }

    /// Start and end of what the file has at link-time addresses, what is zero at start included.
    pub fn file_range(&self) -> (VAddr, VAddr) {
        (self.image.lowest_page(), self.image.end())
    }

    /// Where type data lies: start and end; nothing in a release whose module record is unknown.
    pub fn types_range(&self) -> Option<(VAddr, VAddr)> {
        self.tail.as_ref().map(|(tail, _)| (tail.types, tail.etypes))
    }

    /// The function table.
    pub(crate) fn table(&self) -> &Pclntab {
        &self.table
    }

    /// The inline trees; nothing in a release whose module record is unknown.
    pub(crate) fn inline_trees(&self) -> Option<&InlineTrees> {
        self.tail.as_ref().map(|(_, trees)| trees)
    }

    /// Reads what names files and lines, now. Tells whether that is known.
    pub fn complete(&self) -> bool {
        self.table.complete()
    }

    /// Bytes held in memory for naming addresses.
    pub fn memory(&self) -> usize {
        self.table.memory() + self.tail.as_ref().map_or(0, |(_, trees)| trees.memory())
    }
}
