//! Flags of `heaptap watch`, and the configuration that they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::groups::Processes;
use super::{Refusal, value};
use crate::host::Selection;

/// Whose last words to keep, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub selection: Selection,
    /// A directory for each process that ends badly is made here.
    pub directory: PathBuf,
    /// The longest time between two looks at a process.
    pub every: Duration,
    /// Looks that are kept of a process.
    pub keep: usize,
    /// Share of its limit from which on a process is looked at more often.
    pub near: f64,
    /// Bytes of all looks that are kept.
    pub max_memory: usize,
    /// Processes whose last words are written.
    pub max_written: u64,
    pub quiet: bool,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    /// Make a directory for each process that ends badly in this one
    #[arg(short, long = "output", value_name = "DIR", default_value = "heaptap-last-words")]
    #[arg(help_heading = WHERE)]
    output: PathBuf,

    /// Processes whose last words are written; others are only told
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = WHERE)]
    max_written: u64,

    /// Results and errors only
    #[arg(short, long, help_heading = WHERE)]
    quiet: bool,

    /// Look at each process at least this often: 5, 500ms, 1m
    #[arg(long, value_name = "SECONDS", value_parser = value::duration, default_value = "5")]
    #[arg(allow_hyphen_values = true, help_heading = HOW)]
    every: Duration,

    /// Looks that are kept of each process: the last one, and earlier ones further and further apart
    #[arg(long, value_name = "N", default_value_t = 6, help_heading = HOW)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    keep: u16,

    /// From this share of its memory limit on look at a process several times a second
    #[arg(long, value_name = "PERCENT", default_value_t = 75, help_heading = HOW)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    near: u8,

    /// Memory for all looks that are kept
    #[arg(long, value_name = "MIB", default_value_t = 64, help_heading = HOW)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,
}

const WHERE: &str = "Where to";
const HOW: &str = "How to watch";

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        Ok(Config {
            selection: self.processes.or_all("watch")?,
            directory: self.output,
            every: self.every,
            keep: usize::from(self.keep),
            near: f64::from(self.near) / 100.0,
            max_memory: (self.max_memory as usize) << 20,
            max_written: self.max_written,
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
        match parse(["heaptap", "watch"].iter().chain(flags)) {
            Ok(Command::Watch(config)) => config,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let all = config(&[]);
        assert_eq!(
            (all.selection, all.keep, all.every),
            (Selection::All, 6, Duration::from_secs(5))
        );
        let words = "-p 7 -o /x --every 500ms --keep 3 --near 50 --max-memory 8 --max-written 2 -q";
        let some = config(&words.split(' ').collect::<Vec<_>>());
        let expected = Config {
            selection: Selection::Pids(vec![7]),
            directory: "/x".into(),
            every: Duration::from_millis(500),
            keep: 3,
            near: 0.5,
            max_memory: 8 << 20,
            max_written: 2,
            quiet: true,
        };
        assert_eq!(some, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [["--keep", "0"], ["--near", "101"], ["--every", "0"], ["--max-memory", "0"]] {
            let words = ["heaptap", "watch"].iter().chain(&flags);
            assert_eq!(parse(words).expect_err("refused").exit, Exit::Usage, "{flags:?}");
        }
    }
}
