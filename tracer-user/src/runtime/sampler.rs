//! The sampler switch: turns a program's heap sampler on by writing one word, and back again.
//!
//! In: a process's memory, opened for writing, and where `runtime.MemProfileRate` lies. Out: a
//! [`Sampler`] that puts the old value back when it ends, however it ends. Before the word is
//! written a [`Note`] of it is on disk: what a killed heaptap leaves on, the next one turns off.
//! The only place that writes into a program.

mod notes;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub use notes::{Note, Notes, Orphan};

use super::memory::MemoryError;
use crate::address::RuntimeAddr;
use crate::exit::Exit;
use notes::Kept;

/// Highest rate that is taken for one: a sample for each TiB.
pub const MAX_RATE: u64 = 1 << 40;

/// Why the sampler can't be switched.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("process {pid}: its sampler's rate reads {rate}, which can't be")]
    Implausible { pid: u32, rate: u64 },
    #[error("process {pid}: its sampler's rate can't be written: {errno}")]
    Write { pid: u32, errno: Errno },
    #[error("process {pid}: its sampler's rate was written and reads {found} instead of {rate}")]
    NotKept { pid: u32, rate: u64, found: u64 },
    #[error(
        "{}: no note of the switched sampler can be kept there, so nothing was written: {source}",
        path.display()
    )]
    Note { path: PathBuf, source: std::io::Error },
}

impl SamplerError {
    /// The exit code when this ends a command.
    pub fn exit(&self) -> Exit {
        match self {
            SamplerError::Memory(MemoryError::Gone { .. }) => Exit::Target,
            SamplerError::Memory(MemoryError::Refused { .. }) => Exit::Permission,
            SamplerError::Write { errno: Errno::EPERM | Errno::EACCES, .. } => Exit::Permission,
            _ => Exit::Failure,
        }
    }
}

/// `runtime.MemProfileRate` of one exec of one process.
#[derive(Debug)]
pub struct Rate {
    memory: File,
    pid: u32,
    at: RuntimeAddr,
}

impl Rate {
    /// `memory` is the process's opened `/proc/PID/mem`, readable and writable.
    pub fn new(memory: File, pid: u32, at: RuntimeAddr) -> Self {
        Self { memory, pid, at }
    }

    /// Mean bytes between samples; 0 when the sampler is off.
    pub fn read(&self) -> Result<u64, SamplerError> {
        let mut bytes = [0; 8];
        let rate = match self.memory.read_at(&mut bytes, self.at.0) {
            Ok(8) => u64::from_le_bytes(bytes),
            Ok(_) => return Err(MemoryError::Gone { pid: self.pid }.into()),
            Err(error) => {
                return Err(
                    self.failed(&error, |errno| MemoryError::Read { pid: self.pid, errno }.into())
                );
            }
        };
        if rate > MAX_RATE {
            return Err(SamplerError::Implausible { pid: self.pid, rate });
        }
        Ok(rate)
    }

    /// The word is aligned: the program sees the old value or the new one. (Where the kernel should
    /// copy by bytes, what it can see in between is another rate for one allocation.)
    fn write(&self, rate: u64) -> Result<(), SamplerError> {
        let pid = self.pid;
        match self.memory.write_at(&rate.to_le_bytes(), self.at.0) {
            Ok(8) => {}
            Ok(_) => return Err(MemoryError::Gone { pid }.into()),
            Err(error) => {
                return Err(self.failed(&error, |errno| SamplerError::Write { pid, errno }));
            }
        }
        match self.read()? {
            found if found == rate => Ok(()),
            found => Err(SamplerError::NotKept { pid, rate, found }),
        }
    }

    fn failed(
        &self,
        error: &std::io::Error,
        other: impl FnOnce(Errno) -> SamplerError,
    ) -> SamplerError {
        match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
            Errno::ESRCH => MemoryError::Gone { pid: self.pid }.into(),
            errno => other(errno),
        }
    }
}

/// What [`Sampler::enable`] did.
#[derive(Debug)]
pub enum Switched {
    /// It was off and is on now.
    On(Sampler),
    /// It was on, with this rate; nothing was written.
    AlreadyOn(u64),
}

/// How a switched sampler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The word is what it was.
    Restored,
    /// Somebody else has written this since; it was left.
    Changed(u64),
    /// The process has ended, or runs another program.
    Gone,
}

/// A sampler that heaptap has turned on; dropped, it is off again.
#[derive(Debug)]
pub struct Sampler {
    rate: Rate,
    kept: Option<Kept>,
    old: u64,
    new: u64,
}

impl Sampler {
    /// Turns the sampler on if it is off: keeps a note, then writes `new`.
    ///
    /// `note` tells which program it is; its rates are filled in here.
    ///
    /// # Errors
    /// The word can't be read or written, or no note can be kept: then nothing was written.
    pub fn enable(
        rate: Rate,
        new: u64,
        note: Note,
        notes: &Notes,
    ) -> Result<Switched, SamplerError> {
        let old = rate.read()?;
        if old != 0 {
            return Ok(Switched::AlreadyOn(old));
        }
        let kept = notes.keep(&Note { address: rate.at.0, old, new, ..note })?;
        let sampler = Self { rate, kept: Some(kept), old, new };
        // Should this fail halfway, dropping the sampler restores.
        sampler.rate.write(new)?;
        Ok(Switched::On(sampler))
    }

    /// Takes over what a heaptap that is no more has left on.
    pub fn adopt(rate: Rate, orphan: Orphan) -> Self {
        let Note { old, new, .. } = orphan.note;
        Self { rate, kept: Some(orphan.kept), old, new }
    }

    /// Mean bytes between samples since it is on.
    pub fn rate(&self) -> u64 {
        self.new
    }

    /// Where the note is kept.
    pub fn note(&self) -> Option<&Path> {
        self.kept.as_ref().map(Kept::path)
    }

    /// Puts the old value back and takes the note away.
    ///
    /// # Errors
    /// The word can't be read or written; the note stays for a later try.
    pub fn restore(mut self) -> Result<Restored, SamplerError> {
        self.put_back()
    }

    fn put_back(&mut self) -> Result<Restored, SamplerError> {
        let gone =
            |error: &SamplerError| matches!(error, SamplerError::Memory(MemoryError::Gone { .. }));
        let found = match self.rate.read() {
            Err(error) if gone(&error) => Ok(Restored::Gone),
            Err(error) => Err(error),
            Ok(found) if found != self.new => Ok(Restored::Changed(found)),
            Ok(_) => match self.rate.write(self.old) {
                Err(error) if gone(&error) => Ok(Restored::Gone),
                written => written.map(|()| Restored::Restored),
            },
        };
        if found.is_ok()
            && let Some(kept) = self.kept.take()
        {
            kept.remove();
        }
        found
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        if self.kept.is_some() {
            // What fails stays noted.
            let _ = self.put_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file stands for memory.
    struct Made {
        dir: tempfile::TempDir,
        notes: Notes,
    }

    const AT: u64 = 64;

    impl Made {
        fn new(rate: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let notes = Notes::in_dir(dir.path().join("notes"));
            let made = Self { dir, notes };
            fs::write(made.path(), [0; 128]).unwrap();
            made.set(rate);
            made
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("mem")
        }

        fn word(&self) -> Rate {
            let file = File::options().read(true).write(true).open(self.path()).unwrap();
            Rate::new(file, 7, RuntimeAddr(AT))
        }

        fn get(&self) -> u64 {
            self.word().read().unwrap()
        }

        fn set(&self, rate: u64) {
            self.word().memory.write_all_at(&rate.to_le_bytes(), AT).unwrap();
        }

        fn note(&self) -> Note {
            Note { pid: 7, start: 99, dev: 1, ino: 2, address: 0, old: 0, new: 0 }
        }

        fn on(&self) -> Sampler {
            match Sampler::enable(self.word(), 4096, self.note(), &self.notes).unwrap() {
                Switched::On(sampler) => sampler,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn it_is_on_while_it_lives_and_noted_as_long() {
        let made = Made::new(0);
        let sampler = made.on();
        assert_eq!((made.get(), sampler.rate()), (4096, 4096));
        let path = sampler.note().unwrap().to_path_buf();
        assert!(path.is_file());
        assert!(made.notes.orphans().unwrap().is_empty(), "its owner lives");
        assert_eq!(sampler.restore().unwrap(), Restored::Restored);
        assert_eq!(made.get(), 0);
        assert!(!path.exists());
        drop(made.on());
        assert_eq!(made.get(), 0);
    }

    #[test]
    fn a_panic_restores() {
        let made = Made::new(0);
        let panicked = std::panic::catch_unwind(|| {
            let _sampler = made.on();
            panic!("on purpose");
        });
        assert!(panicked.is_err());
        assert_eq!(made.get(), 0);
    }

    #[test]
    fn one_that_is_on_is_left_alone() {
        let made = Made::new(524_288);
        let switched = Sampler::enable(made.word(), 4096, made.note(), &made.notes).unwrap();
        assert!(matches!(switched, Switched::AlreadyOn(524_288)));
        assert_eq!(made.get(), 524_288);
        assert!(!made.dir.path().join("notes").exists());
    }

    #[test]
    fn what_somebody_else_has_written_since_is_left() {
        let made = Made::new(0);
        let sampler = made.on();
        made.set(1);
        assert_eq!(sampler.restore().unwrap(), Restored::Changed(1));
        assert_eq!(made.get(), 1);
        assert!(made.notes.orphans().unwrap().is_empty());
    }

    #[test]
    fn a_process_that_has_ended_needs_nothing() {
        let made = Made::new(0);
        let sampler = made.on();
        fs::write(made.path(), []).unwrap();
        assert_eq!(sampler.restore().unwrap(), Restored::Gone);
        assert!(made.notes.orphans().unwrap().is_empty());
    }

    #[test]
    fn what_a_killed_owner_left_is_found_and_turned_off() {
        let made = Made::new(0);
        // As if killed: nothing is restored, and the kernel lets go of the lock.
        let mut sampler = made.on();
        sampler.kept.take().unwrap().abandon();
        drop(sampler);
        assert_eq!(made.get(), 4096);
        let mut orphans = made.notes.orphans().unwrap();
        let orphan = orphans.pop().unwrap();
        let expected = Note { address: AT, old: 0, new: 4096, ..made.note() };
        assert_eq!(orphan.note, expected);
        assert!(made.notes.orphans().unwrap().is_empty(), "one at a time looks after it");
        let sampler = Sampler::adopt(made.word(), orphan);
        assert_eq!(sampler.restore().unwrap(), Restored::Restored);
        assert_eq!(made.get(), 0);
        assert!(made.notes.orphans().unwrap().is_empty());
    }

    #[test]
    fn nothing_is_written_without_a_note() {
        let made = Made::new(0);
        fs::write(made.dir.path().join("notes"), "no directory").unwrap();
        let error = Sampler::enable(made.word(), 4096, made.note(), &made.notes).unwrap_err();
        assert!(matches!(error, SamplerError::Note { .. }), "{error}");
        assert_eq!(made.get(), 0);
    }

    #[test]
    fn a_word_that_can_be_no_rate_is_refused() {
        let made = Made::new(u64::MAX);
        let error = Sampler::enable(made.word(), 4096, made.note(), &made.notes).unwrap_err();
        assert!(error.to_string().contains("which can't be"), "{error}");
    }
}
