//! Flags of `heaptap heap`, `block` and `mutex`, and the configuration that they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::record::{Color, outputs};
use super::{Refusal, value};
use crate::host::Selection;
use crate::runtime::sampler::MAX_RATE;

/// Which of the runtime's profiles to read and what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub profile: Profile,
    /// Pids or all.
    pub selection: Selection,
    /// Turn on samplers that are off, with this many bytes between samples.
    pub enable_sampler: Option<u64>,
    /// How long to let a sampler run that was turned on; nothing means until Ctrl-C.
    pub duration: Option<Duration>,
    /// Where to, in the order given, without duplicates. Empty: a table on standard output.
    pub outputs: Vec<PathBuf>,
    /// Keep the runtime's own allocation functions at the inner end of stacks.
    pub runtime_frames: bool,
    /// Most bytes of records that are held at once.
    pub max_memory: usize,
    /// Rows of the table.
    pub top: usize,
    /// No remarks on standard error.
    pub quiet: bool,
    pub color: Color,
}

/// One of the runtime's profiles, and what of it is shown where only one value can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Heap(HeapType),
    Block(WaitType),
    Mutex(WaitType),
}

/// Values of a heap profile, in pprof's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum HeapType {
    /// Bytes of objects that were alive at the last completed collection
    InuseSpace,
    /// Number of those objects
    InuseObjects,
    /// Bytes allocated since the program began
    AllocSpace,
    /// Number of objects allocated since the program began
    AllocObjects,
}

/// Values of a profile of contention, in pprof's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitType {
    /// Time waited
    Delay,
    /// Number of waits
    Contentions,
}

/// What all three have.
#[derive(Debug, Args)]
struct Shared {
    /// Read this Go program; may be repeated
    #[arg(short, long = "pid", value_name = "PID", value_parser = value::pid)]
    #[arg(conflicts_with = "all", help_heading = "Which processes")]
    pid: Vec<u32>,

    /// Read every Go process of this host
    #[arg(long, help_heading = "Which processes")]
    all: bool,

    /// Write here: .svg (flame graph), .pb.gz (pprof), .folded or .json, or - for a table on
    /// standard output; may be repeated [default: -]
    #[arg(short, long = "output", value_name = "FILE", help_heading = "What to show")]
    output: Vec<PathBuf>,

    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "What to show")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// No remarks: results and errors only
    #[arg(short, long, help_heading = "What to show")]
    quiet: bool,

    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, help_heading = "What to show")]
    color: Color,

    /// Give up on a program whose records need more memory than this (a stack takes about half a KiB)
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,
}

/// `heaptap heap` as typed.
#[derive(Debug, Args)]
pub(super) struct HeapFlags {
    #[command(flatten)]
    shared: Shared,

    /// What to weigh stacks by
    #[arg(long = "type", value_enum, default_value_t = HeapType::InuseSpace)]
    #[arg(value_name = "VALUE", help_heading = "What to show")]
    value: HeapType,

    /// Keep the runtime's own allocation functions (newobject, mallocgc, ...) in stacks
    #[arg(long, help_heading = "What to show")]
    runtime_frames: bool,

    /// Turn a sampler that is off on, one sample for BYTES [default: 524288], by writing one word
    /// into the program; when heaptap ends it is what it was
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "524288", help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_RATE))]
    enable_sampler: Option<u64>,

    /// With --enable-sampler: let it sample this long: 10, 1.5, 10s, 2m [default: until Ctrl-C]
    #[arg(short, long, value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, requires = "enable_sampler", help_heading = "How to read")]
    duration: Option<Duration>,
}

/// `heaptap block` and `heaptap mutex` as typed.
#[derive(Debug, Args)]
pub(super) struct WaitFlags {
    #[command(flatten)]
    shared: Shared,

    /// What to weigh stacks by
    #[arg(long = "type", value_enum, default_value_t = WaitType::Delay)]
    #[arg(value_name = "VALUE", help_heading = "What to show")]
    value: WaitType,
}

impl HeapFlags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let config = self.shared.lower(Profile::Heap(self.value))?;
        Ok(Config {
            enable_sampler: self.enable_sampler,
            duration: self.duration,
            runtime_frames: self.runtime_frames,
            ..config
        })
    }
}

impl WaitFlags {
    /// Checks what spans several flags; `of` is `Profile::Block` or `Profile::Mutex`.
    pub(super) fn lower(self, of: fn(WaitType) -> Profile) -> Result<Config, Refusal> {
        self.shared.lower(of(self.value))
    }
}

impl Shared {
    fn lower(self, profile: Profile) -> Result<Config, Refusal> {
        let selection = match (self.all, self.pid) {
            (true, _) => Selection::All,
            (false, mut pids) if !pids.is_empty() => {
                pids.sort_unstable();
                pids.dedup();
                Selection::Pids(pids)
            }
            _ => {
                return Err(Refusal::usage(
                    "say which processes to read: -p PID or --all (heaptap ps lists the Go \
                     programs of this host)",
                ));
            }
        };
        Ok(Config {
            profile,
            selection,
            enable_sampler: None,
            duration: None,
            outputs: outputs(self.output)?,
            runtime_frames: false,
            max_memory: (self.max_memory as usize) << 20,
            top: usize::try_from(self.top).unwrap_or(usize::MAX),
            quiet: self.quiet,
            color: self.color,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(words: &[&str]) -> Config {
        match parse(["heaptap"].iter().chain(words)) {
            Ok(Command::Profile(config)) => config,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn refusal(words: &[&str]) -> String {
        let refusal = parse(["heaptap"].iter().chain(words)).expect_err("must be refused");
        assert_eq!(refusal.exit, Exit::Usage, "{words:?}");
        assert!(!refusal.text.contains('\n'), "{}", refusal.text);
        refusal.text
    }

    #[test]
    fn defaults() {
        let expected = Config {
            profile: Profile::Heap(HeapType::InuseSpace),
            selection: Selection::Pids(vec![7]),
            enable_sampler: None,
            duration: None,
            outputs: vec![],
            runtime_frames: false,
            max_memory: 512 << 20,
            top: 20,
            quiet: false,
            color: Color::Auto,
        };
        assert_eq!(config(&["heap", "-p", "7"]), expected);
        let block = Config { profile: Profile::Block(WaitType::Delay), ..expected.clone() };
        assert_eq!(config(&["block", "-p", "7"]), block);
        let mutex = Config { profile: Profile::Mutex(WaitType::Delay), ..expected };
        assert_eq!(config(&["mutex", "-p", "7"]), mutex);
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let words = "heap -p 9 --pid 7 -p9 --type alloc_objects -o a.svg -o - --runtime-frames \
                     --enable-sampler=4096 -d 1.5 --max-memory 2 --top 3 -q --color never";
        let words: Vec<_> = words.split_whitespace().collect();
        let expected = Config {
            profile: Profile::Heap(HeapType::AllocObjects),
            selection: Selection::Pids(vec![7, 9]),
            enable_sampler: Some(4096),
            duration: Some(Duration::from_millis(1500)),
            outputs: vec!["a.svg".into(), "-".into()],
            runtime_frames: true,
            max_memory: 2 << 20,
            top: 3,
            quiet: true,
            color: Color::Never,
        };
        assert_eq!(config(&words), expected);
        let all = config(&["heap", "--all", "--enable-sampler"]);
        assert_eq!((all.selection, all.enable_sampler), (Selection::All, Some(524_288)));
        let block = config(&["mutex", "--all", "--type", "contentions"]);
        assert_eq!(block.profile, Profile::Mutex(WaitType::Contentions));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refusal(&["heap"]).contains("-p PID or --all"));
        assert!(refusal(&["heap", "-p", "1", "--all"]).contains("cannot be used with"));
        assert!(refusal(&["heap", "--all", "-d", "1"]).contains("--enable-sampler"));
        assert!(refusal(&["heap", "--all", "--enable-sampler=0"]).contains("--enable-sampler"));
        assert!(refusal(&["heap", "--all", "--type", "delay"]).contains("inuse_space"));
        assert!(refusal(&["block", "--all", "--type", "bytes"]).contains("contentions"));
        assert!(refusal(&["block", "--all", "--enable-sampler"]).contains("unexpected argument"));
        assert!(refusal(&["mutex", "--all", "-o", "a.txt"]).contains(".pb.gz"));
        assert!(refusal(&["heap", "--all", "--max-memory", "0"]).contains("--max-memory"));
        assert!(refusal(&["heap", "4242"]).contains("a process is given as -p 4242"));
    }
}
