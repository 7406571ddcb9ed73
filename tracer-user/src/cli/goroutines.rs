//! Flags of `heaptap goroutines`, and the configuration they make.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::groups::{Again, Keep, Kept, Outputs, Show};
use super::{Refusal, value};
use crate::output::goroutines;

/// What to read and how to show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub pid: u32,
    /// What goroutines are grouped by.
    pub by: goroutines::By,
    /// Read again after this long, until Ctrl-C; nothing: once.
    pub watch: Option<Duration>,
    pub show: Show,
    /// A recording of them by stack and what they are grouped by.
    pub kept: Option<Kept>,
    /// The runtime's own goroutines too.
    pub system: bool,
    /// Frames of a stack.
    pub max_frames: usize,
    /// Bytes that goroutines may take in heaptap's memory.
    pub max_memory: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// The `go` statement that made them
    Creator,
    /// What they wait for
    State,
    /// Their profiler labels (pprof.Do)
    Labels,
    /// Where they are
    Stack,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Read this Go program
    #[arg(short, long, value_name = "PID", value_parser = value::pid)]
    #[arg(help_heading = "Which processes")]
    pid: u32,

    /// What to group goroutines by, in the table, .svg and .folded
    #[arg(long, value_enum, default_value_t = By::Creator, help_heading = "What to show")]
    by: By,

    #[command(flatten)]
    outputs: Outputs,

    #[command(flatten)]
    keep: Keep,

    #[command(flatten)]
    again: Again,

    /// Show the runtime's own goroutines too (.json has them always)
    #[arg(long, help_heading = "What to show")]
    system: bool,

    /// Frames that are read of a stack, inlined calls not counted
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_frames: u32,

    /// Memory that heaptap may take for goroutines; a million takes about 130 MiB, and
    /// 500 MiB with --watch
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let (show, kept) = self.outputs.and_recording(self.keep)?;
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Config {
            pid: self.pid,
            by: match self.by {
                By::Creator => goroutines::By::Creator,
                By::State => goroutines::By::State,
                By::Labels => goroutines::By::Labels,
                By::Stack => goroutines::By::Stack,
            },
            watch: self.again.watch,
            show,
            kept,
            system: self.system,
            max_frames: size(self.max_frames),
            max_memory: size(self.max_memory) << 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Color, Command, parse};
    use crate::exit::Exit;
    use crate::runtime::goroutines::Limits;

    fn config(flags: &[&str]) -> Config {
        match parse(["heaptap", "goroutines"].iter().chain(flags)) {
            Ok(Command::Goroutines(config)) => config,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn defaults() {
        let limits = Limits::default();
        let expected = Config {
            pid: 7,
            by: goroutines::By::Creator,
            watch: None,
            show: Show::default(),
            kept: None,
            system: false,
            max_frames: limits.frames,
            max_memory: limits.memory,
        };
        assert_eq!(config(&["-p", "7"]), expected);
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let words = "--pid 9 --by state -o a.svg -o - -o x.htap --max-size 1M --system --top 3 \
                     --max-frames 50 --max-memory 64 --watch 2 -q --color never";
        let flags: Vec<_> = words.split_whitespace().collect();
        let expected = Config {
            pid: 9,
            by: goroutines::By::State,
            watch: Some(Duration::from_secs(2)),
            show: Show {
                outputs: vec!["a.svg".into(), "-".into()],
                top: 3,
                quiet: true,
                color: Color::Never,
            },
            kept: Some(Kept {
                path: "x.htap".into(),
                max_size: Some(1 << 20),
                max_age: None,
                raw: false,
            }),
            system: true,
            max_frames: 50,
            max_memory: 64 << 20,
        };
        assert_eq!(config(&flags), expected);
        assert_eq!(config(&["-p1", "--by", "stack"]).by, goroutines::By::Stack);
        assert_eq!(config(&["-p1", "--by", "labels"]).by, goroutines::By::Labels);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flags, expected) in [
            (&[][..], "-p"),
            (&["4242"], "a process is given as -p 4242"),
            (&["-p", "0"], "expected a process id"),
            (&["-p", "1", "--by", "age"], "invalid value 'age'"),
            (&["-p", "1", "-o", "x.txt"], "-o x.txt: "),
            (&["-p", "1", "--max-frames", "0"], "--max-frames"),
        ] {
            let refusal =
                parse(["heaptap", "goroutines"].iter().chain(flags)).expect_err("refused");
            assert_eq!(refusal.exit, Exit::Usage, "{flags:?}");
            assert!(refusal.text.contains(expected), "{}", refusal.text);
        }
    }
}
