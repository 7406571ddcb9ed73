//! What the box probe tells of a value that is put into an interface: whether it allocates, and how much.
//!
//! The kernel program runs this, and so do unit tests. runtime/iface.go, `convT…`, says the same in Go 1.19 and
//! 1.21 to 1.27.

/// [`crate::Cookie::kind`] of a site: type and address of the value are the arguments
/// (`convT`, `convTnoptr`).
pub const ANY: u16 = 1;
/// The value is the argument (`convT16`, `convT32`, `convT64`).
pub const BITS_16: u16 = 2;
pub const BITS_32: u16 = 3;
pub const BITS_64: u16 = 4;
/// Address and length are the arguments (`convTstring`).
pub const STRING: u16 = 5;
/// Address, length and capacity are the arguments (`convTslice`).
pub const SLICE: u16 = 6;

/// Numbers below this are the runtime's own copies of values (`staticuint64s`).
const STATIC: u64 = 256;

/// Bytes that boxing a value allocates; nothing when its type could not be read.
#[inline(always)]
pub fn bytes(kind: u16, arg0: u64, arg1: u64, word: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let (is_static, size) = match kind {
        // The first word of a type is its size (internal/abi/type.go). One of size 0 has no place.
        ANY => (false, word(arg0)?),
        BITS_16 => (arg0 & 0xffff < STATIC, 2),
        BITS_32 => (arg0 & 0xffff_ffff < STATIC, 4),
        BITS_64 => (arg0 < STATIC, 8),
        STRING => (arg1 == 0, 16),
        SLICE => (arg0 == 0, 24),
        _ => return None,
    };
    Some(if is_static { 0 } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: u16, arg0: u64, arg1: u64) -> Option<u64> {
        bytes(kind, arg0, arg1, |at| (at == 0x1000).then_some(40))
    }

    #[test]
    fn a_value_takes_what_its_type_says() {
        assert_eq!(of(ANY, 0x1000, 0x2000), Some(40));
        assert_eq!(of(ANY, 0x3000, 0x2000), None);
        assert_eq!(bytes(ANY, 0x1000, 0, |_| Some(0)), Some(0));
        assert_eq!(of(9, 0x1000, 0), None);
    }

    #[test]
    fn small_numbers_take_nothing() {
        for (kind, size) in [(BITS_16, 2), (BITS_32, 4), (BITS_64, 8)] {
            assert_eq!([0, 255, 256].map(|value| of(kind, value, 7)), [0, 0, size].map(Some));
        }
        // What is left in the rest of the register is no part of the value.
        assert_eq!(of(BITS_16, 0xdead_0000_00ff, 0), Some(0));
        assert_eq!(of(BITS_32, 0xdead_0000_0100, 0), Some(4));
        assert_eq!(of(BITS_64, 0xdead_0000_00ff, 0), Some(8));
    }

    #[test]
    fn empty_strings_and_nil_slices_take_nothing() {
        assert_eq!([of(STRING, 0x5000, 0), of(STRING, 0x5000, 3)], [0, 16].map(Some));
        assert_eq!([of(SLICE, 0, 0), of(SLICE, 0x5000, 0)], [0, 24].map(Some));
    }
}
