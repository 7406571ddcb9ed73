//! A flame graph in cells: which frames are where, which one is chosen, how far it is zoomed.
//!
//! In: a tree of calls and a width. Out: boxes. What is chosen is remembered by its names, so that it
//! stays when the tree is read again.

use super::shape::{Node, Shape};

/// A frame that is at least one cell wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Index in the tree.
    pub node: usize,
    /// Below the frame that is zoomed to.
    pub depth: usize,
    pub x: usize,
    pub width: usize,
}

/// What the user sees of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flame {
    /// Names from the root on, of the frame that fills the width.
    zoom: Vec<String>,
    /// Of the chosen one; begins with `zoom`.
    chosen: Vec<String>,
    /// The first depth that is shown, as drawn last.
    pub first: usize,
}

/// Where to go from the chosen frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To its caller.
    Up,
    /// To the widest that it calls.
    Down,
    Left,
    Right,
}

impl Flame {
    /// The frames below what is zoomed to, by depth and then from left to right.
    pub fn cells(&self, shape: &Shape, tree: &[Node], width: usize) -> Vec<Cell> {
        let root = find(shape, tree, &self.zoom);
        let Some(top) = tree.get(root) else { return Vec::new() };
        let whole = top.value.max(1) as f64;
        // Where a frame begins, in values; the next child of each open frame.
        let mut begins = vec![0u64; 1];
        let mut next = vec![0u64; 1];
        let mut cells = Vec::new();
        for (at, node) in tree.iter().enumerate().take(top.end).skip(root) {
            let depth = node.depth - top.depth;
            let begin = match depth {
                0 => 0,
                depth => next[depth - 1],
            };
            begins.resize(depth + 1, 0);
            next.resize(depth + 1, 0);
            (begins[depth], next[depth]) = (begin, begin);
            if depth > 0 {
                next[depth - 1] = begin.saturating_add(node.value);
            }
            let place = |value: u64| (value as f64 / whole * width as f64).round() as usize;
            let (from, to) = (place(begin), place(begin.saturating_add(node.value)).min(width));
            if to > from {
                cells.push(Cell { node: at, depth, x: from, width: to - from });
            }
        }
        cells.sort_by_key(|cell| (cell.depth, cell.x));
        cells
    }

    /// Index of the chosen frame.
    pub fn chosen(&self, shape: &Shape, tree: &[Node]) -> usize {
        find(shape, tree, &self.chosen)
    }

    /// Index of the frame that fills the width.
    pub fn root(&self, shape: &Shape, tree: &[Node]) -> usize {
        find(shape, tree, &self.zoom)
    }

    /// Chooses another frame, if there is one.
    pub fn step(&mut self, shape: &Shape, tree: &[Node], width: usize, step: Step) {
        let cells = self.cells(shape, tree, width);
        let node = self.chosen(shape, tree);
        let Some(at) = cells.iter().position(|cell| cell.node == node) else {
            self.chosen.clone_from(&self.zoom);
            return;
        };
        let here = cells[at];
        let same = |cell: &&Cell| cell.depth == here.depth;
        let found = match step {
            Step::Left => at.checked_sub(1).and_then(|at| cells.get(at)).filter(same),
            Step::Right => cells.get(at + 1).filter(same),
            Step::Up => cells.iter().find(|cell| here.depth > 0 && cell.node == tree[node].parent),
            Step::Down => {
                let below = cells
                    .iter()
                    .filter(|cell| cell.depth == here.depth + 1 && tree[cell.node].parent == node);
                // Of equal ones the first.
                below.rev().max_by_key(|cell| tree[cell.node].value)
            }
        };
        if let Some(found) = found {
            self.chosen = path(shape, tree, found.node);
        }
    }

    /// Makes the chosen frame as wide as the screen.
    pub fn zoom(&mut self, shape: &Shape, tree: &[Node]) {
        self.zoom = path(shape, tree, self.chosen(shape, tree));
        self.chosen.clone_from(&self.zoom);
        self.first = 0;
    }

    /// Zooms out to the caller that is wider, or to the whole. Tells whether it was zoomed at all.
    pub fn zoom_out(&mut self, shape: &Shape, tree: &[Node]) -> bool {
        if self.zoom.is_empty() {
            return false;
        }
        let from = find(shape, tree, &self.zoom);
        let mut at = from;
        while at != 0 && tree[at].value == tree[from].value {
            at = tree[at].parent;
        }
        self.zoom = path(shape, tree, at);
        self.first = 0;
        true
    }
}

/// The frame of a path, or of as much of it as is there.
fn find(shape: &Shape, tree: &[Node], names: &[String]) -> usize {
    let mut at = 0;
    for name in names {
        let is = |child: usize| tree[child].label.is_some_and(|label| shape.text(label) == name);
        match children(tree, at).find(|child| is(*child)) {
            Some(child) => at = child,
            None => break,
        }
    }
    at
}

fn path(shape: &Shape, tree: &[Node], node: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = node;
    while let Some(label) = tree.get(at).and_then(|node| node.label) {
        names.push(shape.text(label).to_owned());
        at = tree[at].parent;
    }
    names.reverse();
    names
}

/// What a frame calls.
fn children(tree: &[Node], of: usize) -> impl Iterator<Item = usize> + '_ {
    let end = tree.get(of).map_or(0, |node| node.end);
    std::iter::successors(Some(of + 1), move |at| tree.get(*at).map(|node| node.end))
        .take_while(move |at| *at < end)
}

#[cfg(test)]
mod tests {
    use super::super::shape::made::shape;
    use super::*;

    fn made() -> Shape {
        shape(&[("main;a;b", 30), ("main;a", 10), ("main;c", 50), ("net;d;e", 9), ("tiny", 1)])
    }

    fn drawn(flame: &Flame, shape: &Shape, width: usize) -> Vec<(String, usize, usize, usize)> {
        let tree = shape.tree();
        let name = |node: usize| tree[node].label.map_or("", |l| shape.text(l)).to_owned();
        let cells = flame.cells(shape, &tree, width);
        cells.iter().map(|c| (name(c.node), c.depth, c.x, c.width)).collect()
    }

    #[test]
    fn frames_are_as_wide_as_their_share_and_those_without_a_cell_are_left_out() {
        let found = drawn(&Flame::default(), &made(), 10);
        let expected = [
            ("", 0, 0, 10),
            ("main", 1, 0, 9),
            ("net", 1, 9, 1),
            ("a", 2, 0, 4),
            ("c", 2, 4, 5),
            ("d", 2, 9, 1),
            ("b", 3, 0, 3),
            ("e", 3, 9, 1),
        ];
        assert_eq!(found, expected.map(|(n, d, x, w)| (n.to_owned(), d, x, w)));
        assert!(drawn(&Flame::default(), &made(), 0).is_empty());
        assert_eq!(drawn(&Flame::default(), &Shape::default(), 10).len(), 0, "nothing of nothing");
    }

    #[test]
    fn steps_zoom_and_back() {
        let shape = made();
        let tree = shape.tree();
        let mut flame = Flame::default();
        let name = |flame: &Flame| {
            let at = flame.chosen(&shape, &tree);
            tree[at].label.map_or("", |l| shape.text(l)).to_owned()
        };
        let go = |flame: &mut Flame, steps: &[Step]| {
            steps.iter().for_each(|step| flame.step(&shape, &tree, 100, *step));
            name(flame)
        };
        use Step::{Down, Left, Right, Up};
        assert_eq!(go(&mut flame, &[Up, Left]), "");
        assert_eq!(go(&mut flame, &[Down, Down]), "c", "the widest");
        assert_eq!(go(&mut flame, &[Left]), "a");
        assert_eq!(go(&mut flame, &[Left]), "a");
        assert_eq!(go(&mut flame, &[Right, Right]), "d");
        assert_eq!(go(&mut flame, &[Left, Left, Down, Up]), "a");
        flame.zoom(&shape, &tree);
        assert_eq!(drawn(&flame, &shape, 4)[0], ("a".to_owned(), 0, 0, 4));
        assert_eq!(drawn(&flame, &shape, 4)[1], ("b".to_owned(), 1, 0, 3));
        assert_eq!(go(&mut flame, &[Up]), "a", "not out of what is zoomed to");
        assert!(flame.zoom_out(&shape, &tree));
        assert_eq!(drawn(&flame, &shape, 4)[0].0, "main");
        assert!(flame.zoom_out(&shape, &tree));
        assert!(!flame.zoom_out(&shape, &tree));
    }

    #[test]
    fn what_was_chosen_stays_when_the_tree_changes() {
        let before = made();
        let mut flame = Flame::default();
        flame.step(&before, &before.tree(), 100, Step::Down);
        flame.step(&before, &before.tree(), 100, Step::Down);
        flame.zoom(&before, &before.tree());
        let after = shape(&[("aa", 1), ("main;a;b", 30), ("main;c;new", 5)]);
        let chosen = flame.chosen(&after, &after.tree());
        assert_eq!(after.text(after.tree()[chosen].label.unwrap()), "c");
        let gone = shape(&[("main;x", 1)]);
        let chosen = flame.chosen(&gone, &gone.tree());
        assert_eq!(gone.text(gone.tree()[chosen].label.unwrap()), "main", "as much as is there");
    }
}
