//! Merging equal stacks and ranking them. In: a [`Profile`]. Out: the same with fewer samples, or
//! its samples in an order that depends on nothing but what they say.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::{
    Ages, Frame, FrameKind, Iterations, Label, LabelValue, LocationId, Name, ProcessId, Profile,
    Sample, ValueType, ages,
};

/// A frame of one [`Ranking`]; ordered as [`Profile::ranked`] orders equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(u32);

/// Stacks as a reader sees them, and their frames. A frame is many times larger than its id, and
/// there are millions of frames in thousands of stacks.
#[derive(Clone, Debug)]
pub struct Ranking {
    frames: Vec<Frame>,
    /// With the largest value first.
    pub stacks: Vec<Ranked>,
}

impl Ranking {
    /// The frame behind an id.
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }
}

/// All samples of one process that look the same to a reader: same functions, files and lines.
#[derive(Clone, Debug)]
pub struct Ranked {
    pub process: ProcessId,
    /// Innermost first, inlined calls included.
    pub frames: Vec<FrameId>,
    /// As in [`Sample::values`].
    pub values: Vec<u64>,
    /// As in [`Sample::error`].
    pub error: Vec<f64>,
    /// As in [`Sample::ages`].
    pub ages: Option<Box<Ages>>,
    /// As in [`Sample::iterations`].
    pub iterations: Option<Box<Iterations>>,
}

impl Ranked {
    /// Adds the values, of these types, of another stack to this one's.
    pub fn absorb(&mut self, other: &Ranked, types: &[ValueType]) {
        add_values(&mut self.values, &other.values);
        add_errors(&mut self.error, &other.error, types);
        ages::add(&mut self.ages, &other.ages, Ages::add);
        ages::add(&mut self.iterations, &other.iterations, Iterations::add);
    }
}

/// All samples in which one type was allocated.
#[derive(Clone, Debug)]
pub struct RankedType {
    /// Nothing for allocations without a type.
    pub go_type: Option<Name>,
    /// As in [`Sample::values`].
    pub values: Vec<u64>,
    /// As in [`Sample::error`].
    pub error: Vec<f64>,
}

impl Profile {
    /// Adds up samples of the same process, stack, type and labels; they keep the place of the first.
    pub fn merge_equal(&mut self) {
        type Key = (ProcessId, Option<Name>, Vec<LocationId>, Vec<Label>);
        let mut seen: HashMap<Key, usize> = HashMap::new();
        let mut merged: Vec<Sample> = Vec::new();
        for mut sample in self.samples.drain(..) {
            let stack = std::mem::take(&mut sample.stack);
            let labels = std::mem::take(&mut sample.labels);
            let key = (sample.process, sample.go_type, stack, labels);
            match seen.get(&key) {
                Some(&at) => {
                    add_values(&mut merged[at].values, &sample.values);
                    add_errors(&mut merged[at].error, &sample.error, &self.meta.value_types);
                    let kept = &mut merged[at];
                    ages::add(&mut kept.ages, &sample.ages, Ages::add);
                    ages::add(&mut kept.iterations, &sample.iterations, Iterations::add);
                }
                None => {
                    seen.insert(key, merged.len());
                    merged.push(sample);
                }
            }
        }
        for ((_, _, stack, labels), at) in seen {
            (merged[at].stack, merged[at].labels) = (stack, labels);
        }
        self.samples = merged;
    }

    /// Samples with the largest `value` first; equal ones in the order of process, stack and type.
    pub fn sorted(&self, value: usize) -> Vec<&Sample> {
        let mut samples: Vec<&Sample> = self.samples.iter().collect();
        samples.sort_by(|a, b| {
            (b.value(value).cmp(&a.value(value)))
                .then(a.process.cmp(&b.process))
                .then_with(|| self.compare_frames(self.frames(a), self.frames(b)))
                .then_with(|| self.addresses(a).cmp(self.addresses(b)))
                .then_with(|| self.type_text(a.go_type).cmp(&self.type_text(b.go_type)))
                .then_with(|| self.label_texts(a).cmp(self.label_texts(b)))
                .then_with(|| b.values.cmp(&a.values))
        });
        samples
    }

    /// Stacks as a reader sees them, with the largest `value` first; stable like [`Self::sorted`]. Those
    /// that have nothing of it are left out.
    pub fn ranked(&self, value: usize) -> Ranking {
        let looks = self.looks();
        let hasher = RandomState::new();
        let mut stack: Vec<u32> = Vec::new();
        // Most samples of a heap may have nothing in use: what tells stacks apart is cheaper than a
        // group for each. Two with one mark by chance only cost that.
        let mut marks = Vec::with_capacity(self.samples.len());
        let mut shown = HashSet::new();
        for sample in &self.samples {
            looks.stack(sample, &mut stack);
            let mark = hasher.hash_one((sample.process, &stack[..]));
            if sample.value(value) > 0 {
                shown.insert(mark);
            }
            marks.push(mark);
        }
        let mut groups: HashMap<(ProcessId, Vec<u32>), Sum> = HashMap::new();
        for (sample, _) in self.samples.iter().zip(marks).filter(|(_, mark)| shown.contains(mark)) {
            looks.stack(sample, &mut stack);
            groups
                .entry((sample.process, stack.clone()))
                .or_default()
                .add(sample, &self.meta.value_types);
        }
        groups.retain(|_, sum| sum.values.get(value).is_some_and(|value| *value > 0));
        let stacks = groups.into_iter().map(|((process, frames), sum)| {
            let Sum { values, error, ages, iterations } = sum;
            let frames = frames.into_iter().map(FrameId).collect();
            Ranked { process, frames, values, error, ages, iterations }
        });
        let mut stacks: Vec<Ranked> = stacks.collect();
        stacks.sort_by(|a, b| {
            by_value(&a.values, &b.values, value)
                .then(a.process.cmp(&b.process))
                .then_with(|| a.frames.cmp(&b.frames))
        });
        Ranking { frames: looks.frames, stacks }
    }

    /// Types with the largest `value` first; equal ones by name.
    pub fn ranked_types(&self, value: usize) -> Vec<RankedType> {
        let mut groups: HashMap<Option<Name>, Sum> = HashMap::new();
        for sample in &self.samples {
            groups.entry(sample.go_type).or_default().add(sample, &self.meta.value_types);
        }
        let ranked = groups.into_iter().map(|(go_type, sum)| {
            let Sum { values, error, .. } = sum;
            RankedType { go_type, values, error }
        });
        let mut ranked: Vec<RankedType> = ranked.collect();
        ranked.sort_by(|a, b| {
            by_value(&a.values, &b.values, value)
                .then_with(|| self.type_text(a.go_type).cmp(&self.type_text(b.go_type)))
        });
        ranked
    }

    /// What the locations of all samples look like.
    fn looks(&self) -> Looks {
        let mut used = vec![false; self.locations.len()];
        for sample in &self.samples {
            for location in &sample.stack {
                used[location.0 as usize] = true;
            }
        }
        let locations =
            || self.locations.iter().zip(&used).map(|(location, used)| (location, *used));
        let frames =
            locations().filter(|(_, used)| *used).flat_map(|(location, _)| &location.frames);
        let all: HashSet<Frame> = frames.copied().collect();
        let mut frames: Vec<Frame> = all.into_iter().collect();
        frames.sort_by(|a, b| self.frame_order(a).cmp(&self.frame_order(b)));
        let ids = frames.iter().enumerate().map(|(at, frame)| (*frame, at as u32));
        let ids: HashMap<Frame, u32> = ids.collect();
        let (mut of, mut ends) = (Vec::new(), Vec::with_capacity(self.locations.len()));
        for (location, used) in locations() {
            let shown = location.frames.iter().filter(|_| used);
            of.extend(shown.filter_map(|frame| ids.get(frame).copied()));
            ends.push(of.len());
        }
        Looks { frames, of, ends }
    }

    fn compare_frames<'a>(
        &'a self,
        a: impl Iterator<Item = &'a Frame>,
        b: impl Iterator<Item = &'a Frame>,
    ) -> Ordering {
        a.map(|f| self.frame_order(f)).cmp(b.map(|f| self.frame_order(f)))
    }

    fn frame_order(&self, frame: &Frame) -> (&str, &str, u32, u32, FrameKind) {
        let text = |name| self.names.text(name);
        (text(frame.function), text(frame.file), frame.line, frame.start_line, frame.kind)
    }

    fn addresses<'a>(&'a self, sample: &'a Sample) -> impl Iterator<Item = u64> + 'a {
        sample.stack.iter().map(|id| self.locations[id.0 as usize].address.0)
    }

    fn label_texts<'a>(
        &'a self,
        sample: &'a Sample,
    ) -> impl Iterator<Item = (&'a str, &'a str, u64)> + 'a {
        sample.labels.iter().map(|label| {
            let (text, number) = match label.value {
                LabelValue::Text(name) => (self.names.text(name), 0),
                LabelValue::Number(number) => ("", number),
            };
            (self.names.text(label.key), text, number)
        })
    }

    fn type_text(&self, name: Option<Name>) -> Option<&str> {
        name.map(|name| self.names.text(name))
    }
}

/// Frames of locations, each that says the same once.
struct Looks {
    /// In the order of what they say.
    frames: Vec<Frame>,
    /// Indices in `frames`, of one location after the other.
    of: Vec<u32>,
    /// Where those of each location end.
    ends: Vec<usize>,
}

impl Looks {
    /// Fills in the frames of a sample.
    fn stack(&self, sample: &Sample, into: &mut Vec<u32>) {
        into.clear();
        for location in &sample.stack {
            let at = location.0 as usize;
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            into.extend_from_slice(&self.of[start..self.ends[at]]);
        }
    }
}

/// Values of several samples added up.
#[derive(Default)]
struct Sum {
    values: Vec<u64>,
    error: Vec<f64>,
    ages: Option<Box<Ages>>,
    iterations: Option<Box<Iterations>>,
}

impl Sum {
    fn add(&mut self, sample: &Sample, types: &[ValueType]) {
        add_values(&mut self.values, &sample.values);
        add_errors(&mut self.error, &sample.error, types);
        ages::add(&mut self.ages, &sample.ages, Ages::add);
        ages::add(&mut self.iterations, &sample.iterations, Iterations::add);
    }
}

fn by_value(a: &[u64], b: &[u64], value: usize) -> Ordering {
    b.get(value).cmp(&a.get(value))
}

fn add_values(to: &mut Vec<u64>, from: &[u64]) {
    to.resize(to.len().max(from.len()), 0);
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.saturating_add(*from);
    }
}

/// Errors of allocations add up as squares, as those of independent estimates do. Stacks that share spans move
/// against each other (see [`super::estimate`]), so the true error of their sum is not larger. What time
/// alone tells moves together: a window in a burst met all of them.
fn add_errors(to: &mut Vec<f64>, from: &[f64], types: &[ValueType]) {
    to.resize(to.len().max(from.len()), 0.0);
    for (at, (to, from)) in to.iter_mut().zip(from).enumerate() {
        let divides = types.get(at).is_none_or(|of| of.divides());
        *to = if divides { to.hypot(*from) } else { *to + *from };
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::build::Build;
    use crate::profile::{ALLOC_SPACE, BOX_VALUES, Profile, Source};

    fn leaf<'a>(profile: &'a Profile, frame: &crate::profile::Frame) -> &'a str {
        profile.names.text(frame.function)
    }

    #[test]
    fn equal_stacks_are_merged_and_their_errors_add_up_as_squares() {
        let mut build = Build::new(Source::Span);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 2, 30).error(3.0, 30.0);
        build.stack(process, &["main.b main.go:2"], 1, 10).error(1.0, 10.0);
        build.stack(process, &["main.a main.go:1"], 5, 70).error(4.0, 40.0);
        let mut profile = build.done();
        profile.merge_equal();
        assert_eq!(profile.samples.len(), 2);
        assert_eq!(profile.samples[0].values, [7, 100]);
        assert_eq!(profile.samples[0].error, [5.0, 50.0]);
        assert_eq!(profile.samples[0].stack.len(), 1);
        assert_eq!(profile.total(1), 110);
    }

    #[test]
    fn errors_of_what_is_scaled_by_time_add_up_as_they_are() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 2, 30).error(3.0, 30.0);
        build.stack(process, &["main.a main.go:1"], 5, 70).error(4.0, 40.0);
        let mut profile = build.done();
        profile.meta.value_types = vec![BOX_VALUES, ALLOC_SPACE];
        profile.merge_equal();
        assert_eq!(profile.samples[0].error, [7.0, 50.0]);
    }

    #[test]
    fn labels_keep_equal_stacks_apart_but_for_a_reader() {
        let mut build = Build::new(Source::Records);
        let process = build.process(1, "server", "go1.26.6");
        for (size, objects) in [(64, 1), (16, 2), (64, 4)] {
            build.stack(process, &["main.a main.go:1"], objects, 10).label("bytes", size);
        }
        let mut profile = build.done();
        profile.merge_equal();
        let values: Vec<_> =
            profile.samples.iter().map(|s| (s.values[0], s.labels.len())).collect();
        assert_eq!(values, [(5, 1), (2, 1)]);
        assert_eq!(profile.ranked(0).stacks[0].values, [7, 30]);
    }

    #[test]
    fn processes_and_types_keep_equal_stacks_apart() {
        let mut build = Build::new(Source::Exact);
        let one = build.process(1, "server", "go1.26.6");
        let two = build.process(2, "server", "go1.26.6");
        build.stack(one, &["main.a main.go:1"], 1, 1).go_type("int");
        build.stack(one, &["main.a main.go:1"], 1, 1).go_type("string");
        build.stack(two, &["main.a main.go:1"], 1, 1).go_type("int");
        let mut profile = build.done();
        profile.merge_equal();
        assert_eq!(profile.samples.len(), 3);
        assert_eq!(profile.ranked(0).stacks.len(), 2, "a reader sees no types");
        let types = profile.ranked_types(0);
        assert_eq!(types[0].values, [2, 2]);
        assert_eq!(profile.names.text(types[0].go_type.unwrap()), "int");
    }

    #[test]
    fn the_largest_comes_first_and_equal_values_go_by_name() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.c main.go:3"], 9, 5);
        build.stack(process, &["main.b main.go:2"], 1, 5);
        build.stack(process, &["main.a main.go:1"], 1, 5);
        build.stack(process, &["main.d main.go:4"], 1, 50);
        let profile = build.done();
        let names = |value| -> Vec<_> {
            let ranking = profile.ranked(value);
            let leaves = ranking.stacks.iter().map(|r| ranking.frame(r.frames[0]));
            leaves.map(|frame| leaf(&profile, frame)).collect()
        };
        assert_eq!(names(1), ["main.d", "main.a", "main.b", "main.c"]);
        assert_eq!(names(0), ["main.c", "main.a", "main.b", "main.d"]);
        let sorted: Vec<_> = profile
            .sorted(1)
            .iter()
            .map(|s| leaf(&profile, profile.frames(s).next().unwrap()))
            .collect();
        assert_eq!(sorted, ["main.d", "main.a", "main.b", "main.c"]);
    }

    #[test]
    fn stacks_without_any_are_left_out_and_parts_without_any_are_not() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 1, 0);
        build.stack(process, &["main.b main.go:2"], 2, 0);
        build.stack(process, &["main.a main.go:1 0x99"], 4, 20);
        let ranking = build.done().ranked(1);
        let values: Vec<_> = ranking.stacks.iter().map(|stack| &stack.values[..]).collect();
        assert_eq!(values, [[5, 20]]);
    }

    #[test]
    fn two_addresses_of_one_line_are_one_stack_to_a_reader() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 1, 10);
        build.stack(process, &["main.a main.go:1 0x99"], 2, 20);
        let mut profile = build.done();
        profile.merge_equal();
        assert_eq!(profile.samples.len(), 2);
        assert_eq!(profile.ranked(0).stacks[0].values, [3, 30]);
    }
}
