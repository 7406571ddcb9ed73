//! Ways to watch the whole host that people leave on: heaptap as they start it.
//!
//! In: a way. Out: a heaptap that watches, and at its end what it has counted.

use std::{
    io::{self, BufReader, Read as _},
    path::Path,
    thread::{self, JoinHandle},
};

use anyhow::{Result, bail, ensure};
use tempfile::TempDir;

use crate::{recorded::Frames, tracer::Tracer};

/// A way to watch.
pub struct Watcher {
    pub arguments: &'static [&'static str],
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Prints as long as it runs.
    Prints,
    /// The same, on a terminal.
    Shows,
    /// Says when it begins, and writes a profile at the end.
    Records,
}

pub const WATCHERS: [Watcher; 4] = [
    Watcher { arguments: &["top"], kind: Kind::Shows },
    Watcher { arguments: &["stats", "--all", "--watch", "1"], kind: Kind::Prints },
    Watcher { arguments: &["heap", "--all", "--watch", "1"], kind: Kind::Prints },
    Watcher { arguments: &["record", "--all"], kind: Kind::Records },
];

/// What a program is called that is to be left alone: `--exclude comm=NAME`.
pub const LEFT_ALONE: &str = "untapped";

/// A watcher that watches.
pub struct Watched {
    tracer: Tracer,
    seen: Seen,
}

/// What comes of it.
enum Seen {
    /// How much was printed.
    Printed(JoinHandle<usize>),
    /// A profile in this directory.
    Recorded(TempDir),
}

impl Watched {
    /// Starts one and waits until it watches.
    pub fn start(heaptap: &Path, watcher: &Watcher, more: &[&str]) -> Result<Self> {
        let mut arguments = [watcher.arguments, more].concat();
        let (tracer, mut shown) = match watcher.kind {
            Kind::Shows => Tracer::spawn_on_terminal(heaptap, &arguments)?,
            Kind::Prints => Tracer::spawn_printing(heaptap, &arguments)?,
            Kind::Records => {
                let dir = TempDir::new()?;
                let output = format!("--output={}", dir.path().join(RECORDED).display());
                arguments.remove(0);
                arguments.extend(["--quiet", &output]);
                let mut tracer = Tracer::spawn_heaptap(heaptap, arguments)?;
                tracer.until_recording()?;
                return Ok(Self { tracer, seen: Seen::Recorded(dir) });
            }
        };
        ensure!(shown.read(&mut [0])? > 0, "nothing was printed");
        // A terminal ends in an error when nobody is left on it.
        let rest =
            thread::spawn(move || BufReader::new(shown).bytes().map_while(io::Result::ok).count());
        Ok(Self { tracer, seen: Seen::Printed(rest) })
    }

    pub fn pid(&self) -> u32 {
        self.tracer.pid()
    }

    /// Ends it; how many events it counted and lost, where it counts.
    pub fn end(mut self) -> Result<Option<(f64, f64)>> {
        self.tracer.stop()?;
        match self.seen {
            Seen::Printed(rest) => {
                let Ok(printed) = rest.join() else { bail!("the thread that reads has failed") };
                ensure!(printed > 0, "it has not read while the program worked");
                Ok(None)
            }
            Seen::Recorded(dir) => {
                let mut recorded = Frames::default();
                recorded.add(&dir.path().join(RECORDED))?;
                Ok(Some((recorded.events as f64, recorded.lost as f64)))
            }
        }
    }
}

const RECORDED: &str = "recorded.json";
