//! The account of one process: its budget, what it was caused, and how many more traps it may take.
//!
//! In: readings of CPU time and traps. Out: what is left, and what that pays for. Reads no clock.

use std::time::Duration;

use tracer_common::record::TIMED;

use super::{
    ahead::{Life, Since},
    gate::Taken,
};

/// What a process may be caused before it has earned anything, in nanoseconds: what one second of a
/// CPU earns at 1 %. An account never grows beyond this either.
pub const LOAN: f64 = 10e6;
/// What the traps of a window cost, in nanoseconds, beyond what they cost until the probes are off.
pub const WINDOW: f64 = 0.5e6;
/// How deep in debt an account may be when a window begins.
pub(super) const DEBT: f64 = 3e6;
/// The least that a process begins with, in nanoseconds: what 50 ms of a CPU earn at 1 %.
const LEAST: f64 = 0.5e6;
/// What taking probes off and putting them on costs a process: its code is written to, its threads
/// are interrupted.
const SWITCH: f64 = 100e3;
/// Over how long the use of a CPU is taken, in seconds.
const MEMORY: f64 = 0.25;
/// What an event costs beyond the trap while nothing was measured.
const HANDLER: f64 = 700.0;
/// Timed events that tell what one costs.
const SOME: u64 = 32;
/// The loans of one program's processes, of which there may be many short ones: all of them together
/// begin with what two may begin with.
#[derive(Clone, Copy, Debug)]
pub struct Pool(f64);

impl Default for Pool {
    fn default() -> Self {
        Self(2.0 * LOAN)
    }
}

impl Pool {
    /// What the next process begins with.
    pub fn lend(&mut self) -> f64 {
        let loan = (self.0 / 2.0).clamp(LEAST, LOAN);
        self.0 -= loan;
        loan
    }

    /// A process that began with a loan has ended.
    pub fn give_back(&mut self, account: &Account) {
        self.0 = (self.0 + account.loan + account.credit()).clamp(-LOAN, 2.0 * LOAN);
    }
}

/// What was read of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// When.
    pub at: Duration,
    /// CPU time that it has used in its life.
    pub cpu: Duration,
    pub taken: Taken,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Account {
    share: f64,
    /// Nanoseconds of one trap, and of passing a tracepoint.
    trap: f64,
    pass: f64,
    /// Where it is recorded once: what it did before.
    life: Option<Life>,
    /// What it was caused between the last two looks, in parts of the time.
    burns: f64,
    /// Whether it has what it once earned for good.
    keeps: bool,
    first: Reading,
    last: Reading,
    switches: u32,
    /// What it may be caused before it has earned it.
    loan: f64,
    /// CPU time that heaptap took for its windows, and to look at it.
    own: f64,
    /// What it earned beyond what an account can hold.
    forgone: f64,
    /// What it had used when it was last looked at.
    looked: Duration,
    allowed: u64,
    /// When it was last put on: what it had taken and used, and what it was to be caused at most.
    opened: (u64, Duration, f64),
    /// What it had been caused then.
    before: f64,
    /// What a window costs it beyond what it is allowed, on average, in nanoseconds.
    beyond: f64,
    /// How much it uses of a CPU, over the last quarter of a second or so.
    rate: f64,
    /// What it has to earn on average until the next window, in nanoseconds; which part of that it was
    /// to have earned by now; at which part the window begins.
    needed: f64,
    progress: f64,
    goal: f64,
    /// Since when its traps are counted without a break.
    since: Option<Duration>,
    observed: Duration,
    breaks: u32,
}

impl Account {
    pub(super) fn new(share: f64, trap: Duration, loan: f64, first: Reading) -> Self {
        Self {
            since: None,
            observed: Duration::ZERO,
            breaks: 0,
            share,
            trap: trap.as_nanos() as f64,
            pass: 0.0,
            life: None,
            burns: 0.0,
            keeps: false,
            first,
            last: first,
            switches: 0,
            loan: loan.min(LOAN),
            own: 0.0,
            forgone: 0.0,
            looked: first.cpu,
            allowed: 0,
            opened: (0, first.cpu, 0.0),
            before: 0.0,
            beyond: WINDOW,
            rate: 0.0,
            needed: 0.0,
            progress: 0.0,
            goal: 0.0,
        }
    }

    pub(super) fn read(&mut self, reading: Reading) {
        // Nothing runs backwards.
        let passed = reading.at.saturating_sub(self.last.at).as_secs_f64();
        let used = reading.cpu.saturating_sub(self.last.cpu).as_secs_f64();
        let before = self.caused();
        if passed > 0.0 {
            let all = reading.at.saturating_sub(self.first.at).as_secs_f64();
            let part = (1.0 - (-passed / MEMORY).exp()).max(passed / all.max(passed));
            self.rate += part * (used / passed - self.rate);
            self.last.at = reading.at;
        }
        self.last.cpu = self.last.cpu.max(reading.cpu);
        if reading.taken.tokens >= self.last.taken.tokens {
            self.last.taken = reading.taken;
        }
        if passed > 0.0 {
            self.burns = (self.caused() - before) / (1e9 * passed);
        }
        let beyond = self.credit() - LOAN;
        if beyond > 0.0 && !self.keeps {
            self.forgone += beyond;
        }
    }

    /// CPU time since it is traced.
    pub fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }

    /// All that it has been in the kernel for: traps, and passes of tracepoints.
    pub fn traps(&self) -> u64 {
        self.last.taken.traps() + self.last.taken.passes
    }

    /// Whether it has taken more than it was allowed, so that something of it was not seen.
    pub fn is_dry(&self) -> bool {
        self.last.taken.tokens > self.allowed
    }

    /// How often its probes were taken off.
    pub fn breaks(&self) -> u32 {
        self.breaks
    }

    /// Time in which it was traced.
    pub fn observed(&self, now: Duration) -> Duration {
        self.observed + self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Its probes are being taken off.
    pub(super) fn pause(&mut self, now: Duration) {
        (self.observed, self.since) = (self.observed(now), None);
        self.breaks += 1;
    }

    /// They are off. A window begins when it was to have earned a random part of twice what it has to.
    pub(super) fn plan(&mut self, random: f64) {
        let (traps, _, meant) = self.opened;
        if self.last.taken.tokens > traps {
            // Who did not run did not feel it.
            self.switches += 2;
        }
        if self.breaks > 1 {
            let beyond = (self.caused() - meant).clamp(0.0, LOAN);
            self.beyond = 0.7 * self.beyond + 0.3 * beyond;
        }
        let window = WINDOW + self.beyond;
        self.needed = (window - self.credit()).max(0.0);
        (self.progress, self.goal) = (0.0, 2.0 * random.clamp(0.0, 1.0));
    }

    /// Whether a window may begin, so long after the last look. What it earns is told by how much it uses
    /// over some time, so that windows begin neither in bursts nor between them more often.
    pub(super) fn poll(&mut self, passed: Duration) -> bool {
        let earned = self.share * self.rate * passed.as_nanos() as f64;
        self.progress += if self.needed > 0.0 { earned / self.needed } else { self.goal };
        self.progress >= self.goal && self.credit() >= -DEBT
    }

    /// How long it takes it to earn a window on average, as it goes now; in nanoseconds.
    pub(super) fn gap(&self) -> f64 {
        if self.needed <= 0.0 { 0.0 } else { self.needed / self.earns() }
    }

    /// How fast it earns, in parts of the time.
    fn earns(&self) -> f64 {
        (self.share * self.rate).max(1e-9)
    }

    /// In what time its next window is to begin, as it goes now; in nanoseconds.
    pub(super) fn until_goal(&self) -> f64 {
        let solvent = (-DEBT - self.credit()) / self.earns();
        ((self.goal - self.progress) * self.gap()).max(solvent).max(0.0)
    }

    /// Whether it was caused no more since it was put on than it has earned.
    pub(super) fn is_affordable(&self) -> bool {
        let used = self.last.cpu.saturating_sub(self.opened.1).as_nanos() as f64;
        self.caused() - self.before <= self.share * used
    }

    /// Its probes are on again.
    pub(super) fn resume(&mut self, now: Duration) {
        self.since = Some(now);
        // Windows follow each other as fast as the kernel takes probes off; who can pay for more has
        // longer ones.
        let amount = WINDOW.max(self.credit() / 2.0);
        self.before = self.caused();
        self.opened = (self.last.taken.tokens, self.last.cpu, self.before + amount);
        self.grant(amount);
    }

    /// It joins a group that is on, or not.
    pub(super) fn join(&mut self, on: Option<f64>, now: Duration) {
        match on {
            Some(amount) => {
                self.grant(amount);
                self.since = Some(now);
            }
            None => self.breaks = 1,
        }
    }

    /// Up to which number of traps it may go.
    pub(super) fn allowed(&self) -> u64 {
        self.allowed
    }

    pub(super) fn set_trap(&mut self, trap: Duration) {
        self.trap = trap.as_nanos() as f64;
    }

    /// What passing a tracepoint costs.
    pub(super) fn set_pass(&mut self, pass: Duration) {
        self.pass = pass.as_nanos() as f64;
    }

    /// It is recorded once: what it did before tells what it will earn. `keeps` says that the recording is for
    /// a time that is known, over which it may spend what it earns.
    pub(super) fn once(&mut self, life: Life, keeps: bool) {
        (self.life, self.keeps) = (Some(life), keeps);
    }

    /// What it may still be caused, where it is recorded once and that goes on for so long; in nanoseconds.
    pub(super) fn ahead(&self, left: Duration) -> f64 {
        let Some(life) = &self.life else { return 0.0 };
        let passed = self.last.at.saturating_sub(self.first.at);
        let since = Since { passed, used: self.cpu(), caused: self.caused() };
        let earns = self.share * life.expected(&since, left);
        self.credit() + earns.max(self.loan)
    }

    /// Allows what an amount pays for, and no more, whatever was allowed before. At first nobody knows what an
    /// event costs beyond the trap, and a few say little: then that is taken to be nothing. What was stopped can't
    /// go on, and the next look will know.
    pub(super) fn allow(&mut self, amount: f64) {
        let tokens = self.last.taken.tokens;
        let event = if self.last.taken.timed < SOME { self.trap.max(1.0) } else { self.event() };
        self.allowed = tokens + (amount / event).max(0.0) as u64;
    }

    /// How soon it will have been caused half of what it may, as it goes now; in nanoseconds.
    pub(super) fn half(&self, left: Duration) -> f64 {
        self.ahead(left).max(0.0) / 2.0 / self.burns.max(1e-9)
    }

    pub(super) fn loan(&self) -> f64 {
        self.loan
    }

    /// What it was caused, in nanoseconds.
    pub fn caused(&self) -> f64 {
        let taken = &self.last.taken;
        taken.traps() as f64 * self.trap
            + taken.passes as f64 * self.pass
            + (taken.timed_ns * TIMED) as f64
            + f64::from(self.switches) * SWITCH
    }

    /// heaptap took so many nanoseconds for it.
    pub(super) fn charge(&mut self, own: f64) {
        self.own += own;
    }

    /// heaptap took so many nanoseconds to see what it has used. Who rests is looked at too: half of what was earned
    /// meanwhile is counted at most, so that nobody gets into debt by it.
    pub(super) fn charge_look(&mut self, own: f64) {
        let used = self.last.cpu.saturating_sub(self.looked).as_nanos() as f64;
        self.looked = self.last.cpu;
        self.own += own.min(self.share * used / 2.0);
    }

    /// CPU time that heaptap took for its windows and to look at it, in nanoseconds.
    pub fn own(&self) -> f64 {
        self.own
    }

    /// What is left of its budget, in nanoseconds.
    pub fn credit(&self) -> f64 {
        self.share * self.cpu().as_nanos() as f64 - self.caused() - self.own - self.forgone
    }

    /// What one more event costs, in nanoseconds.
    pub fn event(&self) -> f64 {
        let Taken { timed_ns, timed, .. } = self.last.taken;
        let handler = if timed < 8 { HANDLER } else { timed_ns as f64 / timed as f64 };
        let taken = &self.last.taken;
        let (traps, others) = (taken.traps() as f64, taken.at_tracepoints as f64);
        let entry = match taken.tokens {
            0 => self.trap,
            tokens => (traps * self.trap + others * self.pass) / tokens as f64,
        };
        (entry + handler).max(1.0)
    }

    /// Allows as many events as an amount pays for; never fewer than before.
    pub(super) fn grant(&mut self, amount: f64) {
        let events = (amount / self.event()).max(0.0) as u64;
        self.allowed = self.allowed.max(self.last.taken.tokens + events);
    }
}
