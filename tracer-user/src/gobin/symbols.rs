//! Where the runtime's variables lie, in binaries with and without a symbol table.
//!
//! In: an opened binary and its release's layouts. Out: link-time addresses. Each variable is found
//! as an operand of functions that are in every program (facts 4.5); all places that tell of it must
//! agree, and it must lie in memory that the program may write. A variable that can't be found so is
//! refused with the reason; the symbol table is not asked, so that stripped binaries are no
//! special case.

use std::fmt;

use super::decode::{self, Step};
use super::{Error, GoBinary, layout::Layout};
use crate::address::VAddr;

/// A variable of package runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// Newest bucket of the heap profile; a list by `allnext`.
    MBuckets,
    /// The same of the block profile.
    BBuckets,
    /// The same of the mutex profile.
    XBuckets,
    /// u32: twice the heap profile's cycle; the lowest bit says that it was flushed.
    MProfCycle,
    /// 64-bit: mean bytes between samples; 0 when the sampler is off.
    MemProfileRate,
    /// Word: number of goroutines in the array at [`Symbol::AllGPtr`].
    AllGLen,
    /// Pointer to an array of `*g`.
    AllGPtr,
    /// Slice header of the same; changes under a lock.
    AllGs,
    /// Slice header of `*p`.
    AllP,
    /// A `gcControllerState`.
    GcController,
    /// u32: 0 off, 1 mark, 2 mark termination.
    GcPhase,
    /// An `mheap`.
    MHeap,
    /// An `mstats`.
    MemStats,
    /// u32: collections begun.
    WorkCycles,
    /// i64: when the last collection ended, in `nanotime`.
    LastGcNanotime,
    /// i32: GOGC; negative when off.
    GcPercent,
    /// Array of string headers: texts of wait reasons; how many says [`Symbols::wait_reasons`].
    WaitReasonStrings,
    /// 64-bit: the block profiler's rate in ticks; 0 when it is off.
    BlockProfileRate,
    /// 64-bit: one in that many mutex events; 0 when the profiler is off.
    MutexProfileRate,
    /// A `ticks`; up to Go 1.21 only in programs that can turn the block profiler on.
    Ticks,
    /// u32: bit 1 says that the finalizer goroutine runs the program's code; up to Go 1.20 a bool that
    /// says so, `fingRunning`.
    FingStatus,
    /// u32: sweepers at work; the highest bit says that nothing is left to sweep since the last
    /// collection (`activeSweep`, mgcsweep.go).
    SweepState,
    /// A `mutex` (word): held while counts of the heap profile are added up (mprof.go).
    ProfMemActiveLock,
}

impl Symbol {
    /// All of them, in order.
    pub const ALL: [Symbol; 23] = [
        Symbol::MBuckets,
        Symbol::BBuckets,
        Symbol::XBuckets,
        Symbol::MProfCycle,
        Symbol::MemProfileRate,
        Symbol::AllGLen,
        Symbol::AllGPtr,
        Symbol::AllGs,
        Symbol::AllP,
        Symbol::GcController,
        Symbol::GcPhase,
        Symbol::MHeap,
        Symbol::MemStats,
        Symbol::WorkCycles,
        Symbol::LastGcNanotime,
        Symbol::GcPercent,
        Symbol::WaitReasonStrings,
        Symbol::BlockProfileRate,
        Symbol::MutexProfileRate,
        Symbol::Ticks,
        Symbol::FingStatus,
        Symbol::SweepState,
        Symbol::ProfMemActiveLock,
    ];

    /// Its name in Go, without the package.
    pub fn name(self) -> &'static str {
        match self {
            Symbol::MBuckets => "mbuckets",
            Symbol::BBuckets => "bbuckets",
            Symbol::XBuckets => "xbuckets",
            Symbol::MProfCycle => "mProfCycle",
            Symbol::MemProfileRate => "MemProfileRate",
            Symbol::AllGLen => "allglen",
            Symbol::AllGPtr => "allgptr",
            Symbol::AllGs => "allgs",
            Symbol::AllP => "allp",
            Symbol::GcController => "gcController",
            Symbol::GcPhase => "gcphase",
            Symbol::MHeap => "mheap_",
            Symbol::MemStats => "memstats",
            Symbol::WorkCycles => "work.cycles",
            Symbol::LastGcNanotime => "memstats.last_gc_nanotime",
            Symbol::GcPercent => "gcController.gcPercent",
            Symbol::WaitReasonStrings => "waitReasonStrings",
            Symbol::BlockProfileRate => "blockprofilerate",
            Symbol::MutexProfileRate => "mutexprofilerate",
            Symbol::Ticks => "ticks",
            Symbol::FingStatus => "fingStatus",
            Symbol::SweepState => "sweep.active.state",
            Symbol::ProfMemActiveLock => "profMemActiveLock",
        }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runtime.{}", self.name())
    }
}

/// Why a variable's place is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    #[error("{symbol} can't be found: the program has no function {function}")]
    NoFunction { symbol: Symbol, function: &'static str },
    #[error("{symbol} can't be found: {function} can't be read: {why}")]
    Unreadable { symbol: Symbol, function: &'static str, why: String },
    #[error("{symbol} can't be found: the code of {function} is not as expected ({why})")]
    Unexpected { symbol: Symbol, function: &'static str, why: &'static str },
    #[error("{symbol} can't be found: {function} points to {at}, which no variable can lie at")]
    NotData { symbol: Symbol, function: &'static str, at: VAddr },
}

/// The variables of a binary. Those that were not found say why when they are asked for.
#[derive(Clone, Debug)]
pub struct Symbols {
    found: Vec<Result<VAddr, SymbolError>>,
    wait_reasons: usize,
}

impl Symbols {
    /// Looks for all of [`Symbol::ALL`].
    pub fn find(binary: &GoBinary, layout: &Layout) -> Self {
        let names: Vec<&'static str> = FUNCTIONS.to_vec();
        let functions = binary.find_functions(&names);
        let code: Vec<_> = names
            .into_iter()
            .zip(functions)
            .map(|(name, function)| Code {
                name,
                steps: function.map(|f| decode::steps(binary, &f)),
            })
            .collect();
        let finder = Finder { binary, layout, code };
        let found = Symbol::ALL.map(|symbol| finder.find(symbol)).to_vec();
        Self { found, wait_reasons: finder.wait_reasons() }
    }

    /// Link-time address of a variable.
    pub fn get(&self, symbol: Symbol) -> Result<VAddr, SymbolError> {
        self.found[symbol as usize].clone()
    }

    /// Variables at places given by a test.
    #[cfg(any(test, fuzzing))]
    pub fn made(places: &[(Symbol, VAddr)]) -> Self {
        let place = |symbol| {
            let at = places.iter().find(|(s, _)| *s == symbol).map(|(_, at)| *at);
            at.ok_or(SymbolError::NoFunction { symbol, function: "runtime.none" })
        };
        Self { found: Symbol::ALL.map(place).to_vec(), wait_reasons: 0 }
    }

    /// Number of texts at [`Symbol::WaitReasonStrings`].
    pub fn wait_reasons(&self) -> usize {
        self.wait_reasons
    }
}

const FLUSH_LOCKED: &str = "runtime.mProf_FlushLocked";
const FLUSH: &str = "runtime.mProf_Flush";
const STKBUCKET: &str = "runtime.stkbucket";
const PROFILEALLOC: &str = "runtime.profilealloc";
const FOR_EACH_G_RACE: &str = "runtime.forEachGRace";
const FOR_EACH_G: &str = "runtime.forEachG";
const TINY_ALLOCS: &str = "runtime.gcMarkTinyAllocs";
const COMMIT: &str = "runtime.gcControllerCommit";
const TRIGGER: &str = "runtime.gcTrigger.test";
const RESET: &str = "runtime.gcResetMarkState";
const REASON: &str = "runtime.waitReason.String";
const BLOCKEVENT: &str = "runtime.blockevent";
const SEMACQUIRE: &str = "runtime.semacquire1";
const TICKS_INIT: &str = "runtime.(*ticksType).init";
const TICKS_OLD: &str = "runtime.tickspersecond";
const SYSTEM: &str = "runtime.isSystemGoroutine";

const FUNCTIONS: [&str; 16] = [
    FLUSH_LOCKED,
    FLUSH,
    STKBUCKET,
    PROFILEALLOC,
    FOR_EACH_G_RACE,
    FOR_EACH_G,
    TINY_ALLOCS,
    COMMIT,
    TRIGGER,
    RESET,
    REASON,
    BLOCKEVENT,
    SEMACQUIRE,
    TICKS_INIT,
    TICKS_OLD,
    SYSTEM,
];

/// Kinds of the runtime's buckets (mprof.go: memProfile, blockProfile, mutexProfile).
const MEM_PROFILE: u64 = 1;
const MUTEX_PROFILE: u64 = 3;
/// Nothing is left to sweep, and nobody sweeps (mgcsweep.go: sweepDrainedMask).
pub const SWEEP_DRAINED: u64 = 1 << 31;

struct Code {
    name: &'static str,
    /// Nothing when the program has no such function.
    steps: Option<Result<Vec<Step>, Error>>,
}

struct Finder<'a> {
    binary: &'a GoBinary,
    layout: &'a Layout,
    code: Vec<Code>,
}

/// What was found in a function, or what is wrong with it.
type Told = Result<VAddr, &'static str>;

impl Finder<'_> {
    fn find(&self, symbol: Symbol) -> Result<VAddr, SymbolError> {
        let layout = self.layout;
        match symbol {
            Symbol::MBuckets => {
                let head = self.tell(symbol, FLUSH_LOCKED, |s| all_equal(loads(s, 8)))?;
                self.confirm(symbol, head, STKBUCKET, |s| bucket_list(s, MEM_PROFILE, 0))
            }
            Symbol::XBuckets => self.tell(symbol, STKBUCKET, |s| bucket_list(s, MUTEX_PROFILE, 0)),
            Symbol::BBuckets => self.tell(symbol, STKBUCKET, |s| bucket_list(s, MUTEX_PROFILE, 1)),
            Symbol::MProfCycle => {
                let read = self.tell(symbol, FLUSH, |s| first(loads(s, 4)))?;
                self.confirm(symbol, read, FLUSH, |s| first(addresses(s)))
            }
            // The first variable read there is mcache0.
            Symbol::MemProfileRate => {
                self.tell(symbol, PROFILEALLOC, |s| all_equal(loads(s, 8).skip(1)))
            }
            Symbol::AllGLen => self.tell(symbol, FOR_EACH_G_RACE, |s| Ok(pair(s)?.0)),
            Symbol::AllGPtr => self.tell(symbol, FOR_EACH_G_RACE, |s| Ok(pair(s)?.1)),
            Symbol::AllGs => self.tell(symbol, FOR_EACH_G, slice),
            Symbol::AllP => self.tell(symbol, TINY_ALLOCS, slice),
            Symbol::GcController => {
                let told = self.tell(symbol, COMMIT, |s| all_equal(addresses(s)))?;
                self.confirm(symbol, told, TRIGGER, |s| among(addresses(s), told))
            }
            Symbol::GcPhase => {
                let told = self.tell(symbol, COMMIT, |s| all_equal(tests(s, 4)))?;
                self.confirm(symbol, told, TRIGGER, |s| among(tests(s, 4), told))
            }
            Symbol::MHeap => {
                let told = self.tell(symbol, RESET, |s| twice(addresses(s)))?;
                let arenas = VAddr(told.0.wrapping_add(layout.mheap.arenas.into()));
                self.confirm(symbol, told, RESET, |s| among(loads(s, 8), arenas).map(|_| told))
            }
            Symbol::MemStats => {
                let enabled = self.tell(symbol, TRIGGER, |s| all_equal(tests(s, 1)))?;
                let told = VAddr(enabled.0.wrapping_sub(layout.mstats.enablegc.into()));
                let last = self.last_gc(told);
                self.confirm(symbol, told, TRIGGER, |s| among(loads(s, 8), last).map(|_| told))
            }
            Symbol::LastGcNanotime => Ok(self.last_gc(self.find(Symbol::MemStats)?)),
            Symbol::GcPercent => {
                let controller = self.find(Symbol::GcController)?;
                let at = VAddr(controller.0.wrapping_add(layout.gc_controller.gc_percent.into()));
                self.tell(symbol, TRIGGER, |s| among(loads(s, 4), at))
            }
            // The last variable of 4 bytes that is read there, after gcPercent.
            Symbol::WorkCycles => {
                let percent = self.find(Symbol::GcPercent)?;
                self.tell(symbol, TRIGGER, |s| {
                    let mut after = loads(s, 4).skip_while(|at| *at != percent);
                    after.next();
                    all_equal(after)
                })
            }
            // The first address taken is that of a text for unknown reasons.
            Symbol::WaitReasonStrings => {
                self.tell(symbol, REASON, |s| all_equal(addresses(s).skip(1)))
            }
            Symbol::BlockProfileRate => {
                let told = self.tell(symbol, BLOCKEVENT, |s| all_equal(loads(s, 8)))?;
                self.confirm(symbol, told, SEMACQUIRE, |s| Ok(both_rates(s)?.0))
            }
            Symbol::MutexProfileRate => self.tell(symbol, SEMACQUIRE, |s| Ok(both_rates(s)?.1)),
            Symbol::Ticks if layout.ticks.start_ticks.is_some() => {
                self.tell(symbol, TICKS_INIT, |s| all_equal(addresses(s)))
            }
            Symbol::Ticks => {
                let told = self.tell(symbol, TICKS_OLD, |s| first(addresses(s)))?;
                let value = VAddr(told.0.wrapping_add(layout.ticks.val.into()));
                self.confirm(symbol, told, TICKS_OLD, |s| {
                    all_equal(loads(s, 8)).and_then(|at| {
                        if at == value { Ok(told) } else { Err("its value lies elsewhere") }
                    })
                })
            }
            // The only variable of any size that is read there (traceback.go).
            Symbol::FingStatus => {
                let bytes = if layout.minor < 21 { 1 } else { 4 };
                self.tell(symbol, SYSTEM, |s| all_equal(loads(s, bytes)))
            }
            Symbol::SweepState => self.tell(symbol, COMMIT, |s| compared_with(s, SWEEP_DRAINED)),
            // Taken and given back; so is one of several locks, whose address is computed.
            Symbol::ProfMemActiveLock => {
                let cycle = self.find(Symbol::MProfCycle)?;
                self.tell(symbol, FLUSH, |s| twice(addresses(s).filter(|at| *at != cycle)))
            }
        }
    }

    fn last_gc(&self, memstats: VAddr) -> VAddr {
        VAddr(memstats.0.wrapping_add(self.layout.mstats.last_gc_nanotime.into()))
    }

    /// What a function tells of a variable, when it can be one.
    fn tell(
        &self,
        symbol: Symbol,
        function: &'static str,
        told: impl FnOnce(&[Step]) -> Told,
    ) -> Result<VAddr, SymbolError> {
        let steps = self.steps(symbol, function)?;
        let at = told(steps).map_err(|why| SymbolError::Unexpected { symbol, function, why })?;
        if !self.binary.is_writable(at) {
            return Err(SymbolError::NotData { symbol, function, at });
        }
        Ok(at)
    }

    /// `at`, if a second place tells the same.
    fn confirm(
        &self,
        symbol: Symbol,
        at: VAddr,
        function: &'static str,
        told: impl FnOnce(&[Step]) -> Told,
    ) -> Result<VAddr, SymbolError> {
        if self.tell(symbol, function, told)? == at {
            return Ok(at);
        }
        let why = "it contradicts another place";
        Err(SymbolError::Unexpected { symbol, function, why })
    }

    fn steps(&self, symbol: Symbol, function: &'static str) -> Result<&[Step], SymbolError> {
        let code = self.code.iter().find(|code| code.name == function);
        match code.and_then(|code| code.steps.as_ref()) {
            None => Err(SymbolError::NoFunction { symbol, function }),
            Some(Ok(steps)) => Ok(steps),
            Some(Err(error)) => {
                Err(SymbolError::Unreadable { symbol, function, why: error.to_string() })
            }
        }
    }

    /// Reasons are compared with their number; 0 when that can't be seen.
    fn wait_reasons(&self) -> usize {
        let steps = self.steps(Symbol::WaitReasonStrings, REASON).unwrap_or_default();
        let compared = steps.iter().filter_map(|step| match step {
            Step::Compare(number) => Some(*number as usize),
            _ => None,
        });
        let mut compared = compared.take(2);
        match (compared.next(), compared.next()) {
            (Some(number @ 1..=255), None) => number,
            _ => 0,
        }
    }
}

fn addresses(steps: &[Step]) -> impl Iterator<Item = VAddr> {
    steps.iter().filter_map(|step| match step {
        Step::Address(at) => Some(*at),
        _ => None,
    })
}

fn loads(steps: &[Step], bytes: usize) -> impl Iterator<Item = VAddr> {
    steps.iter().filter_map(move |step| match step {
        Step::Load(at, size) if *size == bytes => Some(*at),
        _ => None,
    })
}

fn tests(steps: &[Step], bytes: usize) -> impl Iterator<Item = VAddr> {
    steps.iter().filter_map(move |step| match step {
        Step::Test(at, size) if *size == bytes => Some(*at),
        _ => None,
    })
}

fn first(mut told: impl Iterator<Item = VAddr>) -> Told {
    told.next().ok_or("no such operand")
}

fn all_equal(mut told: impl Iterator<Item = VAddr>) -> Told {
    let at = told.next().ok_or("no such operand")?;
    if told.all(|other| other == at) { Ok(at) } else { Err("several such operands") }
}

fn among(mut told: impl Iterator<Item = VAddr>, at: VAddr) -> Told {
    told.find(|other| *other == at).ok_or("the expected operand is missing")
}

/// The one that occurs exactly twice.
fn twice(told: impl Iterator<Item = VAddr>) -> Told {
    let mut told: Vec<VAddr> = told.collect();
    told.sort_unstable();
    let mut runs = told.chunk_by(|a, b| a == b).filter(|run| run.len() == 2);
    match (runs.next(), runs.next()) {
        (Some(run), None) => Ok(run[0]),
        _ => Err("no single operand that occurs twice"),
    }
}

/// The only two words that are read.
fn pair(steps: &[Step]) -> Result<(VAddr, VAddr), &'static str> {
    let words: Vec<VAddr> = loads(steps, 8).collect();
    match words[..] {
        [one, two] if one != two => Ok((one, two)),
        _ => Err("not two words are read"),
    }
}

/// The first two words of a slice header, which are read one after the other.
fn slice(steps: &[Step]) -> Told {
    let mut words = loads(steps, 8);
    match (words.next(), words.next()) {
        (Some(at), Some(len)) if len.0.wrapping_sub(at.0) == 8 => Ok(at),
        _ => Err("no slice is read"),
    }
}

/// The two words that are compared with a number: the block profiler's rate and the mutex profiler's.
fn both_rates(steps: &[Step]) -> Result<(VAddr, VAddr), &'static str> {
    let words: Vec<VAddr> = tests(steps, 8).collect();
    match words[..] {
        [block, mutex] if block != mutex => Ok((block, mutex)),
        _ => Err("not two words are tested"),
    }
}

/// The only variable of 4 bytes that is read and compared with `number` at once.
fn compared_with(steps: &[Step], number: u64) -> Told {
    let at = steps.windows(2).filter_map(|pair| match pair {
        [Step::Load(at, 4), Step::Compare(other)] if *other == number => Some(*at),
        _ => None,
    });
    all_equal(at)
}

/// The list that a new bucket of a kind is put into: the address taken right after the kind was
/// compared. In the default case, after that of mutexes, comes the list of the block profile.
fn bucket_list(steps: &[Step], kind: u64, skip: usize) -> Told {
    let at = steps.iter().enumerate().filter_map(|(at, step)| {
        let next = steps.get(at + 1)?;
        match (step, next) {
            (Step::Compare(number), Step::Address(_)) if *number == kind => Some(at),
            _ => None,
        }
    });
    let at: Vec<usize> = at.collect();
    let [at] = at[..] else { return Err("the kind of bucket is not compared once") };
    match steps.get(at + 1 + skip) {
        Some(Step::Address(list)) => Ok(*list),
        _ => Err("no list follows"),
    }
}

/// Decodes any code as if it were that of each function that tells of a variable ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub fn any_code(code: &[u8]) {
    for machine in super::Machine::ALL {
        any_steps(&machine.steps(code, VAddr(0x40_1000)));
    }
}

#[cfg(any(test, fuzzing))]
fn any_steps(steps: &[Step]) {
    let lists =
        [MEM_PROFILE, MUTEX_PROFILE].map(|kind| [0, 1].map(|n| bucket_list(steps, kind, n)));
    let sizes = [1, 4, 8].map(|bytes| [all_equal(loads(steps, bytes)), first(tests(steps, bytes))]);
    let others = [twice(addresses(steps)), slice(steps), compared_with(steps, SWEEP_DRAINED)];
    let pairs = [pair(steps), both_rates(steps)];
    let pairs = pairs.into_iter().flatten().map(|(one, two)| assert_ne!(one, two));
    pairs.count();
    // What is told of a variable is an operand.
    let operands: std::collections::HashSet<VAddr> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Address(at) | Step::Load(at, _) | Step::Test(at, _) | Step::Other(at) => {
                Some(*at)
            }
            Step::Compare(_) => None,
        })
        .collect();
    let told = lists.into_iter().flatten().chain(sizes.into_iter().flatten()).chain(others);
    told.flatten().for_each(|at| assert!(operands.contains(&at)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VAddr = VAddr(0x1000);
    const B: VAddr = VAddr(0x2000);
    const C: VAddr = VAddr(0x3000);

    #[test]
    fn lists_of_buckets_follow_the_comparison_of_their_kind() {
        let steps = [
            Step::Compare(1),
            Step::Other(C),
            Step::Compare(1),
            Step::Address(A),
            Step::Compare(3),
            Step::Address(B),
            Step::Address(C),
            Step::Address(A),
        ];
        assert_eq!(bucket_list(&steps, 1, 0), Ok(A));
        assert_eq!(bucket_list(&steps, 3, 0), Ok(B));
        assert_eq!(bucket_list(&steps, 3, 1), Ok(C));
        assert!(bucket_list(&steps[..3], 1, 0).is_err());
        assert!(bucket_list(&[steps, steps].concat(), 3, 0).is_err());
        assert!(bucket_list(&steps[4..6], 3, 1).is_err());
    }

    #[test]
    fn operands_that_contradict_each_other_are_refused() {
        let words = [Step::Load(A, 8), Step::Load(A, 8), Step::Load(B, 4)];
        assert_eq!(all_equal(loads(&words, 8)), Ok(A));
        assert!(all_equal(loads(&[Step::Load(A, 8), Step::Load(B, 8)], 8)).is_err());
        assert!(all_equal(loads(&words, 2)).is_err());
        assert!(pair(&words).is_err());
        let header = [Step::Load(A, 8), Step::Load(VAddr(A.0 + 8), 8)];
        assert_eq!(slice(&header), Ok(A));
        assert!(slice(&words).is_err());
        let thrice = [Step::Address(A), Step::Address(A), Step::Address(A), Step::Address(B)];
        assert!(twice(addresses(&thrice)).is_err());
        assert_eq!(twice(addresses(&thrice[1..])), Ok(A));
        assert!(both_rates(&[Step::Test(A, 8)]).is_err());
        let swept = [Step::Load(B, 4), Step::Load(A, 4), Step::Compare(SWEEP_DRAINED)];
        assert_eq!(compared_with(&swept, SWEEP_DRAINED), Ok(A));
        assert!(compared_with(&swept[..2], SWEEP_DRAINED).is_err());
        assert!(compared_with(&swept, 7).is_err());
    }

    #[test]
    fn errors_name_symbol_and_function() {
        let binary = crate::gobin::fake::open(&crate::gobin::fake::Fake::new().bytes).unwrap();
        let layout = crate::gobin::layout::of(binary.facts()).unwrap();
        let symbols = Symbols::find(&binary, layout);
        for symbol in Symbol::ALL {
            let text = symbols.get(symbol).unwrap_err().to_string();
            assert!(
                text.contains("can't be found: the program has no function runtime."),
                "{text}"
            );
        }
        assert_eq!(symbols.wait_reasons(), 0);
    }

    #[test]
    fn symbols_are_in_the_order_of_their_numbers() {
        for (index, symbol) in Symbol::ALL.into_iter().enumerate() {
            assert_eq!(symbol as usize, index);
        }
    }
}
