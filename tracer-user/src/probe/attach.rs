//! Attaches programs to sites and takes them off again.
//!
//! By file offset through a file that is already open: what was decoded is what is probed, whatever
//! happened to the path since. The bytes at the site are compared with the decoded ones first.

use std::{
    fs::File,
    num::NonZeroU32,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    thread,
};

use aya::{
    Ebpf,
    programs::{
        RawTracePoint, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use tracer_common::Cookie;

use super::{Error, Kernel};
use crate::address::FileOffset;

pub(super) type Link = UProbeLink;

/// The uprobe programs of the kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Every allocation, at P of the allocation functions.
    Alloc,
    /// At P of `runtime.(*mcache).refill`.
    SpanRefill,
    /// At P of `runtime.(*mcache).allocLarge`.
    SpanLarge,
    /// Does nothing: what one trap costs without us.
    Empty,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Alloc => "alloc",
            Program::SpanRefill => "span_refill",
            Program::SpanLarge => "span_large",
            Program::Empty => "empty",
        }
    }
}

/// Which processes that run the file take the trap at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every process that maps the file, now or later.
    File,
    /// This one only: others that run the same file are not slowed down.
    Process(NonZeroU32),
}

/// One program at one site.
#[derive(Clone, Debug)]
pub struct Attachment<'a> {
    pub program: Program,
    pub file: &'a File,
    pub offset: FileOffset,
    /// What was decoded there; compared with the file before attaching.
    pub expected: &'a [u8],
    pub cookie: Cookie,
    pub scope: Scope,
}

impl Kernel {
    /// Attaches one program to one site.
    pub fn attach(&mut self, at: &Attachment<'_>) -> Result<(), Error> {
        check_bytes(at)?;
        let name = at.program.name();
        let program: &mut UProbe = self
            .ebpf
            .program_mut(name)
            .ok_or(Error::Missing(name))?
            .try_into()
            .map_err(|source| Error::Program { program: name, source })?;
        if self.loaded.insert(at.program) {
            program.load().map_err(|source| Error::Program { program: name, source })?;
        }
        let scope = match at.scope {
            Scope::File => UProbeScope::AllProcesses,
            Scope::Process(pid) => UProbeScope::OneProcess(pid),
        };
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(at.offset.0),
            cookie: Some(at.cookie.pack()),
        };
        // Not the file's path: it may name another file by now, or none.
        let path = format!("/proc/self/fd/{}", at.file.as_raw_fd());
        let attach_error = |source| Error::Attach { program: name, offset: at.offset, source };
        let id = program.attach(point, path, scope).map_err(attach_error)?;
        self.links.push(program.take_link(id).map_err(attach_error)?);
        Ok(())
    }

    /// How many sites are attached.
    pub fn attached(&self) -> usize {
        self.links.len()
    }

    /// Takes every uprobe off. When this returns no program is running any more.
    ///
    /// Each removal waits for the kernel's RCU (about 0.1 s), so they wait side by side.
    pub fn detach(&mut self) {
        thread::scope(|scope| {
            for link in self.links.drain(..) {
                scope.spawn(move || drop(link));
            }
        });
    }
}

/// Attaches a raw tracepoint for as long as the object lives.
pub(super) fn raw_tracepoint(
    ebpf: &mut Ebpf,
    program: &'static str,
    tracepoint: &str,
) -> Result<(), Error> {
    let refused = |source| Error::Program { program, source };
    let raw: &mut RawTracePoint =
        ebpf.program_mut(program).ok_or(Error::Missing(program))?.try_into().map_err(refused)?;
    raw.load().map_err(refused)?;
    raw.attach(tracepoint).map_err(refused)?;
    Ok(())
}

fn check_bytes(at: &Attachment<'_>) -> Result<(), Error> {
    let mut found = vec![0; at.expected.len()];
    at.file
        .read_exact_at(&mut found, at.offset.0)
        .map_err(|source| Error::Read { offset: at.offset, source })?;
    if found != at.expected {
        return Err(Error::Site { offset: at.offset, expected: at.expected.to_vec(), found });
    }
    Ok(())
}
