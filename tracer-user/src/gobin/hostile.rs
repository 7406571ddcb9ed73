//! Damaged and hostile files: a clear error or a harmless result, never a panic.

use std::sync::Arc;

use super::fake::{DATA, Fake, INLINED, MAIN, TABLE, file, open};
use super::*;
use crate::symbolize::{Symbolizer, Unknown};

fn error(bytes: &[u8]) -> String {
    open(bytes).unwrap_err().to_string()
}

/// Does with a binary all that can be done.
fn exercise(binary: GoBinary) {
    let _names: usize = binary.functions().map(|f| f.name.len()).sum();
    let _found = binary.find_functions(&["main.main", "runtime.mallocgc"]);
    let _mapping = (binary.text_mapping(), binary.lowest_page(), binary.types_range());
    let symbolizer = Symbolizer::new(Arc::new(binary));
    let addresses: Vec<_> = (MAIN - 4..MAIN + 200).step_by(4).map(VAddr).collect();
    let mut called = 0;
    symbolizer.symbolize(&addresses, |_, frames| {
        called += 1;
        assert!(frames.is_err() || frames.is_ok_and(|f| !f.is_empty()));
    });
    assert_eq!(called, addresses.len());
}

#[test]
fn the_undamaged_file_is_read() {
    let binary = open(&Fake::new().bytes).unwrap();
    let facts = binary.facts();
    assert_eq!(facts.version_text.as_deref(), Some("go1.26.1"));
    assert_eq!(facts.main_path.as_deref(), Some("fake"));
    let names: Vec<_> = binary.functions().map(|f| (f.name, f.entry.0, f.end.0)).collect();
    assert_eq!(names, [("main.main", MAIN, MAIN + 64), ("main.run", MAIN + 64, MAIN + 128)]);
    assert_eq!(binary.find_function("main.run").unwrap().index, 1);
    assert_eq!(binary.find_function("main"), None);
    assert_eq!(binary.find_function("ain.main"), None);
    assert_eq!(binary.file_offset(VAddr(MAIN)), Some(FileOffset(0x100)));
    assert_eq!(binary.file_offset(VAddr(DATA)), None);
    assert!(matches!(binary.read(VAddr(DATA), 8), Err(Error::NotLoaded { .. })));
    assert_eq!(binary.lowest_page(), VAddr(fake::BASE));

    let symbolizer = Symbolizer::new(Arc::new(binary));
    let place = |at: u64| {
        let frames = symbolizer.symbolize_one(VAddr(at))?;
        let text = |f: &crate::symbolize::SymFrame| {
            let inlined = if f.inlined { " inlined" } else { "" };
            format!("{} {}:{} from {}{inlined}", f.function, f.file, f.line, f.start_line)
        };
        Ok(frames.iter().map(text).collect::<Vec<_>>())
    };
    assert_eq!(place(MAIN).unwrap(), ["main.main main.go:10 from 7"]);
    let inlined = ["main.inlined other.go:50 from 48 inlined", "main.main main.go:10 from 7"];
    assert_eq!(place(MAIN + INLINED.start).unwrap(), inlined);
    assert_eq!(place(MAIN + INLINED.end - 1).unwrap(), inlined);
    assert_eq!(place(MAIN + INLINED.end).unwrap(), ["main.main main.go:12 from 7"]);
    assert_eq!(place(MAIN + 64).unwrap(), ["main.run main.go:10 from 7"]);
    for outside in [0, MAIN - 1, MAIN + 128, u64::MAX] {
        assert_eq!(place(outside), Err(Unknown::OutsideGo), "{outside:#x}");
    }
}

#[test]
fn stacks_on_arm64_are_walked_since_go_1_21() {
    let keeps = |version: &str, machine: u8| {
        let fake = Fake::with_build_info(version, "path\tfake\n").patched(18, &[machine, 0]);
        open(&fake).unwrap().facts().keeps_frame_pointers()
    };
    assert!(keeps("go1.20.14", 62));
    assert!(keeps("go1.21.0", 183));
    assert!(!keeps("go1.20.14", 183));
    assert!(!keeps("devel", 183));
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let fake = Fake::new();
    assert!(error(b"").contains("not an ELF file"));
    assert!(error(b"#!/bin/sh\necho hello\n").contains("not an ELF file"));
    assert!(error(&fake.bytes[..20]).contains("truncated"));
    assert!(error(&fake.patched(4, &[1])).contains("32-bit"));
    assert!(error(&fake.patched(5, &[2])).contains("big-endian"));
    assert!(error(&fake.patched(18, &[243, 0])).contains("machine 243"));
    let arm64 = open(&fake.patched(18, &[183, 0])).unwrap();
    assert_eq!((arm64.machine(), arm64.facts().machine), (Machine::Arm64, Machine::Arm64));
    assert!(error(&fake.patched(16, &[1])).contains("type 1"));
    assert!(error(&fake.patched(56, &[0, 0])).contains("no program headers"));
    assert!(error(&fake.patched(56, &[0xff, 0xff])).contains("program headers"));
    let directory = std::fs::File::open("/").unwrap();
    assert!(matches!(GoBinary::open(directory), Err(Error::NotAFile)));
}

#[test]
fn what_is_no_go_program_is_told_apart_from_a_damaged_one() {
    let fake = Fake::new();
    let no_table = fake.patched(TABLE, &[0; 8]);
    assert!(error(&no_table).contains("without a readable function table"), "{}", error(&no_table));
    let mut nothing = no_table.clone();
    nothing[fake.build_info] = 0;
    assert!(matches!(open(&nothing), Err(Error::NotGo)));
    assert!(matches!(GoBinary::peek(&file(&nothing)), Err(Error::NotGo)));
    // Without build information the table alone makes it Go.
    let bare = fake.patched(fake.build_info, &[0]);
    assert_eq!(GoBinary::peek(&file(&bare)).unwrap().version, None);
    // It is served as far as its record fits one that is known.
    let binary = open(&bare).unwrap();
    assert_eq!(binary.facts().version, None);
    let symbolizer = Symbolizer::new(Arc::new(binary));
    assert_eq!(symbolizer.symbolize_one(VAddr(MAIN + INLINED.start)).unwrap().len(), 2);
    exercise(open(&bare).unwrap());
}

#[test]
fn releases_out_of_range() {
    let with = |version| Fake::with_build_info(version, "").bytes;
    assert!(error(&with("go1.17.13")).contains("Go 1.17.13, older than 1.18"));
    assert!(matches!(open(&with("go1.9")), Err(Error::TooOld(_))));
    let newer = error(&with("go1.28.0"));
    assert!(
        newer.contains("Go 1.28.0, newer than 1.27") && newer.contains("newer heaptap"),
        "{newer}"
    );
    assert!(matches!(open(&with("devel go1.28-0123abc")), Err(Error::TooNew(_))));
    assert!(matches!(open(&with("go2.0")), Err(Error::TooNew(_))));
    for known in ["go1.18", "go1.18rc1", "go1.27.9"] {
        assert!(open(&with(known)).is_ok(), "{known}");
    }
    // Who lists programs learns the release of those, too.
    for refused in ["go1.9", "go1.28.0"] {
        let facts = GoBinary::peek(&file(&with(refused))).unwrap();
        assert_eq!(facts.version, GoVersion::parse(refused));
    }
}

#[test]
fn an_unknown_record_gives_reasons_not_wrong_frames() {
    let fake = Fake::new();
    let mut moved = fake.patched(fake.module + 320, &[0; 8]);
    moved[fake.build_info] = 0;
    let binary = open(&moved).unwrap();
    assert_eq!(binary.types_range(), None);
    let symbolizer = Symbolizer::new(Arc::new(binary));
    assert_eq!(symbolizer.symbolize_one(VAddr(MAIN)).unwrap().len(), 1);
    let inlined = symbolizer.symbolize_one(VAddr(MAIN + INLINED.start));
    assert_eq!(inlined, Err(Unknown::UnknownRelease));
}

#[test]
fn runtimes_that_lie_elsewhere_are_refused() {
    let with = |setting: &str| {
        let modules = format!("path\tfake\nbuild\t{setting}\nmod\tfake\t\n");
        Fake::with_build_info("go1.26.1", &modules).bytes
    };
    assert!(error(&with("-buildmode=plugin")).contains("plugin"));
    assert!(error(&with("-linkshared=true")).contains("-linkshared"));
    // Two records that both fit.
    let fake = Fake::new();
    let mut twice = fake.bytes.clone();
    twice.extend_from_slice(&fake.bytes[fake.module..]);
    for at in [120 + 32, 120 + 40] {
        let size = u64::from_le_bytes(twice[at..at + 8].try_into().unwrap()) + 352;
        twice[at..at + 8].copy_from_slice(&size.to_le_bytes());
    }
    assert!(matches!(open(&twice), Err(Error::SeveralModules(2))));
}

#[test]
fn sizes_are_bounded() {
    let fake = Fake::new();
    // A table said to be nearly 2^64 bytes, and one of impossibly many functions.
    assert!(open(&fake.patched(fake.module + 112, &[0xff; 8])).is_err());
    let big = open(&fake.patched(fake.module + 112, &(1u64 << 40).to_le_bytes()));
    assert!(matches!(big, Err(Error::TooBig { .. })), "{big:?}");
    assert!(open(&fake.patched(TABLE + 8, &[0xff; 8])).is_err());
    // A segment beyond the end of the file.
    let cut = error(&fake.patched(64 + 32, &(1u64 << 30).to_le_bytes()));
    assert!(cut.contains("truncated"), "{cut}");
}

#[test]
fn a_call_that_is_its_own_parent_ends() {
    let fake = Fake::new();
    let tree =
        fake.bytes.windows(16).position(|w| w[4..] == [10, 0, 0, 0, 4, 0, 0, 0, 48, 0, 0, 0]);
    let looped = fake.patched(tree.unwrap() + 8, &[INLINED.start as u8]);
    let symbolizer = Symbolizer::new(Arc::new(open(&looped).unwrap()));
    let frames = symbolizer.symbolize_one(VAddr(MAIN + INLINED.start)).unwrap();
    let names: Vec<_> = frames.iter().map(|f| (f.function.as_ref(), f.line)).collect();
    assert_eq!(names, [("main.inlined", 50), ("main.main", 0)]);
}

/// Where program header `number` has its field at an offset.
fn program_header(number: usize, field: usize) -> usize {
    64 + 56 * number + field
}

#[test]
fn a_header_of_a_table_that_ends_with_its_segment_is_none() {
    let fake = Fake::new();
    for len in 1..72 {
        // All of the table but its header is gone, and then more and more of that.
        let cut = fake.patched(program_header(0, 32), &((TABLE + len) as u64).to_le_bytes());
        assert!(
            error(&cut).contains("without a readable function table"),
            "{len}: {}",
            error(&cut)
        );
        assert!(GoBinary::peek(&file(&cut)).is_ok());
    }
}

#[test]
fn segments_at_the_end_of_the_address_space_are_read() {
    let fake = Fake::new();
    let size = u64::from_le_bytes(
        fake.bytes[program_header(1, 40)..program_header(1, 48)].try_into().unwrap(),
    );
    for before in 0..16 {
        let at = (u64::MAX - size - before).to_le_bytes();
        let moved = fake.patched(program_header(1, 16), &at);
        let _known = open(&moved).map(exercise);
    }
}

#[test]
fn a_tree_of_as_many_calls_as_can_be_written_is_too_big() {
    let fake = Fake::new();
    let calls = fake.bytes.windows(7).position(|w| w == [0, 16, 2, 16, 1, 32, 0]).unwrap();
    // 0x7ffffffe, and one more.
    let most = fake.patched(calls, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 16, 2, 16, 0]);
    assert!(error(&most).contains("its inline data"), "{}", error(&most));
}

#[test]
fn many_places_that_point_to_the_table_are_not_all_looked_at() {
    let fake = Fake::new();
    let mut many = fake.bytes.clone();
    let pair = fake.bytes[fake.module..fake.module + 16].to_vec();
    many.extend(pair.repeat(64));
    for field in [32, 40] {
        let at = program_header(1, field);
        let size = u64::from_le_bytes(many[at..at + 8].try_into().unwrap()) + 64 * 16;
        many[at..at + 8].copy_from_slice(&size.to_le_bytes());
    }
    assert!(error(&many).contains("too many places"), "{}", error(&many));
}

#[test]
fn marks_of_build_information_are_not_all_looked_at() {
    let fake = Fake::new();
    let release = |marks: usize| {
        // In front of the true one: no version, since no text lies there.
        let mut bytes = fake.bytes[..fake.build_info].to_vec();
        let more = 16 * marks;
        bytes.extend(b"\xff Go buildinf:\x08\0".repeat(marks));
        bytes.extend(&fake.bytes[fake.build_info..]);
        for field in [32, 40] {
            let at = program_header(1, field);
            let size = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) + more as u64;
            bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        }
        open(&bytes).unwrap().facts().version.map(|version| version.minor)
    };
    assert_eq!(release(3), Some(26));
    assert_eq!(release(64), None);
}

#[test]
fn code_of_a_function_that_is_too_long_is_not_decoded() {
    let fake = Fake::new();
    // Where the last function ends.
    let end =
        fake.bytes.windows(12).position(|w| w[..4] == [64, 0, 0, 0] && w[8..] == [128, 0, 0, 0]);
    let long = fake.patched(end.unwrap() + 8, &(1u32 << 20).to_le_bytes());
    let binary = open(&long).unwrap();
    let refused = sites::any_returns(&binary, "main.run").unwrap_err().to_string();
    assert!(refused.contains("more than the 65536"), "{refused}");
}

/// Every byte of the file, damaged in several ways; every shorter file.
#[test]
fn no_damage_brings_the_reader_down() {
    let fake = Fake::new();
    for at in 0..fake.bytes.len() {
        for with in [0, 1, 0x7f, 0x80, 0xff, fake.bytes[at] ^ 1, fake.bytes[at].wrapping_add(8)] {
            if let Ok(binary) = open(&fake.patched(at, &[with])) {
                exercise(binary);
            }
        }
        if let Ok(binary) = open(&fake.bytes[..at]) {
            exercise(binary);
        }
    }
    for at in (0..fake.bytes.len() - 8).step_by(4) {
        for with in [[0xff; 8], [0, 0, 0, 0, 0, 0, 0, 0x80], [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]] {
            if let Ok(binary) = open(&fake.patched(at, &with)) {
                exercise(binary);
            }
        }
    }
}
