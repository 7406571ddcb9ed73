//! Flags of `heaptap forecast`, and the configuration they make.

use std::time::Duration;

use clap::Args;

use super::groups::Processes;
use super::{Refusal, value};
use crate::host::Selection;

/// Whom to look at, for how long, and what is soon.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub selection: Selection,
    pub window: Duration,
    /// Limits that will be reached in this time decide the exit code.
    pub within: Duration,
    /// Print `heaptap.forecast/1` instead of text.
    pub json: bool,
    /// No remarks on standard error.
    pub quiet: bool,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    /// Look for this long: 60s, 10m; the longer, the surer; 15s at least tell something
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = value::duration, allow_hyphen_values = true, help_heading = "How to read")]
    window: Duration,

    /// End with 8 when a program comes to its limit in this time
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    #[arg(value_parser = value::duration, allow_hyphen_values = true)]
    #[arg(help_heading = "What to show")]
    within: Duration,

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
        Ok(Config {
            selection: self.processes.lower("look at")?,
            window: self.window,
            within: self.within,
            json: self.json,
            quiet: self.quiet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(words: &str) -> Config {
        match parse(["heaptap", "forecast"].into_iter().chain(words.split_whitespace())) {
            Ok(Command::Forecast(config)) => config,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let expected = Config {
            selection: Selection::Pids(vec![7]),
            window: Duration::from_secs(60),
            within: Duration::from_secs(3600),
            json: false,
            quiet: false,
        };
        assert_eq!(config("-p 7"), expected);
        let expected = Config {
            selection: Selection::All,
            window: Duration::from_secs(600),
            within: Duration::from_secs(86_400),
            json: true,
            quiet: true,
        };
        assert_eq!(config("--all --for 10m --within 24h --json -q"), expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, expected) in [
            ("", "say which processes to look at"),
            ("4242", "a process is given as -p 4242 (see heaptap forecast --help)"),
            ("-p 7 --for 0", "shorter than a millisecond"),
            ("-p 7 --within soon", "expected seconds"),
        ] {
            let words = ["heaptap", "forecast"].into_iter().chain(words.split_whitespace());
            let refusal = parse(words).expect_err("refused");
            assert_eq!(refusal.exit, Exit::Usage);
            assert!(refusal.text.contains(expected), "{}", refusal.text);
        }
    }
}
