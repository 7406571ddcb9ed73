//! Binaries that are traced: their sites, planned once, and what names their addresses.
//!
//! In: opened executables. Out: a [`Tapped`] for each file, however many processes run it.

use std::{fs::File, sync::Arc};

use tracer_common::{
    Cookie, ProcEntry,
    record::{LABELS_LIST, LABELS_MAP, PROC_LIVE},
};

use super::{
    Wanted,
    groups::Group,
    libraries::Libraries,
    plan::{self, Class, Plan, PlannedSite},
};
use crate::{
    address::{LoadBias, VAddr},
    exit::{Exit, Failure},
    gobin::{GoBinary, types::Types},
    host::{self, FileKey},
    pipeline::{
        measures,
        opened::{Opener, not_readable},
    },
    probe::{AttachSite, Program},
    profile::Source,
    runtime,
};

/// A binary whose sites are known.
pub struct Tapped {
    pub go: Arc<GoBinary>,
    /// As the first process that ran it saw it.
    pub path: String,
    /// In the order of [`Cookie::site`].
    pub sites: Vec<PlannedSite>,
    /// Why what is recorded of it can't be called complete.
    pub incomplete: Option<String>,
    /// Probes that have no site in it, and why, with the file's path.
    pub missing: Vec<String>,
    /// Type data, when types will be named.
    pub types: Option<Types>,
    /// Where its C code can lie.
    pub libraries: Libraries,
    pub(super) file: File,
    pub(super) key: FileKey,
    /// Where the runtime's records are, for sources that read them.
    pub(super) records: Option<Arc<runtime::Program>>,
    /// Where `runtime.mallocgc` lies, when there are sites that leave its calls to it.
    mallocgc: Option<(VAddr, VAddr)>,
    /// Where stacks are found to have no room, for the stack probe.
    morestack: [VAddr; 2],
    pub(super) groups: Vec<Group>,
    /// Whether what names its addresses is read, or will be soon.
    pub(super) is_read: bool,
}

impl Tapped {
    /// Plans the sites of what a process runs.
    ///
    /// # Errors
    /// It is no Go program, or none that the source can see.
    pub(super) fn resolve(
        exe: &host::ExeFile,
        opener: &mut Opener,
        source: Source,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let path = exe.path.to_string_lossy().into_owned();
        let unsupported = |why: String| Failure::new(Exit::Unsupported, format!("{path}: {why}"));
        let go = opener.go(exe)?;
        if go.facts().loads_plugins {
            return Err(unsupported(
                "it can load plugins, whose code heaptap can't see; that is not supported".into(),
            ));
        }
        if !go.facts().keeps_frame_pointers() {
            return Err(unsupported(
                "only since Go 1.21 a stack on arm64 can be walked by frame pointers after it was moved; build it with a newer Go"
                    .into(),
            ));
        }
        let planned = Plan::of(&go, exe, opener, source, wanted.probes)?;
        let Plan { sites, incomplete, missing, records, mallocgc, morestack } = planned;
        let records = match records {
            None if wanted.labels => Some(opener.program(exe)?),
            // Without them the budget is kept all the same, but nothing is known beyond what is seen.
            None if wanted.budget.is_some() => opener.program(exe).ok(),
            records => records,
        };
        let types = if wanted.types {
            Some(Types::load(&go).map_err(|err| unsupported(err.to_string()))?)
        } else {
            None
        };
        let file = exe.duplicate().map_err(not_readable)?;
        Ok(Self {
            go,
            path,
            sites,
            incomplete,
            missing,
            types,
            libraries: Libraries::default(),
            file,
            key: exe.key,
            records,
            mallocgc,
            morestack,
            groups: Vec::new(),
            is_read: false,
        })
    }

    /// The site at P of the function that a site is in the middle of, where stacks of both are to be the same.
    pub fn at_beginning<'a>(&'a self, site: &'a PlannedSite) -> &'a PlannedSite {
        let is_beginning = |other: &&PlannedSite| other.program == Program::PoolGet;
        match site.program {
            Program::PoolMiss => self.sites.iter().find(is_beginning).unwrap_or(site),
            _ => site,
        }
    }

    /// Which of its sites count what no runtime counts.
    pub(super) fn counted(&self) -> Vec<bool> {
        self.sites.iter().map(|planned| measures::of(planned.program).is_some()).collect()
    }

    /// What the class of a site's stacks is.
    pub(super) fn class_of(&self, site: u32, by_type: bool) -> Class {
        let planned = self.sites.get(site as usize);
        planned.map_or(Class::Number, |site| plan::class_of(site.program, by_type))
    }

    /// Bytes that naming its addresses takes, now and at the end.
    pub(super) fn memory(&self) -> usize {
        self.go.memory() + self.types.as_ref().map_or(0, Types::memory)
    }

    /// Itself, if it fits beside what others take.
    pub(super) fn within(self, taken: usize, limit: usize) -> Result<Self, Failure> {
        let wanted = self.memory();
        if taken.saturating_add(wanted) <= limit {
            return Ok(self);
        }
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        let why = format!(
            "{}: the names of its functions take {:.1} MiB, and {:.1} of {:.0} are left (--max-memory)",
            self.path,
            mib(wanted),
            mib(limit.saturating_sub(taken)),
            mib(limit)
        );
        Err(Failure::new(Exit::Unsupported, why))
    }

    /// What the kernel programs must know of an image of it; `number` is this binary's, `slot` where
    /// its traps are counted.
    pub(super) fn entry(&self, image: u32, number: u32, slot: u32, bias: LoadBias) -> ProcEntry {
        let layout = self.records.as_ref().map(|records| records.layout);
        let text = self.go.text_range();
        ProcEntry {
            image,
            binary: number,
            state: PROC_LIVE,
            mcache_alloc: layout.map_or(0, |l| l.mcache.alloc),
            span_alloc_count: layout.map_or(0, |l| l.mspan.alloc_count),
            span_alloc_count_before: layout.map_or(0, |l| l.mspan.alloc_count_before_cache),
            span_elemsize: layout.map_or(0, |l| l.mspan.elemsize),
            special_kind: layout.map_or(0, |l| l.special.kind),
            special_is_profile: layout.map_or(0, |l| l.special.kind_profile),
            g_labels: layout.map_or(0, |l| l.g.labels),
            labels_are: layout.map_or(0, |l| if l.minor < 24 { LABELS_MAP } else { LABELS_LIST }),
            slot,
            g_stack_hi: layout.map_or(0, |l| l.g.stack_hi),
            g_goid: layout.map_or(0, |l| l.g.goid),
            g_startpc: layout.map_or(0, |l| l.g.startpc),
            g_stack_lo: layout.map_or(0, |l| l.g.stack_lo),
            g_sched_sp: layout.map_or(0, |l| l.g.sched_sp),
            g_sched_pc: layout.map_or(0, |l| l.g.sched_pc),
            g_sched_bp: layout.map_or(0, |l| l.g.sched_bp),
            g_m: layout.map_or(0, |l| l.g.m),
            m_curg: layout.map_or(0, |l| l.m.curg),
            g_sched_lr: layout.map_or(0, |l| l.g.sched_lr),
            mallocgc: self.mallocgc.map_or(0, |(start, _)| bias.to_runtime(start).0),
            code: bias.to_runtime(text.0).0,
            code_len: text.1.0.saturating_sub(text.0.0),
            mallocgc_len: self.mallocgc.map_or(0, |(start, end)| end.0.saturating_sub(start.0)),
            morestack: self.morestack.map(|at| bias.to_runtime(at).0),
        }
    }

    /// What is attached at its sites, with the program; neighbours have the same program.
    pub(super) fn attach_sites(&self, number: u32) -> Vec<(Program, AttachSite<'_>)> {
        (0..)
            .zip(&self.sites)
            .map(|(index, planned)| {
                let site = &planned.site;
                let (at_check, kind) = (site.at_check, planned.kind);
                let cookie = Cookie { binary: number, site: index, at_check, kind };
                let (offset, expected) = (site.offset, &site.bytes[..]);
                (planned.program, AttachSite { offset, expected, cookie })
            })
            .collect()
    }
}
