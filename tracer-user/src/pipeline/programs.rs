//! The Go programs of this host, and what can be traced in each.
//!
//! In: processes from `host`. Out: one [`Program`] for each Go process. A file that several
//! processes run is read once. Nothing is attached; of a process's memory one word is read, that says
//! whether the runtime's sampler is on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::counted;
use super::opened::Place;
use crate::address::VAddr;
use crate::gobin::symbols::Symbol;
use crate::gobin::{Error, Facts, GoBinary, sites};
use crate::host::{self, Capability, ExeFile, FileKey, Process, System};
use crate::profile::Source;
use crate::runtime;

/// What a look at all processes found.
#[derive(Debug, Default)]
pub struct Survey {
    /// By ascending pid.
    pub programs: Vec<Program>,
    /// Processes that may or may not be Go programs.
    pub unseen: Vec<Unseen>,
}

/// A process that runs a Go program.
#[derive(Debug)]
pub struct Program {
    pub process: Process,
    /// As the process sees it.
    pub path: PathBuf,
    pub deleted: bool,
    pub binary: Rc<Binary>,
    /// Bytes between two samples of the runtime's sampler, 0 when it is off, or why that is not known;
    /// nothing where [`Binary::sample`] fails.
    pub sampler: Option<Result<u64, String>>,
}

/// A file, as far as it could be read.
#[derive(Debug)]
pub struct Binary {
    /// Nothing when the file said no more than why it can't be traced.
    pub facts: Option<Facts>,
    pub exact: Mode,
    pub span: Mode,
    /// In processes whose sampler is on.
    pub sample: Mode,
    /// Where a process has the rate of its sampler.
    rate: Option<RatePlace>,
}

/// Where processes that run a file have `runtime.MemProfileRate`. Much smaller than the opened binary,
/// of which a host can have many.
#[derive(Clone, Copy, Debug)]
struct RatePlace {
    binary: Place,
    rate: VAddr,
}

/// Whether a way to see works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Works,
    /// It works and may miss events, because of this.
    Incomplete(String),
    /// It does not, because of this.
    Fails(String),
}

/// A process that could not be looked at.
#[derive(Debug)]
pub struct Unseen {
    pub process: Process,
    pub reason: String,
    /// Whether more privileges would help.
    pub is_permission: bool,
}

impl Program {
    /// Whether `--mode sample` works with the process as it is.
    pub fn sample(&self) -> Mode {
        match &self.sampler {
            None => self.binary.sample.clone(),
            Some(Ok(0)) => Mode::Fails(SAMPLER_OFF.to_owned()),
            Some(Ok(_)) => Mode::Works,
            Some(Err(reason)) => Mode::Fails(reason.clone()),
        }
    }

    /// Whether nothing but the sampler keeps `--mode sample` from working.
    pub fn is_sampler_off(&self) -> bool {
        self.sampler == Some(Ok(0))
    }

    /// The ways to record, and whether and how each works.
    pub fn modes(&self) -> [(Source, Mode); 3] {
        let binary = &self.binary;
        [
            (Source::Exact, binary.exact.clone()),
            (Source::Span, binary.span.clone()),
            (Source::Sample, self.sample()),
        ]
    }
}

const SAMPLER_OFF: &str = "the runtime's sampler is off; --enable-sampler turns it on";

/// Looks at every process and resolves what can be traced in each Go program.
///
/// # Errors
/// /proc can't be listed.
pub fn survey() -> Result<Survey, host::Error> {
    let mut programs = Vec::new();
    let unseen = walk(resolve, |process, exe, binary: &Rc<Binary>| {
        let sampler = binary.rate.map(|place| place.read(&exe));
        let binary = Rc::clone(binary);
        programs.push(Program { process, path: exe.path, deleted: exe.deleted, binary, sampler });
    })?;
    Ok(Survey { programs, unseen })
}

/// How many processes run Go programs, and which could not be looked at. Much cheaper than
/// [`survey`]: function tables are not read.
///
/// # Errors
/// /proc can't be listed.
pub fn count() -> Result<(usize, Vec<Unseen>), host::Error> {
    let mut count = 0;
    let unseen = walk(|exe| peek(exe).map(|_| ()), |_, _, ()| count += 1)?;
    Ok((count, unseen))
}

/// Calls `look` for each file that a process runs and `found` for each process that runs Go.
fn walk<T>(
    look: impl Fn(&ExeFile) -> Looked<T>,
    mut found: impl FnMut(Process, ExeFile, &T),
) -> Result<Vec<Unseen>, host::Error> {
    let mut unseen = Vec::new();
    // The inode number of a deleted file may be used again while the survey runs; its time of
    // change differs then.
    let mut files: HashMap<FileKey, Looked<T>> = HashMap::new();
    for process in host::processes()? {
        let exe = match host::open_exe(process.id.pid) {
            Ok(exe) => exe,
            // It ended meanwhile: not there to be listed.
            Err(error) if !error.is_permission() && !process.id.is_alive() => continue,
            Err(error) => {
                let (reason, is_permission) = (error.to_string(), error.is_permission());
                unseen.push(Unseen { process, reason, is_permission });
                continue;
            }
        };
        match files.entry(exe.key).or_insert_with(|| look(&exe)) {
            Looked::Go(found_there) => found(process, exe, found_there),
            Looked::Other => {}
            Looked::Unreadable(reason) => {
                let reason = format!("process {}: its file: {reason}", process.id.pid);
                unseen.push(Unseen { process, reason, is_permission: false });
            }
        }
    }
    Ok(unseen)
}

/// Tells that processes could not be looked at, and what would help.
pub fn not_permitted(system: &System, count: usize) -> String {
    let processes = counted(count, "process");
    let opens = [Capability::SysPtrace, Capability::DacReadSearch];
    let missing: Vec<_> =
        opens.into_iter().filter(|c| !system.capabilities.has(*c)).map(Capability::name).collect();
    if missing.is_empty() {
        // As with processes of a security module's, or of an outer container.
        format!(
            "{processes} could not be looked at: the kernel protects more than CAP_SYS_PTRACE opens"
        )
    } else {
        let missing = missing.join(" and ");
        format!("{processes} could not be looked at; run as root or with {missing} to see all")
    }
}

/// What a file is.
enum Looked<T> {
    Go(T),
    Other,
    Unreadable(String),
}

impl<T> Looked<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Looked<U> {
        match self {
            Looked::Go(found) => Looked::Go(change(found)),
            Looked::Other => Looked::Other,
            Looked::Unreadable(reason) => Looked::Unreadable(reason),
        }
    }
}

/// Whether it is a Go program, and what it says of itself or why heaptap does not take it.
fn peek(exe: &ExeFile) -> Looked<Result<Facts, Error>> {
    match GoBinary::peek(&exe.file) {
        Ok(facts) => Looked::Go(Ok(facts)),
        Err(
            Error::NotGo
            | Error::NotElf
            | Error::NotAFile
            | Error::Class(_)
            | Error::Machine(_)
            | Error::Kind(_),
        ) => Looked::Other,
        Err(error @ Error::SharedRuntime(_)) => Looked::Go(Err(error)),
        Err(error) => Looked::Unreadable(error.to_string()),
    }
}

/// Opens a program that this machine runs.
fn open(file: File) -> Result<GoBinary, Error> {
    let go = GoBinary::open(file)?;
    go.runs_here()?;
    Ok(go)
}

fn unreadable(source: io::Error) -> Error {
    Error::Read { offset: 0, len: 0, source }
}

fn resolve(exe: &ExeFile) -> Looked<Rc<Binary>> {
    peek(exe).map(|facts| {
        Rc::new(match facts {
            Ok(facts) => match exe.file.try_clone().map_err(unreadable).and_then(open) {
                Ok(binary) => Binary::resolved(binary),
                Err(error) => Binary::refused(Some(facts), error),
            },
            Err(error) => Binary::refused(None, error),
        })
    })
}

impl Binary {
    /// A file that nothing works with.
    pub fn refused(facts: Option<Facts>, why: impl ToString) -> Self {
        let fails = Mode::Fails(why.to_string());
        Self { facts, exact: fails.clone(), span: fails.clone(), sample: fails, rate: None }
    }

    fn resolved(go: GoBinary) -> Self {
        let facts = go.facts().clone();
        if facts.loads_plugins {
            return Self::refused(Some(facts), "it can load plugins, whose code heaptap can't see");
        }
        let exact = match sites::alloc_sites(&go) {
            Ok(sites) => sites.incomplete.map_or(Mode::Works, Mode::Incomplete),
            Err(error) => Mode::Fails(error.to_string()),
        };
        let [span, sample] = [
            sites::span_sites(&go).map(|_| ()).map_err(|error| error.to_string()),
            sites::sample_sites(&go).map(|_| ()).map_err(|error| error.to_string()),
        ];
        let binary = Place::of(&go);
        let records = runtime::Program::new(Arc::new(go)).map_err(|error| error.to_string());
        let and = |sites: Result<(), String>| records.as_ref().map_err(String::clone).and(sites);
        let span = and(span).map_or_else(Mode::Fails, |()| Mode::Works);
        let rate = and(sample).and_then(|()| {
            let rate = records.as_ref().map_err(String::clone)?.symbols.get(Symbol::MemProfileRate);
            Ok(RatePlace { binary, rate: rate.map_err(|error| error.to_string())? })
        });
        let (rate, sample) = match rate {
            Ok(place) => (Some(place), Mode::Works),
            Err(reason) => (None, Mode::Fails(reason)),
        };
        Self { facts: Some(facts), exact, span, sample, rate }
    }
}

impl RatePlace {
    fn read(&self, exe: &ExeFile) -> Result<u64, String> {
        let bias = self.binary.bias(exe).map_err(|failure| failure.to_string())?;
        let memory = self.binary.memory(exe, bias).map_err(|failure| failure.to_string())?;
        let rate = runtime::sampler_rate(&memory, bias.to_runtime(self.rate));
        rate.map_err(|error| error.to_string())
    }
}
