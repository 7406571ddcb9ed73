//! Turns the heap samplers of processes on and off, and looks after what a killed heaptap left on.
//!
//! In: opened processes. Out: what was turned on ([`Lent`]), which is turned off again with it. Every write into
//! a program is told on standard error, whatever is asked of it.

use std::env;
use std::path::PathBuf;

use super::opened::{LiveProcess, Opener, not_readable};
use crate::exit::{Exit, Failure};
use crate::gobin::symbols::Symbol;
use crate::host;
use crate::output::text::bytes;
use crate::runtime::memory::Memory;
use crate::runtime::sampler::{
    Note, Notes, Orphan, Rate, Restored, Sampler, SamplerError, Switched,
};

/// A sampler that is on; dropped, it is off again, and that is said.
#[derive(Debug)]
pub struct Lent {
    pid: u32,
    sampler: Option<Sampler>,
}

/// Where notes are: `HEAPTAP_RUN_DIR`, else `/run/heaptap` for root, else `heaptap` in the user's
/// `XDG_RUNTIME_DIR`.
pub fn notes() -> Notes {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = nix::unistd::geteuid();
    let dir = set("HEAPTAP_RUN_DIR").unwrap_or_else(|| match user.is_root() {
        true => PathBuf::from("/run/heaptap"),
        false => {
            let runtime = set("XDG_RUNTIME_DIR");
            runtime.unwrap_or_else(|| format!("/run/user/{user}").into()).join("heaptap")
        }
    });
    Notes::in_dir(dir)
}

/// Turns the sampler of a process on. Nothing when it is on already.
///
/// Signals that end heaptap must be waited for before, so that they drop what is returned.
///
/// # Errors
/// The word can't be found or written, or no note can be kept.
pub fn enable(target: &LiveProcess, every: u64) -> Result<Option<Lent>, Failure> {
    let pid = target.process.id.pid;
    let (rate, note) = rate(target)?;
    match Sampler::enable(rate, every, note, &notes()).map_err(failure)? {
        Switched::AlreadyOn(on) => {
            eprintln!(
                "heaptap: process {pid}: its sampler is on already, one sample per {}; nothing is \
                 written",
                bytes(on)
            );
            Ok(None)
        }
        Switched::On(sampler) => {
            let note = sampler.note().map(|p| format!(" (note: {})", p.display()));
            eprintln!(
                "heaptap: process {pid}: its sampler was off; runtime.MemProfileRate is {every} \
                 until heaptap ends{}",
                note.unwrap_or_default()
            );
            Ok(Some(Lent { pid, sampler: Some(sampler) }))
        }
    }
}

impl Lent {
    /// Turns it off and says so.
    ///
    /// # Errors
    /// The word can't be written.
    pub fn restore(mut self) -> Result<(), Failure> {
        self.put_back()
    }

    fn put_back(&mut self) -> Result<(), Failure> {
        let Self { pid, sampler } = self;
        let Some(sampler) = sampler.take() else { return Ok(()) };
        match sampler.restore().map_err(failure)? {
            Restored::Restored => {
                eprintln!("heaptap: process {pid}: runtime.MemProfileRate is 0 again");
            }
            Restored::Changed(rate) => eprintln!(
                "heaptap: process {pid}: somebody else has set runtime.MemProfileRate to {rate}; it \
                 is left so"
            ),
            Restored::Gone => {}
        }
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Err(failure) = self.put_back() {
            eprintln!("heaptap: {failure}");
        }
    }
}

/// Turns off what heaptaps that were killed have left on. What can't be looked at is left for
/// somebody who may.
pub fn look_after() {
    for orphan in notes().orphans().unwrap_or_default() {
        let pid = orphan.note.pid;
        match owner(&orphan) {
            Ok(Some(rate)) => {
                eprintln!("heaptap: process {pid}: a heaptap that was killed left its sampler on");
                drop(Lent { pid, sampler: Some(Sampler::adopt(rate, orphan)) });
            }
            Ok(None) => orphan.dismiss(),
            Err(failure) => eprintln!(
                "heaptap: a heaptap that was killed left the sampler of process {pid} on, and it \
                 can't be turned off: {failure}"
            ),
        }
    }
}

/// Processes whose sampler a killed heaptap left on.
pub fn left_on() -> Vec<u32> {
    let orphans = notes().orphans().unwrap_or_default();
    let on = |orphan: &Orphan| {
        let is_on = |rate: Rate| rate.read().is_ok_and(|rate| rate == orphan.note.new);
        owner(orphan).ok().flatten().is_some_and(is_on)
    };
    orphans.iter().filter(|orphan| on(orphan)).map(|orphan| orphan.note.pid).collect()
}

/// The rate that a note is about; nothing when its process has ended or runs another file.
fn owner(orphan: &Orphan) -> Result<Option<Rate>, Failure> {
    let noted = &orphan.note;
    match host::process(noted.pid) {
        Ok(process) if process.id.start == noted.start => {}
        Ok(_) => return Ok(None),
        Err(error) if error.exit() == Exit::Target => return Ok(None),
        Err(error) => return Err(not_readable(error)),
    }
    let target = match Opener::default().open(noted.pid) {
        Ok(target) => target,
        Err(failure) if failure.exit == Exit::Permission => return Err(failure),
        // No Go program any more.
        Err(_) => return Ok(None),
    };
    let (rate, now) = rate(&target)?;
    let same = (now.start, now.dev, now.ino, now.address)
        == (noted.start, noted.dev, noted.ino, noted.address);
    Ok(same.then_some(rate))
}

/// Where a process has its rate, and a note of that without rates.
fn rate(target: &LiveProcess) -> Result<(Rate, Note), Failure> {
    let pid = target.process.id.pid;
    let unreadable = |error: crate::runtime::Error| {
        Failure::new(error.exit(), format!("process {pid}: {error}"))
    };
    let at = target.live.address(Symbol::MemProfileRate).map_err(unreadable)?;
    let exe = host::open_exe(pid).map_err(not_readable)?;
    let memory = host::open_writable_memory(&exe).map_err(not_readable)?;
    // What was opened first still reads: then what was opened since is the same exec's.
    target.live.memory.check().map_err(|error| unreadable(error.into()))?;
    let (dev, ino) = exe.inode();
    let note = Note { pid, start: exe.process.start, dev, ino, address: at.0, old: 0, new: 0 };
    Ok((Rate::new(memory, pid, at), note))
}

fn failure(error: SamplerError) -> Failure {
    Failure::new(error.exit(), error.to_string())
}
