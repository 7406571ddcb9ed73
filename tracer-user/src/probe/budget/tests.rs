//! Programs that are made up, and what the governor lets them be caused.

use tracer_common::record::TIMED;

use super::*;
use crate::probe::{account::LOAN, gate::Taken};

const MS: Duration = Duration::from_millis(1);
const TRAP: Duration = Duration::from_nanos(700);
/// What heaptap takes for a look at accounts.
const LOOKED: Duration = Duration::from_micros(80);

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
        let before = self.taken.tokens;
        self.taken.tokens += self.carry as u64;
        self.carry -= self.carry.floor();
        let passed = self.taken.tokens.min(allowed).saturating_sub(before);
        self.passed += passed;
        self.taken.timed = self.passed / TIMED;
        self.taken.timed_ns = self.taken.timed * 600;
        before < allowed && self.taken.tokens >= allowed
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
    looks: u32,
}

impl Run {
    fn new(programs: Vec<Program>) -> Self {
        let mut governor = Governor::new(0.01, false);
        for (number, program) in (0..).zip(&programs) {
            governor.add(number, TRAP, LOAN, program.reading(Duration::ZERO), Duration::ZERO);
        }
        let allowed =
            governor.allowances(Duration::ZERO).iter().map(|(_, allowed)| *allowed).collect();
        Self { governor, programs, state: 9, now: Duration::ZERO, allowed, closing: 0, looks: 0 }
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
                } else {
                    self.governor.charge_look(LOOKED);
                    self.looks += 1;
                }
            } else if governor.is_on() && step % 200 == 0 {
                self.read();
                let allowed = self.governor.allowances(Duration::ZERO);
                self.allowed = allowed.iter().map(|(_, allowed)| *allowed).collect();
                self.governor.charge_look(LOOKED);
                self.looks += 1;
            }
        }
        self.read();
    }

    fn percent(&self, number: u32) -> f64 {
        let account = self.governor.account(number).unwrap();
        100.0 * (account.caused() + account.own()) / account.cpu().as_nanos() as f64
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
fn looks_are_paid_for_and_bring_nobody_into_debt() {
    let mut run = Run::new(vec![Program::new(1.0, 1.2e6)]);
    run.seconds(60);
    let own = |run: &Run| run.governor.account(0).unwrap().own();
    let credit = |run: &Run| run.governor.account(0).unwrap().credit();
    assert!(own(&run) > 60e6 / 3.0 / 5.0, "{}", own(&run));
    // It rests for an hour, and is looked at all the time.
    run.programs[0].cpus = 0.0;
    run.programs[0].rate = 0.0;
    run.seconds(1);
    let before = (credit(&run), own(&run), run.looks);
    run.seconds(3600);
    assert!(run.looks > before.2 + 3600, "{}", run.looks);
    assert_eq!((credit(&run), own(&run)), (before.0, before.1));
}

#[test]
fn who_is_far_from_a_window_is_looked_at_rarely() {
    // Of the time between two windows most is far from either.
    let mut slow = Run::new(vec![Program::new(0.05, 1.2e6)]);
    slow.seconds(60);
    assert!(slow.looks < 60 * 4, "{}", slow.looks);
    assert!(slow.governor.windows() > 2, "{}", slow.governor.windows());
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
        let allowed = governor.add(1, TRAP, loan, program.reading(Duration::ZERO), Duration::ZERO);
        for _ in 0..200 {
            // Taken off as soon as it is dry.
            program.step(program.taken.tokens < allowed, allowed);
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
    let taken = Taken { tokens: 1000, timed_ns: 9000, timed: 15, ..Taken::default() };
    governor.add(7, TRAP, LOAN, Reading { cpu: MS, ..Reading::default() }, MS);
    governor.read(7, Reading { at: MS, cpu: 100 * MS, taken });
    let before = (governor.account(7).unwrap().caused(), governor.account(7).unwrap().cpu());
    governor.read(7, Reading { at: MS, cpu: 90 * MS, taken: Taken { tokens: 10, ..taken } });
    let account = governor.account(7).unwrap();
    assert_eq!((account.caused(), account.cpu()), before);
    // Nothing to do for one that is on.
    assert_eq!((governor.due(), governor.polls(MS, 0.5)), (None, false));
}

/// A process that is recorded once, in a recording of so many seconds: what it was caused, in parts of
/// what it used until the end, and for how long it was recorded.
fn recorded_once(program: Program, life: Life, seconds: u64) -> (f64, Duration) {
    let mut program = program;
    let mut governor = Governor::once(0.01);
    let end = Duration::from_secs(seconds);
    governor.add(1, TRAP, LOAN, program.reading(Duration::ZERO), Duration::ZERO);
    let mut allowed = governor.expect(1, life, true, end);
    let (mut now, mut look, mut over) = (Duration::ZERO, OFTEN, None);
    while now < end {
        now += MS;
        let attached = governor.is_on();
        if program.step(attached, allowed) && governor.dry(now) {
            over = Some(now);
            governor.off(now, 0.5);
        }
        if governor.is_on() && now >= look {
            governor.read(1, program.reading(now));
            if governor.is_dry(end - now) && governor.dry(now) {
                over = Some(now);
                governor.off(now, 0.5);
                continue;
            }
            allowed = governor.allowances(end - now)[0].1;
            look = now + governor.look_after(end - now);
        }
    }
    assert_eq!(governor.has_ended(), over.is_some());
    assert!(governor.due().is_none());
    governor.read(1, program.reading(now));
    let account = governor.remove(1).unwrap();
    (account.caused() / account.cpu().as_nanos() as f64, over.unwrap_or(end))
}

#[test]
fn what_is_recorded_once_is_recorded_until_it_has_cost_its_share_of_the_whole() {
    let old = |cpus: f64| {
        let age = Duration::from_secs(600);
        Life { age, cpu: age.mul_f64(cpus) }
    };
    // A tenth of its time.
    let dear = || Program::new(1.0, 75_000.0);
    let (share, over) = recorded_once(dear(), old(1.0), 10);
    assert!((0.0095..=0.0101).contains(&share), "{share}");
    assert!((Duration::from_millis(900)..Duration::from_millis(1100)).contains(&over), "{over:?}");
    // Half a percent: to the end.
    let (share, over) = recorded_once(Program::new(1.0, 3_500.0), old(1.0), 10);
    assert!(share < 0.006 && over == Duration::from_secs(10), "{share} {over:?}");
    // All that it does.
    let (share, _) = recorded_once(Program::new(2.0, 1e6), old(2.0), 10);
    assert!(share < 0.0101, "{share}");
    // Nobody knows of a young one that it will live that long: it may take what it has earned and will have
    // earned when it is twice as old, or a loan.
    let (_, over) = recorded_once(dear(), Life::default(), 10);
    assert!(over < Duration::from_millis(150), "{over:?}");
    // Of one that hardly uses a CPU, too.
    let (share, _) = recorded_once(Program::new(0.02, 20_000.0), old(0.02), 10);
    assert!(share * 0.2e9 < 1.1 * LOAN + 0.01 * 0.2e9, "{share}");
}
