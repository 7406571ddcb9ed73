//! Flags and their help, and nothing that does I/O.
//!
//! In: the words of the command line. Out: one [`Command`] whose configurations are plain structs,
//! or a [`Refusal`]: a text to print and an exit code. Parsing happens in two steps: clap turns
//! words into [`Cli`], and `lower` turns that into what the pipeline takes, with the checks that
//! span several flags. This module touches no file, no process and no environment.

pub mod agent;
pub mod diff;
pub mod documents;
mod epilogues;
pub mod export;
pub mod forecast;
pub mod gc;
pub mod goroutines;
mod groups;
pub mod heap;
pub mod leaks;
mod maps;
mod pools;
pub mod probes;
pub mod record;
mod refusal;
pub mod stats;
pub mod symbolize;
pub mod top;
mod value;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
pub use clap_complete::Shell;

use epilogues::{
    AGENT_EPILOGUE, BLOCK_EPILOGUE, COMPLETIONS_EPILOGUE, DIFF_EPILOGUE, DOCTOR_EPILOGUE,
    EXPORT_EPILOGUE, FORECAST_EPILOGUE, GC_EPILOGUE, GOROUTINES_EPILOGUE, HEAP_EPILOGUE,
    LEAKS_EPILOGUE, MAIN_EPILOGUE, MAN_EPILOGUE, MAPS_EPILOGUE, MUTEX_EPILOGUE, POOLS_EPILOGUE,
    PS_EPILOGUE, RECORD_EPILOGUE, STATS_EPILOGUE, SYMBOLIZE_EPILOGUE, TOP_EPILOGUE, WATCH_EPILOGUE,
};

pub use groups::{Color, Kept, Show};
pub use refusal::Refusal;
pub use value::Moment;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Ps(PsConfig),
    Record(record::Config),
    /// One of the runtime's own profiles.
    Profile(heap::Config),
    Stats(stats::Config),
    Goroutines(goroutines::Config),
    Gc(gc::Config),
    Leaks(leaks::Config),
    Forecast(forecast::Config),
    Top(top::Config),
    Watch(watch::Config),
    Agent(agent::Config),
    Export(export::Config),
    Diff(diff::Config),
    Symbolize(symbolize::Config),
    Doctor(DoctorConfig),
    Completions(Shell),
    Man(ManConfig),
}

/// `heaptap ps`.
#[derive(Clone, Debug, PartialEq)]
pub struct PsConfig {
    /// Print `heaptap.ps/1` instead of a table.
    pub json: bool,
}

/// `heaptap doctor`.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorConfig {
    /// Print `heaptap.doctor/1` instead of lines.
    pub json: bool,
}

/// `heaptap man`.
#[derive(Clone, Debug, PartialEq)]
pub struct ManConfig {
    /// The command that the page is about; nothing: heaptap itself.
    pub command: Option<String>,
    /// Write all pages here instead.
    pub dir: Option<PathBuf>,
}

/// Understands a command line.
///
/// `words` starts with the program's own name, as in [`std::env::args_os`].
///
/// # Errors
/// A [`Refusal`] when the words make no command; also for `--help` and `--version`, whose refusals
/// carry exit code 0 and go to standard output.
pub fn parse<I, W>(words: I) -> Result<Command, Refusal>
where
    I: IntoIterator<Item = W>,
    W: Into<OsString>,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let cli = Cli::try_parse_from(&words)
        .map_err(|error| Refusal::from_clap(&error, words.get(1).and_then(|word| word.to_str())))?;
    match cli.command {
        Subcommands::Ps(flags) => Ok(Command::Ps(PsConfig { json: flags.json })),
        Subcommands::Record(flags) => flags.lower().map(Command::Record),
        Subcommands::Maps(flags) => flags.lower().map(Command::Record),
        Subcommands::Pools(flags) => flags.lower().map(Command::Record),
        Subcommands::Heap(flags) => flags.lower().map(Command::Profile),
        Subcommands::Block(flags) => flags.lower(heap::Profile::Block).map(Command::Profile),
        Subcommands::Mutex(flags) => flags.lower(heap::Profile::Mutex).map(Command::Profile),
        Subcommands::Stats(flags) => flags.lower().map(Command::Stats),
        Subcommands::Goroutines(flags) => flags.lower().map(Command::Goroutines),
        Subcommands::Gc(flags) => flags.lower().map(Command::Gc),
        Subcommands::Leaks(flags) => flags.lower().map(Command::Leaks),
        Subcommands::Forecast(flags) => flags.lower().map(Command::Forecast),
        Subcommands::Top(flags) => flags.lower().map(Command::Top),
        Subcommands::Agent(flags) => flags.lower().map(Command::Agent),
        Subcommands::Watch(flags) => flags.lower().map(Command::Watch),
        Subcommands::Export(flags) => flags.lower().map(Command::Export),
        Subcommands::Diff(flags) => flags.lower().map(Command::Diff),
        Subcommands::Symbolize(flags) => flags.lower().map(Command::Symbolize),
        Subcommands::Doctor(flags) => Ok(Command::Doctor(DoctorConfig { json: flags.json })),
        Subcommands::Completions(flags) => Ok(Command::Completions(flags.shell)),
        Subcommands::Man(flags) => flags.lower().map(Command::Man),
    }
}

/// Taps the memory of running Go programs: no change to them, no restart, no signal, no stop.
#[derive(Debug, Parser)]
#[command(
    name = "heaptap",
    version,
    propagate_version = false,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = MAIN_EPILOGUE
)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// List the Go programs of this host and what can be traced in each
    #[command(after_help = PS_EPILOGUE)]
    Ps(ReportFlags),
    /// Record who allocates, and write flame graphs, pprof profiles or a table
    #[command(after_help = RECORD_EPILOGUE)]
    Record(Box<record::Flags>),
    /// Follow iterations over maps: how many, how long, how deep, by call stack and over time
    #[command(after_help = MAPS_EPILOGUE)]
    Maps(Box<maps::Flags>),
    /// Count what every sync.Pool gives, has not and gets back, by pool and call stack
    #[command(after_help = POOLS_EPILOGUE)]
    Pools(Box<pools::Flags>),
    /// Read the heap profile that the runtime keeps: what is alive, and who allocated it; no probe
    #[command(after_help = HEAP_EPILOGUE)]
    Heap(Box<heap::HeapFlags>),
    /// Read the profile of who waits for channels, locks and the like, where the program keeps one
    #[command(after_help = BLOCK_EPILOGUE)]
    Block(Box<heap::WaitFlags>),
    /// Read the profile of who holds locks that others wait for, where the program keeps one
    #[command(after_help = MUTEX_EPILOGUE)]
    Mutex(Box<heap::WaitFlags>),
    /// Read memory statistics of running Go programs from their runtimes' own counters
    #[command(after_help = STATS_EPILOGUE)]
    Stats(stats::Flags),
    /// Show every goroutine of a running Go program: what it waits for, where, and who made it
    #[command(after_help = GOROUTINES_EPILOGUE)]
    Goroutines(goroutines::Flags),
    /// Watch the collector of running Go programs: each collection, its pauses, cost and reason
    #[command(after_help = GC_EPILOGUE)]
    Gc(gc::Flags),
    /// Tell what leaks: which line, how fast and how sure; of running programs or of a recording; no probe
    #[command(after_help = LEAKS_EPILOGUE)]
    Leaks(leaks::Flags),
    /// Tell when memory runs out and why: limits, trend, fragmentation, collector; no probe
    #[command(after_help = FORECAST_EPILOGUE)]
    Forecast(forecast::Flags),
    /// Watch all Go programs of this host live: heap, allocation rate, collector, goroutines
    #[command(after_help = TOP_EPILOGUE)]
    Top(top::Flags),
    /// Keep the last looks at each Go program, and write them when it ends badly
    #[command(after_help = WATCH_EPILOGUE)]
    Watch(watch::Flags),
    /// Watch every Go program of this node as a service: metrics for Prometheus; no probe
    #[command(after_help = AGENT_EPILOGUE)]
    Agent(agent::Flags),
    /// Make flame graphs, pprof profiles, tables and the like of a recording (.htap), or say what it holds
    #[command(after_help = EXPORT_EPILOGUE)]
    Export(export::Flags),
    /// Compare two profiles: recordings, two times of one, or pprof files made by anyone
    #[command(after_help = DIFF_EPILOGUE)]
    Diff(Box<diff::Flags>),
    /// Give names to a recording that was made without (record --raw), by the binaries that it is of
    #[command(after_help = SYMBOLIZE_EPILOGUE)]
    Symbolize(symbolize::Flags),
    /// Say what this host can do, what is missing and what that costs
    #[command(after_help = DOCTOR_EPILOGUE)]
    Doctor(ReportFlags),
    /// Print what a shell needs to complete heaptap's commands and flags
    #[command(after_help = COMPLETIONS_EPILOGUE)]
    Completions(CompletionsFlags),
    /// Print the manual page of heaptap or of one of its commands, or write all of them
    #[command(after_help = MAN_EPILOGUE)]
    Man(ManFlags),
}

#[derive(Debug, Args)]
struct CompletionsFlags {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
struct ManFlags {
    /// The command that the page is about
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,

    /// Write the pages of heaptap and of all commands into this directory
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl ManFlags {
    fn lower(self) -> Result<ManConfig, Refusal> {
        let is_known =
            |name: &String| Cli::command().get_subcommands().any(|one| one.get_name() == name);
        match self.command {
            Some(name) if !is_known(&name) => {
                let name = name.escape_debug();
                Err(Refusal::usage(format!("no command is called {name} (see heaptap --help)")))
            }
            command => Ok(ManConfig { command, dir: self.dir }),
        }
    }
}

#[derive(Debug, Args)]
struct ReportFlags {
    /// Print one JSON document instead of text for people
    #[arg(long)]
    json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn refusal(words: &[&str]) -> Refusal {
        parse(words).expect_err("must be refused")
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ps_and_doctor_take_json() {
        assert_eq!(parse(["heaptap", "ps"]).unwrap(), Command::Ps(PsConfig { json: false }));
        assert_eq!(
            parse(["heaptap", "doctor", "--json"]).unwrap(),
            Command::Doctor(DoctorConfig { json: true })
        );
    }

    #[test]
    fn man_takes_a_command_or_a_directory() {
        let man = |command: Option<&str>, dir: Option<&str>| {
            Command::Man(ManConfig { command: command.map(Into::into), dir: dir.map(Into::into) })
        };
        assert_eq!(parse(["heaptap", "man"]).unwrap(), man(None, None));
        assert_eq!(parse(["heaptap", "man", "record"]).unwrap(), man(Some("record"), None));
        assert_eq!(parse(["heaptap", "man", "-o", "there"]).unwrap(), man(None, Some("there")));
        assert!(
            refusal(&["heaptap", "man", "rekord"]).text.contains("no command is called rekord")
        );
        assert_eq!(refusal(&["heaptap", "man", "ps", "-o", "there"]).exit, Exit::Usage);
        let bash = Command::Completions(Shell::Bash);
        assert_eq!(parse(["heaptap", "completions", "bash"]).unwrap(), bash);
    }

    #[test]
    fn help_and_version_go_to_standard_output_and_succeed() {
        for words in
            [&["heaptap", "--help"][..], &["heaptap", "record", "--help"], &["heaptap", "-V"]]
        {
            let refusal = refusal(words);
            assert_eq!(refusal.exit, Exit::Ok, "{words:?}");
        }
        assert_eq!(
            refusal(&["heaptap", "--version"]).text,
            concat!("heaptap ", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn every_help_text_ends_with_the_exit_codes() {
        for words in [
            &["heaptap", "--help"][..],
            &["heaptap", "ps", "--help"],
            &["heaptap", "record", "--help"],
            &["heaptap", "maps", "--help"],
            &["heaptap", "heap", "--help"],
            &["heaptap", "block", "--help"],
            &["heaptap", "mutex", "--help"],
            &["heaptap", "stats", "--help"],
            &["heaptap", "goroutines", "--help"],
            &["heaptap", "gc", "--help"],
            &["heaptap", "agent", "--help"],
            &["heaptap", "leaks", "--help"],
            &["heaptap", "forecast", "--help"],
            &["heaptap", "top", "--help"],
            &["heaptap", "export", "--help"],
            &["heaptap", "diff", "--help"],
            &["heaptap", "symbolize", "--help"],
            &["heaptap", "doctor", "--help"],
            &["heaptap", "completions", "--help"],
            &["heaptap", "man", "--help"],
        ] {
            let help = refusal(words).text;
            let (_, codes) = help.split_once("Exit codes:\n").expect("exit codes");
            let codes: Vec<_> = codes.lines().map(str::trim).collect();
            let expected: Vec<_> =
                Exit::ALL.iter().map(|e| format!("{}  {}", *e as u8, e.meaning())).collect();
            assert_eq!(codes, expected, "{words:?}");
        }
    }

    #[test]
    fn the_document_lists_the_same_exit_codes() {
        let document = include_str!("../../../docs/exit-codes.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit as u8, exit.meaning());
            assert!(document.contains(&row), "docs/exit-codes.md lacks `{row}`");
        }
    }

    #[test]
    fn no_command_shows_the_help_and_is_a_usage_error() {
        let refusal = refusal(&["heaptap"]);
        assert_eq!(refusal.exit, Exit::Usage);
        assert!(refusal.text.contains("Usage: heaptap <COMMAND>"), "{}", refusal.text);
    }

    #[test]
    fn what_clap_refuses_is_one_line_that_says_where_help_is() {
        for (words, expected) in [
            (&["heaptap", "rekord"][..], "unrecognized subcommand 'rekord'"),
            (&["heaptap", "ps", "--jsonn"], "unexpected argument '--jsonn' found"),
            (&["heaptap", "ps", "extra"], "unexpected argument 'extra' found"),
            (&["heaptap", "record", "4242"], "a process is given as -p 4242"),
            (&["heaptap", "record", "-p"], "but none was supplied (see heaptap record --help)"),
            (&["heaptap", "record", "--all", "--mode", "exat"], "invalid value 'exat' for '--mode"),
        ] {
            let refusal = refusal(words);
            assert_eq!(refusal.exit, Exit::Usage, "{words:?}");
            assert!(!refusal.text.contains('\n'), "{}", refusal.text);
            assert!(refusal.text.contains(expected), "{words:?}: {}", refusal.text);
            assert!(refusal.text.contains("--help"), "{}", refusal.text);
        }
    }
}
