//! Flags that several commands have, each declared once: which processes, how often, what to show.
//!
//! In: words, by way of clap. Out: parts of configurations, with the checks that span these flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value::Budget;
use super::{Refusal, value};
use crate::host::{Filter, Kind, Selection};
use crate::output::{self, Format};
use crate::recording;

/// Which processes: in exactly one way, less those that are excluded.
#[derive(Debug, Args)]
pub(super) struct Processes {
    /// This Go program; may be repeated
    #[arg(short, long = "pid", value_name = "PID", value_parser = value::pid)]
    #[arg(help_heading = WHICH, conflicts_with_all = OTHERS)]
    pid: Vec<u32>,

    /// Every process that runs this file: the same file, or the same path inside a container
    #[arg(long, value_name = "PATH", help_heading = WHICH, conflicts_with_all = &OTHERS[1..])]
    exe: Option<PathBuf>,

    /// Every Go process whose command name (15 bytes at most) matches, such as 'api-*'
    #[arg(long, value_name = "GLOB", help_heading = WHICH, conflicts_with_all = &OTHERS[2..])]
    comm: Option<OsString>,

    /// Every Go process of these containers: the beginning of an id, or a name such as 'web-*'
    #[arg(long, value_name = "ID|GLOB", help_heading = WHICH, conflicts_with_all = &OTHERS[3..])]
    container: Option<OsString>,

    /// Every Go process of these Kubernetes pods, by name or uid
    #[arg(long, value_name = "GLOB", help_heading = WHICH, conflicts_with_all = &OTHERS[4..])]
    pod: Option<OsString>,

    /// Every Go process of these Kubernetes namespaces
    #[arg(long, value_name = "GLOB", help_heading = WHICH, conflicts_with_all = &OTHERS[5..])]
    namespace: Option<OsString>,

    /// Every Go process of these systemd services
    #[arg(long, value_name = "GLOB", help_heading = WHICH, conflicts_with = "all")]
    unit: Option<OsString>,

    /// Every Go process of this host
    #[arg(long, help_heading = WHICH)]
    all: bool,

    /// But not these: comm=, exe=, container=, pod=, namespace= or unit= and a glob, such as
    /// 'comm=kube-*'; may be repeated
    #[arg(long, value_name = "KIND=GLOB", help_heading = WHICH, value_parser = filter)]
    exclude: Vec<Filter>,
}

const WHICH: &str = "Which processes";
const OTHERS: [&str; 7] = ["exe", "comm", "container", "pod", "namespace", "unit", "all"];

/// Reads `comm=GLOB` and the like.
fn filter(text: &str) -> Result<Filter, String> {
    let found =
        text.split_once('=').filter(|(_, glob)| !glob.is_empty()).and_then(|(word, glob)| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
            Some(Filter { kind, glob: glob.into() })
        });
    found.ok_or_else(|| {
        let kinds = Kind::ALL.map(|kind| format!("{}=", kind.word())).join(", ");
        format!("expected one of {kinds} and a glob, such as comm=kube-*")
    })
}

impl Processes {
    /// As [`Self::lower`], of all when nothing is said.
    pub(super) fn or_all(mut self, purpose: &str) -> Result<Selection, Refusal> {
        let globs = [&self.comm, &self.container, &self.pod, &self.namespace, &self.unit];
        let said = !self.pid.is_empty() || self.exe.is_some() || globs.iter().any(|g| g.is_some());
        self.all |= !said;
        self.lower(purpose)
    }

    /// Whether anything is said.
    pub(super) fn are_given(&self) -> bool {
        let globs = [&self.comm, &self.container, &self.pod, &self.namespace, &self.unit];
        !self.pid.is_empty() || self.exe.is_some() || self.all || globs.iter().any(|g| g.is_some())
    }

    /// `purpose` is what will be done with them, as in "say which processes to record".
    pub(super) fn lower(self, purpose: &str) -> Result<Selection, Refusal> {
        let by_glob = [
            (Kind::Comm, self.comm),
            (Kind::Container, self.container),
            (Kind::Pod, self.pod),
            (Kind::Namespace, self.namespace),
            (Kind::Unit, self.unit),
        ];
        let by_glob = by_glob.into_iter().find_map(|(kind, glob)| Some((kind, glob?)));
        let of = match (self.exe, by_glob) {
            (Some(exe), _) => Selection::Exe(exe),
            (_, Some((kind, glob))) if glob.is_empty() => {
                let kind = kind.word();
                return Err(Refusal::usage(format!(
                    "--{kind} needs a name; heaptap ps --json shows them"
                )));
            }
            (_, Some((Kind::Comm, glob))) => Selection::Comm(glob),
            (_, Some((kind, glob))) => Selection::Only(Filter { kind, glob }),
            _ if self.all => Selection::All,
            _ if !self.pid.is_empty() => {
                let mut pids = self.pid;
                pids.sort_unstable();
                pids.dedup();
                Selection::Pids(pids)
            }
            _ => {
                return Err(Refusal::usage(format!(
                    "say which processes to {purpose}: -p PID, --exe PATH, --comm GLOB, \
                     --container ID or --all (heaptap ps lists the Go programs of this host)"
                )));
            }
        };
        Ok(match self.exclude {
            none if none.is_empty() => of,
            filters => Selection::Except(Box::new(of), filters),
        })
    }
}

/// Where results go and what they look like.
#[derive(Debug, Args)]
pub(super) struct Outputs {
    /// Write here: .svg (flame graph), .html (page), .pb.gz (pprof), .folded or .json, or - for a table
    /// on standard output; may be repeated [default: -]
    #[arg(short, long = "output", value_name = "FILE", help_heading = "What to show")]
    output: Vec<PathBuf>,

    /// Rows of the table [default: 20]
    #[arg(long, value_name = "N", help_heading = "What to show")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,

    /// No progress line, no remarks: results and errors only
    #[arg(short, long, help_heading = "What to show")]
    quiet: bool,

    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, help_heading = "What to show")]
    color: Color,
}

/// [`Outputs`], checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Show {
    /// Where to, in the order given, without duplicates. Empty: a table on standard output.
    pub outputs: Vec<PathBuf>,
    /// Rows of the table.
    pub top: usize,
    /// No progress line and no remarks on standard error.
    pub quiet: bool,
    pub color: Color,
}

/// Whether text for people is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// When standard output is a terminal and NO_COLOR is not set
    Auto,
    Always,
    Never,
}

/// What recording may cost.
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// What recording may cost each process, as a share of its own CPU time: 1%, 0.5%, none [default: 1%].
    /// A process that costs more is seen in short windows, and its values are estimates; with a probe that
    /// follows something from its beginning to its end (map, os, os-alloc, goroutine, pool, assist) it is
    /// recorded until it has cost that, and the output says for how long
    #[arg(long, value_name = "SHARE", value_parser = value::budget)]
    #[arg(allow_hyphen_values = true, help_heading = "How to record")]
    budget: Option<Budget>,
}

/// What recording may cost a process when nothing is said.
pub(super) const DEFAULT_BUDGET: f64 = 0.01;

impl Limit {
    /// What was said; nothing: nothing was.
    pub(super) fn said(&self) -> Option<Budget> {
        self.budget
    }

    /// Part of a process's CPU time; nothing: no limit.
    pub(super) fn lower(self) -> Option<f64> {
        self.budget.map_or(Some(DEFAULT_BUDGET), |Budget(share)| share)
    }
}

/// Rows of a table when nothing is said.
const TOP: usize = 20;

impl Outputs {
    /// Whether it is said how many rows a table has.
    pub(super) fn says_rows(&self) -> bool {
        self.top.is_some()
    }

    /// As [`Self::lower`], of a command that makes recordings.
    pub(super) fn and_recording(mut self, keep: Keep) -> Result<(Show, Option<Kept>), Refusal> {
        let is_recording = |path: &PathBuf| path.to_string_lossy().ends_with(recording::SUFFIX);
        let recordings: Vec<PathBuf> =
            self.output.extract_if(.., |path| is_recording(path)).collect();
        let Keep { max_size, max_age } = keep;
        let kept = match &recordings[..] {
            [] if max_size.is_some() || max_age.is_some() => {
                return Err(Refusal::usage(BOUNDS));
            }
            [] => None,
            [path] => Some(Kept { path: path.clone(), max_size, max_age, raw: false }),
            _ => return Err(Refusal::usage("-o: one recording (.htap) at a time")),
        };
        Ok((self.lower()?, kept))
    }

    /// Refuses a name that says no format, and one that is given twice.
    pub(super) fn lower(self) -> Result<Show, Refusal> {
        formats(&self.output)?;
        Ok(Show {
            outputs: self.output,
            top: self.top.map_or(TOP, |top| usize::try_from(top).unwrap_or(usize::MAX)),
            quiet: self.quiet,
            color: self.color,
        })
    }
}

/// What each output will be.
///
/// # Errors
/// A name that says no format, and one that is given twice.
pub(super) fn formats(paths: &[PathBuf]) -> Result<Vec<Format>, Refusal> {
    let refused = |err: output::Error| Refusal::usage(format!("-o {err}"));
    let format = |(index, path): (usize, &PathBuf)| {
        let format = Format::from_path(path).map_err(refused)?;
        match paths[..index].contains(path) {
            true => Err(refused(output::Error::Twice { path: path.clone() })),
            false => Ok(format),
        }
    };
    paths.iter().enumerate().map(format).collect()
}

/// Distinct stacks that there is room for when nothing is said.
pub(super) const STACKS: u32 = 16_384;

/// What every recording has, whatever it is of.
#[derive(Debug, Args)]
pub(super) struct Recording {
    /// Stop after this long: 10, 1.5, 10s, 2m [default: until Ctrl-C]
    #[arg(short, long, value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, help_heading = "How to record")]
    pub(super) duration: Option<Duration>,

    /// Distinct stacks that the kernel has room for (about 1 KiB of memory each) [default: 16384; 65536
    /// by record in mode exact without a budget]
    #[arg(long, value_name = "N", help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(super) max_stacks: Option<u32>,

    /// Tell stacks apart by the goroutine's own profiler labels (pprof.Do): labels in .pb.gz and .json,
    /// outermost frames elsewhere
    #[arg(long, help_heading = "What to show")]
    pub(super) labels: bool,

    /// Tell what heaptap itself took: memory, CPU time, the kernel's tables
    #[arg(long, help_heading = "Diagnosis")]
    pub(super) stats: bool,
}

/// Recordings.
#[derive(Debug, Args)]
pub(super) struct Keep {
    /// With -o FILE.htap (a recording: snapshots over time, for heaptap export): let the oldest go when
    /// the file would be larger than this: 500K, 100M, 2G
    #[arg(long, value_name = "SIZE", value_parser = value::size, help_heading = "What to show")]
    max_size: Option<u64>,

    /// With -o FILE.htap: let go what is older than this: 30m, 12h
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    #[arg(help_heading = "What to show")]
    max_age: Option<Duration>,
}

/// Whether a recording has names.
#[derive(Debug, Args)]
pub(super) struct Naming {
    /// With -o FILE.htap alone: write addresses, and name them later, elsewhere, with heaptap symbolize
    #[arg(long, help_heading = "What to show")]
    raw: bool,
}

impl Naming {
    /// What is kept, with names or without.
    pub(super) fn of(self, show: &Show, kept: Option<Kept>) -> Result<Option<Kept>, Refusal> {
        match kept {
            kept if !self.raw => Ok(kept),
            Some(kept) if show.outputs.is_empty() => Ok(Some(Kept { raw: true, ..kept })),
            _ => {
                let text = "--raw is for a recording alone: -o FILE.htap; what it holds has no names to be shown";
                Err(Refusal::usage(text))
            }
        }
    }
}

impl Keep {
    /// Of a command that writes nothing but recordings.
    pub(super) fn of(self, path: Option<PathBuf>) -> Result<Option<Kept>, Refusal> {
        let Self { max_size, max_age } = self;
        match path {
            Some(path) if path.to_string_lossy().ends_with(recording::SUFFIX) => {
                Ok(Some(Kept { path, max_size, max_age, raw: false }))
            }
            Some(path) => {
                let path = path.display();
                Err(Refusal::usage(format!("-o {path}: a recording's name ends in .htap")))
            }
            None if max_size.is_some() || max_age.is_some() => Err(Refusal::usage(BOUNDS)),
            None => Ok(None),
        }
    }
}

const BOUNDS: &str = "--max-size and --max-age are for recordings: -o FILE.htap";

/// How much memory reading recordings and the like may take.
#[derive(Debug, Args)]
pub(super) struct MaxMemory {
    /// Give up when reading takes more memory than this
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,
}

impl MaxMemory {
    pub(super) fn bytes(&self) -> usize {
        (self.max_memory as usize) << 20
    }
}

/// A recording that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub path: PathBuf,
    /// Bytes of the file.
    pub max_size: Option<u64>,
    pub max_age: Option<Duration>,
    /// Addresses are not named.
    pub raw: bool,
}

/// Reading again and again.
#[derive(Debug, Args)]
pub(super) struct Again {
    /// Read again after this long, until Ctrl-C: 1, 0.5, 500ms, 1m
    #[arg(short, long, visible_alias = "every", value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, help_heading = "How to read")]
    pub(super) watch: Option<Duration>,
}

#[cfg(test)]
impl Default for Show {
    fn default() -> Self {
        Self { outputs: vec![], top: 20, quiet: false, color: Color::Auto }
    }
}
