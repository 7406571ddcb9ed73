//! The call tree behind a flame graph. In: [`Stacks`]. Out: lines for inferno, few enough to draw,
//! in an order that keeps each frame in one piece.
//!
//! Labels go through inferno as numbers: no name can be taken for a separator there, and lines stay
//! short. inferno would sort lines as text, which tears `main.f` in two when `main.f` allocates
//! itself, calls something and has a sibling `main.f.func1` (`.` sorts between space and `;`); so
//! the order is made here. The tree is never whole in memory: stacks come in order, and a node is
//! known when the first stack outside of it comes.

use std::fmt::Write as _;

use super::shorten::{MAX_DEPTH, Shortened, shorten};
use crate::output::stacks::{Label, Stacks, Weight};
use crate::output::text::{keep_end, printable};
use crate::profile::{FrameKind, Profile};

/// Longer names keep their end.
const MAX_NAME: usize = 1000;

/// More frames than this make a picture that no browser moves smoothly (about 10 MB).
const MAX_FRAMES: usize = 30_000;

/// A frame below this share of the whole would be narrower than an eighth of a pixel.
pub const MIN_SHARE: f64 = 0.0001;

/// What is drawn.
pub struct Tree {
    /// By the numbers in `lines`.
    pub labels: Vec<Label>,
    /// `root;…;leaf value` with numbers for names, siblings in the order of their names.
    pub lines: Vec<String>,
    /// What one unit of a line's value stands for.
    pub factor: f64,
    /// What was too deep to be drawn whole.
    pub shortened: Option<Shortened>,
}

impl Tree {
    pub fn new(profile: &Profile, value: usize) -> Self {
        let mut stacks = Stacks::new(profile, value, shown);
        let shortened = shorten(&mut stacks);
        let Stacks { mut labels, mut stacks } = stacks;
        let factor = scale(&mut stacks);
        let total: u64 = stacks.iter().map(|(_, value)| value).sum();
        let least = least(&stacks, (total as f64 * MIN_SHARE) as u64);
        let mut lines = Vec::new();
        let mut path = String::new();
        let narrow = walk(&stacks, least, |stack, _, own| {
            if own > 0 {
                path.clear();
                for label in stack {
                    let _ = write!(path, "{label};");
                }
                path.pop();
                lines.push(format!("{path} {own}"));
            }
        });
        if narrow > 0 {
            lines.push(format!("{} {narrow}", labels.len()));
            let text = "[too narrow]".to_owned();
            labels.push(Label { text, kind: Some(FrameKind::Marker), place: None });
        }
        Self { labels, lines, factor, shortened }
    }

    /// Kinds that are drawn, in the order of [`FrameKind::ALL`].
    pub fn kinds(&self) -> Vec<FrameKind> {
        let mut drawn = vec![false; self.labels.len()];
        for line in &self.lines {
            let stack = line.split(' ').next().unwrap_or_default();
            for label in stack.split(';').filter_map(|l| l.parse::<usize>().ok()) {
                drawn[label] = true;
            }
        }
        let of = |kind: FrameKind| {
            self.labels.iter().zip(&drawn).any(|(label, drawn)| *drawn && label.kind == Some(kind))
        };
        FrameKind::ALL.into_iter().filter(|kind| of(*kind)).collect()
    }
}

/// The value below which a frame is not drawn: `least`, or more when there are too many frames.
pub fn least<V: Weight>(stacks: &[(Vec<u32>, V)], least: u64) -> u64 {
    let mut totals: Vec<u64> = Vec::new();
    each_node(stacks, |_, total| {
        if total.width() > least {
            totals.push(total.width());
        }
    });
    if totals.len() <= MAX_FRAMES {
        return least;
    }
    totals.sort_unstable_by(|a, b| b.cmp(a));
    totals[MAX_FRAMES]
}

/// Calls `draw` with the path, the sum and the own width of each frame above `least`; what is narrower
/// counts as its caller's own. Returns what has no caller.
pub fn walk<V: Weight>(
    stacks: &[(Vec<u32>, V)],
    least: u64,
    mut draw: impl FnMut(&[u32], V, u64),
) -> u64 {
    // Values that the open node of each depth passes on to drawn frames; 0 is the whole.
    let mut drawn = vec![0u64; MAX_DEPTH + 2];
    let mut whole = 0;
    each_node(stacks, |path, total| {
        let depth = path.len();
        let (below, width) = (std::mem::take(&mut drawn[depth + 1]), total.width());
        if depth == 1 {
            whole += width;
        }
        if width > least {
            draw(path, total, width - below);
            drawn[depth] += width;
        }
    });
    whole - drawn[1]
}

/// Calls `close` with the path and the value of each node, children before their parent.
fn each_node<V: Weight>(stacks: &[(Vec<u32>, V)], mut close: impl FnMut(&[u32], V)) {
    let mut path: Vec<u32> = Vec::new();
    let mut totals: Vec<V> = Vec::new();
    let end = (Vec::new(), V::default());
    for (stack, value) in stacks.iter().chain([&end]) {
        let shared = path.iter().zip(stack).take_while(|(a, b)| a == b).count();
        while path.len() > shared {
            let total = totals.pop().unwrap_or_default();
            close(&path, total);
            path.pop();
            if let Some(parent) = totals.last_mut() {
                parent.add(total);
            }
        }
        path.extend(&stack[shared..]);
        totals.resize(path.len(), V::default());
        if let Some(leaf) = totals.last_mut() {
            leaf.add(*value);
        }
    }
}

/// Divides values by a power of two until their sum is exact in a browser's numbers.
fn scale(stacks: &mut [(Vec<u32>, u64)]) -> f64 {
    let sum: u128 = stacks.iter().map(|(_, value)| u128::from(*value)).sum();
    let shift = (u128::BITS - sum.leading_zeros()).saturating_sub(53);
    for (_, value) in stacks {
        *value >>= shift;
    }
    2f64.powi(shift as i32)
}

/// A name as it is in the picture.
pub fn shown(name: &str) -> String {
    let shown = printable(name);
    if shown.trim().is_empty() {
        return "[unnamed]".to_owned();
    }
    keep_end(&shown, MAX_NAME).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;
    use crate::profile::Source;
    use crate::profile::build::Build;

    /// Lines with names, children before their parents' own values.
    fn named(tree: &Tree) -> Vec<String> {
        let name = |label: &str| tree.labels[label.parse::<usize>().unwrap()].text.clone();
        let line = |line: &String| {
            let (stack, value) = line.split_once(' ').unwrap();
            let names: Vec<String> = stack.split(';').map(name).collect();
            format!("{} {value}", names.join(";"))
        };
        tree.lines.iter().map(line).collect()
    }

    #[test]
    fn a_frame_stays_in_one_piece() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.g", "main.f"], 1, 3);
        build.stack(p, &["main.f.func1"], 1, 2);
        build.stack(p, &["main.f"], 1, 1);
        let tree = Tree::new(&build.done(), 1);
        assert_eq!(named(&tree), ["main.f;main.g 3", "main.f 1", "main.f.func1 2"]);
    }

    #[test]
    fn what_is_too_narrow_goes_to_its_caller_and_the_sum_stays() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.big", "main.main"], 1, 1_000_000);
        for at in 0..50 {
            let leaf = format!("main.small{at}");
            build.stack(p, &["main.deep", &leaf, "main.main"], 1, 10);
        }
        build.stack(p, &["main.alone"], 1, 10);
        let tree = Tree::new(&build.done(), 1);
        let expected = ["main.main;main.big 1000000", "main.main 500", "[too narrow] 10"];
        assert_eq!(named(&tree), expected);
        assert_eq!(tree.kinds(), [FrameKind::Program, FrameKind::Marker]);
    }

    #[test]
    fn a_forest_is_thinned_until_it_can_be_drawn() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        let level = |at: usize| format!("main.f{at}");
        for root in 0..400 {
            let frames: Vec<String> = (0..100).map(|at| level(root * 100 + at)).collect();
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            build.stack(p, &frames, 1, 100 + root as u64);
        }
        let profile = build.done();
        let tree = Tree::new(&profile, 1);
        let frames: usize = tree.lines.iter().map(|l| l.split(';').count()).sum();
        assert!((20_000..=MAX_FRAMES + 1).contains(&frames), "{frames}");
        let sum: u64 =
            tree.lines.iter().map(|l| l.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, profile.total(1));
    }

    #[test]
    fn sums_beyond_a_browsers_numbers_are_scaled() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.a"], 1, u64::MAX);
        build.stack(p, &["main.b"], 1, u64::MAX);
        let tree = Tree::new(&build.done(), 1);
        assert_eq!(tree.factor, 4096.0);
        let half = u64::MAX >> 12;
        assert_eq!(named(&tree), [format!("main.a {half}"), format!("main.b {half}")]);
    }

    #[test]
    fn a_bottomless_stack_of_endless_names_is_cut() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        let name = format!("+main.{}", "x".repeat(10_000));
        let names: Vec<String> = (0..5_000).map(|at| format!("{name}{at}")).collect();
        let frames: Vec<&str> = names.iter().map(String::as_str).chain(["main.main"]).collect();
        build.stack(p, &frames, 1, 1);
        let tree = Tree::new(&build.done(), 1);
        assert_eq!(tree.lines.len(), 1);
        assert_eq!(tree.lines[0].split(';').count(), MAX_DEPTH);
        assert_eq!(tree.shortened, Some(Shortened { stacks: 1, deepest: 5_001 }));
        assert_eq!(tree.labels.iter().map(|l| l.text.chars().count()).max(), Some(MAX_NAME));
    }

    #[test]
    fn nothing_is_no_line_and_a_stack_without_frames_is_one() {
        assert!(Tree::new(&sample::empty(), 1).lines.is_empty());
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &[], 1, 1);
        let tree = Tree::new(&build.done(), 1);
        assert_eq!(named(&tree), ["[unnamed] 1"]);
        assert_eq!(tree.kinds(), [FrameKind::Unknown]);
    }
}
