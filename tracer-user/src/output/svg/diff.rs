//! A comparison as a flame graph. In: a [`Diff`]. Out: a picture of all stacks of both, in which colours say what
//! became of each frame with all that it calls.
//!
//! A differential flame graph usually is as wide as what was there after, and what is gone can't be seen. Here a
//! stack is as wide as the more of before and after, so that one picture has what grew and what shrank.

use std::borrow::Cow;
use std::io::{self, Write};

use inferno::flamegraph::color::{Color, PaletteMap};

use super::Drawing;
use super::page::{Fact, Page, Shown, escape, nothing};
use super::shorten::{MAX_DEPTH, shorten};
use super::tree::{MIN_SHARE, least, shown, walk};
use crate::output::diff::{about, amount, notes, part, signed, summary};
use crate::output::stacks::{Both, Label, Stacks};
use crate::output::{describe, palette, text};
use crate::profile::diff::Diff;

/// Writes the picture; one that says so when there is nothing in either.
pub fn write(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let mut tree = Tree::new(diff);
    let mut facts: Vec<Fact> = Vec::new();
    let subtitle = summary(diff);
    for line in about(diff).into_iter().filter(|line| line.text != subtitle) {
        facts.extend(Fact::wrapped(&line.text, 2, line.is_loss));
    }
    let text = "a frame is as wide as the more of before and after; red has grown, blue has shrunk, \
                with all that it calls";
    facts.extend(Fact::wrapped(text, 1, false));
    facts.extend(Fact::notes(&notes(diff)));
    facts.extend(tree.shortened.map(Fact::shortened));
    let title = title(diff);
    if tree.lines.is_empty() {
        let text =
            format!("Nothing to compare: no {} in either.", text::printable(&diff.kind().kind));
        return out.write_all(nothing(&title, &facts, &text).as_bytes());
    }
    let mut colors = PaletteMap::default();
    let most = tree.nodes.iter().map(|node| node.change().unsigned_abs()).max().unwrap_or(0);
    colors.insert("", tree.whole.color(most));
    for (number, node) in tree.nodes.iter().enumerate() {
        colors.insert(number, node.color(most));
    }
    let lines = std::mem::take(&mut tree.lines);
    let unit = diff.kind().unit.clone();
    let drawn = Drawing { title, subtitle, unit, factor: 1.0, colors, lines }.draw()?;
    let legend =
        [(palette::GROWN, "grown"), (palette::SAME, "as before"), (palette::SHRUNK, "shrunk")];
    let frame = |number: Option<usize>, _: &str| {
        let node = number.and_then(|number| tree.nodes.get(number)).unwrap_or(&tree.whole);
        let name = match number {
            Some(_) => tree.labels[node.label as usize].text.as_str(),
            None => "all",
        };
        Shown { name: Cow::Borrowed(name), numbers: tree.numbers(diff, node) }
    };
    Page { facts: &facts, legend: &legend, frame: &frame }.write(&drawn, out)
}

fn title(diff: &Diff) -> String {
    let of = match diff.after.profile.processes.as_slice() {
        [one] if one.comm.is_empty() => "heaptap".to_owned(),
        _ => describe::title(&diff.after.profile),
    };
    format!("{of}: what has changed")
}

/// A frame of the picture, and what it has with all that it calls.
struct Node {
    label: u32,
    of: Both,
}

impl Node {
    fn change(&self) -> i128 {
        i128::from(self.of.after) - i128::from(self.of.before)
    }

    /// Roots make small changes visible.
    fn color(&self, most: u128) -> Color {
        let change = self.change();
        let share = (change.unsigned_abs() as f64 / most.max(1) as f64).sqrt();
        let to = if change < 0 { palette::SHRUNK } else { palette::GROWN };
        palette::between(palette::SAME, to, share as f32)
    }
}

/// The call tree of both.
struct Tree {
    labels: Vec<Label>,
    /// `root;…;leaf width` with numbers of nodes.
    lines: Vec<String>,
    nodes: Vec<Node>,
    whole: Node,
    shortened: Option<super::shorten::Shortened>,
}

impl Tree {
    fn new(diff: &Diff) -> Self {
        let mut stacks = Stacks::of(&diff.all, |one| Both::new(diff.of(one)), shown);
        let shortened = shorten(&mut stacks);
        let Stacks { mut labels, mut stacks } = stacks;
        for (_, of) in &mut stacks {
            *of = Both::new([of.before, of.after]);
        }
        let mut whole = Both::default();
        let mut wide = 0u128;
        for (_, of) in &stacks {
            crate::output::stacks::Weight::add(&mut whole, *of);
            wide += u128::from(of.wide);
        }
        // Sums have to be exact in a browser's numbers.
        let shift = (u128::BITS - wide.leading_zeros()).saturating_sub(53);
        for (_, of) in &mut stacks {
            of.wide >>= shift;
        }
        let total = (wide >> shift) as u64;
        let least = least(&stacks, (total as f64 * MIN_SHARE) as u64);
        let mut made = Nodes::default();
        let narrow = walk(&stacks, least, |path, of, own| made.add(path, of, own));
        let Nodes { mut nodes, mut lines, .. } = made;
        if narrow > 0 {
            lines.push(format!("{} {narrow}", nodes.len()));
            let text = "[too narrow]".to_owned();
            let label = labels.len() as u32;
            labels.push(Label { text, kind: None, place: None });
            let known = |of: fn(&Both) -> u64| {
                let roots = nodes.iter().zip(&made.roots).filter(|(_, is_root)| **is_root);
                roots.map(|(node, _)| of(&node.of)).fold(0, u64::saturating_add)
            };
            let of = Both {
                before: whole.before.saturating_sub(known(|of| of.before)),
                after: whole.after.saturating_sub(known(|of| of.after)),
                wide: narrow,
            };
            nodes.push(Node { label, of });
        }
        let whole = Node { label: 0, of: whole };
        Self { labels, lines, nodes, whole, shortened }
    }

    /// What the text of a frame says beside its name, without parentheses.
    fn numbers(&self, diff: &Diff, node: &Node) -> String {
        let kind = diff.kind();
        let Both { before, after, .. } = node.of;
        let part = match part(before, after) {
            part if part.is_empty() => part,
            part => format!(", {part}"),
        };
        let text = format!(
            "{}{part}; {} before, {} after",
            signed(kind, before, after),
            amount(kind, before),
            amount(kind, after)
        );
        // Words for values may be anybody's.
        escape(&text.replace('(', "[").replace(')', "]"))
    }
}

/// Frames that are drawn, in the order in which they come.
#[derive(Default)]
struct Nodes {
    nodes: Vec<Node>,
    /// Which of them are outermost.
    roots: Vec<bool>,
    /// Labels and numbers of those that the last one is in, and of itself.
    open: Vec<(u32, usize)>,
    lines: Vec<String>,
}

impl Nodes {
    /// Children come before their parents, which have numbers already.
    fn add(&mut self, path: &[u32], of: Both, own: u64) {
        let shared = self.open.iter().zip(path).take_while(|((open, _), label)| open == *label);
        self.open.truncate(shared.count());
        for label in &path[self.open.len()..] {
            self.roots.push(self.open.is_empty());
            self.open.push((*label, self.nodes.len()));
            self.nodes.push(Node { label: *label, of: Both::default() });
        }
        let Some((_, number)) = self.open.last() else { return };
        self.nodes[*number].of = of;
        if own > 0 {
            let numbers: Vec<String> =
                self.open.iter().take(MAX_DEPTH).map(|(_, number)| number.to_string()).collect();
            self.lines.push(format!("{} {own}", numbers.join(";")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::diff::sample;
    use crate::profile::build::Build;
    use crate::profile::diff::{Asked, Measured};
    use crate::profile::{Profile, Source};

    fn drawn(diff: &Diff) -> String {
        let mut out = Vec::new();
        write(diff, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn titles(svg: &str) -> Vec<&str> {
        let all = svg.split("<title>").skip(1);
        all.filter_map(|rest| rest.split_once("</title>").map(|(title, _)| title)).collect()
    }

    #[test]
    fn every_frame_tells_before_and_after_and_what_is_gone_is_there() {
        let svg = drawn(&sample::grown());
        let titles = titles(&svg);
        let of = |name: &str| *titles.iter().find(|title| title.starts_with(name)).unwrap();
        let put = "main.(*Cache).Put (+30.0 MiB, ×31.0; 1.0 MiB before, 31.0 MiB after)";
        assert_eq!(of("main.(*Cache).Put"), put);
        assert_eq!(of("main.old"), "main.old (-2.0 MiB, gone; 2.0 MiB before, 0 B after)");
        assert_eq!(of("main.same"), "main.same (±0, +0.0 %; 1.0 MiB before, 1.0 MiB after)");
        assert!(of("all ").contains("12.5 MiB before, 41.5 MiB after"), "{}", of("all "));
        assert_eq!(titles.iter().filter(|title| title.starts_with("main.moved")).count(), 1);
    }

    fn of(make: impl Fn(&mut Build, u64)) -> Diff {
        let [before, after] = [1, 2].map(|times| {
            let mut build = Build::new(Source::Exact);
            make(&mut build, times);
            let profile: Profile = build.done();
            Measured::new(format!("{times}"), profile)
        });
        Diff::new(&before, &after, &Asked::default()).unwrap()
    }

    #[test]
    fn what_is_too_narrow_is_one_frame_and_nothing_is_said() {
        let diff = of(|build, times| {
            let p = build.process(1, "x", "");
            build.stack(p, &["main.big"], 1, 1_000_000);
            build.stack(p, &["main.small"], 1, 10 * times);
        });
        let svg = drawn(&diff);
        assert!(titles(&svg).contains(&"[too narrow] (+10 B, +100.0 %; 10 B before, 20 B after)"));
        let nothing = drawn(&of(|build, _| {
            build.process(1, "x", "");
        }));
        assert!(nothing.contains("Nothing to compare: no alloc_space in either."), "{nothing}");
    }

    #[test]
    fn sums_beyond_a_browsers_numbers_are_drawn() {
        let diff = of(|build, times| {
            let p = build.process(1, "x", "");
            build.stack(p, &["main.a"], 1, u64::MAX / times);
            build.stack(p, &["main.b"], 1, u64::MAX);
        });
        assert!(titles(&drawn(&diff)).iter().any(|title| title.starts_with("main.b (±0")));
    }
}
