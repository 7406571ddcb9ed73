//! Bounds-checked little-endian reads. In: bytes of unknown origin. Out: a value, or nothing when
//! the bytes end before it does. Knows no format.

/// Byte `at`.
#[inline]
pub fn u8_at(data: &[u8], at: usize) -> Option<u8> {
    data.get(at).copied()
}

/// 16 bits at byte `at`.
#[inline]
pub fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    array_at(data, at).map(u16::from_le_bytes)
}

/// 32 bits at byte `at`.
#[inline]
pub fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    array_at(data, at).map(u32::from_le_bytes)
}

/// 64 bits at byte `at`.
#[inline]
pub fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    array_at(data, at).map(u64::from_le_bytes)
}

/// The bytes of a C string that begins at `at`, without its end mark.
pub fn c_str_at(data: &[u8], at: usize) -> Option<&[u8]> {
    let rest = data.get(at..)?;
    Some(&rest[..memchr::memchr(0, rest)?])
}

/// [`c_str_at`] of one that is not longer than `most`; the beginning of a longer one.
pub fn short_c_str(data: &[u8], at: usize, most: usize) -> Option<&[u8]> {
    let rest = data.get(at..)?;
    let head = &rest[..rest.len().min(most)];
    match memchr::memchr(0, head) {
        Some(end) => Some(&head[..end]),
        None if head.len() < rest.len() => Some(head),
        None => None,
    }
}

/// An unsigned LEB128 number at `at` and the position after it, as Go's `binary.Uvarint` reads it.
pub fn uvarint_at(data: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = u8_at(data, at.checked_add(i)?)?;
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}

#[inline]
fn array_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_with_the_bytes() {
        let data = [1, 0, 0, 0, 0x80, 0x80];
        assert_eq!(u32_at(&data, 0), Some(1));
        assert_eq!(u32_at(&data, 3), None);
        assert_eq!(u64_at(&data, usize::MAX), None);
        assert_eq!(c_str_at(&data, 4), None);
        assert_eq!(short_c_str(b"ab\0cde", 0, 2), Some(&b"ab"[..]));
        assert_eq!(short_c_str(b"ab\0cde", 0, 1), Some(&b"a"[..]));
        assert_eq!(short_c_str(b"ab\0cde", 3, 2), Some(&b"cd"[..]));
        assert_eq!(short_c_str(b"ab\0cde", 3, 3), None);
        assert_eq!(short_c_str(b"ab\0cde", 7, 3), None);
        assert_eq!(uvarint_at(&data, 4), None);
        assert_eq!(uvarint_at(&[0xac, 0x02], 0), Some((300, 2)));
        assert_eq!(uvarint_at(&[0xff; 16], 0), None);
    }
}
