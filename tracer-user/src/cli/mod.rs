//! Flags and their help, and nothing that does I/O.
//!
//! In: the words of the command line. Out: one [`Command`] whose configurations are plain structs,
//! or a [`Refusal`]: a text to print and an exit code. Parsing happens in two steps: clap turns
//! words into [`Cli`], and `lower` turns that into what the pipeline takes, with the checks that
//! span several flags. This module touches no file, no process and no environment.

pub mod diff;
pub mod documents;
pub mod export;
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
pub mod top;
mod value;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
pub use clap_complete::Shell;

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
    Top(top::Config),
    Watch(watch::Config),
    Export(export::Config),
    Diff(diff::Config),
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
        Subcommands::Top(flags) => flags.lower().map(Command::Top),
        Subcommands::Watch(flags) => flags.lower().map(Command::Watch),
        Subcommands::Export(flags) => flags.lower().map(Command::Export),
        Subcommands::Diff(flags) => flags.lower().map(Command::Diff),
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
    /// Watch all Go programs of this host live: heap, allocation rate, collector, goroutines
    #[command(after_help = TOP_EPILOGUE)]
    Top(top::Flags),
    /// Keep the last looks at each Go program, and write them when it ends badly
    #[command(after_help = WATCH_EPILOGUE)]
    Watch(watch::Flags),
    /// Make flame graphs, pprof profiles, tables and the like of a recording (.htap), or say what it holds
    #[command(after_help = EXPORT_EPILOGUE)]
    Export(export::Flags),
    /// Compare two profiles: recordings, two times of one, or pprof files made by anyone
    #[command(after_help = DIFF_EPILOGUE)]
    Diff(Box<diff::Flags>),
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

macro_rules! exit_codes {
    () => {
        "Exit codes:
  0  everything that was asked for was done
  1  a failure that has no code of its own
  2  the command line can't be understood
  3  a privilege is missing
  4  no such process, or not a Go program, or it went away before anything could be seen
  5  this Go version, this binary or this kernel can't serve the request
  6  at least one output could not be written; the others were
  7  heaptap leaks: at least one leak was found"
    };
}

const MAIN_EPILOGUE: &str = concat!(
    "Examples:
  sudo heaptap ps                                  which Go programs run here
  sudo heaptap record -p 4242 -d 10                ten seconds of one program, as a table
  sudo heaptap record -p 4242 -d 10 -o heap.svg    the same as a flame graph
  sudo heaptap heap -p 4242                        what is alive on its heap, no probe
  sudo heaptap stats -p 4242                       its heap, collector and stacks, no probe
  sudo heaptap goroutines -p 4242                  what every goroutine waits for
  sudo heaptap gc -p 4242                          each collection as it ends, no probe
  sudo heaptap leaks -p 4242                       what leaks, and at which line, no probe
  sudo heaptap top                                 all Go programs, live
  sudo heaptap doctor                              why it does not work here

",
    exit_codes!()
);

const PS_EPILOGUE: &str = concat!(
    "Columns: LOAD is fixed or pie, SYMS says whether the symbol table is there, TRACE names the
modes that `heaptap record` can use, or why there is none.

Examples:
  sudo heaptap ps
  sudo heaptap ps --json | jq '.processes[] | {pid, go_version}'

",
    exit_codes!()
);

const RECORD_EPILOGUE: &str = concat!(
    "Examples:
  sudo heaptap record -p 4242                      until Ctrl-C, top stacks as a table
  sudo heaptap record -p 4242 -p 4243 -d 30s       two programs, half a minute
  sudo heaptap record --exe /usr/bin/caddy -d 10 -o heap.svg -o heap.pb.gz
  sudo heaptap record --comm 'api-*' --mode span -d 2m -o churn.folded
  sudo heaptap record --all -d 10 --by type        what is allocated, by Go type
  sudo heaptap record -p 4242 --every 10s -o run.htap    a recording, for heaptap export

",
    exit_codes!()
);

const MAPS_EPILOGUE: &str = concat!(
    "Each step of a followed iteration costs the program a trap; what that takes is measured and taken out of
the times. --mode count takes one trap for each iteration.

Examples:
  sudo heaptap maps -p 4242 -d 10                  who iterates, how far and how long
  sudo heaptap maps -p 4242 -d 10 --mode count     how often, and over how large maps
  sudo heaptap maps -p 4242 -d 60 -o maps.svg --heat heat.svg
  sudo heaptap maps -p 4242 -d 10 --value time --p99-over 200

",
    exit_codes!()
);

const POOLS_EPILOGUE: &str = concat!(
    "Each Get and each Put costs the program a trap, a Get that finds nothing two.

Columns: MISSES are Gets that found nothing, HITS the share of the others, BALANCE is puts less gets. A
pool has the name of its variable, where the program has symbols; New is the function that makes what
it has not.

Examples:
  sudo heaptap pools -p 4242 -d 10                 which pools are worth their while
  sudo heaptap pools -p 4242 -d 10 --value misses  who finds nothing
  sudo heaptap pools -p 4242 -d 60 -o pools.svg -o pools.json

",
    exit_codes!()
);

const STATS_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: the figures are read out of the process's memory.

Examples:
  sudo heaptap stats -p 4242                       everything about one program
  sudo heaptap stats -p 4242 --watch 1             a row each second, until Ctrl-C
  sudo heaptap stats --all                         a row for each Go program of this host
  sudo heaptap stats --all --json | jq '.processes[] | {pid, goal: .heap.goal}'

",
    exit_codes!()
);

const TOP_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: the figures are read out of the processes' memory. Press ?
for keys and for what the columns mean.

Examples:
  sudo heaptap top                                 every Go program of this host
  sudo heaptap top --container 'web-*' -w 2        of some containers, every two seconds
  sudo heaptap top --once                          one table, for a script or a ticket
  sudo heaptap top --json | jq '.processes[] | {pid, alloc_rate}'

",
    exit_codes!()
);

const WATCH_EPILOGUE: &str = concat!(
    "Each process is looked at again and again: nothing is attached to it and it is not stopped. What the
last looks told is kept in memory, and written when the kernel kills the process because memory has run
out, when a signal other than SIGTERM, SIGINT, SIGHUP and the like ends it, or when it ends with a
status that is not 0: words.txt and words.json (what happened, and statistics of each look), heap.htap
(the heap over time, for heaptap export), heap.svg and heap.txt (the last look), goroutines.txt and .json.

Examples:
  sudo heaptap watch                               every Go program of this host, until Ctrl-C
  sudo heaptap watch --comm 'api-*' -o /var/log/heaptap --every 1
  heaptap export heaptap-last-words/orders-4242-*/heap.htap -o heap.html

",
    exit_codes!()
);

const GC_EPILOGUE: &str = concat!(
    "What the runtime has written down of each collection is read out of the program's memory before the
next one begins. A program that collects too fast for that gets a trap at the end of each collection;
what was missed until then is shown with its number and pauses alone.

Columns: WHY is GOGC or limit (the heap grew to the goal that this one made), forced or periodic;
PAUSES the time the program was stopped; MARK the time of marking beside it; ASSISTS the CPU time of
goroutines that had to mark before they could allocate; CPU the collector's share since the last one.

Examples:
  sudo heaptap gc -p 4242                          a line for each collection, until Ctrl-C
  sudo heaptap gc -p 4242 -d 30 -o gc.svg -o -     and a picture over time
  sudo heaptap gc --all -d 60 -o gc.json
  jq '.processes[].cycles[] | select(.pause_ns > 1e6)' gc.json

",
    exit_codes!()
);

const LEAKS_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: heap profiles, goroutines and statistics are read out of the
process's memory each second. What grows evenly to the end, lets go of nothing and is not explained by more
requests is a leak; what grows and passes only some of that is told as growing, with what is in doubt.

Examples:
  sudo heaptap leaks -p 4242                       a minute, then what leaks and where
  sudo heaptap leaks -p 4242 --for 10m --stacks    slower ones, with whole stacks
  sudo heaptap leaks --all --json | jq '.processes[] | {pid, findings}'
  sudo heaptap heap -p 4242 --every 5s -o run.htap; heaptap leaks run.htap
  heaptap leaks run.htap || test $? -ne 7          in a script: fails when something leaks

",
    exit_codes!()
);

const GOROUTINES_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: goroutines are read out of the process's memory.

Examples:
  sudo heaptap goroutines -p 4242                  who made them, what they wait for, where
  sudo heaptap goroutines -p 4242 --by state --watch 1
  sudo heaptap goroutines -p 4242 -o stuck.svg     flame graph with the creators at the bottom
  sudo heaptap goroutines -p 4242 -o all.pb.gz     as the program's own goroutine profile
  sudo heaptap goroutines -p 4242 -o all.json      each goroutine

",
    exit_codes!()
);

const HEAP_EPILOGUE: &str = concat!(
    "The numbers are those of the program's own pprof heap profile. A program whose linker left the
sampler off has none; --enable-sampler turns it on.

Examples:
  sudo heaptap heap -p 4242                        what is alive, as a table
  sudo heaptap heap -p 4242 -o heap.svg -o heap.pb.gz
  sudo heaptap heap -p 4242 --type alloc_space     allocated since the program began
  sudo heaptap heap --all -o host.svg              every Go program that has a heap profile
  sudo heaptap heap -p 4242 --watch 2              the table anew every two seconds
  sudo heaptap heap -p 4242 --watch 60 -o now.svg  a file that is replaced every minute
  sudo heaptap heap -p 4242 --enable-sampler -d 30
  sudo heaptap heap -p 4242 --every 10s -o run.htap    a recording, for heaptap export

",
    exit_codes!()
);

const BLOCK_EPILOGUE: &str = concat!(
    "The program keeps one when it has called runtime.SetBlockProfileRate.

Examples:
  sudo heaptap block -p 4242
  sudo heaptap block -p 4242 --type contentions -o block.pb.gz

",
    exit_codes!()
);

const MUTEX_EPILOGUE: &str = concat!(
    "The program keeps one when it has called runtime.SetMutexProfileFraction.

Examples:
  sudo heaptap mutex -p 4242
  sudo heaptap mutex -p 4242 -o mutex.svg

",
    exit_codes!()
);

const EXPORT_EPILOGUE: &str = concat!(
    "A recording is made by heaptap record, heap, block or mutex with -o FILE.htap. Reading one needs no
privilege, none of the programs and no particular machine.

Examples:
  heaptap export run.htap                          what it holds
  heaptap export run.htap -o -                     its last snapshot, as a table
  heaptap export run.htap -o last.svg -o last.pb.gz
  heaptap export run.htap --at 90s -o then.svg     as it was 90 s after the first snapshot
  heaptap export run.htap --from 60s --to 120s -o minute.svg
  heaptap export run.htap --at 2026-11-21T18:30:00Z --process 4242 -o -

",
    exit_codes!()
);

const DIFF_EPILOGUE: &str = concat!(
    "Stacks are the same when their functions and lines are; process ids and addresses do not matter. CHANGE
is what is there after, less what was there before. What can't be compared (other values, another
sampling period) is refused.

Examples:
  heaptap diff run.htap --from 60s --to 1h         what grew in that hour
  heaptap diff run.htap --from 60s -o grown.svg    until the end, as a flame graph
  heaptap diff old.htap new.htap --by function     two builds, wherever their lines are
  heaptap diff before.pb.gz after.pb.gz --type alloc_space
  heaptap diff monday.htap@12h friday.htap@12h --process 'api-*'
  heaptap diff run.htap --phases start=0s,load=30s,steady=2m

",
    exit_codes!()
);

const DOCTOR_EPILOGUE: &str = concat!(
    "Ends with 0 when recording can work here, 3 when a privilege is missing, 5 when this kernel
can't.

",
    exit_codes!()
);

const COMPLETIONS_EPILOGUE: &str = concat!(
    "Examples:
  heaptap completions bash | sudo tee /usr/share/bash-completion/completions/heaptap
  heaptap completions zsh > ~/.zfunc/_heaptap      a directory of $fpath
  heaptap completions fish > ~/.config/fish/completions/heaptap.fish
  source <(heaptap completions bash)               for this shell only

",
    exit_codes!()
);

const MAN_EPILOGUE: &str = concat!(
    "Examples:
  heaptap man | man -l -                           heaptap itself
  heaptap man record | man -l -                    one command
  sudo heaptap man -o /usr/local/share/man/man8    all pages, for man heaptap-record

",
    exit_codes!()
);

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
            &["heaptap", "leaks", "--help"],
            &["heaptap", "top", "--help"],
            &["heaptap", "export", "--help"],
            &["heaptap", "diff", "--help"],
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
