//! The governor of the budget: when a group's probes are on, when off, and how many traps its processes
//! may take.
//!
//! In: the time, and readings for each process's [`Account`]. Out: what to allow, and when to take probes
//! off and put them on again. It reads no clock, attaches nothing and knows no process but by a number.
//!
//! An account is a share of the CPU time that the process used, less what it was caused and what heaptap
//! itself took for it. It begins with a loan, so that the process is traced from its start; one that never uses that up is always traced. One
//! that does is traced in windows from then on, each of which begins when the account has earned a random
//! part of twice what a window costs. Where what is recorded can't be put together from windows, it is recorded
//! **once**: until it has cost what the process is expected to earn until the end of the recording.

use std::{collections::BTreeMap, time::Duration};

pub use super::account::{Account, Pool, Reading};
use super::account::{DEBT, WINDOW};
pub use super::ahead::{Life, OPEN};

/// The longest time between two windows of a group that is not in debt: in one that rests it costs nothing.
const LONGEST: Duration = Duration::from_secs(5);
/// How often it is looked what was earned, on average: at least so often, and not more often than that.
const RARE: Duration = Duration::from_millis(500);
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
/// The same of a group that is recorded once: half of what it may be caused is over by then at most.
const OFTEN: Duration = Duration::from_millis(2);
const RARELY: Duration = Duration::from_millis(50);

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
    /// For good.
    Over,
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
    is_once: bool,
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
            is_once: false,
        }
    }

    /// The same of what is recorded once.
    pub fn once(share: f64) -> Self {
        Self { is_once: true, ..Self::new(share, false) }
    }

    pub fn is_once(&self) -> bool {
        self.is_once
    }

    /// What a process did before it was recorded once, for a time of which so much is left; `keeps` says that
    /// it is known for how long. Says up to which number of traps it may go.
    pub fn expect(&mut self, number: u32, life: Life, keeps: bool, left: Duration) -> u64 {
        let Some(account) = self.accounts.get_mut(&number) else { return 0 };
        account.once(life, keeps);
        account.allow(account.ahead(left));
        account.allowed()
    }

    /// Whether it was recorded once, and is no more.
    pub fn has_ended(&self) -> bool {
        self.is_once && !self.is_on()
    }

    /// How soon accounts are to be looked at while it is on, with so much time left.
    pub fn look_after(&self, left: Duration) -> Duration {
        if !self.is_once {
            return TICK;
        }
        let half = self.accounts.values().map(|account| account.half(left));
        let half = half.fold(f64::INFINITY, f64::min).clamp(0.0, 1e12);
        Duration::from_nanos(half as u64).clamp(OFTEN, RARELY)
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

    /// What passing a tracepoint costs.
    pub fn pass(&mut self, number: u32, pass: Duration) {
        if let Some(account) = self.accounts.get_mut(&number) {
            account.set_pass(pass);
        }
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

    /// Whether somebody has taken more than was allowed, of which there may have been no word, or can't pay for
    /// more until the end, which is so far.
    pub fn is_dry(&self, left: Duration) -> bool {
        let is_dry =
            |account: &Account| account.is_dry() || self.is_once && account.ahead(left) <= 0.0;
        self.is_on() && self.accounts.values().any(is_dry)
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
    pub fn allowances(&mut self, left: Duration) -> Vec<(u32, u64)> {
        let (is_first, is_once) = (self.windows == 0, self.is_once);
        let allow = |(number, account): (&u32, &mut Account)| {
            if is_once {
                account.allow(account.ahead(left));
                return (*number, account.allowed());
            }
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
        if self.is_once {
            self.state = State::Over;
            return;
        }
        self.accounts.values_mut().for_each(|account| account.plan(random));
        self.state = State::Off { since: now, polled: now, poll_at: now + POLL.mul_f64(random) };
    }

    /// heaptap took so much CPU time for a window; that is to be earned too.
    pub fn charge(&mut self, own: Duration) {
        let each = self.each(own);
        self.accounts.values_mut().for_each(|account| account.charge(each));
    }

    /// The same for a look at accounts, which have been read.
    pub fn charge_look(&mut self, own: Duration) {
        let each = self.each(own);
        self.accounts.values_mut().for_each(|account| account.charge_look(each));
    }

    fn each(&self, own: Duration) -> f64 {
        own.as_nanos() as f64 / self.accounts.len().max(1) as f64
    }

    /// When it is to be looked at again while it is off or in a window.
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Off { poll_at, .. } => Some(poll_at),
            State::Looking { open_at } => Some(open_at),
            State::On { until } => until,
            State::Closing | State::Over => None,
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
            // Half of the way to where it is to begin. Programs do things at regular intervals too.
            let rest = self.accounts.values().map(Account::until_goal).fold(0.0, f64::max);
            let half = Duration::from_nanos((rest / 2.0).min(1e12) as u64).clamp(POLL, RARE);
            let poll_at = now + half.mul_f64(0.5 + random.clamp(0.0, 1.0));
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
mod tests;
