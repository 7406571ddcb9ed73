//! The fuzzers' corpora, and mutations of them, through the same doors, without a fuzzer: every run sends the same bytes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use super::{DOORS, slim};
use crate::gobin::fake::{self, Fake};

/// How long any bytes may take, on a slow machine and without optimization: what has no end takes longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Mutations of each corpus.
const ROUNDS: usize = 3000;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
}

/// A file of a corpus that is made here, and not found by a fuzzer. `HEAPTAP_BLESS=1` writes it; one that is
/// missing or differs fails.
pub fn seed(door: &str, name: &str, bytes: &[u8]) {
    let path = corpus(door).join(name);
    if env::var_os("HEAPTAP_BLESS").is_some_and(|v| v == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        return;
    }
    let found = fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    assert!(
        found == bytes,
        "{} is not what is made now: HEAPTAP_BLESS=1 writes it",
        path.display()
    );
}

/// Numbers that look like chance and are the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Values at which arithmetic goes wrong.
const ODD: [u64; 8] = [0, 1, 0x7f, 0x80, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    for _ in 0..=chance.next(4) {
        if bytes.is_empty() {
            return;
        }
        let at = chance.next(bytes.len());
        match chance.next(6) {
            0 => bytes[at] ^= 1 << chance.next(8),
            1 => bytes[at] = bytes[at].wrapping_add(chance.next(256) as u8),
            2 => {
                let value = ODD[chance.next(ODD.len())].to_le_bytes();
                let len = [1, 2, 4, 8][chance.next(4)].min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&value[..len]);
            }
            3 => bytes.truncate(at),
            4 => {
                let len = chance.next(64).min(bytes.len() - at);
                let part = bytes[at..at + len].to_vec();
                let to = chance.next(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let other = &others[chance.next(others.len())];
                let from = chance.next(other.len());
                let len = chance.next(64).min(other.len() - from).min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&other[from..from + len]);
            }
        }
    }
}

/// Sends the corpus and mutations of it through a door.
fn replay(name: &str) {
    let door = DOORS.iter().find(|door| door.name == name).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let files: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!files.is_empty(), "no corpus of {name}");
    let timed = |bytes: &[u8]| {
        let started = Instant::now();
        (door.open)(bytes);
        assert!(started.elapsed() < LONGEST, "{name}: {} bytes have no end", bytes.len());
    };
    files.iter().for_each(|bytes| timed(bytes));
    timed(&[]);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 0..ROUNDS {
        let mut bytes = files[round % files.len()].clone();
        mutate(&mut bytes, &files, &mut chance);
        timed(&bytes);
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_door_is_gone_through() {
            let names: Vec<_> = DOORS.iter().map(|door| door.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replayed!(binary code config host memory pprof recording records);

#[test]
fn a_made_binary_is_a_seed_and_a_slim_one_is_a_program() {
    let fake = Fake::new();
    seed("binary", "made", &fake.bytes);
    let whole = fake::open(&fake.bytes).unwrap();
    let slim = fake::open(&slim(&whole).unwrap()).unwrap();
    assert_eq!(slim.facts().version_text, whole.facts().version_text);
    assert!(slim.functions().all(|function| function.name.is_empty()));
}
