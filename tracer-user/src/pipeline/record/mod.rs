//! `heaptap record`: from running Go programs to profiles.
//!
//! In: the configuration. Out: files, or a table on standard output. Everything that can fail
//! before recording is tried before recording; once something is recorded it is written, whatever
//! else happens.

mod follow;
mod footprint;
mod profile;

use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use self::follow::{Follower, Signals, remarks};
use self::profile::Told;
pub use self::profile::complete;
use super::{
    counted, doctor, mode,
    opened::{Opener, nobody},
    outputs::{self, Rounds},
    roster::Roster,
    sampler::{self, Lent},
    stats::Beside,
    targets::{Targets, Wanted, failure},
};
use crate::{
    cli::{
        probes::{Probe, Probes},
        record::{By, Config},
    },
    exit::{Exit, Failure},
    host, output,
    probe::{
        self, Kernel,
        os::{Offsets, Unsuited},
        trap::Trapped,
    },
    profile::{Profile, Source},
    recording::{Shown, Statistics},
};

/// Records and writes.
///
/// # Errors
/// What kept it from recording, or the first output that could not be written.
pub async fn run(config: Config) -> Result<(), Failure> {
    // Of pools alone a picture is easier to read when each has a part of its own.
    let label_roots = config.labels || config.probes == Probes::of(&[Probe::Pool]);
    let shown = Shown { by_type: config.by == By::Type, label_roots };
    let mut rounds =
        Rounds::new(&config.show, config.kept.as_ref(), config.every.is_some())?.shown(shown);
    let heat = config.maps.heat.clone().map(|heat| outputs::open(&[heat])).transpose()?;
    check_host(&host::system(), config.perf_events)?;
    if let Some(level) = config.kernel_log {
        // The kernel programs log under their own crate's name.
        env_logger::Builder::new().filter_module("heaptap", level.to_level_filter()).init();
    }
    let selected = select(&config)?;
    // Whatever comes from here on, samplers that are turned on are turned off again.
    let signals = Signals::catch()?;
    let mut opener = Opener::default();
    let samplers = samplers(&config, &mut opener, &selected)?;
    let pids = selected.iter().map(|process| process.id.pid);
    let follows_steps = config.probes.has(Probe::Map);
    let (source, why) = match config.source {
        Some(source) => (source, None),
        None if !config.probes.has(Probe::Alloc) => (Source::Exact, None),
        None if config.follows() => mode::cheapest_for_all(&mut opener, pids),
        None => mode::cheapest(&mut opener, pids),
    };
    let options = probe::Options {
        max_stacks: config.max_stacks,
        max_goroutines: if follows_steps { config.max_goroutines } else { 0 },
        max_assists: if config.probes.has(Probe::Assist) { config.max_goroutines } else { 0 },
        max_living: if config.probes.has(Probe::Goroutine) { config.max_objects } else { 0 },
        max_objects: if source == Source::Sample { config.max_objects } else { 0 },
        max_collectors: 0,
        os: os_offsets(config.probes)?,
        ends: None,
        by_type: config.by == By::Type,
        by_labels: config.labels,
        max_processes: config.max_processes,
        budget: config.budget.is_some(),
        follow: config.follows(),
        log: config.kernel_log,
        perf_events: config.perf_events,
    };
    let mut kernel = Kernel::load(&options).map_err(failure)?;
    kernel.watch_processes().map_err(failure)?;
    let pass = kernel.watch_os().map_err(failure)?;
    let mut recording = Recording::new(&config, source, opener, kernel);
    recording.samplers = samplers;
    recording.roster = rounds.are_recorded().then(|| Roster::new(&config.selection));
    recording.targets.meters.passes_cost(pass.unwrap_or_default());
    recording.targets.prepare(&mut recording.kernel);
    recording.notes.extend(why.map(|why| format!("mode {}: {why}", source.word())));
    // Who has come since is told from here on; who came before is found again.
    let selected = if config.follows() { select(&config)? } else { selected };
    recording.start(&config, selected)?;
    recording.announce(&config);
    recording.follow(&config, signals, &mut rounds).await?;
    let failed = recording.failed.take();
    let (profile, statistics) = recording.finish(&config)?;
    let written = rounds.write(&profile, statistics.as_ref()).map(drop);
    let written = failed.map_or(written, Err);
    let Some(heat) = heat else { return written };
    let summary = || output::summary(&profile);
    let drawn = outputs::write_with(config.show.quiet, &summary, heat, &|_, out| {
        output::maps::svg(&profile, out)
    });
    written.and(drawn)
}

/// A recording under way.
struct Recording {
    source: Source,
    kernel: Kernel,
    targets: Targets,
    /// Those that were turned on; dropped, they are off again.
    samplers: Vec<Lent>,
    began: Instant,
    started: SystemTime,
    /// How long it counted, once it has ended.
    duration: Duration,
    notes: Vec<String>,
    follower: Follower,
    /// Whose statistics are recorded too; nothing: nobody's.
    roster: Option<Roster>,
    /// Why it ended, where that was an output.
    failed: Option<Failure>,
}

impl Recording {
    fn new(config: &Config, source: Source, opener: Opener, kernel: Kernel) -> Self {
        let wanted = Wanted {
            probes: config.probes,
            types: config.by == By::Type,
            labels: config.labels,
            whole_files: config.selection.is_of_whole_files(),
            follow: config.follows(),
            max_processes: config.max_processes as usize,
            max_ended_stacks: config.max_ended_stacks as usize,
            max_memory: config.max_memory,
            budget: config.budget,
            once: config.probes.iter().any(|probe| !probe.fits_windows()),
        };
        Self {
            source,
            kernel,
            targets: Targets::new(opener, source, wanted),
            samplers: Vec::new(),
            began: Instant::now(),
            started: SystemTime::now(),
            duration: Duration::ZERO,
            notes: Vec::new(),
            follower: Follower::new(&config.selection),
            roster: None,
            failed: None,
        }
    }

    /// Attaches to every selected process.
    fn start(&mut self, config: &Config, selected: Vec<host::Process>) -> Result<(), Failure> {
        // A process that is named must be recorded; of many found, those that can be are.
        let named = config.selection.is_by_pid();
        let mut refused: Vec<Failure> = Vec::new();
        let found = selected.len();
        self.plan(config);
        for process in selected {
            let pid = process.id.pid;
            match self.targets.add(&mut self.kernel, pid) {
                Ok(()) => {}
                Err(failure) if named => return Err(failure),
                Err(failure) => refused.push(failure),
            }
        }
        // What is no Go program was not meant; what is one and can't be traced is told.
        let told = refused.iter().filter(|failure| failure.exit != Exit::Target);
        self.notes.extend(told.map(|failure| format!("not recorded: {failure}")));
        if self.targets.live() == 0 && !config.waits() {
            let first = refused.into_iter().find(|failure| failure.exit != Exit::Target);
            return Err(first.unwrap_or_else(|| nobody(&config.selection, found)));
        }
        for tapped in &self.targets.binaries {
            self.notes.extend(remarks(tapped));
        }
        self.follower.told = self.targets.binaries.len();
        (self.began, self.started) = (Instant::now(), SystemTime::now());
        self.plan(config);
        Ok(())
    }

    /// Says when it is to end, as it begins.
    fn plan(&mut self, config: &Config) {
        let ends = config.duration.and_then(|duration| Instant::now().checked_add(duration));
        self.targets.meters.ends(ends);
    }

    /// One line on standard error says that it has begun.
    fn announce(&self, config: &Config) {
        let until = match config.duration {
            Some(duration) => format!("for {} s", duration.as_secs_f64()),
            None => "until Ctrl-C".to_string(),
        };
        let processes = counted(self.targets.live(), "process");
        let sites = match self.kernel.attached() {
            // The kernel's own tracepoints are enough.
            0 if config.probes.has(Probe::Os) => String::new(),
            sites => format!(" at {}", counted(sites, "site")),
        };
        // Scripts wait for this line, so it is there with --quiet too.
        let more = match (config.follows(), self.targets.live()) {
            (false, _) => "",
            (true, 0) => "; no Go program runs yet, waiting for some",
            (true, _) => "; more as they start",
        };
        let mode = match config.probes {
            only if only == Probes::of(&[Probe::Alloc]) => format!("mode {}", self.source.word()),
            probes => {
                let word = |probe| match probe {
                    Probe::Alloc => format!("alloc (mode {})", self.source.word()),
                    other => other.word(),
                };
                let words: Vec<String> = probes.iter().map(word).collect();
                let s = if words.len() == 1 { "" } else { "s" };
                format!("probe{s} {}", words.join(", "))
            }
        };
        eprintln!("heaptap: recording {processes}{sites}, {mode}, {until}{more}");
        if !config.show.quiet {
            for note in &self.notes {
                eprintln!("heaptap: {}", output::text::printable(note));
            }
        }
    }

    /// Writes what was recorded until now, and goes on.
    fn snapshot(
        &mut self,
        config: &Config,
        rounds: &mut Rounds<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        let statistics = self.statistics();
        let Self { source, kernel, targets, follower, .. } = self;
        let told = Told {
            config,
            source: *source,
            started: self.started,
            duration: self.began.elapsed(),
            counters: kernel.counters().map_err(failure)?,
            follower,
            notes: self.notes.clone(),
            views: Vec::new(),
        };
        let profile = targets.as_of_now(kernel, |targets| told.profile(targets))?;
        rounds.write(&profile, statistics.as_ref())
    }

    /// What the runtimes say of those that are recorded, where that is kept. Trap-free: their memory is read.
    fn statistics(&mut self) -> Option<Statistics> {
        let mut beside = Beside::new();
        let looked = self.roster.as_mut()?.look(|process| {
            beside.look(process);
            Ok(())
        });
        Some(beside.done(&looked.ok()?.unseen))
    }

    /// Detaches, drains, names.
    fn finish(mut self, config: &Config) -> Result<(Profile, Option<Statistics>), Failure> {
        // Only now is no program under way any more, and what is read below does not move.
        self.kernel.detach_all();
        let statistics = self.statistics();
        if config.stats {
            self.notes.push(footprint::sentence(&self.kernel, self.duration));
        }
        self.targets.collect_all(&mut self.kernel)?;
        let counters = self.kernel.counters().map_err(failure)?;
        drop(self.kernel);
        let views = std::mem::take(&mut self.targets.views);
        let told = Told {
            config,
            source: self.source,
            started: self.started,
            duration: self.duration,
            counters,
            follower: &self.follower,
            notes: self.notes,
            views,
        };
        Ok((told.profile(&self.targets), statistics))
    }
}

/// Turns on the samplers that are off, when that is asked for. Of processes that were not named, one
/// that is no Go program or can't be read is left to [`Recording::start`].
fn samplers(
    config: &Config,
    opener: &mut Opener,
    selected: &[host::Process],
) -> Result<Vec<Lent>, Failure> {
    let Some(every) = config.enable_sampler else { return Ok(Vec::new()) };
    let named = config.selection.is_by_pid();
    let mut samplers = Vec::new();
    for process in selected {
        let pid = process.id.pid;
        match opener.open(pid).and_then(|target| sampler::enable(&target, every)) {
            Ok(on) => samplers.extend(on),
            Err(failure) if named => return Err(failure),
            Err(_) => {}
        }
    }
    Ok(samplers)
}

/// What the kernel programs of the probe os must know, where it is wanted.
///
/// # Errors
/// This kernel is not made for it.
fn os_offsets(probes: Probes) -> Result<Option<Offsets>, Failure> {
    if !probes.has(Probe::Os) {
        return Ok(None);
    }
    let unsuited = |why: Unsuited| Failure::new(Exit::Unsupported, why.to_string());
    let offsets = Offsets::of_kernel().map_err(unsuited)?;
    let trap = || {
        let trap = doctor::trap_cost(Trapped::Emulated).map_or(0, |trap| trap.as_nanos());
        u32::try_from(trap).unwrap_or(0)
    };
    Ok(Some(Offsets { trap: probes.has(Probe::OsAlloc).then(trap), ..offsets }))
}

/// The processes that are asked for.
fn select(config: &Config) -> Result<Vec<host::Process>, Failure> {
    let not_there = |err: host::Error| Failure::new(err.exit(), err.to_string());
    let selected = host::select(&config.selection).map_err(not_there)?;
    match selected.refused.into_iter().next() {
        Some(err) => Err(not_there(err)),
        None => Ok(selected.processes),
    }
}

/// Refuses with what is missing, before the kernel refuses with a number.
fn check_host(system: &host::System, perf_events: bool) -> Result<(), Failure> {
    let missing = doctor::lacks_to_record(system, perf_events);
    if !missing.is_empty() {
        let missing = missing.into_iter();
        let missing: Vec<String> =
            missing.map(|one| format!("{} ({})", one.name(), one.purpose())).collect();
        return Err(Failure::new(
            Exit::Permission,
            format!("not allowed to record: missing {}; run it with sudo", missing.join(", ")),
        ));
    }
    if system.initial_pid_namespace == Some(false) {
        return Err(Failure::new(
            Exit::Permission,
            "this pid namespace is not the host's: processes have other numbers in it than the \
             kernel has for them; start heaptap in the host's (with containers: --pid=host)",
        ));
    }
    Ok(())
}
