//! Notes of switched samplers, one file each, for the case that heaptap is killed.
//!
//! In and out: [`Note`]s in a directory that nobody else may write to. A note's file is locked by the
//! heaptap that it is of, and the kernel lets go of the lock when that one ends: a note that can be
//! locked is an [`Orphan`].

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SamplerError;

/// Most bytes of a note.
const LONGEST: u64 = 4096;
/// Most notes that are looked at.
const MOST: usize = 10_000;
const PREFIX: &str = "sampler-";
const SUFFIX: &str = ".json";

/// What was written where, and what stood there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub pid: u32,
    /// Start of the process, in clock ticks since boot.
    pub start: u64,
    /// The file that it runs.
    pub dev: u64,
    pub ino: u64,
    /// Of `runtime.MemProfileRate` in the process.
    pub address: u64,
    pub old: u64,
    pub new: u64,
}

/// Where notes are kept.
#[derive(Clone, Debug)]
pub struct Notes {
    dir: PathBuf,
}

/// The file of a note, locked.
#[derive(Debug)]
pub(super) struct Kept {
    /// Holds the lock.
    file: File,
    path: PathBuf,
}

/// A note whose heaptap is no more.
#[derive(Debug)]
pub struct Orphan {
    pub note: Note,
    pub(super) kept: Kept,
}

impl Orphan {
    /// Takes the note away: there is nothing to restore.
    pub fn dismiss(self) {
        self.kept.remove();
    }
}

impl Kept {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the note away; the lock ends after the name does.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
        drop(self.file);
    }

    /// As the kernel does it with what a killed process held.
    #[cfg(test)]
    pub fn abandon(self) {
        drop(self.file);
    }
}

impl Notes {
    /// Notes in this directory, which is made when it is needed.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes a note and holds it.
    pub(super) fn keep(&self, note: &Note) -> Result<Kept, SamplerError> {
        let path = self.dir.join(format!("{PREFIX}{}-{}{SUFFIX}", note.pid, note.start));
        self.try_keep(note, &path).map_err(|source| SamplerError::Note { path, source })
    }

    fn try_keep(&self, note: &Note, path: &Path) -> io::Result<Kept> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.check_owner()?;
        // It gets its name when it is complete and locked.
        let mut file = tempfile::Builder::new().prefix(".sampler").tempfile_in(&self.dir)?;
        file.as_file().try_lock().map_err(io::Error::other)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        file.as_file().sync_all()?;
        let file = file.persist(path).map_err(|error| error.error)?;
        Ok(Kept { file, path: path.to_owned() })
    }

    /// A directory that others may write to could make heaptap write words of their choice.
    fn check_owner(&self) -> io::Result<()> {
        let dir = fs::symlink_metadata(&self.dir)?;
        let own = dir.is_dir() && dir.uid() == nix::unistd::geteuid().as_raw();
        if own && dir.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err(io::Error::other("it is not a directory that heaptap's user alone may write to"))
    }

    /// Notes whose heaptap is no more; what is no note is left alone.
    ///
    /// # Errors
    /// The directory can't be listed, or others may write to it.
    pub fn orphans(&self) -> io::Result<Vec<Orphan>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        self.check_owner()?;
        let mut orphans = Vec::new();
        for entry in entries.take(MOST) {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                orphans.extend(orphan(entry.path()));
            }
        }
        Ok(orphans)
    }
}

/// Nothing when it is held, gone or no note.
fn orphan(path: PathBuf) -> Option<Orphan> {
    let file = File::options().read(true).write(true).open(&path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    // Somebody may have looked after it between opening and locking.
    if file.metadata().ok()?.nlink() == 0 {
        return None;
    }
    let mut text = Vec::new();
    (&file).take(LONGEST).read_to_end(&mut text).ok()?;
    let note = serde_json::from_slice(&text).ok()?;
    Some(Orphan { note, kept: Kept { file, path } })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn note() -> Note {
        Note { pid: 7, start: 99, dev: 1, ino: 2, address: 64, old: 0, new: 4096 }
    }

    #[test]
    fn what_is_no_note_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::in_dir(dir.path().to_owned());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let broken = ["", "{", "null", r#"{"pid":7}"#, "\u{0}\u{0}"];
        for (at, text) in broken.into_iter().enumerate() {
            fs::write(dir.path().join(format!("sampler-{at}.json")), text).unwrap();
        }
        fs::write(dir.path().join("other.json"), "{}").unwrap();
        fs::create_dir(dir.path().join("sampler-dir.json")).unwrap();
        let huge = format!("{}{}", " ".repeat(8192), serde_json::to_string(&note()).unwrap());
        fs::write(dir.path().join("sampler-huge.json"), huge).unwrap();
        assert!(notes.orphans().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), broken.len() + 3);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::in_dir(dir.path().to_owned());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(notes.keep(&note()).unwrap_err().to_string().contains("alone may write"));
        assert!(notes.orphans().is_err());
    }

    #[test]
    fn no_directory_means_no_notes() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Notes::in_dir(dir.path().join("none")).orphans().unwrap().is_empty());
    }
}
