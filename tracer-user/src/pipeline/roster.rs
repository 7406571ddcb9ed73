//! Processes that are read, once or again and again: each opened once, forgotten when it ends.
//!
//! In: a selection. Out: what reading each of its Go programs gave, or why there is nothing. What is
//! kept from one look to the next is what is opened, and is bounded by what runs.

use std::collections::HashMap;
use std::rc::Rc;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::opened::{LiveProcess, Opener, not_readable};
use crate::exit::{Exit, Failure};
use crate::host::{self, Identity, Selection, Selector};

/// Keeps what is opened from one look to the next.
pub struct Roster {
    selection: Selection,
    opener: Opener,
    /// By pid.
    open: HashMap<u32, Rc<LiveProcess>>,
    /// Those that run no file, and for how many looks that is believed.
    without_file: HashMap<u32, u32>,
}

/// A kernel thread is asked for its file in one look of so many.
const BELIEVED: u32 = 10;

/// What a look at all processes gave.
pub struct Looked<T> {
    /// How many processes were meant, Go programs or not; of all, not those known to be none.
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

/// As all documents have it.
impl Serialize for Unseen {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Unseen", 3)?;
        fields.serialize_field("pid", &self.pid)?;
        fields.serialize_field("comm", &self.comm)?;
        fields.serialize_field("reason", &self.failure.message)?;
        fields.end()
    }
}

impl Roster {
    pub fn new(selection: &Selection) -> Self {
        Self {
            selection: selection.clone(),
            opener: Opener::default(),
            open: HashMap::new(),
            without_file: HashMap::new(),
        }
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
        let mut looked = Looked { meant: 0, seen: Vec::new(), unseen: Vec::new() };
        let mut known = std::mem::take(&mut self.open);
        let without_file = std::mem::take(&mut self.without_file);
        let selector = Selector::new(&self.selection);
        let pids = match self.selection.without_exceptions() {
            Selection::Pids(pids) => pids.clone(),
            _ => host::pids().map_err(not_readable)?,
        };
        for pid in pids {
            // What is known already is not looked up again: most of a host is not new.
            if let Some(process) = known.remove(&pid).filter(|process| process.is_there()) {
                match read(&process) {
                    Err(_) if !process.is_there() => {}
                    result => {
                        looked.meant += 1;
                        self.add(process, result, &mut looked);
                        continue;
                    }
                }
            } else if self.selection.is_all() {
                if let Some(believed @ 1..) = without_file.get(&pid) {
                    self.without_file.insert(pid, believed - 1);
                    continue;
                }
                if self.is_no_go(pid) {
                    continue;
                }
            }
            self.look_up(pid, &selector, &mut read, &mut looked);
        }
        self.opener.forget_unused();
        Ok(looked)
    }

    /// Opens and reads a process, if it is meant.
    fn look_up<T>(
        &mut self,
        pid: u32,
        selector: &Selector,
        read: &mut impl FnMut(&Rc<LiveProcess>) -> Result<T, Failure>,
        looked: &mut Looked<T>,
    ) {
        let process = match host::process(pid) {
            Ok(process) => process,
            Err(error) => {
                if self.is_named() {
                    let failure = not_readable(error);
                    looked.unseen.push(Unseen { pid, comm: String::new(), failure });
                }
                return;
            }
        };
        if !selector.wants(&process) {
            return;
        }
        looked.meant += 1;
        match self.opener.open(pid).map(Rc::new) {
            Ok(opened) => {
                let result = read(&opened);
                self.add(opened, result, looked);
            }
            Err(failure) if self.is_meant(process.id, &failure) => {
                let comm = process.comm.to_string_lossy().into_owned();
                looked.unseen.push(Unseen { pid, comm, failure });
            }
            Err(_) => {}
        }
    }

    /// What reading an opened process gave.
    fn add<T>(
        &mut self,
        process: Rc<LiveProcess>,
        result: Result<T, Failure>,
        looked: &mut Looked<T>,
    ) {
        let id = process.process.id;
        match result {
            Ok(found) => looked.seen.push((Rc::clone(&process), found)),
            Err(failure) if self.is_meant(id, &failure) => {
                looked.unseen.push(Unseen::new(&process, failure));
            }
            Err(_) => {}
        }
        self.open.insert(id.pid, process);
    }

    /// Whether it runs a file that is known to be no Go program, or none at all.
    fn is_no_go(&mut self, pid: u32) -> bool {
        match host::exe_key(pid) {
            Ok(key) => self.opener.knows_no_go(&key),
            Err(host::Error::Gone { .. }) => {
                self.without_file.insert(pid, BELIEVED);
                true
            }
            Err(_) => false,
        }
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
