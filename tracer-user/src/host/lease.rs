//! Word of a file before it is written to.
//!
//! A probe that stays attached to a file that nobody runs must be off before the file's bytes change:
//! the kernel would put it into the new program at the old offset. While a program runs, its file can't
//! be written to; after that a lease (fcntl(2), F_SETLEASE) makes whoever opens it for writing wait
//! until it is given back. The kernel sends SIGIO then.

use std::{fs::File, io, os::fd::AsRawFd as _};

use nix::libc;

/// Held on an opened file; given back when dropped.
#[derive(Debug)]
pub struct Lease(File);

impl Lease {
    /// Takes a lease, where the file system and the user's rights allow one and nobody has the file
    /// open for writing. SIGIO must be caught: it ends a process otherwise.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn take(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // SAFETY: the descriptor is open, and this command takes an integer.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
            0 => Ok(Self(file)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        // SAFETY: the descriptor is open, and this command takes nothing.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) != libc::F_RDLCK }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: as above.
        let _ = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, thread, time::Duration};

    #[test]
    fn who_writes_waits_until_it_is_given_back() {
        let ignore = nix::sys::signal::SigHandler::SigIgn;
        // SAFETY: ignoring a signal is no handler function.
        unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGIO, ignore) }.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "old").unwrap();
        let file = File::open(&path).unwrap();
        let lease = Lease::take(&file).unwrap();
        assert!(!lease.is_wanted());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let writer = thread::spawn({
            let path = path.clone();
            move || fs::write(path, "new").unwrap()
        });
        while !lease.is_wanted() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 3);
        drop(lease);
        writer.join().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_is_being_written_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let _writer = File::create(&path).unwrap();
        assert!(Lease::take(&File::open(&path).unwrap()).is_err());
    }
}
