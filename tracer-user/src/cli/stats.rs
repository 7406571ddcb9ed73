//! Flags of `heaptap stats`, and the configuration they make.

use std::time::Duration;

use clap::Args;

use super::{Refusal, value};
use crate::host::Selection;

/// What to read and how to show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Pids or all.
    pub selection: Selection,
    /// Read again after this long, until Ctrl-C; nothing: once.
    pub watch: Option<Duration>,
    /// Print `heaptap.stats/1` instead of text.
    pub json: bool,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Read this Go program; may be repeated
    #[arg(short, long = "pid", value_name = "PID", value_parser = value::pid)]
    #[arg(conflicts_with = "all")]
    pid: Vec<u32>,

    /// Read every Go process of this host
    #[arg(long)]
    all: bool,

    /// Read again after this long, until Ctrl-C: 1, 0.5, 500ms, 1m
    #[arg(short, long, value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true)]
    watch: Option<Duration>,

    /// Print JSON instead of text for people: one document, with --watch one in each line
    #[arg(long)]
    json: bool,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
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
        Ok(Config { selection, watch: self.watch, json: self.json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(flags: &[&str]) -> Config {
        match parse(["heaptap", "stats"].iter().chain(flags)) {
            Ok(Command::Stats(config)) => config,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn processes_and_how_often() {
        let once = config(&["-p", "9", "-p", "7", "-p", "9"]);
        assert_eq!(once.selection, Selection::Pids(vec![7, 9]));
        assert_eq!((once.watch, once.json), (None, false));
        let watched = config(&["--all", "--watch", "0.5", "--json"]);
        assert_eq!(watched.selection, Selection::All);
        assert_eq!((watched.watch, watched.json), (Some(Duration::from_millis(500)), true));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [&[][..], &["--all", "-p", "1"], &["-p", "0"], &["--all", "--watch", "0"]] {
            let words = ["heaptap", "stats"].iter().chain(flags);
            assert_eq!(parse(words).expect_err("refused").exit, Exit::Usage, "{flags:?}");
        }
    }
}
