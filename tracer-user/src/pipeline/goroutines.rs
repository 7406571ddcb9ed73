//! `heaptap goroutines`: what every goroutine of a running program does, read out of its memory.
//!
//! In: the configuration. Out: files, or a table on standard output. Nothing is attached, and the
//! program is not stopped: goroutines run on while they are read, and those that do have no stack.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::naming::{self, Namer};
use super::natives::Natives;
use super::opened::LiveProcess;
use super::outputs::{self, Rounds};
use super::roster::Roster;
use super::stats::Beside;
use super::watch;
use crate::address::{RuntimeAddr, VAddr};
use crate::cli::goroutines::Config;
use crate::exit::{Exit, Failure};
use crate::gobin::GoBinary;
use crate::host::{self, Selection};
use crate::output::goroutines::{Goroutine, Goroutines, Options};
use crate::output::{self, Format};
use crate::profile::{
    BinaryId, CounterValue, FrameKind, GOROUTINE, LocationId, Meta, Name, Period, Profile, Source,
};
use crate::recording::Statistics;
use crate::runtime::g;
use crate::runtime::goroutines::{End, Labeled, Limits, NoStack, Snapshot, Stack, Waiting};

/// A goroutine's frames, where there are none to read.
const RUNNING: &str = "[running: not readable from outside]";
const MOVING: &str = "[ran each time that it was looked at]";
const UNREADABLE: &str = "[stack not readable]";
/// Outermost frame of a stack that ends where none should.
const BROKEN: &str = "[stack not readable beyond]";

/// Reads and writes, once or again and again.
///
/// # Errors
/// What kept it from reading, or the first output that could not be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut roster = Roster::new(&Selection::Pids(vec![config.pid]));
    let mut outputs = Rounds::new(&config.show, config.kept.as_ref(), config.watch.is_some())?;
    let mut named: Option<Named> = None;
    // With the process that it is of.
    let mut waiting = None;
    let mut first = true;
    let limits =
        Limits { frames: config.max_frames, memory: config.max_memory, ..Limits::default() };
    let mut round = || {
        let mut beside = outputs.are_recorded().then(Beside::new);
        let looked = roster.look(|process| {
            if let Some(beside) = &mut beside {
                beside.look(process);
            }
            let waiting = config.watch.map(|_| of(process, &mut waiting));
            read(process, limits, waiting)
        })?;
        let is_first = std::mem::take(&mut first);
        let Some((process, found)) = looked.seen.first() else {
            let failure = roster.nobody(&looked);
            // It was there and has ended: what there was to see was shown.
            let ended = !is_first && failure.exit == Exit::Target;
            return if ended { Ok(ControlFlow::Break(())) } else { Err(failure) };
        };
        let named = match named.take().filter(|named| Rc::ptr_eq(&named.process, process)) {
            Some(known) => named.insert(known),
            None => named.insert(Named::new(process)),
        };
        named.update(found);
        let statistics = beside.map(|beside| beside.done(&looked.unseen));
        write(config, &named.goroutines, statistics.as_ref(), &mut outputs)
    };
    match config.watch {
        Some(period) => watch::every(period, None, round),
        None => round().map(|_| ()),
    }
}

/// What one look told.
struct Read {
    snapshot: Snapshot,
    reasons: Vec<String>,
    started: SystemTime,
    /// What the process's runtime counts time by; nothing when that is not known.
    now: Option<u64>,
    took: Duration,
}

/// What is known from earlier looks at the same process.
fn of<'a>(
    process: &Rc<LiveProcess>,
    waiting: &'a mut Option<(Rc<LiveProcess>, Waiting)>,
) -> &'a mut Waiting {
    let same = waiting.take().filter(|(of, _)| Rc::ptr_eq(of, process));
    &mut waiting.insert(same.unwrap_or_else(|| (Rc::clone(process), Waiting::default()))).1
}

fn read(
    process: &LiveProcess,
    limits: Limits,
    waiting: Option<&mut Waiting>,
) -> Result<Read, Failure> {
    let pid = process.process.id.pid;
    let refused =
        |err: crate::runtime::Error| Failure::new(err.exit(), format!("process {pid}: {err}"));
    let (started, clock) = (SystemTime::now(), Instant::now());
    let now = nanotime();
    let snapshot = process.live.snapshot_after(limits, waiting).map_err(refused)?;
    let took = clock.elapsed();
    let reasons = process.live.wait_reasons().map_err(refused)?;
    // `nanotime` of a process in a time namespace of its own is not ours.
    let now = now.filter(|_| host::same_clock(pid));
    Ok(Read { snapshot, reasons, started, now, took })
}

/// The goroutines of one process, looked at again and again.
pub struct Watched {
    named: Named,
    waiting: Waiting,
}

impl Watched {
    pub fn new(process: &Rc<LiveProcess>) -> Self {
        Self { named: Named::new(process), waiting: Waiting::default() }
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// The process is gone, or its goroutines can't be read within limits.
    pub fn look(&mut self) -> Result<(), Failure> {
        let found = read(&self.named.process, Limits::default(), Some(&mut self.waiting))?;
        self.named.update(&found);
        Ok(())
    }

    /// As of the last look.
    pub fn goroutines(&self) -> &Goroutines {
        &self.named.goroutines
    }
}

fn write(
    config: &Config,
    goroutines: &Goroutines,
    statistics: Option<&Statistics>,
    outputs: &mut Rounds<'_>,
) -> Result<ControlFlow<()>, Failure> {
    let table = Options {
        style: outputs::style(config.show.color),
        by: config.by,
        top: config.show.top,
        system: config.system,
    };
    let options = output::Options::default();
    // A table needs neither.
    let flat = LazyCell::new(|| goroutines.profile(config.system, None));
    let grouped = LazyCell::new(|| goroutines.profile(config.system, Some(config.by)));
    if outputs.are_recorded() {
        outputs.record(&grouped, statistics)?;
    }
    outputs.write_with(&|| output::summary(&flat), &|format, out| match format {
        Format::Table => goroutines.write_table(&table, out),
        Format::Json => goroutines.write_json(out),
        Format::Pprof => output::render(&flat, format, &options, out),
        Format::Svg | Format::Html | Format::Folded => {
            output::render(&grouped, format, &options, out)
        }
    })
}

/// What the runtimes of all processes of this host count time by.
fn nanotime() -> Option<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
    u64::try_from(Duration::from(now).as_nanos()).ok()
}

/// Goroutines getting names, which are kept from one look to the next.
struct Named {
    process: Rc<LiveProcess>,
    goroutines: Goroutines,
    namer: Namer,
    natives: Natives,
    places: HashMap<RuntimeAddr, Option<LocationId>>,
    /// By how they end: stacks by their return addresses.
    stacks: [HashMap<Box<[RuntimeAddr]>, Vec<LocationId>>; 3],
}

/// Stacks whose names are kept beside twice as many as there are.
const SPARE_STACKS: usize = 10_000;

impl Named {
    fn new(process: &Rc<LiveProcess>) -> Self {
        let go = &process.live.program.go;
        let meta = Meta {
            source: Source::Records,
            method: None,
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            value_types: vec![GOROUTINE],
            default_value: 0,
            period: Some(Period { of: GOROUTINE, length: 1 }),
            counters: Vec::new(),
            budget: None,
            in_windows: false,
            notes: Vec::new(),
        };
        let mut profile = Profile::new(meta);
        profile.binaries.push(naming::binary(go, &process.path));
        profile.processes.push(naming::process(&process.process, go, BinaryId(0)));
        let namer = Namer::new(go.clone(), BinaryId(0));
        let (all, stacks, read) = Default::default();
        Self {
            process: Rc::clone(process),
            goroutines: Goroutines { profile, all, stacks, read },
            namer,
            natives: Natives::default(),
            places: HashMap::new(),
            stacks: Default::default(),
        }
    }

    /// Names what was found now.
    fn update(&mut self, found: &Read) {
        let Read { snapshot, reasons, started, now, took } = found;
        if self.stacks.iter().map(HashMap::len).sum::<usize>()
            > 2 * snapshot.stacks.len() + SPARE_STACKS
        {
            *self = Self::new(&self.process);
        }
        self.goroutines.read = *took;
        self.goroutines.profile.meta.started = *started;
        self.goroutines.stacks = self.stacks(snapshot);
        self.goroutines.all = Vec::with_capacity(snapshot.goroutines.len());
        let mut missing: HashMap<NoStack, u32> = HashMap::new();
        let labels: Vec<Vec<(Name, Name)>> = (snapshot.labels.iter())
            .map(|set| {
                let mut name = |text: &String| self.goroutines.profile.names.intern(text);
                set.iter().map(|(key, value)| (name(key), name(value))).collect()
            })
            .collect();
        let mut counts = Counts::default();
        for g in &snapshot.goroutines {
            let state = state(g.status, g.wait_reason, reasons);
            let (stack, why) = match g.stack {
                Ok(stack) => (stack, None),
                Err(why) => {
                    let (frame, word) = reason(why);
                    let Goroutines { profile, stacks, .. } = &mut self.goroutines;
                    let stack = *missing.entry(why).or_insert_with(|| {
                        stacks.push(vec![profile.made_up(frame, FrameKind::Marker)]);
                        stacks.len() as u32 - 1
                    });
                    (stack, Some(word))
                }
            };
            counts.add(g, snapshot);
            let waits = matches!(g.status, g::WAITING | g::SYSCALL | g::LEAKED);
            let since = Some(g.wait_since).filter(|since| waits && *since != 0);
            let waits = since.zip(*now).and_then(|(since, now)| now.checked_sub(since));
            let goroutine = Goroutine {
                id: g.id,
                state: self.goroutines.profile.names.intern(state),
                waits: waits.map(Duration::from_nanos),
                locked: g.locked,
                system: g.system,
                parent: g.parent,
                // The main goroutine is made by the code that starts the runtime, and Go tells nothing
                // of that either (traceback.go, `printcreatedby`).
                creator: Some(g.gopc).filter(|_| g.id != 1).and_then(|pc| self.creator(pc)),
                start: self.place(g.startpc),
                labels: match g.labels {
                    Labeled::None => Some(Vec::new()),
                    Labeled::With(set) => Some(labels[set as usize].clone()),
                    Labeled::Unreadable => None,
                },
                stack,
                missing: why,
            };
            self.goroutines.all.push(goroutine);
        }
        let meta = &mut self.goroutines.profile.meta;
        meta.method = Some(counts.method());
        meta.counters = counts.counters(snapshot);
    }

    /// The stacks as Go's own profile has them: without `runtime.goexit`, wrappers and the like.
    fn stacks(&mut self, found: &Snapshot) -> Vec<Vec<LocationId>> {
        let bias = self.process.live.bias;
        let mut unknown: Vec<(&Stack, Vec<RuntimeAddr>)> = Vec::new();
        for stack in &found.stacks {
            if !self.stacks[stack.end as usize].contains_key(&stack.pcs) {
                unknown.push((stack, self.namer.rules.calls(&stack.pcs, bias, |_| true)));
            }
        }
        let calls = unknown.iter().flat_map(|(_, calls)| calls);
        let mut addresses: Vec<VAddr> = calls.map(|call| bias.to_vaddr(*call)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.namer.name_all(&addresses);
        for (stack, calls) in unknown {
            let frames = self.frames(calls, stack.end);
            self.stacks[stack.end as usize].insert(stack.pcs.clone(), frames);
        }
        let known = |stack: &Stack| self.stacks[stack.end as usize].get(&stack.pcs).cloned();
        found.stacks.iter().map(|stack| known(stack).unwrap_or_default()).collect()
    }

    fn frames(&mut self, calls: Vec<RuntimeAddr>, end: End) -> Vec<LocationId> {
        let (bias, profile) = (self.process.live.bias, &mut self.goroutines.profile);
        let mut callee = 0;
        let mut frames = Vec::with_capacity(calls.len() + 1);
        for call in calls {
            let at = bias.to_vaddr(call);
            let location = if self.namer.holds(at) {
                self.namer.location(profile, at, &mut callee)
            } else {
                callee = 0;
                self.natives.location(profile, None, call)
            };
            frames.extend(location);
        }
        match end {
            End::Whole => {}
            End::Cut => frames.push(profile.truncated()),
            End::Broken => frames.push(profile.made_up(BROKEN, FrameKind::Marker)),
        }
        frames
    }

    /// The `go` statement, by the address behind its call.
    fn creator(&mut self, gopc: RuntimeAddr) -> Option<LocationId> {
        let go: &GoBinary = &self.process.live.program.go;
        let at = self.process.live.bias.to_vaddr(gopc);
        let function = go.function_at(at)?;
        self.place(RuntimeAddr(gopc.0 - u64::from(at > function.entry)))
    }

    fn place(&mut self, at: RuntimeAddr) -> Option<LocationId> {
        let (process, namer) = (&self.process, &mut self.namer);
        let profile = &mut self.goroutines.profile;
        *self.places.entry(at).or_insert_with(|| {
            let at = process.live.bias.to_vaddr(at);
            if namer.holds(at) { namer.place(profile, at) } else { None }
        })
    }
}

/// The frame that stands for a stack, and a word for scripts.
fn reason(why: NoStack) -> (&'static str, &'static str) {
    match why {
        NoStack::Running => (RUNNING, "running"),
        NoStack::Moving => (MOVING, "moving"),
        NoStack::Unreadable => (UNREADABLE, "unreadable"),
    }
}

/// As Go prints it (traceback.go, `goroutineheader`).
pub fn state(status: u32, reason: u8, reasons: &[String]) -> &str {
    let known = reasons.get(usize::from(reason)).filter(|text| reason != 0 && !text.is_empty());
    match status {
        g::WAITING => known.map_or("waiting", String::as_str),
        g::LEAKED => known.map_or("leaked", String::as_str),
        g::RUNNABLE => "runnable",
        g::RUNNING => "running",
        g::SYSCALL => "syscall",
        g::COPYSTACK => "copystack",
        g::PREEMPTED => "preempted",
        _ => "unknown",
    }
}

/// How many there are, and what is missing of them.
#[derive(Default)]
struct Counts {
    program: u64,
    system: u64,
    running: u64,
    moving: u64,
    unreadable: u64,
    cut: u64,
    unlabeled: u64,
}

impl Counts {
    fn add(&mut self, g: &crate::runtime::goroutines::Goroutine, found: &Snapshot) {
        *(if g.system { &mut self.system } else { &mut self.program }) += 1;
        match g.stack.map(|stack| found.stacks[stack as usize].end) {
            Ok(End::Whole) => {}
            Ok(End::Cut) => self.cut += 1,
            Err(NoStack::Running) => self.running += 1,
            Err(NoStack::Moving) => self.moving += 1,
            Ok(End::Broken) | Err(NoStack::Unreadable) => self.unreadable += 1,
        }
        self.unlabeled += u64::from(g.labels == Labeled::Unreadable);
    }

    /// What was read, in one line.
    fn method(&self) -> String {
        let read = self.program + self.system - self.running - self.moving - self.unreadable;
        format!(
            "goroutines: {} of the program, {} of the runtime's own; {read} read with their stacks, {} \
             running",
            self.program, self.system, self.running
        )
    }

    fn counters(&self, found: &Snapshot) -> Vec<CounterValue> {
        let all = [
            ("goroutines", "goroutines of the program", false, self.program),
            ("system_goroutines", "goroutines of the runtime's own", false, self.system),
            (
                "running",
                "stacks of goroutines that were running, which can't be read from outside",
                true,
                self.running,
            ),
            (
                "moving",
                "stacks of goroutines that ran each time that they were read",
                true,
                self.moving,
            ),
            (
                "unreadable_stacks",
                "stacks that could not be read to their ends",
                true,
                self.unreadable,
            ),
            (
                "cut_stacks",
                "stacks are cut: they have more frames than --max-frames",
                true,
                self.cut,
            ),
            ("unreadable_labels", "sets of labels that could not be read", true, self.unlabeled),
            (
                "unreadable_goroutines",
                "entries of the runtime's list that are no goroutine, or not any more",
                true,
                found.unreadable as u64,
            ),
        ];
        let nonzero = all.into_iter().filter(|(.., count)| *count > 0);
        nonzero
            .map(|(name, help, is_loss, count)| CounterValue {
                name: name.into(),
                help: help.into(),
                is_loss,
                count,
            })
            .collect()
    }
}
