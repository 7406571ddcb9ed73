//! Traps at the end of collections, for processes whose collections follow each other too fast to be
//! looked at.
//!
//! In: opened processes. Out: what each trap has read, by process. Kernel programs are loaded when the
//! first process needs one, by a thread, so that looking goes on meanwhile.

use std::num::NonZeroU32;
use std::thread::{self, JoinHandle};

use tracer_common::collection::Collector;
use tracer_common::record::PROC_LIVE;
use tracer_common::{Cookie, ProcEntry};

use crate::exit::{Exit, Failure};
use crate::gobin::sites;
use crate::gobin::symbols::Symbol;
use crate::host;
use crate::pipeline::opened::{LiveProcess, not_readable};
use crate::pipeline::targets::failure;
use crate::probe::{self, AttachSite, Attachment, GroupId, Kernel, Program, Scope};
use crate::runtime;
use crate::runtime::cycles::Caught;

/// Processes that can have one.
const MOST: u32 = 1024;

/// The kernel programs, and who has a trap.
#[derive(Default)]
pub struct Traps {
    state: State,
    /// Of the last process.
    image: u32,
}

#[derive(Default)]
enum State {
    #[default]
    NotNeeded,
    Loading(JoinHandle<Result<Kernel, Failure>>),
    Loaded(Box<Kernel>),
    Refused(Failure),
}

/// A process that has a trap, by the number under which the kernel programs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image(u32);

impl Traps {
    /// Begins to load what is needed, unless that was begun; whether it is over. It has not begun
    /// before anybody asks.
    pub fn are_ready(&mut self) -> bool {
        if matches!(self.state, State::NotNeeded) {
            self.state = State::Loading(thread::spawn(load));
        }
        match &self.state {
            State::Loading(loading) => loading.is_finished(),
            _ => true,
        }
    }

    /// Attaches one to a process, and to no other that runs the same file.
    ///
    /// # Errors
    /// No site, no privilege, or a kernel that can't.
    pub fn attach(&mut self, process: &LiveProcess) -> Result<Image, Failure> {
        let pid = process.process.id.pid;
        let program = &process.live.program;
        let site = sites::collection_site(&program.go)
            .map_err(|err| Failure::new(Exit::Unsupported, err.to_string()))?;
        let exe = host::open_exe(pid).map_err(not_readable)?;
        let collector = collector(process)
            .map_err(|err| Failure::new(err.exit(), format!("process {pid}: {err}")))?;
        let image = self.image + 1;
        let kernel = self.kernel()?;
        let cookie = Cookie { binary: image, site: 0, at_check: site.at_check, kind: 0 };
        let at = [AttachSite { offset: site.offset, expected: &site.bytes, cookie }];
        let Some(only) = NonZeroU32::new(pid) else {
            return Err(Failure::new(Exit::Target, "no process has number 0".to_owned()));
        };
        let attachment = Attachment {
            program: Program::Gc,
            file: &exe.file,
            scope: Scope::Process(only),
            sites: &at,
        };
        kernel.follow_collector(image, &collector).map_err(failure)?;
        let entry = ProcEntry { image, binary: image, state: PROC_LIVE, ..ProcEntry::default() };
        kernel.select(pid, &entry).map_err(failure)?;
        let attached = kernel.attach(GroupId(image), &attachment).map_err(failure);
        self.image = image;
        let image = Image(image);
        if let Err(failure) = attached {
            self.release(image, pid);
            return Err(failure);
        }
        // What was opened before must be what runs now.
        if !process.is_there() {
            self.release(image, pid);
            return Err(not_readable(host::Error::Gone { pid }));
        }
        Ok(image)
    }

    /// Takes it off again.
    pub fn release(&mut self, image: Image, pid: u32) {
        let State::Loaded(kernel) = &mut self.state else { return };
        if kernel.entry(pid).is_some_and(|entry| entry.image == image.0) {
            // Its entry is gone or its own either way: what fails here can't be mended.
            let _ = kernel.deselect(pid);
        }
        kernel.detach(GroupId(image.0));
        let _ = kernel.forget_collector(image.0);
    }

    /// Calls `each` for every collection that was caught since the last time, in order.
    pub fn each(&mut self, mut each: impl FnMut(Image, Caught<'_>)) {
        let State::Loaded(kernel) = &mut self.state else { return };
        kernel.each_collection(|collection| {
            let [mut counters, mut work, mut controller] = [const { Vec::new() }; 3];
            for (words, bytes) in [
                (&collection.counters[..], &mut counters),
                (&collection.work, &mut work),
                (&collection.controller, &mut controller),
            ] {
                bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            }
            let caught = Caught {
                end_unix_ns: collection.end_unix_ns,
                counters: &counters,
                work: &work,
                controller: &controller,
            };
            each(Image(collection.image), caught);
        });
    }

    /// What was loaded; waits for it.
    fn kernel(&mut self) -> Result<&mut Kernel, Failure> {
        let loaded = match std::mem::take(&mut self.state) {
            State::NotNeeded => load(),
            State::Loading(loading) => loading.join().unwrap_or_else(|_| {
                Err(Failure::new(Exit::Failure, "loading the kernel programs failed".to_owned()))
            }),
            State::Loaded(kernel) => Ok(*kernel),
            State::Refused(failure) => Err(failure),
        };
        self.state = match loaded {
            Ok(kernel) => State::Loaded(Box::new(kernel)),
            Err(failure) => State::Refused(failure),
        };
        match &mut self.state {
            State::Loaded(kernel) => Ok(kernel),
            State::Refused(failure) => Err(failure.clone()),
            State::NotNeeded | State::Loading(_) => {
                Err(Failure::new(Exit::Failure, "the kernel programs are not loaded".to_owned()))
            }
        }
    }
}

fn load() -> Result<Kernel, Failure> {
    let options = probe::Options {
        max_stacks: 1,
        max_processes: MOST,
        max_collectors: MOST,
        ..probe::Options::default()
    };
    let mut kernel = Kernel::load(&options).map_err(failure)?;
    kernel.watch_processes().map_err(failure)?;
    Ok(kernel)
}

/// Where a process has what a trap reads.
fn collector(process: &LiveProcess) -> Result<Collector, runtime::Error> {
    let live = &process.live;
    let m = &live.layout().mstats;
    let stats = live.address(Symbol::MemStats)?.0;
    Ok(Collector {
        counters: stats.wrapping_add(m.numgc.into()),
        end_unix: stats.wrapping_add(m.last_gc_unix.into()),
        work: live.address(Symbol::WorkCycles)?.0,
        controller: live.address(Symbol::GcController)?.0,
    })
}
