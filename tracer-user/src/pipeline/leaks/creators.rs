//! Goroutines by the statement that made them, over time.
//!
//! In: a live process. Out: which creators' goroutines grow in number. Each is counted, none is sampled, and
//! their ids tell who is new.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::{Finding, What};
use crate::address::RuntimeAddr;
use crate::pipeline::naming::Namer;
use crate::pipeline::opened::LiveProcess;
use crate::profile::trend::{Place, Point, Verdict, judge};
use crate::profile::{BinaryId, FrameKind, GOROUTINE, Meta, Profile, Source};
use crate::runtime::Error;
use crate::runtime::g::{Entry, G, MAX_GOROUTINES, WAITING};

/// Goroutines of one process.
pub struct Creators {
    process: Rc<LiveProcess>,
    /// Those of the last look by id, with what changes when they run.
    last: Vec<(u64, u8)>,
    by: HashMap<RuntimeAddr, Row>,
    /// When there were looks, and what was allocated until then.
    looks: Vec<(f64, f64)>,
}

#[derive(Default)]
struct Row {
    made: u64,
    live: u64,
    /// Waiting, and as it was at the look before.
    blocked: u64,
    points: Vec<(u32, u64, u64)>,
}

/// The program's goroutines at one look.
#[derive(Debug, Default)]
pub struct Seen(Vec<(u64, u8, RuntimeAddr, bool)>);

impl Seen {
    /// Adds one, if it is the program's.
    pub fn add(&mut self, g: &G) {
        if !g.system {
            self.0.push((g.id, g.stops, g.gopc, g.status == WAITING));
        }
    }

    /// Each of them once.
    pub fn done(mut self) -> Self {
        self.0.sort_unstable_by_key(|(id, ..)| *id);
        self.0.dedup_by_key(|(id, ..)| *id);
        self
    }
}

impl Creators {
    pub fn new(process: &Rc<LiveProcess>) -> Self {
        let (last, by, looks) = Default::default();
        Self { process: Rc::clone(process), last, by, looks }
    }

    /// Counts them.
    ///
    /// # Errors
    /// The list can't be read consistently, or the process is gone.
    pub fn look(&mut self, at: f64, allocated: f64) -> Result<(), Error> {
        let mut seen = Seen(Vec::with_capacity(self.last.len() + 16));
        self.process.live.each_goroutine(MAX_GOROUTINES, |entry| {
            if let Entry::Live(g) = entry {
                seen.add(&g);
            }
        })?;
        self.add(at, allocated, &seen.done());
        Ok(())
    }

    /// Adds a look.
    pub fn add(&mut self, at: f64, allocated: f64, seen: &Seen) {
        for row in self.by.values_mut() {
            (row.live, row.blocked) = (0, 0);
        }
        for (id, stops, creator, waits) in &seen.0 {
            let row = self.by.entry(*creator).or_default();
            row.live += 1;
            match self.last.binary_search_by_key(id, |(id, _)| *id) {
                Ok(known) => {
                    row.blocked += u64::from(*waits && self.last[known].1 == *stops);
                }
                Err(_) => row.made += 1,
            }
        }
        self.last.clear();
        self.last.extend(seen.0.iter().map(|(id, stops, ..)| (*id, *stops)));
        let look = self.looks.len() as u32;
        self.looks.push((at, allocated));
        for row in self.by.values_mut() {
            let is_same = row
                .points
                .last()
                .is_some_and(|(_, live, made)| (*live, *made) == (row.live, row.made));
            if !is_same {
                row.points.push((look, row.live, row.made));
            }
        }
    }

    /// Creators whose goroutines are more and more.
    pub fn grown(&mut self) -> Vec<Finding> {
        let load: Vec<f64> = self.looks.iter().map(|(_, allocated)| *allocated).collect();
        let mut grown = Vec::new();
        for (creator, row) in &self.by {
            let mut now = (0, 0);
            let mut changes = row.points.iter().peekable();
            let points: Vec<Point> = (0_u32..)
                .zip(&self.looks)
                .map(|(look, (at, _))| {
                    if let Some((_, live, made)) = changes.next_if(|(of, ..)| *of == look) {
                        now = (*live, *made);
                    }
                    let (live, made) = (now.0 as f64, now.1 as f64);
                    Point { at: *at, live, made, live_hits: live, made_hits: made }
                })
                .collect();
            let trend = judge(&points, &load);
            if matches!(trend.verdict, Verdict::Leak | Verdict::Growing) {
                grown.push((*creator, trend, row.live, row.blocked));
            }
        }
        grown.sort_by(|a, b| b.1.slope.total_cmp(&a.1.slope).then(a.0.cmp(&b.0)));
        let mut names = self.names();
        let finding = |(creator, trend, live, blocked): (RuntimeAddr, _, u64, u64)| {
            let stack = self.statement(&mut names, creator);
            let own = stack.iter().find(|place| place.kind == FrameKind::Program);
            Finding {
                of: What::Goroutines,
                trend,
                place: own.or(stack.first()).cloned(),
                stack,
                stacks: 1,
                keeper: None,
                live: live as f64,
                objects: None,
                blocked: Some(blocked),
            }
        };
        grown.into_iter().map(finding).collect()
    }

    fn names(&self) -> (Namer, Profile) {
        let meta = Meta {
            source: Source::Records,
            method: None,
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            value_types: vec![GOROUTINE],
            default_value: 0,
            period: None,
            counters: Vec::new(),
            budget: None,
            in_windows: false,
            notes: Vec::new(),
        };
        (Namer::new(self.process.live.program.go.clone(), BinaryId(0)), Profile::new(meta))
    }

    /// The `go` statement, by the address behind its call; with what it is inlined into.
    fn statement(&self, names: &mut (Namer, Profile), creator: RuntimeAddr) -> Vec<Place> {
        let (namer, profile) = names;
        let live = &self.process.live;
        let at = live.bias.to_vaddr(creator);
        let Some(function) = live.program.go.function_at(at) else { return Vec::new() };
        let call = RuntimeAddr(creator.0 - u64::from(at > function.entry));
        let Some(location) = namer.place(profile, live.bias.to_vaddr(call)) else {
            return Vec::new();
        };
        let frames = &profile.locations[location.0 as usize].frames;
        let place = |frame: &crate::profile::Frame| Place {
            function: profile.names.shared(frame.function).clone(),
            file: profile.names.shared(frame.file).clone(),
            line: frame.line,
            kind: frame.kind,
        };
        frames.iter().map(place).collect()
    }
}
