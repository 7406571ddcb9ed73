//! A Go program cut down to the functions that are looked for by name: a seed of a corpus, of some ten KiB.
//!
//! In: an opened program. Out: a file that has these functions' code at the addresses where they were, tables and a
//! module record of the same release, and its variables' addresses as memory without contents. Nothing of it is run.

use crate::gobin::{Error, Function, GoBinary};

/// Functions of which all code is kept, up to [`LONGEST`]; and, by how their names begin, those of which the
/// stack check is enough.
const WHOLE: [&str; 29] = [
    "runtime.gcAssistAlloc",
    "runtime.gcAssistAlloc1",
    "runtime.newproc1",
    "runtime.mapiternext",
    "internal/runtime/maps.(*Iter).Next",
    "runtime.(*mheap).alloc",
    "sync.(*Pool).Get",
    "runtime.slicerunetostring",
    "runtime.gostring",
    "runtime.concatstring2",
    "runtime.concatstring3",
    "runtime.concatstring4",
    "runtime.concatstring5",
    "runtime.mProf_FlushLocked",
    "runtime.mProf_Flush",
    "runtime.stkbucket",
    "runtime.profilealloc",
    "runtime.forEachGRace",
    "runtime.forEachG",
    "runtime.gcMarkTinyAllocs",
    "runtime.gcControllerCommit",
    "runtime.gcTrigger.test",
    "runtime.gcResetMarkState",
    "runtime.waitReason.String",
    "runtime.blockevent",
    "runtime.semacquire1",
    "runtime.(*ticksType).init",
    "runtime.tickspersecond",
    "runtime.isSystemGoroutine",
];
const BEGINNINGS: [&str; 27] = [
    "runtime.mallocgc",
    "runtime.(*mcache).refill",
    "runtime.(*mcache).releaseAll",
    "runtime.(*mcache).allocLarge",
    "runtime.freeSpecial",
    "runtime.convT",
    "runtime.gdestroy",
    "runtime.goexit0",
    "runtime.casgstatus",
    "runtime.mapiterinit",
    "internal/runtime/maps.(*Iter).Init",
    "sync.(*Pool).Put",
    "runtime.growslice",
    "runtime.makeslice",
    "runtime.moveSlice",
    "reflect.unsafe_NewArray",
    "internal/bytealg.MakeNoZero",
    "runtime.concatstrings",
    "runtime.concatbytes",
    "runtime.slicebytetostring",
    "runtime.stringtoslicebyte",
    "runtime.rawruneslice",
    "runtime.intstring",
    "runtime.go",
    "runtime.rawstring",
    "runtime.copystack",
    "runtime.morestack",
];
/// Bytes kept of a function.
const LONGEST: u64 = 4 << 10;
const CHECK: u64 = 96;
/// Bytes of type data kept.
const TYPES: u64 = 512;
const PAGE: u64 = 4096;

/// Part of the file that is loaded.
struct Loaded {
    flags: u64,
    at: u64,
    bytes: Vec<u8>,
    size: u64,
}

/// Cuts a program down.
///
/// # Errors
/// It can't be read, or its release is not known.
pub fn slim(binary: &GoBinary) -> Result<Vec<u8>, Error> {
    let wanted =
        |f: &Function| WHOLE.contains(&f.name) || BEGINNINGS.iter().any(|b| f.name.starts_with(b));
    let functions: Vec<Function> = binary.functions().filter(wanted).collect();
    let (text, end) = (binary.text_range().0.0, binary.file_range().1.0);
    let mut loaded = Vec::new();
    for f in &functions {
        let most = if WHOLE.contains(&f.name) { LONGEST } else { CHECK };
        let bytes = binary.read(f.entry, (f.end.0 - f.entry.0).min(most) as usize)?;
        loaded.push(Loaded { flags: 5, at: f.entry.0, size: bytes.len() as u64, bytes });
    }
    let known = "where types lie in this Go release is not known";
    let (types, etypes) = binary.types_range().ok_or(Error::NoModule(known))?;
    let size = etypes.0.saturating_sub(types.0).min(TYPES);
    let bytes = binary.read(types, size as usize)?;
    loaded.push(Loaded { flags: 4, at: types.0, size, bytes });
    let etext = binary.text_range().1.0;
    loaded.push(Loaded { flags: 6, at: etext, size: end - etext, bytes: Vec::new() });
    let at = end.next_multiple_of(PAGE) + 16 * PAGE;
    let table = table(binary, &functions);
    let record = module(binary, at, &table, (text, etext), (types.0, types.0 + size));
    loaded.push(Loaded { flags: 4, at, size: table.bytes.len() as u64, bytes: table.bytes });
    let at = at + (1 << 20);
    let mut bytes = build_info(binary);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes.extend(record);
    loaded.push(Loaded { flags: 6, at, size: bytes.len() as u64, bytes });
    Ok(elf(&loaded))
}

fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// The function table, and where its parts begin.
struct Table {
    bytes: Vec<u8>,
    names: u64,
    funcs: u64,
    functions: u64,
}

fn table(binary: &GoBinary, functions: &[Function]) -> Table {
    let header = &binary.table().header;
    let (text, size) = (binary.text_range().0.0, header.format.func_size());
    // What lies between two of them is a function without a name, of which one record is enough.
    let mut starts: Vec<(u64, usize)> = vec![(text, 0)];
    for (number, f) in (1..).zip(functions) {
        starts.retain(|(at, _)| *at < f.entry.0);
        starts.extend([(f.entry.0, number), (f.end.0, 0)]);
    }
    let mut names = vec![0];
    let mut records = vec![0; size];
    for f in functions {
        let mut record = vec![0; size];
        put(&mut record, 4, names.len() as u64, 4);
        record[size - 4] = f.func_id;
        records.extend(record);
        names.extend(f.name.bytes().chain([0]));
    }
    names.resize(names.len().next_multiple_of(8), 0);
    let mut bytes = vec![0; 0x60];
    let names_at = bytes.len() as u64;
    bytes.extend(names);
    let units = bytes.len() as u64;
    // A unit, a file, an address table, each of them empty.
    bytes.extend([0; 24]);
    let funcs = bytes.len();
    let index = 8 * starts.len() + 4;
    let mut all = vec![0; index];
    for (slot, (at, number)) in starts.iter().enumerate() {
        put(&mut all, 8 * slot, at - text, 4);
        put(&mut all, 8 * slot + 4, (index + number * size) as u64, 4);
    }
    put(&mut all, index - 4, binary.text_range().1.0 - text, 4);
    all.extend(records);
    // A reader may ask for as many records as there are functions.
    all.resize(all.len().max((8 + size) * starts.len() + 4), 0);
    bytes.extend(all);
    let magic = if size == 40 { 0xffff_fff0 } else { 0xffff_fff1 };
    put(&mut bytes, 0, magic, 4);
    (bytes[6], bytes[7]) = (header.quantum, 8);
    let count = starts.len() as u64;
    let slots = [(8, count), (16, 1), (24, text), (32, names_at), (40, units)];
    let more = [(48, units + 8), (56, units + 16), (64, funcs as u64)];
    slots.into_iter().chain(more).for_each(|(slot, value)| put(&mut bytes, slot, value, 8));
    Table { bytes, names: names_at, funcs: funcs as u64, functions: count }
}

fn module(
    binary: &GoBinary,
    at: u64,
    table: &Table,
    (text, etext): (u64, u64),
    (types, etypes): (u64, u64),
) -> Vec<u8> {
    let minor = binary.facts().version.map_or(0, |version| version.minor);
    let tail = match minor {
        ..20 => [280, 288, 304],
        20..27 => [296, 304, 320],
        _ => [296, 312, 344],
    };
    let mut record = vec![0; 352];
    let funcs = at + table.funcs;
    let end = at + table.bytes.len() as u64;
    let head = [(0, at), (8, at + table.names), (104, funcs), (112, end - funcs), (128, funcs)];
    let more = [(136, table.functions + 1), (176, text), (184, etext)];
    let last = tail.into_iter().zip([types, etypes, end]);
    for (slot, value) in head.into_iter().chain(more).chain(last) {
        put(&mut record, slot, value, 8);
    }
    record
}

fn build_info(binary: &GoBinary) -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    let version = binary.facts().version_text.clone().unwrap_or_default();
    for text in
        [version.as_str(), "0123456789abcdefpath\tslim\nbuild\tCGO_ENABLED=0\n0123456789abcdef"]
    {
        bytes.push(text.len().min(127) as u8);
        bytes.extend(text.bytes().take(127));
    }
    bytes
}

fn elf(loaded: &[Loaded]) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56 * loaded.len()];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    for (at, value, size) in [(16, 2, 2), (18, 62, 2), (20, 1, 4), (32, 64, 8), (54, 56, 2)] {
        put(&mut bytes, at, value, size);
    }
    put(&mut bytes, 56, loaded.len() as u64, 2);
    for (number, part) in loaded.iter().enumerate() {
        // So that what must be aligned at its address is so in the file, too.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let (header, offset) = (64 + 56 * number, bytes.len() as u64);
        put(&mut bytes, header, 1, 4);
        put(&mut bytes, header + 4, part.flags, 4);
        for (slot, value) in
            [(8, offset), (16, part.at), (32, part.bytes.len() as u64), (40, part.size)]
        {
            put(&mut bytes, header + slot, value, 8);
        }
        bytes.extend(&part.bytes);
    }
    bytes
}
