//! The call tree behind a flame graph. In: a [`Profile`]. Out: lines for inferno, few enough to
//! draw, in an order that keeps each frame in one piece, and what is known of each name.
//!
//! inferno sorts lines as text, which tears `main.f` in two when `main.f` allocates itself, calls
//! something and has a sibling `main.f.func1` (`.` sorts between space and `;`). So the order is
//! made here, by whole names.

use std::collections::HashMap;

use crate::output::text::{keep_end, printable};
use crate::profile::{FrameKind, Name, Profile, Sample};

/// Stand for `;` and white space within a name while it goes through inferno, which splits at
/// them. [`printable`] lets no such character of a name through.
pub const SEMICOLON: char = '\u{e000}';
pub const SPACE: char = '\u{e001}';

/// Longer names keep their end.
const MAX_NAME: usize = 1000;

/// Frames drawn of one stack: what a stack can hold (128, and inlined calls) by far, so that only
/// a hostile binary's inline table is cut.
const MAX_DEPTH: usize = 1000;

/// A node below this share of the whole would be narrower than an eighth of a pixel.
const MIN_SHARE: f64 = 0.0001;

/// A name in the picture.
pub struct Label {
    /// As inferno gets it; different labels have different texts.
    pub text: String,
    /// Nothing for a process.
    pub kind: Option<FrameKind>,
    /// File and line of the declaration, as far as it is known and only one.
    pub place: Option<String>,
}

struct Node {
    label: usize,
    total: u64,
    own: u64,
    children: Vec<usize>,
}

/// Samples merged by function name, from the outermost frame inwards.
pub struct Tree {
    pub labels: Vec<Label>,
    /// The first one is the whole.
    nodes: Vec<Node>,
    /// Values are divided by two to this power: their sum stays exact in a browser's numbers.
    shift: u32,
}

impl Tree {
    pub fn new(profile: &Profile, value: usize) -> Self {
        let sum: u128 = profile.samples.iter().map(|s| u128::from(s.value(value))).sum();
        let shift = (u128::BITS - sum.leading_zeros()).saturating_sub(53);
        let mut grow = Grow::new(profile);
        for sample in &profile.samples {
            grow.add(sample, sample.value(value) >> shift);
        }
        grow.name_places();
        let Grow { labels, mut nodes, .. } = grow;
        prune(&mut nodes);
        for at in 0..nodes.len() {
            let mut children = std::mem::take(&mut nodes[at].children);
            children.sort_by_key(|child| &labels[nodes[*child].label].text);
            nodes[at].children = children;
        }
        Self { labels, nodes, shift }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.nodes[0].total == 0
    }

    /// What one unit of a line's value stands for.
    pub fn factor(&self) -> f64 {
        (1u64 << self.shift) as f64
    }

    /// `root;…;leaf value`, depth first, siblings by name.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut path = String::new();
        // Node, and how much of the path is its parent's.
        let mut open: Vec<(usize, usize)> = vec![(0, 0)];
        while let Some((at, parent)) = open.pop() {
            let node = &self.nodes[at];
            path.truncate(parent);
            if at > 0 {
                if parent > 0 {
                    path.push(';');
                }
                path.push_str(&self.labels[node.label].text);
            }
            if node.own > 0 && at > 0 {
                lines.push(format!("{path} {}", node.own));
            }
            open.extend(node.children.iter().rev().map(|child| (*child, path.len())));
        }
        lines
    }

    /// Kinds that are drawn, in the order of [`FrameKind::ALL`].
    pub fn kinds(&self) -> Vec<FrameKind> {
        let mut drawn = Vec::new();
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            drawn.extend(self.labels.get(self.nodes[at].label).and_then(|l| l.kind));
            open.extend(&self.nodes[at].children);
        }
        FrameKind::ALL.into_iter().filter(|kind| drawn.contains(kind)).collect()
    }
}

/// Gives what is too narrow to its caller.
fn prune(nodes: &mut [Node]) {
    let least = (nodes[0].total as f64 * MIN_SHARE) as u64;
    for at in 0..nodes.len() {
        let children = std::mem::take(&mut nodes[at].children);
        let (kept, narrow): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| nodes[*child].total > least);
        // The whole is no frame: what it calls stays.
        if at == 0 {
            nodes[at].children = kept.into_iter().chain(narrow).collect();
            continue;
        }
        let given: u64 = narrow.iter().map(|child| nodes[*child].total).sum();
        nodes[at].own += given;
        nodes[at].children = kept;
    }
}

/// A [`Tree`] in the making.
struct Grow<'a> {
    profile: &'a Profile,
    labels: Vec<Label>,
    nodes: Vec<Node>,
    by_text: HashMap<String, usize>,
    by_name: HashMap<Name, usize>,
    children: HashMap<(usize, usize), usize>,
    /// File and line of each label; nothing when its frames do not agree.
    places: HashMap<usize, Option<(Name, u32)>>,
}

impl<'a> Grow<'a> {
    fn new(profile: &'a Profile) -> Self {
        let whole = Node { label: usize::MAX, total: 0, own: 0, children: Vec::new() };
        Self {
            profile,
            labels: Vec::new(),
            nodes: vec![whole],
            by_text: HashMap::new(),
            by_name: HashMap::new(),
            children: HashMap::new(),
            places: HashMap::new(),
        }
    }

    fn add(&mut self, sample: &Sample, value: u64) {
        if value == 0 {
            return;
        }
        let mut at = 0;
        self.nodes[0].total += value;
        if self.profile.processes.len() > 1 {
            let process = &self.profile.processes[sample.process.0 as usize];
            let text = format!("{} ({})", process.comm, process.pid);
            let label = self.label(&text, None);
            at = self.step(at, label, value);
        }
        for frame in self.profile.frames(sample).rev().take(MAX_DEPTH) {
            let label = match self.by_name.get(&frame.function) {
                Some(label) => *label,
                None => {
                    let text = self.profile.names.text(frame.function);
                    let label = self.label(text, Some(frame.kind));
                    self.by_name.insert(frame.function, label);
                    label
                }
            };
            self.place(label, frame.file, frame.start_line);
            at = self.step(at, label, value);
        }
        if at == 0 {
            let label = self.label("[no frames]", Some(FrameKind::Unknown));
            at = self.step(at, label, value);
        }
        self.nodes[at].own += value;
    }

    fn step(&mut self, parent: usize, label: usize, value: u64) -> usize {
        let nodes = &mut self.nodes;
        let at = *self.children.entry((parent, label)).or_insert_with(|| {
            nodes.push(Node { label, total: 0, own: 0, children: Vec::new() });
            let at = nodes.len() - 1;
            nodes[parent].children.push(at);
            at
        });
        nodes[at].total += value;
        at
    }

    fn label(&mut self, name: &str, kind: Option<FrameKind>) -> usize {
        let text = safe(name);
        if let Some(at) = self.by_text.get(&text) {
            return *at;
        }
        let at = self.labels.len();
        self.by_text.insert(text.clone(), at);
        self.labels.push(Label { text, kind, place: None });
        at
    }

    fn place(&mut self, label: usize, file: Name, line: u32) {
        let place = self.places.entry(label).or_insert(Some((file, line)));
        if *place != Some((file, line)) {
            *place = None;
        }
    }

    /// Writes down the place of each label whose frames all agree on one.
    fn name_places(&mut self) {
        for (label, place) in &self.places {
            let Some((file, line)) = place.filter(|(file, _)| *file != Name(0)) else {
                continue;
            };
            let path = printable(self.profile.names.text(file)).into_owned();
            let text = if line == 0 { path } else { format!("{path}:{line}") };
            self.labels[*label].place = Some(text);
        }
    }
}

/// A name that inferno takes as it is.
fn safe(name: &str) -> String {
    let shown = printable(name);
    let shown = if shown.trim().is_empty() { "[unnamed]".into() } else { shown };
    keep_end(&shown, MAX_NAME)
        .chars()
        .map(|c| match c {
            ';' => SEMICOLON,
            c if c.is_whitespace() => SPACE,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;
    use crate::profile::Source;
    use crate::profile::build::Build;

    #[test]
    fn a_frame_stays_in_one_piece() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.g", "main.f"], 1, 3);
        build.stack(p, &["main.f.func1"], 1, 2);
        build.stack(p, &["main.f"], 1, 1);
        let lines = Tree::new(&build.done(), 1).lines();
        assert_eq!(lines, ["main.f 1", "main.f;main.g 3", "main.f.func1 2"]);
    }

    #[test]
    fn what_is_too_narrow_goes_to_its_caller_and_the_sum_stays() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.big", "main.main"], 1, 1_000_000);
        for at in 0..50 {
            build.stack(p, &[&format!("main.small{at}"), "main.main"], 1, 10);
        }
        build.stack(p, &["main.alone"], 1, 10);
        let tree = Tree::new(&build.done(), 1);
        let expected = ["main.alone 10", "main.main 500", "main.main;main.big 1000000"];
        assert_eq!(tree.lines(), expected);
    }

    #[test]
    fn sums_beyond_a_browsers_numbers_are_scaled() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.a"], 1, u64::MAX);
        build.stack(p, &["main.b"], 1, u64::MAX);
        let tree = Tree::new(&build.done(), 1);
        assert_eq!(tree.factor(), 4096.0);
        let sum: u64 = tree
            .lines()
            .iter()
            .map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert!(sum < 1 << 53);
    }

    #[test]
    fn processes_are_roots_when_there_are_several() {
        let lines = Tree::new(&sample::fleet(), 1).lines();
        let space = SPACE;
        assert!(lines[0].starts_with(&format!("web{space}(41);main.page;bytes.growSlice ")));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn lines_hold_no_separator_of_a_name() {
        for line in Tree::new(&sample::hostile(), 1).lines() {
            assert_eq!(line.split(' ').count(), 2, "{line}");
            assert!(line.split(';').count() <= 2, "{line}");
            assert!(!line.contains(|c: char| c.is_control()));
        }
    }

    #[test]
    fn a_place_is_told_only_when_there_is_one() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.a a.go:5:3", "main.b b.go:9:1"], 1, 1);
        build.stack(p, &["main.a a.go:7:3", "main.b other.go:9:1"], 1, 1);
        build.stack(p, &["main.c c.go:7", "main.b b.go:9:1"], 1, 1);
        let tree = Tree::new(&build.done(), 1);
        let place = |text: &str| tree.labels.iter().find(|l| l.text == text).unwrap().place.clone();
        assert_eq!(place("main.a").as_deref(), Some("a.go:3"));
        assert_eq!(place("main.b"), None);
        assert_eq!(place("main.c").as_deref(), Some("c.go"));
    }

    #[test]
    fn a_bottomless_stack_of_endless_names_is_cut() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        let name = format!("+main.{}", "x".repeat(100_000));
        let frames: Vec<&str> = (0..5_000).map(|_| &name[..]).chain(["main.main"]).collect();
        build.stack(p, &frames, 1, 1);
        let lines = Tree::new(&build.done(), 1).lines();
        assert_eq!(lines.len(), 1);
        let frames: Vec<&str> = lines[0].split(';').collect();
        assert_eq!((frames.len(), frames[5].chars().count()), (MAX_DEPTH, MAX_NAME));
    }

    #[test]
    fn nothing_is_empty_and_a_stack_without_frames_is_drawn() {
        assert!(Tree::new(&sample::empty(), 1).is_empty());
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &[], 1, 1);
        let tree = Tree::new(&build.done(), 1);
        assert_eq!(tree.kinds(), [FrameKind::Unknown]);
        assert_eq!(tree.lines().len(), 1);
    }
}
