//! Go programs of some two kilobytes, made by hand: what no seed cut from a real one has. Position-independent ones, those
//! without build information, with sections, with types, of which much was inlined; and files that are none.

use super::*;
use crate::doors::replay::seed;
use crate::gobin::fake::{Fake, open};
use crate::gobin::sites::SiteError;
use crate::symbolize::SymFrame;

const BASE: u64 = 0x40_0000;
/// Offset in the file of the first function's code, and what each one takes.
const TEXT: usize = 0x140;
const EACH: u64 = 64;
/// What is added to offsets of data.
const DATA: u64 = 0x60_0000;
/// A comparison with the goroutine's stack guard, a jump, and what follows.
const CHECK: &[u8] = &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x10, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3];

/// A function, and what was inlined into it.
type Called<'a> = (&'a str, &'a [&'a str]);

/// What is to be made.
struct Program<'a> {
    version: &'a str,
    /// Lines of build information beside the path.
    modules: &'a str,
    functions: &'a [Called<'a>],
    /// The format of Go 1.18 and 1.19.
    old: bool,
    pie: bool,
    sections: bool,
    /// The version is the runtime's own alone.
    silent: bool,
}

const PLAIN: Program = Program {
    version: "go1.26.1",
    modules: "",
    functions: &[("main.main", &["main.inlined"]), ("main.run", &[])],
    old: false,
    pie: false,
    sections: false,
    silent: false,
};

/// A file in the making.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn align(&mut self, to: usize) -> usize {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self.0.len()
    }

    fn word(&mut self, at: usize, value: u64, size: usize) {
        self.0[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    fn words(&mut self, words: &[u64]) -> usize {
        let at = self.align(8);
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        at
    }
}

/// Where the function table and the inline trees lie in the file.
struct Tables {
    header: usize,
    names: usize,
    funcs: usize,
    end: usize,
    trees: usize,
}

impl Program<'_> {
    fn file(&self) -> Vec<u8> {
        let mut file = Bytes(vec![0; TEXT]);
        for _ in self.functions {
            let at = file.align(EACH as usize);
            file.0.extend(CHECK);
            file.0.resize(at + EACH as usize, 0xcc);
        }
        let tables = self.tables(&mut file);
        let data = file.align(16);
        // What `runtime.schedinit` compares: the length of a string of which the header is here.
        let text = file.0.len();
        file.0.extend(self.version.bytes());
        let header = file.words(&[0, self.version.len() as u64]);
        let code: i64 = TEXT as i64 + BASE as i64 + 8;
        let compared = (header as u64 + DATA + 8) as i64 - code;
        if self.silent {
            file.0[TEXT..TEXT + 3].copy_from_slice(&[0x48, 0x83, 0x3d]);
            file.word(TEXT + 3, compared as u64, 4);
            file.0[TEXT + 7] = 0;
        } else {
            self.build_info(&mut file);
        }
        let types = self.types(&mut file);
        let mut pointers = vec![(header as u64 + DATA, text as u64 + DATA)];
        let module = self.module(&mut file, &tables, types, &mut pointers);
        let dynamic = self.relocated(&mut file, &pointers);
        let size = file.0.len();
        if self.sections {
            self.sections(&mut file, &tables, data, module);
        }
        self.headers(&mut file, (data, size), dynamic);
        file.0
    }

    fn build_info(&self, file: &mut Bytes) {
        let at = file.align(16);
        file.0.extend(b"\xff Go buildinf:\x08\x02");
        file.0.resize(at + 32, 0);
        let modules = format!("0123456789abcdefpath\tmade\n{}0123456789abcdef", self.modules);
        for text in [self.version, &modules] {
            assert!(text.len() < 128);
            file.0.push(text.len() as u8);
            file.0.extend(text.bytes());
        }
    }

    fn tables(&self, file: &mut Bytes) -> Tables {
        let header = file.align(16);
        file.0.resize(header + 0x60, 0);
        let names = file.0.len();
        let mut known = Vec::new();
        let inlined = self.functions.iter().flat_map(|(_, inlined)| inlined.iter());
        for name in self.functions.iter().map(|(name, _)| name).chain(inlined) {
            known.push((*name, (file.0.len() - names) as u64));
            file.0.extend(name.bytes().chain([0]));
        }
        let name = |wanted: &str| known.iter().find(|(name, _)| *name == wanted).unwrap().1;
        let units = file.words(&[8 << 32]);
        let files = file.align(8);
        file.0.extend(b"main.go\0other.go\0");
        let addresses = file.align(8);
        // None; lines; files; each 8 bytes the next inlined call, then none; the frame's size.
        file.0.extend([0, 22, 16, 80, 16, 75, 32, 0]);
        let numbers = (file.0.len() - addresses) as u64;
        file.0.extend([2, 16, 2, 16, 1, 32, 0]);
        let frames = (file.0.len() - addresses) as u64;
        file.0.extend([18, 64, 0]);
        let calls: Vec<u64> = self
            .functions
            .iter()
            .map(|(_, inlined)| {
                let at = (file.0.len() - addresses) as u64;
                inlined.iter().for_each(|_| file.0.extend([2, 8]));
                file.0.extend([(2 * inlined.len() as u8).saturating_sub(1), 64, 0]);
                at
            })
            .collect();
        let funcs = file.align(8);
        let size = if self.old { 40 } else { 44 };
        let index = 8 * self.functions.len() + 4;
        file.0.resize(funcs + index, 0);
        let mut tree = 0;
        for (number, (called, inlined)) in self.functions.iter().enumerate() {
            let (entry, at) = (EACH * number as u64, file.0.len());
            file.word(funcs + 8 * number, entry, 4);
            file.word(funcs + 8 * number + 4, (at - funcs) as u64, 4);
            file.0.resize(at + size, 0);
            let words =
                [(0, entry), (4, name(called)), (16, frames), (20, numbers), (24, 1), (36, 7)];
            let words = words.into_iter().take(if self.old { 5 } else { 6 });
            words.for_each(|(slot, value)| file.word(at + slot, value, 4));
            // What lies nearest to systemstack_switch is a wrapper's number.
            file.0[at + size - 4] = 1 + number as u8;
            (file.0[at + 28], file.0[at + size - 1]) = (3, 8);
            let none = u64::from(u32::MAX);
            let inline = if inlined.is_empty() { none } else { tree };
            let wrapped = if number == 1 { 4 } else { none };
            let table = if inlined.is_empty() { 0 } else { calls[number] };
            for word in [0, 0, table, none, none, none, inline, none, none, none, wrapped] {
                file.0.extend((word as u32).to_le_bytes());
            }
            tree += self.record_size() * inlined.len() as u64;
        }
        file.word(funcs + index - 4, EACH * self.functions.len() as u64, 4);
        let end = file.align(8);
        let trees = file.0.len();
        for call in self.functions.iter().flat_map(|(_, inlined)| inlined.iter()) {
            let at = file.0.len();
            file.0.resize(at + self.record_size() as usize, 0);
            let slots = if self.old { [12, 16] } else { [4, 8] };
            file.word(at + slots[0], name(call), 4);
            file.word(at + slots[1], 40, 4);
        }
        file.align(8);
        let count = self.functions.len() as u64;
        file.word(header, if self.old { 0xffff_fff0 } else { 0xffff_fff1 }, 4);
        (file.0[header + 6], file.0[header + 7]) = (1, 8);
        let offset = |at: usize| (at - header) as u64;
        let places = [names, units, files, addresses, funcs].map(offset);
        let slots = [(8, count), (16, 2), (24, BASE + TEXT as u64)].into_iter();
        for (slot, value) in slots.chain((32..).step_by(8).zip(places)) {
            file.word(header + slot, value, 8);
        }
        Tables { header, names, funcs, end, trees }
    }

    fn record_size(&self) -> u64 {
        if self.old { 20 } else { 16 }
    }

    /// One type of each kind, each with a name of its own.
    fn types(&self, file: &mut Bytes) -> (usize, usize) {
        let start = file.align(8);
        file.0.extend(b"\0\0\0\0\0\0\0\0\x01\x07*main.T\0\0\x04main\0");
        for kind in (0..=27u8).chain([25]) {
            let at = file.align(8);
            file.0.resize(at + 96, 0);
            file.0[at] = 8 * kind;
            // With an uncommon part and a name, and a star too much.
            (file.0[at + 20], file.0[at + 23]) = (7, kind);
            file.word(at + 40, 8, 4);
            for slot in [48, 56, 64, 72, 80] {
                file.word(at + slot, 18, 4);
            }
        }
        // Without a star, and without a package.
        let at = file.0.len() - 96;
        file.0[at + 20] = 0;
        (start, file.align(8))
    }

    fn module(
        &self,
        file: &mut Bytes,
        tables: &Tables,
        (types, etypes): (usize, usize),
        pointers: &mut Vec<(u64, u64)>,
    ) -> usize {
        let at = file.align(16);
        file.0.resize(at + 352, 0);
        let loaded = |offset: usize| BASE + offset as u64;
        let end = BASE + TEXT as u64 + EACH * self.functions.len() as u64;
        let tail = if self.old { [280, 288, 304] } else { [296, 304, 320] };
        for (slot, value) in [
            (0, loaded(tables.header)),
            (8, loaded(tables.names)),
            (104, loaded(tables.funcs)),
            (128, loaded(tables.funcs)),
            (176, loaded(TEXT)),
            (184, end),
            (tail[0], types as u64 + DATA),
            (tail[1], etypes as u64 + DATA),
            (tail[2], loaded(tables.trees)),
        ] {
            pointers.push(((at + slot) as u64 + DATA, value));
        }
        file.word(at + 112, (tables.end - tables.funcs) as u64, 8);
        file.word(at + 136, self.functions.len() as u64 + 1, 8);
        at
    }

    /// Fills pointers in, or tells the loader to.
    fn relocated(&self, file: &mut Bytes, pointers: &[(u64, u64)]) -> Option<(usize, usize)> {
        if !self.pie {
            pointers.iter().for_each(|(at, to)| file.word((at - DATA) as usize, *to, 8));
            return None;
        }
        let all: Vec<u64> = pointers.iter().flat_map(|(at, to)| [*at, 8, *to]).collect();
        let rela = file.words(&all);
        let strings = file.align(8);
        file.0.extend(b"\0libc.so.6\0");
        let place = |at: usize| at as u64 + DATA;
        let dynamic =
            [7, place(rela), 8, 8 * all.len() as u64, 5, place(strings), 10, 11, 1, 1, 0, 0];
        Some((file.words(&dynamic), 8 * dynamic.len()))
    }

    fn sections(&self, file: &mut Bytes, tables: &Tables, data: usize, module: usize) {
        let names = file.align(8);
        file.0.extend(b"\0.gopclntab\0.go.module\0.go.buildinfo\0.shstrtab\0");
        let info = memchr::memmem::find(&file.0, b"\xff Go buildinf:").unwrap_or(data);
        let at = file.align(8);
        let (table, module) = (tables.header as u64 + BASE, module as u64 + DATA);
        let each = [(0, 0), (1, table), (12, module), (23, info as u64 + DATA), (37, 0)];
        for (name, vaddr) in each {
            // Name and kind, flags, address, offset, size, and what nobody asks for.
            file.words(&[name | 1 << 32, 0, vaddr, names as u64, 47, 0, 0, 0]);
        }
        file.word(40, at as u64, 8);
        for (slot, value) in [(58, 64), (60, each.len() as u64), (62, 4)] {
            file.word(slot, value, 2);
        }
    }

    fn headers(
        &self,
        file: &mut Bytes,
        (data, end): (usize, usize),
        dynamic: Option<(usize, usize)>,
    ) {
        file.0[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        let kind = if self.pie { 3 } else { 2 };
        for (at, value, size) in [(16, kind, 2), (18, 62, 2), (20, 1, 4), (32, 64, 8), (54, 56, 2)]
        {
            file.word(at, value, size);
        }
        let loaded = [(1, 5, 0, BASE, data), (1, 6, data, DATA, end - data)];
        let dynamic = dynamic.map(|(at, len)| (2, 6, at, DATA, len));
        for (number, (kind, flags, offset, more, len)) in
            loaded.into_iter().chain(dynamic).enumerate()
        {
            let at = 64 + 56 * number;
            file.word(at, kind, 4);
            file.word(at + 4, flags, 4);
            let (offset, len) = (offset as u64, len as u64);
            for (slot, value) in [(8, offset), (16, offset + more), (32, len), (40, len)] {
                file.word(at + slot, value, 8);
            }
            file.word(56, number as u64 + 1, 2);
        }
    }

    /// Keeps it as a seed, goes through the door with it, and opens it.
    fn kept(&self, name: &str) -> GoBinary {
        let bytes = self.file();
        seed("binary", &format!("made_{name}"), &bytes);
        super::open(&bytes);
        open(&bytes).unwrap_or_else(|err| panic!("{name}: {err}"))
    }
}

fn names(binary: GoBinary, at: u64) -> Vec<String> {
    let at = VAddr(BASE + TEXT as u64 + at);
    let symbolizer = Symbolizer::new(Arc::new(binary));
    let frames = symbolizer.symbolize_one(at).unwrap();
    frames.iter().map(|SymFrame { function, .. }| function.to_string()).collect()
}

#[test]
fn inlined_calls_are_named_in_both_formats() {
    let expected = ["main.inlined", "main.main"];
    assert_eq!(names(PLAIN.kept("plain"), 4), expected);
    let old = Program { version: "go1.19.1", old: true, ..PLAIN };
    assert_eq!(names(old.kept("old"), 4), expected);
    let functions: &[Called] = &[("main.F[go.shape.[]int].G[...]", &["main.T[int].M[string]"][..])];
    names(Program { functions, ..PLAIN }.kept("generic"), 4);
}

#[test]
fn what_the_loader_fills_in_is_read() {
    let pie = Program { pie: true, ..PLAIN };
    assert_eq!(names(pie.kept("pie"), 4), ["main.inlined", "main.main"]);
    let functions: &[Called] = &[("runtime.schedinit", &[][..]), ("main.main", &[])];
    for (name, pie) in [("silent", false), ("silent_pie", true)] {
        let binary = Program { silent: true, pie, functions, ..PLAIN }.kept(name);
        assert_eq!(binary.facts().version_text.as_deref(), Some("go1.26.1"), "{name}");
    }
    let binary = Program { silent: true, ..PLAIN }.kept("nothing_said");
    assert_eq!(binary.facts().version, None);
}

#[test]
fn sections_lead_to_tables() {
    let binary = Program { sections: true, ..PLAIN }.kept("sections");
    assert_eq!(binary.facts().version_text.as_deref(), Some("go1.26.1"));
}

#[test]
fn every_kind_of_type_is_named() {
    let binary = PLAIN.kept("plain");
    let (types, (start, end)) = (Types::load(&binary).unwrap(), binary.types_range().unwrap());
    let found = (start.0..end.0).step_by(8).filter_map(|at| types.get(VAddr(at)));
    let kinds: std::collections::HashSet<_> = found.map(|found| found.kind.to_string()).collect();
    assert_eq!(kinds.len(), 26);
}

#[test]
fn what_was_inlined_is_refused_in_words() {
    const PUT: &str = "sync.(*Pool).Put";
    let functions: &[Called] = &[
        ("main.main", &[PUT, "runtime.growslice", "runtime.convTslice"]),
        ("sync.(*Pool).Get", &[]),
        ("runtime.makeslice", &[]),
        ("runtime.concatstring3", &[]),
        ("runtime.newproc1", &["runtime.casgstatus"]),
        ("runtime.casgstatus", &[]),
        ("runtime.gdestroy", &[]),
    ];
    let binary = Program { functions, ..PLAIN }.kept("pool");
    assert!(sites::slice_sites(&binary).unwrap().incomplete.is_some());
    for refused in [sites::goroutine_sites(&binary).map(drop), sites::box_sites(&binary).map(drop)]
    {
        assert!(matches!(refused, Err(SiteError::Inlined { .. })));
    }
    assert!(matches!(sites::pool_sites(&binary), Err(SiteError::Inlined { .. })));
    let functions: &[Called] = &[
        ("runtime.mallocgc", &["runtime.mallocgcTiny"]),
        ("runtime.mallocgcTiny", &[]),
        ("runtime.mallocgcSmallNoscan", &[]),
        ("runtime.mallocgcSmallScanNoHeader", &[]),
        ("runtime.mallocgcSmallScanHeader", &[]),
        ("runtime.mallocgcLarge", &[]),
        ("runtime.freeSpecial", &[]),
        ("runtime.profilealloc", &[]),
        ("runtime.newproc1", &[]),
        ("runtime.casgstatus", &[]),
        ("main.main", &["runtime.mallocgc", "runtime.freeSpecial", "runtime.casgstatus"]),
    ];
    let binary = Program { functions, ..PLAIN }.kept("hidden");
    assert!(matches!(sites::sample_sites(&binary), Err(SiteError::Inlined { .. })));
    // Of the parts one was inlined, too.
    assert!(sites::alloc_sites(&binary).unwrap().incomplete.is_some());
    let plain: Called = ("runtime.mallocgc", &[]);
    let functions = [&[plain], &functions[1..]].concat();
    let binary = Program { functions: &functions, ..PLAIN }.kept("parts");
    assert_eq!(sites::alloc_sites(&binary).unwrap().sites.len(), 5);
}

#[test]
fn a_release_with_other_allocators_is_incomplete() {
    let functions: &[Called] = &[
        ("runtime.mallocgc", &[][..]),
        ("runtime.mallocgc", &[]),
        ("runtime.mallocgcTinySC2", &[]),
        ("runtime.mallocgcSmallNoScanSC99", &[]),
        ("runtime.systemstack_switch", &[]),
        ("main.main", &["runtime.mallocgcTinySC2"]),
    ];
    let versions = ["go1.26.1 X:sizespecializedmalloc", "go1.26.1 X:unheard", "devel go1.27-abc"];
    for (name, version) in ["special", "unheard", "devel"].into_iter().zip(versions) {
        let binary = Program { version, functions, ..PLAIN }.kept(name);
        assert!(sites::alloc_sites(&binary).unwrap().incomplete.is_some(), "{version}");
    }
    let binary = Program { version: "go1.20.1", functions, ..PLAIN }.kept("go1.20");
    assert!(matches!(sites::slice_sites(&binary), Err(SiteError::Arguments(_))));
    let binary = Program { silent: true, functions, ..PLAIN }.kept("unversioned");
    assert!(sites::alloc_sites(&binary).unwrap().incomplete.is_some());
}

/// Files that are refused, each for a reason of its own.
#[test]
fn what_is_no_program_is_refused() {
    let kept = |name: &str, bytes: &[u8]| {
        seed("binary", &format!("refused_{name}"), bytes);
        super::open(bytes);
        open(bytes).map(drop).expect_err(name).to_string()
    };
    let mut reasons = vec![kept("text", b"#!/bin/sh\n"), kept("short", b"\x7fELF\x02\x01\x01")];
    // The header alone: 32 bits, the other order, another machine, an object, without programs, with odd ones,
    // without memory.
    let fake = Fake::new();
    for (name, at, with) in [
        ("class", 4, [1, 1]),
        ("order", 5, [2, 1]),
        ("machine", 18, [243, 0]),
        ("kind", 16, [1, 0]),
        ("no_programs", 56, [0, 0]),
        ("odd_programs", 54, [57, 0]),
    ] {
        reasons.push(kept(name, &fake.patched(at, &with)[..192]));
    }
    for modules in ["build\t-buildmode=plugin\n", "build\t-buildmode=shared\n"] {
        let name = &modules["build\t-buildmode=".len()..modules.len() - 1];
        reasons.push(kept(name, &Program { modules, ..PLAIN }.file()));
    }
    for (name, version) in [("too_old", "go1.17.1"), ("too_new", "go1.28.1")] {
        reasons.push(kept(name, &Program { version, ..PLAIN }.file()));
    }
    let count = reasons.len();
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), count, "{reasons:?}");
    let race = Program { modules: "build\t-race=true\n", ..PLAIN }.kept("race");
    assert!(layout::of(race.facts()).is_err());
}
