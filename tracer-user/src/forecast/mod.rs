//! What becomes of a program's memory if it goes on as it does: when which limit is reached, why, and how well the
//! heap is used.
//!
//! In: [`Figures`], read again and again from a process, a recording or wherever. Out: a [`Forecast`]. Knows no
//! process, no file and no clock, and asks nobody.
//!
//! A time is told only where a trend is clear; else it is told before when nothing happens. No trend is taken of
//! readings of less than 15 s, nor of what stands after fewer than three collections.

mod course;
mod figures;
mod limits;
mod ratios;
#[cfg(test)]
mod tests;
mod ways;

pub use course::{Course, FEWEST, HORIZON, SHORTEST, Way as Goes, When};
pub use figures::{Figures, Group};
pub use limits::{Basis, Limit, Of};
pub use ratios::Ratios;
pub use ways::{Evidence, Judged, Sign, Unit, Way, What};

use course::By;
use figures::{after_collections, series};
use limits::LEAST;

/// Goroutines by which there may be more without being more.
const FEW_GOROUTINES: f64 = 4.0;
/// The same of bytes of stacks.
const FEW_STACKS: f64 = (128 << 10) as f64;
/// What resident memory and what is mapped differ by without meaning much.
const LEAST_OFF_HEAP: f64 = (4 << 20) as f64;

/// What is told of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Between the first reading and the last.
    pub seconds: f64,
    pub readings: usize,
    /// That ended in that time.
    pub collections: u32,
    /// The most urgent first.
    pub limits: Vec<Limit>,
    pub courses: Courses,
    pub ratios: Ratios,
    /// The likely ones first.
    pub ways: Vec<Judged>,
    /// The last reading.
    pub last: Figures,
}

/// How figures go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Courses {
    pub resident: Course,
    /// Of the runtime: mapped and not given back.
    pub mapped: Course,
    /// Of that: the heap's spans.
    pub heap: Course,
    /// What survived collections.
    pub live: Course,
    /// The heap's goal.
    pub goal: Course,
    /// Spans' memory that holds no objects, after collections.
    pub empty: Course,
    /// Spans without objects that were not given back.
    pub idle: Course,
    pub stacks: Course,
    pub goroutines: Course,
    /// Resident memory less what is mapped by the runtime; may be below zero.
    pub off_heap: Course,
}

impl Courses {
    fn of(readings: &[Figures]) -> Self {
        let level = |least: f64, of: fn(&Figures) -> Option<f64>| {
            Course::of(&series(readings, of), By::Means, least)
        };
        let after = |of: fn(&Figures) -> Option<f64>| {
            Course::of(&after_collections(readings, of), By::Means, LEAST)
        };
        Self {
            resident: level(LEAST, |one| one.resident.map(|bytes| bytes as f64)),
            mapped: level(LEAST, |one| Some(one.mapped() as f64)),
            heap: level(LEAST, |one| Some((one.in_use + one.kept_idle()) as f64)),
            live: after(|one| Some(one.marked as f64)),
            goal: after(|one| one.goal.map(|bytes| bytes as f64)),
            empty: after(|one| Some(one.in_use as f64 - one.alloc as f64)),
            idle: level(LEAST, |one| Some(one.kept_idle() as f64)),
            stacks: level(FEW_STACKS, |one| Some(one.stacks as f64)),
            goroutines: level(FEW_GOROUTINES, |one| one.goroutines.map(|count| count as f64)),
            off_heap: level(LEAST_OFF_HEAP, Figures::off_heap),
        }
    }

    /// All of them, by name.
    pub fn all(&self) -> [(&'static str, &Course); 10] {
        [
            ("resident", &self.resident),
            ("mapped", &self.mapped),
            ("heap", &self.heap),
            ("live", &self.live),
            ("goal", &self.goal),
            ("spans-empty", &self.empty),
            ("idle", &self.idle),
            ("stacks", &self.stacks),
            ("goroutines", &self.goroutines),
            ("off-heap", &self.off_heap),
        ]
    }
}

impl Forecast {
    /// Nothing of no reading.
    pub fn of(readings: &[Figures]) -> Option<Self> {
        let (first, last) = (readings.first()?, readings.last()?);
        let courses = Courses::of(readings);
        let ratios = Ratios::of(readings);
        let limits = limits::limits(readings);
        let idle = readings.iter().map(|one| one.kept_idle() as f64).sum::<f64>();
        let idle = idle / readings.len() as f64;
        let ways = ways::ways(&courses, &ratios, &limits, beyond(last), idle);
        Some(Self {
            seconds: last.at - first.at,
            readings: readings.len(),
            collections: last.cycles.saturating_sub(first.cycles),
            limits,
            courses,
            ratios,
            ways,
            last: last.clone(),
        })
    }

    /// The limit at which it ends, and that is reached or will be in so many seconds.
    pub fn near(&self, within: f64) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.of.is_end() && limit.is_near(within))
    }

    /// Whether too little was seen to tell anything of what is to come.
    pub fn is_too_early(&self) -> bool {
        self.courses.mapped.way == Goes::TooEarly
    }
}

/// By how much the control group's limit would be exceeded when the heap is as large as its goal; below zero:
/// by so much not.
fn beyond(last: &Figures) -> Option<f64> {
    let group = last.group.as_ref()?;
    Some(group.kept() as f64 + last.room_to_goal()? as f64 - group.limit as f64)
}
