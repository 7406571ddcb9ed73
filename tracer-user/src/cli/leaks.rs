//! Flags of `heaptap leaks`, and the configuration they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::groups::Processes;
use super::{Refusal, value};
use crate::host::Selection;

/// Whom to judge, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub of: Of,
    /// Live: how long to look. Of a recording: how much of its end; nothing: all of it, and of live programs a
    /// minute.
    pub window: Option<Duration>,
    /// Print `heaptap.leaks/1` instead of text.
    pub json: bool,
    /// Whole stacks in the text.
    pub stacks: bool,
    /// No remarks on standard error.
    pub quiet: bool,
    /// Most bytes that records or a recording may take at once.
    pub max_memory: usize,
}

/// What is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    Processes(Selection),
    Recording(PathBuf),
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A recording of heap profiles (heaptap heap --every 5s -o FILE.htap), instead of processes
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    processes: Processes,

    /// Look for this long: 60s, 10m [default: 60s]; of a recording, only so much of its end [default: all]
    #[arg(long = "for", value_name = "DURATION", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, help_heading = "How to read")]
    window: Option<Duration>,

    /// Give up on a program whose records, or on a recording whose snapshots need more memory than this
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "How to read")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,

    /// Show the whole stack of each finding
    #[arg(long, help_heading = "What to show")]
    stacks: bool,

    /// Print one JSON document instead of text for people
    #[arg(long, help_heading = "What to show")]
    json: bool,

    /// No remarks: results and errors only
    #[arg(short, long, help_heading = "What to show")]
    quiet: bool,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let of = match self.file {
            Some(_) if self.processes.are_given() => {
                return Err(Refusal::usage("a FILE or processes, not both"));
            }
            Some(file) if file.to_str().is_some_and(|text| text.parse::<u32>().is_ok()) => {
                let pid = file.display();
                return Err(Refusal::usage(format!("a process is given as -p {pid}")));
            }
            Some(file) => Of::Recording(file),
            None => Of::Processes(self.processes.lower("judge")?),
        };
        Ok(Config {
            of,
            window: self.window,
            json: self.json,
            stacks: self.stacks,
            quiet: self.quiet,
            max_memory: (self.max_memory as usize) << 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(words: &str) -> Config {
        match parse(["heaptap", "leaks"].into_iter().chain(words.split_whitespace())) {
            Ok(Command::Leaks(config)) => config,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let expected = Config {
            of: Of::Processes(Selection::Pids(vec![7])),
            window: None,
            json: false,
            stacks: false,
            quiet: false,
            max_memory: 512 << 20,
        };
        assert_eq!(config("-p 7"), expected);
        let expected = Config {
            of: Of::Processes(Selection::All),
            window: Some(Duration::from_secs(600)),
            json: true,
            stacks: true,
            quiet: true,
            max_memory: 2 << 20,
        };
        assert_eq!(config("--all --for 10m --json --stacks -q --max-memory 2"), expected);
        let file = config("run.htap --for 5m");
        assert_eq!(file.of, Of::Recording("run.htap".into()));
        assert_eq!(file.window, Some(Duration::from_secs(300)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, expected) in [
            ("", "say which processes to judge"),
            ("run.htap -p 7", "not both"),
            ("4242", "a process is given as -p 4242"),
            ("-p 7 --for 0", "shorter than a millisecond"),
        ] {
            let words = ["heaptap", "leaks"].into_iter().chain(words.split_whitespace());
            let refusal = parse(words).expect_err("refused");
            assert_eq!(refusal.exit, Exit::Usage);
            assert!(refusal.text.contains(expected), "{}", refusal.text);
        }
    }
}
