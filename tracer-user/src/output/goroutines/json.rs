//! JSON: every goroutine and every stack. The schema is told in `docs/output.md`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::{Goroutine, Goroutines};
use crate::output::json::{Binary, Counter, Frames, OneFrame, Process, one_frame, unix_ns};
use crate::profile::{LocationId, Profile};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.goroutines/1";

/// Writes the document and a newline.
pub fn write(goroutines: &Goroutines, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::new(goroutines)).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    read_unix_ns: u64,
    read_took_ns: u64,
    process: Option<Process<'a>>,
    binaries: Vec<Binary<'a>>,
    counters: Vec<Counter<'a>>,
    notes: &'a [String],
    goroutines: Vec<One<'a>>,
    stacks: Vec<Stack<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    id: u64,
    state: &'a str,
    waits_at_least_ns: Option<u64>,
    locked_to_thread: bool,
    system: bool,
    parent: Option<u64>,
    created_by: Option<OneFrame<'a>>,
    start: Option<OneFrame<'a>>,
    labels: Option<BTreeMap<&'a str, &'a str>>,
    stack: u32,
    stack_missing: Option<&'static str>,
}

#[derive(Serialize)]
struct Stack<'a> {
    frames: Frames<'a>,
}

impl<'a> Document<'a> {
    fn new(goroutines: &'a Goroutines) -> Self {
        let profile = &goroutines.profile;
        let stacks = goroutines.stacks.iter();
        Self {
            schema: SCHEMA,
            read_unix_ns: unix_ns(profile.meta.started),
            read_took_ns: u64::try_from(goroutines.read.as_nanos()).unwrap_or(u64::MAX),
            process: profile.processes.first().map(Process::new),
            binaries: profile.binaries.iter().map(Binary::new).collect(),
            counters: profile.meta.counters.iter().map(Counter::new).collect(),
            notes: &profile.meta.notes,
            goroutines: goroutines.all.iter().map(|g| One::new(profile, g)).collect(),
            stacks: stacks.map(|stack| Stack { frames: Frames(profile, stack) }).collect(),
        }
    }
}

impl<'a> One<'a> {
    fn new(profile: &'a Profile, g: &'a Goroutine) -> Self {
        let text = |name| profile.names.text(name);
        let labels = g.labels.as_ref();
        Self {
            id: g.id,
            state: text(g.state),
            waits_at_least_ns: g.waits.map(|w| u64::try_from(w.as_nanos()).unwrap_or(u64::MAX)),
            locked_to_thread: g.locked,
            system: g.system,
            parent: g.parent,
            created_by: g.creator.and_then(|location| place(profile, location)),
            start: g.start.and_then(|location| place(profile, location)),
            labels: labels.map(|all| all.iter().map(|(k, v)| (text(*k), text(*v))).collect()),
            stack: g.stack,
            stack_missing: g.missing,
        }
    }
}

/// Function and line of a location; never inlined.
fn place(profile: &Profile, location: LocationId) -> Option<OneFrame<'_>> {
    let location = &profile.locations[location.0 as usize];
    let frame = location.frames.first()?;
    let binary = location.binary.map(|binary| binary.0);
    Some(one_frame(profile, frame, false, binary, location.address.0))
}
