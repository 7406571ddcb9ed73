//! Stacks of function names: what folded lines and flame graphs are made of.
//!
//! In: a [`Profile`], one of its values and a way to show names. Out: each different stack once,
//! outermost frame first, as numbers of labels; labels and stacks are in the order of their texts.

use std::collections::HashMap;

use crate::profile::{Frame, FrameKind, Name, ProcessId, Profile, Sample};

/// A name and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Different labels have different texts.
    pub text: String,
    /// Nothing for a process.
    pub kind: Option<FrameKind>,
    /// File and line of the declaration, 0 when unknown; nothing when its frames do not agree.
    pub place: Option<(Name, u32)>,
}

/// What stacks have, and what of it makes a frame wide.
pub trait Weight: Copy + Default + Ord {
    fn width(self) -> u64;

    fn add(&mut self, more: Self);
}

impl Weight for u64 {
    fn width(self) -> u64 {
        self
    }

    fn add(&mut self, more: Self) {
        *self = self.saturating_add(more);
    }
}

/// What was there before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Both {
    pub before: u64,
    pub after: u64,
    /// Sum over stacks of the more of both.
    pub wide: u64,
}

impl Both {
    /// Of one stack.
    pub fn new([before, after]: [u64; 2]) -> Self {
        Self { before, after, wide: before.max(after) }
    }
}

impl Weight for Both {
    fn width(self) -> u64 {
        self.wide
    }

    fn add(&mut self, more: Self) {
        self.before = self.before.saturating_add(more.before);
        self.after = self.after.saturating_add(more.after);
        self.wide = self.wide.saturating_add(more.wide);
    }
}

/// Each different stack of `profile` that has any of the value.
pub struct Stacks<V = u64> {
    pub labels: Vec<Label>,
    /// Indices in `labels`, outermost first, never empty; and the value.
    pub stacks: Vec<(Vec<u32>, V)>,
}

impl Stacks {
    /// `show` makes the text of a label of a name; a stack without frames shows as no name does.
    pub fn new(profile: &Profile, value: usize, show: impl Fn(&str) -> String) -> Self {
        Self::of(profile, |sample| sample.value(value), show)
    }
}

impl<V: Weight> Stacks<V> {
    /// As [`Stacks::new`], with what `weigh` says of samples.
    pub fn of(
        profile: &Profile,
        weigh: impl Fn(&Sample) -> V,
        show: impl Fn(&str) -> String,
    ) -> Self {
        let mut names = Names { profile, show, labels: Vec::new(), by_text: HashMap::new() };
        let mut by_name: HashMap<Name, u32> = HashMap::new();
        let mut by_process: HashMap<ProcessId, u32> = HashMap::new();
        let mut stacks: Vec<(Vec<u32>, V)> = Vec::new();
        let all = profile.samples.iter().map(|sample| (sample, weigh(sample)));
        for (sample, weight) in all.filter(|(_, weight)| weight.width() > 0) {
            let mut stack = Vec::with_capacity(sample.stack.len() + 1);
            if profile.processes.len() > 1 {
                let label = by_process.entry(sample.process);
                stack.push(*label.or_insert_with(|| names.process(sample)));
            }
            for frame in profile.frames(sample).rev() {
                let label = by_name.entry(frame.function);
                let label = *label.or_insert_with(|| names.function(frame));
                names.agree(label, frame);
                stack.push(label);
            }
            if stack.is_empty() {
                stack.push(names.label("", Some(FrameKind::Unknown), None));
            }
            stacks.push((stack, weight));
        }
        let labels = in_order(names.labels, &mut stacks);
        let mut all = Self { labels, stacks };
        all.merge();
        all
    }

    /// Puts stacks in order, equal ones together.
    pub fn merge(&mut self) {
        self.stacks.sort_unstable();
        self.stacks.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1.add(next.1);
            }
            same
        });
    }
}

/// Sorts labels by text and renumbers stacks.
fn in_order<V>(labels: Vec<Label>, stacks: &mut [(Vec<u32>, V)]) -> Vec<Label> {
    let mut sorted: Vec<(u32, Label)> = (0..).zip(labels).collect();
    sorted.sort_by(|(_, a), (_, b)| a.text.cmp(&b.text));
    let mut new = vec![0; sorted.len()];
    for (at, (old, _)) in sorted.iter().enumerate() {
        new[*old as usize] = at as u32;
    }
    for label in stacks.iter_mut().flat_map(|(stack, _)| stack) {
        *label = new[*label as usize];
    }
    sorted.into_iter().map(|(_, label)| label).collect()
}

/// Labels in the making.
struct Names<'a, F> {
    profile: &'a Profile,
    show: F,
    labels: Vec<Label>,
    by_text: HashMap<String, u32>,
}

impl<F: Fn(&str) -> String> Names<'_, F> {
    fn process(&mut self, sample: &Sample) -> u32 {
        let process = &self.profile.processes[sample.process.0 as usize];
        self.label(&format!("{} ({})", process.comm, process.who()), None, None)
    }

    fn function(&mut self, frame: &Frame) -> u32 {
        let place = Some((frame.file, frame.start_line));
        self.label(self.profile.names.text(frame.function), Some(frame.kind), place)
    }

    /// The label of a name; names that show alike are one.
    fn label(&mut self, name: &str, kind: Option<FrameKind>, place: Option<(Name, u32)>) -> u32 {
        let text = (self.show)(name);
        *self.by_text.entry(text.clone()).or_insert_with(|| {
            self.labels.push(Label { text, kind, place });
            self.labels.len() as u32 - 1
        })
    }

    fn agree(&mut self, label: u32, frame: &Frame) {
        let place = &mut self.labels[label as usize].place;
        if *place != Some((frame.file, frame.start_line)) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;
    use crate::profile::Source;
    use crate::profile::build::Build;

    #[test]
    fn equal_stacks_are_one_and_all_is_in_order() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.c c.go:1", "main.b b.go:1"], 1, 5);
        build.stack(p, &["main.a a.go:1"], 1, 7);
        build.stack(p, &["main.c c.go:2", "main.b b.go:2"], 1, u64::MAX);
        build.stack(p, &["main.never a.go:1"], 1, 0);
        build.stack(p, &[], 1, 1);
        let Stacks { labels, stacks } = Stacks::new(&build.done(), 1, str::to_owned);
        let texts: Vec<_> = labels.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts, ["", "main.a", "main.b", "main.c"]);
        assert_eq!(stacks, [(vec![0], 1), (vec![1], 7), (vec![2, 3], u64::MAX)]);
    }

    #[test]
    fn a_place_is_known_only_when_there_is_one() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.a a.go:5:3", "main.b b.go:9:1"], 1, 1);
        build.stack(p, &["main.a a.go:7:3", "main.b other.go:9:1"], 1, 1);
        build.stack(p, &["main.b b.go:9:1"], 1, 1);
        let profile = build.done();
        let labels = Stacks::new(&profile, 1, str::to_owned).labels;
        let (file, line) = labels[0].place.unwrap();
        assert_eq!((profile.names.text(file), line), ("a.go", 3));
        assert_eq!(labels[1].place, None);
    }

    #[test]
    fn processes_are_outermost_when_there_are_several() {
        let Stacks { labels, stacks } = Stacks::new(&sample::fleet(), 1, str::to_owned);
        let outermost: Vec<_> = stacks.iter().map(|(s, _)| &labels[s[0] as usize]).collect();
        let texts: Vec<_> = outermost.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts, ["web (41)", "worker (77)", "worker (78)"]);
        assert!(outermost.iter().all(|l| l.kind.is_none()));
    }

    #[test]
    fn names_that_show_alike_are_one_label() {
        let Stacks { labels, stacks } = Stacks::new(&sample::hostile(), 1, |_| "same".to_owned());
        assert_eq!((labels.len(), stacks.len()), (1, 2), "of one frame and of two");
    }
}
