//! Uploads that wait for their receiver, on disk: a queue with bounds that survives being killed at any moment.
//!
//! In: uploads, and what they may take in bytes and in age. Out: the oldest one, until it is done with. One
//! directory, which is this user's alone, holds one file for each upload; files are written under another name and
//! renamed, and hold a checksum, so that what was not written whole is found, counted and removed. Knows no
//! receiver and no network.
//!
//! Nothing is flushed to the disk: whoever is killed leaves what was written to the kernel, and what a power
//! failure takes is found by the checksum.

mod file;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg, OFlag};

pub use file::Upload;

/// How files that are complete end, and those that are not.
const WHOLE: &str = "upload";
const UNDER_WAY: &str = "part";
/// Whoever holds this file has the directory to itself.
const LOCK: &str = "lock";

/// What uploads may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of all files together.
    pub bytes: u64,
    /// Since they were made.
    pub age: Duration,
}

/// Uploads that are not there any more although nobody took them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// For want of room.
    pub full: u64,
    /// They had waited for too long.
    pub old: u64,
    /// They were not whole.
    pub torn: u64,
    /// They could not be written or read.
    pub failed: u64,
}

/// Why there is no spool, or no upload in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: is no directory (links are not followed)", path.display())]
    NoDirectory { path: PathBuf },
    #[error("{}: belongs to user {owner}, not to this one ({user})", path.display())]
    Others { path: PathBuf, owner: u32, user: u32 },
    #[error("{}: others can write there (mode {mode:04o}): chmod 700", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{}: another agent uses it", path.display())]
    InUse { path: PathBuf },
}

/// The number of an upload: later ones have higher ones, and none is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(u64);

/// An upload that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: Number,
    made: SystemTime,
    bytes: u64,
}

/// A queue in a directory.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    bounds: Bounds,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    bytes: u64,
    next: u64,
    /// It is on its way: it is not dropped.
    on_its_way: Option<Number>,
    dropped: Dropped,
    _lock: Flock<File>,
}

impl Spool {
    /// Opens the queue of a directory, which is made if it isn't there. What an earlier one left there waits again.
    ///
    /// # Errors
    /// The directory can't be used, or is another user's, or another process has it.
    pub fn open(dir: &Path, bounds: Bounds, now: SystemTime) -> Result<Self, Error> {
        let lock = take(dir)?;
        let mut spool = Self {
            dir: dir.to_owned(),
            bounds,
            waiting: VecDeque::new(),
            bytes: 0,
            next: 0,
            on_its_way: None,
            dropped: Dropped::default(),
            _lock: lock,
        };
        spool.find()?;
        spool.drop_old(now);
        spool.make_room(0);
        Ok(spool)
    }

    /// Puts an upload behind the others; the oldest ones go if there is no room.
    ///
    /// # Errors
    /// It can't be written, and is dropped.
    pub fn push(&mut self, upload: &Upload) -> Result<(), Error> {
        self.drop_old(upload.made);
        let bytes = upload.bytes();
        if bytes > self.bounds.bytes {
            self.dropped.full += 1;
            return Ok(());
        }
        self.make_room(bytes);
        let number = Number(self.next);
        self.next += 1;
        if let Err(error) = self.write(number, upload) {
            self.dropped.failed += 1;
            return Err(error);
        }
        self.waiting.push_back(Waiting { number, made: upload.made, bytes });
        self.bytes += bytes;
        Ok(())
    }

    /// The oldest upload, which is on its way from here on: until [`Self::done`] or [`Self::later`].
    pub fn first(&mut self, now: SystemTime) -> Option<(Number, Upload)> {
        self.on_its_way = None;
        self.drop_old(now);
        while let Some(first) = self.waiting.front().copied() {
            match file::read(&self.path(first.number), self.bounds.bytes) {
                Ok(upload) => {
                    self.on_its_way = Some(first.number);
                    return Some((first.number, upload));
                }
                Err(file::Unread::Torn) => self.dropped.torn += 1,
                Err(file::Unread::Failed) => self.dropped.failed += 1,
            }
            self.remove(0);
        }
        None
    }

    /// Lets an upload go: it was taken, or never will be.
    pub fn done(&mut self, number: Number) {
        self.on_its_way = None;
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.number == number) {
            self.remove(at);
        }
    }

    /// It will be tried again.
    pub fn later(&mut self) {
        self.on_its_way = None;
    }

    /// How many uploads wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest one was made.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.waiting.front().map(|first| first.made)
    }

    /// Since it was opened.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn path(&self, number: Number) -> PathBuf {
        self.dir.join(format!("{:016x}.{WHOLE}", number.0))
    }

    fn write(&self, number: Number, upload: &Upload) -> Result<(), Error> {
        let part = self.dir.join(format!("{:016x}.{UNDER_WAY}", number.0));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let written = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&part)?;
            file.write_all(&upload.encode())
        };
        written().map_err(failed(&part)).inspect_err(|_| drop(fs::remove_file(&part)))?;
        let path = self.path(number);
        fs::rename(&part, &path).map_err(failed(&path))
    }

    /// Finds what is there; of what is not whole nothing stays. Files of other names are not touched.
    fn find(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.dir.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some((number, kind)) = named(&path) else { continue };
            self.next = self.next.max(number.saturating_add(1));
            let whole = (kind == WHOLE).then(|| file::made(&path)).flatten();
            match whole {
                Some((made, bytes)) => found.push(Waiting { number: Number(number), made, bytes }),
                None => {
                    self.dropped.torn += 1;
                    let _ = fs::remove_file(&path);
                }
            }
        }
        found.sort_by_key(|waiting| waiting.number);
        self.bytes = found.iter().map(|waiting| waiting.bytes).sum();
        self.waiting = found.into();
        Ok(())
    }

    fn drop_old(&mut self, now: SystemTime) {
        let is_old = |waiting: &Waiting, age| {
            now.duration_since(waiting.made).is_ok_and(|waited| waited > age)
        };
        while let Some(at) = self.may_go().filter(|at| is_old(&self.waiting[*at], self.bounds.age))
        {
            self.dropped.old += 1;
            self.remove(at);
        }
    }

    fn make_room(&mut self, more: u64) {
        while self.bytes + more > self.bounds.bytes {
            let Some(at) = self.may_go() else { return };
            self.dropped.full += 1;
            self.remove(at);
        }
    }

    /// The oldest one that is not on its way.
    fn may_go(&self) -> Option<usize> {
        let first = self.waiting.front()?;
        let at = usize::from(self.on_its_way == Some(first.number));
        (at < self.waiting.len()).then_some(at)
    }

    fn remove(&mut self, at: usize) {
        let Some(waiting) = self.waiting.remove(at) else { return };
        self.bytes -= waiting.bytes;
        // One that stays will be found by the next agent.
        let _ = fs::remove_file(self.path(waiting.number));
    }
}

/// The number and the kind that a file's name tells.
fn named(path: &Path) -> Option<(u64, &str)> {
    let (number, kind) = path.file_name()?.to_str()?.split_once('.')?;
    let number = (number.len() == 16).then(|| u64::from_str_radix(number, 16).ok())??;
    [WHOLE, UNDER_WAY].contains(&kind).then_some((number, kind))
}

/// Makes a directory that is this user's alone, or takes one that is.
///
/// # Errors
/// It can't be used, or is another user's.
pub fn own(dir: &Path) -> Result<(), Error> {
    let path = || dir.to_owned();
    let failed = |source| Error::Io { path: path(), source };
    if let Err(source) = DirBuilder::new().recursive(true).mode(0o700).create(dir)
        && source.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(failed(source));
    }
    // What is checked is what is opened.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(dir)
        .map_err(|source| match source.raw_os_error() {
            Some(code) if code == nix::libc::ENOTDIR || code == nix::libc::ELOOP => {
                Error::NoDirectory { path: path() }
            }
            _ => failed(source),
        })?;
    let found = opened.metadata().map_err(failed)?;
    let (owner, user) = (found.uid(), nix::unistd::geteuid().as_raw());
    if owner != user {
        return Err(Error::Others { path: path(), owner, user });
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Error::Open { path: path(), mode });
    }
    if mode & 0o077 != 0 {
        opened.set_permissions(PermissionsExt::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Takes a directory for this process alone.
fn take(dir: &Path) -> Result<Flock<File>, Error> {
    own(dir)?;
    let path = || dir.to_owned();
    let failed = |source| Error::Io { path: path(), source };
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(dir.join(LOCK))
        .map_err(failed)?;
    Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => Error::InUse { path: path() },
        other => failed(other.into()),
    })
}

#[cfg(test)]
mod tests;
