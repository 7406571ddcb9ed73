//! Names of Go types from their addresses: what was allocated, as the type word at a site says it.
//!
//! In: an opened binary, whose type data is read into memory. Out: name, package, size and kind of a
//! type. Types that a program makes while it runs (`reflect.StructOf`) lie on its heap and are
//! unknown here. Layout: internal/abi/type.go, the same in Go 1.18 to 1.27 as far as it is used.

use std::fmt;

use super::bytes::{u8_at, u32_at, u64_at, uvarint_at};
use super::{Error, GoBinary};
use crate::address::VAddr;

/// Most type data read; a 90 MB binary has 9 MB.
const MAX_TYPES: u64 = 256 << 20;
/// Longest name accepted: struct types spell out all their fields.
const MAX_NAME: u64 = 64 << 10;

/// Offsets in `abi.Type`, and its size.
const FLAGS: usize = 20;
const KIND: usize = 23;
const NAME: usize = 40;
const SIZE: usize = 48;
/// Bits of its flags.
const UNCOMMON: u8 = 1;
const EXTRA_STAR: u8 = 2;
const NAMED: u8 = 4;

/// The type data of a binary.
#[derive(Debug)]
pub struct Types {
    start: VAddr,
    data: Vec<u8>,
}

/// What a Go type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type<'a> {
    /// As Go prints it: `*main.T`, `map[string]int`, `struct { F uintptr; x *int }` (a closure).
    pub name: &'a str,
    /// Import path of the package of a type that has a name of its own; not for maps.
    pub package: Option<&'a str>,
    /// Bytes of one value.
    pub size: u64,
    pub kind: Kind,
}

/// `reflect.Kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u8);

/// The kinds in their order (internal/abi/type.go); the first is not a kind.
const KINDS: [&str; 27] = [
    "invalid",
    "bool",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "uintptr",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "array",
    "chan",
    "func",
    "interface",
    "map",
    "ptr",
    "slice",
    "string",
    "struct",
    "unsafe.Pointer",
];

impl Kind {
    /// The word that `reflect.Kind.String` gives.
    pub fn word(self) -> &'static str {
        KINDS.get(usize::from(self.0)).copied().unwrap_or(KINDS[0])
    }

    /// Bytes of the record of a type of this kind, behind which its `abi.UncommonType` lies. Nothing
    /// for maps, whose record changes with the release.
    fn record_size(self) -> Option<usize> {
        Some(match self.word() {
            "map" => return None,
            "array" => SIZE + 24,
            "chan" => SIZE + 16,
            "func" | "ptr" | "slice" => SIZE + 8,
            "interface" | "struct" => SIZE + 32,
            _ => SIZE,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Types {
    /// Reads the type data of `binary`.
    ///
    /// Errors: a release whose module record is unknown, unreadable or impossible type data.
    pub fn load(binary: &GoBinary) -> Result<Self, Error> {
        let (start, end) = binary
            .types_range()
            .ok_or(Error::NoModule("where types lie in this Go release is not known"))?;
        let size = end.0.saturating_sub(start.0);
        if size > MAX_TYPES {
            return Err(Error::TooBig { what: "its type data", size, limit: MAX_TYPES });
        }
        let data = binary.read(start, size as usize)?;
        Ok(Self { start, data })
    }

    /// The type whose `abi.Type` lies at a link-time address; nothing when none can lie there.
    pub fn get(&self, at: VAddr) -> Option<Type<'_>> {
        let at = usize::try_from(at.0.checked_sub(self.start.0)?).ok()?;
        let record = self.data.get(at..)?;
        let kind = Kind(u8_at(record, KIND)? & 0x1f);
        if !at.is_multiple_of(8) || kind.0 == 0 || usize::from(kind.0) >= KINDS.len() {
            return None;
        }
        let flags = u8_at(record, FLAGS)?;
        let name = self.text(u32_at(record, NAME)?)?;
        let name = match flags & EXTRA_STAR {
            0 => name,
            _ => name.strip_prefix('*')?,
        };
        if name.is_empty() {
            return None;
        }
        let package = match flags & (UNCOMMON | NAMED) == UNCOMMON | NAMED {
            true => kind.record_size().and_then(|size| self.text(u32_at(record, size)?)),
            false => None,
        };
        let package = package.filter(|path| !path.is_empty());
        Some(Type { name, package, size: u64_at(record, 0)?, kind })
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.data.capacity()
    }

    /// The text of a name (`abi.Name`: flags, length, bytes) at an offset from the start; empty at
    /// offset 0, which means none.
    fn text(&self, offset: u32) -> Option<&str> {
        if offset == 0 {
            return Some("");
        }
        let (len, at) = uvarint_at(&self.data, (offset as usize).checked_add(1)?)?;
        let end = at.checked_add(len.min(MAX_NAME + 1) as usize)?;
        std::str::from_utf8(self.data.get(at..end)?).ok().filter(|_| len <= MAX_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type data with one named struct, `*main.T` with the extra star, at offset 64.
    fn types() -> Types {
        let mut data = vec![0; 256];
        data[8..18].copy_from_slice(b"\x01\x07*main.T\0");
        data[24..30].copy_from_slice(b"\x00\x04main");
        data[64] = 40;
        data[64 + FLAGS] = UNCOMMON | EXTRA_STAR | NAMED;
        data[64 + KIND] = 25 | 1 << 5;
        data[64 + NAME] = 8;
        data[64 + SIZE + 32] = 24;
        Types { start: VAddr(0x1000), data }
    }

    #[test]
    fn a_named_struct() {
        let types = types();
        let found = types.get(VAddr(0x1040)).unwrap();
        assert_eq!((found.name, found.package, found.size), ("main.T", Some("main"), 40));
        assert_eq!(found.kind.to_string(), "struct");
    }

    #[test]
    fn addresses_without_a_type() {
        for at in [0, 0xfff, 0x1000, 0x1041, 0x1048, 0x10f0, 0x1100, 0x5000, u64::MAX] {
            assert_eq!(types().get(VAddr(at)), None, "{at:#x}");
        }
    }

    #[test]
    fn damage_is_harmless() {
        for at in 0..256 {
            for with in [0, 1, 0x7f, 0x80, 0xff] {
                let mut types = types();
                types.data[at] = with;
                let _found: Vec<_> = (0x1000..0x1100).map(|a| types.get(VAddr(a))).collect();
                types.data.truncate(at);
                assert!(at > 100 || types.get(VAddr(0x1040)).is_none());
            }
        }
    }
}
