//! Addresses that have no names yet: what stacks of a raw recording are made of.
//!
//! In and out: a [`Profile`]. An address is shown as what it is, and remembers how it was found, which decides what it
//! is called when somebody has its binary (`pipeline::symbolize`).

use super::{BinaryId, Frame, FrameKind, Location, LocationId, Name, Profile};
use crate::address::VAddr;

/// How an address was found. [`Location::address`] is the one that is looked up: of a call that of the call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Raw {
    /// An instruction, no call: where a probe is.
    Place,
    /// The same, to be kept when the runtime's frames are folded ([`Profile::keep_leaf`]).
    Kept,
    /// The function that a goroutine starts in.
    Start,
    /// A call, found by a walk over frames: what is inlined around it belongs to it.
    Call,
    /// A call in a stack that the runtime wrote down with an address for each logical frame.
    Logical,
    /// A call in a stack that it wrote down with real return addresses.
    Physical,
    /// A call in C code.
    Native,
}

impl Raw {
    /// All, in the order of their numbers in recordings.
    pub const ALL: [Raw; 7] =
        [Raw::Place, Raw::Kept, Raw::Start, Raw::Call, Raw::Logical, Raw::Physical, Raw::Native];
}

impl Profile {
    /// A new location that has no name yet, shown as `0x47a3c0 [orders]`.
    pub fn raw(&mut self, raw: Raw, binary: BinaryId, address: VAddr) -> LocationId {
        let path = self.binaries.get(binary.0 as usize).map_or("", |binary| &binary.path);
        let text = match path.rsplit('/').next().unwrap_or_default() {
            "" => format!("{:#x}", address.0),
            file => format!("{:#x} [{file}]", address.0),
        };
        let frame = Frame {
            function: self.names.intern(&text),
            file: Name::default(),
            line: 0,
            start_line: 0,
            kind: FrameKind::Unknown,
        };
        let (binary, raw) = (Some(binary), Some(raw));
        self.locations.push(Location { binary, address, frames: vec![frame], raw });
        LocationId(self.locations.len() as u32 - 1)
    }

    /// How many of the locations that samples have are without a name yet.
    pub fn unnamed(&self) -> usize {
        let mut seen = vec![false; self.locations.len()];
        let all = self.samples.iter().flat_map(|sample| sample.stack.iter().chain(&sample.leaf));
        all.for_each(|id| seen[id.0 as usize] = true);
        let is_raw = |(location, seen): (&Location, bool)| seen && location.raw.is_some();
        self.locations.iter().zip(seen).filter(|both| is_raw(*both)).count()
    }
}
