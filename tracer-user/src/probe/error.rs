//! What can go wrong between the loader and the kernel, with what the user can do about it.

use std::io;

use nix::libc;

use crate::address::FileOffset;

/// A failure of loading, attaching or draining.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the kernel did not take heaptap's programs (`heaptap doctor` says what is missing)")]
    Load(#[from] aya::EbpfError),
    #[error("the kernel refused program {program} (`heaptap doctor` says what is missing)")]
    Program { program: &'static str, source: aya::programs::ProgramError },
    #[error("heaptap's kernel object can't be prepared: {0}")]
    Object(#[from] aya_obj::ParseError),
    #[error("heaptap's kernel object can't be relocated: {0}")]
    Relocation(#[from] aya_obj::relocation::EbpfRelocationError),
    #[error("can't attach {program} at file offset {offset}")]
    Attach { program: &'static str, offset: FileOffset, source: aya::programs::ProgramError },
    #[error(
        "file offset {offset} holds {found:02x?} and not the {expected:02x?} that was decoded: the file has changed"
    )]
    Site { offset: FileOffset, expected: Vec<u8>, found: Vec<u8> },
    #[error("can't read the file to attach to at offset {offset}: {source}")]
    Read { offset: FileOffset, source: io::Error },
    #[error("heaptap's kernel object has no {0}; it was built from other sources")]
    Missing(&'static str),
    #[error(
        "heaptap's kernel object counts {has} things and not {needs}; it was built from other sources"
    )]
    OtherSources { has: u32, needs: u32 },
    #[error("kernel map {map}: {source}")]
    Map { map: &'static str, source: aya::maps::MapError },
    #[error("kernel map {map}: {source}")]
    Batch { map: &'static str, source: super::syscall::Refused },
    #[error("kernel log: {0}")]
    Log(#[from] aya_log::Error),
    #[error("ring buffer: {0}")]
    Ring(io::Error),
}

impl Error {
    /// Whether the kernel said that a privilege is missing.
    pub fn is_permission(&self) -> bool {
        self.refusal().is_some_and(|err| err.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether heaptap may not open more files.
    pub fn is_too_many_files(&self) -> bool {
        self.refusal().is_some_and(|err| err.raw_os_error() == Some(libc::EMFILE))
    }

    /// What the kernel said, in its words.
    pub fn reason(&self) -> Option<String> {
        self.refusal().map(io::Error::to_string)
    }

    /// What the kernel said.
    fn refusal(&self) -> Option<&io::Error> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(err) = source {
            if let Some(io) = err.downcast_ref::<io::Error>() {
                return Some(io);
            }
            if let Some(call) = err.downcast_ref::<aya::sys::SyscallError>() {
                return Some(&call.io_error);
            }
            source = err.source();
        }
        None
    }
}
