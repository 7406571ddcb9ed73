//! Flags that several commands have, each declared once: which processes, how often, what to show.
//!
//! In: words, by way of clap. Out: parts of configurations, with the checks that span these flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Refusal, value};
use crate::host::Selection;
use crate::output::{self, Format};

/// Which processes, in exactly one of four ways.
#[derive(Debug, Args)]
pub(super) struct Processes {
    /// This Go program; may be repeated
    #[arg(short, long = "pid", value_name = "PID", value_parser = value::pid)]
    #[arg(help_heading = "Which processes", conflicts_with_all = ["exe", "comm", "all"])]
    pid: Vec<u32>,

    /// Every process that runs this file: the same file, or the same path inside a container
    #[arg(long, value_name = "PATH", conflicts_with_all = ["comm", "all"])]
    #[arg(help_heading = "Which processes")]
    exe: Option<PathBuf>,

    /// Every Go process whose command name (15 bytes at most) matches, such as 'api-*'
    #[arg(long, value_name = "GLOB", conflicts_with = "all", help_heading = "Which processes")]
    comm: Option<OsString>,

    /// Every Go process of this host
    #[arg(long, help_heading = "Which processes")]
    all: bool,
}

impl Processes {
    /// `purpose` is what will be done with them, as in "say which processes to record".
    pub(super) fn lower(self, purpose: &str) -> Result<Selection, Refusal> {
        match (self.exe, self.comm) {
            (Some(exe), _) => Ok(Selection::Exe(exe)),
            (_, Some(comm)) if comm.is_empty() => {
                Err(Refusal::usage("--comm needs a name; heaptap ps --json shows them"))
            }
            (_, Some(comm)) => Ok(Selection::Comm(comm)),
            _ if self.all => Ok(Selection::All),
            _ if !self.pid.is_empty() => {
                let mut pids = self.pid;
                pids.sort_unstable();
                pids.dedup();
                Ok(Selection::Pids(pids))
            }
            _ => Err(Refusal::usage(format!(
                "say which processes to {purpose}: -p PID, --exe PATH, --comm GLOB or --all \
                 (heaptap ps lists the Go programs of this host)"
            ))),
        }
    }
}

/// Where results go and what they look like.
#[derive(Debug, Args)]
pub(super) struct Outputs {
    /// Write here: .svg (flame graph), .pb.gz (pprof), .folded or .json, or - for a table on
    /// standard output; may be repeated [default: -]
    #[arg(short, long = "output", value_name = "FILE", help_heading = "What to show")]
    output: Vec<PathBuf>,

    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "What to show")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

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

impl Outputs {
    /// Refuses a name that says no format, and one that is given twice.
    pub(super) fn lower(self) -> Result<Show, Refusal> {
        let paths = &self.output;
        for (index, path) in paths.iter().enumerate() {
            Format::from_path(path).map_err(|err| Refusal::usage(format!("-o {err}")))?;
            if paths[..index].contains(path) {
                let err = output::Error::Twice { path: path.clone() };
                return Err(Refusal::usage(format!("-o {err}")));
            }
        }
        Ok(Show {
            outputs: self.output,
            top: usize::try_from(self.top).unwrap_or(usize::MAX),
            quiet: self.quiet,
            color: self.color,
        })
    }
}

/// Reading again and again.
#[derive(Debug, Args)]
pub(super) struct Again {
    /// Read again after this long, until Ctrl-C: 1, 0.5, 500ms, 1m
    #[arg(short, long, value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, help_heading = "How to read")]
    pub(super) watch: Option<Duration>,
}

#[cfg(test)]
impl Default for Show {
    fn default() -> Self {
        Self { outputs: vec![], top: 20, quiet: false, color: Color::Auto }
    }
}
