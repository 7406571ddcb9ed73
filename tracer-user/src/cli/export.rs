//! Flags of `heaptap export`, and the configuration that they make.

use std::path::PathBuf;

use clap::Args;

use super::Refusal;
use super::groups::{MaxMemory, Outputs, Show};
use super::value::{self, Moment};
use crate::output::Format;

/// What of a recording to show, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub file: PathBuf,
    pub when: When,
    /// Process ids and globs of command names; none: all processes.
    pub processes: Vec<String>,
    /// What stacks are weighed by, in pprof's words; nothing: what was chosen for the recording.
    pub value: Option<String>,
    /// Statistics instead of stacks.
    pub stats: bool,
    /// Where nothing is to be written, what the recording holds is told.
    pub show: Show,
    /// Most bytes that reading may take.
    pub max_memory: usize,
}

/// Which snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The last one until then; nothing: the last of all.
    At(Option<Moment>),
    /// What happened from one to another; nothing: from the first, to the last.
    Between(Option<Moment>, Option<Moment>),
}

impl Config {
    /// Whether it is one moment that is asked for.
    pub fn is_moment(&self) -> bool {
        matches!(self.when, When::At(Some(_)))
    }
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    outputs: Outputs,

    /// The last snapshot until this time: so long after the first (90s), or 2026-11-21T18:30:00Z
    /// [default: the last of all]
    #[arg(long, value_name = "TIME", value_parser = value::moment, help_heading = WHAT)]
    #[arg(allow_hyphen_values = true, conflicts_with_all = ["from", "to"])]
    at: Option<Moment>,

    /// What happened from this time on [default, with --to: the first snapshot]
    #[arg(long, value_name = "TIME", value_parser = value::moment, help_heading = WHAT)]
    #[arg(allow_hyphen_values = true)]
    from: Option<Moment>,

    /// What happened until this time [default, with --from: the last snapshot]
    #[arg(long, value_name = "TIME", value_parser = value::moment, help_heading = WHAT)]
    #[arg(allow_hyphen_values = true)]
    to: Option<Moment>,

    /// Only this process, or those whose command name matches; may be repeated
    #[arg(long, value_name = "PID|GLOB", help_heading = WHAT)]
    process: Vec<String>,

    /// What to weigh stacks by, such as alloc_space [default: as chosen for the recording]
    #[arg(long = "type", value_name = "VALUE", help_heading = WHAT)]
    value: Option<String>,

    /// Statistics as heaptap stats prints them, instead of stacks: on standard output, or with -o FILE.json;
    /// with --from or --to those of each time
    #[arg(long, conflicts_with_all = ["value", "top"], help_heading = WHAT)]
    stats: bool,

    #[command(flatten)]
    memory: MaxMemory,
}

const WHAT: &str = "What of it";

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let says_rows = self.outputs.says_rows();
        let mut show = self.outputs.lower()?;
        let when = match (self.from, self.to) {
            (None, None) => When::At(self.at),
            (from, to) => When::Between(from, to),
        };
        let asks = when != When::At(None)
            || !self.process.is_empty()
            || self.value.is_some()
            || self.stats;
        if show.outputs.is_empty() && (asks || says_rows) {
            show.outputs.push("-".into());
        }
        let of_stacks =
            |path: &&PathBuf| !matches!(Format::from_path(path), Ok(Format::Json | Format::Table));
        if let Some(path) = show.outputs.iter().find(of_stacks).filter(|_| self.stats) {
            let path = path.display();
            return Err(Refusal::usage(format!(
                "-o {path}: statistics are printed (-o -) or written as .json"
            )));
        }
        Ok(Config {
            file: self.file,
            when,
            processes: self.process,
            value: self.value,
            stats: self.stats,
            show,
            max_memory: self.memory.bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::{Color, Command, parse};
    use crate::exit::Exit;

    fn config(words: &str) -> Config {
        let words = ["heaptap", "export"].into_iter().chain(words.split_whitespace());
        match parse(words) {
            Ok(Command::Export(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(words: &str) -> String {
        let words = ["heaptap", "export"].into_iter().chain(words.split_whitespace());
        let refusal = parse(words).expect_err("must be refused");
        assert_eq!(refusal.exit, Exit::Usage);
        refusal.text
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let defaults = Config {
            file: "run.htap".into(),
            when: When::At(None),
            processes: vec![],
            value: None,
            stats: false,
            show: Show::default(),
            max_memory: 512 << 20,
        };
        assert_eq!(config("run.htap"), defaults);
        let words = "run.htap --at 90s --process 7 --process api-* --type alloc_space -o a.svg -o - \
                     --top 3 -q --color never --max-memory 64";
        let expected = Config {
            when: When::At(Some(Moment::After(Duration::from_secs(90)))),
            processes: vec!["7".into(), "api-*".into()],
            value: Some("alloc_space".into()),
            show: Show {
                outputs: vec!["a.svg".into(), "-".into()],
                top: 3,
                quiet: true,
                color: Color::Never,
            },
            max_memory: 64 << 20,
            ..defaults
        };
        assert_eq!(config(words), expected);
        let minute = Some(Moment::After(Duration::from_secs(60)));
        assert_eq!(config("x --from 1m -o -").when, When::Between(minute, None));
        assert_eq!(config("x --to 1m -o -").when, When::Between(None, minute));
        let unix = Some(Moment::Unix(0));
        let both = config("x --from 1970-01-01T00:00:00Z --to 60s -o -").when;
        assert_eq!(both, When::Between(unix, minute));
    }

    #[test]
    fn what_is_asked_for_without_an_output_is_a_table() {
        let all = ["--at 1s", "--from 1s", "--process 7", "--type y", "--top 3", "--stats"];
        for words in all.map(|flag| format!("x {flag}")) {
            assert_eq!(config(&words).show.outputs, [PathBuf::from("-")], "{words}");
        }
        assert!(config("x -q").show.outputs.is_empty(), "it is told what it holds");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refusal("").contains("FILE"));
        assert!(refusal("x --at 1s --from 2s -o -").contains("cannot be used with"));
        assert!(refusal("x --at soon -o -").contains("expected seconds"));
        assert!(refusal("x --at 25:00 -o -").contains("such as 2026-11-21T18:30:00Z"));
        assert!(refusal("x -o a.txt").contains(".pb.gz"));
        assert!(refusal("x --stats -o a.svg").contains("written as .json"));
        assert!(refusal("x --stats --type inuse_space").contains("cannot be used with"));
    }
}
