//! A Go binary of about a kilobyte, made by hand, for tests of damaged and hostile files.
//!
//! Two functions; `main.inlined` is inlined into the first one, `main.main`, whose frame has 8 bytes;
//! the second one, `main.run`, is called by nobody. Release 1.26, fixed
//! address, no sections.

use std::fs::File;
use std::io::Write;

use super::{Error, GoBinary};

pub const BASE: u64 = 0x40_0000;
pub const DATA: u64 = 0x60_0000;
pub const MAIN: u64 = BASE + TEXT as u64;
/// Offset in `main.main` where the code of `main.inlined` begins and ends.
pub const INLINED: std::ops::Range<u64> = 16..32;
const TEXT: usize = 0x100;
const FUNCTION: usize = 0x40;
pub const TABLE: usize = 0x180;

/// Where things are in the file, for damage at the right place.
pub struct Fake {
    pub bytes: Vec<u8>,
    pub module: usize,
    pub build_info: usize,
}

impl Fake {
    /// The undamaged file.
    pub fn new() -> Self {
        Self::with_build_info("go1.26.1", "path\tfake\nmod\tfake\t(devel)\n")
    }

    pub fn with_build_info(version: &str, modules: &str) -> Self {
        let (table, trees) = table();
        let mut bytes = vec![0; TABLE];
        bytes.extend(table);
        let table_end = bytes.len();
        bytes.extend(trees);
        let first = bytes.len();
        bytes.resize(first.next_multiple_of(16), 0);
        let second = bytes.len();
        let build_info = second;
        bytes.extend(b"\xff Go buildinf:\x08\x02");
        bytes.resize(second + 32, 0);
        let modules = format!("0123456789abcdef{modules}0123456789abcdef");
        for text in [version, &modules] {
            assert!(text.len() < 128);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let module = bytes.len();
        bytes.extend(module_record(table_end));
        headers(&mut bytes, first, second);
        Self { bytes, module, build_info }
    }

    /// The same with other bytes at a place.
    pub fn patched(&self, at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    }
}

/// An opened file with these bytes.
pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What opening a file with these bytes gives.
pub fn open(bytes: &[u8]) -> Result<GoBinary, Error> {
    GoBinary::open(file(bytes))
}

fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

fn headers(bytes: &mut [u8], first: usize, second: usize) {
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    // Executable, x86-64, one program header of 56 bytes after the other from 64 on.
    for (at, value, size) in [(16, 2, 2), (18, 62, 2), (20, 1, 4), (32, 64, 8), (54, 56, 2)] {
        put(bytes, at, value, size);
    }
    put(bytes, 56, 2, 2);
    let size = bytes.len();
    for (at, flags, offset, vaddr, len) in
        [(64, 5, 0, BASE, first), (120, 6, second, DATA + second as u64, size - second)]
    {
        put(bytes, at, 1, 4);
        put(bytes, at + 4, flags, 4);
        put(bytes, at + 8, offset as u64, 8);
        put(bytes, at + 16, vaddr, 8);
        put(bytes, at + 32, len as u64, 8);
        put(bytes, at + 40, len as u64, 8);
    }
}

/// The function table and, behind it, the inline tree.
fn table() -> (Vec<u8>, Vec<u8>) {
    let names = b"main.main\0main.inlined\0main.run\0";
    let files = b"main.go\0other.go\0";
    // Address tables: lines, files, inlined calls; 0 is no table.
    let lines = 1;
    let mut tables = vec![0];
    // Line 10 (from -1: +11), 50 for the inlined call, 12.
    tables.extend([22, 16, 80, 16, 75, 32, 0]);
    let numbers = tables.len();
    tables.extend([2, 16, 2, 16, 1, 32, 0]);
    let calls = tables.len();
    tables.extend([0, 16, 2, 16, 1, 32, 0]);
    let frames = tables.len();
    // 8 bytes from the first instruction on: from -1, +9.
    tables.extend([18, 64, 0]);

    let mut table = vec![0; 0x60];
    let mut place = |part: &[u8], slot: usize| {
        let at = table.len();
        table.extend(part);
        table.resize(table.len().next_multiple_of(8), 0);
        put(&mut table, slot, at as u64, 8);
    };
    place(names, 32);
    place(&[0, 0, 0, 0, 8, 0, 0, 0], 40);
    place(files, 48);
    place(&tables, 56);
    let record = |entry: u64, name: u64| {
        let mut record = vec![0; 44];
        for (at, value) in [(0, entry), (4, name), (16, frames as u64), (20, numbers as u64)] {
            put(&mut record, at, value, 4);
        }
        for (at, value) in [(24, lines), (36, 7)] {
            put(&mut record, at, value, 4);
        }
        record
    };
    let mut main = record(0, 0);
    // Three tables, of which the last is PCDATA_InlTreeIndex; four addresses, of which the last is
    // FUNCDATA_InlTree: `gofunc` + 0.
    (main[28], main[43]) = (3, 4);
    for word in [0, 0, calls as u32, u32::MAX, u32::MAX, u32::MAX, 0] {
        main.extend(word.to_le_bytes());
    }
    let index = 20;
    let mut funcs = vec![0; index];
    let size = FUNCTION as u64;
    for (slot, value) in [(4, index), (12, index + main.len())] {
        put(&mut funcs, slot, value as u64, 4);
    }
    put(&mut funcs, 8, size, 4);
    put(&mut funcs, 16, 2 * size, 4);
    funcs.extend(main);
    let mut run = record(size, 23);
    // FuncFlagTopFrame: the outermost function of a stack.
    run[41] = 1;
    funcs.extend(run);
    place(&funcs, 64);
    put(&mut table, 0, 0xffff_fff1, 4);
    (table[6], table[7]) = (1, 8);
    put(&mut table, 8, 2, 8);
    put(&mut table, 16, 2, 8);
    put(&mut table, 24, MAIN, 8);

    let mut tree = vec![0; 16];
    put(&mut tree, 4, 10, 4);
    put(&mut tree, 8, 4, 4);
    put(&mut tree, 12, 48, 4);
    (table, tree)
}

fn module_record(table_end: usize) -> Vec<u8> {
    let (table, _) = table();
    let offset = |slot: usize| u64::from_le_bytes(table[slot..slot + 8].try_into().unwrap());
    let at = BASE + TABLE as u64;
    let mut record = vec![0; 352];
    let funcs = at + offset(64);
    let end = BASE + table_end as u64;
    for (slot, value) in [
        (0, at),
        (8, at + offset(32)),
        (104, funcs),
        (112, end - funcs),
        (128, funcs),
        (136, 3),
        (176, MAIN),
        (184, MAIN + 2 * FUNCTION as u64),
        (296, BASE),
        (304, BASE + 16),
        (320, end),
    ] {
        put(&mut record, slot, value, 8);
    }
    record
}
