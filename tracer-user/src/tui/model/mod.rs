//! What the live view holds: processes, what the user chose, and what a key does.
//!
//! In: rounds of readings and [`Key`]s. Out: a [`Model`] to draw and [`Action`]s for whoever runs it.

pub mod detail;
pub mod flame;
pub mod history;
pub mod list;
#[cfg(test)]
pub mod made;
pub mod process;
pub mod shape;
pub mod sizes;

use std::time::SystemTime;

use detail::Detail;
use list::List;
use process::{Column, Look, Unread};

/// A key, whatever terminal it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    None,
    Quit,
    /// Write what is shown to files.
    Save,
}

/// What heaptap itself takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Footprint {
    pub resident: Option<u64>,
    /// Share of one CPU since the last round.
    pub cpu: Option<f64>,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct Model {
    pub list: List,
    /// The process that is opened.
    pub detail: Option<Detail>,
    pub footprint: Footprint,
    /// When the last round was; nothing before the first.
    pub time: Option<SystemTime>,
    pub paused: bool,
    pub help: bool,
    /// How far the help is scrolled.
    pub help_from: usize,
    /// What is being typed behind `/`, and what the filter was before.
    pub typing: Option<String>,
    /// Something to say until the next key.
    pub message: Option<String>,
    /// Columns of the list that fit on the screen, as drawn last.
    pub columns: Vec<Column>,
    /// Lines that fit on the screen, and the first of those, as drawn last.
    pub page: usize,
    pub first: usize,
}

impl Model {
    /// Takes a round.
    pub fn update(&mut self, time: SystemTime, looks: Vec<Look>, unread: Vec<Unread>) {
        self.time = Some(time);
        self.list.update(time, looks, unread);
        if let Some(detail) = &mut self.detail {
            detail.update(time, self.list.get(detail.process.look.id));
        }
    }

    /// Does what a key stands for.
    pub fn key(&mut self, key: Key) -> Action {
        self.message = None;
        if self.typing.is_some() {
            self.type_filter(key);
            return Action::None;
        }
        if self.help {
            return self.help_key(key);
        }
        match (key, &mut self.detail) {
            (Key::Char('q'), _) => Action::Quit,
            (Key::Char('?'), _) => {
                (self.help, self.help_from) = (true, 0);
                Action::None
            }
            (Key::Char('p'), _) => {
                self.paused = !self.paused;
                Action::None
            }
            (key, Some(detail)) => detail.key(key).unwrap_or_else(|| {
                self.detail = None;
                Action::None
            }),
            (key, None) => {
                self.list_key(key);
                Action::None
            }
        }
    }

    fn type_filter(&mut self, key: Key) {
        let Some(before) = &self.typing else { return };
        let mut filter = self.list.filter().to_owned();
        match key {
            Key::Char(c) => filter.push(c),
            Key::Backspace => drop(filter.pop()),
            Key::Esc => {
                filter.clone_from(before);
                self.typing = None;
            }
            Key::Enter => self.typing = None,
            Key::Up => return self.list.step(-1),
            Key::Down => return self.list.step(1),
            _ => return,
        }
        self.list.set_filter(filter);
    }

    fn help_key(&mut self, key: Key) -> Action {
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Down | Key::Char('j') => self.help_from += 1,
            Key::Up | Key::Char('k') => self.help_from = self.help_from.saturating_sub(1),
            Key::PageDown | Key::Char(' ') => self.help_from += self.page.max(1),
            Key::PageUp => self.help_from = self.help_from.saturating_sub(self.page.max(1)),
            _ => self.help = false,
        }
        Action::None
    }

    fn list_key(&mut self, key: Key) {
        let page = isize::try_from(self.page.saturating_sub(1).max(1)).unwrap_or(1);
        let list = &mut self.list;
        match key {
            Key::Enter => {
                let now = self.time.unwrap_or(SystemTime::UNIX_EPOCH);
                let process = list.chosen_process().cloned();
                self.detail = process.map(|process| Detail::new(now, process));
            }
            Key::Up | Key::Char('k') => list.step(-1),
            Key::Down | Key::Char('j') => list.step(1),
            Key::PageUp => list.step(-page),
            Key::PageDown | Key::Char(' ') => list.step(page),
            Key::Home | Key::Char('g') => list.step(isize::MIN),
            Key::End => list.step(isize::MAX),
            Key::Char('r') => list.turn_around(),
            Key::Char('<') | Key::Left => list.sort_next(&self.columns, -1),
            Key::Char('>') | Key::Right => list.sort_next(&self.columns, 1),
            Key::Char('/') => self.typing = Some(list.filter().to_owned()),
            Key::Esc => list.set_filter(String::new()),
            Key::Char(c) => {
                if let Some(column) = Column::ALL.into_iter().find(|column| column.key() == c) {
                    list.sort_by(column);
                }
            }
            _ => {}
        }
    }
}
