//! The list of processes: what is known of each, which are shown, in which order, and which is chosen.
//!
//! In: rounds, and what the user wants. Out: lines in their order. The choice stays with its process
//! when the order changes.

use std::collections::HashMap;
use std::time::SystemTime;

use super::history::History;
use super::process::{Column, Look, Process, Unread};
use crate::host::Identity;

/// All processes and the user's view of them.
#[derive(Debug)]
pub struct List {
    processes: HashMap<Identity, Process>,
    unread: Vec<Unread>,
    /// Of those that are shown, in their order.
    shown: Vec<Identity>,
    shown_unread: Vec<usize>,
    chosen: Option<Key>,
    pub sort: Column,
    pub reverse: bool,
    filter: String,
}

/// What a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Read(Identity),
    /// By pid: more is not known of it.
    Unread(u32),
}

/// A line of the list.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    Read(&'a Process),
    Unread(&'a Unread),
}

/// Sums over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub processes: usize,
    pub unread: usize,
    pub heap: u64,
    /// Bytes in a second; nothing in the first round.
    pub rate: Option<f64>,
    pub goroutines: u64,
    pub resident: u64,
}

impl Default for List {
    fn default() -> Self {
        Self {
            processes: HashMap::new(),
            unread: Vec::new(),
            shown: Vec::new(),
            shown_unread: Vec::new(),
            chosen: None,
            sort: Column::Heap,
            reverse: false,
            filter: String::new(),
        }
    }
}

impl List {
    /// Takes a round. Processes that are not in it are forgotten.
    pub fn update(&mut self, now: SystemTime, looks: Vec<Look>, mut unread: Vec<Unread>) {
        let mut before = std::mem::take(&mut self.processes);
        for look in looks {
            let known = before.remove(&look.id);
            let mut history = known.map_or_else(History::default, |known| known.history);
            history.add(now, &look.stats, look.goroutines);
            let id = look.id;
            self.processes.insert(id, Process::new(look, history));
        }
        unread.sort_by_key(|unread| unread.pid);
        self.unread = unread;
        self.arrange();
    }

    pub fn get(&self, id: Identity) -> Option<&Process> {
        self.processes.get(&id)
    }

    /// Lines in their order; those that can't be read are last.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let read = self.shown.iter().filter_map(|id| self.processes.get(id)).map(Line::Read);
        let unread = self.shown_unread.iter().filter_map(|at| self.unread.get(*at));
        read.chain(unread.map(Line::Unread)).collect()
    }

    /// Which line is chosen.
    pub fn chosen(&self) -> Option<usize> {
        match self.chosen? {
            Key::Read(id) => self.shown.iter().position(|shown| *shown == id),
            Key::Unread(pid) => {
                let pid_of = |at: &usize| self.unread.get(*at).map(|unread| unread.pid);
                let at = self.shown_unread.iter().position(|at| pid_of(at) == Some(pid))?;
                Some(self.shown.len() + at)
            }
        }
    }

    /// The chosen process, if it is one that can be read.
    pub fn chosen_process(&self) -> Option<&Process> {
        match self.chosen? {
            Key::Read(id) => self.get(id),
            Key::Unread(_) => None,
        }
    }

    /// Why the chosen process can't be read, if it can't.
    pub fn chosen_unread(&self) -> Option<&Unread> {
        match self.chosen? {
            Key::Read(_) => None,
            Key::Unread(pid) => self.unread.iter().find(|unread| unread.pid == pid),
        }
    }

    /// Chooses the line that is `by` lines below; stops at the ends.
    pub fn step(&mut self, by: isize) {
        let count = self.shown.len() + self.shown_unread.len();
        let Some(last) = count.checked_sub(1) else { return };
        let at = self.chosen().map_or(0, |at| at.saturating_add_signed(by));
        self.choose(at.min(last));
    }

    fn choose(&mut self, at: usize) {
        let unread = |at: usize| self.unread.get(*self.shown_unread.get(at)?).map(|u| u.pid);
        self.chosen = match self.shown.get(at) {
            Some(id) => Some(Key::Read(*id)),
            None => unread(at - self.shown.len()).map(Key::Unread),
        };
    }

    /// Sorts by another column; by the same one: the other way round.
    pub fn sort_by(&mut self, column: Column) {
        self.reverse = self.sort == column && !self.reverse;
        self.sort = column;
        self.arrange();
    }

    /// Sorts by the next of the columns that are shown, or the one before.
    pub fn sort_next(&mut self, columns: &[Column], by: isize) {
        let at = columns.iter().position(|column| *column == self.sort).unwrap_or(0);
        let at = at.saturating_add_signed(by).min(columns.len().saturating_sub(1));
        if let Some(column) = columns.get(at).filter(|column| **column != self.sort) {
            self.sort_by(*column);
        }
    }

    pub fn turn_around(&mut self) {
        self.reverse = !self.reverse;
        self.arrange();
    }

    pub fn filter(&self) -> &str {
        &self.filter
    }

    pub fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            processes: self.processes.len(),
            unread: self.unread.len(),
            ..Totals::default()
        };
        for process in self.processes.values() {
            totals.heap += process.look.stats.heap.alloc;
            totals.goroutines += process.look.goroutines;
            totals.resident += process.look.memory.resident.unwrap_or(0);
            if let Some(rate) = process.history.rate() {
                *totals.rate.get_or_insert(0.0) += rate;
            }
        }
        totals
    }

    fn arrange(&mut self) {
        let chosen = self.chosen();
        let filter = self.filter.to_lowercase();
        let mut shown: Vec<&Process> =
            self.processes.values().filter(|process| process.matches(&filter)).collect();
        shown.sort_by(|a, b| self.sort.compare(a, b));
        if self.reverse {
            shown.reverse();
        }
        self.shown = shown.into_iter().map(|process| process.look.id).collect();
        let unread = self.unread.iter().enumerate();
        let unread = unread.filter(|(_, unread)| unread.matches(&filter));
        self.shown_unread = unread.map(|(at, _)| at).collect();
        // What was chosen has gone: its neighbour is.
        if self.chosen().is_none() {
            self.chosen = None;
            let count = self.shown.len() + self.shown_unread.len();
            if let Some(last) = count.checked_sub(1) {
                self.choose(chosen.unwrap_or(0).min(last));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::model::made;

    fn names(list: &List) -> Vec<String> {
        let name = |line: &Line<'_>| match line {
            Line::Read(process) => process.look.comm.clone(),
            Line::Unread(unread) => format!("!{}", unread.comm),
        };
        list.lines().iter().map(name).collect()
    }

    #[test]
    fn the_largest_heap_is_first_and_what_cant_be_read_is_last() {
        let mut list = made::list();
        assert_eq!(names(&list), ["orders", "web", "cron", "!old"]);
        list.turn_around();
        assert_eq!(names(&list), ["cron", "web", "orders", "!old"]);
        list.sort_by(Column::Name);
        assert_eq!(names(&list), ["cron", "orders", "web", "!old"]);
        list.sort_by(Column::Name);
        assert_eq!(names(&list), ["web", "orders", "cron", "!old"]);
        list.sort_by(Column::Goroutines);
        assert_eq!(names(&list)[0], "web");
        for column in Column::ALL {
            list.sort_by(column);
            assert_eq!(list.lines().len(), 4, "{column:?}");
        }
    }

    #[test]
    fn sorting_steps_through_the_columns_that_are_shown() {
        let mut list = made::list();
        let columns = [Column::Pid, Column::Heap, Column::Rate];
        list.sort_next(&columns, 1);
        assert_eq!(list.sort, Column::Rate);
        list.sort_next(&columns, 1);
        assert_eq!((list.sort, list.reverse), (Column::Rate, false), "it stops at the end");
        list.sort_next(&columns, -1);
        list.sort_next(&columns, -1);
        assert_eq!(list.sort, Column::Pid);
    }

    #[test]
    fn the_choice_stays_with_its_process() {
        let mut list = made::list();
        assert_eq!(list.chosen(), Some(0));
        list.step(1);
        assert_eq!(list.chosen_process().unwrap().look.comm, "web");
        list.turn_around();
        list.step(0);
        assert_eq!(list.chosen_process().unwrap().look.comm, "web");
        list.step(100);
        assert_eq!(list.chosen_unread().unwrap().comm, "old");
        assert!(list.chosen_process().is_none());
        list.step(-100);
        assert_eq!(list.chosen(), Some(0));
        // All have ended.
        list.update(SystemTime::UNIX_EPOCH, Vec::new(), Vec::new());
        assert_eq!((list.chosen(), list.lines().len()), (None, 0));
        list.step(1);
        assert!(list.chosen_process().is_none());
    }

    #[test]
    fn when_the_chosen_one_ends_its_neighbour_is_chosen() {
        let mut list = made::list();
        list.step(1);
        let left = made::looks().into_iter().filter(|look| look.comm != "web").collect();
        list.update(made::now(), left, Vec::new());
        assert_eq!(list.chosen_process().unwrap().look.comm, "cron");
    }

    #[test]
    fn filters_look_at_every_name() {
        for (filter, expected) in [
            ("ord", &["orders"][..]),
            ("SHOP", &["orders"]),
            ("web-pod", &["web"]),
            ("4242", &["orders"]),
            ("/usr/bin/CRON", &["cron"]),
            ("cron.service", &["cron"]),
            ("old", &["!old"]),
            ("nothing", &[]),
            ("", &["orders", "web", "cron", "!old"]),
        ] {
            let mut list = made::list();
            list.set_filter(filter.to_owned());
            assert_eq!(names(&list), expected, "{filter}");
        }
    }

    #[test]
    fn totals_are_of_all_processes() {
        let mut list = made::list();
        list.set_filter("web".into());
        let totals = list.totals();
        assert_eq!((totals.processes, totals.unread, totals.rate), (3, 1, None));
        assert_eq!(totals.goroutines, 120 + 4000 + 3);
        list.update(made::now() + std::time::Duration::from_secs(1), made::looks(), Vec::new());
        assert_eq!(list.totals().rate, Some(0.0));
    }
}
