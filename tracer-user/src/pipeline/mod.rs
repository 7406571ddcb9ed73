//! The commands: the only place that sees all stages.
//!
//! In: a [`Command`] from the command line. Out: text on standard output, remarks on standard
//! error, or a [`Failure`].

mod agent;
mod assemble;
mod at_rest;
mod diff;
mod doctor;
mod documents;
mod estimates;
mod export;
mod forecast;
mod gc;
mod goroutines;
mod happenings;
mod heap;
mod last_words;
mod leaks;
mod leaves;
mod measures;
mod mode;
mod naming;
mod natives;
pub mod opened;
mod outputs;
mod pools;
mod programs;
mod ps;
mod record;
mod roster;
pub mod sampler;
mod stats;
mod symbolize;
mod targets;
mod terminal;
mod top;
mod typed;
mod watch;
mod written;

use std::io::{self, Write};
use std::ops::ControlFlow;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::cli::{self, Command};
use crate::exit::{Exit, Failure};

/// Runs a command.
///
/// # Errors
/// A [`Failure`] whose message is one line for the user.
pub fn run(command: Command) -> Result<(), Failure> {
    let looks_only = matches!(
        command,
        Command::Ps(_)
            | Command::Export(_)
            | Command::Diff(_)
            | Command::Doctor(_)
            | Command::Completions(_)
            | Command::Man(_)
    );
    if !looks_only {
        sampler::look_after();
    }
    more_files();
    match command {
        Command::Ps(config) => ps::run(&config),
        Command::Stats(config) => stats::run(&config),
        Command::Goroutines(config) => goroutines::run(&config),
        Command::Gc(config) => gc::run(&config),
        Command::Leaks(config) => leaks::run(&config),
        Command::Forecast(config) => forecast::run(&config),
        Command::Top(config) => top::run(&config),
        Command::Agent(config) => agent::run(&config),
        Command::Watch(config) => last_words::run(&config),
        Command::Export(config) => export::run(&config),
        Command::Diff(config) => diff::run(&config),
        Command::Symbolize(config) => symbolize::run(&config),
        Command::Doctor(config) => doctor::run(&config),
        Command::Completions(shell) => print(&cli::documents::completions(shell)),
        Command::Man(config) => documents::man(&config),
        Command::Profile(config) => heap::run(&config),
        Command::Record(config) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
            runtime.block_on(record::run(config))
        }
    }
}

/// Each process and binary takes descriptors; the usual limit is for programs that use select(2).
fn more_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Best effort: what does not fit is told, process by process.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Writes `text` to standard output. A reader that went away (`heaptap ps | head`) is success.
///
/// # Errors
/// [`Exit::Output`] when standard output can't be written.
pub fn print(text: &str) -> Result<(), Failure> {
    print_more(text).map(|_| ())
}

/// Writes `text` to standard output and tells whether anybody will read more.
///
/// # Errors
/// [`Exit::Output`] when standard output can't be written.
fn print_more(text: &str) -> Result<ControlFlow<()>, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => {
            Err(Failure::new(Exit::Output, format!("standard output can't be written: {error}")))
        }
    }
}

/// A JSON document of a schema, over several lines or in one.
fn json(schema: &str, document: &impl Serialize, pretty: bool) -> Result<String, Failure> {
    let text = match pretty {
        true => serde_json::to_string_pretty(document),
        false => serde_json::to_string(document),
    };
    let text = text.map_err(|err| Failure::new(Exit::Failure, format!("{schema}: {err}")))?;
    Ok(text + "\n")
}

/// `1 process`, `2 processes`.
fn counted(count: usize, noun: &str) -> String {
    let plural = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{plural}")
}

/// Holds a JSON document to its description: the description's part that begins with the schema's
/// name lists every field of the document, as `| \`field\` |` or `| \`outer.field\` |`, and no other.
#[cfg(test)]
pub(crate) fn assert_described(document: &serde_json::Value, description: &str, schema: &str) {
    use std::collections::BTreeSet;

    fn collect(value: &serde_json::Value, at: &str, fields: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    fields.insert(at.clone());
                    collect(member, &at, fields);
                }
            }
            serde_json::Value::Array(elements) => {
                for element in elements {
                    collect(element, at, fields);
                }
            }
            _ => {}
        }
    }

    let mut found = BTreeSet::new();
    collect(document, "", &mut found);
    let (_, part) = description.split_once(&format!("## `{schema}`")).expect("a chapter");
    let part = part.split("\n## ").next().unwrap_or(part);
    let described: BTreeSet<String> = part
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(found, described);
}
