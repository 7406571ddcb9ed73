//! Which sites of a binary are attached for the probes that are wanted.
//!
//! In: a binary, the probes, the way to see allocations. Out: its sites with their programs, and what
//! the probes need beside. A probe without a site is an error when there is no other.

use std::sync::Arc;

use tracer_common::{Cookie, iteration::MAP_CLASSIC};

use crate::{
    address::VAddr,
    cli::probes::{Probe, Probes},
    exit::{Exit, Failure},
    gobin::{
        GoBinary,
        sites::{self, Site, SiteError},
    },
    host::ExeFile,
    pipeline::opened::Opener,
    probe::Program,
    profile::Source,
    runtime,
};

/// A site and what is to be attached there.
pub struct PlannedSite {
    pub site: Site,
    pub program: Program,
    /// [`Cookie::kind`].
    pub kind: u16,
}

/// All programs that may be attached for the probes.
pub fn programs(source: Source, probes: Probes) -> Vec<Program> {
    probes.iter().flat_map(|probe| programs_of(probe, source)).copied().collect()
}

fn programs_of(probe: Probe, source: Source) -> &'static [Program] {
    match (probe, source) {
        (Probe::Alloc, Source::Exact) => &[Program::Alloc],
        (Probe::Alloc, Source::Span) => &[Program::Span],
        (Probe::Alloc, Source::Sample) => &[Program::SampleAlloc, Program::SampleFree],
        (Probe::Alloc, Source::Records) => &[],
        (Probe::Map, _) => &[Program::MapStart, Program::MapNext, Program::MapEnd],
        (Probe::MapCount, _) => &[Program::MapCount],
        (Probe::Os, _) => &[],
        (Probe::OsAlloc, _) => &[Program::OsSpanBegin, Program::OsSpanEnd],
        (Probe::Goroutine, _) => &[Program::GoroutineNew, Program::GoroutineEnd],
        (Probe::Stack, _) => &[Program::StackMove],
        (Probe::Box, _) => &[Program::Box],
        (Probe::Slice, _) => &[Program::Slice],
        (Probe::Pool, _) => &[Program::PoolGet, Program::PoolMiss, Program::PoolPut],
        (Probe::Assist, _) => {
            &[Program::AssistBegin, Program::AssistEnd, Program::AssistMark, Program::AssistMarked]
        }
    }
}

/// What a program splits stacks by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A number, the same in every process.
    Number,
    /// An address in the program's file: of a function, of a type.
    Address,
    /// An address of data, in the program's file or elsewhere.
    Data,
}

/// What a program splits stacks by; `types` says that types are wanted: of what is allocated, boxed or made.
pub fn class_of(program: Program, types: bool) -> Class {
    match program {
        Program::PoolGet | Program::PoolMiss | Program::PoolPut => Class::Data,
        Program::GoroutineNew => Class::Address,
        Program::Alloc | Program::Box | Program::Slice if types => Class::Address,
        _ => Class::Number,
    }
}

/// The sites of a binary.
#[derive(Default)]
pub struct Plan {
    pub sites: Vec<PlannedSite>,
    /// Why what is recorded can't be called complete.
    pub incomplete: Option<String>,
    /// Probes that have no site, and why, with the file's path; and what of others is not known.
    pub missing: Vec<String>,
    /// Where the runtime's records are, for probes that read them.
    pub records: Option<Arc<runtime::Program>>,
    /// Where `runtime.mallocgc` lies, when there are sites that leave its calls to it.
    pub mallocgc: Option<(VAddr, VAddr)>,
    /// Where `runtime.morestack` and `morestack_noctxt` begin, for the stack probe.
    pub morestack: [VAddr; 2],
}

impl Plan {
    /// # Errors
    /// None of the probes has its sites in it, or what they need is not known of its release.
    pub fn of(
        go: &GoBinary,
        exe: &ExeFile,
        opener: &mut Opener,
        source: Source,
        probes: Probes,
    ) -> Result<Self, Failure> {
        let mut plan = Self::default();
        let mut refusals = Vec::new();
        for probe in probes.iter() {
            let before = plan.sites.len();
            let planned = match probe {
                Probe::Alloc => plan.allocations(go, exe, opener, source),
                Probe::Map | Probe::MapCount => plan.maps(go, exe, opener, probe),
                Probe::Os => plan.os(exe, opener),
                Probe::Goroutine => plan.goroutines(go, exe, opener),
                Probe::Stack => plan.stacks(go, exe, opener),
                Probe::Box => plan.boxes(go, exe),
                Probe::Slice => plan.slices(go, exe),
                Probe::OsAlloc => plan.page_heap(go, exe),
                Probe::Pool => plan.pools(go, exe),
                Probe::Assist => plan.assists(go, exe),
            };
            if let Err(failure) = planned {
                if failure.exit == Exit::Failure {
                    // heaptap's own trouble says nothing of the probe.
                    return Err(failure);
                }
                plan.sites.truncate(before);
                refusals.push((probe, failure));
            }
        }
        if refusals.len() == probes.iter().count()
            && let Some((_, failure)) = refusals.pop()
        {
            return Err(failure);
        }
        let missing =
            |(probe, why): (Probe, Failure)| format!("probe {} is left out: {why}", probe.word());
        plan.missing.extend(refusals.into_iter().map(missing));
        Ok(plan)
    }

    fn add(&mut self, site: Site, program: Program) {
        self.add_kind(site, program, 0);
    }

    /// Of a program that is told by the cookie which site it is at.
    fn add_kind(&mut self, site: Site, program: Program, kind: u16) {
        self.sites.push(PlannedSite { site, program, kind });
    }

    fn allocations(
        &mut self,
        go: &GoBinary,
        exe: &ExeFile,
        opener: &mut Opener,
        source: Source,
    ) -> Result<(), Failure> {
        let by_exact = |f: Failure| Failure::new(f.exit, format!("{f}; use --mode exact"));
        match source {
            Source::Exact => {
                let found = sites::alloc_sites(go).map_err(|err| refused(exe, &err))?;
                self.sites.extend(found.sites.into_iter().map(|alloc| PlannedSite {
                    site: alloc.site,
                    program: Program::Alloc,
                    kind: if alloc.nested { Cookie::NESTED } else { alloc.min_size },
                }));
                (self.incomplete, self.mallocgc) = (found.incomplete, found.mallocgc);
            }
            Source::Span => {
                self.records = Some(opener.program(exe).map_err(by_exact)?);
                let found = sites::span_sites(go).map_err(|err| by_exact(refused(exe, &err)))?;
                self.add_kind(found.refill, Program::Span, Cookie::SPAN_REFILL);
                self.add_kind(found.release, Program::Span, Cookie::SPAN_RELEASE);
                self.add_kind(found.large, Program::Span, Cookie::SPAN_LARGE);
            }
            Source::Sample => {
                self.records = Some(opener.program(exe).map_err(by_exact)?);
                let found = sites::sample_sites(go).map_err(|err| by_exact(refused(exe, &err)))?;
                self.add(found.alloc, Program::SampleAlloc);
                self.add(found.free, Program::SampleFree);
            }
            Source::Records => {
                let path = exe.path.to_string_lossy();
                let why = format!("{path}: records are read, not recorded");
                return Err(Failure::new(Exit::Unsupported, why));
            }
        }
        Ok(())
    }

    /// The kernel's own tracepoints need no site. Where the runtime's structures are not known, what is
    /// behind a system stack is not.
    fn os(&mut self, exe: &ExeFile, opener: &mut Opener) -> Result<(), Failure> {
        match opener.program(exe) {
            Ok(records) => self.records = Some(records),
            Err(failure) if failure.exit == Exit::Failure => return Err(failure),
            Err(failure) => self.missing.push(format!(
                "probe os: of what the runtime does on its system stacks the goroutine is not known: {failure}"
            )),
        }
        Ok(())
    }

    fn page_heap(&mut self, go: &GoBinary, exe: &ExeFile) -> Result<(), Failure> {
        let found = sites::page_heap_sites(go).map_err(|err| refused(exe, &err))?;
        self.add(found.begin, Program::OsSpanBegin);
        found.ends.into_iter().for_each(|end| self.add(end, Program::OsSpanEnd));
        Ok(())
    }

    fn assists(&mut self, go: &GoBinary, exe: &ExeFile) -> Result<(), Failure> {
        let found = sites::assist_sites(go).map_err(|err| refused(exe, &err))?;
        self.add(found.begin, Program::AssistBegin);
        found.ends.into_iter().for_each(|end| self.add(end, Program::AssistEnd));
        self.add(found.mark, Program::AssistMark);
        found.marked.into_iter().for_each(|end| self.add(end, Program::AssistMarked));
        Ok(())
    }

    fn maps(
        &mut self,
        go: &GoBinary,
        exe: &ExeFile,
        opener: &mut Opener,
        probe: Probe,
    ) -> Result<(), Failure> {
        let found = sites::map_sites(go).map_err(|err| refused(exe, &err))?;
        let follows = probe == Probe::Map;
        let program = if follows { Program::MapStart } else { Program::MapCount };
        let kind = if found.is_classic { MAP_CLASSIC } else { 0 };
        self.sites.push(PlannedSite { site: found.start, program, kind });
        if follows {
            self.add(found.next, Program::MapNext);
            found.ends.into_iter().for_each(|end| self.add(end, Program::MapEnd));
            // Goroutines are told by their ids.
            self.records = Some(opener.program(exe)?);
        }
        Ok(())
    }

    fn goroutines(
        &mut self,
        go: &GoBinary,
        exe: &ExeFile,
        opener: &mut Opener,
    ) -> Result<(), Failure> {
        // Where they start is in their `g`.
        let records = opener.program(exe)?;
        let found = sites::goroutine_sites(go).map_err(|err| refused(exe, &err))?;
        self.add(found.created, Program::GoroutineNew);
        self.add(found.ended, Program::GoroutineEnd);
        self.records = Some(records);
        Ok(())
    }

    fn stacks(&mut self, go: &GoBinary, exe: &ExeFile, opener: &mut Opener) -> Result<(), Failure> {
        let records = opener.program(exe)?;
        let found = sites::stack_site(go).map_err(|err| refused(exe, &err))?;
        self.add(found.moved, Program::StackMove);
        self.morestack = found.morestack;
        self.records = Some(records);
        Ok(())
    }
    fn boxes(&mut self, go: &GoBinary, exe: &ExeFile) -> Result<(), Failure> {
        let found = sites::box_sites(go).map_err(|err| refused(exe, &err))?;
        self.extend(found, Program::Box);
        Ok(())
    }

    fn slices(&mut self, go: &GoBinary, exe: &ExeFile) -> Result<(), Failure> {
        let found = sites::slice_sites(go).map_err(|err| refused(exe, &err))?;
        self.extend(found.sites, Program::Slice);
        let both = [self.incomplete.take(), found.incomplete].into_iter().flatten();
        self.incomplete = both.reduce(|one, other| format!("{one}; {other}"));
        Ok(())
    }

    fn extend(&mut self, sites: Vec<(Site, u16)>, program: Program) {
        let planned = |(site, kind)| PlannedSite { site, program, kind };
        self.sites.extend(sites.into_iter().map(planned));
    }

    fn pools(&mut self, go: &GoBinary, exe: &ExeFile) -> Result<(), Failure> {
        let found = sites::pool_sites(go).map_err(|err| refused(exe, &err))?;
        self.add(found.get, Program::PoolGet);
        self.add(found.miss, Program::PoolMiss);
        found.put.into_iter().for_each(|put| self.add(put, Program::PoolPut));
        Ok(())
    }
}

fn refused(exe: &ExeFile, err: &SiteError) -> Failure {
    Failure::new(Exit::Unsupported, format!("{}: {err}", exe.path.to_string_lossy()))
}
