//! Deep stacks, made shorter. In: stacks of label numbers, outermost first. Out: the same with marks in
//! place of recursion and of the middle of what still is too deep to draw.
//!
//! Stacks that lead to the same mark share it, however many frames each has left out there: a
//! recursion is one frame of the picture, not one for each depth that it was seen at.

use std::collections::HashMap;

use crate::output::stacks::{Label, Stacks, Weight};
use crate::output::text::{grouped, keep_end};
use crate::profile::FrameKind;

/// Frames drawn of one stack: what a recorded stack can hold, 128 and inlined calls.
pub const MAX_DEPTH: usize = 256;

/// Functions that call one another in a circle.
const MAX_CYCLE: usize = 16;

/// A cycle that comes more often than this in a row is left out but for its first and last time,
/// however deep the stack is: else a recursion would look another way from some depth on.
pub const REPEATS: usize = 8;

/// How many names of a cycle are told; longer ones keep their end.
const NAMED: usize = 3;
const MAX_NAME: usize = 60;

/// What was shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// Different stacks, and the depth of the deepest.
    pub stacks: usize,
    pub deepest: usize,
}

#[derive(Debug, PartialEq)]
enum Piece<'s> {
    Frame(u32),
    /// So many frames, repetitions of a cycle; of none when they are just too many.
    Left {
        frames: usize,
        cycle: &'s [u32],
    },
}

/// Shortens stacks. Nothing when none needs it.
pub fn shorten<V: Weight>(stacks: &mut Stacks<V>) -> Option<Shortened> {
    let mut marks = Marks { first: stacks.labels.len() as u32, ..Marks::default() };
    let mut shortened: Option<Shortened> = None;
    for (stack, _) in &mut stacks.stacks {
        let pieces = cut(fold(stack));
        if pieces.iter().any(|piece| matches!(piece, Piece::Left { .. })) {
            let told = shortened.get_or_insert(Shortened { stacks: 0, deepest: 0 });
            told.stacks += 1;
            told.deepest = told.deepest.max(stack.len());
            *stack = marks.draw(&pieces);
        }
    }
    if shortened.is_some() {
        let texts: Vec<String> = marks.all.iter().map(|mark| mark.text(&stacks.labels)).collect();
        let label = |text| Label { text, kind: Some(FrameKind::Marker), place: None };
        stacks.labels.extend(texts.into_iter().map(label));
        stacks.merge();
    }
    shortened
}

/// Leaves out what repeats.
fn fold(stack: &[u32]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < stack.len() {
        let rest = &stack[at..];
        let repeats = |length: &usize| {
            let same = rest.iter().zip(&rest[*length..]).take_while(|(a, b)| a == b).count();
            same / length + 1
        };
        let lengths = 1..=MAX_CYCLE.min(rest.len());
        let cycle = lengths.map(|length| (length, repeats(&length))).find(|(_, n)| *n > REPEATS);
        let Some((length, repeats)) = cycle else {
            pieces.push(Piece::Frame(rest[0]));
            at += 1;
            continue;
        };
        let cycle = &rest[..length];
        let once = || cycle.iter().map(|frame| Piece::Frame(*frame));
        pieces.extend(once());
        pieces.push(Piece::Left { frames: (repeats - 2) * length, cycle });
        pieces.extend(once());
        at += repeats * length;
    }
    pieces
}

/// Leaves out the middle of what still is too deep.
fn cut(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    if pieces.len() > MAX_DEPTH {
        let inner = pieces.split_off(pieces.len() - MAX_DEPTH / 2);
        let left = pieces.drain(MAX_DEPTH / 2 - 1..).map(|piece| match piece {
            Piece::Frame(_) => 1,
            Piece::Left { frames, .. } => frames,
        });
        let frames = left.sum();
        pieces.push(Piece::Left { frames, cycle: &[] });
        pieces.extend(inner);
    }
    pieces
}

/// Marks that are drawn.
#[derive(Default)]
struct Marks {
    /// The label of the first of them.
    first: u32,
    all: Vec<Mark>,
    /// By what leads to it, and what it leaves out.
    by_path: HashMap<(Vec<u32>, Vec<u32>), u32>,
}

struct Mark {
    cycle: Vec<u32>,
    /// Fewest and most frames left out by a stack.
    least: usize,
    most: usize,
}

impl Marks {
    fn draw(&mut self, pieces: &[Piece<'_>]) -> Vec<u32> {
        let mut drawn = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match *piece {
                Piece::Frame(label) => drawn.push(label),
                Piece::Left { frames, cycle } => {
                    let all = &mut self.all;
                    let mark =
                        *self.by_path.entry((drawn.clone(), cycle.to_vec())).or_insert_with(|| {
                            let cycle = cycle.to_vec();
                            all.push(Mark { cycle, least: frames, most: frames });
                            all.len() as u32 - 1
                        });
                    let told = &mut all[mark as usize];
                    told.least = told.least.min(frames);
                    told.most = told.most.max(frames);
                    drawn.push(self.first + mark);
                }
            }
        }
        drawn
    }
}

impl Mark {
    /// `[… 9,998 frames of main.walk]`.
    fn text(&self, labels: &[Label]) -> String {
        let name = |label: &u32| keep_end(&labels[*label as usize].text, MAX_NAME);
        let names: Vec<_> = self.cycle.iter().take(NAMED).map(name).collect();
        let frames = match self.least == self.most {
            true => grouped(self.most as u64),
            false => format!("{} to {}", grouped(self.least as u64), grouped(self.most as u64)),
        };
        let more = match self.cycle.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let of = if names.is_empty() { "" } else { " of " };
        format!("[… {frames} frames{of}{}{more}]", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Source;
    use crate::profile::build::Build;

    fn shortened(stacks: &[(Vec<String>, u64)]) -> (Vec<(String, u64)>, Option<Shortened>) {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        for (stack, value) in stacks {
            let innermost_first: Vec<&str> = stack.iter().rev().map(String::as_str).collect();
            build.stack(p, &innermost_first, 1, *value);
        }
        let mut stacks = Stacks::new(&build.done(), 1, str::to_owned);
        let told = shorten(&mut stacks);
        let text = |label: &u32| stacks.labels[*label as usize].text.as_str();
        let named = stacks
            .stacks
            .iter()
            .map(|(stack, value)| (stack.iter().map(text).collect::<Vec<_>>().join(";"), *value));
        (named.collect(), told)
    }

    fn stack(parts: &[(&str, usize)]) -> Vec<String> {
        let words = |(words, times): &(&str, usize)| {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            std::iter::repeat_n(words, *times).flatten().collect::<Vec<_>>()
        };
        parts.iter().flat_map(words).collect()
    }

    #[test]
    fn a_recursion_is_one_mark() {
        let deep = stack(&[("main", 1), ("deep", 10_000), ("leaf", 1)]);
        let (stacks, told) = shortened(&[(deep, 5)]);
        assert_eq!(stacks, [("main;deep;[… 9,998 frames of deep];deep;leaf".to_owned(), 5)]);
        assert_eq!(told, Some(Shortened { stacks: 1, deepest: 10_002 }));
    }

    #[test]
    fn depths_of_one_recursion_share_a_mark() {
        let of = |depth| stack(&[("main", 1), ("even odd", depth), ("leaf", 1)]);
        let (stacks, told) = shortened(&[(of(20), 1), (of(300), 2), (of(1000), 4)]);
        let text = "main;even;odd;[… 36 to 1,996 frames of even, odd];even;odd;leaf";
        assert_eq!(stacks, [(text.to_owned(), 7)]);
        assert_eq!(told, Some(Shortened { stacks: 3, deepest: 2002 }));
    }

    #[test]
    fn a_cycle_that_ends_in_its_middle_keeps_its_rest() {
        let (stacks, _) = shortened(&[(stack(&[("a b c d", 100), ("a b", 1)]), 1)]);
        let text = "a;b;c;d;[… 392 frames of a, b, c and 1 more];a;b;c;d;a;b";
        assert_eq!(stacks, [(text.to_owned(), 1)]);
    }

    #[test]
    fn what_does_not_repeat_loses_its_middle() {
        let frames: Vec<String> = (0..1000).map(|at| format!("f{at}")).collect();
        let (stacks, told) = shortened(&[(frames, 1)]);
        let drawn: Vec<&str> = stacks[0].0.split(';').collect();
        assert_eq!(drawn.len(), MAX_DEPTH);
        assert_eq!((drawn[0], drawn[126], drawn[127]), ("f0", "f126", "[… 745 frames]"));
        assert_eq!((drawn[128], drawn[255]), ("f872", "f999"));
        assert_eq!(told, Some(Shortened { stacks: 1, deepest: 1000 }));
    }

    #[test]
    fn what_can_be_drawn_is_left_alone() {
        let frames = (0..MAX_DEPTH - 16).map(|at| format!("f{at}"));
        let all: Vec<String> = frames.chain(stack(&[("even odd", REPEATS)])).collect();
        let (stacks, told) = shortened(&[(all.clone(), 1)]);
        assert_eq!((stacks, told), (vec![(all.join(";"), 1)], None));
    }
}
