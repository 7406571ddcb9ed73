//! Flags of `heaptap gc`, and the configuration they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::groups::{self, Processes};
use super::{Refusal, value};
use crate::host::Selection;
use crate::output::Format;
use crate::runtime::sampler::MAX_RATE;

/// Whose collector to watch, and how to show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which processes.
    pub selection: Selection,
    /// How long; nothing means until Ctrl-C, or until the last one that was named has ended.
    pub duration: Option<Duration>,
    pub mode: Mode,
    /// Stacks that are shown of a collection; 0: none are read.
    pub top: usize,
    /// Turn on samplers that are off, with this many bytes between samples.
    pub enable_sampler: Option<u64>,
    /// Most bytes of records that are held of one process.
    pub max_memory: usize,
    /// Where to, in the order given. Empty: lines on standard output.
    pub outputs: Vec<PathBuf>,
    /// No remarks on standard error.
    pub quiet: bool,
}

impl Config {
    /// Whether each collection is printed when it has ended.
    pub fn prints(&self) -> bool {
        self.outputs.is_empty() || self.outputs.iter().any(|path| path.as_os_str() == "-")
    }
}

/// How to see collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Read records; a process of which one was missed gets a trap
    Auto,
    /// Read the records that the runtime keeps, no trap
    Records,
    /// One trap at the end of each collection, where the kernel reads its record
    Trap,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    /// Stop after this long: 10, 1.5, 10s, 2m [default: until Ctrl-C]
    #[arg(short, long, value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, help_heading = "How to read")]
    duration: Option<Duration>,

    /// How to see collections
    #[arg(long, value_enum, default_value_t = Mode::Auto, help_heading = "How to read")]
    mode: Mode,

    /// Turn a heap sampler that is off on, one sample for BYTES [default: 524288], by writing one word
    /// into the program; when heaptap ends it is what it was
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "524288", help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_RATE))]
    enable_sampler: Option<u64>,

    /// Tell no stacks of a program whose heap profile needs more memory than this
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,

    /// Stacks by which the heap grew that are shown of a collection; 0 reads none
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "What to show")]
    top: u32,

    /// Write here: .svg (the heap and its collections over time) or .json, or - for lines on
    /// standard output; may be repeated [default: -]
    #[arg(short, long = "output", value_name = "FILE", help_heading = "What to show")]
    output: Vec<PathBuf>,

    /// No remarks: results and errors only
    #[arg(short, long, help_heading = "What to show")]
    quiet: bool,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let selection = self.processes.lower("watch")?;
        let formats = groups::formats(&self.output)?;
        let unfit = |format| matches!(format, Format::Pprof | Format::Folded);
        if let Some(at) = formats.into_iter().position(unfit) {
            let path = self.output[at].to_string_lossy().escape_debug().to_string();
            return Err(Refusal::usage(format!(
                "-o {path}: collections make no profile: the name must end in .svg or .json"
            )));
        }
        Ok(Config {
            selection,
            duration: self.duration,
            mode: self.mode,
            top: usize::try_from(self.top).unwrap_or(usize::MAX),
            enable_sampler: self.enable_sampler,
            max_memory: (self.max_memory as usize) << 20,
            outputs: self.output,
            quiet: self.quiet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(flags: &[&str]) -> Config {
        match parse(["heaptap", "gc"].iter().chain(flags)) {
            Ok(Command::Gc(config)) => config,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let plain = config(&["-p", "9"]);
        assert_eq!(plain.selection, Selection::Pids(vec![9]));
        assert!(plain.prints() && plain.duration.is_none() && !plain.quiet);
        assert_eq!(plain.mode, Mode::Auto);
        assert_eq!((plain.top, plain.enable_sampler, plain.max_memory), (3, None, 512 << 20));
        let stacks = config(&["--all", "--top", "0", "--enable-sampler", "--max-memory", "2"]);
        assert_eq!((stacks.top, stacks.enable_sampler), (0, Some(524_288)));
        assert_eq!(stacks.max_memory, 2 << 20);
        assert_eq!(config(&["--all", "--mode", "records"]).mode, Mode::Records);
        let files = config(&["--all", "-d", "1.5", "-q", "-o", "a.svg", "-o", "b.json"]);
        assert_eq!(files.duration, Some(Duration::from_millis(1500)));
        assert_eq!(files.outputs, [PathBuf::from("a.svg"), PathBuf::from("b.json")]);
        assert!(files.quiet && !files.prints());
        assert!(config(&["--all", "-o", "a.svg", "-o", "-"]).prints());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flags, expected) in [
            (&[][..], "say which processes to watch"),
            (&["-p", "1", "-o", "a.pb.gz"], "-o a.pb.gz: collections make no profile"),
            (&["-p", "1", "-o", "a.folded"], "must end in .svg or .json"),
            (&["-p", "1", "-o", "a.txt"], "-o a.txt: "),
            (&["-p", "1", "-o", "a.svg", "-o", "a.svg"], "twice"),
            (&["-p", "1", "-d", "0"], "shorter than a millisecond"),
        ] {
            let refusal = parse(["heaptap", "gc"].iter().chain(flags)).expect_err("refused");
            assert_eq!(refusal.exit, Exit::Usage, "{flags:?}");
            assert!(refusal.text.contains(expected), "{}", refusal.text);
        }
    }
}
