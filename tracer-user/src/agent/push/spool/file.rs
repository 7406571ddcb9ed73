//! One upload as a file: what it is, its contents, and a checksum of all of it.
//!
//! In: an upload, or the bytes of a file. Out: the other one; whatever is not whole is no upload. Numbers are
//! little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `hptpush1` |
//! | 8 | when it was made, in milliseconds since 1970 |
//! | 4 | length of the path |
//! | 4 | length of the content type |
//! | 8 | length of the body |
//! | | path, content type, body |
//! | 4 | CRC-32 of all before |

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Crc;

const MAGIC: &[u8; 8] = b"hptpush1";
const HEAD: usize = 32;
const TAIL: usize = 4;

/// What is sent to a receiver, but for what is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// When what it tells was read.
    pub made: SystemTime,
    /// Path and query below the receiver's address.
    pub path: String,
    pub content_type: String,
    pub body: Bytes,
}

/// Why a file is no upload.
#[derive(Debug)]
pub enum Unread {
    /// It is not whole, or not what was written.
    Torn,
    Failed,
}

impl Upload {
    /// How long its file is.
    pub fn bytes(&self) -> u64 {
        (HEAD + self.path.len() + self.content_type.len() + self.body.len() + TAIL) as u64
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() as usize);
        let made = self.made.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        out.extend(MAGIC);
        out.extend((made.as_millis() as u64).to_le_bytes());
        out.extend((self.path.len() as u32).to_le_bytes());
        out.extend((self.content_type.len() as u32).to_le_bytes());
        out.extend((self.body.len() as u64).to_le_bytes());
        for part in [self.path.as_bytes(), self.content_type.as_bytes(), &self.body] {
            out.extend(part);
        }
        let mut crc = Crc::new();
        crc.update(&out);
        out.extend(crc.sum().to_le_bytes());
        out
    }

    /// Nothing unless the bytes are one whole upload.
    pub fn decode(bytes: Vec<u8>) -> Option<Self> {
        let head = Head::read(bytes.get(..HEAD)?)?;
        if head.length()? != bytes.len() as u64 {
            return None;
        }
        let (all, sum) = bytes.split_at_checked(bytes.len() - TAIL)?;
        let mut crc = Crc::new();
        crc.update(all);
        if crc.sum().to_le_bytes() != sum {
            return None;
        }
        let (path, rest) = all[HEAD..].split_at_checked(head.path)?;
        let (content_type, body) = rest.split_at_checked(head.content_type)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let (path, content_type, length) = (text(path)?, text(content_type)?, body.len());
        let end = bytes.len() - TAIL;
        let body = Bytes::from(bytes).slice(end - length..end);
        Some(Self { made: head.made, path, content_type, body })
    }
}

/// What a file begins with.
struct Head {
    made: SystemTime,
    path: usize,
    content_type: usize,
    body: u64,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD] = bytes.try_into().ok()?;
        let eight = |at: usize| bytes[at..at + 8].try_into().ok().map(u64::from_le_bytes);
        let four = |at: usize| bytes[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        if &bytes[..8] != MAGIC {
            return None;
        }
        let made = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(eight(8)?))?;
        let (path, content_type) = (four(16)? as usize, four(20)? as usize);
        Some(Self { made, path, content_type, body: eight(24)? })
    }

    /// Of the whole file.
    fn length(&self) -> Option<u64> {
        let texts = self.path as u64 + self.content_type as u64;
        self.body.checked_add(texts + (HEAD + TAIL) as u64)
    }
}

/// When the upload of a file was made, and how long it is; nothing unless its length is right. Its contents are not
/// looked at.
pub fn made(path: &Path) -> Option<(SystemTime, u64)> {
    let mut file = File::open(path).ok()?;
    let mut bytes = [0; HEAD];
    file.read_exact(&mut bytes).ok()?;
    let head = Head::read(&bytes)?;
    let length = file.metadata().ok()?.len();
    (head.length()? == length).then_some((head.made, length))
}

/// Reads a file of not more than so many bytes.
pub fn read(path: &Path, most: u64) -> Result<Upload, Unread> {
    let file = File::open(path).map_err(|_| Unread::Failed)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|_| Unread::Failed)?;
    Upload::decode(bytes).ok_or(Unread::Torn)
}
