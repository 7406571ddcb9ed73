//! The governor of the budget: when a group's probes are on, when off, and how many traps a process
//! may take.
//!
//! In: the time, and readings of CPU time and traps. Out: what to allow, and when to take probes off
//! and put them on again. It reads no clock, attaches nothing and knows no process but by a number.
//!
//! A process has an account: its budget (a share of the CPU time that it used) less what it was caused.
//! It begins with a loan ([`LOAN`]), so that it is traced from its start; whoever never uses it up is
//! always traced. Who does is traced in windows from then on: small ones ([`WINDOW`]), at random
//! moments, each as soon as the account has earned what a window costs on average.

use std::{collections::BTreeMap, time::Duration};

use tracer_common::record::TIMED;

use super::gate::Taken;

/// What a process may be caused before it has earned anything, in nanoseconds: what one second of a
/// CPU earns at 1 %. An account never grows beyond this either.
pub const LOAN: f64 = 10e6;
/// What the traps of a window cost, in nanoseconds, beyond what they cost until the probes are off.
pub const WINDOW: f64 = 1e6;
/// How deep in debt an account may be when a window begins: they begin at random moments.
const DEBT: f64 = 3e6;
/// The least that a process begins with, in nanoseconds: what 50 ms of a CPU earn at 1 %.
const LEAST: f64 = 0.5e6;
/// What taking probes off and putting them on costs a process: its code is written to, its threads
/// are interrupted.
const SWITCH: f64 = 100e3;
/// What an event costs beyond the trap while nothing was measured.
const HANDLER: f64 = 700.0;
/// The longest time between two looks at a group that is off.
const LONGEST: Duration = Duration::from_secs(5);
/// The shortest.
const SHORTEST: Duration = Duration::from_millis(20);
/// How often accounts are looked at while a group is on.
pub const TICK: Duration = Duration::from_millis(200);

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
    /// CPU time that it has used in its life.
    pub cpu: Duration,
    pub taken: Taken,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Account {
    share: f64,
    /// Nanoseconds of one trap.
    trap: f64,
    first_cpu: Duration,
    last: Reading,
    switches: u32,
    /// What it may be caused before it has earned it.
    loan: f64,
    /// What it earned beyond what an account can hold.
    forgone: f64,
    allowed: u64,
    caused_at_opening: f64,
    /// Since when its traps are counted without a break.
    since: Option<Duration>,
    observed: Duration,
    breaks: u32,
}

impl Account {
    fn new(share: f64, trap: f64, first: Reading) -> Self {
        Self {
            since: None,
            observed: Duration::ZERO,
            breaks: 0,
            share,
            trap,
            first_cpu: first.cpu,
            last: first,
            switches: 0,
            loan: 0.0,
            forgone: 0.0,
            allowed: 0,
            caused_at_opening: 0.0,
        }
    }

    fn read(&mut self, reading: Reading) {
        // Neither runs backwards.
        self.last.cpu = self.last.cpu.max(reading.cpu);
        if reading.taken.traps >= self.last.taken.traps {
            self.last.taken = reading.taken;
        }
        let beyond = self.credit() - LOAN;
        if beyond > 0.0 {
            self.forgone += beyond;
        }
    }

    /// CPU time since it is traced.
    pub fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first_cpu)
    }

    pub fn traps(&self) -> u64 {
        self.last.taken.traps
    }

    /// Whether it has taken more than it was allowed, so that something of it was not seen.
    pub fn is_dry(&self) -> bool {
        self.last.taken.traps > self.allowed
    }

    /// How often its probes were taken off.
    pub fn breaks(&self) -> u32 {
        self.breaks
    }

    /// Time in which it was traced.
    pub fn observed(&self, now: Duration) -> Duration {
        self.observed + self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    fn pause(&mut self, now: Duration) {
        (self.observed, self.since) = (self.observed(now), None);
        self.breaks += 1;
    }

    /// What it was caused, in nanoseconds.
    pub fn caused(&self) -> f64 {
        let taken = &self.last.taken;
        taken.traps as f64 * self.trap
            + (taken.timed_ns * TIMED) as f64
            + f64::from(self.switches) * SWITCH
    }

    /// What is left of its budget, in nanoseconds.
    pub fn credit(&self) -> f64 {
        self.share * self.cpu().as_nanos() as f64 - self.caused() - self.forgone
    }

    /// What one more event costs.
    fn event(&self) -> f64 {
        let Taken { timed_ns, timed, .. } = self.last.taken;
        let handler = if timed < 8 { HANDLER } else { timed_ns as f64 / timed as f64 };
        (self.trap + handler).max(1.0)
    }

    /// Allows as many events as an amount pays for; never fewer than before.
    fn grant(&mut self, amount: f64) {
        let events = (amount / self.event()).max(0.0) as u64;
        self.allowed = self.allowed.max(self.last.taken.traps + events);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    On,
    Closing,
    Off { open_at: Duration },
}

/// A group of processes whose probes are on or off together.
#[derive(Clone, Debug)]
pub struct Governor {
    share: f64,
    state: State,
    accounts: BTreeMap<u32, Account>,
    /// What a window has cost on average, in nanoseconds.
    window: f64,
    windows: u32,
    /// CPU time of the hungriest at the last opening, and when that was.
    mark: (Duration, Duration),
    /// How long after the last opening the next one was to be expected, in nanoseconds.
    gap: f64,
}

impl Governor {
    /// Whose probes are on from now on.
    pub fn new(share: f64, now: Duration) -> Self {
        Self {
            share,
            state: State::On,
            accounts: BTreeMap::new(),
            window: 3.0 * WINDOW,
            windows: 0,
            mark: (Duration::ZERO, now),
            gap: 0.0,
        }
    }

    /// One more process, with a loan; says up to which number of traps it may go.
    pub fn add(
        &mut self,
        number: u32,
        trap: Duration,
        loan: f64,
        first: Reading,
        now: Duration,
    ) -> u64 {
        let mut account = Account::new(self.share, trap.as_nanos() as f64, first);
        account.loan = loan.min(LOAN);
        match self.state {
            State::On => {
                account.grant(if self.windows == 0 { account.loan } else { WINDOW });
                account.since = Some(now);
            }
            State::Closing | State::Off { .. } => account.breaks = 1,
        }
        let allowed = account.allowed;
        self.accounts.insert(number, account);
        allowed
    }

    pub fn remove(&mut self, number: u32) -> Option<Account> {
        self.accounts.remove(&number)
    }

    pub fn account(&self, number: u32) -> Option<&Account> {
        self.accounts.get(&number)
    }

    /// A better measure of what a trap costs.
    pub fn trap(&mut self, number: u32, trap: Duration) {
        if let Some(account) = self.accounts.get_mut(&number) {
            account.trap = trap.as_nanos() as f64;
        }
    }

    pub fn read(&mut self, number: u32, reading: Reading) {
        if let Some(account) = self.accounts.get_mut(&number) {
            account.read(reading);
        }
    }

    pub fn is_on(&self) -> bool {
        self.state == State::On
    }

    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// Whether nobody is to be accounted for.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Windows that have ended, the first stretch among them.
    pub fn windows(&self) -> u32 {
        self.windows
    }

    /// Whether somebody has taken more than was allowed: there may have been no word of it.
    pub fn is_dry(&self) -> bool {
        self.is_on() && self.accounts.values().any(Account::is_dry)
    }

    /// How long after the one before the present window was to be expected, in nanoseconds: windows
    /// are as much rarer as this is longer.
    pub fn gap(&self) -> f64 {
        self.gap
    }

    /// While it is on: what accounts pay for is allowed. Up to which number of traps, by process.
    pub fn allowances(&mut self) -> Vec<(u32, u64)> {
        let is_first = self.windows == 0;
        let allow = |(number, account): (&u32, &mut Account)| {
            account.grant(account.credit() + if is_first { account.loan } else { 0.0 });
            (*number, account.allowed)
        };
        self.accounts.iter_mut().map(allow).collect()
    }

    /// A process has used up what it was allowed; says whether the probes are to be taken off.
    pub fn dry(&mut self, now: Duration) -> bool {
        if !self.is_on() {
            return false;
        }
        self.accounts.values_mut().for_each(|account| account.pause(now));
        self.windows += 1;
        self.state = State::Closing;
        true
    }

    /// The probes are off, and accounts were read. `random` lies between 0 and 1.
    pub fn off(&mut self, now: Duration, random: f64) {
        let mut cost: f64 = 0.0;
        for account in self.accounts.values_mut() {
            account.switches += 1;
            cost = cost.max(account.caused() - account.caused_at_opening);
        }
        if self.windows > 1 {
            self.window = 0.7 * self.window + 0.3 * cost;
        }
        self.gap = now.saturating_sub(self.mark.1).as_nanos() as f64;
        self.plan(now, random);
    }

    /// When a window is to begin: uniform around the moment at which the poorest has earned it, so
    /// that windows do not go along with what the program does in rounds.
    fn plan(&mut self, now: Duration, random: f64) {
        let mut wait: f64 = 0.0;
        for account in self.accounts.values() {
            let passed = now.saturating_sub(self.mark.1).as_nanos() as f64;
            let used = account.cpu().saturating_sub(self.mark.0).as_nanos() as f64;
            let rate = if passed > 0.0 { (used / passed).clamp(0.05, 1e4) } else { 1.0 };
            wait = wait.max((self.window - account.credit()) / (account.share * rate));
        }
        let longest = LONGEST.as_nanos() as f64;
        // The mean of what is cut off at the longest.
        let cut =
            if 2.0 * wait > longest { longest - longest * longest / 4.0 / wait } else { wait };
        self.gap += cut.max(SHORTEST.as_nanos() as f64);
        let wait = Duration::from_nanos((2.0 * random.clamp(0.0, 1.0) * wait) as u64);
        self.state = State::Off { open_at: now + wait.clamp(SHORTEST, LONGEST) };
    }

    /// When it is to be looked at again: while it is off, the moment of the next window.
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Off { open_at } => Some(open_at),
            _ => None,
        }
    }

    /// At [`Governor::due`], accounts having been read: whether the window begins. Otherwise it is
    /// planned anew.
    pub fn opens(&mut self, now: Duration, random: f64) -> bool {
        if !matches!(self.state, State::Off { .. }) {
            return false;
        }
        if self.accounts.values().all(|account| account.credit() >= -DEBT) {
            return true;
        }
        self.plan(now, random);
        false
    }

    /// The probes are on again: what may be taken, by process.
    pub fn opened(&mut self, now: Duration) -> Vec<(u32, u64)> {
        self.state = State::On;
        let cpu = self.accounts.values().map(Account::cpu).max().unwrap_or_default();
        self.mark = (cpu, now);
        let allow = |(number, account): (&u32, &mut Account)| {
            account.switches += 1;
            account.since = Some(now);
            account.caused_at_opening = account.caused();
            account.grant(WINDOW);
            (*number, account.allowed)
        };
        self.accounts.iter_mut().map(allow).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TRAP: Duration = Duration::from_nanos(700);

    /// A process that uses a share of a CPU and would take so many traps a second.
    struct Program {
        cpus: f64,
        rate: f64,
        used: f64,
        taken: Taken,
        carry: f64,
        passed: u64,
    }

    impl Program {
        fn new(cpus: f64, rate: f64) -> Self {
            Self { cpus, rate, used: 0.0, taken: Taken::default(), carry: 0.0, passed: 0 }
        }

        /// A millisecond; whether it ran dry.
        fn step(&mut self, attached: bool, allowed: u64) -> bool {
            self.used += self.cpus * 1e6;
            if !attached {
                return false;
            }
            self.carry += self.rate / 1e3;
            let before = self.taken.traps;
            self.taken.traps += self.carry as u64;
            self.carry -= self.carry.floor();
            let passed = self.taken.traps.min(allowed).saturating_sub(before);
            self.passed += passed;
            self.taken.timed = self.passed / TIMED;
            self.taken.timed_ns = self.taken.timed * 600;
            before < allowed && self.taken.traps >= allowed
        }

        fn reading(&self) -> Reading {
            Reading { cpu: Duration::from_nanos(self.used as u64), taken: self.taken }
        }
    }

    struct Run {
        governor: Governor,
        programs: Vec<Program>,
        state: u64,
        now: Duration,
        allowed: Vec<u64>,
        closing: u32,
    }

    impl Run {
        fn new(programs: Vec<Program>) -> Self {
            let mut governor = Governor::new(0.01, Duration::ZERO);
            for (number, program) in (0..).zip(&programs) {
                governor.add(number, TRAP, LOAN, program.reading(), Duration::ZERO);
            }
            let allowed = governor.allowances().iter().map(|(_, allowed)| *allowed).collect();
            Self { governor, programs, state: 9, now: Duration::ZERO, allowed, closing: 0 }
        }

        fn random(&mut self) -> f64 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 11) as f64 / (1u64 << 53) as f64
        }

        fn read(&mut self) {
            for (number, program) in (0..).zip(&self.programs) {
                self.governor.read(number, program.reading());
            }
        }

        fn seconds(&mut self, seconds: u32) {
            for step in 0..seconds * 1000 {
                self.now += MS;
                let governor = &mut self.governor;
                let attached = governor.is_on() || (governor.is_closing() && self.closing < 2);
                let mut dry = false;
                for (program, allowed) in self.programs.iter_mut().zip(&self.allowed) {
                    dry |= program.step(attached, *allowed);
                }
                if dry && governor.dry(self.now) {
                    self.closing = 0;
                }
                if governor.is_closing() {
                    self.closing += 1;
                    if self.closing > 100 {
                        self.read();
                        let random = self.random();
                        self.governor.off(self.now, random);
                    }
                } else if governor.due().is_some_and(|due| due <= self.now) {
                    self.read();
                    let random = self.random();
                    if self.governor.opens(self.now, random) {
                        let allowed = self.governor.opened(self.now);
                        self.allowed = allowed.iter().map(|(_, allowed)| *allowed).collect();
                    }
                } else if governor.is_on() && step % 200 == 0 {
                    self.read();
                    let allowed = self.governor.allowances();
                    self.allowed = allowed.iter().map(|(_, allowed)| *allowed).collect();
                }
            }
            self.read();
        }

        fn percent(&self, number: u32) -> f64 {
            let account = self.governor.account(number).unwrap();
            100.0 * account.caused() / account.cpu().as_nanos() as f64
        }
    }

    #[test]
    fn a_light_process_is_always_traced() {
        let mut run = Run::new(vec![Program::new(1.0, 5_000.0), Program::new(0.0, 0.0)]);
        run.seconds(120);
        assert_eq!((run.governor.windows(), run.governor.is_on()), (0, true));
        let account = run.governor.account(0).unwrap();
        assert_eq!((account.observed(run.now), account.breaks()), (run.now, 0));
        assert!(!account.is_dry());
        assert!((0.5..0.8).contains(&run.percent(0)), "{}", run.percent(0));
    }

    #[test]
    fn a_heavy_one_is_kept_to_its_budget() {
        for (cpus, rate) in [(1.0, 1.2e6), (2.0, 2.4e6), (0.3, 2e5), (1.0, 2e4)] {
            let mut run = Run::new(vec![Program::new(cpus, rate)]);
            run.seconds(60);
            let percent = run.percent(0);
            assert!((0.7..1.05).contains(&percent), "{cpus} CPUs, {rate} a second: {percent} %");
            assert!(run.governor.windows() > 20, "{}", run.governor.windows());
            let account = run.governor.account(0).unwrap();
            assert!(account.breaks() >= run.governor.windows());
            let observed = account.observed(run.now).as_secs_f64();
            assert!(observed > 0.02 && observed < 40.0, "{observed} s");
        }
    }

    #[test]
    fn the_first_stretch_costs_no_more_than_the_loan() {
        let mut run = Run::new(vec![Program::new(1.0, 1.2e6)]);
        run.seconds(1);
        // What came until the probes were off included.
        let caused = run.governor.account(0).unwrap().caused();
        assert!(caused < LOAN + 5e6, "{caused}");
    }

    #[test]
    fn one_that_becomes_heavy_is_stopped_and_one_that_becomes_light_is_traced_again() {
        let mut run = Run::new(vec![Program::new(1.0, 100.0)]);
        run.seconds(60);
        assert_eq!(run.governor.windows(), 0);
        run.programs[0].rate = 1.2e6;
        let before = run.governor.account(0).unwrap().caused();
        run.seconds(10);
        let caused = run.governor.account(0).unwrap().caused() - before;
        // What an account can hold, and what ten seconds earn.
        assert!(caused < 2.0 * LOAN + 10.0 * 10e6 + 5e6, "{caused}");
        run.programs[0].rate = 100.0;
        run.seconds(10);
        let windows = run.governor.windows();
        run.seconds(30);
        assert_eq!((run.governor.windows(), run.governor.is_on()), (windows, true));
    }

    #[test]
    fn the_hungriest_decides_for_its_group() {
        let mut run = Run::new(vec![Program::new(1.0, 1.2e6), Program::new(1.0, 1e3)]);
        run.seconds(30);
        assert!((0.7..1.05).contains(&run.percent(0)), "{}", run.percent(0));
        assert!(run.percent(1) < run.percent(0));
    }

    #[test]
    fn many_short_processes_of_a_program_are_kept_to_its_budget_too() {
        let mut pool = Pool::default();
        let (mut caused, mut used) = (0.0, 0.0);
        for _ in 0..200 {
            let mut governor = Governor::new(0.01, Duration::ZERO);
            let mut program = Program::new(1.0, 1.2e6);
            let loan = pool.lend();
            let allowed = governor.add(1, TRAP, loan, program.reading(), Duration::ZERO);
            for _ in 0..200 {
                // Taken off as soon as it is dry.
                program.step(program.taken.traps < allowed, allowed);
            }
            governor.read(1, program.reading());
            let account = governor.remove(1).unwrap();
            pool.give_back(&account);
            caused += account.caused();
            used += account.cpu().as_nanos() as f64;
        }
        let percent = 100.0 * caused / used;
        assert!((0.2..1.2).contains(&percent), "{percent} %");
    }

    #[test]
    fn readings_that_run_backwards_change_nothing() {
        let mut governor = Governor::new(0.01, Duration::ZERO);
        let taken = Taken { traps: 1000, timed_ns: 9000, timed: 15 };
        governor.add(7, TRAP, LOAN, Reading { cpu: MS, ..Reading::default() }, MS);
        governor.read(7, Reading { cpu: 100 * MS, taken });
        let before = (governor.account(7).unwrap().caused(), governor.account(7).unwrap().cpu());
        governor.read(7, Reading { cpu: 90 * MS, taken: Taken { traps: 10, ..taken } });
        let account = governor.account(7).unwrap();
        assert_eq!((account.caused(), account.cpu()), before);
        // Nothing to do for one that is on.
        assert_eq!((governor.due(), governor.opens(MS, 0.5)), (None, false));
    }
}
