//! `heaptap watch`: keeps the last looks at each process, and writes them when it ends badly.
//!
//! In: which processes. Out: a directory for each that the kernel kills because memory has run out, that crashes or
//! ends with a failure: its heap over its last time, its goroutines and statistics, who it was. Looks read the
//! processes' memory: nothing is attached to them. Of how processes end the kernel tells.

mod how;
mod kept;
mod spread;
mod write;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access};
use tokio::time::{MissedTickBehavior, interval};
use tracer_common::ProcEntry;

use super::heap;
use super::roster::Roster;
use super::targets::failure;
use super::watch::{self, Signals};
use super::{counted, print_more};
use crate::cli::heap as heap_flags;
use crate::cli::watch::Config;
use crate::exit::{Exit, Failure};
use crate::host::MemoryReader;
use crate::output::text::{bytes, printable};
use crate::probe::{self, Kernel, Notice, ends};
use how::How;
use kept::Kept;

/// How often it is seen to whether somebody is to be looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often it is seen to who has come.
const NEWCOMERS: Duration = Duration::from_millis(500);
/// A process that ends within this time after the kernel has chosen it was killed by that.
const VICTIM: Duration = Duration::from_secs(30);
/// The kernel kills first and says then whom it has chosen: of who was killed it is known by then why.
const CHOSEN: Duration = Duration::from_millis(300);
/// The end of a process that is gone is told by the kernel within this time.
const TOLD: Duration = Duration::from_secs(2);

/// Watches until a signal comes.
///
/// # Errors
/// Nobody can be watched; the directory can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let plain = heap::plain();
    watch::block_on(async {
        let mut signals = Signals::new()?;
        let mut watching = Watching::new(config, &plain)?;
        let mut notices = watching.kernel.notices().map_err(failure)?;
        watching.newcomers()?;
        watching.tick()?;
        watching.announce();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = signals.next() => break,
                found = notices.next() => {
                    let unread = |err| Failure::new(Exit::Failure, format!("notices: {err}"));
                    for notice in found.map_err(unread)? {
                        watching.notice(notice)?;
                    }
                }
                _ = ticks.tick() => watching.tick()?,
            }
            if watching.is_over() {
                break;
            }
        }
        let undecided: Vec<u32> = watching.killed.keys().copied().collect();
        for pid in undecided {
            watching.decide(pid)?;
        }
        watching.farewell();
        Ok(())
    })
}

/// All that are watched.
struct Watching<'a> {
    config: &'a Config,
    heap: &'a heap_flags::Config,
    roster: Roster,
    kernel: Kernel,
    /// By pid.
    kept: HashMap<u32, Kept>,
    /// Who is gone, and since when that is known, while the kernel has not told how.
    gone: HashMap<u32, Instant>,
    /// Who was killed, when, and with which code, while it is not known whether memory had run out.
    killed: HashMap<u32, (Instant, Option<u32>)>,
    /// Whom the kernel has chosen, and when.
    victims: HashMap<u32, Instant>,
    /// Who can't be watched, and was told.
    unseen: HashSet<u32>,
    looked: Instant,
    tally: Tally,
}

/// What has been done.
#[derive(Default)]
struct Tally {
    written: u64,
    /// Beyond the limit.
    only_told: u64,
    /// Looks that there was no room for.
    dropped: u64,
    /// Ends that the kernel could not tell.
    untold: u64,
}

impl<'a> Watching<'a> {
    fn new(config: &'a Config, heap: &'a heap_flags::Config) -> Result<Self, Failure> {
        let dir = &config.directory;
        let named = || printable(&dir.to_string_lossy()).into_owned();
        fs::create_dir_all(dir)
            .map_err(|err| Failure::new(Exit::Output, format!("{}: {err}", named())))?;
        access(dir, AccessFlags::W_OK).map_err(|err| {
            Failure::new(Exit::Output, format!("{}: can't be written: {err}", named()))
        })?;
        let options = probe::Options {
            max_stacks: 1,
            max_processes: 16_384,
            ends: Some(ends::Offsets::of_kernel()),
            ..probe::Options::default()
        };
        let mut kernel = Kernel::load(&options).map_err(failure)?;
        kernel.watch_ends().map_err(failure)?;
        Ok(Self {
            config,
            heap,
            roster: Roster::new(&config.selection),
            kernel,
            kept: HashMap::new(),
            gone: HashMap::new(),
            killed: HashMap::new(),
            victims: HashMap::new(),
            unseen: HashSet::new(),
            looked: Instant::now(),
            tally: Tally::default(),
        })
    }

    fn announce(&self) {
        if !self.config.quiet {
            eprintln!(
                "heaptap: watching {}; what is left of those that end badly goes to {}",
                counted(self.kept.len(), "process"),
                printable(&self.config.directory.to_string_lossy())
            );
        }
    }

    /// Finds those that have come, and those that are gone.
    fn newcomers(&mut self) -> Result<(), Failure> {
        self.looked = Instant::now();
        let looked = self.roster.look(|_| Ok(()))?;
        if self.roster.is_named() && looked.seen.is_empty() && self.kept.is_empty() {
            return Err(self.roster.nobody(&looked));
        }
        for unseen in &looked.unseen {
            if self.unseen.insert(unseen.pid) && !self.config.quiet {
                eprintln!("heaptap: not watched: {}", printable(&unseen.failure.message));
            }
        }
        self.unseen.retain(|pid| looked.unseen.iter().any(|unseen| unseen.pid == *pid));
        for (target, ()) in &looked.seen {
            let pid = target.process.id.pid;
            let known = self.kept.get(&pid).is_some_and(|kept| kept.is_of(target));
            if !known {
                // An exec ends what was there before without an end of the process.
                self.kernel.select(pid, &ProcEntry::default()).map_err(failure)?;
                self.kept.insert(pid, Kept::new(target));
            }
        }
        let now = Instant::now();
        for (pid, kept) in &self.kept {
            if !kept.is_there() {
                self.gone.entry(*pid).or_insert(now);
            }
        }
        let late: Vec<u32> =
            self.gone.iter().filter(|(_, since)| since.elapsed() > TOLD).map(|(p, _)| *p).collect();
        for pid in late {
            self.tally.untold += 1;
            // It ended before it was selected: nobody else takes it out.
            self.kernel.deselect(pid).map_err(failure)?;
            self.end(pid, None, Instant::now())?;
        }
        self.victims.retain(|_, at| at.elapsed() < VICTIM);
        Ok(())
    }

    /// Looks at those for whom it is time.
    fn tick(&mut self) -> Result<(), Failure> {
        if self.looked.elapsed() >= NEWCOMERS {
            self.newcomers()?;
        }
        let decided = self.killed.iter().filter(|(_, (at, _))| at.elapsed() >= CHOSEN);
        let decided: Vec<u32> = decided.map(|(pid, _)| *pid).collect();
        for pid in decided {
            self.decide(pid)?;
        }
        let mut memory = MemoryReader::default();
        for (_, kept) in self.kept.iter_mut().filter(|(pid, _)| !self.killed.contains_key(pid)) {
            kept.look(self.config, &mut memory);
        }
        self.tally.dropped += kept::make_room(&mut self.kept, self.config.max_memory);
        Ok(())
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Failure> {
        match notice {
            Notice::End { pid, code }
                if How::of(code, false).is_kill() && !self.victims.contains_key(&pid) =>
            {
                self.killed.insert(pid, (Instant::now(), code));
                Ok(())
            }
            Notice::End { pid, code } => self.end(pid, code, Instant::now()),
            Notice::Victim { pid: Some(pid) } => {
                self.victims.insert(pid, Instant::now());
                self.decide(pid)
            }
            _ => Ok(()),
        }
    }

    /// It is known now why a process was killed.
    fn decide(&mut self, pid: u32) -> Result<(), Failure> {
        match self.killed.remove(&pid) {
            Some((at, code)) => self.end(pid, code, at),
            None => Ok(()),
        }
    }

    /// A process ended at some moment.
    fn end(&mut self, pid: u32, code: Option<u32>, at: Instant) -> Result<(), Failure> {
        self.gone.remove(&pid);
        let was_chosen = self.victims.remove(&pid).is_some();
        let Some(kept) = self.kept.remove(&pid) else { return Ok(()) };
        let how = How::of(code, was_chosen);
        if how.is_ordinary() {
            return Ok(());
        }
        let words = write::Words::new(kept, how, at, self.heap);
        let wrote = match self.tally.written < self.config.max_written {
            true => Some(words.write(&self.config.directory)?),
            false => None,
        };
        match wrote {
            Some(_) => self.tally.written += 1,
            None => self.tally.only_told += 1,
        }
        print_more(&words.text(wrote.as_deref())).map(|_| ())
    }

    /// Whether nobody is left of those that were named.
    fn is_over(&self) -> bool {
        self.roster.is_named() && self.kept.is_empty()
    }

    fn farewell(&self) {
        let Tally { written, only_told, dropped, untold } = self.tally;
        let mut told =
            vec![format!("last words of {} written", counted(written as usize, "process"))];
        if only_told > 0 {
            told.push(format!("of {only_told} more only told (--max-written)"));
        }
        if dropped > 0 {
            let room = bytes(self.config.max_memory as u64);
            told.push(format!("{dropped} looks had no room in {room} (--max-memory)"));
        }
        if untold > 0 {
            told.push(format!("how {untold} ended was not told by the kernel"));
        }
        if !self.config.quiet || only_told + dropped + untold > 0 {
            eprintln!("heaptap: {}", told.join("; "));
        }
    }
}
