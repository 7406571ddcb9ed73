//! Flags of `heaptap maps`: a recording of iterations over maps.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Refusal;
use super::groups::{Limit, Outputs, Processes, Recording, STACKS};
use super::probes::{MapReport, Probe, Probes, Value};
use super::record::Config;
use crate::output::Format;
use crate::output::maps::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Follow every step: one trap for each
    Exact,
    /// Count iterations, and the elements that their maps have: one trap for each iteration
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weight {
    /// Iterations
    Iterations,
    /// Elements visited
    Steps,
    /// Time, with that of iterations that are nested in them
    Time,
    /// Elements that maps had when iterations began (mode count)
    Elements,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    #[command(flatten)]
    recording: Recording,

    /// How closely to look
    #[arg(long, value_enum, default_value_t = Mode::Exact, help_heading = "How to record")]
    mode: Mode,

    #[command(flatten)]
    limit: Limit,

    /// Goroutines with iterations under way that the kernel has room for (about 1.6 KiB each)
    #[arg(long, value_name = "N", default_value_t = 8192, help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_goroutines: u32,

    #[command(flatten)]
    outputs: Outputs,

    /// Draw steps over time here, a row for each stack (mode exact): FILE.svg
    #[arg(long, value_name = "FILE", help_heading = "What to show")]
    heat: Option<PathBuf>,

    /// What to weigh stacks by [default: steps; in mode count elements]
    #[arg(long, value_enum, help_heading = "What to show")]
    value: Option<Weight>,

    /// Tell of stacks of which 1 % of the iterations take longer than so many microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 500, help_heading = "What to show")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    p99_over: u64,

    /// Tell of iterations that visit more elements
    #[arg(long, value_name = "STEPS", default_value_t = 100_000, help_heading = "What to show")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    steps_over: u64,

    /// Keep the runtime's own functions at the inner end of stacks
    #[arg(long, help_heading = "What to show")]
    runtime_frames: bool,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let (probe, refusal) = match self.mode {
            Mode::Exact => (Probe::Map, "--value elements needs --mode count"),
            Mode::Count => (Probe::MapCount, "--value steps and time need --mode exact"),
        };
        let probes = Probes::of(&[probe]);
        let value = match self.value {
            Some(Weight::Iterations) => Value::Iterations,
            Some(Weight::Steps) => Value::Steps,
            Some(Weight::Time) => Value::Time,
            Some(Weight::Elements) => Value::Elements,
            None => probes.default_value(),
        };
        if !probes.have(value) {
            return Err(Refusal::usage(refusal));
        }
        if let Some(heat) = &self.heat {
            if probe == Probe::MapCount {
                return Err(Refusal::usage("--heat needs --mode exact: no step is seen otherwise"));
            }
            if !matches!(Format::from_path(heat), Ok(Format::Svg)) {
                let path = heat.to_string_lossy().escape_debug().to_string();
                return Err(Refusal::usage(format!("--heat {path}: the name must end in .svg")));
            }
        }
        let selection = self.processes.lower("record")?;
        let limits = Limits { p99: Duration::from_micros(self.p99_over), steps: self.steps_over };
        let show = self.outputs.lower()?;
        if self.heat.as_ref().is_some_and(|heat| show.outputs.contains(heat)) {
            return Err(Refusal::usage("--heat and -o name the same file"));
        }
        Ok(Config {
            duration: self.recording.duration,
            maps: MapReport { limits, heat: self.heat },
            labels: self.recording.labels,
            runtime_frames: self.runtime_frames,
            max_stacks: self.recording.max_stacks.unwrap_or(STACKS),
            max_goroutines: self.max_goroutines,
            budget: self.limit.lower(),
            stats: self.recording.stats,
            ..Config::of(selection, probes, value, show)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::groups::DEFAULT_BUDGET;
    use crate::cli::record::By;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;
    use crate::host::Selection;

    fn config(flags: &[&str]) -> Config {
        match parse(["heaptap", "maps"].iter().chain(flags)) {
            Ok(Command::Record(config)) => config,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    fn refusal(flags: &[&str]) -> String {
        let refusal = parse(["heaptap", "maps"].iter().chain(flags)).expect_err("must be refused");
        assert_eq!(refusal.exit, Exit::Usage, "{flags:?}");
        refusal.text
    }

    #[test]
    fn it_is_a_recording_of_iterations() {
        let config = config(&["-p", "7"]);
        assert_eq!(config.selection, Selection::Pids(vec![7]));
        assert_eq!(config.probes, Probes::of(&[Probe::Map]));
        assert_eq!((config.value, config.by, config.budget), (Value::Steps, By::Stack, Some(0.01)));
        assert_eq!(config.maps, MapReport::default());
        let Ok(Command::Record(record)) = parse(["heaptap", "record", "--probe", "map", "-p", "7"])
        else {
            panic!("no recording");
        };
        assert_eq!(config, record, "the long way says the same");
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let words = "--all -d 2 --mode exact --value time --heat h.svg --p99-over 20 --steps-over 9 \
                     --max-stacks 5 --max-goroutines 6 --labels --runtime-frames --stats -o a.svg";
        let config = config(&words.split_whitespace().collect::<Vec<_>>());
        let limits = Limits { p99: Duration::from_micros(20), steps: 9 };
        assert_eq!(config.maps, MapReport { limits, heat: Some("h.svg".into()) });
        assert_eq!((config.max_stacks, config.max_goroutines), (5, 6));
        assert!(config.labels && config.runtime_frames && config.stats);
        assert_eq!((config.value, config.show.outputs.len()), (Value::Time, 1));
    }

    #[test]
    fn the_budget_is_that_of_the_long_way() {
        let count = config(&["-p", "7", "--mode", "count"]);
        let Ok(Command::Record(record)) =
            parse(["heaptap", "record", "--probe", "map-count", "-p", "7"])
        else {
            panic!("no recording");
        };
        assert_eq!(count, record);
        assert_eq!(count.budget, Some(DEFAULT_BUDGET));
        let budget = |words: &[&str]| config(&[&["-p", "7"], words].concat()).budget;
        assert_eq!(budget(&["--mode", "count", "--budget", "0.5%"]), Some(0.005));
        assert_eq!(budget(&["--mode", "count", "--budget", "none"]), None);
        assert_eq!(budget(&["--budget", "none"]), None);
        assert_eq!(budget(&[]), Some(DEFAULT_BUDGET));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (flags, wanted) in [
            (&["--all", "--mode", "count", "--value", "time"][..], "--mode exact"),
            (&["--all", "--value", "elements"], "--mode count"),
            (&["--all", "--mode", "count", "--heat", "h.svg"], "--mode exact"),
            (&["--all", "--heat", "h.png"], ".svg"),
            (&["--all", "--heat", "h.svg", "-o", "h.svg"], "same file"),
            (&["--all", "--p99-over", "0"], "--p99-over"),
            (&["-d", "1"], "say which processes"),
        ] {
            assert!(refusal(flags).contains(wanted), "{}", refusal(flags));
        }
    }
}
