//! Heap profiles over time, kept as what they say of each stack.
//!
//! In: profiles of one process, as of one collection after the other, made anew each time or not. Out: what
//! grew, by line and by stack. Stacks are told by their frames, so that profiles of live programs and of
//! recordings are the same; of a stack what changed is kept, not what did not.

use std::collections::HashMap;
use std::sync::Arc;

use super::Keeper;
use super::classes::Classes;
use super::judge::{Doubt, Point, Trend, Verdict, faded, judge_knowing};
use crate::profile::estimate::chance;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, FrameKind, INUSE_OBJECTS, INUSE_SPACE, LabelValue, LocationId,
    ProcessId, Profile, SPACE, Sample,
};

/// Part of what grew that other lines have to have let go of to explain it.
const REPLACED: f64 = 0.5;

/// A function at a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub function: Arc<str>,
    pub file: Arc<str>,
    pub line: u32,
    pub kind: FrameKind,
}

/// Something that grows.
#[derive(Clone, Debug)]
pub struct Grown {
    /// Where to look: the innermost line of the program's own code, else of the standard library.
    pub place: Place,
    /// The whole stack, innermost first; of several the one that grew most.
    pub stack: Vec<Place>,
    /// How many stacks lead there.
    pub stacks: usize,
    /// What keeps it, where a stack of the line tells that.
    pub keeper: Option<Keeper>,
    /// Bytes.
    pub trend: Trend,
    /// Bytes and objects at the end.
    pub live: f64,
    pub objects: f64,
}

/// Heap profiles of one process.
#[derive(Debug, Default)]
pub struct History {
    places: HashMap<Place, u32>,
    list: Vec<Place>,
    /// What locations of the last profile were, by number: their first function tells whether they still are.
    known: Vec<Option<Named>>,
    stacks: HashMap<Box<[u32]>, usize>,
    rows: Vec<Row>,
    looks: Vec<Look>,
    /// What the runtime counts by size, where that is known.
    classes: Classes,
}

/// A location's first function, and its places.
type Named = (Arc<str>, Box<[u32]>);

/// When, and what was made until then by all together.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: f64,
    made: f64,
}

#[derive(Debug, Default)]
struct Row {
    stack: Box<[u32]>,
    /// By the number of the look; what was the same is not told again.
    marks: Vec<(u32, Mark)>,
    /// Of the objects that took most of what is alive: how large each is.
    size: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mark {
    live: f64,
    objects: f64,
    made: f64,
    live_hits: f64,
    made_hits: f64,
}

/// The objects of one size that take most.
#[derive(Default)]
struct Largest {
    live: f64,
    size: u64,
}

impl Largest {
    fn see(&mut self, mark: &Mark) {
        if mark.live > self.live && mark.objects > 0.0 {
            *self = Self { live: mark.live, size: (mark.live / mark.objects).round() as u64 };
        }
    }
}

impl Mark {
    fn add(&mut self, other: &Mark) {
        self.live += other.live;
        self.objects += other.objects;
        self.made += other.made;
        self.live_hits += other.live_hits;
        self.made_hits += other.made_hits;
    }
}

/// Where in a profile's values what is needed is.
struct Columns {
    values: [usize; 4],
    period: u64,
}

impl Columns {
    fn of(profile: &Profile) -> Option<Self> {
        let kinds = [ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE];
        let found: Option<Vec<usize>> =
            kinds.iter().map(|kind| profile.value_of_kind(*kind)).collect();
        let period = profile.meta.period.filter(|period| period.of == SPACE);
        Some(Self { values: found?.try_into().ok()?, period: period.map_or(0, |p| p.length) })
    }

    fn mark(&self, profile: &Profile, sample: &Sample) -> Mark {
        let [made, made_bytes, objects, live] = self.values.map(|index| sample.value(index) as f64);
        let size = sample.labels.iter().find_map(|label| match label.value {
            LabelValue::Number(size) if profile.names.text(label.key) == "bytes" => Some(size),
            _ => None,
        });
        let size = size.unwrap_or_else(|| if made > 0.0 { (made_bytes / made) as u64 } else { 0 });
        let part = if self.period > 1 { chance(size, self.period) } else { 1.0 };
        let hits = |objects: f64| (objects * part).round();
        Mark { live, objects, made: made_bytes, live_hits: hits(objects), made_hits: hits(made) }
    }
}

impl History {
    /// Whether a profile tells what is needed: allocations and what is alive of them.
    pub fn takes(profile: &Profile) -> bool {
        Columns::of(profile).is_some()
    }

    /// Adds a profile, unless nothing of it is new: then no collection has ended since. `at` is in seconds.
    pub fn add(&mut self, at: f64, profile: &Profile, process: ProcessId) {
        let Some(columns) = Columns::of(profile) else { return };
        let mut by: HashMap<Box<[u32]>, (Mark, Largest)> = HashMap::new();
        let mut all = 0.0;
        for sample in profile.samples.iter().filter(|sample| sample.process == process) {
            let mark = columns.mark(profile, sample);
            all += mark.made;
            let (sum, largest) = by.entry(self.stack(profile, sample)).or_default();
            sum.add(&mark);
            largest.see(&mark);
        }
        let look = self.looks.len() as u32;
        let mut is_new = self.looks.is_empty();
        for (stack, (mark, largest)) in by {
            let number = *self.stacks.entry(stack).or_insert_with_key(|stack| {
                self.rows.push(Row { stack: stack.clone(), marks: Vec::new(), size: 0 });
                self.rows.len() - 1
            });
            let row = &mut self.rows[number];
            if largest.live > 0.0 {
                row.size = largest.size;
            }
            if row.marks.last().map_or(mark != Mark::default(), |(_, last)| *last != mark) {
                row.marks.push((look, mark));
                is_new = true;
            }
        }
        if is_new {
            self.looks.push(Look { at, made: all });
        }
    }

    /// Adds what the runtime itself counts at a moment: objects that are not freed, by the size of their class,
    /// ascending, and how many collections there were.
    pub fn count(&mut self, at: f64, cycle: u32, classes: impl Iterator<Item = (u64, u64)>) {
        self.classes.add(at, cycle, classes);
    }

    /// Profiles that told something new.
    pub fn looks(&self) -> usize {
        self.looks.len()
    }

    /// Seconds from the first of them to the last.
    pub fn span(&self) -> f64 {
        match self.looks[..] {
            [first, .., last] => last.at - first.at,
            _ => 0.0,
        }
    }

    /// Everything that grows: leaks first, what grew fastest before the rest.
    pub fn grown(&self) -> Vec<Grown> {
        let load: Vec<f64> = self.looks.iter().map(|look| look.made).collect();
        let mut by_line: HashMap<u32, Vec<usize>> = HashMap::new();
        for (number, row) in self.rows.iter().enumerate() {
            if let Some(place) = self.place(&row.stack) {
                by_line.entry(place).or_default().push(number);
            }
        }
        let faded: f64 = by_line.values().map(|rows| faded(&self.points(rows))).sum();
        let mut grown: Vec<Grown> =
            by_line.iter().filter_map(|(line, rows)| self.line(*line, rows, &load)).collect();
        // What was read at the start and is replaced as it changes is another line's then.
        for one in grown.iter_mut().filter(|one| faded > REPLACED * one.trend.grew) {
            one.trend.doubt(Doubt::Replaces);
        }
        grown.sort_by(|a, b| {
            let slope = |grown: &Grown| grown.trend.slope;
            (b.trend.verdict.cmp(&a.trend.verdict))
                .then(slope(b).total_cmp(&slope(a)))
                .then_with(|| a.place.function.cmp(&b.place.function))
                .then(a.place.line.cmp(&b.place.line))
        });
        grown
    }

    /// What is told of a line: of all its stacks together, or of one that leaks among others that do not.
    fn line(&self, line: u32, rows: &[usize], load: &[f64]) -> Option<Grown> {
        let growth = |row: &usize| {
            let points = self.points(&[*row]);
            points.last().map_or(0.0, |p| p.live) - points.first().map_or(0.0, |p| p.live)
        };
        let most = |rows: &[usize]| {
            let most = rows.iter().max_by(|a, b| growth(a).total_cmp(&growth(b)))?;
            Some(&self.rows[*most])
        };
        let told = |rows: &[usize]| {
            let points = self.points(rows);
            let slows = |trend: &Trend| {
                let size = most(rows)?.size;
                let from = points.first()?.at;
                self.classes.slow_down(size, trend.grew / size.max(1) as f64, from)
            };
            (judge_knowing(&points, load, slows), rows.to_vec())
        };
        let mut told_of = told(rows);
        if told_of.0.verdict != Verdict::Leak && rows.len() > 1 {
            let single = rows.iter().map(|row| told(&[*row])).max_by(|(a, _), (b, _)| {
                a.verdict.cmp(&b.verdict).then(a.slope.total_cmp(&b.slope))
            });
            told_of = single.filter(|(one, _)| one.verdict > told_of.0.verdict).unwrap_or(told_of);
        }
        let (trend, rows) = told_of;
        if !matches!(trend.verdict, Verdict::Leak | Verdict::Growing) {
            return None;
        }
        let stack = most(&rows)?.stack.iter().map(|id| self.list[*id as usize].clone());
        let mut keepers = rows.iter().filter_map(|row| {
            let places = self.rows[*row].stack.iter().map(|id| &self.list[*id as usize]);
            Keeper::of(places).filter(|_| growth(row) > 0.0)
        });
        let keeper = keepers.next();
        let mut last = Mark::default();
        for row in &rows {
            if let Some((_, mark)) = self.rows[*row].marks.last() {
                last.add(mark);
            }
        }
        Some(Grown {
            place: self.list[line as usize].clone(),
            stack: stack.collect(),
            stacks: rows.len(),
            keeper,
            trend,
            live: last.live,
            objects: last.objects,
        })
    }

    /// Several stacks together, at each look.
    fn points(&self, rows: &[usize]) -> Vec<Point> {
        let mut sums = vec![Mark::default(); self.looks.len()];
        for row in rows {
            let mut marks = self.rows[*row].marks.iter().peekable();
            let mut mark = Mark::default();
            for (look, sum) in (0_u32..).zip(&mut sums) {
                if let Some((_, new)) = marks.next_if(|(at, _)| *at == look) {
                    mark = *new;
                }
                sum.add(&mark);
            }
        }
        let point = |(look, sum): (&Look, &Mark)| Point {
            at: look.at,
            live: sum.live,
            made: sum.made,
            live_hits: sum.live_hits,
            made_hits: sum.made_hits,
        };
        self.looks.iter().zip(&sums).map(point).collect()
    }

    /// Where to look: the program's own code, else the standard library's. Nothing: the runtime is by itself.
    fn place(&self, stack: &[u32]) -> Option<u32> {
        let of = |kind| stack.iter().find(|id| self.list[**id as usize].kind == kind).copied();
        of(FrameKind::Program).or_else(|| of(FrameKind::Standard))
    }

    fn stack(&mut self, profile: &Profile, sample: &Sample) -> Box<[u32]> {
        let mut stack = Vec::with_capacity(sample.stack.len() + 4);
        for location in &sample.stack {
            stack.extend_from_slice(self.location(profile, *location));
        }
        stack.into_boxed_slice()
    }

    /// The places of a location.
    fn location(&mut self, profile: &Profile, id: LocationId) -> &[u32] {
        let index = id.0 as usize;
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        let frames = profile.locations.get(index).map_or(&[][..], |location| &location.frames);
        let function = frames.first().map(|frame| profile.names.shared(frame.function));
        let is_known = match (&self.known[index], function) {
            (Some((known, places)), Some(now)) => {
                Arc::ptr_eq(known, now) && places.len() == frames.len()
            }
            _ => false,
        };
        if !is_known {
            let places: Box<[u32]> = (frames.iter())
                .map(|frame| {
                    let place = Place {
                        function: Arc::clone(profile.names.shared(frame.function)),
                        file: Arc::clone(profile.names.shared(frame.file)),
                        line: frame.line,
                        kind: frame.kind,
                    };
                    *self.places.entry(place).or_insert_with_key(|place| {
                        self.list.push(place.clone());
                        self.list.len() as u32 - 1
                    })
                })
                .collect();
            self.known[index] = function.map(|function| (Arc::clone(function), places));
        }
        self.known[index].as_ref().map_or(&[], |(_, places)| places)
    }
}
