//! The file that a process runs, opened: what is read and probed later is what runs, whatever
//! happens to the path.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::libc;

use super::error::Error;
use super::process::Identity;

/// What the kernel appends to the name of a file that is no longer there (`d_path`).
const DELETED: &[u8] = b" (deleted)";

/// What stands for a path that is longer than the kernel tells (`PATH_MAX`). The file is opened without it.
const TOO_LONG: &str = "[path too long]";

/// Where the file of a process lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExePath {
    /// As the process sees it: inside its container or chroot.
    pub path: PathBuf,
    /// No longer at that path: removed, or replaced by an upgrade.
    pub deleted: bool,
    /// As /proc/PID/exe and /proc/PID/maps write it.
    pub(super) link: PathBuf,
}

/// Which file, as it is now: one that is written to, or another one with its inode number, differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    pub dev: u64,
    pub ino: u64,
    /// When it was changed last: seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl FileKey {
    fn of(metadata: &fs::Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self { dev: metadata.dev(), ino: metadata.ino(), changed }
    }
}

/// Which file a process runs, without opening it.
///
/// # Errors
/// The process is gone, runs no file, or may not be looked at.
pub fn exe_key(pid: u32) -> Result<FileKey, Error> {
    let metadata = fs::metadata(super::process::dir(pid).join("exe"));
    metadata.map(|m| FileKey::of(&m)).map_err(|e| Error::read(pid, "executable", &e))
}

/// The file that a process runs.
#[derive(Debug)]
pub struct ExeFile {
    pub file: File,
    pub key: FileKey,
    pub path: PathBuf,
    pub deleted: bool,
    /// The process that it was opened through.
    pub process: Identity,
    link: PathBuf,
}

impl ExeFile {
    /// How /proc/PID/maps names the file.
    pub(super) fn link(&self) -> &Path {
        &self.link
    }

    /// Whether the process still runs this file. An exec of the same file is not noticed.
    pub fn still_runs(&self) -> bool {
        let dir = super::process::dir(self.process.pid);
        let same = fs::metadata(dir.join("exe")).is_ok_and(|m| (m.dev(), m.ino()) == self.inode());
        same && self.process.check(&dir).is_ok()
    }

    /// The file, opened once more.
    ///
    /// # Errors
    /// heaptap may not open more.
    pub fn duplicate(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|err| Error::read(self.process.pid, "executable", &err))
    }

    /// Device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.key.dev, self.key.ino)
    }
}

/// Opens the file that a process runs.
///
/// # Errors
/// The process is gone, is none that can be traced, may not be looked at, or changed meanwhile.
pub fn open_exe(pid: u32) -> Result<ExeFile, Error> {
    let dir = &super::process::dir(pid);
    let process = Identity::read(dir, pid)?;
    let ExePath { path, deleted, link } = exe_path(dir, pid)?;
    let error = |e: std::io::Error| Error::read(pid, "executable", &e);
    let file = File::open(dir.join("exe")).map_err(|err| match error(err) {
        // The process may be looked at: its link was read. The file's own mode is what forbids it.
        Error::Denied { pid, what } => Error::Owners { pid, what },
        other => other,
    })?;
    let metadata = file.metadata().map_err(error)?;
    let key = FileKey::of(&metadata);
    let exe = ExeFile { file, key, path, deleted, process, link };
    // An exec between the steps would pair one file with another one's path.
    let same_link = read_exe(dir).is_ok_and(|link| link == exe.link);
    if !same_link || !exe.still_runs() {
        return Err(Error::Replaced { pid });
    }
    Ok(exe)
}

/// Opens the memory of the process that runs this file, for reading. What is opened is that one
/// exec's memory: after an exec or the process's end nothing can be read through it any more, and
/// another process with the same pid is never read.
///
/// # Errors
/// The process is gone or runs something else, or may not be looked at.
pub fn open_memory(exe: &ExeFile) -> Result<File, Error> {
    open_memory_as(exe, File::options().read(true))
}

/// The same for writing too. heaptap writes one word into a program, when it is told to.
///
/// # Errors
/// As [`open_memory`].
pub fn open_writable_memory(exe: &ExeFile) -> Result<File, Error> {
    open_memory_as(exe, File::options().read(true).write(true))
}

fn open_memory_as(exe: &ExeFile, options: &OpenOptions) -> Result<File, Error> {
    let pid = exe.process.pid;
    let path = super::process::dir(pid).join("mem");
    let memory = options.open(path).map_err(|e| Error::read(pid, "memory", &e))?;
    if exe.still_runs() { Ok(memory) } else { Err(Error::Replaced { pid }) }
}

/// Reads where the file lies.
pub(super) fn exe_path(dir: &Path, pid: u32) -> Result<ExePath, Error> {
    let error = |e: std::io::Error| Error::read(pid, "executable", &e);
    let link = read_exe(dir).map_err(error)?;
    let root = fs::read_link(dir.join("root")).unwrap_or_else(|_| PathBuf::from("/"));
    let bytes = link.as_os_str().as_bytes();
    let named = bytes.strip_suffix(DELETED).filter(|_| !exists_so_named(dir, &link));
    let path = Path::new(OsStr::from_bytes(named.unwrap_or(bytes)));
    Ok(ExePath { path: below(&root, path), deleted: named.is_some(), link })
}

/// What the kernel says that runs.
fn read_exe(dir: &Path) -> io::Result<PathBuf> {
    match fs::read_link(dir.join("exe")) {
        Err(err) if err.raw_os_error() == Some(libc::ENAMETOOLONG) => Ok(TOO_LONG.into()),
        read => read,
    }
}

/// Whether a file whose name ends in ` (deleted)` is really called so.
fn exists_so_named(dir: &Path, link: &Path) -> bool {
    let key = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let Ok(inside) = link.strip_prefix("/") else { return false };
    let so_named = key(&dir.join("root").join(inside));
    so_named.is_some() && so_named == key(&dir.join("exe"))
}

/// A chroot's path without the chroot. (Of a process in another mount namespace the kernel gives
/// the path inside it already, and its root is `/`.)
fn below(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(root) {
        Ok(inside) => Path::new("/").join(inside),
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::tests::Sleeper;
    use std::os::unix::fs::symlink;

    fn exe_of(sleeper: &Sleeper) -> ExeFile {
        open_exe(sleeper.pid()).unwrap()
    }

    #[test]
    fn the_file_of_a_process_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sleeper");
        let sleeper = Sleeper::copy_to(&file);
        let exe = exe_of(&sleeper);
        assert_eq!((exe.path.as_path(), exe.deleted), (file.as_path(), false));
        assert_eq!(exe.file.metadata().unwrap().ino(), fs::metadata(&file).unwrap().ino());
        assert_eq!(exe.process.pid, sleeper.pid());
    }

    #[test]
    fn a_deleted_file_is_opened_and_said_to_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("with space");
        let sleeper = Sleeper::copy_to(&file);
        let before = exe_of(&sleeper);
        fs::remove_file(&file).unwrap();
        let exe = exe_of(&sleeper);
        assert_eq!((exe.path.as_path(), exe.deleted), (file.as_path(), true));
        assert_eq!(exe.inode(), before.inode());
    }

    #[test]
    fn a_file_that_is_called_deleted_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x (deleted)");
        let sleeper = Sleeper::copy_to(&file);
        let exe = exe_of(&sleeper);
        assert_eq!((exe.path.as_path(), exe.deleted), (file.as_path(), false));
        fs::remove_file(&file).unwrap();
        let exe = exe_of(&sleeper);
        assert_eq!((exe.path.as_path(), exe.deleted), (file.as_path(), true));
    }

    #[test]
    fn memory_is_that_of_one_process() {
        use std::os::unix::fs::FileExt;
        let mut sleeper = Sleeper::start();
        let exe = exe_of(&sleeper);
        let memory = open_memory(&exe).unwrap();
        let mappings = crate::host::mappings(sleeper.pid()).unwrap();
        let text = mappings.iter().find(|m| m.executable).unwrap();
        assert_eq!(memory.read_at(&mut [0], text.start.0).unwrap(), 1);
        sleeper.end();
        assert_eq!(memory.read_at(&mut [0], text.start.0).unwrap(), 0);
        assert_eq!(open_memory(&exe).unwrap_err(), Error::Gone { pid: sleeper.pid() });
    }

    #[test]
    fn a_process_that_is_not_there_has_no_file() {
        let mut sleeper = Sleeper::start();
        let exe = exe_of(&sleeper);
        assert!(exe.still_runs());
        sleeper.end();
        assert!(!exe.still_runs());
        let error = open_exe(sleeper.pid()).expect_err("it has ended");
        assert_eq!(error, Error::Gone { pid: sleeper.pid() });
    }

    #[test]
    fn paths_in_a_chroot_are_what_the_process_sees() {
        let root = Path::new("/srv/jail");
        assert_eq!(below(root, Path::new("/srv/jail/bin/app")), Path::new("/bin/app"));
        assert_eq!(below(root, Path::new("/srv/jailed/app")), Path::new("/srv/jailed/app"));
        assert_eq!(below(Path::new("/"), Path::new("/bin/app")), Path::new("/bin/app"));
        assert_eq!(below(Path::new("/"), Path::new("memfd:x")), Path::new("memfd:x"));
    }

    #[test]
    fn names_are_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let odd = OsStr::from_bytes(b"/tmp/\xff\n(deleted) (deleted)");
        symlink(odd, dir.path().join("exe")).unwrap();
        let exe = exe_path(dir.path(), 1).unwrap();
        assert_eq!(exe.path.as_os_str().as_bytes(), b"/tmp/\xff\n(deleted)");
        assert!(exe.deleted);
    }
}
