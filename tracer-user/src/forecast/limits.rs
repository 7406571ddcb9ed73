//! Which limits there are, what counts towards them, and when that is all.
//!
//! In: readings. Out: for each limit a [`Limit`]: what is used of it, how that goes, and when it is reached.
//!
//! What is used of a limit rises with the heap's peaks. Where it stands still because the heap fills memory that it
//! had before, what stands after collections tells that it will not stay so: then the goal's trend is taken.

use super::course::{By, Course, When};
use super::figures::{Figures, after_collections, series};

/// The last part of GOMEMLIMIT that the runtime leaves free (`memoryLimitHeapGoalHeadroomPercent`, mgcpacer.go).
const HEADROOM: f64 = 0.03;
/// From this part of a limit on it is reached.
const REACHED: f64 = 0.98;
/// A change of memory by less is noise: what the kernel counts for each CPU and thread before it adds it up.
pub const LEAST: f64 = (1 << 20) as f64;

/// What sets a limit, and what happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// The control group's: the kernel kills.
    Group,
    /// What no collection frees against GOMEMLIMIT: the collector runs all the time.
    Live,
    /// All that is mapped against GOMEMLIMIT: collections become more frequent.
    Mapped,
}

impl Of {
    pub fn word(self) -> &'static str {
        match self {
            Of::Group => "cgroup",
            Of::Live => "gomemlimit-live",
            Of::Mapped => "gomemlimit",
        }
    }

    /// Whether a program ends there, or can't go on as it did.
    pub fn is_end(self) -> bool {
        self != Of::Mapped
    }
}

/// What a time is told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// What is used of the limit.
    Use,
    /// The heap's goal, which does not fit any more one day.
    Goal,
}

impl Basis {
    pub fn word(self) -> &'static str {
        match self {
            Basis::Use => "use",
            Basis::Goal => "goal",
        }
    }
}

/// A limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub of: Of,
    /// The control group.
    pub group: Option<String>,
    pub bytes: u64,
    pub used: u64,
    /// Whether what the kernel can drop is left out of that; nothing of limits that are not its own.
    pub is_kept: Option<bool>,
    /// How that goes.
    pub course: Course,
    pub is_reached: bool,
    pub when: When,
    pub from: Basis,
}

impl Limit {
    /// Whether it is reached, or will be in so many seconds.
    pub fn is_near(&self, within: f64) -> bool {
        let is_soon = matches!(self.when, When::In { seconds, .. } if seconds <= within);
        self.is_reached || is_soon
    }

    fn order(&self) -> (bool, f64, Of) {
        let seconds = match self.when {
            _ if self.is_reached => -1.0,
            When::In { seconds, .. } => seconds,
            _ => f64::MAX,
        };
        (!self.of.is_end(), seconds, self.of)
    }
}

/// All limits, the most urgent first.
pub fn limits(readings: &[Figures]) -> Vec<Limit> {
    let Some(last) = readings.last() else { return Vec::new() };
    let mut found: Vec<Limit> =
        [group(readings, last), live(readings, last), mapped(readings, last)]
            .into_iter()
            .flatten()
            .collect();
    found.sort_by(|a, b| {
        let ((a, at, of), (b, bt, other)) = (a.order(), b.order());
        a.cmp(&b).then(at.total_cmp(&bt)).then(of.cmp(&other))
    });
    found
}

fn group(readings: &[Figures], last: &Figures) -> Option<Limit> {
    let now = last.group.as_ref()?;
    // Of one group, with one limit: a process that is moved, or a limit that is changed, begins anew.
    let is_other = |one: &Figures| {
        one.group.as_ref().is_none_or(|group| (&group.path, group.limit) != (&now.path, now.limit))
    };
    let since = readings.iter().rposition(is_other).map_or(0, |at| at + 1);
    let readings = &readings[since..];
    let used = series(readings, |one| Some(one.group.as_ref()?.kept() as f64));
    let course = Course::of(&used, By::Peaks, LEAST);
    let height = now.limit as f64;
    let is_reached = now.kept() as f64 >= REACHED * height;
    let (when, from) = sooner(readings, &course, height, now.kept());
    Some(Limit {
        of: Of::Group,
        group: Some(now.path.clone()),
        bytes: now.limit,
        used: now.kept(),
        is_kept: Some(now.droppable.is_some()),
        course,
        is_reached,
        when,
        from,
    })
}

fn live(readings: &[Figures], last: &Figures) -> Option<Limit> {
    let bytes = last.memory_limit?;
    let lasting = after_collections(readings, |one| Some(one.lasting() as f64));
    let course = Course::of(&lasting, By::Means, LEAST).as_of(last.at);
    let used = course.now.max(0.0) as u64;
    Some(Limit {
        of: Of::Live,
        group: None,
        bytes,
        used,
        is_kept: None,
        is_reached: used as f64 >= REACHED * bytes as f64,
        when: course.when(bytes as f64),
        course,
        from: Basis::Use,
    })
}

fn mapped(readings: &[Figures], last: &Figures) -> Option<Limit> {
    let bytes = last.memory_limit?;
    let used = series(readings, |one| Some(one.mapped() as f64));
    let course = Course::of(&used, By::Peaks, LEAST);
    let height = bytes as f64 * (1.0 - HEADROOM);
    let (when, from) = sooner(readings, &course, height, last.mapped());
    Some(Limit {
        of: Of::Mapped,
        group: None,
        bytes,
        used: last.mapped(),
        is_kept: None,
        is_reached: last.mapped() as f64 >= REACHED * height,
        course,
        when,
        from,
    })
}

/// When `used` has become `height`: by its own course, or, where that does not grow, by the goal's.
fn sooner(readings: &[Figures], course: &Course, height: f64, used: u64) -> (When, Basis) {
    let own = course.when(height);
    let last = readings.last().filter(|last| last.gogc.is_some() && !last.limit_binds);
    let (When::NotInSight { earliest }, Some(last)) = (own, last) else { return (own, Basis::Use) };
    let goals = after_collections(readings, |one| Some(one.goal? as f64));
    // So large a goal does not fit any more: what the heap has, and all that is left.
    let room = (height - used as f64).max(0.0);
    let most = (last.in_use + last.kept_idle()) as f64 + room;
    match Course::of(&goals, By::Means, LEAST).as_of(last.at).when(most) {
        found @ When::In { .. } => (found, Basis::Goal),
        When::NotInSight { earliest: other } => {
            let earliest = match (earliest, other) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            (When::NotInSight { earliest }, Basis::Use)
        }
        When::TooEarly => (own, Basis::Use),
    }
}
