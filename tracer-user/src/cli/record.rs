//! Flags of `heaptap record`, and the configuration they make.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::groups::{Keep, Kept, Limit, Naming, Outputs, Processes, Recording, STACKS, Show};
use super::probes::{MapReport, Probe, Probes, Value};
use super::value::Budget;
use super::{Refusal, value};
use crate::host::Selection;
use crate::output::pools;
use crate::profile::Source;
use crate::runtime::sampler::MAX_RATE;

/// What to record and what to do with it. Nothing in it has been checked against the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which processes.
    pub selection: Selection,
    /// How long; nothing means until Ctrl-C, or until the last selected process has ended.
    pub duration: Option<Duration>,
    pub probes: Probes,
    /// By which way to see allocations; nothing: the cheapest that sees every selected process.
    pub source: Option<Source>,
    pub show: Show,
    /// The recording that what is recorded is added to.
    pub kept: Option<Kept>,
    /// Write what was recorded so far each time that this is over, too.
    pub every: Option<Duration>,
    /// What is told of iterations over maps.
    pub maps: MapReport,
    /// What is worth a finding of pools.
    pub pools: pools::Limits,
    /// What is shown where only one value can be, and what stacks are ranked by.
    pub value: Value,
    /// What a leaf is.
    pub by: By,
    /// Split stacks by the goroutine's profiler labels.
    pub labels: bool,
    /// Keep the runtime's own allocation functions at the inner end of stacks.
    pub runtime_frames: bool,
    /// Size of the kernel's table of stacks.
    pub max_stacks: u32,
    /// Size of the kernel's tables of sampled objects and of goroutines that are followed.
    pub max_objects: u32,
    /// Size of the kernel's table of goroutines that iterate over maps.
    pub max_goroutines: u32,
    /// Size of the kernel's table of processes, and how many ended ones are told apart.
    pub max_processes: u32,
    /// Stacks of ended processes that are kept.
    pub max_ended_stacks: u32,
    /// Bytes that what names the functions of binaries may take.
    pub max_memory: usize,
    /// Part of a process's own CPU time that recording may cost it; nothing: no limit.
    pub budget: Option<f64>,
    /// Turn on samplers that are off, with this many bytes between samples.
    pub enable_sampler: Option<u64>,
    /// Only stacks that keep nothing of what they allocate.
    pub short_lived: bool,
    /// Tell what heaptap itself takes.
    pub stats: bool,
    /// Diagnostics of the kernel programs, off unless asked for.
    pub kernel_log: Option<log::Level>,
    /// Attach as on a kernel without links of many uprobes.
    pub perf_events: bool,
}

impl Config {
    /// With nothing else said.
    pub(super) fn of(selection: Selection, probes: Probes, value: Value, show: Show) -> Self {
        Self {
            selection,
            duration: None,
            probes,
            source: None,
            show,
            kept: None,
            every: None,
            maps: MapReport::default(),
            pools: pools::Limits::default(),
            value,
            by: By::Stack,
            labels: false,
            runtime_frames: false,
            max_stacks: STACKS,
            max_objects: 65_536,
            max_goroutines: 8_192,
            max_processes: 1_024,
            max_ended_stacks: 65_536,
            max_memory: 512 << 20,
            budget: None,
            enable_sampler: None,
            short_lived: false,
            stats: false,
            kernel_log: None,
            perf_events: false,
        }
    }

    /// Whether processes that start later are recorded too.
    pub fn follows(&self) -> bool {
        !self.selection.is_by_pid()
    }

    /// Whether addresses are left without names.
    pub fn is_raw(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.raw)
    }

    /// Whether it begins when there is nobody to record yet. What was named must be there.
    pub fn waits(&self) -> bool {
        self.selection.is_all()
    }
}

/// What stacks end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The function that allocates
    Stack,
    /// The Go type that is allocated (mode exact only)
    Type,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// The cheapest of the others that sees all selected processes
    Auto,
    /// Follow the objects that the runtime itself samples, from allocation to free: about one trap
    /// for 512 KiB; the program's sampler must be on
    Sample,
    /// Estimate from slow-path allocations: about one trap for 8 KiB; any program
    Span,
    /// Count every allocation: one trap for each; any program
    Exact,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Distinct stacks that there is room for where every allocation is counted, without a budget.
const EVERY_STACK: u32 = 65_536;

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    #[command(flatten)]
    recording: Recording,

    /// Write everything that was recorded so far after each such time, too, and go on: 10s, 1m. Files are
    /// replaced, to a recording (-o FILE.htap) a snapshot is added. Without a budget (--budget none),
    /// and not with the probes map and os
    #[arg(short = 'w', long, visible_alias = "watch", value_name = "SECONDS")]
    #[arg(value_parser = value::duration, allow_hyphen_values = true)]
    #[arg(help_heading = "How to record")]
    every: Option<Duration>,

    /// What to record; several are separated by commas
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',', default_value = "alloc")]
    #[arg(help_heading = "How to record")]
    probe: Vec<Probe>,

    /// How to see allocations
    #[arg(long, value_enum, default_value_t = Mode::Auto, help_heading = "How to record")]
    mode: Mode,

    #[command(flatten)]
    limit: Limit,

    /// Sampled objects that the kernel has room to follow in mode sample, and goroutines in probe
    /// goroutine (about 0.1 KiB each)
    #[arg(long, value_name = "N", default_value_t = 65536, help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    max_objects: u32,

    /// Goroutines with iterations over maps under way (about 1.6 KiB each), or that assist the collector, that
    /// the kernel has room for
    #[arg(long, value_name = "N", default_value_t = 8192, help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_goroutines: u32,

    /// Processes that can be recorded at once; of ended ones, as many have an entry of their own, and
    /// further ones share one with those of the same file, command name and container
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    max_processes: u32,

    /// Distinct stacks of ended processes to keep (about 0.5 KiB of heaptap's memory each)
    #[arg(long, value_name = "N", default_value_t = 65536, help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    max_ended_stacks: u32,

    /// Memory for what names the functions of binaries (about a third of a file's size); processes that
    /// run further files are not recorded, and counted
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_memory: u32,

    /// Turn a sampler that is off on while recording, one sample for BYTES [default: 524288], by
    /// writing one word into the program; at the end it is off again
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "524288", help_heading = "How to record")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_RATE))]
    enable_sampler: Option<u64>,

    #[command(flatten)]
    outputs: Outputs,

    #[command(flatten)]
    keep: Keep,

    #[command(flatten)]
    naming: Naming,

    /// What to weigh stacks by [default: bytes; without allocations what the first probe is about]
    #[arg(long, value_enum, help_heading = "What to show")]
    value: Option<Value>,

    /// What stacks end in
    #[arg(long, value_enum, default_value_t = By::Stack, help_heading = "What to show")]
    by: By,

    /// Only stacks of which every object seen was freed again (mode sample): the garbage makers
    #[arg(long, help_heading = "What to show")]
    short_lived: bool,

    /// Keep the runtime's own allocation functions (newobject, mallocgc, ...) in stacks
    #[arg(long, help_heading = "What to show")]
    runtime_frames: bool,

    /// Print diagnostics of the kernel programs (slow)
    #[arg(long, value_enum, value_name = "LEVEL", hide_short_help = true)]
    #[arg(help_heading = "Diagnosis")]
    kernel_log: Option<Level>,

    /// Attach through perf events, one by one, as on kernels before 6.6
    #[arg(long, hide_short_help = true, help_heading = "Diagnosis")]
    perf_events: bool,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let probes = Probes::of(&self.probe);
        let value = self.value.unwrap_or(probes.default_value());
        if !probes.have(value) {
            return Err(Refusal::usage("--value: none of the probes (--probe) measures that"));
        }
        let budget = match (self.limit.said(), self.every) {
            (Some(Budget(Some(_))), Some(_)) => {
                return Err(Refusal::usage(
                    "--every traces processes throughout, so that snapshots can be compared: --budget \
                     none",
                ));
            }
            (None, Some(_)) => None,
            _ => self.limit.lower(),
        };
        let in_rings = [Probe::Map, Probe::Os, Probe::OsAlloc];
        if self.every.is_some() && in_rings.into_iter().any(|probe| probes.has(probe)) {
            return Err(Refusal::usage("--every is not for the probes map and os"));
        }
        let about_alloc = self.short_lived || self.enable_sampler.is_some();
        if !probes.has(Probe::Alloc) && (about_alloc || !matches!(self.mode, Mode::Auto)) {
            return Err(Refusal::usage(
                "--mode, --short-lived and --enable-sampler need --probe alloc",
            ));
        }
        if self.by == By::Type && !probes.iter().any(Probe::has_types) {
            return Err(Refusal::usage("--by type needs --probe alloc, box or slice"));
        }
        let source = match self.mode {
            Mode::Exact => Some(Source::Exact),
            Mode::Span => Some(Source::Span),
            Mode::Sample => Some(Source::Sample),
            // Only one of them can do these.
            Mode::Auto if self.by == By::Type => Some(Source::Exact),
            Mode::Auto if self.short_lived || self.enable_sampler.is_some() => Some(Source::Sample),
            Mode::Auto => None,
        };
        if self.by == By::Type && source != Some(Source::Exact) {
            return Err(Refusal::usage(
                "--by type needs --mode exact: the other sites do not see the type",
            ));
        }
        if self.enable_sampler.is_some() && source != Some(Source::Sample) {
            return Err(Refusal::usage(
                "--enable-sampler needs --mode sample: the others need none",
            ));
        }
        if self.short_lived && source != Some(Source::Sample) {
            return Err(Refusal::usage(
                "--short-lived needs --mode sample: only there are objects followed to their end",
            ));
        }
        // Whoever wants everything of a large program gets the room for it.
        let everything = source == Some(Source::Exact) && budget.is_none();
        let max_stacks = if everything { EVERY_STACK } else { STACKS };
        let selection = self.processes.lower("record")?;
        let (show, kept) = self.outputs.and_recording(self.keep)?;
        let kept = self.naming.of(&show, kept)?;
        if kept.as_ref().is_some_and(|kept| kept.raw) && (self.short_lived || self.runtime_frames) {
            return Err(Refusal::usage(
                "--raw has all frames and stacks: say --short-lived or --runtime-frames to heaptap symbolize",
            ));
        }
        Ok(Config {
            kept,
            every: self.every,
            duration: self.recording.duration,
            source,
            by: self.by,
            labels: self.recording.labels,
            runtime_frames: self.runtime_frames,
            max_stacks: self.recording.max_stacks.unwrap_or(max_stacks),
            max_objects: self.max_objects,
            max_goroutines: self.max_goroutines,
            max_processes: self.max_processes,
            max_ended_stacks: self.max_ended_stacks,
            max_memory: (self.max_memory as usize) << 20,
            budget,
            enable_sampler: self.enable_sampler,
            short_lived: self.short_lived,
            stats: self.recording.stats,
            perf_events: self.perf_events,
            kernel_log: self.kernel_log.map(|level| match level {
                Level::Error => log::Level::Error,
                Level::Warn => log::Level::Warn,
                Level::Info => log::Level::Info,
                Level::Debug => log::Level::Debug,
                Level::Trace => log::Level::Trace,
            }),
            ..Config::of(selection, probes, value, show)
        })
    }
}

#[cfg(test)]
mod tests;
