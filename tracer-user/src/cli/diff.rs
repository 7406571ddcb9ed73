//! Flags of `heaptap diff`, and the configuration that they make.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Refusal;
use super::groups::{MaxMemory, Outputs, Show};
use super::value::{self, Moment};
use crate::profile::diff::{self, Asked};
use crate::recording;

/// What to compare, and where to write what is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub of: Of,
    /// Process ids and globs of command names; none: all processes.
    pub processes: Vec<String>,
    pub asked: Asked,
    pub show: Show,
    /// Most bytes that reading each of them may take.
    pub max_memory: usize,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    Two {
        before: Source,
        after: Source,
    },
    /// Phases of one recording with each other.
    Phases {
        recording: PathBuf,
        phases: Phases,
    },
}

/// Phases of a recording, at least two, in their order and with different names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phases {
    /// Each from then on.
    Given(Vec<(String, Moment)>),
    /// Where they begin is to be found.
    Found(Vec<String>),
}

impl Phases {
    /// What they are called.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Phases::Given(phases) => phases.iter().map(|(name, _)| name.as_str()).collect(),
            Phases::Found(names) => names.iter().map(String::as_str).collect(),
        }
    }
}

/// Where a profile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The last snapshot until then of a recording; nothing: the last of all.
    Recording(PathBuf, Option<Moment>),
    /// A pprof file.
    Pprof(PathBuf),
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// What was before: a recording (run.htap: its last snapshot; run.htap@90s: as of then), or any
    /// pprof file
    #[arg(value_name = "A")]
    before: PathBuf,

    /// What was after, the same way [default: A, a recording, with --from and --to]
    #[arg(value_name = "B")]
    after: Option<PathBuf>,

    #[command(flatten)]
    outputs: Outputs,

    /// Of one recording: before is its last snapshot until this time, so long after the first (90s), or
    /// 2026-11-21T18:30:00Z [default, with --to: the first snapshot]
    #[arg(long, value_name = "TIME", value_parser = value::moment, help_heading = WHAT)]
    #[arg(allow_hyphen_values = true, conflicts_with = "after")]
    from: Option<Moment>,

    /// Of one recording: after is its last snapshot until this time [default, with --from: the last]
    #[arg(long, value_name = "TIME", value_parser = value::moment, help_heading = WHAT)]
    #[arg(allow_hyphen_values = true, conflicts_with = "after")]
    to: Option<Moment>,

    /// Phases of one recording, each compared with the next and the first with the last: start=0s,load=30s,steady=2m
    /// says when each begins; start,load,steady has that found from the values
    #[arg(long, value_name = "NAMES", value_parser = phases, help_heading = WHAT)]
    #[arg(conflicts_with_all = ["after", "from", "to", "normalize"])]
    phases: Option<Phases>,

    /// Only this process, or those whose command name matches; may be repeated
    #[arg(long, value_name = "PID|GLOB", help_heading = WHAT)]
    process: Vec<String>,

    /// What to weigh stacks by, such as alloc_space [default: as chosen for B]
    #[arg(long = "type", visible_alias = "value", value_name = "VALUE", help_heading = WHAT)]
    value: Option<String>,

    /// What makes stacks the same: functions with their lines, or functions alone (for builds whose lines
    /// have moved)
    #[arg(long, value_enum, default_value_t = By::Line, help_heading = WHAT)]
    by: By,

    /// Scale what happened before to as long a time as after
    #[arg(long, help_heading = WHAT)]
    normalize: bool,

    #[command(flatten)]
    memory: MaxMemory,
}

/// What makes stacks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Line,
    Function,
}

const WHAT: &str = "What of it";

/// What a path names: `run.htap`, `run.htap@90s`, or a pprof file.
fn source(path: PathBuf) -> Result<Source, Refusal> {
    let text = path.to_string_lossy();
    if text.ends_with(recording::SUFFIX) {
        return Ok(Source::Recording(path, None));
    }
    let at = format!("{}@", recording::SUFFIX);
    let Some(end) = text.rfind(&at).map(|start| start + recording::SUFFIX.len()) else {
        return Ok(Source::Pprof(path));
    };
    let moment = value::moment(&text[end + 1..])
        .map_err(|why| Refusal::usage(format!("{}: {why}", text.escape_debug())))?;
    Ok(Source::Recording(text[..end].into(), Some(moment)))
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let show = self.outputs.lower()?;
        if show.outputs.iter().any(|path| path.to_string_lossy().ends_with(".html")) {
            return Err(Refusal::usage(
                "-o: a comparison has no page (that of heaptap export FILE -o x.html compares moments itself)",
            ));
        }
        let first = source(self.before)?;
        let of = match (self.phases, self.after) {
            (Some(phases), _) => match first {
                Source::Recording(recording, None) => Of::Phases { recording, phases },
                _ => {
                    return Err(Refusal::usage("--phases: only a recording (run.htap) has phases"));
                }
            },
            (None, Some(after)) => Of::Two { before: first, after: source(after)? },
            (None, None) => {
                let (before, after) = two_times(first, self.from, self.to)?;
                Of::Two { before, after }
            }
        };
        let by = match self.by {
            By::Line => diff::By::Line,
            By::Function => diff::By::Function,
        };
        Ok(Config {
            of,
            processes: self.process,
            asked: Asked { value: self.value, by, normalize: self.normalize },
            show,
            max_memory: self.memory.bytes(),
        })
    }
}

/// Most phases of a recording.
const PHASES: usize = 20;

/// Reads `start=0s,load=30s` or `start,load`.
fn phases(text: &str) -> Result<Phases, String> {
    let refuse = || "expected names, such as start,load,steady, or names and times, such as start=0s,load=30s";
    let parts: Vec<&str> = text.split(',').collect();
    let names: Vec<&str> =
        parts.iter().map(|part| part.split_once('=').map_or(*part, |(name, _)| name)).collect();
    let is_name = |name: &&str| {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        (1..=40).contains(&name.len())
            && name.chars().all(is_plain)
            && !name.starts_with(['.', '-'])
    };
    let are_different = (1..names.len()).all(|at| !names[..at].contains(&names[at]));
    if !names.iter().all(is_name) || !are_different {
        return Err(format!("{}; each another name", refuse()));
    }
    if !(2..=PHASES).contains(&names.len()) {
        return Err(format!("expected 2 to {PHASES} phases"));
    }
    if !text.contains('=') {
        return Ok(Phases::Found(names.into_iter().map(str::to_owned).collect()));
    }
    let given = parts.iter().map(|part| {
        let (name, time) = part.split_once('=').ok_or_else(refuse)?;
        Ok((name.to_owned(), value::moment(time)?))
    });
    given.collect::<Result<_, String>>().map(Phases::Given)
}

fn two_times(
    of: Source,
    from: Option<Moment>,
    to: Option<Moment>,
) -> Result<(Source, Source), Refusal> {
    let said = from.is_some() || to.is_some();
    match of {
        Source::Recording(path, None) if said => {
            let from = from.unwrap_or(Moment::After(std::time::Duration::ZERO));
            Ok((Source::Recording(path.clone(), Some(from)), Source::Recording(path, to)))
        }
        _ => Err(Refusal::usage(
            "say what to compare: two recordings or pprof files, or one recording with --from TIME, \
             --to TIME or both (see heaptap diff --help)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(words: &str) -> Config {
        let words = ["heaptap", "diff"].into_iter().chain(words.split_whitespace());
        match parse(words) {
            Ok(Command::Diff(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(words: &str) -> String {
        let words = ["heaptap", "diff"].into_iter().chain(words.split_whitespace());
        let refusal = parse(words).expect_err("must be refused");
        assert_eq!(refusal.exit, Exit::Usage);
        refusal.text
    }

    fn recording(path: &str, seconds: Option<u64>) -> Source {
        let moment = seconds.map(|seconds| Moment::After(Duration::from_secs(seconds)));
        Source::Recording(path.into(), moment)
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let (before, after) = (recording("a.htap", None), Source::Pprof("b.pb.gz".into()));
        let defaults = Config {
            of: Of::Two { before, after },
            processes: vec![],
            asked: Asked::default(),
            show: Show::default(),
            max_memory: 512 << 20,
        };
        assert_eq!(config("a.htap b.pb.gz"), defaults);
        let words = "a.htap b.pb.gz --process web --value alloc_space --by function --normalize \
                     -o x.svg --top 3 --max-memory 64";
        let asked =
            Asked { value: Some("alloc_space".into()), by: diff::By::Function, normalize: true };
        let expected = Config {
            processes: vec!["web".into()],
            asked,
            show: Show { outputs: vec!["x.svg".into()], top: 3, ..Show::default() },
            max_memory: 64 << 20,
            ..defaults
        };
        assert_eq!(config(words), expected);
    }

    #[test]
    fn times_are_of_each_file_or_of_one() {
        let of = |words: &str| match config(words).of {
            Of::Two { before, after } => (before, after),
            other => panic!("{other:?}"),
        };
        let (first, minute) = (recording("r.htap", Some(0)), recording("r.htap", Some(60)));
        assert_eq!(of("r.htap --to 1m"), (first, minute.clone()));
        assert_eq!(of("r.htap --from 1m"), (minute.clone(), recording("r.htap", None)));
        assert_eq!(of("r.htap@1m r.htap@2m"), (minute, recording("r.htap", Some(120))));
        let odd = Source::Pprof("x@1m".into());
        assert_eq!(of("x@1m a.htap@b.htap@5s").0, odd);
        assert_eq!(of("x a.htap@b.htap@5s").1, recording("a.htap@b.htap", Some(5)));
    }

    #[test]
    fn phases_have_times_or_are_to_be_found() {
        let of = |words: &str| match config(&format!("r.htap --phases {words}")).of {
            Of::Phases { recording, phases } => {
                assert_eq!(recording, PathBuf::from("r.htap"));
                phases
            }
            other => panic!("{other:?}"),
        };
        let names = ["start", "load"].map(str::to_owned);
        assert_eq!(of("start,load"), Phases::Found(names.to_vec()));
        let [start, load] = names;
        let (zero, half) = (Duration::ZERO, Duration::from_secs(30));
        let given = vec![(start, Moment::After(zero)), (load, Moment::After(half))];
        assert_eq!(of("start=0s,load=30s"), Phases::Given(given));
        assert!(refusal("r.htap --phases one").contains("expected 2 to 20 phases"));
        assert!(refusal("r.htap --phases a,a").contains("each another name"));
        assert!(refusal("r.htap --phases a,../b").contains("expected names"));
        assert!(refusal("r.htap --phases a=0s,b").contains("expected names"));
        assert!(refusal("r.htap --phases a=0s,b=soon").contains("expected seconds"));
        assert!(refusal("a.pb.gz --phases a,b").contains("only a recording"));
        assert!(refusal("a.htap b.htap --phases a,b").contains("cannot be used with"));
        assert!(refusal("a.htap --phases a,b --normalize").contains("cannot be used with"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refusal("").contains("<A>"));
        assert!(refusal("a.htap").contains("say what to compare"));
        assert!(refusal("a.pb.gz --from 1s").contains("say what to compare"));
        assert!(refusal("a.htap@1s --from 1s").contains("say what to compare"));
        assert!(refusal("a.htap b.htap --from 1s").contains("cannot be used with"));
        assert!(refusal("a.htap@soon b.htap").contains("expected seconds"));
        assert!(refusal("a.htap b.htap -o x.htap").contains(".pb.gz"));
        assert!(refusal("a.htap b.htap -o x.html").contains("has no page"));
    }
}
