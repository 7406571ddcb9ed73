//! Flags of `heaptap top`, and the configuration they make.

use std::time::Duration;

use clap::Args;

use super::Refusal;
use super::groups::{Color, Processes};
use super::value;
use crate::host::Selection;

/// What to show and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which processes.
    pub selection: Selection,
    /// Between two looks.
    pub period: Duration,
    pub form: Form,
    pub color: Color,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A live view on a terminal.
    Live,
    /// One table.
    Once,
    /// `heaptap.top/1`: one document, or one for each look.
    Json { once: bool },
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    /// Look again after this long: 1, 0.5, 500ms, 1m
    #[arg(short, long, value_name = "SECONDS", value_parser = value::duration)]
    #[arg(allow_hyphen_values = true, default_value = "1", help_heading = "How to read")]
    watch: Duration,

    /// Print one table and end, after two looks: rates need them. Needs no terminal
    #[arg(long, help_heading = "What to show")]
    once: bool,

    /// Print JSON, one document in each line for each look; with --once a single one
    #[arg(long, help_heading = "What to show")]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, help_heading = "What to show")]
    color: Color,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let form = match (self.json, self.once) {
            (true, once) => Form::Json { once },
            (false, true) => Form::Once,
            (false, false) => Form::Live,
        };
        let selection = self.processes.or_all("show")?;
        Ok(Config { selection, period: self.watch, form, color: self.color })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(flags: &[&str]) -> Config {
        match parse(["heaptap", "top"].iter().chain(flags)) {
            Ok(Command::Top(config)) => config,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn every_process_each_second_unless_told_otherwise() {
        let plain = Config {
            selection: Selection::All,
            period: Duration::from_secs(1),
            form: Form::Live,
            color: Color::Auto,
        };
        assert_eq!(config(&[]), plain);
        let told = config(&["-p", "9", "-w", "0.5", "--once", "--color", "never"]);
        let expected = Config {
            selection: Selection::Pids(vec![9]),
            period: Duration::from_millis(500),
            form: Form::Once,
            color: Color::Never,
        };
        assert_eq!(told, expected);
        assert_eq!(config(&["--json"]).form, Form::Json { once: false });
        assert_eq!(config(&["--json", "--once"]).form, Form::Json { once: true });
        let excluded = config(&["--exclude", "comm=kube-*"]).selection;
        assert!(matches!(excluded, Selection::Except(of, _) if *of == Selection::All));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [&["--all", "-p", "1"][..], &["-p", "0"], &["--watch", "0"], &["--comm", ""]] {
            let words = ["heaptap", "top"].iter().chain(flags);
            assert_eq!(parse(words).expect_err("refused").exit, Exit::Usage, "{flags:?}");
        }
    }
}
