//! The course of a process's main numbers, for whoever looks at it later.
//!
//! In: pictures. Out: points, the newer ones as often as there were pictures, the older ones ever further apart; never
//! more than so many.

use std::collections::HashMap;
use std::time::SystemTime;

use super::node::{Node, Process};
use crate::host::Identity;

/// Points of one process.
const MOST: usize = 600;

/// One moment of a process. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since 1970.
    pub time: u64,
    pub heap_live: u64,
    pub heap_goal: Option<u64>,
    pub resident: Option<u64>,
    /// Since the program began.
    pub allocated: u64,
    pub goroutines: Option<u64>,
    /// From 0 to 1.
    pub gc_pressure: Option<f64>,
}

/// All processes that are there.
#[derive(Debug, Default)]
pub struct Timelines(HashMap<Identity, Vec<Point>>);

impl Timelines {
    /// Adds a picture; who is not in it is forgotten.
    pub fn add(&mut self, node: &Node) {
        let time = millis(node.time);
        self.0.retain(|id, _| node.processes.iter().any(|process| process.who.id == *id));
        for process in &node.processes {
            let points = self.0.entry(process.who.id).or_default();
            points.push(point(time, process));
            if points.len() > MOST {
                let mut at = 0;
                // Of the older half every second goes.
                points.retain(|_| {
                    at += 1;
                    at > MOST / 2 || at % 2 == 1
                });
            }
        }
    }

    pub fn of(&self, id: Identity) -> &[Point] {
        self.0.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn point(time: u64, process: &Process) -> Point {
    let Process { stats, memory, gc, .. } = process;
    Point {
        time,
        heap_live: stats.heap.marked,
        heap_goal: stats.heap.goal,
        resident: memory.resident,
        allocated: stats.allocated.bytes,
        goroutines: process.goroutines.as_ref().map(|told| told.program),
        gc_pressure: gc.pressure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::node::made;
    use std::time::Duration;

    #[test]
    fn a_course_is_bounded_and_its_end_is_whole() {
        let mut lines = Timelines::default();
        let mut node = made::node();
        let id = node.processes[0].who.id;
        for second in 0..5000 {
            node.time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            lines.add(&node);
        }
        let points = lines.of(id);
        assert!((MOST / 2..=MOST).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0].time, points[points.len() - 1].time), (0, 4_999_000));
        let newest = &points[points.len() - MOST / 2 + 1..];
        assert!(newest.windows(2).all(|pair| pair[1].time - pair[0].time == 1000));
        assert!(points.is_sorted_by_key(|point| point.time));
        node.processes.clear();
        lines.add(&node);
        assert!(lines.of(id).is_empty());
    }
}
