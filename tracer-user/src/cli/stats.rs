//! Flags of `heaptap stats`, and the configuration they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Refusal;
use super::groups::{Again, Keep, Kept, Processes};
use crate::host::Selection;

/// What to read and how to show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which processes.
    pub selection: Selection,
    /// Read again after this long, until Ctrl-C; nothing: once.
    pub watch: Option<Duration>,
    /// Print `heaptap.stats/1` instead of text.
    pub json: bool,
    /// Record what is read, too.
    pub kept: Option<Kept>,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    #[command(flatten)]
    again: Again,

    /// Print JSON instead of text for people: one document, with --watch one in each line
    #[arg(long, help_heading = "What to show")]
    json: bool,

    /// Record what is read, too (.htap): heaptap export --stats prints it again
    #[arg(short, long, value_name = "FILE.htap", help_heading = "What to show")]
    output: Option<PathBuf>,

    #[command(flatten)]
    keep: Keep,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let selection = self.processes.lower("read")?;
        let kept = self.keep.of(self.output)?;
        Ok(Config { selection, watch: self.again.watch, json: self.json, kept })
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
    fn what_is_read_can_be_recorded() {
        let kept = config(&["--all", "-o", "x.htap", "--max-age", "1h"]).kept.unwrap();
        let age = Some(Duration::from_secs(3600));
        assert_eq!(kept, Kept { path: "x.htap".into(), max_size: None, max_age: age, raw: false });
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [
            &[][..],
            &["--all", "-p", "1"],
            &["-p", "0"],
            &["--all", "--watch", "0"],
            &["--all", "-o", "x.json"],
            &["--all", "--max-size", "1M"],
        ] {
            let words = ["heaptap", "stats"].iter().chain(flags);
            assert_eq!(parse(words).expect_err("refused").exit, Exit::Usage, "{flags:?}");
        }
    }
}
