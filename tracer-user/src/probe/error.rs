//! What can go wrong between the loader and the kernel, with what the user can do about it.

use std::io;

use aya::programs::ProgramError;
use nix::libc;

use crate::address::FileOffset;
use crate::exit;

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
    Attach { program: &'static str, offset: FileOffset, source: super::syscall::Refused },
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
    #[error("facts about kernel programs: {0}")]
    Facts(super::syscall::Refused),
    #[error("kernel log: {0}")]
    Log(#[from] aya_log::Error),
    #[error("ring buffer: {0}")]
    Ring(io::Error),
}

impl Error {
    /// Whether the kernel said that a privilege is missing. What its verifier does not like it refuses with the same
    /// number, and in words.
    pub fn is_permission(&self) -> bool {
        self.verifier().is_none()
            && self.refusal().is_some_and(|err| err.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the kernel did not take what it was given, for whatever reason.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Load(_) | Error::Program { .. } | Error::Attach { .. })
    }

    /// Whether heaptap may not open more files.
    pub fn is_too_many_files(&self) -> bool {
        self.refusal().is_some_and(|err| err.raw_os_error() == Some(libc::EMFILE))
    }

    /// What the kernel said, in its words.
    pub fn reason(&self) -> Option<String> {
        self.verifier().or_else(|| self.refusal().map(|err| err.to_string()))
    }

    /// What the kernel's verifier does not like about a program, in its words.
    fn verifier(&self) -> Option<String> {
        let Error::Program { source: ProgramError::LoadError { verifier_log, .. }, .. } = self
        else {
            return None;
        };
        verdict(&verifier_log.to_string())
    }

    /// What happened, and what the kernel said of it, in one line.
    pub fn line(&self) -> String {
        match self.verifier() {
            Some(verdict) => format!("{self}: its verifier says: {verdict}"),
            None => exit::one_line(self),
        }
    }

    /// What the kernel said.
    fn refusal(&self) -> Option<io::Error> {
        let told = |err: &io::Error| match err.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(err.kind(), err.to_string()),
        };
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(err) = source {
            if let Some(io) = err.downcast_ref::<io::Error>() {
                return Some(told(io));
            }
            if let Some(call) = err.downcast_ref::<aya::sys::SyscallError>() {
                return Some(told(&call.io_error));
            }
            if let Some(refused) = err.downcast_ref::<super::syscall::Refused>() {
                return Some(refused.errno.into());
            }
            source = err.source();
        }
        None
    }
}

/// The last words of a verifier's log: what comes behind the last instruction and before its own figures.
fn verdict(log: &str) -> Option<String> {
    let is_figure = |line: &str| {
        ["processed ", "verification time ", "stack depth "].iter().any(|of| line.starts_with(of))
    };
    // `1162: (69) r5 = *(u16 *)(r1 +0)`, `from 12 to 14: R0=…`
    let is_code = |line: &str| {
        line.starts_with(|c: char| c.is_ascii_digit() || c == ';') || line.starts_with("from ")
    };
    let lines = log.lines().map(str::trim).filter(|line| !line.is_empty() && !is_figure(line));
    let last: Vec<&str> = lines.rev().take_while(|line| !is_code(line)).take(3).collect();
    (!last.is_empty()).then(|| last.into_iter().rev().collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_verifiers_log_the_last_words_are_told() {
        let log = "1161: (0f) r1 += r4    ; R1_w=map_value(off=160)\n\
                   1162: (69) r5 = *(u16 *)(r1 +0)\n\
                   invalid access to map value, value_size=914 off=914 size=2\n\
                   R1 max value is outside of the allowed memory range\n\
                   verification time 2018210 usec\nstack depth 272+0+0+0\n\
                   processed 37165 insns (limit 1000000) max_states_per_insn 20\n";
        let told = "invalid access to map value, value_size=914 off=914 size=2; \
                    R1 max value is outside of the allowed memory range";
        assert_eq!(verdict(log).as_deref(), Some(told));
        assert_eq!(verdict(""), None);
    }
}
