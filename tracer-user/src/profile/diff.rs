//! What changed between two profiles.
//!
//! In: two profiles, whoever made them, and what to go by. Out: every stack that one of them has, with what it had
//! before and after; what was found in one of them only is counted. Stacks are matched by what they say: functions,
//! files and lines, or functions alone, and command names where there are several. Neither addresses nor
//! process ids matter, so that two runs, and two builds, can be compared.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{
    Frame, FrameKind, Location, LocationId, Name, Period, Process, ProcessId, Profile, Sample,
    ValueType, Workload,
};
use crate::address::VAddr;

/// A kind of value in pprof's words, those that heaptap does not measure included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub kind: String,
    pub unit: String,
}

/// A profile of any origin.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What it is called.
    pub name: String,
    /// What [`Sample::values`] hold; the profile's own value types are not looked at.
    pub types: Vec<Kind>,
    /// Index in `types` of what is shown when only one value can be.
    pub default: usize,
    /// What is sampled, and how far two samples are apart.
    pub period: Option<(Kind, u64)>,
    /// What a file says of itself, line by line.
    pub comments: Vec<String>,
    pub profile: Profile,
}

/// How stacks are matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Functions, files and lines.
    #[default]
    Line,
    /// Functions alone, wherever they are.
    Function,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// In pprof's words; nothing: what the second one shows.
    pub value: Option<String>,
    pub by: By,
    /// Whether what happened before is scaled to as long a time as after.
    pub normalize: bool,
}

/// Two profiles, compared.
#[derive(Clone, Debug)]
pub struct Diff {
    /// All stacks of both, the largest change first. A sample's values are those before, then those after;
    /// its error is that of the change of `value`.
    pub all: Profile,
    /// What both have.
    pub types: Vec<Kind>,
    /// Index in `types` of what was asked for.
    pub value: usize,
    /// As of both: [`Measured::period`].
    pub period: Option<(Kind, u64)>,
    pub by: By,
    pub before: Side,
    pub after: Side,
    /// What values before were multiplied by: those that add up what happened.
    pub scaled: Option<f64>,
    /// Pairs of a stack that is gone and one that is new, which only differ in lines.
    pub moved: usize,
}

/// One of the two.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    /// How it was measured, and of whom; without its stacks.
    pub profile: Profile,
    /// Sums of [`Diff::types`], as they were before scaling.
    pub totals: Vec<u64>,
}

/// Why two can't be compared. Reads as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlike {
    #[error("{name} has no value {word}; it has {has}")]
    NoValue { name: String, word: String, has: String },
    #[error("can't be compared: {} was sampled {}, and {} {}", .before[0], .before[1], .after[0], .after[1])]
    Period { before: [String; 2], after: [String; 2] },
    #[error("--normalize: {name} does not say how long it measured")]
    NoDuration { name: String },
    #[error("--normalize: {kind} says what there is at a moment; that has no rate")]
    NoRate { kind: String },
}

fn period(of: Option<&(Kind, u64)>) -> String {
    match of {
        None => "at no rate".to_owned(),
        Some((of, length)) => format!("once in {length} {} of {}", of.unit, of.kind),
    }
}

impl Kind {
    pub fn new(kind: &str, unit: &str) -> Self {
        Self { kind: kind.to_owned(), unit: unit.to_owned() }
    }

    /// The one that heaptap measures, if it does.
    pub fn known(&self) -> Option<ValueType> {
        ValueType::known(&self.kind, &self.unit)
    }

    /// Whether it says what there is at a moment.
    pub fn is_level(&self) -> bool {
        self.known().map_or(self.kind.starts_with("inuse"), ValueType::is_level)
    }
}

impl Measured {
    /// One of heaptap's own.
    pub fn new(name: String, profile: Profile) -> Self {
        let kind = |of: &ValueType| Kind::new(of.kind, of.unit);
        let meta = &profile.meta;
        Self {
            name,
            types: meta.value_types.iter().map(kind).collect(),
            default: meta.default_value,
            period: meta.period.map(|Period { of, length }| (kind(&of), length)),
            comments: Vec::new(),
            profile,
        }
    }

    /// Where one of the values is.
    fn find(&self, word: &str) -> Result<usize, Unlike> {
        self.types.iter().position(|of| of.kind == word).ok_or_else(|| {
            let has: Vec<&str> = self.types.iter().map(|of| of.kind.as_str()).collect();
            Unlike::NoValue { name: self.name.clone(), word: word.to_owned(), has: has.join(", ") }
        })
    }
}

/// Which stacks changed how, and by how much together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub grown: Part,
    pub shrunk: Part,
    /// Of those that have grown: those that were not there before.
    pub new: Part,
    /// Of those that have shrunk: those that are not there any more.
    pub gone: Part,
    pub same: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub stacks: usize,
    /// Sum of what they have more or less.
    pub change: u64,
}

impl Part {
    fn add(&mut self, change: u64) {
        self.stacks += 1;
        self.change = self.change.saturating_add(change);
    }
}

impl Diff {
    /// Compares two profiles.
    ///
    /// # Errors
    /// They do not measure the same, or what was asked for is in neither.
    pub fn new(before: &Measured, after: &Measured, asked: &Asked) -> Result<Self, Unlike> {
        let shown = after.types.get(after.default).map(|of| of.kind.clone());
        let word = asked.value.clone().or(shown).unwrap_or_default();
        for one in [after, before] {
            one.find(&word)?;
        }
        let types: Vec<Kind> =
            after.types.iter().filter(|of| before.types.contains(of)).cloned().collect();
        let Some(value) = types.iter().position(|of| of.kind == word) else {
            // The same word for different units.
            let has = after.types.iter().map(|of| of.unit.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Unlike::NoValue { name: before.name.clone(), word, has });
        };
        if before.period != after.period {
            let [before, after] =
                [before, after].map(|one| [one.name.clone(), period(one.period.as_ref())]);
            return Err(Unlike::Period { before, after });
        }
        let scaled = match asked.normalize {
            true => Some(scale(before, after, &types[value])?),
            false => None,
        };
        let mut made = Made::new(&types, asked.by, after);
        made.with_comm = [before, after].iter().any(|one| comms(&one.profile) > 1);
        made.add(before, 0, scaled);
        made.add(after, 1, None);
        let (all, moved) = made.done(value);
        let one_period = after.period.clone();
        let side = |one: &Measured| Side {
            name: one.name.clone(),
            profile: without_stacks(&one.profile),
            totals: columns(&types, one).into_iter().map(|at| one.profile.total(at)).collect(),
        };
        let (before, after) = (side(before), side(after));
        let (period, by) = (one_period, asked.by);
        Ok(Self { all, types, value, period, by, before, after, scaled, moved })
    }

    /// What a stack had of what was asked for, before and after.
    pub fn of(&self, sample: &Sample) -> [u64; 2] {
        [sample.value(self.value), sample.value(self.types.len() + self.value)]
    }

    /// The same of all.
    pub fn totals(&self) -> [u64; 2] {
        [self.all.total(self.value), self.all.total(self.types.len() + self.value)]
    }

    /// The kind of what was asked for.
    pub fn kind(&self) -> &Kind {
        &self.types[self.value]
    }

    /// What became of stacks that have any of what was asked for.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for [before, after] in self.all.samples.iter().map(|sample| self.of(sample)) {
            let change = before.abs_diff(after);
            match (before, after) {
                (0, 0) => {}
                _ if change == 0 => tally.same += 1,
                _ if before < after => {
                    tally.grown.add(change);
                    if before == 0 {
                        tally.new.add(change);
                    }
                }
                _ => {
                    tally.shrunk.add(change);
                    if after == 0 {
                        tally.gone.add(change);
                    }
                }
            }
        }
        tally
    }
}

fn without_stacks(profile: &Profile) -> Profile {
    let mut made = Profile::new(profile.meta.clone());
    made.processes.clone_from(&profile.processes);
    made.binaries.clone_from(&profile.binaries);
    made
}

/// What to multiply values before by.
fn scale(before: &Measured, after: &Measured, kind: &Kind) -> Result<f64, Unlike> {
    if kind.is_level() {
        return Err(Unlike::NoRate { kind: kind.kind.clone() });
    }
    let length = |one: &Measured| match one.profile.meta.duration {
        Duration::ZERO => Err(Unlike::NoDuration { name: one.name.clone() }),
        length => Ok(length.as_secs_f64()),
    };
    Ok(length(after)? / length(before)?)
}

/// How many different command names there are.
fn comms(profile: &Profile) -> usize {
    profile.processes.iter().map(|process| &process.comm).collect::<HashSet<_>>().len()
}

/// Where in one of the two its values of these kinds are.
fn columns(types: &[Kind], of: &Measured) -> Vec<usize> {
    types.iter().filter_map(|kind| of.types.iter().position(|have| have == kind)).collect()
}

/// All stacks of both, in the making.
struct Made<'a> {
    types: &'a [Kind],
    by: By,
    with_comm: bool,
    all: Profile,
    places: HashMap<Vec<Frame>, LocationId>,
    /// By functions, files and lines.
    stacks: HashMap<Vec<(Name, Name, u32)>, usize>,
}

impl<'a> Made<'a> {
    fn new(types: &'a [Kind], by: By, after: &Measured) -> Self {
        let mut all = Profile::new(after.profile.meta.clone());
        all.meta.notes.clear();
        all.meta.counters.clear();
        all.binaries.push(super::Binary {
            path: String::new(),
            build_id: String::new(),
            text_start: VAddr(0),
            text_end: VAddr(0),
            text_offset: 0,
        });
        all.processes.push(Process {
            pid: 0,
            start_ticks: 0,
            comm: String::new(),
            container: None,
            workload: Workload::default(),
            binary: super::BinaryId(0),
            processes: 1,
            go_version: None,
            cost: None,
        });
        let (places, stacks) = (HashMap::new(), HashMap::new());
        Self { types, by, with_comm: false, all, places, stacks }
    }

    /// Adds one of the two: the first (0) or the second.
    fn add(&mut self, one: &Measured, side: usize, scale: Option<f64>) {
        let profile = &one.profile;
        let columns = columns(self.types, one);
        let scales: Vec<Option<f64>> =
            self.types.iter().map(|kind| scale.filter(|_| !kind.is_level())).collect();
        let mut places: Vec<Option<LocationId>> = vec![None; profile.locations.len()];
        let mut stack: Vec<LocationId> = Vec::new();
        for sample in &profile.samples {
            if columns.iter().all(|at| sample.value(*at) == 0) {
                continue;
            }
            stack.clear();
            for id in &sample.stack {
                let at = id.0 as usize;
                let place =
                    places[at].unwrap_or_else(|| self.place(profile, &profile.locations[at]));
                places[at] = Some(place);
                stack.push(place);
            }
            if self.with_comm {
                let comm = &profile.processes[sample.process.0 as usize].comm;
                stack.push(self.all.made_up(comm, FrameKind::Group));
            }
            let width = self.types.len();
            let at = self.sample(&stack, 2 * width);
            let into = &mut self.all.samples[at];
            for (value, from) in columns.iter().enumerate() {
                let measured = sample.value(*from);
                let measured = match scales[value] {
                    Some(scale) => (measured as f64 * scale).round() as u64,
                    None => measured,
                };
                let sum = &mut into.values[side * width + value];
                *sum = sum.saturating_add(measured);
                if !sample.error.is_empty() {
                    into.error.resize(width, 0.0);
                    let error = sample.error(*from) * scales[value].unwrap_or(1.0);
                    into.error[value] = into.error[value].hypot(error);
                }
            }
        }
    }

    /// The place with the frames of one of the two profiles.
    fn place(&mut self, profile: &Profile, place: &Location) -> LocationId {
        let frame = |frame: &Frame| {
            let function = self.all.names.intern(profile.names.text(frame.function));
            match self.by {
                By::Line => {
                    let file = self.all.names.intern(profile.names.text(frame.file));
                    Frame { function, file, ..*frame }
                }
                By::Function => Frame { function, file: Name(0), line: 0, start_line: 0, ..*frame },
            }
        };
        let frames: Vec<Frame> = place.frames.iter().map(frame).collect();
        let all = &mut self.all.locations;
        *self.places.entry(frames).or_insert_with_key(|frames| {
            all.push(Location {
                binary: None,
                address: VAddr(0),
                frames: frames.clone(),
                raw: None,
            });
            LocationId(all.len() as u32 - 1)
        })
    }

    /// Where the sample of a stack is: that of another stack with the same frames, however they are inlined.
    fn sample(&mut self, stack: &[LocationId], values: usize) -> usize {
        let frames = stack.iter().flat_map(|id| &self.all.locations[id.0 as usize].frames);
        let key = frames.map(|frame| (frame.function, frame.file, frame.line)).collect();
        let samples = &mut self.all.samples;
        *self.stacks.entry(key).or_insert_with(|| {
            samples.push(empty(stack.to_vec(), values));
            samples.len() - 1
        })
    }

    /// The profile in order, and how many stacks have only moved.
    fn done(self, value: usize) -> (Profile, usize) {
        let Self { types, by, mut all, .. } = self;
        let [before, after] = [value, types.len() + value];
        let mut samples = std::mem::take(&mut all.samples);
        let change = |sample: &Sample| sample.value(before).abs_diff(sample.value(after));
        samples.sort_by(|a, b| {
            (change(b).cmp(&change(a)))
                .then_with(|| b.value(after).cmp(&a.value(after)))
                .then_with(|| texts(&all, a).cmp(texts(&all, b)))
        });
        let mut moved = 0;
        if by == By::Line {
            let functions =
                |sample: &Sample| -> Vec<Name> { all.frames(sample).map(|f| f.function).collect() };
            let is_gone = |one: &&Sample| one.value(before) > 0 && one.value(after) == 0;
            let is_new = |one: &&Sample| one.value(before) == 0 && one.value(after) > 0;
            let mut gone: HashMap<Vec<Name>, usize> = HashMap::new();
            for sample in samples.iter().filter(is_gone) {
                *gone.entry(functions(sample)).or_default() += 1;
            }
            for sample in samples.iter().filter(is_new) {
                if let Some(left) = gone.get_mut(&functions(sample)).filter(|left| **left > 0) {
                    *left -= 1;
                    moved += 1;
                }
            }
        }
        all.samples = samples;
        (all, moved)
    }
}

fn texts<'a>(
    all: &'a Profile,
    sample: &'a Sample,
) -> impl Iterator<Item = (&'a str, &'a str, u32)> {
    let text = |name| all.names.text(name);
    all.frames(sample).map(move |frame| (text(frame.function), text(frame.file), frame.line))
}

fn empty(stack: Vec<LocationId>, values: usize) -> Sample {
    Sample {
        process: ProcessId(0),
        stack,
        values: vec![0; values],
        error: Vec::new(),
        go_type: None,
        leaf: None,
        labels: Vec::new(),
        ages: None,
        iterations: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Source;
    use crate::profile::build::Build;

    fn measured(name: &str, make: impl Fn(&mut Build, ProcessId)) -> Measured {
        let mut build = Build::new(Source::Exact);
        let process = build.process(if name == "a" { 7 } else { 8 }, "web", "go1.26.6");
        make(&mut build, process);
        Measured::new(name.to_owned(), build.done())
    }

    fn before() -> Measured {
        measured("a", |build, p| {
            build.stack(p, &["main.leak m.go:5", "main.main m.go:1"], 1, 100);
            build.stack(p, &["main.gone m.go:9", "main.main m.go:2"], 3, 300);
            build.stack(p, &["main.same m.go:8", "main.main m.go:3"], 2, 50);
        })
    }

    fn after() -> Measured {
        measured("b", |build, p| {
            build.stack(p, &["main.same m.go:8", "main.main m.go:3"], 2, 50);
            build.stack(p, &["main.leak m.go:5 0x99", "main.main m.go:1"], 4, 500);
            build.stack(p, &["main.leak m.go:5", "main.main m.go:1"], 6, 600);
            build.stack(p, &["main.gone m.go:10", "main.main m.go:2"], 1, 20);
            build.stack(p, &["main.new m.go:10", "main.main m.go:2"], 0, 0);
        })
    }

    fn told(diff: &Diff) -> Vec<(String, [u64; 2])> {
        let all = &diff.all;
        let name = |frame: &Frame| all.names.text(frame.function).to_owned();
        let leaf = |one: &Sample| all.frames(one).next().map(name).unwrap_or_default();
        all.samples.iter().map(|one| (leaf(one), diff.of(one))).collect()
    }

    #[test]
    fn stacks_are_matched_by_what_they_say() {
        let diff = Diff::new(&before(), &after(), &Asked::default()).unwrap();
        let expected = [
            ("main.leak".to_owned(), [100, 1100]),
            ("main.gone".to_owned(), [300, 0]),
            ("main.gone".to_owned(), [0, 20]),
            ("main.same".to_owned(), [50, 50]),
        ];
        assert_eq!(told(&diff), expected);
        assert_eq!(diff.totals(), [450, 1170]);
        let tally = diff.tally();
        assert_eq!(tally.grown, Part { stacks: 2, change: 1020 });
        assert_eq!(tally.new, Part { stacks: 1, change: 20 });
        assert_eq!((tally.shrunk, tally.gone), (Part { stacks: 1, change: 300 }, tally.shrunk));
        assert_eq!((tally.same, diff.moved), (1, 1));
    }

    #[test]
    fn by_function_lines_do_not_matter() {
        let asked = Asked { by: By::Function, ..Asked::default() };
        let diff = Diff::new(&before(), &after(), &asked).unwrap();
        assert_eq!(told(&diff)[1], ("main.gone".to_owned(), [300, 20]));
        assert_eq!((diff.all.samples.len(), diff.moved), (3, 0));
    }

    #[test]
    fn processes_are_told_apart_by_name_where_there_are_several() {
        let two = |name| {
            measured(name, |build, p| {
                let other = build.process(99, "job", "go1.26.6");
                build.stack(p, &["main.main m.go:1"], 1, 10);
                build.stack(other, &["main.main m.go:1"], 1, 30);
            })
        };
        let diff = Diff::new(&two("a"), &two("b"), &Asked::default()).unwrap();
        let outermost =
            |one: &Sample| diff.all.names.text(diff.all.frames(one).next_back().unwrap().function);
        let found: Vec<_> =
            diff.all.samples.iter().map(|one| (outermost(one), diff.of(one))).collect();
        assert_eq!(found, [("job", [30, 30]), ("web", [10, 10])]);
    }

    #[test]
    fn what_happened_in_different_times_is_scaled_when_asked() {
        let (before, mut after) = (before(), after());
        after.profile.meta.duration = Duration::from_secs(25);
        let asked = Asked { normalize: true, ..Asked::default() };
        let diff = Diff::new(&before, &after, &asked).unwrap();
        assert_eq!(diff.scaled, Some(2.5));
        assert_eq!(told(&diff)[0].1, [250, 1100]);
        assert_eq!((diff.before.totals[1], diff.totals()[0]), (450, 1125));
        let mut moment = before.clone();
        moment.profile.meta.duration = Duration::ZERO;
        let refused = Diff::new(&moment, &after, &asked).unwrap_err();
        assert_eq!(refused, Unlike::NoDuration { name: "a".to_owned() });
    }

    #[test]
    fn errors_of_both_are_that_of_the_change() {
        let one = |name, error| {
            measured(name, |build, p| {
                build.stack(p, &["main.a m.go:1"], 1, 10).error(1.0, error);
            })
        };
        let diff = Diff::new(&one("a", 3.0), &one("b", 4.0), &Asked::default()).unwrap();
        assert_eq!(diff.all.samples[0].error, [2f64.sqrt(), 5.0]);
    }

    #[test]
    fn what_is_not_the_same_is_not_compared() {
        let mut heap = after();
        heap.types = vec![Kind::new("inuse_space", "bytes")];
        heap.default = 0;
        let refused = Diff::new(&before(), &heap, &Asked::default()).unwrap_err().to_string();
        assert_eq!(refused, "a has no value inuse_space; it has alloc_objects, alloc_space");
        let asked = Asked { value: Some("cpu".to_owned()), ..Asked::default() };
        let refused = Diff::new(&before(), &after(), &asked).unwrap_err().to_string();
        assert_eq!(refused, "b has no value cpu; it has alloc_objects, alloc_space");
        let mut sampled = after();
        sampled.period = Some((Kind::new("space", "bytes"), 524_288));
        let refused = Diff::new(&before(), &sampled, &Asked::default()).unwrap_err().to_string();
        let text =
            "can't be compared: a was sampled at no rate, and b once in 524288 bytes of space";
        assert_eq!(refused, text);
    }
}
