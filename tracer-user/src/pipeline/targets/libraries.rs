//! Where C code lies, once for all processes of a binary.
//!
//! In: executable mappings of one process. Out: [`Places`], by which its addresses are written as
//! they are in every process of the binary: Go code as the linker placed it, each library at a place
//! of its own. A library's file is opened once for each binary, however many processes map it, and
//! nothing of a process is held on to.

use std::fs::File;

use tracer_common::record::NO_TYPES;

use crate::{
    address::{FileOffset, LoadBias, RuntimeAddr, VAddr},
    gobin::GoBinary,
    host::{self, Mapping},
};

/// First of the places given to libraries: above what a process can map.
const FIRST: u64 = 1 << 56;
/// Between two libraries, so that a return address at the very end of one is not in the next.
const GAP: u64 = 1 << 12;
/// Marks an address that lies in no file that is known.
const NOWHERE: u64 = 1 << 63;
/// More mappings than this of one binary are not told apart by name.
const MOST: usize = 4_096;

/// A shared library (or the C parts of the program).
pub struct Library {
    /// As the first process has it, but for its place.
    pub mapping: Mapping,
    pub file: File,
}

/// The libraries of all processes of a binary.
#[derive(Default)]
pub struct Libraries {
    known: Vec<Library>,
}

/// Where one process has code.
#[derive(Clone, Debug)]
pub struct Places {
    bias: LoadBias,
    /// Of Go code, at link time.
    text: (VAddr, VAddr),
    /// Of all that is in the file, at link time.
    file: (VAddr, VAddr),
    /// Start and end in the process, and the place; sorted.
    libraries: Vec<(u64, u64, u64)>,
}

impl Libraries {
    /// Where a process has them; opens those that are new. One that can't be opened leaves its
    /// frames without names.
    pub fn places(&mut self, pid: u32, mappings: Vec<Mapping>) -> Vec<(u64, u64, u64)> {
        let code = mappings.into_iter().filter(|m| m.executable && m.inode != 0);
        let mut places: Vec<_> = code
            .filter_map(|mapping| {
                let (start, end) = (mapping.start.0, mapping.end.0);
                Some((start, end, self.place(pid, mapping)?))
            })
            .collect();
        places.sort_unstable();
        places
    }

    fn place(&mut self, pid: u32, mut mapping: Mapping) -> Option<u64> {
        let length = mapping.end.0.checked_sub(mapping.start.0)?;
        let facts = |m: &Mapping| (m.dev, m.inode, m.offset.0, m.end.0 - m.start.0);
        let same = |library: &&Library| facts(&library.mapping) == facts(&mapping);
        if let Some(known) = self.known.iter().find(same) {
            return Some(known.mapping.start.0);
        }
        if self.known.len() >= MOST {
            return None;
        }
        let file = host::open_mapped(pid, &mapping).ok()?;
        let place = self.known.last().map_or(FIRST, |last| last.mapping.end.0 + GAP);
        (mapping.start, mapping.end) = (RuntimeAddr(place), RuntimeAddr(place + length));
        self.known.push(Library { mapping, file });
        Some(place)
    }

    /// The library, if any, that an address (as [`Places::of`] writes it) lies in.
    pub fn at(&self, address: RuntimeAddr) -> Option<&Library> {
        let after = self.known.partition_point(|library| library.mapping.start <= address);
        let library = &self.known[after.checked_sub(1)?];
        (address < library.mapping.end).then_some(library)
    }
}

impl Places {
    /// Of a process that has what `go` has, moved by `bias`.
    pub fn new(bias: LoadBias, go: &GoBinary, libraries: Vec<(u64, u64, u64)>) -> Self {
        Self::at(bias, go.text_range(), go.file_range(), libraries)
    }

    /// The same of what lies there at link time.
    pub(super) fn at(
        bias: LoadBias,
        text: (VAddr, VAddr),
        file: (VAddr, VAddr),
        mut libraries: Vec<(u64, u64, u64)>,
    ) -> Self {
        libraries.shrink_to_fit();
        Self { bias, text, file, libraries }
    }

    /// A return address as it is in every process of the binary.
    pub fn of(&self, address: RuntimeAddr) -> RuntimeAddr {
        // What is named is the call before it, and an address may be an end.
        let call = RuntimeAddr(address.0.wrapping_sub(1));
        let is_go = |at: RuntimeAddr| {
            let at = self.bias.to_vaddr(at);
            (self.text.0..self.text.1).contains(&at)
        };
        if is_go(call) || is_go(address) {
            return RuntimeAddr(self.bias.to_vaddr(address).0);
        }
        let library = |at: RuntimeAddr| {
            let after = self.libraries.partition_point(|(start, ..)| *start <= at.0);
            self.libraries[..after].last().filter(|(_, end, _)| at.0 < *end)
        };
        match library(call).or_else(|| library(address)) {
            Some((start, _, place)) => RuntimeAddr(address.0.wrapping_sub(*start) + place),
            None => RuntimeAddr(address.0 | NOWHERE),
        }
    }

    /// An address that is no return address: of a type, of a function; 0 is none, and what can be no
    /// type ([`NO_TYPES`]) stays as it is.
    pub fn of_word(&self, word: u64) -> u64 {
        if word < NO_TYPES { word } else { self.bias.to_vaddr(RuntimeAddr(word)).0 }
    }

    /// An address of data: a variable as the linker placed it, or marked as one that lies nowhere in the
    /// file.
    pub fn of_data(&self, address: u64) -> u64 {
        let at = self.bias.to_vaddr(RuntimeAddr(address));
        if (self.file.0..self.file.1).contains(&at) { at.0 } else { address | NOWHERE }
    }
}

/// What [`Places::of_data`] has written: where the linker placed it, or else where the process had it.
pub fn data(address: u64) -> Result<VAddr, RuntimeAddr> {
    match address & NOWHERE {
        0 => Ok(VAddr(address)),
        _ => Err(RuntimeAddr(address & !NOWHERE)),
    }
}

/// An address that lies in no known file, as the process had it.
pub fn nowhere(address: RuntimeAddr) -> RuntimeAddr {
    RuntimeAddr(address.0 & !NOWHERE)
}

/// Where in its file a library has an address.
pub fn file_offset(mapping: &Mapping, address: RuntimeAddr) -> FileOffset {
    FileOffset(address.0 - mapping.start.0 + mapping.offset.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (VAddr, VAddr) = (VAddr(0), VAddr(0x8000));

    #[test]
    fn data_is_told_from_what_is_not_in_the_file() {
        let text = (VAddr(0x1000), VAddr(0x2000));
        let places = Places::at(LoadBias(0x5500_0000), text, FILE, vec![]);
        assert_eq!(data(places.of_data(0x5500_7ff8)), Ok(VAddr(0x7ff8)));
        for elsewhere in [0x5500_8000, 0xc0_0001_2340, 0x7ff8] {
            assert_eq!(data(places.of_data(elsewhere)), Err(RuntimeAddr(elsewhere)));
        }
    }

    #[test]
    fn addresses_are_the_same_in_every_process() {
        let text = (VAddr(0x1000), VAddr(0x2000));
        let at = |bias: u64, library: u64| {
            Places::at(LoadBias(bias), text, FILE, vec![(library, library + 0x100, FIRST)])
        };
        let (one, two) = (at(0x5500_0000, 0x7f00_0000), at(0x6600_0000, 0x7e00_0000));
        for (offset, place) in [(0x1000, 0x1000), (0x1234, 0x1234), (0x2000, 0x2000)] {
            assert_eq!(one.of(RuntimeAddr(0x5500_0000 + offset)), RuntimeAddr(place));
            assert_eq!(two.of(RuntimeAddr(0x6600_0000 + offset)), RuntimeAddr(place));
        }
        // A return address right behind a library still is of its last call.
        for offset in [0, 0x80, 0x100] {
            assert_eq!(one.of(RuntimeAddr(0x7f00_0000 + offset)), RuntimeAddr(FIRST + offset));
            assert_eq!(two.of(RuntimeAddr(0x7e00_0000 + offset)), RuntimeAddr(FIRST + offset));
        }
        assert_eq!(one.of_word(NO_TYPES - 1), NO_TYPES - 1);
        assert_eq!((one.of_word(0), one.of_word(0x5500_3000)), (0, 0x3000));
    }

    #[test]
    fn what_lies_nowhere_is_never_taken_for_code() {
        let text = (VAddr(0x1000), VAddr(0x2000));
        let places = Places::at(LoadBias(0x5500_0000), text, FILE, vec![]);
        // Where the linker placed code, this process has none.
        let odd = places.of(RuntimeAddr(0x1800));
        assert_eq!((odd, nowhere(odd)), (RuntimeAddr(0x1800 | NOWHERE), RuntimeAddr(0x1800)));
        assert!(Libraries::default().at(odd).is_none());
    }
}
