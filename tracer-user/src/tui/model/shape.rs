//! A profile as tables and flame graphs need it: stacks of names, and their tree.
//!
//! In: a [`Profile`] and one of its values. Out: a [`Shape`]: names in their order, each different stack
//! once, a tree of calls, and how much each stack changed since the first one of its kind.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::output::stacks::Stacks;
use crate::profile::{FrameKind, Profile};

/// Frames of a stack that are kept: what it can hold by far.
const MAX_DEPTH: usize = 1000;

/// A name in stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub text: String,
    pub kind: Option<FrameKind>,
}

/// Values of stacks.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// In the order of their texts, each once.
    pub labels: Vec<Label>,
    /// Indices in `labels`, outermost first; and the value. In their order, none twice.
    pub stacks: Vec<(Vec<u32>, u64)>,
    pub total: u64,
    /// How it was measured, in one line.
    pub method: Option<String>,
    /// Sentences that one must know to read the numbers right.
    pub notes: Vec<String>,
}

/// A frame in the tree of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Index in [`Shape::labels`]; nothing for the root.
    pub label: Option<u32>,
    pub parent: usize,
    pub depth: usize,
    pub value: u64,
    /// Index behind its last descendant.
    pub end: usize,
}

/// What a table has in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub value: u64,
    /// Since the first shape of its kind; nothing when this is the first.
    pub change: Option<i128>,
    /// Indices in [`Shape::stacks`], with the largest value first.
    pub stacks: Vec<usize>,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Each different stack.
    Stack,
    /// All stacks that begin with the same name.
    Outermost,
}

impl Shape {
    pub fn new(profile: &Profile, value: usize) -> Self {
        let Stacks { labels, mut stacks } = Stacks::new(profile, value, str::to_owned);
        stacks.iter_mut().for_each(|(stack, _)| stack.truncate(MAX_DEPTH));
        let labels = labels.into_iter().map(|l| Label { text: l.text, kind: l.kind }).collect();
        let total = stacks.iter().map(|(_, value)| *value).fold(0, u64::saturating_add);
        let meta = &profile.meta;
        let lost = meta.counters.iter().filter(|counter| counter.is_loss);
        let lost = lost.map(|counter| format!("{} {}", counter.count, counter.help));
        let notes = meta.notes.iter().cloned().chain(lost).collect();
        Self { labels, stacks, total, method: meta.method.clone(), notes }
    }

    pub fn text(&self, label: u32) -> &str {
        self.labels.get(label as usize).map_or("", |label| &label.text)
    }

    /// All frames, each before those that it calls; siblings in the order of their names. The first is
    /// the whole.
    pub fn tree(&self) -> Vec<Node> {
        let root = Node { label: None, parent: 0, depth: 0, value: self.total, end: 0 };
        let mut nodes = vec![root];
        // The nodes of the stack before, from the root on.
        let mut open = vec![0];
        let mut before: &[u32] = &[];
        for (stack, value) in &self.stacks {
            let shared = before.iter().zip(stack).take_while(|(a, b)| a == b).count();
            let count = nodes.len();
            for closed in open.drain(shared + 1..) {
                nodes[closed].end = count;
            }
            for at in &open[1..] {
                nodes[*at].value = nodes[*at].value.saturating_add(*value);
            }
            for label in &stack[shared..] {
                let (parent, depth) = (open.last().copied().unwrap_or(0), open.len());
                open.push(nodes.len());
                nodes.push(Node { label: Some(*label), parent, depth, value: *value, end: 0 });
            }
            before = stack;
        }
        let count = nodes.len();
        open.into_iter().for_each(|closed| nodes[closed].end = count);
        nodes
    }

    /// Rows of a table with the largest value first. `first` is what changes are since.
    pub fn rows(&self, group: Group, first: Option<&Shape>) -> Vec<Row> {
        let mut rows = match group {
            Group::Stack => self.by_stack(first),
            Group::Outermost => self.by_outermost(first),
        };
        rows.sort_by_key(|row| Reverse(row.value));
        rows
    }

    fn by_stack(&self, first: Option<&Shape>) -> Vec<Row> {
        let before = first.map(|first| self.values_of(first));
        let row = |(at, (_, value)): (usize, &(Vec<u32>, u64))| {
            let before = before.as_ref().and_then(|before| before.get(at).copied());
            let change = before.map(|before| i128::from(*value) - i128::from(before));
            Row { value: *value, change, stacks: vec![at] }
        };
        self.stacks.iter().enumerate().map(row).collect()
    }

    fn by_outermost(&self, first: Option<&Shape>) -> Vec<Row> {
        let before = first.map(Shape::sums);
        let mut rows: HashMap<&str, Row> = HashMap::new();
        for (at, (stack, value)) in self.stacks.iter().enumerate() {
            let name = self.outermost(stack);
            let row = rows.entry(name).or_insert_with(|| {
                // With stacks that are not there any more.
                let before = before.as_ref().map(|sums| sums.get(name).copied().unwrap_or(0));
                let change = before.map(|before| -i128::from(before));
                Row { value: 0, change, stacks: Vec::new() }
            });
            row.value = row.value.saturating_add(*value);
            row.change = row.change.map(|change| change + i128::from(*value));
            row.stacks.push(at);
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
        for row in &mut rows {
            row.stacks.sort_by_key(|at| Reverse(self.stacks[*at].1));
        }
        // Equal ones are in the order of their names.
        rows.sort_by_key(|row| row.stacks.iter().min().copied());
        rows
    }

    fn outermost(&self, stack: &[u32]) -> &str {
        stack.first().map_or("", |label| self.text(*label))
    }

    fn sums(&self) -> HashMap<&str, u64> {
        let mut sums: HashMap<&str, u64> = HashMap::new();
        for (stack, value) in &self.stacks {
            let sum = sums.entry(self.outermost(stack)).or_default();
            *sum = sum.saturating_add(*value);
        }
        sums
    }

    /// What each of this shape's stacks had in another one; 0 for those that are not in it.
    fn values_of(&self, other: &Shape) -> Vec<u64> {
        // Both have their names in order, so that the other's stacks stay in theirs.
        let number = |label: &Label| {
            self.labels.binary_search_by(|own| own.text.as_str().cmp(&label.text)).ok()
        };
        let numbers: Vec<Option<u32>> =
            other.labels.iter().map(|label| number(label).map(|at| at as u32)).collect();
        let renamed = other.stacks.iter().filter_map(|(stack, value)| {
            let stack: Option<Vec<u32>> =
                stack.iter().map(|label| numbers.get(*label as usize).copied().flatten()).collect();
            Some((stack?, *value))
        });
        let mut renamed = renamed.peekable();
        let mut values = Vec::with_capacity(self.stacks.len());
        for (stack, _) in &self.stacks {
            while renamed.next_if(|(other, _)| other < stack).is_some() {}
            let same = renamed.next_if(|(other, _)| other == stack);
            values.push(same.map_or(0, |(_, value)| value));
        }
        values
    }
}

#[cfg(test)]
pub mod made {
    use super::*;

    /// Stacks as folded lines have them.
    pub fn shape(stacks: &[(&str, u64)]) -> Shape {
        let mut texts: Vec<&str> = stacks.iter().flat_map(|(stack, _)| stack.split(';')).collect();
        texts.sort_unstable();
        texts.dedup();
        let number = |text: &str| texts.binary_search(&text).unwrap() as u32;
        let mut found: Vec<(Vec<u32>, u64)> = stacks
            .iter()
            .map(|(stack, value)| (stack.split(';').map(number).collect(), *value))
            .collect();
        found.sort_unstable();
        let label = |text: &&str| Label {
            text: (*text).to_owned(),
            kind: Some(match text {
                text if text.starts_with("main.") => FrameKind::Program,
                text if text.starts_with("runtime.") => FrameKind::Runtime,
                _ => FrameKind::Standard,
            }),
        };
        Shape {
            labels: texts.iter().map(label).collect(),
            total: found.iter().map(|(_, value)| value).sum(),
            stacks: found,
            method: Some("made up".to_owned()),
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::made::shape;
    use super::*;

    fn names(shape: &Shape, row: &Row) -> String {
        let names: Vec<&str> =
            shape.stacks[row.stacks[0]].0.iter().map(|label| shape.text(*label)).collect();
        names.join(";")
    }

    #[test]
    fn a_tree_has_each_call_once_with_all_below_it() {
        let shape = shape(&[("main;a;b", 3), ("main;a", 1), ("main;c", 5), ("other", 2)]);
        let found: Vec<(&str, usize, u64, usize)> = shape
            .tree()
            .iter()
            .map(|n| (n.label.map_or("", |l| shape.text(l)), n.depth, n.value, n.end))
            .collect();
        assert_eq!(
            found,
            [
                ("", 0, 11, 6),
                ("main", 1, 9, 5),
                ("a", 2, 4, 4),
                ("b", 3, 3, 4),
                ("c", 2, 5, 5),
                ("other", 1, 2, 6),
            ]
        );
        assert_eq!(Shape::default().tree().len(), 1);
        let parents: Vec<usize> = shape.tree().iter().map(|n| n.parent).collect();
        assert_eq!(parents, [0, 0, 1, 2, 1, 0]);
    }

    #[test]
    fn rows_are_stacks_or_what_they_begin_with() {
        let shape = shape(&[("main;a", 3), ("main;b", 4), ("other", 5)]);
        let rows = shape.rows(Group::Stack, None);
        let found: Vec<_> = rows.iter().map(|r| (names(&shape, r), r.value, r.change)).collect();
        let expected = [("other", 5, None), ("main;b", 4, None), ("main;a", 3, None)]
            .map(|(name, v, c)| (name.to_owned(), v, c));
        assert_eq!(found, expected);
        let rows = shape.rows(Group::Outermost, None);
        assert_eq!(
            rows.iter().map(|r| (r.value, r.stacks.len())).collect::<Vec<_>>(),
            [(7, 2), (5, 1)]
        );
        assert_eq!(names(&shape, &rows[0]), "main;b", "its largest stack first");
    }

    #[test]
    fn changes_are_by_name_whatever_else_came_and_went() {
        let before = shape(&[("main;a", 3), ("main;gone", 9), ("zz", 1)]);
        let now = shape(&[("aa;main", 8), ("main;a", 10), ("main;b", 2), ("zz", 0)]);
        let rows = now.rows(Group::Stack, Some(&before));
        let found: Vec<_> =
            rows.iter().map(|r| (names(&now, r), r.change.unwrap_or_default())).collect();
        let expected = [("main;a", 7), ("aa;main", 8), ("main;b", 2), ("zz", -1)];
        assert_eq!(found, expected.map(|(name, change)| (name.to_owned(), change)));
        let groups = now.rows(Group::Outermost, Some(&before));
        assert_eq!(
            groups.iter().map(|r| r.change).collect::<Vec<_>>(),
            [Some(0), Some(8), Some(-1)]
        );
    }
}
