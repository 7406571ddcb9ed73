//! Processes that are read, once or again and again: each opened once, forgotten when it ends.
//!
//! In: a selection. Out: what reading each of its Go programs gave, or why there is nothing. What is
//! kept from one look to the next is what is opened, and is bounded by what runs.

use std::collections::HashMap;
use std::rc::Rc;

use super::opened::{LiveProcess, Opener, not_readable};
use crate::exit::{Exit, Failure};
use crate::host::{self, Identity, Selection};

/// Keeps what is opened from one look to the next.
pub struct Roster {
    selection: Selection,
    opener: Opener,
    open: HashMap<Identity, Rc<LiveProcess>>,
}

/// What a look at all processes gave.
pub struct Looked<T> {
    /// How many processes were meant, Go programs or not.
    pub meant: usize,
    pub seen: Vec<(Rc<LiveProcess>, T)>,
    /// Processes that could not be read; of those that were not named Go programs only.
    pub unseen: Vec<Unseen>,
}

/// A process that could not be read, and why.
pub struct Unseen {
    pub pid: u32,
    pub comm: String,
    pub failure: Failure,
}

impl Roster {
    pub fn new(selection: &Selection) -> Self {
        Self { selection: selection.clone(), opener: Opener::default(), open: HashMap::new() }
    }

    /// Whether each process was asked for by its number; of others found, those that are no Go
    /// programs were not meant.
    pub fn is_named(&self) -> bool {
        self.selection.is_by_pid()
    }

    /// Reads every process that is there now.
    ///
    /// # Errors
    /// /proc can't be listed.
    pub fn look<T>(
        &mut self,
        mut read: impl FnMut(&Rc<LiveProcess>) -> Result<T, Failure>,
    ) -> Result<Looked<T>, Failure> {
        let selected = host::select(&self.selection).map_err(not_readable)?;
        let meant = selected.processes.len();
        let mut looked = Looked { meant, seen: Vec::new(), unseen: Vec::new() };
        let mut known = std::mem::take(&mut self.open);
        for process in selected.processes {
            let id = process.id;
            let (opened, result) = self.visit(id, known.remove(&id), &mut read);
            match (result, &opened) {
                (Ok(found), Some(process)) => looked.seen.push((Rc::clone(process), found)),
                (Ok(_), None) => {}
                (Err(failure), _) if self.is_meant(id, &failure) => {
                    let comm = process.comm.to_string_lossy().into_owned();
                    looked.unseen.push(Unseen { pid: id.pid, comm, failure });
                }
                (Err(_), _) => {}
            }
            self.open.extend(opened.map(|process| (id, process)));
        }
        self.opener.forget_unused();
        for error in selected.refused {
            let pid = error.pid().unwrap_or(0);
            let failure = not_readable(error);
            looked.unseen.push(Unseen { pid, comm: String::new(), failure });
        }
        Ok(looked)
    }

    /// Why a look has seen nobody.
    pub fn nobody<T>(&self, looked: &Looked<T>) -> Failure {
        match &looked.unseen[..] {
            [] => super::opened::nobody(&self.selection, looked.meant),
            [one] => one.failure.clone(),
            [first, rest @ ..] => {
                let failure = &first.failure;
                Failure::new(failure.exit, format!("{failure} (and {} more)", rest.len()))
            }
        }
    }

    /// Reads a process, which is opened when it is not known or runs another program than it did.
    fn visit<T>(
        &mut self,
        id: Identity,
        known: Option<Rc<LiveProcess>>,
        read: &mut impl FnMut(&Rc<LiveProcess>) -> Result<T, Failure>,
    ) -> (Option<Rc<LiveProcess>>, Result<T, Failure>) {
        if let Some(process) = known {
            match read(&process) {
                Err(_) if !process.is_there() => {}
                result => return (Some(process), result),
            }
        }
        match self.opener.open(id.pid).map(Rc::new) {
            Ok(process) => {
                let result = read(&process);
                (Some(process), result)
            }
            Err(failure) => (None, Err(failure)),
        }
    }

    /// Whether it is told that a process could not be read.
    fn is_meant(&self, id: Identity, failure: &Failure) -> bool {
        self.is_named() || failure.exit != Exit::Target && id.is_alive()
    }
}

impl Unseen {
    pub fn new(process: &LiveProcess, failure: Failure) -> Self {
        let comm = process.process.comm.to_string_lossy().into_owned();
        Self { pid: process.process.id.pid, comm, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_go_program_is_told_only_when_it_was_asked_for() {
        let own = std::process::id();
        let mut roster = Roster::new(&Selection::Pids(vec![own]));
        let looked = roster.look(|_| Ok(())).unwrap();
        assert_eq!(looked.unseen.len(), 1);
        assert_eq!(roster.nobody(&looked).exit, Exit::Target);
        let comm = host::process(own).unwrap().comm;
        let mut roster = Roster::new(&Selection::Comm(comm));
        let looked = roster.look(|_| Ok(())).unwrap();
        assert!(looked.meant > 0 && looked.unseen.is_empty());
        let text = roster.nobody(&looked).to_string();
        assert!(text.contains("no Go program among them"), "{text}");
    }
}
