//! What a page shows: stacks of several processes with values over time, as few numbers as will do.
//!
//! In: profiles, the earlier ones first. Out: the page's document. Names, frames, stacks and series (a process's stack)
//! have numbers; a snapshot tells which series changed, and by how much.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::levels::Levels;
use crate::output::text::{keep_end, printable};
use crate::output::{describe, palette};
use crate::profile::{FrameKind, Profile, Sample, ValueType};

/// Longer names keep their end.
const MAX_NAME: usize = 1000;
/// Frames of a stack that a page has; of more the middle is left out.
const MAX_DEPTH: usize = 256;
/// Changes of values in a page: about 100 MB of a browser's memory.
const MAX_CHANGES: usize = 4_000_000;
/// What a browser's numbers tell exactly.
const LARGEST: u64 = (1 << 53) - 1;

/// Profiles over time.
#[derive(Default)]
pub struct Book {
    pub document: Document,
    strings: HashMap<String, u32>,
    frames: HashMap<[u32; 4], u32>,
    nodes: HashMap<(u32, u32), u32>,
    processes: HashMap<(u32, u64, u32), u32>,
    series: HashMap<(u32, u32), u32>,
    /// By series: as of the last snapshot.
    last: Vec<Vec<u64>>,
    changes: usize,
}

/// Why a page can't have a profile.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("is too much for one page: choose a shorter time or one process")]
    TooMuch,
    #[error("measures something else later on: choose a time in which it does not change")]
    Changes,
}

/// As the page's script reads it.
#[derive(Default, Serialize)]
pub struct Document {
    pub title: String,
    pub values: Vec<Value>,
    /// What is shown first.
    pub value: usize,
    kinds: Vec<Kind>,
    strings: Vec<String>,
    frames: Frames,
    nodes: Nodes,
    processes: Vec<Process>,
    series: Series,
    shots: Vec<Shot>,
    pub levels: Levels,
    /// What there is to say of the page itself.
    pub notes: Vec<String>,
}

#[derive(Serialize, PartialEq)]
pub struct Value {
    kind: &'static str,
    unit: &'static str,
    noun: &'static str,
    /// Whether it says how much there is at a moment.
    level: bool,
}

#[derive(Serialize)]
struct Kind {
    label: &'static str,
    color: String,
}

/// Function and file are strings.
#[derive(Default, Serialize)]
struct Frames {
    function: Vec<u32>,
    file: Vec<u32>,
    line: Vec<u32>,
    kind: Vec<u32>,
    color: Vec<String>,
}

/// A stack is told by its innermost node; parents are numbers of nodes plus one, 0 for none.
#[derive(Default, Serialize)]
struct Nodes {
    parent: Vec<u32>,
    frame: Vec<u32>,
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    name: String,
    facts: String,
}

/// Nodes are numbers plus one, 0 for none.
#[derive(Default, Serialize)]
struct Series {
    process: Vec<u32>,
    node: Vec<u32>,
}

#[derive(Serialize)]
struct Shot {
    /// Milliseconds since 1970.
    begin: u64,
    end: u64,
    facts: Vec<u32>,
    losses: Vec<u32>,
    /// Which series changed: how many are left out between one and the next.
    gaps: Vec<u32>,
    /// By value: by how much.
    by: Vec<Vec<i64>>,
}

impl Book {
    /// Adds a later profile.
    ///
    /// # Errors
    /// There is no room for it, or it has other values than those before.
    pub fn add(&mut self, profile: &Profile) -> Result<(), Refused> {
        let values: Vec<Value> = profile.meta.value_types.iter().copied().map(Value::of).collect();
        if self.document.shots.is_empty() {
            self.document.value = profile.meta.default_value;
            self.document.values = values;
            self.document.kinds = FrameKind::ALL.into_iter().map(Kind::of).collect();
        } else if self.document.values != values {
            return Err(Refused::Changes);
        }
        self.document.title = describe::title(profile);
        let now = self.values(profile);
        let width = self.document.values.len();
        let mut shot = self.shot(profile, width);
        let mut next = 0;
        for (series, now) in now.into_iter().enumerate() {
            let before = &mut self.last[series];
            if *before == now {
                continue;
            }
            for ((by, before), now) in shot.by.iter_mut().zip(before.iter()).zip(&now) {
                by.push(*now as i64 - *before as i64);
            }
            shot.gaps.push(series as u32 - next);
            next = series as u32 + 1;
            *before = now;
        }
        self.changes += shot.gaps.len();
        if self.changes > MAX_CHANGES {
            return Err(Refused::TooMuch);
        }
        self.document.shots.push(shot);
        Ok(())
    }

    /// The number of a process that has stacks.
    pub fn known(&self, pid: u32, start: u64, comm: &str) -> Option<u32> {
        let comm = self.strings.get(&*printable(comm))?;
        self.processes.get(&(pid, start, *comm)).copied()
    }

    /// By series: what they are now; 0 for those that are not there any more.
    fn values(&mut self, profile: &Profile) -> Vec<Vec<u64>> {
        let width = self.document.values.len();
        let mut processes: Vec<Option<u32>> = vec![None; profile.processes.len()];
        let mut locations: Vec<Option<Vec<u32>>> = vec![None; profile.locations.len()];
        let mut now = vec![vec![0_u64; width]; self.last.len()];
        // Equal profiles make equal pages, in whatever order their samples are.
        for sample in profile.sorted(self.document.value) {
            let at = sample.process.0 as usize;
            let process = match processes[at] {
                Some(known) => known,
                None => self.process(profile, at),
            };
            processes[at] = Some(process);
            let node = self.node(profile, sample, &mut locations);
            let series = &mut self.document.series;
            let (number, is_new) = number(&mut self.series, (process, node));
            if is_new {
                series.process.push(process);
                series.node.push(node);
                self.last.push(vec![0; width]);
                now.push(vec![0; width]);
            }
            for (at, sum) in now[number as usize].iter_mut().enumerate() {
                *sum = sum.saturating_add(sample.value(at)).min(LARGEST);
            }
        }
        now
    }

    fn shot(&mut self, profile: &Profile, width: usize) -> Shot {
        let meta = &profile.meta;
        let millis = |time: std::time::SystemTime| {
            time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
        };
        let mut facts = vec![describe::method(profile), describe::verdict(profile).to_owned()];
        facts.extend(describe::first_costs(profile));
        facts.extend(meta.notes.iter().map(|note| printable(note).into_owned()));
        let losses = describe::losses(profile);
        Shot {
            begin: millis(meta.started),
            end: millis(meta.started + meta.duration),
            facts: facts.iter().map(|fact| self.string(fact)).collect(),
            losses: losses.iter().map(|loss| self.string(loss)).collect(),
            gaps: Vec::new(),
            by: vec![Vec::new(); width],
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        self.document.strings.push(text.to_owned());
        number(&mut self.strings, text.to_owned()).0
    }

    fn process(&mut self, profile: &Profile, at: usize) -> u32 {
        let process = &profile.processes[at];
        let comm = self.string(&printable(&process.comm));
        let (number, is_new) =
            number(&mut self.processes, (process.pid, process.start_ticks, comm));
        if is_new {
            self.document.processes.push(Process {
                pid: process.pid,
                name: format!("{} ({})", printable(&process.comm), process.who()),
                facts: describe::process(process),
            });
        }
        number
    }

    /// The node of a stack.
    fn node(
        &mut self,
        profile: &Profile,
        sample: &Sample,
        locations: &mut [Option<Vec<u32>>],
    ) -> u32 {
        let mut stack: Vec<u32> = Vec::new();
        for id in sample.stack.iter().rev() {
            let known = locations[id.0 as usize].take();
            let frames = known.unwrap_or_else(|| self.location(profile, id.0 as usize));
            stack.extend(&frames);
            locations[id.0 as usize] = Some(frames);
        }
        if stack.len() > MAX_DEPTH {
            let out = stack.len() - MAX_DEPTH + 1;
            let left_out = self.frame(&format!("[… {out} frames]"), "", 0, FrameKind::Marker);
            stack.splice(MAX_DEPTH / 2..MAX_DEPTH / 2 + out, [left_out]);
        }
        let mut parent = 0;
        for frame in stack {
            let (node, is_new) = number(&mut self.nodes, (parent, frame));
            if is_new {
                self.document.nodes.parent.push(parent);
                self.document.nodes.frame.push(frame);
            }
            parent = node + 1;
        }
        parent
    }

    /// Frames of a location, outermost first.
    fn location(&mut self, profile: &Profile, at: usize) -> Vec<u32> {
        let text = |name| profile.names.text(name);
        let frames = profile.locations[at].frames.iter().rev();
        frames.map(|f| self.frame(text(f.function), text(f.file), f.line, f.kind)).collect()
    }

    fn frame(&mut self, function: &str, file: &str, line: u32, kind: FrameKind) -> u32 {
        let shown = printable(function);
        let shown = if shown.trim().is_empty() { "[unnamed]" } else { &*shown };
        let function = self.string(&keep_end(shown, MAX_NAME));
        let file = self.string(&keep_end(&printable(file), MAX_NAME));
        let at = FrameKind::ALL.iter().position(|known| *known == kind).unwrap_or(0) as u32;
        let (number, is_new) = number(&mut self.frames, [function, file, line, at]);
        if is_new {
            let frames = &mut self.document.frames;
            frames.function.push(function);
            frames.file.push(file);
            frames.line.push(line);
            frames.kind.push(at);
            frames.color.push(hex(palette::color(kind, shown)));
        }
        number
    }
}

impl Value {
    fn of(of: ValueType) -> Self {
        Self { kind: of.kind, unit: of.unit, noun: describe::unit(of), level: of.is_level() }
    }
}

impl Kind {
    fn of(kind: FrameKind) -> Self {
        Self { label: palette::label(kind), color: hex(palette::typical(kind)) }
    }
}

/// The number of a key, and whether it is a new one.
fn number<K: Hash + Eq>(known: &mut HashMap<K, u32>, key: K) -> (u32, bool) {
    let next = known.len() as u32;
    let number = *known.entry(key).or_insert(next);
    (number, number == next)
}

fn hex(color: inferno::flamegraph::color::Color) -> String {
    format!("{:02x}{:02x}{:02x}", color.r, color.g, color.b)
}
