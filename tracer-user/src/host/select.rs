//! Choosing processes.

use std::ffi::OsString;
use std::path::PathBuf;

/// Which processes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, in ascending order, without duplicates.
    Pids(Vec<u32>),
    /// Every process that runs this file, or has this path in its own view of the file system.
    Exe(PathBuf),
    /// Every process whose command name matches this glob.
    Comm(OsString),
    /// Every process.
    All,
}
