//! Flags of `heaptap pools`: a recording of what pools give and get back.

use clap::{Args, ValueEnum};

use super::Refusal;
use super::groups::{Limit, Outputs, Processes, Recording, STACKS};
use super::probes::{Probe, Probes, Value};
use super::record::Config;
use crate::output::pools::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weight {
    /// Calls of Get
    Gets,
    /// Calls of Get that found nothing
    Misses,
    /// Calls of Put
    Puts,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    #[command(flatten)]
    recording: Recording,

    #[command(flatten)]
    limit: Limit,

    #[command(flatten)]
    outputs: Outputs,

    /// What to weigh stacks by
    #[arg(long, value_enum, default_value_t = Weight::Gets, help_heading = "What to show")]
    value: Weight,

    /// Tell of pools that get back less than this part of what they give
    #[arg(long, value_name = "PERCENT", default_value_t = Limits::default().back)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100), help_heading = "What to show")]
    back_under: u64,

    /// Tell of pools that have nothing to give in more than this part of the Gets
    #[arg(long, value_name = "PERCENT", default_value_t = Limits::default().misses)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100), help_heading = "What to show")]
    misses_over: u64,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let value = match self.value {
            Weight::Gets => Value::Gets,
            Weight::Misses => Value::Misses,
            Weight::Puts => Value::Puts,
        };
        let selection = self.processes.lower("record")?;
        Ok(Config {
            duration: self.recording.duration,
            pools: Limits { back: self.back_under, misses: self.misses_over },
            labels: self.recording.labels,
            max_stacks: self.recording.max_stacks.unwrap_or(STACKS),
            budget: self.limit.lower(),
            stats: self.recording.stats,
            ..Config::of(selection, Probes::of(&[Probe::Pool]), value, self.outputs.lower()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    fn config(words: &[&str]) -> Config {
        match parse(["heaptap"].iter().chain(words)) {
            Ok(Command::Record(config)) => config,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn it_is_a_recording_of_pools() {
        let short = config(&["pools", "-p", "7"]);
        assert_eq!(short, config(&["record", "--probe", "pool", "-p", "7"]));
        assert_eq!((short.value, short.budget), (Value::Gets, Some(0.01)));
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let words = "pools --all -d 2 --value misses --back-under 50 --misses-over 5 --max-stacks 9 \
                     --labels --stats --budget none -o a.svg";
        let config = config(&words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(config.pools, Limits { back: 50, misses: 5 });
        assert_eq!((config.value, config.max_stacks), (Value::Misses, 9));
        assert!(
            config.budget.is_none()
                && config.labels
                && config.stats
                && config.show.outputs.len() == 1
        );
        for wrong in ["--back-under 101", "--misses-over -1", "--value bytes"] {
            let words = format!("heaptap pools --all {wrong}");
            assert!(parse(words.split_whitespace()).is_err(), "{wrong}");
        }
    }
}
