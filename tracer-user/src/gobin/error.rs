//! What can be wrong with a file that should be a Go binary. Each reads as one line.

use std::io;

use super::facts::GoVersion;
use super::module::NEWEST;

/// Why a file can't be used as a Go binary.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't read {len} bytes at offset {offset:#x} of the file: {source}")]
    Read { offset: u64, len: u64, source: io::Error },
    #[error(
        "the file ends at {size:#x}, before the {len} bytes at offset {offset:#x} that its headers \
         promise: it is truncated or being written; try again with the whole file"
    )]
    Truncated { offset: u64, len: u64, size: u64 },
    #[error("not a regular file")]
    NotAFile,
    #[error("not an ELF file, so no Linux program")]
    NotElf,
    #[error("a {0} ELF file; heaptap reads 64-bit little-endian ones only")]
    Class(&'static str),
    #[error("built for another machine (ELF machine {0}); heaptap knows x86-64 and arm64")]
    Machine(u16),
    #[error(
        "built for {built}, which this machine ({host}) does not run; heaptap reads such a file, and \
         traces it where it runs"
    )]
    Foreign { built: &'static str, host: &'static str },
    #[error("an ELF file of type {0}, neither an executable nor a shared object")]
    Kind(u16),
    #[error("malformed ELF file: {0}")]
    BadElf(&'static str),
    #[error("no Go program: it has neither Go build information nor a Go function table")]
    NotGo,
    #[error("a Go program without a readable function table ({0}); it may be packed or damaged")]
    NoPclntab(&'static str),
    #[error(
        "made by Go {0}, older than 1.18, the oldest that heaptap knows; build it with a newer Go"
    )]
    TooOld(GoVersion),
    #[error(
        "made by Go {0}, newer than 1.{newest}, the newest that this heaptap knows; get a newer \
         heaptap or build it with Go 1.{newest}",
        newest = NEWEST
    )]
    TooNew(GoVersion),
    #[error(
        "made by a Go older than 1.18, the oldest that heaptap knows; build it with a newer Go"
    )]
    TooOldTable,
    #[error(
        "its function table has the unknown format {0:#010x}: made by a Go newer than this heaptap; \
         a newer heaptap is needed"
    )]
    UnknownTable(u32),
    #[error("the runtime's module record can't be found: {0}")]
    NoModule(&'static str),
    #[error("it holds {0} Go modules (plugins or -linkshared), which heaptap does not trace")]
    SeveralModules(usize),
    #[error("its Go runtime lies in another file (built with {0}), which heaptap does not trace")]
    SharedRuntime(&'static str),
    #[error("{what} is {size} bytes, more than the {limit} that heaptap accepts")]
    TooBig { what: &'static str, size: u64, limit: u64 },
    #[error("address {at:#x} (+{len}) is not in the file's loaded bytes")]
    NotLoaded { at: u64, len: u64 },
}
