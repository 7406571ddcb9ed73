//! The governor of the budget: when a group's probes are on, when off, and how many traps its processes
//! may take.
//!
//! In: the time, and readings for each process's [`Account`]. Out: what to allow, and when to take probes
//! off and put them on again. It reads no clock, attaches nothing and knows no process but by a number.
//!
//! An account is a share of the CPU time that the process used, less what it was caused and what heaptap
//! itself took for its windows. It begins with a loan, so that the process is traced from its start; one that never uses that up is always traced. One
//! that does is traced in windows from then on, each of which begins when the account has earned a random
//! part of twice what a window costs.

use std::{collections::BTreeMap, time::Duration};

pub use super::account::{Account, Pool, Reading};
use super::account::{DEBT, WINDOW};

/// The longest time between two windows of a group that is not in debt: in one that rests it costs nothing.
const LONGEST: Duration = Duration::from_secs(5);
/// How often it is looked what was earned, on average.
const POLL: Duration = Duration::from_millis(50);
/// How long a window is at most. What is seen in it stands for the moment at which it began.
const LENGTH: Duration = Duration::from_millis(3);
/// The least for which a window is meant that has an end of its own, how much longer the next one is meant to
/// be, and how much shorter than what was too dense for it.
const SHORTEST: Duration = Duration::from_micros(100);
const GROWS: f64 = 1.03;
const SHRINKS: f64 = 0.5;
/// How long after its end such a window is looked at: by then its last event is over.
const AFTER: Duration = Duration::from_millis(2);
/// How long programs are looked at before a window begins.
const LOOK: Duration = Duration::from_millis(2);
/// How often accounts are looked at while a group is on.
pub const TICK: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// A window has an end, at which it is seen whether it can go on.
    On {
        until: Option<Duration>,
    },
    Closing,
    Off {
        since: Duration,
        polled: Duration,
        poll_at: Duration,
    },
    Looking {
        open_at: Duration,
    },
}

/// A group of processes whose probes are on or off together.
#[derive(Clone, Debug)]
pub struct Governor {
    share: f64,
    state: State,
    accounts: BTreeMap<u32, Account>,
    windows: u32,
    /// When it was last taken off.
    dried: Duration,
    /// How long after that the present window was to be expected, in nanoseconds.
    gap: f64,
    /// For how long the next window is counted; nothing: for as long as it may cost.
    length: Option<Duration>,
}

impl Governor {
    /// Whose probes are on from now on. `timed` says that windows are to end at a moment that what is seen in
    /// them has not chosen.
    pub fn new(share: f64, timed: bool) -> Self {
        Self {
            share,
            length: timed.then_some(LENGTH),
            state: State::On { until: None },
            accounts: BTreeMap::new(),
            windows: 0,
            dried: Duration::ZERO,
            gap: 1.0,
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
        let mut account = Account::new(self.share, trap, loan, first);
        let first = self.windows == 0;
        let amount = if first { account.loan() } else { WINDOW };
        account.join(self.is_on().then_some(amount), now);
        let allowed = account.allowed();
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
            account.set_trap(trap);
        }
    }

    pub fn read(&mut self, number: u32, reading: Reading) {
        if let Some(account) = self.accounts.get_mut(&number) {
            account.read(reading);
        }
    }

    pub fn is_on(&self) -> bool {
        matches!(self.state, State::On { .. })
    }

    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// Whether a window is about to begin, at [`Governor::due`].
    pub fn is_looking(&self) -> bool {
        matches!(self.state, State::Looking { .. })
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

    /// How long after the one before the present window was to be expected, in nanoseconds: as much
    /// rarer are windows, and as much more does each stand for, as this is longer.
    pub fn gap(&self) -> f64 {
        self.gap
    }

    /// For how long the next window, or the present one, is counted, where that is not left to what it
    /// costs.
    pub fn length(&self) -> Option<Duration> {
        self.length
    }

    /// How long a window of such a length lasted before it had cost what it may: where programs are too dense
    /// for it, the next ones are shorter, so that few are cut off by what they see.
    pub fn lasted(&mut self, lasted: Duration) {
        let Some(length) = self.length else { return };
        let next = if lasted < length { lasted.mul_f64(SHRINKS) } else { length.mul_f64(GROWS) };
        self.length = Some(next.clamp(SHORTEST, LENGTH));
    }

    /// The present window is over: it is to be seen whether it can go on.
    pub fn is_over(&mut self, now: Duration) {
        if let State::On { until: Some(until) } = &mut self.state {
            *until = now.min(*until);
        }
    }

    /// While it is on: what accounts pay for is allowed. Up to which number of traps, by process.
    pub fn allowances(&mut self) -> Vec<(u32, u64)> {
        let is_first = self.windows == 0;
        let allow = |(number, account): (&u32, &mut Account)| {
            let loan = if is_first { account.loan() } else { 0.0 };
            account.grant(account.credit() + loan);
            (*number, account.allowed())
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
        self.dried = now;
        self.state = State::Closing;
        true
    }

    /// The probes are off, and accounts were read. `random` lies between 0 and 1.
    pub fn off(&mut self, now: Duration, random: f64) {
        self.accounts.values_mut().for_each(|account| account.plan(random));
        self.state = State::Off { since: now, polled: now, poll_at: now + POLL.mul_f64(random) };
    }

    /// heaptap took so much CPU time for a window; that is to be earned too.
    pub fn charge(&mut self, own: Duration) {
        let each = own.as_nanos() as f64 / self.accounts.len().max(1) as f64;
        self.accounts.values_mut().for_each(|account| account.charge(each));
    }

    /// When it is to be looked at again while it is off or in a window.
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Off { poll_at, .. } => Some(poll_at),
            State::Looking { open_at } => Some(open_at),
            State::On { until } => until,
            State::Closing => None,
        }
    }

    /// At [`Governor::due`], accounts having been read: whether a window is about to begin. Then programs
    /// are to be looked at.
    pub fn polls(&mut self, now: Duration, random: f64) -> bool {
        let State::Off { since, polled, .. } = self.state else { return false };
        let apart = now.saturating_sub(polled);
        let mut earned = true;
        for account in self.accounts.values_mut() {
            // Each is to be told that time has passed.
            earned &= account.poll(apart);
        }
        let solvent = || self.accounts.values().all(|account| account.credit() >= -DEBT);
        if earned {
            let wait = self.accounts.values().map(Account::gap).fold(0.0, f64::max);
            let closed = since.saturating_sub(self.dried) + POLL / 2 + LOOK;
            // Who has just woken up seemed to need for ever.
            let most = 3.0 * now.saturating_sub(since).as_nanos() as f64;
            self.gap = closed.as_nanos() as f64 + wait.min(most);
        } else if now.saturating_sub(since) >= LONGEST && solvent() {
            self.gap = LONGEST.as_nanos() as f64;
        } else {
            // Programs do things at regular intervals too.
            let poll_at = now + POLL.mul_f64(0.5 + random.clamp(0.0, 1.0));
            self.state = State::Off { since, polled: now, poll_at };
            return false;
        }
        true
    }

    /// Programs were looked at, for a window that is about to begin.
    pub fn looked(&mut self, now: Duration) {
        self.state = State::Looking { open_at: now + LOOK };
    }

    /// At the end of a window, accounts having been read: whether it goes on, because it costs no more than
    /// is earned meanwhile. Then it is no window, but a time in which everything is seen.
    pub fn goes_on(&mut self) -> bool {
        let affordable = self.accounts.values().all(Account::is_affordable);
        if affordable && self.is_on() {
            self.state = State::On { until: None };
        }
        affordable
    }

    /// The probes are on again: what may be taken, by process.
    pub fn opened(&mut self, now: Duration) -> Vec<(u32, u64)> {
        let length = self.length.map_or(LENGTH, |length| length + AFTER);
        self.state = State::On { until: Some(now + length) };
        let allow = |(number, account): (&u32, &mut Account)| {
            account.resume(now);
            (*number, account.allowed())
        };
        self.accounts.iter_mut().map(allow).collect()
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::record::TIMED;

    use super::*;
    use crate::probe::{account::LOAN, gate::Taken};

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

        fn reading(&self, at: Duration) -> Reading {
            Reading { at, cpu: Duration::from_nanos(self.used as u64), taken: self.taken }
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
            let mut governor = Governor::new(0.01, false);
            for (number, program) in (0..).zip(&programs) {
                governor.add(number, TRAP, LOAN, program.reading(Duration::ZERO), Duration::ZERO);
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
                self.governor.read(number, program.reading(self.now));
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
                    if self.governor.is_on() {
                        if !self.governor.goes_on() {
                            self.governor.dry(self.now);
                            self.closing = 0;
                        }
                    } else if self.governor.is_looking() {
                        let allowed = self.governor.opened(self.now);
                        self.allowed = allowed.iter().map(|(_, allowed)| *allowed).collect();
                    } else if self.governor.polls(self.now, random) {
                        self.governor.looked(self.now);
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
            // Windows are short, however little is to be seen in them.
            let least = if rate < 1e5 { 0.2 } else { 0.7 };
            assert!((least..1.05).contains(&percent), "{cpus} CPUs, {rate} a second: {percent} %");
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
            let mut governor = Governor::new(0.01, false);
            let mut program = Program::new(1.0, 1.2e6);
            let loan = pool.lend();
            let allowed =
                governor.add(1, TRAP, loan, program.reading(Duration::ZERO), Duration::ZERO);
            for _ in 0..200 {
                // Taken off as soon as it is dry.
                program.step(program.taken.traps < allowed, allowed);
            }
            governor.read(1, program.reading(200 * MS));
            let account = governor.remove(1).unwrap();
            pool.give_back(&account);
            caused += account.caused();
            used += account.cpu().as_nanos() as f64;
        }
        let percent = 100.0 * caused / used;
        assert!((0.2..1.2).contains(&percent), "{percent} %");
    }

    #[test]
    fn windows_with_an_end_are_shorter_where_programs_are_dense() {
        let mut governor = Governor::new(0.01, true);
        assert_eq!(governor.length(), Some(LENGTH));
        // Dense for one in ten of them, in which 0.4 ms are too much.
        let mut cut = 0;
        for round in 0..1_000 {
            let length = governor.length().unwrap();
            let lasts = if round % 10 == 0 { MS.mul_f64(0.4) } else { LENGTH };
            cut += u32::from(lasts < length);
            governor.lasted(lasts.min(length));
        }
        assert!(cut < 50, "{cut} of 1,000 windows are cut off");
        for _ in 0..100 {
            governor.lasted(Duration::ZERO);
        }
        assert_eq!(governor.length(), Some(SHORTEST));
        for _ in 0..200 {
            governor.lasted(LENGTH);
        }
        assert_eq!(governor.length(), Some(LENGTH));
        let mut untimed = Governor::new(0.01, false);
        untimed.lasted(Duration::ZERO);
        assert_eq!(untimed.length(), None);
    }

    #[test]
    fn readings_that_run_backwards_change_nothing() {
        let mut governor = Governor::new(0.01, false);
        let taken = Taken { traps: 1000, timed_ns: 9000, timed: 15 };
        governor.add(7, TRAP, LOAN, Reading { cpu: MS, ..Reading::default() }, MS);
        governor.read(7, Reading { at: MS, cpu: 100 * MS, taken });
        let before = (governor.account(7).unwrap().caused(), governor.account(7).unwrap().cpu());
        governor.read(7, Reading { at: MS, cpu: 90 * MS, taken: Taken { traps: 10, ..taken } });
        let account = governor.account(7).unwrap();
        assert_eq!((account.caused(), account.cpu()), before);
        // Nothing to do for one that is on.
        assert_eq!((governor.due(), governor.polls(MS, 0.5)), (None, false));
    }
}
