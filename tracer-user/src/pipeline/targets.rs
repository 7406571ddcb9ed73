//! Who is traced: inspects processes, resolves their binaries, attaches, follows execs and exits.
//!
//! In: pids. Out: images (one exec of one process each) that the kernel programs count for, and
//! everything that is needed to name their addresses after they are gone. Between looking at a
//! process and selecting it anything may happen; so it is looked at again afterwards.

use std::{fs::File, num::NonZeroU32, sync::Arc};

use tracer_common::{
    Cookie, ProcEntry,
    record::{LABELS_LIST, LABELS_MAP, PROC_LIVE},
};

use crate::{
    address::{LoadBias, RuntimeAddr, VAddr},
    exit::{self, Exit, Failure},
    gobin::{GoBinary, sites, sites::Site, types::Types},
    host::{self, Mapping},
    probe::{self, AttachSite, Attachment, GroupId, Kernel, Program, RawStack, Scope},
    profile::{Period, SPACE, Source},
    runtime::{self, Live, ProcessMemory},
};

use super::opened::{Opener, live, load_bias, not_readable};

/// A binary whose sites are known.
pub struct Tapped {
    pub go: Arc<GoBinary>,
    /// As the first process that ran it saw it.
    pub path: String,
    /// In the order of [`Cookie::site`].
    pub sites: Vec<PlannedSite>,
    /// Why what is recorded of it can't be called complete.
    pub incomplete: Option<String>,
    /// Type data, when types will be named.
    pub types: Option<Types>,
    file: File,
    dev: u64,
    ino: u64,
    /// Where the runtime's records are, for sources that read them.
    records: Option<Arc<runtime::Program>>,
    /// Where `runtime.mallocgc` lies, when there are sites that leave its calls to it.
    mallocgc: Option<(VAddr, VAddr)>,
    /// What is attached, by the process that it is for or for everybody.
    groups: Vec<(Option<u32>, GroupId)>,
}

/// A site and what is to be attached there.
pub struct PlannedSite {
    pub site: Site,
    program: Program,
    min_size: u16,
}

/// One exec of one process.
pub struct Image {
    pub process: host::Process,
    /// Index in [`Targets::binaries`].
    pub binary: usize,
    pub bias: LoadBias,
    /// Executable mappings of other files, with the files, for programs with C code.
    pub libraries: Vec<Library>,
    pub live: bool,
    records: Option<Live<ProcessMemory>>,
    pub cached: Cached,
    /// `runtime.MemProfileRate` (mode sample; else 0).
    pub sampler_rate: u64,
    /// The same at the end, when it was another.
    pub other_rate: Option<u64>,
}

/// Objects allocated from the spans that a process's Ps held, by span class (span mode).
#[derive(Debug, Default)]
pub struct Cached {
    pub at_start: Option<Vec<u64>>,
    /// Nothing when the process was gone.
    pub at_end: Option<Vec<u64>>,
}

impl Image {
    /// The library, if any, that an address lies in.
    pub fn library(&self, address: RuntimeAddr) -> Option<&Library> {
        self.libraries
            .iter()
            .find(|library| (library.mapping.start..library.mapping.end).contains(&address))
    }
}

/// A shared library (or the C parts of the program) as one process has it mapped.
pub struct Library {
    pub mapping: Mapping,
    pub file: File,
}

/// Everything that is or was traced.
pub struct Targets {
    opener: Opener,
    source: Source,
    wanted: Wanted,
    pub binaries: Vec<Tapped>,
    /// Index + 1 is [`ProcEntry::image`].
    pub images: Vec<Image>,
    /// How many groups there were.
    groups: u32,
}

/// What else is wanted of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Types will be named.
    pub types: bool,
    /// Stacks are told apart by profiler labels.
    pub labels: bool,
    /// Attach to the file for everybody, because every process of it is selected.
    pub whole_files: bool,
}

/// A process that execs faster than it can be looked at is given up after this many looks.
const LOOKS: u32 = 5;

impl Targets {
    /// Nobody yet.
    pub fn new(opener: Opener, source: Source, wanted: Wanted) -> Self {
        Self { opener, source, wanted, binaries: Vec::new(), images: Vec::new(), groups: 0 }
    }

    /// How many processes are being counted.
    pub fn live(&self) -> usize {
        self.images.iter().filter(|image| image.live).count()
    }

    /// How far apart samples are, where the runtime's sampler makes them and all processes agree.
    pub fn period(&self) -> Option<Period> {
        let mut rates = self.images.iter().map(|image| image.sampler_rate);
        let length = rates.next().filter(|rate| *rate > 0)?;
        rates.all(|rate| rate == length).then_some(Period { of: SPACE, length })
    }

    /// Processes whose sampler had another rate at the end than at the start, in sentences.
    pub fn changed_rates(&self) -> Vec<String> {
        let changed = |image: &Image| {
            let (pid, before, now) = (image.process.id.pid, image.sampler_rate, image.other_rate?);
            Some(format!(
                "process {pid} set its sampler from {before} to {now} while it was recorded; its \
                 values are those of {before} throughout"
            ))
        };
        self.images.iter().filter_map(changed).collect()
    }

    /// The image behind a key's number.
    pub fn image(&self, number: u32) -> Option<&Image> {
        self.images.get((number as usize).checked_sub(1)?)
    }

    /// The program of the site that a stack was seen at.
    pub fn program(&self, raw: &RawStack) -> Option<Program> {
        let tapped = &self.binaries[self.image(raw.key.image)?.binary];
        Some(tapped.sites.get(raw.key.site as usize)?.program)
    }

    /// The pid's image ended: it exec'd or exited.
    pub fn ended(&mut self, number: u32) {
        let index = (number as usize).checked_sub(1);
        if let Some(image) = index.and_then(|index| self.images.get_mut(index)) {
            image.live = false;
        }
    }

    /// Starts counting a process.
    pub fn add(&mut self, kernel: &mut Kernel, pid: u32) -> Result<(), Failure> {
        for _ in 0..LOOKS {
            let process = host::process(pid).map_err(not_readable)?;
            let exe = host::open_exe(pid).map_err(not_readable)?;
            let binary = self.binary(&exe)?;
            let bias = load_bias(&exe, &self.binaries[binary].go)?;
            if let Err(failure) = self.attach(kernel, binary, pid) {
                // The kernel's word for a process that is gone says nothing to anybody.
                host::process(pid).map_err(not_readable)?;
                return Err(failure);
            }
            let number = self.images.len() as u32 + 1;
            let records = self.records(&exe, binary, bias)?;
            let sampler_rate = match self.source {
                Source::Sample => rate_that_is_on(pid, records.as_ref())?,
                _ => 0,
            };
            kernel.select(pid, &self.entry(number, binary, bias)).map_err(failure)?;
            // From here on an exec is seen by the kernel program; was there one before? One of the
            // same file moves a position-independent program, and changes nothing for others.
            let still = exe.process == process.id && exe.still_runs();
            if still && load_bias(&exe, &self.binaries[binary].go).is_ok_and(|now| now == bias) {
                let at_start = match self.source {
                    Source::Span => in_caches(&records),
                    _ => None,
                };
                let cached = Cached { at_start, at_end: None };
                let libraries = self.libraries(pid, binary);
                let live = true;
                self.images.push(Image {
                    process,
                    binary,
                    bias,
                    libraries,
                    live,
                    records,
                    cached,
                    sampler_rate,
                    other_rate: None,
                });
                return Ok(());
            }
            kernel.deselect(pid).map_err(failure)?;
        }
        Err(Failure::new(
            Exit::Target,
            format!("process {pid} starts one program after the other; record it by --exe instead"),
        ))
    }

    /// Stops counting everybody, at once.
    pub fn deselect_all(&mut self, kernel: &mut Kernel) -> Result<(), Failure> {
        for image in self.images.iter_mut().filter(|image| image.live) {
            if self.source == Source::Span {
                image.cached.at_end = in_caches(&image.records);
            }
            let rate = image.records.as_ref().and_then(|live| live.sampler_rate().ok());
            image.other_rate =
                rate.filter(|rate| self.source == Source::Sample && *rate != image.sampler_rate);
            kernel.deselect(image.process.id.pid).map_err(failure)?;
        }
        Ok(())
    }

    /// The memory of a process, for sources that read the runtime's records.
    fn records(
        &self,
        exe: &host::ExeFile,
        binary: usize,
        bias: LoadBias,
    ) -> Result<Option<Live<ProcessMemory>>, Failure> {
        let Some(program) = &self.binaries[binary].records else { return Ok(None) };
        live(exe, Arc::clone(program), bias).map(Some)
    }

    /// Which binary a process runs: index in [`Targets::binaries`], resolved if it is new.
    fn binary(&mut self, exe: &host::ExeFile) -> Result<usize, Failure> {
        // A file that is held open keeps its inode number to itself.
        let same = |tapped: &Tapped| (tapped.dev, tapped.ino) == (exe.dev, exe.ino);
        if let Some(binary) = self.binaries.iter().position(same) {
            return Ok(binary);
        }
        let pid = exe.process.pid;
        let named =
            |failure: Failure| Failure::new(failure.exit, format!("process {pid}: {failure}"));
        let tapped = self.resolve(exe).map_err(named)?;
        self.binaries.push(tapped);
        Ok(self.binaries.len() - 1)
    }

    /// Opens a binary and finds its sites.
    fn resolve(&mut self, exe: &host::ExeFile) -> Result<Tapped, Failure> {
        let path = exe.path.to_string_lossy().into_owned();
        let unsupported = |why: String| Failure::new(Exit::Unsupported, format!("{path}: {why}"));
        let go = self.opener.go(exe)?;
        if go.facts().loads_plugins {
            return Err(unsupported(
                "it can load plugins, whose code heaptap can't see; that is not supported".into(),
            ));
        }
        let site_error = |err: sites::SiteError| unsupported(err.to_string());
        let needs_records = |f: Failure| Failure::new(f.exit, format!("{f}; use --mode exact"));
        let plan = |site, program| PlannedSite { site, program, min_size: 0 };
        let (planned, incomplete, records, mallocgc) = match self.source {
            Source::Exact => {
                let found = sites::alloc_sites(&go).map_err(site_error)?;
                let sites = found.sites.into_iter().map(|alloc| PlannedSite {
                    site: alloc.site,
                    program: Program::Alloc,
                    min_size: if alloc.nested { Cookie::NESTED } else { alloc.min_size },
                });
                (sites.collect(), found.incomplete, None, found.mallocgc)
            }
            Source::Span => {
                let records = self.opener.program(exe).map_err(needs_records)?;
                let found = sites::span_sites(&go).map_err(site_error)?;
                let sites = vec![
                    plan(found.refill, Program::SpanRefill),
                    plan(found.release, Program::SpanRelease),
                    plan(found.large, Program::SpanLarge),
                ];
                (sites, None, Some(records), None)
            }
            Source::Sample => {
                let records = self.opener.program(exe).map_err(needs_records)?;
                let found = sites::sample_sites(&go).map_err(site_error)?;
                let sites = vec![
                    plan(found.alloc, Program::SampleAlloc),
                    plan(found.free, Program::SampleFree),
                ];
                (sites, None, Some(records), None)
            }
            Source::Records => return Err(unsupported("records are read, not recorded".into())),
        };
        let records = match records {
            None if self.wanted.labels => Some(self.opener.program(exe)?),
            records => records,
        };
        let types = if self.wanted.types {
            Some(Types::load(&go).map_err(|err| unsupported(err.to_string()))?)
        } else {
            None
        };
        let file = exe.file.try_clone().map_err(|err| unsupported(err.to_string()))?;
        Ok(Tapped {
            go,
            path,
            sites: planned,
            incomplete,
            types,
            file,
            dev: exe.dev,
            ino: exe.ino,
            records,
            mallocgc,
            groups: Vec::new(),
        })
    }

    /// Attaches a binary's sites for a process, or for everybody, once.
    fn attach(&mut self, kernel: &mut Kernel, binary: usize, pid: u32) -> Result<(), Failure> {
        let whole_files = self.wanted.whole_files;
        let tapped = &mut self.binaries[binary];
        let who = (!whole_files).then_some(pid);
        if tapped.groups.iter().any(|(of, _)| *of == who) {
            return Ok(());
        }
        self.groups += 1;
        let group = GroupId(self.groups);
        tapped.groups.push((who, group));
        let scope = who.and_then(NonZeroU32::new).map_or(Scope::File, Scope::Process);
        let sites: Vec<(Program, AttachSite<'_>)> = tapped
            .sites
            .iter()
            .enumerate()
            .map(|(index, planned)| {
                let cookie = Cookie {
                    binary: binary as u32 + 1,
                    site: index as u16,
                    min_size: planned.min_size,
                };
                let (offset, expected) = (planned.site.offset, &planned.site.bytes[..]);
                (planned.program, AttachSite { offset, expected, cookie })
            })
            .collect();
        // Neighbours have the same program.
        for same in sites.chunk_by(|(a, _), (b, _)| a == b) {
            let sites: Vec<AttachSite<'_>> = same.iter().map(|(_, site)| *site).collect();
            let (program, file) = (same[0].0, &tapped.file);
            let at = Attachment { program, file, scope, sites: &sites };
            kernel.attach(group, &at).map_err(failure)?;
        }
        Ok(())
    }

    fn entry(&self, image: u32, binary: usize, bias: LoadBias) -> ProcEntry {
        let layout = self.binaries[binary].records.as_ref().map(|records| records.layout);
        let mallocgc = self.binaries[binary].mallocgc;
        ProcEntry {
            image,
            binary: binary as u32 + 1,
            state: PROC_LIVE,
            mcache_alloc: layout.map_or(0, |l| l.mcache.alloc),
            span_alloc_count: layout.map_or(0, |l| l.mspan.alloc_count),
            span_alloc_count_before: layout.map_or(0, |l| l.mspan.alloc_count_before_cache),
            span_elemsize: layout.map_or(0, |l| l.mspan.elemsize),
            special_kind: layout.map_or(0, |l| l.special.kind),
            special_is_profile: layout.map_or(0, |l| l.special.kind_profile),
            g_labels: layout.map_or(0, |l| l.g.labels),
            labels_are: layout.map_or(0, |l| if l.minor < 24 { LABELS_MAP } else { LABELS_LIST }),
            _pad: 0,
            mallocgc: mallocgc.map_or(0, |(start, _)| bias.to_runtime(start).0),
            mallocgc_len: mallocgc.map_or(0, |(start, end)| end.0.saturating_sub(start.0)),
        }
    }

    /// Opens what C frames can lie in, while the process is there to ask. A library that can't be
    /// opened leaves its frames without names, with that reason.
    fn libraries(&self, pid: u32, binary: usize) -> Vec<Library> {
        if !self.binaries[binary].go.facts().cgo {
            return Vec::new();
        }
        let mappings = host::mappings(pid).unwrap_or_default();
        mappings
            .into_iter()
            .filter(|mapping| mapping.executable && mapping.inode != 0)
            .filter_map(|mapping| {
                let file = host::open_mapped(pid, &mapping).ok()?;
                Some(Library { mapping, file })
            })
            .collect()
    }
}

/// The rate of a process's sampler.
///
/// # Errors
/// It is off: there is nothing to see.
fn rate_that_is_on(pid: u32, records: Option<&Live<ProcessMemory>>) -> Result<u64, Failure> {
    let Some(live) = records else { return Ok(0) };
    let rate = live
        .sampler_rate()
        .map_err(|err| Failure::new(err.exit(), format!("process {pid}: {err}")))?;
    if rate == 0 {
        return Err(Failure::new(
            Exit::Unsupported,
            format!(
                "process {pid}: its runtime's sampler is off, as in every program that never reads \
                 a heap profile; --enable-sampler turns it on, --mode span needs none"
            ),
        ));
    }
    Ok(rate)
}

/// What the caches have given by now; nothing when the process is gone or can't be read, which leaves
/// the ends of its spans out.
fn in_caches(records: &Option<Live<ProcessMemory>>) -> Option<Vec<u64>> {
    Some(records.as_ref()?.caches().ok()?.by_span_class)
}

/// The kernel's refusals as the user sees them.
pub fn failure(err: probe::Error) -> Failure {
    let exit = if err.is_permission() { Exit::Permission } else { Exit::Unsupported };
    Failure::new(exit, exit::one_line(&err))
}
