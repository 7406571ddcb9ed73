//! Who is traced: inspects processes, resolves their binaries, attaches, follows execs and exits.
//!
//! In: pids. Out: images (one exec of one process each) that the kernel programs count for, and
//! everything that is needed to name their addresses after they are gone. Between looking at a
//! process and selecting it anything may happen; so it is looked at again afterwards.

mod binaries;
mod budget;
mod entries;
mod groups;
mod held;
mod images;
mod libraries;
mod meters;
mod names;
mod plan;
mod preview;
mod rates;
mod spans;
mod totals;
mod unfit;
mod view;
mod windows;

use std::{sync::Arc, time::Duration};

use crate::{
    address::LoadBias,
    cli::probes::{Probe, Probes},
    exit::{Exit, Failure},
    host::{self, FileKey},
    output::text::nanoseconds,
    probe::{self, Kernel, Program, Ready, trap::Trapped},
    profile::{Period, SPACE, Source},
    runtime::{Live, ProcessMemory},
};

use super::{
    doctor,
    opened::{Opener, live, load_bias, not_readable},
};
pub use binaries::Tapped;
pub use entries::{Entries, Entry};
use groups::Joined;
pub use held::{Counts, Held, StackId};
pub use images::{Image, Images};
pub use libraries::{Library, data, file_offset, nowhere};
use meters::Opening;
pub use meters::{Meters, Once, Spent};
use names::Names;
use unfit::Unfit;
use view::View;

/// Everything that is or was traced.
pub struct Targets {
    opener: Opener,
    source: Source,
    wanted: Wanted,
    pub binaries: Vec<Tapped>,
    pub images: Images,
    /// Who appears in the profile.
    pub entries: Entries,
    /// What was counted, once it is out of the kernel's tables.
    pub held: Held,
    pub meters: Meters,
    /// What the runtimes say of their memory, in sentences; at the end, where the probe os is on.
    pub views: Vec<String>,
    /// How many groups there were.
    groups: u32,
    unfit: Unfit,
    /// Where the kernel is made ready to attach; nothing where that is not known.
    ready: Option<Ready>,
    /// What a trap costs here, where it is measured: single-stepped and emulated.
    traps: [Option<Duration>; 2],
    names: Names,
}

/// What else is wanted of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What is recorded.
    pub probes: Probes,
    /// Types will be named.
    pub types: bool,
    /// Stacks are told apart by profiler labels.
    pub labels: bool,
    /// Attach to the file for everybody, because every process of it is selected.
    pub whole_files: bool,
    /// Others may come that are selected too.
    pub follow: bool,
    /// Ended processes that have an entry of their own.
    pub max_processes: usize,
    /// Stacks of ended processes that are kept.
    pub max_ended_stacks: usize,
    /// Bytes that what is known of binaries may take.
    pub max_memory: usize,
    /// Part of its CPU time that a process may be caused; nothing: no limit.
    pub budget: Option<f64>,
    /// Something is recorded that can't be in windows.
    pub once: bool,
}

/// A process that execs faster than it can be looked at is given up after this many looks.
const LOOKS: u32 = 5;

impl Targets {
    /// Nobody yet.
    pub fn new(opener: Opener, source: Source, wanted: Wanted) -> Self {
        let follows = wanted.probes.has(Probe::Map);
        let comes_again = wanted.follow || wanted.budget.is_some() && !wanted.once;
        let once = wanted.once.then_some(Once { ends: None });
        let at_once = comes_again.then(doctor::own_function).flatten();
        Self {
            // Before anything is attached: it takes a while.
            traps: [None, follows.then(|| trap(true)).flatten()],
            opener,
            source,
            wanted,
            binaries: Vec::new(),
            images: Images::default(),
            entries: Entries::new(wanted.max_processes),
            held: Held::new(wanted.max_ended_stacks),
            meters: Meters::new(wanted.budget, wanted.max_processes as u32, once),
            views: Vec::new(),
            groups: 0,
            ready: at_once.map(|(file, offset)| Ready::new(file, offset)),
            unfit: Unfit::default(),
            names: Names::start(),
        }
    }

    /// Does what would otherwise be done when the first program is attached to, at its expense.
    pub fn prepare(&mut self, kernel: &mut Kernel) {
        kernel.prepare(&plan::programs(self.source, self.wanted.probes));
        if self.ready.is_some() {
            kernel.prepare(&[Program::Empty]);
        }
        self.meters.prepare();
    }

    /// How many processes are being counted.
    pub fn live(&self) -> usize {
        self.images.live()
    }

    /// How far apart samples are, where the runtime's sampler makes them and all processes agree.
    pub fn period(&self) -> Option<Period> {
        let mut rates = self.entries.iter().map(|entry| entry.sampler_rate);
        let length = rates.next().filter(|rate| *rate > 0)?;
        rates.all(|rate| rate == length).then_some(Period { of: SPACE, length })
    }

    /// Processes whose sampler had another rate at the end than at the start, in sentences.
    pub fn changed_rates(&self) -> Vec<String> {
        let changed = |entry: &Entry| {
            let (pid, before, now) = (entry.process.id.pid, entry.sampler_rate, entry.other_rate?);
            Some(format!(
                "process {pid} set its sampler from {before} to {now} while it was recorded; its \
                 values are those of {before} throughout"
            ))
        };
        self.entries.iter().filter_map(changed).collect()
    }

    /// The program of the site that a stack was seen at.
    pub fn program(&self, stack: &StackId) -> Option<Program> {
        let tapped = &self.binaries[self.entries.get(stack.entry)?.binary];
        Some(tapped.sites.get(stack.site as usize)?.program)
    }

    /// What following iterations took of their times, and was taken out of them, in a sentence.
    pub fn taken_out(&self) -> String {
        let followed = self.held.stacks.values().filter_map(|counts| counts.iterations.as_deref());
        let (time, cost) =
            followed.fold((0, 0), |(time, cost), of| (time + of.time + of.cost, cost + of.cost));
        let known: Vec<String> = (self.traps.iter().flatten())
            .map(|trap| format!("{:.2} µs", trap.as_nanos() as f64 / 1e3))
            .collect();
        let traps = match known[..] {
            [] => "the traps themselves could not be measured and are in the times".to_string(),
            _ => format!("{} for each trap", known.join(" or ")),
        };
        format!(
            "times are less what following the steps took of them: {} of {} ({traps}, and what the \
             kernel programs took)",
            nanoseconds(cost),
            nanoseconds(time)
        )
    }

    /// Whether some process was not traced all the time. Known at the end.
    pub fn in_windows(&self) -> bool {
        let whole = |entry: &Entry| entry.spent.as_ref().is_none_or(Spent::is_whole);
        !self.entries.iter().all(whole)
    }

    /// For how long anybody was recorded, where that ended early for everybody.
    pub fn recorded_for(&self) -> Option<Duration> {
        let over = |entry: &Entry| {
            let spent = entry.spent.as_ref().filter(|spent| spent.is_over())?;
            Some(spent.observed)
        };
        let over: Option<Vec<Duration>> = self.entries.iter().map(over).collect();
        over?.into_iter().max()
    }

    /// Starts counting a process.
    pub fn add(&mut self, kernel: &mut Kernel, pid: u32) -> Result<(), Failure> {
        for _ in 0..LOOKS {
            let process = host::process(pid).map_err(not_readable)?;
            let exe = host::open_exe(pid).map_err(not_readable)?;
            let binary = self.binary(kernel, &exe)?;
            let bias = load_bias(&exe, &self.binaries[binary].go)?;
            let joined = self.join(kernel, binary, pid).map_err(|failure| {
                // The kernel's word for a process that is gone says nothing to anybody.
                host::process(pid).map_err(not_readable).err().unwrap_or(failure)
            })?;
            let selected = self.select(kernel, process, &exe, binary, bias, joined);
            if let Ok(true) = selected {
                let tapped = &mut self.binaries[binary];
                if !std::mem::replace(&mut tapped.is_read, true) {
                    self.names.read(&tapped.go);
                }
                return Ok(());
            }
            self.leave(kernel, binary, joined.group);
            selected?;
        }
        Err(Failure::new(
            Exit::Target,
            format!("process {pid} starts one program after the other; record it by --exe instead"),
        ))
    }

    /// Counts a process that was looked at; says whether it still is what was looked at.
    fn select(
        &mut self,
        kernel: &mut Kernel,
        process: host::Process,
        exe: &host::ExeFile,
        binary: usize,
        bias: LoadBias,
        Joined { group, number: group_number }: Joined,
    ) -> Result<bool, Failure> {
        let pid = process.id.pid;
        let records = self.records(exe, binary, bias)?;
        let sampler_rate = match self.source {
            Source::Sample => rate_that_is_on(pid, records.as_ref())?,
            _ => 0,
        };
        let number = self.images.number();
        let tapped = &mut self.binaries[binary];
        let emulated = tapped.sites.iter().all(|planned| planned.site.emulated);
        let allocates = self.wanted.probes.has(Probe::Alloc);
        let is_timed = self.wanted.probes != Probes::of(&[Probe::Alloc]);
        let records_read = records.as_ref();
        let age = process.id.age();
        let opening = Opening { pid, age, records: records_read, emulated, allocates, is_timed };
        let metered = self.meters.open(kernel, &opening, group, binary);
        let slot = metered.as_ref().map_or(0, |metered| metered.slot);
        if self.wanted.probes.has(Probe::Map) {
            let known = &mut self.traps[usize::from(emulated)];
            if known.is_none() && !emulated {
                *known = trap(emulated);
            }
            kernel.follow_iterations(number, known.unwrap_or_default());
        }
        let selected =
            kernel.select(pid, &tapped.entry(number, group_number, slot, bias)).map_err(failure);
        // From here on an exec is seen by the kernel program; was there one before? One of the
        // same file moves a position-independent program, and changes nothing for others.
        let still = exe.process == process.id && exe.still_runs();
        let still = still && load_bias(exe, &tapped.go).is_ok_and(|now| now == bias);
        // Who has ended since is out of the table, and a notice of that is on its way: it was what it was.
        let still = still || kernel.entry(pid).is_none();
        if selected.is_err() || !still {
            let deselected = kernel.deselect(pid).map_err(failure);
            if let Some(metered) = &metered {
                self.meters.close(kernel, metered, group, binary);
            }
            selected.and(deselected)?;
            return Ok(false);
        }
        let at_start = if self.source == Source::Span { images::in_caches(&records) } else { None };
        let view_at_start =
            if self.wanted.probes.has(Probe::Os) { View::of(pid, records.as_ref()) } else { None };
        // While the process is there to ask.
        let libraries = if tapped.go.facts().cgo {
            tapped.libraries.places(pid, host::mappings(pid).unwrap_or_default())
        } else {
            Vec::new()
        };
        let places = libraries::Places::new(bias, &tapped.go, libraries);
        let image = Image {
            process,
            binary,
            group,
            places,
            records,
            at_start,
            view_at_start,
            sampler_rate,
            metered,
            entry: None,
        };
        self.images.insert(number, image);
        Ok(true)
    }

    /// The memory of a process, for sources that read the runtime's records.
    fn records(
        &self,
        exe: &host::ExeFile,
        binary: usize,
        bias: LoadBias,
    ) -> Result<Option<Live<ProcessMemory>>, Failure> {
        let Some(program) = &self.binaries[binary].records else { return Ok(None) };
        match live(exe, Arc::clone(program), bias) {
            // Counting needs none; without them nothing is known beyond what is seen.
            Err(_) if self.source == Source::Exact && !self.wanted.labels => Ok(None),
            live => live.map(Some),
        }
    }

    /// Why nothing that runs this file can be recorded, as far as it is known.
    pub fn unfit(&self, file: &FileKey) -> Option<&Failure> {
        self.unfit.get(file)
    }

    /// Which binary a process runs: index in [`Targets::binaries`], resolved if it is new.
    fn binary(&mut self, kernel: &mut Kernel, exe: &host::ExeFile) -> Result<usize, Failure> {
        // A file that is held open keeps its inode number to itself.
        if let Some(binary) = self.binaries.iter().position(|tapped| tapped.key == exe.key) {
            return Ok(binary);
        }
        let pid = exe.process.pid;
        let named =
            |failure: &Failure| Failure::new(failure.exit, format!("process {pid}: {failure}"));
        if let Some(failure) = self.unfit.get(&exe.key) {
            return Err(named(failure));
        }
        if self.wanted.follow
            && let Some(ready) = &mut self.ready
        {
            // It is attached to as soon as its sites are found.
            ready.begin(kernel);
        }
        let resolved = Tapped::resolve(exe, &mut self.opener, self.source, self.wanted);
        let taken: usize = self.binaries.iter().map(Tapped::memory).sum();
        match resolved.and_then(|tapped| tapped.within(taken, self.wanted.max_memory)) {
            Ok(tapped) => {
                self.binaries.push(tapped);
                Ok(self.binaries.len() - 1)
            }
            // heaptap's own trouble says nothing of the file.
            Err(failure) if failure.exit == Exit::Failure => Err(failure),
            Err(failure) => Err(named(self.unfit.insert(exe.key, failure))),
        }
    }
}

/// What one trap costs here; nothing where it can't be measured.
fn trap(emulated: bool) -> Option<Duration> {
    doctor::trap_cost(if emulated { Trapped::Emulated } else { Trapped::SingleStepped })
}

/// The rate of a process's sampler.
///
/// # Errors
/// It is off: there is nothing to see.
fn rate_that_is_on(pid: u32, records: Option<&Live<ProcessMemory>>) -> Result<u64, Failure> {
    let Some(live) = records else { return Ok(0) };
    let rate = live
        .sampler_rate()
        .map_err(|err| Failure::new(err.exit(), format!("process {pid}: {err}")))?;
    if rate == 0 {
        return Err(Failure::new(
            Exit::Unsupported,
            format!(
                "process {pid}: its runtime's sampler is off, as in every program that never reads \
                 a heap profile; --enable-sampler turns it on, --mode span needs none"
            ),
        ));
    }
    Ok(rate)
}

/// The kernel's refusals as the user sees them.
pub fn failure(err: probe::Error) -> Failure {
    if err.is_too_many_files() {
        return not_readable(host::Error::too_many_files());
    }
    if err.is_permission() {
        return Failure::new(Exit::Permission, err.line());
    }
    let lacks = if err.is_refusal() { doctor::lacks_of_kernel() } else { None };
    Failure::new(Exit::Unsupported, lacks.unwrap_or_else(|| err.line()))
}
