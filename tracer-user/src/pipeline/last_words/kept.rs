//! The last looks at one process, as few bytes as they were read: nothing is named before it has to be.
//!
//! In: an opened process, and how near it is to its limit. Out: looks, more of them the nearer it is. Looking rests
//! longer than it takes, however near the limit is.

use std::collections::{HashMap, VecDeque};
use std::mem::size_of;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::spread;
use crate::cli::watch::Config;
use crate::exit::Failure;
use crate::host::{MemoryReader, MemoryUse};
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::{goroutines, stats};
use crate::runtime::buckets::{HeapBucket, HeapRecords, Limits};

/// How far apart they are while tasks wait for memory for this part of the time.
const PRESSED: Duration = Duration::from_secs(1);
const STALLS: f64 = 0.1;
/// Looks are not nearer to each other than this.
const NEAREST: Duration = Duration::from_millis(150);
/// How far apart they are near the limit.
const NEAR: Duration = Duration::from_millis(400);
/// A process that has taken this part of its limit since the last look is looked at again.
const GROWN: f64 = 0.05;
/// How often its memory is asked for below half of its limit.
const FAR: Duration = Duration::from_millis(500);
/// How long looking rests, in the time that it took: near the limit, and far from it.
const RESTS: (u32, u32) = (5, 50);
/// Goroutines whose stacks are read at most.
const GOROUTINES: u64 = 20_000;

/// One process that is watched.
pub struct Kept {
    pub target: Rc<LiveProcess>,
    pub looks: VecDeque<Look>,
    goroutines: goroutines::Watched,
    /// When its goroutines were read last.
    pub goroutines_at: Option<SystemTime>,
    checked: Option<Instant>,
    /// Of its limit, as of then.
    share: Option<f64>,
    /// How long tasks of its group had waited for memory until then, and whether they did so lately.
    stalled: Option<Duration>,
    is_pressed: bool,
    /// At the last look.
    share_then: f64,
    took: Duration,
    /// Why the last look failed.
    pub failed: Option<Failure>,
}

/// What one look told.
pub struct Look {
    pub at: Instant,
    pub time: SystemTime,
    pub stats: stats::Snapshot,
    /// Nothing where the runtime's sampler is off.
    pub heap: Option<HeapRecords>,
}

impl Look {
    fn bytes(&self) -> usize {
        let heap = self
            .heap
            .as_ref()
            .map_or(0, |heap| heap.buckets.len() * size_of::<HeapBucket>() + heap.stacks.bytes());
        size_of::<Self>() + heap
    }
}

impl Kept {
    pub fn new(target: &Rc<LiveProcess>) -> Self {
        Self {
            target: Rc::clone(target),
            looks: VecDeque::new(),
            goroutines: goroutines::Watched::new(target),
            goroutines_at: None,
            checked: None,
            share: None,
            stalled: None,
            is_pressed: false,
            share_then: 0.0,
            took: Duration::ZERO,
            failed: None,
        }
    }

    pub fn is_of(&self, target: &Rc<LiveProcess>) -> bool {
        Rc::ptr_eq(&self.target, target)
    }

    pub fn is_there(&self) -> bool {
        self.target.is_there()
    }

    pub fn goroutines(&self) -> Option<&crate::output::goroutines::Goroutines> {
        self.goroutines_at.map(|_| self.goroutines.goroutines())
    }

    /// Looks at it if it is time.
    pub fn look(&mut self, config: &Config, memory: &mut MemoryReader) {
        let now = Instant::now();
        let far = self.share.is_none_or(|share| share < 0.5);
        let checked = self.checked.is_some_and(|at| far && now - at < FAR);
        if !checked {
            let before = self.checked.replace(now);
            let pid = self.target.process.id.pid;
            let used = memory.of(pid).ok();
            let brakes = memory.brakes(pid);
            self.share = used.and_then(|used| self.share(&used, brakes.high));
            let stalled = self.stalled.zip(brakes.stalled);
            self.is_pressed = before.zip(stalled).is_some_and(|(before, (then, stalled))| {
                stalled.saturating_sub(then) > (now - before).mul_f64(STALLS)
            });
            self.stalled = brakes.stalled;
        }
        if self.is_due(config, now) {
            self.look_now(config, now, memory);
        }
    }

    fn is_due(&self, config: &Config, now: Instant) -> bool {
        let Some(last) = self.looks.back() else { return true };
        let since = now - last.at;
        let share = self.share.unwrap_or(0.0);
        let is_near = share >= config.near;
        let has_grown = share - self.share_then >= GROWN;
        let (hurried, calm) = RESTS;
        let rest = self.took * if is_near || has_grown { hurried } else { calm };
        since >= wait(config.every, has_grown, is_near, self.is_pressed).max(rest)
    }

    /// How much of its limit it uses: of the lowest of its control groups', of the usage beyond which the kernel slows
    /// it down, and of the one that it was given itself.
    fn share(&self, used: &MemoryUse, high: Option<u64>) -> Option<f64> {
        let group = used.cgroup.and_then(|group| {
            let limit = [group.limit, high].into_iter().flatten().min()?;
            Some((group.usage, limit))
        });
        let own = self.looks.back().and_then(|look| look.stats.stats.collector.memory_limit);
        let own = own.and_then(|limit| Some((used.resident?, limit)));
        let share = |(usage, limit): (u64, u64)| usage as f64 / limit.max(1) as f64;
        group.into_iter().chain(own).map(share).max_by(f64::total_cmp)
    }

    fn look_now(&mut self, config: &Config, now: Instant, memory: &mut MemoryReader) {
        let time = SystemTime::now();
        let stats = match stats::snapshot(&self.target, memory) {
            Ok(stats) => stats,
            // One that ends is told by the kernel.
            Err(failure) => {
                self.failed = Some(failure);
                self.took = now.elapsed();
                return;
            }
        };
        let heap = self.target.live.heap_records(Limits::default());
        let heap = match heap {
            Ok(heap) => Some(heap).filter(|heap| heap.rate > 0),
            Err(err) => {
                self.failed = Some(Failure::new(err.exit(), err.to_string()));
                None
            }
        };
        if stats.goroutines.program <= GOROUTINES && self.goroutines.look().is_ok() {
            self.goroutines_at = Some(time);
        }
        self.share_then = self.share.unwrap_or(0.0);
        self.looks.push_back(Look { at: now, time, stats, heap });
        if self.looks.len() > config.keep {
            self.forget_one();
        }
        self.took = now.elapsed();
    }

    /// Lets the look go that is missed least.
    fn forget_one(&mut self) {
        let times: Vec<Instant> = self.looks.iter().map(|look| look.at).collect();
        self.looks.remove(spread::least(&times));
    }

    fn bytes(&self) -> usize {
        self.looks.iter().map(Look::bytes).sum()
    }
}

/// How far apart looks are.
fn wait(every: Duration, has_grown: bool, is_near: bool, is_pressed: bool) -> Duration {
    match (has_grown, is_near, is_pressed) {
        (true, ..) => NEAREST,
        (_, true, _) => NEAR.min(every),
        (_, _, true) => PRESSED.min(every),
        _ => every,
    }
}

/// Lets looks go until all together have no more than so many bytes, of who has the most; the last one of each
/// stays. How many went.
pub fn make_room(all: &mut HashMap<u32, Kept>, most: usize) -> u64 {
    let mut bytes: usize = all.values().map(Kept::bytes).sum();
    let mut dropped = 0;
    while bytes > most {
        let several = all.values_mut().filter(|kept| kept.looks.len() > 1);
        let Some(largest) = several.max_by_key(|kept| kept.bytes()) else { break };
        bytes -= largest.bytes();
        largest.forget_one();
        bytes += largest.bytes();
        dropped += 1;
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_end_the_nearer_are_looks() {
        let every = Duration::from_secs(5);
        let waits = [
            wait(every, false, false, false),
            wait(every, false, false, true),
            wait(every, false, true, true),
            wait(every, true, true, true),
        ];
        assert_eq!(waits, [every, PRESSED, NEAR, NEAREST]);
        assert!(waits.is_sorted_by(|a, b| a > b));
        let often = Duration::from_millis(200);
        assert_eq!(wait(often, false, true, true), often);
        assert_eq!(wait(often, false, false, true), often);
    }
}
