//! A file that was opened: bounded reads, and whether it still is what it was.
//!
//! In: an opened file, read by `pread` only (a mapped file that is truncated kills its reader, and one
//! that is rewritten changes under it). Out: bytes. Knows nothing of what is in it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::thread;

use super::error::Error;

/// What is read by several threads, and how many.
const LARGE: usize = 4 << 20;
const READERS: usize = 4;

/// A file as it was when it was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    file: Arc<File>,
    pub size: u64,
    /// When it was last written to, in seconds and nanoseconds.
    written: (i64, i64),
}

impl Opened {
    pub fn new(file: File) -> Result<Self, Error> {
        let meta = file.metadata().map_err(|source| Error::Read { offset: 0, len: 0, source })?;
        if !meta.is_file() {
            return Err(Error::NotAFile);
        }
        Ok(Self { file: Arc::new(file), size: meta.len(), written: written(&meta) })
    }

    /// Whether nobody has written to it since.
    fn is_unchanged(&self) -> bool {
        let same = |meta: Metadata| meta.len() == self.size && written(&meta) == self.written;
        self.file.metadata().is_ok_and(same)
    }

    /// Some of its bytes.
    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
        if self.size.checked_sub(len).is_none_or(|last| offset > last) {
            return Err(Error::Truncated { offset, len, size: self.size });
        }
        let mut data = vec![0; len as usize];
        self.read_into(&mut data, offset)?;
        Ok(data)
    }

    /// The same into memory that is there already.
    pub fn read_into(&self, data: &mut [u8], offset: u64) -> Result<(), Error> {
        let (len, size) = (data.len() as u64, self.size);
        self.fill(data, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated { offset, len, size },
            _ => Error::Read { offset, len, source },
        })
    }

    /// Fills a buffer from the file; a large one by several threads, since most of the time goes into
    /// fresh memory.
    fn fill(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        if data.len() < LARGE {
            return self.file.read_exact_at(data, offset);
        }
        let threads = thread::available_parallelism().map_or(1, usize::from).min(READERS);
        let part = data.len().div_ceil(threads);
        thread::scope(|scope| {
            let parts = data.chunks_mut(part).zip((offset..).step_by(part));
            let reader = |(data, at)| {
                let read = move || self.file.read_exact_at(data, at);
                thread::Builder::new().spawn_scoped(scope, read)
            };
            let readers: Vec<_> = parts.map(reader).collect();
            readers.into_iter().try_for_each(|reader| {
                reader?.join().map_err(|_| io::Error::other("a reading thread has failed"))?
            })
        })
    }

    /// As [`Opened::read`]; nothing when somebody has written to it before or meanwhile.
    pub fn read_unchanged(&self, offset: u64, len: u64) -> Option<Vec<u8>> {
        self.read(offset, len).ok().filter(|_| self.is_unchanged())
    }
}

fn written(meta: &Metadata) -> (i64, i64) {
    (meta.mtime(), meta.mtime_nsec())
}
