//! One process that is opened: its panes, what is chosen in each, its flame graph.
//!
//! In: rounds, profiles, keys. Out: what is to be drawn. A profile is read only for the pane that is
//! shown: [`Detail::wants`] says which.

use std::collections::HashSet;
use std::time::SystemTime;

use super::flame::{Flame, Step};
use super::process::Process;
use super::shape::{Group, Node, Row, Shape};
use super::sizes::Sizes;
use super::{Action, Key};

/// What is shown of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// Live heap by stack.
    Live,
    /// Allocated since the program's start, by stack.
    Allocated,
    /// By creator.
    Goroutines,
    /// Allocations by size class.
    Sizes,
}

impl Pane {
    pub const ALL: [Pane; 4] = [Pane::Live, Pane::Allocated, Pane::Goroutines, Pane::Sizes];

    pub fn title(self) -> &'static str {
        match self {
            Pane::Live => "live heap",
            Pane::Allocated => "allocated",
            Pane::Goroutines => "goroutines",
            Pane::Sizes => "sizes",
        }
    }

    /// The word in names of files.
    pub fn word(self) -> &'static str {
        match self {
            Pane::Live => "inuse",
            Pane::Allocated => "alloc",
            Pane::Goroutines => "goroutines",
            Pane::Sizes => "sizes",
        }
    }

    pub fn group(self) -> Group {
        match self {
            Pane::Goroutines => Group::Outermost,
            _ => Group::Stack,
        }
    }

    /// Whether its values are bytes.
    pub fn is_bytes(self) -> bool {
        self != Pane::Goroutines
    }

    fn next(self, by: usize) -> Self {
        let at = Pane::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        Pane::ALL[(at + by) % Pane::ALL.len()]
    }
}

/// A profile as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub shape: Shape,
    pub tree: Vec<Node>,
    pub rows: Vec<Row>,
    group: Group,
    /// What changes are since.
    first: Shape,
}

/// What a pane shows, and what the user chose in it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// A profile or why there is none; nothing before it was read.
    pub content: Option<Result<Loaded, String>>,
    pub chosen: usize,
    /// The first row that is shown, as drawn last.
    pub first: usize,
    /// Rows whose stacks are shown, by their names.
    opened: HashSet<Vec<String>>,
    pub flame: Flame,
}

/// An opened process.
#[derive(Debug)]
pub struct Detail {
    /// As it was last seen.
    pub process: Process,
    pub ended: bool,
    pub pane: Pane,
    /// By [`Pane`].
    views: [View; 4],
    pub sizes: Sizes,
    pub is_flame: bool,
    /// Rows are in the order of what changed most.
    pub by_change: bool,
    /// Lines and cells of the pane, as drawn last.
    pub page: usize,
    pub width: usize,
}

impl Detail {
    pub fn new(now: SystemTime, process: Process) -> Self {
        let mut sizes = Sizes::default();
        sizes.add(now, &process.look.stats);
        Self {
            process,
            ended: false,
            pane: Pane::Live,
            views: Default::default(),
            sizes,
            is_flame: false,
            by_change: false,
            page: 0,
            width: 0,
        }
    }

    /// Takes a round; nothing when the process is not there any more.
    pub fn update(&mut self, now: SystemTime, process: Option<&Process>) {
        self.ended = process.is_none();
        if let Some(process) = process {
            self.process = process.clone();
            self.sizes.add(now, &process.look.stats);
        }
    }

    /// Lets go of everything that was read and chosen.
    pub fn forget_profiles(&mut self) {
        self.views = Default::default();
    }

    /// The pane that a profile should be read for.
    pub fn wants(&self) -> Option<Pane> {
        Some(self.pane).filter(|pane| *pane != Pane::Sizes && !self.ended)
    }

    /// Takes a profile, or why there is none.
    pub fn load(&mut self, pane: Pane, shape: Result<Shape, String>) {
        let by_change = self.by_change;
        let view = &mut self.views[pane as usize];
        let chosen = view.chosen_names();
        let first = match view.content.take() {
            Some(Ok(before)) => Some(before.first),
            _ => None,
        };
        view.content = Some(shape.map(|shape| {
            let tree = shape.tree();
            let rows = shape.rows(pane.group(), first.as_ref());
            let first = first.unwrap_or_else(|| shape.clone());
            Loaded { shape, tree, rows, group: pane.group(), first }
        }));
        view.arrange(by_change, chosen);
    }

    pub fn view(&self) -> &View {
        &self.views[self.pane as usize]
    }

    pub fn view_mut(&mut self) -> &mut View {
        &mut self.views[self.pane as usize]
    }

    /// Whether the flame graph is shown: sizes have none.
    pub fn shows_flame(&self) -> bool {
        self.is_flame && self.pane != Pane::Sizes
    }

    /// Does what a key stands for; nothing when it leads back to the list.
    pub fn key(&mut self, key: Key) -> Option<Action> {
        match key {
            Key::Tab => self.pane = self.pane.next(1),
            Key::BackTab => self.pane = self.pane.next(Pane::ALL.len() - 1),
            Key::Char(c @ '1'..='4') => self.pane = Pane::ALL[c as usize - '1' as usize],
            Key::Char('f') => self.is_flame = !self.is_flame,
            Key::Char('s') => return Some(Action::Save),
            Key::Char('d') => {
                self.by_change = !self.by_change;
                for view in &mut self.views {
                    let chosen = view.chosen_names();
                    view.arrange(self.by_change, chosen);
                }
            }
            key if self.shows_flame() => return self.flame_key(key),
            key => return self.table_key(key),
        }
        Some(Action::None)
    }

    fn flame_key(&mut self, key: Key) -> Option<Action> {
        let width = self.width;
        let view = self.view_mut();
        let Some(Ok(Loaded { shape, tree, .. })) = &view.content else {
            self.is_flame &= key != Key::Esc;
            return Some(Action::None);
        };
        let mut step = |step| view.flame.step(shape, tree, width, step);
        match key {
            Key::Up | Key::Char('k') => step(Step::Up),
            Key::Down | Key::Char('j') => step(Step::Down),
            Key::Left | Key::Char('h') => step(Step::Left),
            Key::Right | Key::Char('l') => step(Step::Right),
            Key::Enter => view.flame.zoom(shape, tree),
            Key::Esc | Key::Backspace => self.is_flame = view.flame.zoom_out(shape, tree),
            _ => {}
        }
        Some(Action::None)
    }

    fn table_key(&mut self, key: Key) -> Option<Action> {
        let page = self.page.saturating_sub(1).max(1);
        let rows = match self.pane {
            Pane::Sizes => self.sizes.rows.len(),
            _ => self.view().rows().len(),
        };
        let view = self.view_mut();
        let at = view.chosen;
        view.chosen = match key {
            Key::Esc | Key::Backspace => return None,
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => at + 1,
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown | Key::Char(' ') => at + page,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => usize::MAX,
            Key::Enter => {
                view.turn();
                at
            }
            _ => at,
        }
        .min(rows.saturating_sub(1));
        Some(Action::None)
    }
}

impl View {
    pub fn rows(&self) -> &[Row] {
        match &self.content {
            Some(Ok(loaded)) => &loaded.rows,
            _ => &[],
        }
    }

    /// Whether the stacks of a row are shown.
    pub fn is_opened(&self, row: &Row) -> bool {
        !self.opened.is_empty() && self.names(row).is_some_and(|names| self.opened.contains(&names))
    }

    fn turn(&mut self) {
        let Some(names) = self.chosen_names() else { return };
        if !self.opened.remove(&names) {
            self.opened.insert(names);
        }
    }

    fn chosen_names(&self) -> Option<Vec<String>> {
        self.names(self.rows().get(self.chosen)?)
    }

    /// What a row is known by from one profile to the next.
    fn names(&self, row: &Row) -> Option<Vec<String>> {
        let Some(Ok(Loaded { shape, group, .. })) = &self.content else { return None };
        let (stack, _) = shape.stacks.get(*row.stacks.first()?)?;
        let common = match group {
            Group::Stack => stack.len(),
            Group::Outermost => 1,
        };
        Some(stack.iter().take(common).map(|label| shape.text(*label).to_owned()).collect())
    }

    /// Puts rows in order; the choice stays with its row.
    fn arrange(&mut self, by_change: bool, chosen: Option<Vec<String>>) {
        if let Some(Ok(Loaded { rows, .. })) = &mut self.content {
            rows.sort_by_key(|row| std::cmp::Reverse(row.value));
            if by_change {
                rows.sort_by_key(|row| std::cmp::Reverse(row.change.unwrap_or(0)));
            }
        }
        // The first row is that of the largest value, whichever it is.
        if let (Some(chosen), true) = (chosen, self.chosen > 0) {
            let same = |row: &Row| self.names(row).as_ref() == Some(&chosen);
            self.chosen = self.rows().iter().position(same).unwrap_or(self.chosen);
        }
        self.chosen = self.chosen.min(self.rows().len().saturating_sub(1));
    }
}
