//! Recordings: profiles and statistics over time in one file, complete with names, readable anywhere.
//!
//! In: profiles and statistics, one after the other ([`Writer`]), or an opened file ([`Recording`]). Out: the file, of
//! which every whole record can be read wherever it was cut; or the profile of a moment, equal to the one that was put
//! in. Nothing here knows a probe, a process or a symbol table, or needs a privilege. The format is told in
//! `docs/recording-format.md`.
//!
//! `wire` has numbers and texts, `block` records, their checksums and compression; `encode` makes a
//! snapshot's contents of a profile and of what was written before, `decode` goes the other way; `statistics` does
//! both of statistics; `writer` and `reader` have the file.

mod block;
pub mod busy;
mod codes;
mod decode;
mod encode;
mod numbers;
mod reader;
mod sampled;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

use std::io;

use crate::profile::Profile;

pub use reader::{Found, Limits, Readings, Record, Recording, Seen, Survey};
pub use statistics::{Reading, Statistics, Unread, Value};
pub use writer::{Bounds, Writer};

/// The format that is written, and the newest that can be read.
pub const VERSION: u16 = 1;

/// What a recording's name ends in.
pub const SUFFIX: &str = ".htap";

/// Most bytes that the contents of a record have.
const LARGEST: usize = 256 << 20;

/// A file of records with such contents, the first a key; for fuzzers, which find no checksums by themselves.
#[cfg(any(test, fuzzing))]
pub fn of_contents(contents: &[&[u8]]) -> Vec<u8> {
    let mut file = block::file_header().to_vec();
    for (at, contents) in contents.iter().enumerate() {
        let kind = if at == 0 { block::KEY } else { block::NEXT };
        file.extend(block::seal(kind, at as u64, contents).unwrap_or_default());
    }
    file
}

/// The same of records of statistics.
#[cfg(any(test, fuzzing))]
pub fn of_statistics(contents: &[&[u8]]) -> Vec<u8> {
    let mut file = block::file_header().to_vec();
    for (at, contents) in contents.iter().enumerate() {
        let kind = if at == 0 { block::STATISTICS } else { block::NEXT_STATISTICS };
        file.extend(block::seal(kind, at as u64, contents).unwrap_or_default());
    }
    file
}

/// What is read of a snapshot that was read and is written anew; for fuzzers, too.
#[cfg(any(test, fuzzing))]
pub fn again(shot: &Shot, memory: usize) -> Result<Shot, Error> {
    let contents = encode::Encoder::default().encode(&shot.profile, None, shot.shown);
    let mut decoder = decode::Decoder::new(memory);
    decoder.apply(&contents, 0)?;
    decoder.shot(shot.time, 0)
}

/// The same of statistics that were said before, and follow themselves.
#[cfg(any(test, fuzzing))]
pub fn statistics_again(statistics: &Statistics, memory: usize) -> Result<Statistics, Error> {
    let mut encoder = statistics::Encoder::default();
    let mut decoder = statistics::Decoder::new(memory);
    for _ in 0..2 {
        decoder.apply(&encoder.encode(statistics), 0)?;
    }
    Ok(decoder.into_last())
}

/// A profile, and how the command that made it shows it.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Nanoseconds since 1970 when what it tells of ended.
    pub time: u64,
    pub profile: Profile,
    pub shown: Shown,
}

/// What a command has chosen about all outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Tables have types, not stacks.
    pub by_type: bool,
    /// Labels are the outermost frames where there are stacks of names alone.
    pub label_roots: bool,
}

/// Why a recording can't be read or written. Reads as the end of a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't be read: {0}")]
    Read(#[source] io::Error),
    #[error("can't be written: {0}")]
    Write(#[source] io::Error),
    #[error("is no recording: it does not begin as the .htap files of heaptap do")]
    Foreign,
    #[error("is of a newer heaptap: its format is {found}, and this one reads up to {VERSION}")]
    Newer { found: u16 },
    #[error("is of a newer heaptap: what is at byte {at} is not known to this one")]
    Unknown { at: u64 },
    #[error("holds no whole snapshot")]
    Empty,
    #[error("is not what heaptap writes: at byte {at}, {what}")]
    Malformed { at: u64, what: &'static str },
    #[error("needs more memory than {} MiB: raise --max-memory", .limit.div_ceil(1 << 20))]
    TooLarge { limit: usize },
    #[error("has no room for a snapshot of more than {} MiB", LARGEST >> 20)]
    Unwritable,
}
