//! `heaptap heap`, `block` and `mutex`: the profiles that a program's own runtime keeps.
//!
//! In: pids, or all Go processes. Out: a profile, equal to what the program's own pprof would give at
//! that moment. Nothing is written into a program but, when that is asked for, its sampler's rate,
//! which is put back before anything is shown.

mod assemble;
mod clock;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{interval, sleep_until};

use super::counted;
use super::opened::LiveProcess;
use super::outputs::Rounds;
use super::roster::{Looked, Roster, Unseen};
use super::sampler::{self, Lent};
use super::stats::Beside;
use super::watch::{self, Signals, Waiting};
use crate::cli::heap::{self, Config, HeapType};
use crate::cli::{Color, Show};
use crate::exit::{Exit, Failure};
use crate::host::{Identity, Selection};
use crate::profile::Profile;
use crate::runtime::buckets::{Contention, ContentionRecords, HeapRecords, Limits};
use assemble::Assembler;

/// How often a process that samples is looked after.
const LOOK: Duration = Duration::from_millis(200);

/// What was read of one process.
type Read = (Rc<LiveProcess>, Records);

enum Records {
    Heap(HeapRecords),
    Contention(ContentionRecords),
}

impl Records {
    fn count(&self) -> usize {
        match self {
            Records::Heap(records) => records.buckets.len(),
            Records::Contention(records) => records.buckets.len(),
        }
    }
}

/// A time during which samplers were on.
#[derive(Clone, Copy)]
struct Sampled {
    since: SystemTime,
    length: Duration,
}

/// Reads and writes, once or again and again.
///
/// # Errors
/// No process has such a profile (with `--watch`, unless they are named, it waits for one); one that was asked for by pid has none (the others are written
/// first); an output can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut reading = Reading {
        config,
        roster: Roster::new(&config.selection),
        assembler: Assembler::new(config),
        outputs: Rounds::new(&config.show, config.kept.as_ref(), config.watch.is_some())?,
        samplers: Samplers::default(),
        first: true,
        waiting: Waiting::default(),
    };
    match (config.watch, config.enable_sampler) {
        (Some(period), _) => {
            let done = watch::every(period, config.duration, || reading.round());
            reading.samplers.restore().and(done)
        }
        (None, Some(every)) => reading.sample(every),
        (None, None) => {
            let mut beside = reading.outputs.are_recorded().then(Beside::new);
            let looked = reading.roster.look(|target| read_beside(config, target, &mut beside))?;
            reading.show(looked, beside).map(|_| ())
        }
    }
}

/// How heap profiles are read: as `heaptap heap` does it where nothing else is said.
pub fn plain() -> Config {
    Config {
        profile: heap::Profile::Heap(HeapType::InuseSpace),
        selection: Selection::Pids(Vec::new()),
        enable_sampler: None,
        duration: None,
        watch: None,
        show: Show { outputs: Vec::new(), top: 0, quiet: true, color: Color::Never },
        kept: None,
        runtime_frames: false,
        max_memory: 512 << 20,
    }
}

/// Profiles of what was read of one process at some moments.
pub fn of_moments(
    config: &Config,
    target: &Rc<LiveProcess>,
    moments: Vec<(SystemTime, HeapRecords)>,
) -> Vec<Profile> {
    let mut assembler = Assembler::new(config);
    let named = |(time, records)| {
        let read = vec![(Rc::clone(target), Records::Heap(records))];
        let mut profile = assembler.profile(read, None, &[]).clone();
        profile.meta.started = time;
        profile
    };
    moments.into_iter().map(named).collect()
}

/// The profile of one process, read again and again.
pub struct Watched<'a> {
    config: &'a Config,
    assembler: Assembler<'a>,
}

impl<'a> Watched<'a> {
    /// `config` says which profile and how; its selection and what it says of outputs are not used.
    pub fn new(config: &'a Config) -> Self {
        Self { config, assembler: Assembler::new(config) }
    }

    /// Reads it.
    ///
    /// # Errors
    /// The process is gone, keeps no such profile, or its records can't be read consistently.
    pub fn look(&mut self, target: &Rc<LiveProcess>) -> Result<(), Failure> {
        let records = read(self.config, target)?;
        self.assembler.profile(vec![(Rc::clone(target), records)], None, &[]);
        Ok(())
    }

    /// As of the last look.
    pub fn profile(&self) -> &Profile {
        self.assembler.last()
    }

    /// Lets go of the process if it has ended; names that were found for it are kept.
    pub fn forget_ended(&mut self) {
        self.assembler.forget_ended();
    }
}

/// Reading under way.
struct Reading<'a> {
    config: &'a Config,
    roster: Roster,
    assembler: Assembler<'a>,
    outputs: Rounds<'a>,
    samplers: Samplers,
    first: bool,
    waiting: Waiting,
}

impl Reading<'_> {
    /// One round of many.
    fn round(&mut self) -> Result<ControlFlow<()>, Failure> {
        let (config, samplers) = (self.config, &mut self.samplers);
        let mut beside = self.outputs.are_recorded().then(Beside::new);
        let looked = self.roster.look(|target| {
            if let Some(every) = config.enable_sampler {
                samplers.enable(target, every)?;
            }
            read_beside(config, target, &mut beside)
        })?;
        self.samplers.forget_ended(&looked);
        self.show(looked, beside)
    }

    /// Turns samplers on, waits, reads, and turns them off, whatever happens meanwhile.
    fn sample(&mut self, every: u64) -> Result<(), Failure> {
        let (config, samplers) = (self.config, &mut self.samplers);
        let looked = watch::block_on(async {
            // Before anything is written: a signal must not end heaptap from here on.
            let mut signals = Signals::new()?;
            let Looked { meant, seen, mut unseen } =
                self.roster.look(|target| samplers.enable(target, every))?;
            let targets: Vec<_> = seen.into_iter().map(|(target, ())| target).collect();
            if samplers.any() {
                wait(config, &targets, &mut signals).await;
            }
            let mut beside = self.outputs.are_recorded().then(Beside::new);
            let mut seen = Vec::new();
            for target in targets {
                match read_beside(config, &target, &mut beside) {
                    Ok(records) => seen.push((target, records)),
                    Err(failure) => unseen.push(Unseen::new(&target, failure)),
                }
            }
            Ok((Looked { meant, seen, unseen }, beside))
        });
        let restored = self.samplers.restore();
        let (looked, beside) = looked?;
        self.show(looked, beside).and(restored)
    }

    /// Shows what a round has read. Tells whether there can be another.
    fn show(
        &mut self,
        looked: Looked<Records>,
        beside: Option<Beside>,
    ) -> Result<ControlFlow<()>, Failure> {
        let first = std::mem::take(&mut self.first);
        let named = self.roster.is_named();
        if looked.seen.is_empty() {
            let failure = self.roster.nobody(&looked);
            // Who is named must be there; of others one may come.
            let waits = self.config.watch.is_some() && !named && failure.exit != Exit::Permission;
            return match first && !waits {
                true => Err(failure),
                // They were there and have ended: what there was to see was shown.
                false if named && failure.exit == Exit::Target => Ok(ControlFlow::Break(())),
                false => {
                    self.waiting.say(&failure);
                    Ok(ControlFlow::Continue(()))
                }
            };
        }
        self.waiting.over();
        let Looked { seen, unseen, .. } = looked;
        let profile = self.assembler.profile(seen, self.samplers.sampled(), &unseen);
        let statistics = beside.map(|beside| beside.done(&unseen));
        let more = self.outputs.write(profile, statistics.as_ref())?;
        match unseen.into_iter().next().filter(|_| named && first) {
            Some(unseen) => Err(unseen.failure),
            None => Ok(more),
        }
    }
}

/// Samplers that were turned on.
#[derive(Default)]
struct Samplers {
    /// By process; nothing for one that was on already.
    on: HashMap<Identity, Option<Lent>>,
    since: Option<(SystemTime, Instant)>,
    length: Option<Duration>,
}

impl Samplers {
    /// Turns the sampler of a process on, unless that was done.
    ///
    /// # Errors
    /// As [`sampler::enable`].
    fn enable(&mut self, target: &LiveProcess, every: u64) -> Result<(), Failure> {
        let id = target.process.id;
        if !self.on.contains_key(&id) {
            let sampler = sampler::enable(target, every)?;
            if sampler.is_some() {
                self.since.get_or_insert_with(|| (SystemTime::now(), Instant::now()));
            }
            self.on.insert(id, sampler);
        }
        Ok(())
    }

    /// Whether one was off before.
    fn any(&self) -> bool {
        self.on.values().any(Option::is_some)
    }

    fn sampled(&self) -> Option<Sampled> {
        let (since, began) = self.since?;
        Some(Sampled { since, length: self.length.unwrap_or_else(|| began.elapsed()) })
    }

    fn forget_ended<T>(&mut self, looked: &Looked<T>) {
        let seen = |id: &Identity| looked.seen.iter().any(|(target, _)| target.process.id == *id);
        self.on.retain(|id, _| seen(id) || id.is_alive());
    }

    /// Turns all of them off again.
    ///
    /// # Errors
    /// The first word that can't be written.
    fn restore(&mut self) -> Result<(), Failure> {
        self.length = self.since.map(|(_, began)| began.elapsed());
        let mut result = Ok(());
        for lent in self.on.drain().filter_map(|(_, lent)| lent) {
            result = result.and(lent.restore());
        }
        result
    }
}

/// As [`read`], and its statistics, where those are kept too.
fn read_beside(
    config: &Config,
    target: &LiveProcess,
    beside: &mut Option<Beside>,
) -> Result<Records, Failure> {
    if let Some(beside) = beside {
        beside.look(target);
    }
    read(config, target)
}

fn read(config: &Config, target: &LiveProcess) -> Result<Records, Failure> {
    let pid = target.process.id.pid;
    let unreadable = |error: crate::runtime::Error| {
        // Errors of memory name the process themselves.
        let text = error.to_string();
        let named = text.contains(&format!("process {pid}"));
        let text = if named { text } else { format!("process {pid}: {text}") };
        Failure::new(error.exit(), text)
    };
    let limits = Limits { memory: config.max_memory, ..Limits::default() };
    let contention = |which| target.live.contention_records(which, limits).map_err(unreadable);
    let off = |why: String| Err(Failure::new(Exit::Unsupported, format!("process {pid} {why}")));
    match config.profile {
        heap::Profile::Heap(_) => {
            let records = target.live.heap_records(limits).map_err(unreadable)?;
            if records.rate > 0 {
                return Ok(Records::Heap(records));
            }
            off(format!(
                "keeps no heap profile: its sampler is off (the linker leaves it off in programs \
                 that never ask for the profile); `heaptap heap -p {pid} --enable-sampler` turns it \
                 on for a time, `heaptap record -p {pid} --mode span` needs none"
            ))
        }
        heap::Profile::Block(_) | heap::Profile::Mutex(_) => {
            let (which, name, switch) = match config.profile {
                heap::Profile::Block(_) => (Contention::Block, "block", "SetBlockProfileRate"),
                _ => (Contention::Mutex, "mutex", "SetMutexProfileFraction"),
            };
            let records = contention(which)?;
            let lost = which == Contention::Mutex && records.rate == 0;
            if lost && !records.buckets.is_empty() && assemble::unscaled(target) {
                return off(
                    "has turned its mutex profile off, without which this Go version's records mean \
                     nothing"
                        .to_owned(),
                );
            }
            if records.rate > 0 || !records.buckets.is_empty() || records.refused > 0 {
                return Ok(Records::Contention(records));
            }
            off(format!("keeps no {name} profile: it has not turned it on with runtime.{switch}"))
        }
    }
}

/// Until the time is up, a signal comes, or nobody is left.
async fn wait(config: &Config, targets: &[Rc<LiveProcess>], signals: &mut Signals) {
    let until = match config.duration {
        Some(duration) => format!("for {} s", duration.as_secs_f64()),
        None => "until Ctrl-C".to_owned(),
    };
    // Scripts wait for this line, so it is there with --quiet too.
    eprintln!("heaptap: sampling {} {until}", counted(targets.len(), "process"));
    let end = watch::deadline(config.duration);
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            () = sleep_until(end.into()) => return,
            () = signals.next() => return,
            _ = looks.tick() => {
                if !targets.iter().any(|target| target.is_there()) {
                    return;
                }
            }
        }
    }
}
