//! Accounts of what is traced: what a trap costs here, what each process has taken and used, and what
//! its runtime has counted meanwhile.
//!
//! In: the kernel's counts, CPU clocks, the runtimes' own counters. Out: readings for the
//! [`Governor`]s, and at a process's end what it was caused and what of it was not seen.

use std::{
    collections::HashMap,
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use tracer_common::record::Closes;

use super::{
    Image, Targets,
    held::Seen,
    rates::Time,
    spans::{Span, Spread},
    totals::{Stratum, Totals},
    windows::{Resolved, View, Windows},
};
use crate::{
    pipeline::doctor,
    probe::{
        GroupId, Kernel, Traps,
        budget::{Account, Governor, Life, OPEN, Pool, Reading, TICK},
        clock,
        trap::Trapped,
    },
    profile::{Rest, Source},
    runtime::{Live, ProcessMemory},
};

/// What a trap costs until it was measured.
const EMULATED: Duration = Duration::from_nanos(800);
const STEPPED: Duration = Duration::from_nanos(8_000);

/// The budget's side of a recording.
pub struct Meters {
    /// Part of its CPU time that a process may be caused; nothing: no limit.
    share: Option<f64>,
    /// Where processes are recorded once.
    once: Option<Once>,
    began: Instant,
    /// The same moment of the kernel's clock.
    began_kernel: Duration,
    pub(super) governors: HashMap<GroupId, Governor>,
    /// Loans, by binary.
    pools: HashMap<usize, Pool>,
    /// Slots of the kernel's tables that nobody has.
    free: Vec<u32>,
    random: u64,
    emulated: Cost,
    stepped: Cost,
    /// What it costs to pass a tracepoint of the kernel's.
    pass: Duration,
    /// When something is to be done for a group, and the first of these moments.
    wanted_at: HashMap<GroupId, Instant>,
    next: Option<Instant>,
    /// CPU time of this thread until which it is known what it was for.
    worked: Duration,
}

/// How processes are recorded that are recorded once.
#[derive(Clone, Copy, Debug)]
pub struct Once {
    /// When that ends; nothing: nobody has said.
    pub ends: Option<Instant>,
}

/// What one trap costs, when it is known.
#[derive(Default)]
enum Cost {
    #[default]
    Unknown,
    Measuring(JoinHandle<Option<Duration>>),
    Known(Option<Duration>),
}

/// The account of one process.
pub struct Metered {
    pub slot: u32,
    /// What the slot was used before.
    base: Traps,
    clock: Option<ClockId>,
    emulated: bool,
    /// Whether allocations are recorded, of which only its runtime knows how many were not seen.
    allocates: bool,
    since: Instant,
    /// What its runtime had counted when it was selected, and at the last two looks.
    start: Option<Totals>,
    looks: [Option<(Instant, Totals)>; 2],
    /// How much was allocated around the present window for each such window; nothing in the first
    /// stretch.
    pub weight: Option<f64>,
    pub windows: Windows,
    /// When it is seen: the present window, or the last one until what was counted is taken.
    pub span: Option<Span>,
    /// What one event costs it, in nanoseconds, and how many of its threads pay at the same time.
    pub event: f64,
    pub spread: Spread,
}

/// What is left of a process that was not traced all the time.
pub struct Partial {
    windows: Windows,
    weight: Option<f64>,
    time: Option<Time>,
    /// For how long it was recorded, and what that cost, in nanoseconds of wall time.
    traced: f64,
    stalled: f64,
    /// Whether its events came too fast for time to tell anything.
    is_dense: bool,
    sampler_rate: u64,
    /// Which of its sites count what no runtime counts.
    counted: Vec<bool>,
    /// What its runtime has counted.
    allocated: Option<Vec<Stratum>>,
    /// That was not at its end but when it was last put on: what was seen since comes on top.
    is_behind: bool,
}

/// What is known of it in the end.
pub struct Remains {
    pub seen: Seen,
    /// Objects and bytes of which only that is known.
    pub unseen: (f64, f64),
    /// Events for which there was no room.
    pub lost: u64,
    /// What can be said of events that no runtime counts.
    pub rest: Rest,
}

/// What processes were caused, and how much of them was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    pub traps: u64,
    /// Nanoseconds.
    pub caused: f64,
    /// CPU time that heaptap took for its windows and to look at it, in nanoseconds.
    pub own: f64,
    /// CPU time used while being traced, as far as it could be read.
    pub cpu: Duration,
    /// How often probes were taken off for the budget.
    pub breaks: u32,
    pub observed: Duration,
    pub traced: Duration,
    /// What can be said of what was not seen.
    pub rest: Rest,
}

impl Spent {
    /// Whether nothing is estimated: everything was seen, or everything until some time.
    pub fn is_whole(&self) -> bool {
        self.breaks == 0 || self.is_over()
    }

    /// Whether it was recorded once, and not until the end.
    pub fn is_over(&self) -> bool {
        self.breaks > 0 && self.rest == Rest::Over
    }

    /// What another process was caused.
    pub fn add(&mut self, other: &Spent) {
        self.traps += other.traps;
        self.caused += other.caused;
        self.own += other.own;
        self.cpu += other.cpu;
        self.breaks += other.breaks;
        self.observed += other.observed;
        self.traced += other.traced;
        self.rest = self.rest.max(other.rest);
    }
}

impl Meters {
    /// For so many processes at once.
    pub fn new(share: Option<f64>, slots: u32, once: Option<Once>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            share,
            once,
            began: Instant::now(),
            began_kernel: clock::monotonic(),
            governors: HashMap::new(),
            pools: HashMap::new(),
            free: if share.is_some() { (1..=slots).rev().collect() } else { Vec::new() },
            // Any number but 0, and another one each time.
            random: since.as_nanos() as u64 | 1,
            emulated: Cost::default(),
            stepped: Cost::default(),
            pass: Duration::ZERO,
            wanted_at: HashMap::new(),
            next: None,
            worked: Duration::ZERO,
        }
    }

    /// Begins to measure what a trap costs in what most programs are.
    pub(super) fn prepare(&mut self) {
        if self.share.is_some() {
            self.trap(true);
        }
    }

    /// What it costs a process to pass one of the kernel's tracepoints that have programs.
    pub fn passes_cost(&mut self, pass: Duration) {
        self.pass = pass;
    }

    /// The recording ends then, as far as anybody has said.
    pub fn ends(&mut self, at: Option<Instant>) {
        if let Some(once) = &mut self.once {
            once.ends = at;
        }
    }

    /// For how long it goes on, as far as is known.
    pub(super) fn left(&self) -> Duration {
        let ends = self.once.and_then(|once| once.ends);
        ends.map_or(OPEN, |ends| ends.saturating_duration_since(Instant::now()))
    }

    /// CPU time of this thread since this was asked last was everybody's.
    pub(super) fn charge_all(&mut self) {
        let own = self.worked();
        let recorded = || self.governors.values().filter(|governor| governor.is_on()).count();
        let each = own / recorded().max(1) as u32;
        let governors = self.governors.values_mut().filter(|governor| governor.is_on());
        governors.for_each(|governor| governor.charge(each));
    }

    /// When a group that is on is to be looked at.
    pub(super) fn next_look(&self, governor: &Governor) -> Instant {
        Instant::now() + governor.look_after(self.left())
    }

    /// Since it began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A moment of the kernel's clock, on its own.
    pub(super) fn on_own_clock(&self, at: Duration) -> Duration {
        at.saturating_sub(self.began_kernel)
    }

    /// A moment of its own clock, on the kernel's.
    pub(super) fn on_kernels_clock(&self, at: Duration) -> Duration {
        self.began_kernel + at
    }

    /// A moment of its own clock.
    pub(super) fn at(&self, time: Duration) -> Instant {
        self.began + time
    }

    /// Between 0 and 1.
    pub(super) fn random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// CPU time of this thread since this was asked last.
    pub(super) fn worked(&mut self) -> Duration {
        let now = clock::cpu_of_thread();
        now.saturating_sub(std::mem::replace(&mut self.worked, now))
    }

    /// When [`Targets::govern`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Something is to be done for a group, at the latest then.
    pub(super) fn wake(&mut self, group: GroupId, at: Instant) {
        let wanted = self.wanted_at.entry(group).or_insert(at);
        *wanted = at.min(*wanted);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// The groups for which something is to be done now.
    pub(super) fn wanted(&mut self) -> Vec<GroupId> {
        let now = Instant::now();
        let groups =
            self.wanted_at.extract_if(|_, at| *at <= now).map(|(group, _)| group).collect();
        self.next = self.wanted_at.values().min().copied();
        groups
    }

    /// What one trap costs, by whether the kernel emulates the instruction. It is measured in a thread
    /// when it is first asked for.
    pub(super) fn trap(&mut self, emulated: bool) -> Duration {
        let (cost, guess, trapped) = if emulated {
            (&mut self.emulated, EMULATED, Trapped::Emulated)
        } else {
            (&mut self.stepped, STEPPED, Trapped::SingleStepped)
        };
        *cost = match std::mem::take(cost) {
            Cost::Unknown => Cost::Measuring(thread::spawn(move || doctor::trap_cost(trapped))),
            Cost::Measuring(thread) if thread.is_finished() => {
                Cost::Known(thread.join().ok().flatten())
            }
            unchanged => unchanged,
        };
        match cost {
            Cost::Known(Some(measured)) => *measured,
            _ => guess,
        }
    }

    /// The same, if it was ever asked for.
    pub(super) fn trap_if_known(&mut self, emulated: bool) -> Option<Duration> {
        let cost = if emulated { &self.emulated } else { &self.stepped };
        if matches!(cost, Cost::Unknown) { None } else { Some(self.trap(emulated)) }
    }

    /// Opens an account for a process that is about to be counted; nothing without a budget.
    pub(super) fn open(
        &mut self,
        kernel: &mut Kernel,
        of: &Opening<'_>,
        group: GroupId,
        binary: usize,
    ) -> Option<Metered> {
        let share = self.share?;
        let slot = self.free.pop()?;
        let clock = i32::try_from(of.pid).ok();
        let clock = clock.and_then(|pid| ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok());
        let base = kernel.clear_slot(slot).and_then(|()| kernel.traps(slot)).unwrap_or_default();
        // Of what its runtime does not count, that tells nothing.
        let allocates = of.allocates && self.once.is_none();
        let start = of.records.filter(|_| allocates).and_then(Totals::read);
        let mut metered = Metered {
            slot,
            base,
            clock,
            emulated: of.emulated,
            allocates,
            since: Instant::now(),
            looks: [None, start.clone().map(|start| (Instant::now(), start))],
            start,
            weight: None,
            windows: Windows::default(),
            span: None,
            event: 0.0,
            spread: Spread::default(),
        };
        let (now, trap) = (self.now(), self.trap(of.emulated));
        let loan = self.pools.entry(binary).or_default().lend();
        let (once, left) = (self.once, self.left());
        let governor = self.governors.entry(group).or_insert_with(|| match once {
            Some(_) => Governor::once(share),
            None => Governor::new(share, of.is_timed),
        });
        let first = metered.reading(kernel, now);
        let mut allowed = governor.add(slot, trap, loan, first, now);
        governor.pass(slot, self.pass);
        if let Some(once) = once {
            let life = Life { age: of.age, cpu: first.cpu };
            allowed = governor.expect(slot, life, once.ends.is_some(), left);
        }
        metered.span = governor.is_on().then(|| Span::for_itself(now));
        metered.event = governor.account(slot).map_or(0.0, Account::event);
        let _ = kernel.close_at(slot, metered.never());
        let _ = kernel.allow(slot, allowed);
        // What it was allowed for once is a guess.
        let first_look = if once.is_some() { Duration::ZERO } else { TICK };
        self.wake(group, Instant::now() + first_look);
        Some(metered)
    }

    /// Closes an account; what it spent, what an event cost it, and whether it was still seen. A process that
    /// never was counted gives back its loan.
    pub(super) fn close(
        &mut self,
        kernel: &Kernel,
        metered: &Metered,
        group: GroupId,
        binary: usize,
    ) -> Option<(Spent, f64, bool)> {
        let now = self.now();
        let governor = self.governors.get_mut(&group)?;
        governor.read(metered.slot, metered.reading(kernel, now));
        let (is_on, is_once) = (governor.is_on(), governor.is_once());
        let account = governor.remove(metered.slot)?;
        self.pools.entry(binary).or_default().give_back(&account);
        self.free.push(metered.slot);
        let traced = metered.since.elapsed();
        let breaks = account.breaks().max(u32::from(account.is_dry()));
        let spent = Spent {
            traps: account.traps(),
            caused: account.caused(),
            own: account.own(),
            cpu: account.cpu(),
            breaks,
            observed: account.observed(now).min(traced),
            traced,
            rest: if is_once && breaks > 0 {
                Rest::Over
            } else if metered.start.is_none() && metered.allocates {
                Rest::Unreadable
            } else {
                Rest::Estimated
            },
        };
        Some((spent, account.event(), is_on))
    }
}

/// Of whom an account is opened.
pub struct Opening<'a> {
    pub pid: u32,
    /// For how long it has lived.
    pub age: Duration,
    pub records: Option<&'a Live<ProcessMemory>>,
    /// Whether the kernel emulates the instructions at all its sites.
    pub emulated: bool,
    /// Whether allocations are recorded.
    pub allocates: bool,
    /// Whether something is recorded that no runtime counts.
    pub is_timed: bool,
}

impl Metered {
    /// What it has taken and used by now.
    pub(super) fn reading(&self, kernel: &Kernel, at: Duration) -> Reading {
        let cpu = self.clock.and_then(|clock| clock_gettime(clock).ok());
        Reading { at, cpu: cpu.map(Duration::from).unwrap_or_default(), taken: self.taken(kernel) }
    }

    fn taken(&self, kernel: &Kernel) -> Traps {
        kernel.traps(self.slot).unwrap_or_default().since(&self.base)
    }

    /// What one of its traps costs is known by this.
    pub(super) fn is_emulated(&self) -> bool {
        self.emulated
    }

    /// It is not seen any more.
    pub(super) fn end_span(&mut self, at: Duration) {
        if let Some(span) = &mut self.span {
            span.end(at);
        }
    }

    /// What is known of an event's cost, when a window is over.
    pub(super) fn learn(&mut self, kernel: &Kernel, account: Option<&Account>) {
        self.event = account.map_or(self.event, Account::event);
        if self.span.as_ref().is_some_and(Span::has_end) {
            self.spread.end(&kernel.timed_by_cpu(self.slot).unwrap_or_default());
        }
    }

    /// How long it was seen, at the end of that.
    pub(super) fn take_time(&mut self, now: Duration) -> Option<Time> {
        let span = self.span.take()?;
        Some(span.time(now, self.each()))
    }

    /// No time at which it is not seen any more.
    pub(super) fn never(&self) -> Closes {
        Closes { event: self.event as u64, ..Closes::default() }
    }

    /// By how much an event puts it off, in nanoseconds.
    pub(super) fn each(&self) -> f64 {
        self.event / self.spread.threads()
    }

    /// Glances at what its runtime has counted.
    pub(super) fn glance(&mut self, records: Option<&Live<ProcessMemory>>) {
        let records = records.filter(|_| self.allocates);
        self.look(records.and_then(Totals::glance));
    }

    fn look(&mut self, totals: Option<Totals>) {
        if let Some(totals) = totals {
            self.looks[0] = self.looks[1].replace((Instant::now(), totals));
        }
    }

    /// How fast it allocated between the last two looks, per second.
    pub(super) fn rate(&self, source: Source) -> Option<f64> {
        let [Some((then, before)), Some((now, after))] = &self.looks else { return None };
        let seconds = now.duration_since(*then).as_secs_f64().max(1e-6);
        Some((after.amount(source) - before.amount(source)).max(0.0) / seconds)
    }

    /// What its runtime has counted until the last look, by stratum.
    fn allocated(&self, source: Source) -> Option<Vec<Stratum>> {
        let (_, last) = self.looks[1].as_ref()?;
        Some(last.since(self.start.as_ref()?, source))
    }

    /// What it may have allocated since the last look, if it went on as between the last two.
    fn since_last(&self, source: Source) -> Option<Vec<Stratum>> {
        let [Some((then, before)), Some((now, after))] = &self.looks else { return None };
        let times = now.elapsed().as_secs_f64() / now.duration_since(*then).as_secs_f64().max(1e-3);
        Some(after.since(before, source).iter().map(|stratum| stratum.times(times)).collect())
    }
}

impl Targets {
    /// Closes the account of an image; what it was caused, and what is left of it when it was not
    /// traced all the time. `lives` says that its runtime can still be asked.
    pub(super) fn unmeter(
        &mut self,
        kernel: &Kernel,
        image: &mut Image,
        lives: bool,
    ) -> (Option<Spent>, Option<Partial>) {
        let source = self.source;
        let Some(mut metered) = image.metered.take() else { return (None, None) };
        let is_dense = metered.taken(kernel).is_dense();
        let closed = self.meters.close(kernel, &metered, image.group, image.binary);
        let Some((spent, event, is_on)) = closed else { return (None, None) };
        metered.event = event;
        if spent.is_whole() {
            return (Some(spent), None);
        }
        if lives {
            let records = image.records.as_ref().filter(|_| metered.allocates);
            metered.look(records.and_then(Totals::read));
        }
        let mut allocated = metered.allocated(source);
        if !lives
            && !is_on
            && let Some(allocated) = &mut allocated
        {
            // It has ended, and its runtime can't be asked any more.
            for (stratum, more) in
                allocated.iter_mut().zip(metered.since_last(source).into_iter().flatten())
            {
                stratum.objects += more.objects;
                stratum.bytes += more.bytes;
                stratum.off += more.objects;
            }
        }
        let partial = Partial {
            time: metered.take_time(self.meters.now()),
            traced: spent.traced.as_nanos() as f64,
            stalled: spent.caused / metered.spread.threads(),
            is_dense,
            counted: self.binaries[image.binary].counted(),
            windows: metered.windows,
            weight: metered.weight,
            sampler_rate: image.sampler_rate,
            allocated,
            is_behind: !lives && is_on,
        };
        (Some(spent), Some(partial))
    }
}

impl Partial {
    /// Everything that is known, with what was seen last.
    pub(super) fn resolve(mut self, source: Source, last: Seen, room: usize) -> Remains {
        let view = View { source, sampler_rate: self.sampler_rate, counted: &self.counted };
        if self.is_behind
            && let Some(allocated) = &mut self.allocated
        {
            view.add_seen(allocated, &last.stacks);
        }
        self.windows.labels.extend(last.labels);
        self.windows.add(view, self.weight, self.time, last.stacks, room);
        let labels = std::mem::take(&mut self.windows.labels).into_iter().collect();
        let lost = self.windows.lost;
        let time = self.traced - self.stalled;
        let time = (!self.is_dense).then_some(time);
        let Resolved { stacks, unseen, rest } =
            self.windows.resolve(view, self.allocated.as_deref(), time);
        Remains { seen: Seen { stacks, labels }, unseen, lost, rest }
    }
}
