//! `heaptap-agent.toml`: what the agent watches, serves and sends.
//!
//! In: the text of the file. Out: a [`Config`] in which everything was checked, or a [`Problem`] that says which line
//! is wrong and why. Keys that mean nothing are refused: a misspelt one would be obeyed by nobody.

mod listen;
mod notify;
mod push;
mod rules;
mod target;
mod watch;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use super::notify::Receiver;
use super::rules::Rule;

pub use listen::{ADDRESS, Listen, address};
pub use push::{Push, SPOOL};
pub use rules::Captures;
pub use watch::{MOST_STACKS, Watch, cpu, every};

/// The file, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub watch: Watch,
    pub push: Push,
    pub rules: Vec<Rule>,
    pub captures: Captures,
    pub notify: Vec<Receiver>,
}

/// As written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    listen: listen::Table,
    watch: watch::Table,
    rule: Vec<rules::Table>,
    captures: rules::CapturesTable,
    notify: Vec<notify::Table>,
    push: Vec<push::Table>,
    spool: push::SpoolTable,
}

/// What is wrong with the file, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// From 1 on; nothing where no line can be blamed.
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for Problem {
    /// `LINE: message`, to be put behind the name of the file and a colon.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(to, "{line}: {}", self.message),
            None => write!(to, " {}", self.message),
        }
    }
}

/// A value that can't be: where it stands and why.
pub(super) struct Wrong {
    at: Range<usize>,
    why: String,
}

impl Wrong {
    pub(super) fn new(at: Range<usize>, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }
}

/// Reads and checks the text of a file.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str) -> Result<Config, Problem> {
    let line = |at: usize| text.get(..at).map(|before| before.matches('\n').count() + 1);
    let document: Document = toml::from_str(text).map_err(|err| Problem {
        line: err.span().and_then(|span| line(span.start)),
        // The first line says what; what follows draws the place.
        message: err.message().replace('\n', " "),
    })?;
    let checked = || {
        Ok(Config {
            listen: document.listen.check()?,
            watch: document.watch.check()?,
            rules: rules::check(document.rule)?,
            captures: document.captures.check()?,
            push: push::check(document.push, document.spool)?,
            notify: notify::check(document.notify)?,
        })
    };
    let config: Config =
        checked().map_err(|Wrong { at, why }| Problem { line: line(at.start), message: why })?;
    for rule in &config.rules {
        let is_known = |name: &&String| config.notify.iter().any(|other| other.name == **name);
        if let Some(name) = rule.notify.iter().flatten().find(|name| !is_known(name)) {
            let message = format!("rule {:?}: there is no [[notify]] called {name:?}", rule.name);
            return Err(Problem { line: None, message });
        }
    }
    Ok(config)
}

/// A length of time as people write it: `500ms`, `10s`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(refused(text)),
    };
    let number: f64 = number.parse().map_err(|_| refused(text))?;
    let length = Duration::try_from_secs_f64(number * scale).map_err(|_| refused(text))?;
    match length {
        _ if length < Duration::from_millis(1) => Err(format!("\"{text}\" is too short")),
        _ if length > Duration::from_secs(366 * 86_400) => Err(format!("\"{text}\" is too long")),
        _ => Ok(length),
    }
}

fn refused(text: &str) -> String {
    let text = text.escape_debug();
    format!(
        "\"{text}\" is no length of time: expected one such as \"500ms\", \"10s\", \"2m\" or \"1h\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        format!("agent.toml:{}", parse(text).expect_err("refused"))
    }

    #[test]
    fn nothing_said_is_what_stands_in_the_documentation() {
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(parse("# nothing\n[watch]\n").unwrap(), Config::default());
    }

    #[test]
    fn each_problem_has_its_line() {
        assert_eq!(
            problem("[watch]\nevery = \"1s\"\ntop_stack = 3\n"),
            "agent.toml:3: unknown field `top_stack`, expected one of `every`, `node`, \
             `top_stacks`, `max_processes`, `max_series`, `maps`, `cpu`"
        );
        assert!(
            problem("[watch]\n\nevery = \"soon\"\n").starts_with("agent.toml:3: \"soon\" is no")
        );
        assert!(problem("[watch]\ncpu = \"0%\"\n").starts_with("agent.toml:2: \"0%\" is no share"));
        assert!(problem("[watch\n").starts_with("agent.toml:1: "));
        assert!(problem("[watch]\nmax_processes = -1\n").starts_with("agent.toml:2: "));
        assert!(problem("[listen]\naddress = \"here\"\n").starts_with("agent.toml:2: \"here\" is"));
    }

    #[test]
    fn lengths_of_time() {
        let ms = |text| duration(text).unwrap().as_millis();
        assert_eq!([ms("500ms"), ms("1.5s"), ms("2m"), ms("1h")], [500, 1500, 120_000, 3_600_000]);
        for text in ["", "5", "s", "-1s", "1 s", "0s", "1e9h", "400d", "..s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
