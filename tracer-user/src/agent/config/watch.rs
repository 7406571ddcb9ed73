//! `[watch]`: how processes are looked at, and how much is told of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Wrong, duration};

/// Checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// Between two looks at each process.
    pub every: Duration,
    /// What the node is called; nothing: as the host calls itself.
    pub node: Option<String>,
    /// Stacks of live heap that are told of each process.
    pub top_stacks: usize,
    /// Processes that are watched; others are counted.
    pub max_processes: usize,
    /// Series in one answer of /metrics; others are counted.
    pub max_series: usize,
    /// How long iterations over maps of a process are recorded at a time; nothing: never.
    pub maps: Option<Duration>,
    /// Of one CPU: what looks at heaps, goroutines and trends may take, all together.
    pub cpu: f64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(1),
            node: None,
            top_stacks: 5,
            max_processes: 512,
            max_series: 100_000,
            maps: None,
            cpu: 0.005,
        }
    }
}

/// Most stacks that are labels: each is a series of its own.
pub const MOST_STACKS: usize = 100;
/// Shorter times between looks are no use to anybody.
pub const SHORTEST: Duration = Duration::from_millis(100);

/// Recordings that are shorter see little of who iterates seldom, and while one goes on all others wait.
const MAPS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// As written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    every: Option<Spanned<String>>,
    node: Option<String>,
    top_stacks: Option<Spanned<usize>>,
    max_processes: Option<Spanned<usize>>,
    max_series: Option<Spanned<usize>>,
    maps: Option<Spanned<String>>,
    cpu: Option<Spanned<String>>,
}

impl Table {
    pub(super) fn check(self) -> Result<Watch, Wrong> {
        let mut watch = Watch { node: self.node, ..Watch::default() };
        if let Some(every) = self.every {
            watch.every = duration(every.get_ref())
                .and_then(self::every)
                .map_err(|why| Wrong::new(every.span(), why))?;
        }
        for (value, most, to) in [
            (self.top_stacks, MOST_STACKS, &mut watch.top_stacks),
            (self.max_processes, usize::MAX, &mut watch.max_processes),
            (self.max_series, usize::MAX, &mut watch.max_series),
        ] {
            let Some(value) = value else { continue };
            if *value.get_ref() > most {
                return Err(Wrong::new(value.span(), format!("at most {most}")));
            }
            *to = *value.get_ref();
        }
        if let Some(maps) = self.maps {
            let length = duration(maps.get_ref()).and_then(self::maps);
            watch.maps = Some(length.map_err(|why| Wrong::new(maps.span(), why))?);
        }
        if let Some(cpu) = self.cpu {
            watch.cpu = self::cpu(cpu.get_ref()).map_err(|why| Wrong::new(cpu.span(), why))?;
        }
        Ok(watch)
    }
}

/// A share of one CPU: `0.5%`, `2%`.
///
/// # Errors
/// What is expected, in one line.
pub fn cpu(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    percent
        .filter(|percent| (0.01..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| {
            let text = text.escape_debug();
            format!("\"{text}\" is no share of a CPU: expected one such as \"0.5%\", 0.01% to 100%")
        })
}

/// How long a process is recorded at a time.
fn maps(length: Duration) -> Result<Duration, String> {
    match MAPS.contains(&length) {
        true => Ok(length),
        false => Err(format!("expected {:?} to {:?}", MAPS.start(), MAPS.end())),
    }
}

/// A time between looks.
///
/// # Errors
/// It is too short.
pub fn every(every: Duration) -> Result<Duration, String> {
    match every < SHORTEST {
        true => Err(format!("shorter than {} ms", SHORTEST.as_millis())),
        false => Ok(every),
    }
}
