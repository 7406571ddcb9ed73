//! One running program, read again and again.
//!
//! In: an opened process. Out: its readings as [`Figures`], and what is told of them. A look rests in proportion to
//! what it took: of programs with many goroutines there are fewer.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::Told;
use crate::exit::Failure;
use crate::forecast::{FEWEST, Figures, Forecast, Goes, Group, SHORTEST};
use crate::host::{Identity, MemoryReader, MemoryUse, Nearest};
use crate::pipeline::counted;
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::stats::{Snapshot, snapshot};
use crate::runtime::stats::Stats;

/// How long a look rests, in the time that it took.
const REST: u32 = 30;

/// What is known of a process.
pub struct Watched {
    began: Instant,
    due: Instant,
    readings: Vec<Figures>,
    last: Snapshot,
}

impl Watched {
    /// With its first reading.
    ///
    /// # Errors
    /// It is gone, or its records can't be read.
    pub fn new(process: &Rc<LiveProcess>, memory: &mut MemoryReader) -> Result<Self, Failure> {
        let began = Instant::now();
        let last = snapshot(process, memory)?;
        let mut new = Self { began, due: began, readings: Vec::new(), last };
        new.add(began, memory);
        Ok(new)
    }

    pub fn id(&self) -> Identity {
        self.last.id
    }

    /// Reads, if that is due.
    ///
    /// # Errors
    /// It is gone, or its records can't be read.
    pub fn look(
        &mut self,
        process: &Rc<LiveProcess>,
        memory: &mut MemoryReader,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        if now >= self.due {
            self.last = snapshot(process, memory)?;
            self.add(now, memory);
        }
        Ok(())
    }

    /// Adds what was read from then on.
    fn add(&mut self, then: Instant, memory: &mut MemoryReader) {
        let group = memory.nearest(self.last.id.pid);
        let at = (then - self.began).as_secs_f64();
        let goroutines = self.last.goroutines;
        let counted = (goroutines.unreadable == 0).then_some(goroutines.program);
        let Snapshot { id, stats, memory, .. } = &self.last;
        self.readings.push(figures(at, *id, stats, memory, counted, group));
        let now = Instant::now();
        self.due = now + (now - then) * REST;
    }

    /// What follows; nothing where nothing was read.
    pub(super) fn tell(self) -> Option<Told> {
        let forecast = Forecast::of(&self.readings)?;
        let has_ended = !self.last.id.is_alive();
        let mut notes = Vec::new();
        let Forecast { seconds, readings, collections, .. } = forecast;
        if forecast.is_too_early() {
            notes.push(format!(
                "too early to tell a trend: {readings} readings in {seconds:.0} s; it takes {} s (--for \
                 looks longer)",
                SHORTEST.as_secs()
            ));
        } else if forecast.courses.live.way == Goes::TooEarly {
            notes.push(format!(
                "too early to tell where its live heap goes: {} in {seconds:.0} s; it takes what stands \
                 after {FEWEST} or more, {} s apart (--for looks longer)",
                counted(collections as usize, "collection"),
                SHORTEST.as_secs()
            ));
        }
        if self.last.memory.swapped.is_some_and(|bytes| bytes > 0) {
            notes.push("part of it is swapped out: that is not in what is resident".to_owned());
        }
        Some(Told { who: self.last, forecast, has_ended, notes })
    }
}

/// A reading as forecasts take it.
pub fn figures(
    at: f64,
    id: Identity,
    stats: &Stats,
    memory: &MemoryUse,
    goroutines: Option<u64>,
    group: Option<Nearest>,
) -> Figures {
    let (heap, gc, allocated) = (&stats.heap, &stats.collector, &stats.allocated);
    let group = group.map(|nearest| Group {
        path: nearest.path,
        usage: nearest.usage,
        droppable: nearest.droppable,
        limit: nearest.limit,
    });
    Figures {
        at,
        resident: memory.resident,
        group,
        cpu: id.cpu_time().map(|taken| taken.as_secs_f64()),
        goroutines,
        sys: stats.sys,
        released: heap.released,
        in_use: heap.in_use,
        idle: heap.idle,
        alloc: heap.alloc,
        marked: heap.marked,
        goal: heap.goal,
        stacks: stats.stacks_in_use,
        allocated: allocated.bytes,
        objects: allocated.objects,
        large: allocated.large.bytes,
        exact: stats.exact,
        large_there: allocated.large.bytes.saturating_sub(allocated.large.freed_bytes),
        cycles: gc.cycles,
        collected: collected(id, stats),
        gc_share: gc.cpu_fraction,
        procs: stats.procs,
        gogc: gc.percent,
        memory_limit: gc.memory_limit,
        limit_binds: gc.limit_binds,
    }
}

/// Seconds between the begin of a process and the end of its last collection; nothing: there was none. The runtime
/// keeps times of day; its share of CPU time is of this time.
pub fn collected(id: Identity, stats: &Stats) -> Option<f64> {
    let last = Duration::from_nanos(stats.collector.last_unix_ns);
    let ago = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + last).unwrap_or_default();
    (!last.is_zero()).then(|| id.age().saturating_sub(ago).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_that_were_read() {
        let snapshot = super::super::tests::snapshot();
        let nearest = Nearest { path: "/a".into(), usage: 9, droppable: Some(4), limit: 12 };
        let Snapshot { id, stats, memory, .. } = &snapshot;
        let figures = figures(2.5, *id, stats, memory, Some(120), Some(nearest));
        assert_eq!((figures.at, figures.group.as_ref().unwrap().kept()), (2.5, 5));
        assert_eq!(figures.mapped(), stats.sys - stats.heap.released);
        assert_eq!(figures.kept_idle(), stats.heap.idle - stats.heap.released);
        assert_eq!(figures.lasting(), figures.mapped() - (7 << 20) - (3 << 20));
        assert_eq!(figures.large_there, 9 << 20);
        assert_eq!((figures.gogc, figures.memory_limit), (Some(100), Some(512 << 20)));
        assert_eq!(figures.goroutines, Some(120));
    }
}
