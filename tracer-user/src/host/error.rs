//! Why something about a process can't be told.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::exit::Exit;

/// A failure that names the process; one line, for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("/proc can't be read: {0}; heaptap needs it mounted")]
    NoProc(Errno),
    #[error("there is no process {pid}; heaptap ps lists the Go programs of this host")]
    Gone { pid: u32 },
    #[error("{tid} is a thread of process {pid}; give {pid}")]
    Thread { tid: u32, pid: u32 },
    #[error("process {pid} is a kernel thread, which runs no program")]
    KernelThread { pid: u32 },
    #[error("process {pid} has ended; its parent has not taken notice yet (zombie)")]
    Zombie { pid: u32 },
    #[error(
        "process {pid}: not allowed to read its {what}; it takes root or CAP_SYS_PTRACE, and the \
         kernel protects a few processes from those, too"
    )]
    Denied { pid: u32, what: &'static str },
    #[error(
        "process {pid}: not allowed to open its {what}, which only its owner may read; it takes root or \
         CAP_DAC_READ_SEARCH"
    )]
    Owners { pid: u32, what: &'static str },
    #[error("process {pid}: its {what} can't be read: {errno}")]
    Read { pid: u32, what: &'static str, errno: Errno },
    #[error(
        "no more files can be opened here, the limit is {limit}: raise it for this command \
         (`ulimit -n`, `LimitNOFILE=` of a service)"
    )]
    TooManyFiles { limit: u64 },
    #[error("process {pid}: its {what} is not what the kernel writes: {detail}")]
    Malformed { pid: u32, what: &'static str, detail: &'static str },
    #[error("process {pid} ended or started another program while it was looked at; try again")]
    Replaced { pid: u32 },
    #[error("process {pid} has more than {limit} mappings, more than heaptap looks at")]
    TooManyMappings { pid: u32, limit: usize },
    #[error("process {pid} has no executable mapping of {path:?}: it is starting, or unmapped it")]
    NotMapped { pid: u32, path: PathBuf },
}

impl Error {
    /// A read of /proc/`pid`/… that failed.
    pub(super) fn read(pid: u32, what: &'static str, error: &std::io::Error) -> Self {
        match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
            Errno::ENOENT | Errno::ESRCH => Error::Gone { pid },
            Errno::EACCES | Errno::EPERM => Error::Denied { pid, what },
            Errno::EMFILE => Error::too_many_files(),
            errno => Error::Read { pid, what, errno },
        }
    }

    /// heaptap's own limit is reached.
    pub fn too_many_files() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE);
        Error::TooManyFiles { limit: limit.map_or(0, |(soft, _)| soft) }
    }

    /// The exit code when this ends a command.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NoProc(_)
            | Error::TooManyFiles { .. }
            | Error::Read { .. }
            | Error::Malformed { .. } => Exit::Failure,
            Error::Denied { .. } | Error::Owners { .. } => Exit::Permission,
            Error::TooManyMappings { .. } => Exit::Unsupported,
            Error::Gone { .. }
            | Error::Thread { .. }
            | Error::KernelThread { .. }
            | Error::Zombie { .. }
            | Error::Replaced { .. }
            | Error::NotMapped { .. } => Exit::Target,
        }
    }

    /// The process that it is about.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Error::NoProc(_) | Error::TooManyFiles { .. } => None,
            Error::Thread { tid, .. } => Some(*tid),
            Error::Gone { pid }
            | Error::KernelThread { pid }
            | Error::Zombie { pid }
            | Error::Denied { pid, .. }
            | Error::Owners { pid, .. }
            | Error::Read { pid, .. }
            | Error::Malformed { pid, .. }
            | Error::Replaced { pid }
            | Error::TooManyMappings { pid, .. }
            | Error::NotMapped { pid, .. } => Some(*pid),
        }
    }

    /// Whether more privileges would help.
    pub fn is_permission(&self) -> bool {
        matches!(self, Error::Denied { .. } | Error::Owners { .. })
    }
}
