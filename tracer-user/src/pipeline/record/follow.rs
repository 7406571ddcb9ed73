//! A recording while it runs: who comes is looked at, who goes is let go.
//!
//! In: notices of execs and exits, ticks, signals. Out: images that begin and end, and counts of
//! those that could not be recorded. An exec is looked at in the order of cost: a file that is known to
//! be no Go program takes one system call.

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{SigHandler, Signal as Number};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, interval_at, sleep_until},
};
use tracer_common::{Counter, record::PROC_LIVE};

use super::Recording;
use crate::{
    cli::record::Config,
    exit::{Exit, Failure},
    host::{self, Selection, Selector},
    output,
    pipeline::{
        outputs::Rounds,
        targets::{Tapped, failure},
    },
    probe::{self, Notice, Program},
    profile::CounterValue,
};

/// How often the progress line is written anew.
const PROGRESS: Duration = Duration::from_millis(500);
/// How often it is seen to that nothing was missed and nothing is kept for too long.
const TIDY: Duration = Duration::from_secs(1);
/// How often iterations that are over are taken out of their ring, which has room for some more.
const DRAIN: Duration = Duration::from_millis(20);
/// Different reasons that are told; others are counted.
const REASONS: usize = 20;

/// The signals that a recording waits for.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Somebody waits to write to a file.
    lease: Signal,
}

/// Who is followed, and who could not be.
pub struct Follower {
    selector: Selector,
    /// Binaries of which the remarks were told.
    pub told: usize,
    /// Processes that ended before they could be looked at.
    ended: u64,
    /// Go processes that can't be recorded, by reason.
    refused: HashMap<String, u64>,
    refused_otherwise: u64,
    /// Notices that are known to be lost.
    lost: u64,
    rescans: u64,
}

impl Signals {
    /// From here on they end a recording, and not heaptap.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn catch() -> Result<Self, Failure> {
        let refused =
            |err| Failure::new(Exit::Failure, format!("signals can't be waited for: {err}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            lease: signal(SignalKind::io()).map_err(refused)?,
        })
    }
}

impl Follower {
    pub fn new(selection: &Selection) -> Self {
        Self {
            selector: Selector::new(selection),
            told: 0,
            ended: 0,
            refused: HashMap::new(),
            refused_otherwise: 0,
            lost: 0,
            rescans: 0,
        }
    }

    /// A Go process that can't be recorded.
    fn refuse(&mut self, pid: u32, failure: &Failure) {
        let why = failure.to_string();
        let why = why.strip_prefix(&format!("process {pid}: ")).unwrap_or(&why).to_owned();
        if self.refused.len() < REASONS || self.refused.contains_key(&why) {
            *self.refused.entry(why).or_default() += 1;
        } else {
            self.refused_otherwise += 1;
        }
    }

    /// Sentences about those that could not be recorded.
    pub fn notes(&self) -> Vec<String> {
        let told = |(why, count): (&String, &u64)| match count {
            1 => format!("not recorded: {why}"),
            n => format!("not recorded, {n} processes: {why}"),
        };
        let mut notes: Vec<String> = self.refused.iter().map(told).collect();
        notes.sort();
        if self.refused_otherwise > 0 {
            let n = self.refused_otherwise;
            notes.push(format!("not recorded: {n} more Go processes, for other reasons"));
        }
        if self.rescans > 0 {
            let n = self.rescans;
            notes.push(format!(
                "notices of starting and ending processes were lost; all processes were looked \
                 through {n} times instead"
            ));
        }
        notes
    }

    pub fn counters(&self) -> impl Iterator<Item = CounterValue> {
        let refused = self.refused.values().sum::<u64>() + self.refused_otherwise;
        [
            (
                "ended_unseen",
                "programs, of whatever kind, that ended before they could be looked at",
                self.ended,
            ),
            ("refused_processes", "Go processes that could not be recorded", refused),
        ]
        .into_iter()
        .map(|(name, help, count)| CounterValue {
            name: name.into(),
            help: help.into(),
            is_loss: false,
            count,
        })
    }
}

/// What a reader must know of a binary that is recorded.
pub fn remarks(tapped: &Tapped) -> impl Iterator<Item = String> {
    let incomplete =
        tapped.incomplete.iter().map(|why| format!("NOT COMPLETE: {}: {why}", tapped.path));
    // A return is never emulated, on no release.
    let mut sites = tapped.sites.iter().filter(|planned| !planned.program.is_at_returns());
    let slow = sites.find(|planned| !planned.site.emulated).map(|slow| {
        format!(
            "{}: the kernel single-steps {} of this Go version; each event costs the program about \
             ten times as much as with Go 1.21 or later",
            tapped.path, slow.site.function
        )
    });
    let missing = tapped.missing.iter().cloned();
    let drops = tapped.sites.iter().find(|planned| planned.program == Program::PoolPut);
    let drops = drops.filter(|_| tapped.go.facts().setting("-race") == Some("true")).map(|_| {
        format!(
            "{}: built with the race detector, which lets sync.Pool drop one of four things that are \
             put back",
            tapped.path
        )
    });
    incomplete.chain(missing).chain(slow).chain(drops)
}

impl Recording {
    /// Waits for the end (the time is up, Ctrl-C, or nobody is left of those that were named) and
    /// stops counting.
    /// What was recorded so far goes to `rounds` each time that it is wanted.
    pub async fn follow(
        &mut self,
        config: &Config,
        mut signals: Signals,
        rounds: &mut Rounds<'_>,
    ) -> Result<(), Failure> {
        // Who starts on a busy host is not to be missed, probes that a program can't afford are to come
        // off at once, and a ring is to be emptied before it is full; naming stacks later can wait.
        let options = self.kernel.options();
        let drains = options.max_goroutines > 0 || options.os.is_some();
        let prompt = config.follows() || config.budget.is_some() || drains;
        let raise = || if prompt { host::Priority::raise() } else { None };
        let mut priority = raise();
        let mut notices = self.kernel.notices().map_err(failure)?;
        let mut log = self.kernel.log().map_err(failure)?;
        let progress = !config.show.quiet && io::stderr().is_terminal();
        let [mut ticks, mut tidy, mut drain] = [PROGRESS, TIDY, DRAIN].map(|every| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let every = config.every.unwrap_or(TIDY);
        let mut rounds_due = interval_at((self.began + every).into(), every);
        rounds_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A century stands for no end: sleeping must not overflow the clock.
        let longest = Duration::from_secs(100 * 365 * 86_400);
        let end = self.began + config.duration.unwrap_or(longest).min(longest);
        let mut settling: Option<Settling> = None;
        self.targets.uncharged();
        loop {
            let due = if settling.is_none() { self.targets.images.due() } else { None };
            let govern = self.targets.meters.due();
            tokio::select! {
                () = sleep_until(end.into()) => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.terminate.recv() => break,
                _ = signals.lease.recv() => self.targets.give_way(&mut self.kernel),
                news = notices.next() => {
                    for notice in news.map_err(|err| failure(probe::Error::Ring(err)))? {
                        self.notice(notice);
                    }
                    if self.targets.live() == 0 && !config.follows() {
                        break;
                    }
                }
                () = sleep_until(due.unwrap_or(end).into()), if due.is_some() => {
                    settling = Some(Settling::begin());
                }
                began = settled(settling.as_mut()), if settling.is_some() => {
                    settling = None;
                    self.targets.collect(&mut self.kernel, began)?;
                    self.targets.uncharged();
                }
                () = sleep_until(govern.unwrap_or(end).into()), if govern.is_some() => {
                    self.targets.govern(&mut self.kernel)?;
                }
                _ = rounds_due.tick(), if config.every.is_some() => {
                    // Naming stacks can wait for others.
                    drop(priority.take());
                    match self.snapshot(config, rounds) {
                        Ok(ControlFlow::Continue(())) => priority = raise(),
                        Ok(ControlFlow::Break(())) => break,
                        Err(failure) => {
                            // What was recorded is written wherever else it can be.
                            self.failed = Some(failure);
                            break;
                        }
                    }
                }
                _ = drain.tick(), if drains => {
                    self.kernel.drain();
                    self.targets.charged_to_all();
                }
                _ = tidy.tick() => self.tidy()?,
                _ = ticks.tick(), if progress => self.progress(),
                _ = pump(log.as_mut()), if log.is_some() => {}
            }
        }
        if let Some(log) = &mut log {
            log.flush();
        }
        if progress {
            eprint!("\r\x1b[K");
        }
        drop(priority);
        self.targets.deselect_all(&mut self.kernel)?;
        self.duration = self.began.elapsed();
        for lent in self.samplers.drain(..) {
            if let Err(failure) = lent.restore() {
                self.notes.push(failure.to_string());
            }
        }
        // From here on a second Ctrl-C ends heaptap at once.
        for signal in [Number::SIGINT, Number::SIGTERM] {
            // SAFETY: the default action is no handler function.
            let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
        }
        Ok(())
    }

    /// A process has exec'd or ended.
    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Exit { image, .. } => self.targets.ended(&mut self.kernel, image),
            Notice::Dry { image, at } => {
                self.targets.dry(&mut self.kernel, image, at);
                return;
            }
            Notice::Late { image, at } => {
                self.targets.late(image, at);
                return;
            }
            // Not asked for.
            Notice::End { .. } | Notice::Victim { .. } => return,
            Notice::Exec { pid, image } => {
                // It may run the same program again, another Go program, or something else.
                self.targets.ended(&mut self.kernel, image);
                self.look(pid);
            }
        }
        self.targets.uncharged();
    }

    /// Looks at a process that runs something new, and records it if it is meant.
    fn look(&mut self, pid: u32) {
        let counted = self.targets.images.of_pid(pid);
        let known = self.kernel.entry(pid);
        if known.is_some_and(|e| e.state == PROC_LIVE && Some(e.image) == counted) {
            // It was found after that exec.
            return;
        }
        if let Some(before) = counted {
            self.targets.ended(&mut self.kernel, before);
        }
        if !self.wants(pid) {
            // Its events are missing no more.
            let _ = self.kernel.deselect(pid);
        }
    }

    /// Whether a process is recorded now.
    fn wants(&mut self, pid: u32) -> bool {
        let file = match host::exe_key(pid) {
            Ok(file) => file,
            Err(_) => {
                self.follower.ended += u64::from(host::process(pid).is_err());
                return false;
            }
        };
        if self.targets.unfit(&file).is_some_and(|why| why.exit == Exit::Target) {
            return false;
        }
        let Ok(process) = host::process(pid) else {
            self.follower.ended += 1;
            return false;
        };
        if !self.follower.selector.wants(&process) {
            return false;
        }
        match self.targets.add(&mut self.kernel, pid) {
            Ok(()) => {
                let new = self.targets.binaries.iter().skip(self.follower.told);
                self.notes.extend(new.flat_map(remarks));
                self.follower.told = self.targets.binaries.len();
                true
            }
            Err(_) if !process.id.is_alive() => {
                self.follower.ended += 1;
                false
            }
            Err(failure) => {
                if failure.exit != Exit::Target {
                    self.follower.refuse(pid, &failure);
                }
                false
            }
        }
    }

    /// Lets go what is not needed any more; looks for itself when notices were lost.
    fn tidy(&mut self) -> Result<(), Failure> {
        self.targets.tidy(&mut self.kernel);
        self.targets.uncharged();
        let lost = self.kernel.notices_lost().map_err(failure)?;
        if lost == self.follower.lost {
            return Ok(());
        }
        self.follower.lost = lost;
        self.follower.rescans += 1;
        let gone = |(number, image): (u32, &crate::pipeline::targets::Image)| {
            let entry = self.kernel.entry(image.process.id.pid);
            let counted = entry.is_some_and(|e| e.image == number && e.state == PROC_LIVE);
            (!counted).then_some(number)
        };
        let gone: Vec<u32> = self.targets.images.iter().filter_map(gone).collect();
        for number in gone {
            self.targets.ended(&mut self.kernel, number);
        }
        let all = host::processes().map_err(|err| Failure::new(err.exit(), err.to_string()))?;
        for process in all {
            self.look(process.id.pid);
        }
        self.targets.uncharged();
        Ok(())
    }

    fn progress(&self) {
        let Ok(counters) = self.kernel.counters() else { return };
        let of = |wanted: Counter| {
            counters.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, n)| *n)
        };
        let lost: u64 = counters.iter().filter(|(c, _)| c.is_loss()).map(|(_, n)| n).sum();
        eprint!(
            "\r\x1b[Kheaptap: {:.1} s  {} events  {} stacks  {lost} lost",
            self.began.elapsed().as_secs_f64(),
            output::text::grouped(of(Counter::Recorded)),
            output::text::grouped(of(Counter::Stacks)),
        );
        let _ = io::stderr().flush();
    }
}

/// Waits until every kernel program is over that runs now.
struct Settling {
    began: Instant,
    over: JoinHandle<()>,
}

/// How long programs take at most where the kernel can't be asked.
const LONGEST: Duration = Duration::from_millis(500);

impl Settling {
    fn begin() -> Self {
        let over = spawn_blocking(|| {
            if probe::wait_for_programs().is_err() {
                thread::sleep(LONGEST);
            }
        });
        Self { began: Instant::now(), over }
    }
}

/// Programs that began before what it returns are over.
async fn settled(settling: Option<&mut Settling>) -> Instant {
    match settling {
        Some(settling) => {
            // The thread does not panic; if it did, that is as long as the kernel takes.
            let _ = (&mut settling.over).await;
            settling.began
        }
        None => Instant::now(),
    }
}

/// Lets the kernel programs' log through; without one it is never asked.
async fn pump(log: Option<&mut probe::KernelLog>) {
    if let Some(log) = log {
        let _ = log.pump().await;
    }
}
