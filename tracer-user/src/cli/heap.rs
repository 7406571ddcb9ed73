//! Flags of `heaptap heap`, `block` and `mutex`, and the configuration that they make.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::groups::{Again, Keep, Kept, Naming, Outputs, Processes, Show};
use super::{Refusal, value};
use crate::host::Selection;
use crate::runtime::sampler::MAX_RATE;

/// Which of the runtime's profiles to read and what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub profile: Profile,
    /// Which processes.
    pub selection: Selection,
    /// Turn on samplers that are off, with this many bytes between samples.
    pub enable_sampler: Option<u64>,
    /// How long to let a sampler run that was turned on; nothing means until Ctrl-C.
    pub duration: Option<Duration>,
    /// Read again after this long, until Ctrl-C; nothing: once.
    pub watch: Option<Duration>,
    pub show: Show,
    /// The recording that each reading is added to.
    pub kept: Option<Kept>,
    /// Keep the runtime's own allocation functions at the inner end of stacks.
    pub runtime_frames: bool,
    /// Most bytes of records that are held at once.
    pub max_memory: usize,
}

impl Config {
    /// Whether addresses are left without names.
    pub fn is_raw(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.raw)
    }
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
    #[command(flatten)]
    processes: Processes,

    #[command(flatten)]
    outputs: Outputs,

    #[command(flatten)]
    keep: Keep,

    #[command(flatten)]
    naming: Naming,

    #[command(flatten)]
    again: Again,

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
        if config.is_raw() && self.runtime_frames {
            return Err(Refusal::usage(
                "--raw has all frames: say --runtime-frames to heaptap symbolize",
            ));
        }
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
        let selection = self.processes.lower("read")?;
        let (show, kept) = self.outputs.and_recording(self.keep)?;
        let kept = self.naming.of(&show, kept)?;
        Ok(Config {
            profile,
            selection,
            enable_sampler: None,
            duration: None,
            watch: self.again.watch,
            show,
            kept,
            runtime_frames: false,
            max_memory: (self.max_memory as usize) << 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Color, Command, parse};
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
            watch: None,
            show: Show::default(),
            kept: None,
            runtime_frames: false,
            max_memory: 512 << 20,
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
                     --enable-sampler=4096 -d 1.5 --max-memory 2 -w 0.5 --top 3 -q --color never";
        let words: Vec<_> = words.split_whitespace().collect();
        let expected = Config {
            profile: Profile::Heap(HeapType::AllocObjects),
            selection: Selection::Pids(vec![7, 9]),
            enable_sampler: Some(4096),
            duration: Some(Duration::from_millis(1500)),
            watch: Some(Duration::from_millis(500)),
            show: Show {
                outputs: vec!["a.svg".into(), "-".into()],
                top: 3,
                quiet: true,
                color: Color::Never,
            },
            kept: None,
            runtime_frames: true,
            max_memory: 2 << 20,
        };
        assert_eq!(config(&words), expected);
        let all = config(&["heap", "--all", "--enable-sampler"]);
        assert_eq!((all.selection, all.enable_sampler), (Selection::All, Some(524_288)));
        let name = config(&["block", "--comm", "api-*"]).selection;
        assert_eq!(name, Selection::Comm("api-*".into()));
        assert_eq!(config(&["heap", "--exe", "/a b"]).selection, Selection::Exe("/a b".into()));
        let block = config(&["mutex", "--all", "--type", "contentions"]);
        assert_eq!(block.profile, Profile::Mutex(WaitType::Contentions));
    }

    #[test]
    fn a_recording_is_one_output() {
        let words = "heap -p 7 --every 10s -o run.htap -o - --max-size 100M --max-age 12h";
        let words: Vec<_> = words.split_whitespace().collect();
        let made = config(&words);
        let max_age = Some(Duration::from_secs(12 * 3600));
        let kept = Kept { path: "run.htap".into(), max_size: Some(100 << 20), max_age, raw: false };
        assert_eq!((made.kept, made.watch), (Some(kept), Some(Duration::from_secs(10))));
        assert_eq!(made.show.outputs, [std::path::PathBuf::from("-")]);
        assert!(refusal(&["heap", "-p", "7", "--max-age", "1h"]).contains("-o FILE.htap"));
        let two = ["heap", "-p", "7", "-o", "a.htap", "-o", "b.htap"];
        assert!(refusal(&two).contains("one recording"));
        assert!(refusal(&["export", "x", "-o", "a.htap"]).contains("must end in"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refusal(&["heap"]).contains("-p PID, --exe PATH"));
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
