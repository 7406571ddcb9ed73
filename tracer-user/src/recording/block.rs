//! What a recording's file is made of: a header, and records that each say how long they are, of what
//! kind, of when, and have checksums.
//!
//! In: contents of a record. Out: its bytes, compressed; and back. Knows nothing of what records say.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::Crc;
use memchr::memmem;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::{Error, VERSION};

/// What a file begins with. As in PNG a byte above ASCII, both line endings and an end of file tell
/// a recording from a text, and from one that was copied as a text.
const MAGIC: [u8; 8] = *b"\x89htap\r\n\x1a";
/// Bytes of the file's header: the magic, the version, and what is kept for later.
pub const FILE_HEADER: usize = 16;
/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 32;
/// What a record's header begins with.
const MARK: [u8; 4] = *b"\xa5rec";

/// A snapshot that needs nothing before it.
pub const KEY: u8 = 1;
/// What has changed since the snapshot before.
pub const NEXT: u8 = 2;
/// Kinds from here on may be left out by who does not know them.
const OPTIONAL: u8 = 0x80;
/// Statistics that need nothing before them.
pub const STATISTICS: u8 = 0x80;
/// What of them has changed since those before.
pub const NEXT_STATISTICS: u8 = 0x81;

/// How the contents are stored.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Most memory that a compressed record may refer back to.
const WINDOW: u64 = 8 << 20;

/// The header of a file.
pub fn file_header() -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// Checks the header of a file.
///
/// # Errors
/// It is none; its version is not known; it can't be read.
pub fn check_file_header(source: &mut impl Read) -> Result<(), Error> {
    let mut header = Vec::new();
    source.take(FILE_HEADER as u64).read_to_end(&mut header).map_err(Error::Read)?;
    if !header.starts_with(&MAGIC[..header.len().min(MAGIC.len())]) {
        return Err(Error::Foreign);
    }
    let Some(version) = header.get(8..10).and_then(|v| v.try_into().ok()) else {
        return Err(Error::Empty);
    };
    match u16::from_le_bytes(version) {
        0 => Err(Error::Foreign),
        found if found > VERSION => Err(Error::Newer { found }),
        _ if header.len() < FILE_HEADER => Err(Error::Empty),
        _ => Ok(()),
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where its header begins in the file.
    pub at: u64,
    pub kind: u8,
    how: u8,
    /// Nanoseconds since 1970; never before that of an earlier record.
    pub time: u64,
    /// Bytes in the file.
    stored: u32,
    /// Bytes of the contents.
    pub plain: u32,
    sum: u32,
}

impl Head {
    /// Whether who does not know its kind may leave it out.
    pub fn is_optional(&self) -> bool {
        self.kind >= OPTIONAL
    }

    /// Whether it needs nothing before it.
    pub fn is_key(&self) -> bool {
        matches!(self.kind, KEY | STATISTICS)
    }

    /// Where the next record begins.
    pub fn end(&self) -> u64 {
        self.at + RECORD_HEADER as u64 + u64::from(self.stored)
    }

    fn bytes(&self) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(&MARK);
        bytes[4] = self.kind;
        bytes[5] = self.how;
        bytes[8..16].copy_from_slice(&self.time.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.stored.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.plain.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.sum.to_le_bytes());
        let own = sum(&bytes[..28]);
        bytes[28..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Nothing: these bytes are no header.
    fn of(bytes: &[u8; RECORD_HEADER], at: u64) -> Option<Self> {
        let word = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let time = bytes[8..16].try_into().map_or(0, u64::from_le_bytes);
        let head = Self {
            at,
            kind: bytes[4],
            how: bytes[5],
            time,
            stored: word(16),
            plain: word(20),
            sum: word(24),
        };
        // All of it, so that what a later version keeps in the rest is not overlooked.
        (head.bytes() == *bytes).then_some(head)
    }
}

/// CRC-32.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// A record's bytes.
///
/// # Errors
/// It has 4 GiB or more.
pub fn seal(kind: u8, time: u64, contents: &[u8]) -> Result<Vec<u8>, Error> {
    let packed = compress_to_vec(contents, CompressionLevel::Fastest);
    let (how, stored) =
        if packed.len() < contents.len() { (ZSTD, &packed[..]) } else { (PLAIN, contents) };
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Error::Unwritable);
    let (sum, plain, len) = (sum(stored), len(contents)?, len(stored)?);
    let head = Head { at: 0, kind, how, time, stored: len, plain, sum };
    Ok([&head.bytes()[..], stored].concat())
}

/// Reads the header at `at`, which is not behind the file's end; nothing where no whole record follows.
///
/// # Errors
/// The file can't be read.
pub fn head(source: &mut (impl Read + Seek), at: u64, end: u64) -> Result<Option<Head>, Error> {
    if end.saturating_sub(at) < RECORD_HEADER as u64 {
        return Ok(None);
    }
    let mut bytes = [0; RECORD_HEADER];
    source.seek(SeekFrom::Start(at)).map_err(Error::Read)?;
    match source.read_exact(&mut bytes) {
        // It was cut since its length was asked for.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(Error::Read)?,
    }
    Ok(Head::of(&bytes, at).filter(|head| head.end() <= end))
}

/// Finds the first header from `at` on of what needs nothing before it: where to go on behind what is no record.
///
/// # Errors
/// The file can't be read.
pub fn find_key(
    source: &mut (impl Read + Seek),
    mut at: u64,
    end: u64,
) -> Result<Option<Head>, Error> {
    const CHUNK: u64 = 64 << 10;
    let mut bytes = Vec::new();
    while end.saturating_sub(at) >= RECORD_HEADER as u64 {
        bytes.clear();
        source.seek(SeekFrom::Start(at)).map_err(Error::Read)?;
        source.take(CHUNK).read_to_end(&mut bytes).map_err(Error::Read)?;
        // It was cut since its length was asked for.
        let Some(last) = bytes.len().checked_sub(RECORD_HEADER) else { return Ok(None) };
        for start in memmem::find_iter(&bytes, &MARK).take_while(|start| *start <= last) {
            let Some((header, _)) = bytes[start..].split_first_chunk() else { continue };
            let head = Head::of(header, at + start as u64);
            if let Some(head) = head.filter(|head| head.is_key() && head.end() <= end) {
                return Ok(Some(head));
            }
        }
        at += last as u64 + 1;
    }
    Ok(None)
}

/// Reads what a record says, at most `limit` bytes; nothing where it is not what was written.
///
/// # Errors
/// It is too large; how it is stored is not known; the file can't be read.
pub fn contents(
    source: &mut (impl Read + Seek),
    head: &Head,
    limit: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let plain = head.plain as usize;
    if plain > limit || head.stored as usize > limit {
        return Err(Error::TooLarge { limit });
    }
    source.seek(SeekFrom::Start(head.at + RECORD_HEADER as u64)).map_err(Error::Read)?;
    let mut stored = Vec::new();
    source.take(head.stored.into()).read_to_end(&mut stored).map_err(Error::Read)?;
    if stored.len() != head.stored as usize || sum(&stored) != head.sum {
        return Ok(None);
    }
    let contents = match head.how {
        PLAIN => stored,
        ZSTD => {
            let malformed = Error::Malformed { at: head.at, what: "it can't be decompressed" };
            let mut contents = Vec::new();
            let decoder = StreamingDecoder::new_with_max_window_size(&stored[..], WINDOW);
            let Ok(decoder) = decoder else { return Err(malformed) };
            if decoder.take(plain as u64 + 1).read_to_end(&mut contents).is_err() {
                return Err(malformed);
            }
            contents
        }
        _ => return Err(Error::Unknown { at: head.at }),
    };
    match contents.len() == plain {
        true => Ok(Some(contents)),
        false => Err(Error::Malformed { at: head.at, what: "it is not as long as it says" }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_record_is_what_was_sealed() {
        for contents in [&b""[..], b"short", &[7; 100_000]] {
            let sealed = seal(KEY, 99, contents).unwrap();
            assert!(sealed.len() < 200, "{}", sealed.len());
            let end = sealed.len() as u64;
            let mut source = Cursor::new(&sealed);
            let head = head(&mut source, 0, end).unwrap().unwrap();
            assert_eq!((head.kind, head.time, head.end()), (KEY, 99, end));
            let read = super::contents(&mut source, &head, 1 << 20).unwrap().unwrap();
            assert_eq!(read, contents);
        }
    }

    #[test]
    fn every_bit_is_checked() {
        let sealed = seal(NEXT, 1 << 60, &[5, 6, 7, 8]).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let end = flipped.len() as u64;
            let mut source = Cursor::new(&flipped);
            let Some(head) = head(&mut source, 0, end).unwrap() else { continue };
            assert_eq!(contents(&mut source, &head, 100).unwrap(), None, "bit {bit}");
        }
    }

    #[test]
    fn what_expands_beyond_what_it_says_is_refused() {
        let packed = compress_to_vec(&[0; 1 << 20][..], CompressionLevel::Fastest);
        let (sum, stored) = (sum(&packed), packed.len() as u32);
        let head = Head { at: 0, kind: KEY, how: ZSTD, time: 0, stored, plain: 1000, sum };
        let sealed = [&head.bytes()[..], &packed].concat();
        let refused = contents(&mut Cursor::new(&sealed), &head, 1 << 20).unwrap_err();
        assert!(matches!(refused, Error::Malformed { at: 0, .. }), "{refused}");
        let large = Head { plain: 2 << 20, ..head };
        let refused = contents(&mut Cursor::new(&sealed), &large, 1 << 20).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { limit } if limit == 1 << 20), "{refused}");
    }

    #[test]
    fn a_header_says_what_it_is() {
        let check = |bytes: &[u8]| check_file_header(&mut Cursor::new(bytes));
        let mut header = file_header();
        assert!(check(&header).is_ok());
        for cut in 0..FILE_HEADER {
            assert!(matches!(check(&header[..cut]), Err(Error::Empty)), "{cut}");
        }
        header[8] = 9;
        assert!(matches!(check(&header), Err(Error::Newer { found: 9 })));
        for foreign in [&b"\x1f\x8b\x08"[..], b"{", b"\x89PNG\r\n\x1a\n", b"\x89htap\n\n\x1a\0\0"] {
            assert!(matches!(check(foreign), Err(Error::Foreign)));
        }
    }
}
