//! What grows in one process, over the last ten minutes or so.
//!
//! In: looks at its heap, its goroutines and its memory. Out: findings, as `heaptap leaks` tells them. What is kept is
//! bounded: a window is let go of when another one, begun in its middle, can take its place.

use std::rc::Rc;

use crate::agent::node::{Finding, Frame};
use crate::pipeline::leaks::creators::{Creators, Seen};
use crate::pipeline::leaks::watched::{alive, mapped, off_heap_grown};
use crate::pipeline::leaks::{self};
use crate::pipeline::opened::LiveProcess;
use crate::profile::trend::{Doubt, History, Place, Point};
use crate::profile::{ProcessId, Profile};
use crate::runtime::stats::Stats;

/// Seconds of a window.
const WINDOW: f64 = 600.0;
/// So many findings are told.
const MOST: usize = 50;

/// A window, and the one that will take its place.
pub struct Growth {
    process: Rc<LiveProcess>,
    older: Window,
    newer: Option<Window>,
}

struct Window {
    began: f64,
    heap: History,
    creators: Creators,
    /// Resident memory beyond what the runtime mapped.
    off_heap: Vec<Point>,
}

impl Window {
    fn new(process: &Rc<LiveProcess>, began: f64) -> Self {
        let (heap, off_heap) = Default::default();
        Self { began, heap, creators: Creators::new(process), off_heap }
    }
}

impl Growth {
    pub fn new(process: &Rc<LiveProcess>) -> Self {
        Self { process: Rc::clone(process), older: Window::new(process, 0.0), newer: None }
    }

    /// Seconds since the first look; each kind of look passes its own.
    fn windows(&mut self, at: f64) -> impl Iterator<Item = &mut Window> {
        if self.newer.is_none() && at - self.older.began > WINDOW / 2.0 {
            self.newer = Some(Window::new(&self.process, at));
        }
        if at - self.older.began > WINDOW
            && let Some(newer) = self.newer.take()
        {
            self.older = newer;
        }
        std::iter::once(&mut self.older).chain(&mut self.newer)
    }

    pub fn heap(&mut self, at: f64, profile: &Profile) {
        for window in self.windows(at) {
            window.heap.add(at, profile, ProcessId(0));
        }
    }

    pub fn goroutines(&mut self, at: f64, allocated: u64, seen: &Seen) {
        for window in self.windows(at) {
            window.creators.add(at, allocated as f64, seen);
        }
    }

    pub fn level(&mut self, at: f64, stats: &Stats, resident: Option<u64>) {
        for window in self.windows(at) {
            window.heap.count(at, stats.collector.cycles, alive(stats));
            window.off_heap.extend(resident.map(|resident| Point {
                at,
                live: resident.saturating_sub(mapped(stats)) as f64,
                ..Point::default()
            }));
        }
    }

    /// What grows; leaks first, then what grows fastest.
    pub fn judge(&mut self) -> Vec<Finding> {
        let window = &mut self.older;
        let mut found: Vec<leaks::Finding> =
            window.heap.grown().into_iter().map(leaks::Finding::from).collect();
        found.extend(window.creators.grown());
        found.extend(off_heap_grown(&window.off_heap));
        found.sort_by_key(|finding| std::cmp::Reverse(finding.trend.verdict));
        found.truncate(MOST);
        found.into_iter().map(told).collect()
    }
}

fn told(finding: leaks::Finding) -> Finding {
    let frame = |place: &Place| Frame {
        function: place.function.clone(),
        file: place.file.clone(),
        line: place.line,
    };
    let trend = &finding.trend;
    Finding {
        of: finding.of.word(),
        verdict: trend.verdict.word(),
        place: finding.place.as_ref().map(frame),
        stack: finding.stack.iter().map(frame).collect(),
        slope: trend.slope,
        error: trend.error,
        grew: trend.grew,
        live: finding.live,
        seconds: trend.span,
        doubts: trend.doubts.iter().copied().map(Doubt::text).collect(),
    }
}
