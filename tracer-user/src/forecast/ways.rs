//! The ways in which programs come to their limits, told apart, with what speaks for and against each.
//!
//! In: courses and ratios. Out: for each [`Way`] a [`Sign`] and its evidence.

use super::Courses;
use super::course::{Course, Way as Goes};
use super::limits::{Limit, Of};
use super::ratios::Ratios;

/// Goroutines by which they must have become more.
const GOROUTINES: f64 = 12.0;
/// Bytes that are worth a word.
const LARGE: f64 = (16 << 20) as f64;
/// Off-heap memory that grows makes this part of what becomes resident, or at least that.
const MOST_OF_GROWTH: f64 = 0.5;
const SOME_OF_GROWTH: f64 = 0.15;
/// The collector's part of the CPU time that a program takes, and of what it could have had.
const BUSY: (f64, f64) = (0.25, 0.05);
const WARM: (f64, f64) = (0.10, 0.02);
/// Objects of this size are small, in the mean.
const SMALL: f64 = 1024.0;
/// Parts of spans that are filled.
const HALF_EMPTY: f64 = 0.5;
const NOT_FULL: f64 = 0.7;
/// Idle memory, of what is mapped of the heap: with GOGC=100 a quarter of it is, between collections.
const MUCH_IDLE: f64 = 0.4;
/// Large objects, of all that are there or are allocated.
const MOSTLY_LARGE: f64 = 0.5;

/// A way to come to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Goroutines, or memory that is not Go's, become more.
    Outside,
    /// What lives becomes more: a leak, or something that fills.
    Live,
    /// Large objects, and memory that is mapped and does not hold any.
    Fragments,
    /// Small objects come and go, and the collector with them.
    Churn,
}

impl Way {
    pub fn word(self) -> &'static str {
        match self {
            Way::Outside => "goroutines-off-heap",
            Way::Live => "live-heap",
            Way::Fragments => "large-fragmentation",
            Way::Churn => "small-churn",
        }
    }
}

/// Whether a program is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    Likely,
    Possible,
    None,
    TooEarly,
}

impl Sign {
    pub fn word(self) -> &'static str {
        match self {
            Sign::Likely => "likely",
            Sign::Possible => "possible",
            Sign::None => "no sign",
            Sign::TooEarly => "too early",
        }
    }
}

/// What a number of the evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Goroutines,
    Stacks,
    OffHeap,
    OffHeapOfGrowth,
    Live,
    Heap,
    Allocated,
    Turnover,
    MeanObject,
    GcOfUsed,
    GcOfAvailable,
    Collections,
    PeakBeyondLimit,
    SpansFilled,
    SpansEmpty,
    Idle,
    LargeThere,
    LargeAllocated,
}

/// In what a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    BytesASecond,
    ASecond,
    Part,
}

impl Unit {
    pub fn word(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::BytesASecond => "bytes/s",
            Unit::ASecond => "1/s",
            Unit::Part => "part",
        }
    }
}

impl What {
    pub fn unit(self) -> Unit {
        match self {
            What::Stacks | What::OffHeap | What::Live | What::Heap | What::Allocated => {
                Unit::BytesASecond
            }
            What::Goroutines | What::Turnover | What::Collections => Unit::ASecond,
            What::MeanObject | What::PeakBeyondLimit | What::SpansEmpty => Unit::Bytes,
            _ => Unit::Part,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            What::Goroutines => "goroutines",
            What::Stacks => "stacks",
            What::OffHeap => "off-heap",
            What::OffHeapOfGrowth => "off-heap-of-growth",
            What::Live => "live",
            What::Heap => "heap",
            What::Allocated => "allocated",
            What::Turnover => "turnover",
            What::MeanObject => "mean-object",
            What::GcOfUsed => "gc-of-used",
            What::GcOfAvailable => "gc-of-available",
            What::Collections => "collections",
            What::PeakBeyondLimit => "peak-beyond-limit",
            What::SpansFilled => "spans-filled",
            What::SpansEmpty => "spans-empty",
            What::Idle => "idle",
            What::LargeThere => "large-there",
            What::LargeAllocated => "large-allocated",
        }
    }
}

/// A number that speaks for a way, or against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    pub what: What,
    pub is_for: bool,
    pub value: f64,
    /// Half-width of its 95 % interval, of slopes.
    pub error: Option<f64>,
}

/// A way, and whether a program is on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub way: Way,
    pub sign: Sign,
    /// What speaks for it first.
    pub evidence: Vec<Evidence>,
}

/// All ways, the likely ones first. `beyond` is by how much the next peak of the heap is beyond a limit.
/// `idle_bytes` are kept, in the mean.
pub fn ways(
    courses: &Courses,
    ratios: &Ratios,
    limits: &[Limit],
    beyond: Option<f64>,
    idle_bytes: f64,
) -> Vec<Judged> {
    let seen = Seen { courses, ratios, limits, beyond, idle_bytes };
    let mut judged = vec![seen.outside(), seen.live(), seen.fragments(), seen.churn()];
    for one in &mut judged {
        one.evidence.sort_by_key(|evidence| !evidence.is_for);
    }
    judged.sort_by_key(|one| (one.sign, one.way));
    judged
}

struct Seen<'a> {
    courses: &'a Courses,
    ratios: &'a Ratios,
    limits: &'a [Limit],
    beyond: Option<f64>,
    idle_bytes: f64,
}

/// Evidence that is being gathered.
#[derive(Default)]
struct Gathered(Vec<Evidence>);

impl Gathered {
    fn value(&mut self, what: What, is_for: bool, value: Option<f64>) {
        self.0.extend(value.map(|value| Evidence { what, is_for, value, error: None }));
    }

    fn course(&mut self, what: What, is_for: bool, course: &Course) {
        if course.way != Goes::TooEarly {
            let error = Some(course.error);
            self.0.push(Evidence { what, is_for, value: course.slope, error });
        }
    }
}

fn at_least(value: Option<f64>, least: f64) -> bool {
    value.is_some_and(|value| value >= least)
}

impl Seen<'_> {
    /// Goroutines come first: what they hold lives on the heap as well.
    fn outside(&self) -> Judged {
        let Courses { goroutines, stacks, off_heap, resident, .. } = self.courses;
        let grows = Course::clearly_grows;
        let more = grows(goroutines) && goroutines.growth() >= GOROUTINES;
        let off = grows(off_heap);
        let of_growth = (off && grows(resident)).then(|| off_heap.slope / resident.slope);
        let mut evidence = Gathered::default();
        evidence.course(What::Goroutines, more, goroutines);
        evidence.course(What::Stacks, grows(stacks), stacks);
        evidence.course(What::OffHeap, off, off_heap);
        evidence.value(What::OffHeapOfGrowth, at_least(of_growth, SOME_OF_GROWTH), of_growth);
        let sign = if more || at_least(of_growth, MOST_OF_GROWTH) {
            Sign::Likely
        } else if grows(goroutines) || grows(stacks) || at_least(of_growth, SOME_OF_GROWTH) {
            Sign::Possible
        } else if goroutines.way == Goes::TooEarly && off_heap.way == Goes::TooEarly {
            Sign::TooEarly
        } else {
            Sign::None
        };
        Judged { way: Way::Outside, sign, evidence: evidence.0 }
    }

    fn live(&self) -> Judged {
        let live = &self.courses.live;
        let mut evidence = Gathered::default();
        evidence.course(What::Live, live.clearly_grows(), live);
        let sign = match live.way {
            Goes::Grows if live.clearly_grows() => Sign::Likely,
            Goes::Grows => Sign::Possible,
            Goes::TooEarly => Sign::TooEarly,
            _ => Sign::None,
        };
        Judged { way: Way::Live, sign, evidence: evidence.0 }
    }

    fn fragments(&self) -> Judged {
        let Courses { live, heap, empty, .. } = self.courses;
        let ratios = self.ratios;
        let empty_bytes = empty.now;
        let is_worth = empty_bytes >= LARGE;
        let filled = ratios.spans_filled.filter(|_| is_worth);
        let [half_empty, not_full] =
            [HALF_EMPTY, NOT_FULL].map(|least| filled.is_some_and(|filled| filled < least));
        let idle = at_least(ratios.idle, MUCH_IDLE) && self.idle_bytes >= LARGE;
        let are_large = at_least(ratios.large_there, MOSTLY_LARGE);
        let come_large = at_least(ratios.large_allocated, MOSTLY_LARGE);
        let swells = heap.clearly_grows() && live.is_flat();
        let mut evidence = Gathered::default();
        evidence.value(What::SpansFilled, not_full, ratios.spans_filled);
        evidence.value(What::SpansEmpty, not_full, Some(empty_bytes.max(0.0)));
        evidence.value(What::Idle, idle, ratios.idle);
        evidence.value(What::LargeThere, are_large, ratios.large_there);
        evidence.value(What::LargeAllocated, come_large, ratios.large_allocated);
        evidence.course(What::Heap, swells, heap);
        let is_large_leak = are_large && live.clearly_grows();
        let sign = if half_empty || (are_large || come_large) && (idle || swells) {
            Sign::Likely
        } else if not_full || idle || swells || is_large_leak {
            Sign::Possible
        } else {
            Sign::None
        };
        Judged { way: Way::Fragments, sign, evidence: evidence.0 }
    }

    fn churn(&self) -> Judged {
        let ratios = self.ratios;
        let live = &self.courses.live;
        let is_small = ratios.mean_object.is_some_and(|size| size < SMALL);
        let collects = |(used, available): (f64, f64)| {
            at_least(ratios.gc_of_used, used) && at_least(ratios.gc_of_available, available)
        };
        // Where it is as busy because nothing is left below the limit, what lives is the reason.
        let is_full = self.limits.iter().any(|limit| limit.of == Of::Live && limit.is_reached);
        let beyond = self.beyond.filter(|beyond| *beyond > 0.0);
        let is_pressed = beyond.is_some() || collects(BUSY);
        let mut evidence = Gathered::default();
        let warm = collects(WARM);
        evidence.value(What::GcOfUsed, warm, ratios.gc_of_used);
        evidence.value(What::GcOfAvailable, warm, ratios.gc_of_available);
        evidence.value(What::Collections, warm, ratios.collections);
        evidence.value(What::Allocated, warm, ratios.allocated);
        evidence.value(What::Turnover, warm, ratios.turnover);
        evidence.value(What::MeanObject, is_small, ratios.mean_object);
        evidence.value(What::PeakBeyondLimit, true, beyond);
        evidence.course(What::Live, live.is_flat(), live);
        let may_be = is_small && !is_full;
        let sign = if may_be && is_pressed && live.is_flat() {
            Sign::Likely
        } else if may_be && (is_pressed || warm) {
            Sign::Possible
        } else {
            Sign::None
        };
        Judged { way: Way::Churn, sign, evidence: evidence.0 }
    }
}
