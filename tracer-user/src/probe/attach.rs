//! Attaches programs to sites and takes them off again.
//!
//! By file offset through a file that is already open: what was decoded is what is probed, whatever
//! happened to the path since. The bytes at the site are compared with the decoded ones first.

use std::{
    ffi::{CStr, CString},
    fs::File,
    num::NonZeroU32,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    time::Duration,
};

use aya::{
    Ebpf,
    programs::{RawTracePoint, UProbe},
};
use tracer_common::Cookie;

use super::{
    Error, GroupId, Kernel,
    groups::Held,
    syscall::{MultiSites, link_with_cookie, open_uprobe},
};
use crate::address::FileOffset;

/// The uprobe programs of the kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Every allocation, at P of the allocation functions.
    Alloc,
    /// The allocator's slow path; the cookie says which of its sites.
    Span,
    /// At P of `runtime.profilealloc`.
    SampleAlloc,
    /// At P of `runtime.freeSpecial`.
    SampleFree,
    /// Where iterations over maps begin; counts them.
    MapCount,
    /// The same; follows them too.
    MapStart,
    /// At each of their steps.
    MapNext,
    /// Where a step finds the end.
    MapEnd,
    /// A goroutine is made, in `runtime.newproc1`.
    GoroutineNew,
    /// One ends.
    GoroutineEnd,
    /// A goroutine's stack is moved, at P of `runtime.copystack`.
    StackMove,
    /// Values put into interfaces, at P of the runtime's functions for that.
    Box,
    /// Slices and strings, at the runtime's functions that make, grow and build them.
    Slice,
    /// At P of `sync.(*Pool).Get`.
    PoolGet,
    /// Where that has found nothing.
    PoolMiss,
    /// At P of `sync.(*Pool).Put`.
    PoolPut,
    /// A goroutine begins to assist the collector, at P of `runtime.gcAssistAlloc`.
    AssistBegin,
    /// It ends that: where that returns.
    AssistEnd,
    /// It marks, at P of `runtime.gcAssistAlloc1`.
    AssistMark,
    /// It does so no more: where that returns.
    AssistMarked,
    /// The end of a collection, at P of `runtime.mProf_Flush`.
    Gc,
    /// A span is asked for, at P of `runtime.(*mheap).alloc`.
    OsSpanBegin,
    /// It is there: where that returns.
    OsSpanEnd,
    /// Does nothing: what one trap costs without us.
    Empty,
}

impl Program {
    /// All that recording attaches.
    pub const RECORDING: &[Program] = &[
        Program::Alloc,
        Program::Span,
        Program::SampleAlloc,
        Program::SampleFree,
        Program::MapCount,
        Program::MapStart,
        Program::MapNext,
        Program::MapEnd,
        Program::GoroutineNew,
        Program::GoroutineEnd,
        Program::StackMove,
        Program::Box,
        Program::Slice,
        Program::OsSpanBegin,
        Program::OsSpanEnd,
        Program::PoolGet,
        Program::PoolMiss,
        Program::PoolPut,
        Program::AssistBegin,
        Program::AssistEnd,
        Program::AssistMark,
        Program::AssistMarked,
    ];

    /// Whether it sits at returns, which are emulated on no release.
    pub fn is_at_returns(self) -> bool {
        matches!(self, Program::OsSpanEnd | Program::AssistEnd | Program::AssistMarked)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Program::Alloc => "alloc",
            Program::Span => "span",
            Program::SampleAlloc => "sample_alloc",
            Program::SampleFree => "sample_free",
            Program::MapCount => "map_count",
            Program::MapStart => "map_start",
            Program::MapNext => "map_next",
            Program::MapEnd => "map_end",
            Program::GoroutineNew => "goroutine_new",
            Program::GoroutineEnd => "goroutine_end",
            Program::StackMove => "stack_move",
            Program::Box => "box_value",
            Program::Slice => "slice",
            Program::PoolGet => "pool_get",
            Program::PoolMiss => "pool_miss",
            Program::PoolPut => "pool_put",
            Program::AssistBegin => "assist_begin",
            Program::AssistEnd => "assist_end",
            Program::AssistMark => "assist_mark",
            Program::AssistMarked => "assist_marked",
            Program::Gc => "gc",
            Program::OsSpanBegin => "os_span_begin",
            Program::OsSpanEnd => "os_span_end",
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

/// One program at sites of one file.
#[derive(Clone, Copy, Debug)]
pub struct Attachment<'a> {
    pub program: Program,
    pub file: &'a File,
    pub scope: Scope,
    pub sites: &'a [AttachSite<'a>],
}

/// One place to attach to.
#[derive(Clone, Copy, Debug)]
pub struct AttachSite<'a> {
    pub offset: FileOffset,
    /// What was decoded there; compared with the file before attaching.
    pub expected: &'a [u8],
    pub cookie: Cookie,
}

impl Kernel {
    /// Attaches one program to all sites, in one link where the kernel has such links. The group may
    /// have others.
    ///
    /// # Errors
    /// The first site that is not what was decoded or that the kernel refuses; sites before it may
    /// be attached then.
    pub fn attach(&mut self, group: GroupId, at: &Attachment<'_>) -> Result<(), Error> {
        for site in at.sites {
            check_bytes(at.file, site)?;
        }
        // Not the file's path: it may name another file by now, or none.
        let path = format!("/proc/self/fd/{}", at.file.as_raw_fd());
        // Without a zero byte as it is.
        let path = CString::new(path).unwrap_or_default();
        if !self.attach_multi(group, at, &path) {
            for site in at.sites {
                self.attach_perf(group, at, site, &path)?;
            }
        }
        Ok(())
    }

    /// Loads programs before they are attached for the first time: the kernel verifies each, which takes up
    /// to 0.4 s. What it refuses is told when it is to be attached.
    pub fn prepare(&mut self, programs: &[Program]) {
        for program in programs {
            let refused = match &mut self.multi {
                Some(multi) => multi.prepare(*program).err().map(|refused| refused.to_string()),
                None => self.perf_program(*program).err().map(|refused| refused.to_string()),
            };
            if let Some(refused) = refused {
                log::debug!("{}: {refused}", program.name());
            }
        }
    }

    /// A program for perf events, loaded when it is asked for first.
    fn perf_program(&mut self, program: Program) -> Result<&mut UProbe, Error> {
        let name = program.name();
        let uprobe: &mut UProbe = self
            .ebpf
            .program_mut(name)
            .ok_or(Error::Missing(name))?
            .try_into()
            .map_err(|source| Error::Program { program: name, source })?;
        if self.loaded.insert(program) {
            uprobe.load().map_err(|source| Error::Program { program: name, source })?;
        }
        Ok(uprobe)
    }

    /// Whether one link could be made. Where it can't, perf events are tried, and if those fail too,
    /// it is their error that is told.
    fn attach_multi(&mut self, group: GroupId, at: &Attachment<'_>, path: &CStr) -> bool {
        let Some(multi) = &mut self.multi else { return false };
        let offsets: Vec<u64> = at.sites.iter().map(|site| site.offset.0).collect();
        let cookies: Vec<u64> = at.sites.iter().map(|site| site.cookie.pack()).collect();
        let pid = match at.scope {
            Scope::File => 0,
            Scope::Process(pid) => pid.get(),
        };
        let sites = MultiSites { offsets: &offsets, cookies: &cookies, pid };
        match multi.attach(at.program, path, &sites) {
            Ok(link) => {
                self.groups.add(group, link, at.sites.len());
                true
            }
            Err(refused) => {
                log::debug!("no link of many uprobes: {refused}; using perf events");
                false
            }
        }
    }

    fn attach_perf(
        &mut self,
        group: GroupId,
        at: &Attachment<'_>,
        site: &AttachSite<'_>,
        path: &CStr,
    ) -> Result<(), Error> {
        let name = at.program.name();
        let refused = |source| Error::Attach { program: name, offset: site.offset, source };
        let who = match at.scope {
            Scope::File => None,
            Scope::Process(pid) => Some(pid),
        };
        let event = open_uprobe(path, site.offset, who).map_err(refused)?;
        let program = self.perf_program(at.program)?;
        let program = program.fd().map_err(|source| Error::Program { program: name, source })?;
        let cookie = site.cookie.pack();
        let link = link_with_cookie(program.as_fd(), &event, cookie).map_err(refused)?;
        self.groups.add(group, link, 1);
        Ok(())
    }

    /// How many sites are attached.
    pub fn attached(&self) -> usize {
        self.groups.sites()
    }

    /// Whether anything of a group is attached.
    pub fn holds(&self, group: GroupId) -> bool {
        self.groups.holds(group)
    }

    /// Takes a group off, without waiting for the kernel: its programs may still run for about 0.1 s.
    pub fn detach(&mut self, group: GroupId) {
        self.groups.remove(group, None);
    }

    /// The same; what is held is let go once the group is off.
    pub fn detach_then(&mut self, group: GroupId, held: Held) {
        self.groups.remove(group, Some(held));
    }

    /// How many links are being taken off.
    pub fn detaching(&self) -> usize {
        self.groups.closing()
    }

    /// Whether a group is off: no program of it is running any more.
    pub fn is_off(&self, group: GroupId) -> bool {
        self.groups.is_off(group)
    }

    /// CPU time of heaptap's own that taking it off took since this was asked last.
    pub fn closing_took(&self, group: GroupId) -> Duration {
        self.groups.closing_took(group)
    }

    /// Takes every uprobe off, and what the probe `os` has attached. When this returns no program is
    /// running any more.
    pub fn detach_all(&mut self) {
        self.groups.remove_all();
        self.unwatch_os();
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

fn check_bytes(file: &File, site: &AttachSite<'_>) -> Result<(), Error> {
    let mut found = vec![0; site.expected.len()];
    file.read_exact_at(&mut found, site.offset.0)
        .map_err(|source| Error::Read { offset: site.offset, source })?;
    if found != site.expected {
        let expected = site.expected.to_vec();
        return Err(Error::Site { offset: site.offset, expected, found });
    }
    Ok(())
}
