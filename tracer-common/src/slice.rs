//! What a call that makes, grows, copies or builds a slice or string moves, and what it asks the heap for.
//!
//! In: the arguments of a function of runtime/slice.go or runtime/string.go. Out: bytes of old contents that
//! it copies and the size that it passes to `mallocgc`, by the runtime's own rules (read in Go 1.19 and 1.21
//! to 1.27). The kernel program runs this, and so do unit tests.

use crate::{record::NO_TYPES, size::round_up};

/// [`crate::Cookie::kind`] of a site: which function it is in (one of these, and flags).
/// `growslice(type, old address, length, capacity, wanted capacity)`, Go up to 1.19.
pub const GROW_CLASSIC: u16 = 1;
/// `growslice(old address, new length, old capacity, added, type)`.
pub const GROW: u16 = 2;
/// `growsliceBuf`: the same, address and length of a buffer on the stack.
pub const GROW_BUFFER: u16 = 3;
/// `makeslice(type, length, capacity)`.
pub const MAKE: u16 = 4;
/// `makeslicecopy(type, length, old length, old address)`.
pub const MAKE_COPY: u16 = 5;
/// `moveSlice(type, old address, length, capacity)`.
pub const MOVE: u16 = 6;
/// `moveSliceNoScan`: the same with an element's size for the type.
pub const MOVE_SIZED: u16 = 7;
/// `moveSliceNoCap(type, old address, length)`.
pub const MOVE_ROUNDED: u16 = 8;
/// `moveSliceNoCapNoScan`: the same with an element's size for the type.
pub const MOVE_SIZED_ROUNDED: u16 = 9;
/// `reflect.unsafe_NewArray(type, length)`.
pub const ARRAY: u16 = 10;
/// `slicebytetostring(buffer, address, length)`.
pub const STRING: u16 = 11;
/// `stringtoslicebyte(buffer, address, length)`.
pub const BYTES: u16 = 12;
/// `rawruneslice(length)`: what a string is decoded into.
pub const RUNES: u16 = 13;
/// The call of `rawstringtmp(buffer, length)` in `slicerunetostring`: what runes are encoded into.
pub const ENCODED: u16 = 14;
/// `intstring(buffer, number)`.
pub const RUNE: u16 = 15;
/// `gostringn`, `gobytes(address, length)`.
pub const FROM_C: u16 = 16;
/// The call that allocates in `gostring`: the size is its first argument.
pub const FROM_C_TERMINATED: u16 = 17;
/// `bytealg.MakeNoZero(length)`.
pub const NO_ZERO: u16 = 18;
/// `concatstrings(buffer, operands, number of them)`.
pub const CONCAT: u16 = 19;
/// `concatbytes`: the same; [`CONCAT_BYTES_PLAIN`], Go 1.24, without the buffer.
pub const CONCAT_BYTES: u16 = 20;
pub const CONCAT_BYTES_PLAIN: u16 = 21;
/// The call of `rawstringtmp(buffer, length)` in a copy of `concatstrings`.
pub const CONCAT_COPY: u16 = 22;

/// Flag: objects with pointers have headers (Go 1.22 and later).
pub const HEADERS: u16 = 1 << 8;
/// Flag: [`NO_ZERO`] asks for a whole slot (Go 1.23 and later).
pub const ROUNDED: u16 = 1 << 9;
/// Flag: the site is in the middle of its function, which has its frame.
pub const IN_FRAME: u16 = 1 << 10;

/// The kind without its flags.
pub const fn kind(site: u16) -> u16 {
    site & 0xff
}

/// Classes (below [`NO_TYPES`]) of what has no type. 0 is bytes or a string.
pub const OF_RUNES: u64 = 1;
/// Elements without pointers whose size is the rest, as far as it fits.
pub const OF_SIZE: u64 = 64;

/// The class of elements without pointers of a size; [`OF_SIZE`] alone where it does not fit.
#[inline(always)]
pub fn of_size(size: u64) -> u64 {
    if size < NO_TYPES - OF_SIZE { OF_SIZE + size } else { OF_SIZE }
}

/// Operands of one concatenation that are read.
pub const OPERANDS: usize = 128;

/// Length of a buffer that the compiler gives for a short result (`tmpBuf`).
const BUFFER: u64 = 32;
/// `maxAlloc` on amd64: who asks for more panics.
const MAX: u64 = 1 << 48;

/// What a call does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Bytes of old contents that it copies.
    pub copied: u64,
    /// Bytes that it asks the heap for.
    pub asked: u64,
}

/// What a call with these arguments does; nothing when a type could not be read. A call that panics or
/// returns what it was given does nothing.
#[inline(always)]
pub fn built(site: u16, args: &[u64; 7], word: impl Fn(u64) -> Option<u64>) -> Option<Built> {
    let [a, b, c, d, e, ..] = *args;
    let has_headers = site & HEADERS != 0;
    // The first words of a type are its size and how much of it has pointers (internal/abi/type.go).
    let elements = |at: u64| {
        Some(Elements { size: word(at)?, pointers: word(at.wrapping_add(8))?, has_headers })
    };
    Some(match kind(site) {
        GROW_CLASSIC => elements(a)?.grown(c, e, d, false),
        GROW => elements(e)?.grown(b.wrapping_sub(d), b, c, true),
        GROW_BUFFER => {
            let old = b.wrapping_sub(d);
            // Otherwise it calls growslice, or the contents are there already.
            if b > args[6] || a == args[5] {
                Built::default()
            } else {
                Built { copied: times(old, word(e)?), asked: 0 }
            }
        }
        MAKE if b <= c => Built { copied: 0, asked: times(c, word(a)?) },
        MAKE_COPY => {
            let size = word(a)?;
            let asked = times(b, size);
            Built {
                copied: if asked == 0 { 0 } else { times(if b < c { b } else { c }, size) },
                asked,
            }
        }
        MOVE => Built::whole(times(d, word(a)?)),
        MOVE_SIZED => Built::whole(times(d, a)),
        MOVE_ROUNDED => {
            let of = elements(a)?;
            let copied = times(c, of.size);
            Built { copied, asked: of.rounded(copied) }
        }
        MOVE_SIZED_ROUNDED => Built { copied: times(c, a), asked: round_up(times(c, a), false) },
        ARRAY => Built { copied: 0, asked: times(b, word(a)?) },
        STRING if c > 1 => Built { copied: c, asked: beyond(a, c) },
        BYTES => Built { copied: c, asked: round_up(beyond(a, c), false) },
        RUNES => Built { copied: 0, asked: round_up(times(a, 4), false) },
        ENCODED => Built { copied: 0, asked: beyond(a, b) },
        CONCAT_COPY => Built { copied: b, asked: beyond(a, b) },
        RUNE if a == 0 => Built { copied: 0, asked: 4 },
        FROM_C => Built::whole(times(b, 1)),
        FROM_C_TERMINATED => Built::whole(times(a, 1)),
        NO_ZERO if site & ROUNDED != 0 => Built { copied: 0, asked: round_up(times(a, 1), false) },
        NO_ZERO => Built { copied: 0, asked: times(a, 1) },
        _ => Built::default(),
    })
}

/// Operands of a concatenation, added up. (How many there are is not counted: a number that the kernel's
/// verifier knows in each round makes the rounds all different for it.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    pub bytes: u64,
    /// Address and length of the last one that is not empty.
    pub last: u64,
    pub last_bytes: u64,
}

impl Operands {
    /// Adds one.
    #[inline(always)]
    pub fn add(&mut self, address: u64, length: u64) {
        if length != 0 {
            self.bytes = self.bytes.wrapping_add(length);
            (self.last, self.last_bytes) = (address, length);
        }
    }

    /// What concatenating them does. A single one is its own result, unless it lies on the stack and may
    /// not stay there.
    #[inline(always)]
    pub fn built(&self, kind: u16, buffer: u64, is_on_stack: bool) -> Built {
        let copied = self.bytes;
        match kind {
            CONCAT if copied == self.last_bytes && (buffer != 0 || !is_on_stack) => {
                Built::default()
            }
            CONCAT => Built { copied, asked: beyond(buffer, copied) },
            CONCAT_BYTES => Built { copied, asked: round_up(beyond(buffer, copied), false) },
            CONCAT_BYTES_PLAIN => Built { copied, asked: round_up(copied, false) },
            _ => Built::default(),
        }
    }
}

impl Built {
    fn whole(bytes: u64) -> Self {
        Self { copied: bytes, asked: bytes }
    }

    pub fn is_nothing(&self) -> bool {
        self.copied | self.asked == 0
    }
}

/// A slice's elements.
struct Elements {
    size: u64,
    pointers: u64,
    has_headers: bool,
}

impl Elements {
    /// `growslice` to a length.
    #[inline(always)]
    fn grown(&self, old: u64, wanted: u64, capacity: u64, is_whole: bool) -> Built {
        let capacity = next_capacity(wanted, capacity);
        let bytes = times(capacity, self.size);
        if bytes == 0 {
            return Built::default();
        }
        // Go 1.19 asks for the whole slot, whether or not elements fill it.
        let asked = if is_whole { self.rounded(bytes) } else { self.slot(bytes) };
        Built { copied: old.wrapping_mul(self.size), asked }
    }

    #[inline(always)]
    fn slot(&self, bytes: u64) -> u64 {
        round_up(bytes, self.has_headers && self.pointers != 0)
    }

    /// As many elements as the slot holds.
    #[inline(always)]
    fn rounded(&self, bytes: u64) -> u64 {
        let slot = self.slot(bytes);
        if self.size == 0 { 0 } else { slot - slot % self.size }
    }
}

/// `nextslicecap`: twice as much for small slices, and less and less more for larger ones.
#[inline(always)]
fn next_capacity(wanted: u64, capacity: u64) -> u64 {
    const SMALL: u64 = 256;
    let double = capacity.wrapping_add(capacity);
    if wanted > double {
        return wanted;
    }
    if capacity < SMALL {
        return double;
    }
    // It grows by a quarter at least, and at most to twice the capacity.
    let (mut next, mut round) = (capacity, 0);
    while round < 4 && (round == 0 || next < wanted) {
        next = next.wrapping_add(next.wrapping_add(3 * SMALL) >> 2);
        round += 1;
    }
    next
}

/// What does not fit into a buffer, if there is one, is asked for.
#[inline(always)]
fn beyond(buffer: u64, bytes: u64) -> u64 {
    if buffer != 0 && bytes <= BUFFER || bytes > MAX { 0 } else { bytes }
}

/// 0 when it is more than can be allocated, or the number is negative.
#[inline(always)]
fn times(number: u64, size: u64) -> u64 {
    if size == 0 || number > MAX || number > MAX / size { 0 } else { number * size }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types of 24 bytes with and without pointers, of 1 and of 256.
    fn word(at: u64) -> Option<u64> {
        match at {
            0x1000 => Some(24),
            0x1008 => Some(8),
            0x2000 => Some(24),
            0x3000 => Some(1),
            0x4000 => Some(256),
            0x2008 | 0x3008 | 0x4008 | 0x5000 | 0x5008 => Some(0),
            _ => None,
        }
    }

    fn of(kind: u16, args: &[u64]) -> (u64, u64) {
        let mut all = [0; 7];
        all[..args.len()].copy_from_slice(args);
        let built = built(kind, &all, word).unwrap();
        (built.copied, built.asked)
    }

    #[test]
    fn a_growing_slice_moves_what_it_had() {
        // From 4 elements of 24 bytes to 5: room for 8.
        assert_eq!(of(GROW, &[0x9000, 5, 4, 1, 0x2000]), (96, 192));
        assert_eq!(of(GROW_CLASSIC, &[0x2000, 0x9000, 4, 4, 5]), (96, 192));
        // Far more than twice: as many as wanted; 240 bytes have a class of their own.
        assert_eq!(of(GROW, &[0x9000, 10, 4, 6, 0x2000]), (96, 240));
        // From nothing.
        assert_eq!(of(GROW, &[0, 3, 0, 3, 0x3000]), (0, 8));
        // Elements of no size, more than there can be, and a length that has overflown.
        assert_eq!(of(GROW, &[0, 3, 0, 3, 0x5000]), (0, 0));
        assert_eq!(of(GROW, &[0, 1 << 47, 0, 3, 0x2000]), (0, 0));
        assert_eq!(of(GROW, &[0, u64::MAX, 4, 3, 0x2000]), (0, 0));
        assert_eq!(built(GROW, &[0, 3, 0, 3, 0x7000, 0, 0], word), None);
    }

    #[test]
    fn a_large_slice_grows_by_less() {
        assert_eq!([255, 256, 1000].map(|had| next_capacity(had + 1, had)), [510, 512, 1442]);
        // Twice as much takes some rounds.
        assert_eq!(
            [1442, 1443, 1994, 1995, 2000].map(|wanted| next_capacity(wanted, 1000)),
            [1442, 1994, 1994, 2684, 2684]
        );
        for had in 256..5000_u64 {
            for wanted in [had + 1, had + had / 2, 2 * had] {
                assert!(next_capacity(wanted, had) >= wanted, "{had} {wanted}");
            }
        }
        assert!(next_capacity(1 << 46, 1 << 45) >= 1 << 46);
    }

    #[test]
    fn what_elements_do_not_fill_is_asked_for_by_go_1_19_alone() {
        // 13 elements of 256 bytes take a slot of 3,456.
        assert_eq!(of(GROW, &[0, 13, 0, 13, 0x4000]), (0, 3328));
        assert_eq!(of(GROW_CLASSIC, &[0x4000, 0, 0, 0, 13]), (0, 3456));
    }

    #[test]
    fn headers_take_their_part_of_the_slot() {
        // 24 elements of 24 bytes are 576, which has a class; with the header they take the next one.
        assert_eq!(of(GROW, &[0, 24, 0, 24, 0x1000]), (0, 576));
        assert_eq!(of(GROW | HEADERS, &[0, 24, 0, 24, 0x1000]), (0, 624));
        assert_eq!(of(GROW | HEADERS, &[0, 24, 0, 24, 0x2000]), (0, 576));
    }

    #[test]
    fn a_buffer_on_the_stack_asks_for_nothing() {
        // 4 elements and 1 more fit 8; from elsewhere, and where they are.
        assert_eq!(of(GROW_BUFFER, &[0x9000, 5, 4, 1, 0x2000, 0x8000, 8]), (96, 0));
        assert_eq!(of(GROW_BUFFER, &[0x8000, 5, 4, 1, 0x2000, 0x8000, 8]), (0, 0));
        // More than it holds is growslice's.
        assert_eq!(of(GROW_BUFFER, &[0x9000, 9, 4, 5, 0x2000, 0x8000, 8]), (0, 0));
    }

    #[test]
    fn slices_are_made_and_copied() {
        assert_eq!(of(MAKE, &[0x2000, 3, 10]), (0, 240));
        // Both panic.
        assert_eq!(of(MAKE, &[0x2000, 11, 10]), (0, 0));
        assert_eq!(of(MAKE, &[0x2000, 0, u64::MAX]), (0, 0));
        assert_eq!(of(MAKE_COPY, &[0x2000, 10, 3, 0x9000]), (72, 240));
        assert_eq!(of(MAKE_COPY, &[0x2000, 3, 10, 0x9000]), (72, 72));
        assert_eq!(of(MAKE_COPY, &[0x2000, 1 << 47, 10, 0x9000]), (0, 0));
        assert_eq!(of(ARRAY, &[0x2000, 10]), (0, 240));
    }

    #[test]
    fn slices_move_from_the_stack() {
        assert_eq!(of(MOVE, &[0x1000, 0x9000, 3, 5]), (120, 120));
        assert_eq!(of(MOVE_SIZED, &[24, 0x9000, 3, 5]), (120, 120));
        assert_eq!(of(MOVE_ROUNDED, &[0x1000, 0x9000, 5]), (120, 120));
        assert_eq!(of(MOVE_ROUNDED, &[0x1000, 0x9000, 7]), (168, 168));
        assert_eq!(of(MOVE_SIZED_ROUNDED, &[24, 0x9000, 5]), (120, 128));
        assert_eq!(of(MOVE, &[0x1000, 0, 0, 0]), (0, 0));
    }

    #[test]
    fn strings_are_converted() {
        assert_eq!(of(STRING, &[0, 0x9000, 33]), (33, 33));
        assert_eq!(of(STRING, &[0x8000, 0x9000, 32]), (32, 0));
        assert_eq!(of(STRING, &[0x8000, 0x9000, 33]), (33, 33));
        // One byte is the runtime's own copy.
        assert_eq!(of(STRING, &[0, 0x9000, 1]), (0, 0));
        assert_eq!(of(BYTES, &[0, 0x9000, 33]), (33, 48));
        assert_eq!(of(BYTES, &[0x8000, 0x9000, 1]), (1, 0));
        assert_eq!(of(RUNES, &[5]), (0, 24));
        assert_eq!(of(ENCODED, &[0, 9]), (0, 9));
        assert_eq!(of(ENCODED, &[0x8000, 9]), (0, 0));
        assert_eq!([of(CONCAT_COPY, &[0, 9]), of(CONCAT_COPY, &[1, 9])], [(9, 9), (9, 0)]);
        assert_eq!([of(RUNE, &[0, 65]), of(RUNE, &[0x8000, 65])], [(0, 4), (0, 0)]);
        assert_eq!(of(FROM_C, &[0x9000, 7]), (7, 7));
        assert_eq!(of(FROM_C_TERMINATED, &[7]), (7, 7));
        assert_eq!([of(NO_ZERO, &[33]), of(NO_ZERO | ROUNDED, &[33])], [(0, 33), (0, 48)]);
    }

    #[test]
    fn operands_are_added_up() {
        let of = |lengths: &[u64], kind, buffer, is_on_stack| {
            let mut all = Operands::default();
            lengths.iter().for_each(|length| all.add(0x9000, *length));
            let built = all.built(kind, buffer, is_on_stack);
            (built.copied, built.asked)
        };
        assert_eq!(of(&[3, 0, 40], CONCAT, 0, false), (43, 43));
        assert_eq!(of(&[3, 4], CONCAT, 0x8000, false), (7, 0));
        assert_eq!(of(&[0, 0], CONCAT, 0, false), (0, 0));
        // The only one is the result.
        assert_eq!(of(&[0, 5], CONCAT, 0, false), (0, 0));
        assert_eq!(of(&[0, 5], CONCAT, 0x8000, true), (0, 0));
        assert_eq!(of(&[0, 5], CONCAT, 0, true), (5, 5));
        assert_eq!(of(&[0, 5], CONCAT_BYTES, 0, false), (5, 8));
        assert_eq!(of(&[30, 5], CONCAT_BYTES, 0x8000, false), (35, 48));
        assert_eq!(of(&[0, 5], CONCAT_BYTES, 0x8000, false), (5, 0));
        assert_eq!(of(&[0, 5], CONCAT_BYTES_PLAIN, 0x8000, false), (5, 8));
    }
}
