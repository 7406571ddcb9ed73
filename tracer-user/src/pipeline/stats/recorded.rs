//! Statistics as recordings have them: everything that was read of a process, by name, and back.
//!
//! In: snapshots of processes, or what a recording has. Out: the other. Names are the paths of the fields of a process in
//! `heaptap.stats/1` (docs/stats-json.md); what follows from others is left out. Each is told once, for both ways.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Round, Snapshot, snapshot};
use crate::exit::{Exit, Failure};
use crate::host::{CgroupMemory, Identity, MemoryReader, MemoryUse};
use crate::output::json::unix_ns;
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::roster::Unseen;
use crate::profile::Workload;
use crate::recording::{Reading, Statistics, Unread, Value};
use crate::runtime::g::Goroutines;
use crate::runtime::stats::{Class, Pause, Phase, Stats};

/// Statistics that are read along with something else, for a recording.
pub struct Beside {
    memory: MemoryReader,
    statistics: Statistics,
}

impl Beside {
    /// Nobody yet.
    pub fn new() -> Self {
        let statistics = Statistics { time: unix_ns(SystemTime::now()), ..Statistics::default() };
        Self { memory: MemoryReader::default(), statistics }
    }

    /// Reads a process, or keeps why that can't be done.
    pub fn look(&mut self, process: &LiveProcess) {
        match snapshot(process, &mut self.memory) {
            Ok(snapshot) => self.statistics.readings.push(reading(snapshot)),
            // What has ended meanwhile was not meant any more.
            Err(_) if !process.is_there() => {}
            Err(failure) => self.statistics.unread.push(unread(&Unseen::new(process, failure))),
        }
    }

    /// What was read; `unseen` are those that could not even be opened, and others.
    pub fn done(mut self, unseen: &[Unseen]) -> Statistics {
        let Statistics { readings, unread: told, .. } = &mut self.statistics;
        let known = readings.iter().map(|of| of.pid).chain(told.iter().map(|of| of.pid));
        let known: HashSet<u32> = known.collect();
        told.extend(unseen.iter().filter(|one| !known.contains(&one.pid)).map(unread));
        self.statistics
    }
}

/// One process at a time.
pub fn alone(time: SystemTime, of: &Snapshot) -> Statistics {
    Statistics { time: unix_ns(time), readings: vec![reading(of.clone())], unread: Vec::new() }
}

impl Round {
    /// As a recording has it.
    pub fn recorded(&self) -> Statistics {
        Statistics {
            time: unix_ns(self.time),
            readings: self.snapshots.iter().cloned().map(reading).collect(),
            unread: self.unseen.iter().map(unread).collect(),
        }
    }

    /// What a recording has; processes of which something is missing are among those that are not seen.
    pub fn of(statistics: &Statistics) -> Self {
        let mut round = Self {
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(statistics.time),
            snapshots: Vec::new(),
            unseen: Vec::new(),
        };
        for reading in &statistics.readings {
            match read(reading) {
                Ok(snapshot) => round.snapshots.push(snapshot),
                Err(unseen) => round.unseen.push(unseen),
            }
        }
        round.unseen.extend(statistics.unread.iter().map(|unread| Unseen {
            pid: unread.pid,
            comm: unread.comm.clone(),
            failure: Failure::new(Exit::Failure, unread.reason.clone()),
        }));
        round
    }
}

fn unread(unseen: &Unseen) -> Unread {
    let reason = unseen.failure.message.clone();
    Unread { pid: unseen.pid, comm: unseen.comm.clone(), reason }
}

/// What a recording keeps of a process.
fn reading(mut snapshot: Snapshot) -> Reading {
    let mut values = Vec::with_capacity(80);
    each(&mut snapshot, &mut |name, field| values.push((Arc::from(name), field.get())));
    Reading { pid: snapshot.id.pid, start: snapshot.id.start, values }
}

/// A process of a recording.
///
/// # Errors
/// Something is missing, or has another kind of value.
fn read(reading: &Reading) -> Result<Snapshot, Unseen> {
    let mut snapshot = Snapshot {
        id: Identity { pid: reading.pid, start: reading.start },
        comm: String::new(),
        path: String::new(),
        go_version: None,
        container: None,
        workload: Workload::default(),
        stats: Stats::default(),
        goroutines: Goroutines::default(),
        memory: MemoryUse::default(),
    };
    let mut wrong: Option<String> = None;
    each(&mut snapshot, &mut |name, field| {
        let value = reading.value(name).unwrap_or(&Value::Nothing);
        if !field.set(value) {
            wrong.get_or_insert_with(|| name.to_owned());
        }
    });
    let Some(name) = wrong else { return Ok(snapshot) };
    let pid = reading.pid;
    let text = format!("process {pid}: the recording does not tell its {name} as it is known here");
    Err(Unseen { pid, comm: snapshot.comm, failure: Failure::new(Exit::Unsupported, text) })
}

/// All that is read of a process but its number and start, by name.
fn each(snapshot: &mut Snapshot, see: &mut dyn FnMut(&str, &mut dyn Field)) {
    let Snapshot { comm, path, go_version, container, workload, .. } = snapshot;
    see("comm", comm);
    see("path", path);
    see("go_version", go_version);
    see("container", container);
    see("container_name", &mut workload.container);
    see("pod_name", &mut workload.pod);
    see("pod_namespace", &mut workload.namespace);
    see("unit", &mut workload.unit);
    let stats = &mut snapshot.stats;
    see("exact", &mut stats.exact);
    let heap = &mut stats.heap;
    see("heap.alloc", &mut heap.alloc);
    see("heap.objects", &mut heap.objects);
    see("heap.sys", &mut heap.sys);
    see("heap.in_use", &mut heap.in_use);
    see("heap.idle", &mut heap.idle);
    see("heap.released", &mut heap.released);
    see("heap.marked", &mut heap.marked);
    see("heap.live", &mut heap.live);
    see("heap.goal", &mut heap.goal);
    see("heap.next_gc_at", &mut heap.trigger);
    let gc = &mut stats.collector;
    see("gc.gogc", &mut gc.percent);
    see("gc.memory_limit", &mut gc.memory_limit);
    see("gc.limit_binds", &mut gc.limit_binds);
    see("gc.phase", &mut gc.phase);
    see("gc.cycles", &mut gc.cycles);
    see("gc.forced", &mut gc.forced);
    see("gc.last_unix_ns", &mut gc.last_unix_ns);
    see("gc.pause_total_ns", &mut gc.pause_total_ns);
    let pauses = &mut gc.pauses;
    let mut end =
        Column { of: pauses, get: |p: &Pause| p.end_unix_ns, set: |p, ns| p.end_unix_ns = ns };
    see("gc.pauses.end_unix_ns", &mut end);
    let mut ns = Column { of: pauses, get: |p: &Pause| p.ns, set: |p, ns| p.ns = ns };
    see("gc.pauses.ns", &mut ns);
    see("gc.cpu_fraction", &mut gc.cpu_fraction);
    see("stacks.in_use", &mut stats.stacks_in_use);
    see("stacks.sys", &mut stats.stacks_sys);
    see("runtime.spans.in_use", &mut stats.spans_in_use);
    see("runtime.spans.sys", &mut stats.spans_sys);
    see("runtime.caches.in_use", &mut stats.caches_in_use);
    see("runtime.caches.sys", &mut stats.caches_sys);
    see("runtime.buckets_sys", &mut stats.buckets_sys);
    see("runtime.gc_sys", &mut stats.gc_sys);
    see("runtime.other_sys", &mut stats.other_sys);
    see("runtime.sys", &mut stats.sys);
    let allocated = &mut stats.allocated;
    see("allocated.bytes", &mut allocated.bytes);
    see("allocated.objects", &mut allocated.objects);
    see("allocated.frees", &mut allocated.frees);
    see("allocated.tiny", &mut allocated.tiny);
    let large = &mut allocated.large;
    see("allocated.large.bytes", &mut large.bytes);
    see("allocated.large.objects", &mut large.objects);
    see("allocated.large.freed_bytes", &mut large.freed_bytes);
    see("allocated.large.frees", &mut large.frees);
    let classes = &mut allocated.classes;
    let mut size = Column {
        of: classes,
        get: |c: &Class| c.size.into(),
        set: |c, size| c.size = u16::try_from(size).unwrap_or(u16::MAX),
    };
    see("allocated.classes.size", &mut size);
    let mut objects = Column { of: classes, get: |c: &Class| c.objects, set: |c, n| c.objects = n };
    see("allocated.classes.objects", &mut objects);
    let mut frees = Column { of: classes, get: |c: &Class| c.frees, set: |c, n| c.frees = n };
    see("allocated.classes.frees", &mut frees);
    let goroutines = &mut snapshot.goroutines;
    see("goroutines.program", &mut goroutines.program);
    see("goroutines.runtime", &mut goroutines.runtime);
    see("goroutines.unreadable", &mut goroutines.unreadable);
    see("sampler_rate", &mut stats.sampler_rate);
    see("gomaxprocs", &mut stats.procs);
    let memory = &mut snapshot.memory;
    see("memory.resident", &mut memory.resident);
    see("memory.anonymous", &mut memory.anonymous);
    see("memory.swapped", &mut memory.swapped);
    let (mut usage, mut limit) =
        memory.cgroup.map_or((None, None), |group| (Some(group.usage), group.limit));
    see("memory.cgroup.usage", &mut usage);
    see("memory.cgroup.limit", &mut limit);
    memory.cgroup = usage.map(|usage| CgroupMemory { usage, limit });
}

/// Something that a recording has a value for.
trait Field {
    fn get(&self) -> Value;
    /// Whether such a value can be one.
    fn set(&mut self, value: &Value) -> bool;
}

/// A field of a kind of values: what is kept of it, and what it is by that.
macro_rules! field {
    ($type:ty, $kind:ident, $kept:expr, $of:expr) => {
        impl Field for $type {
            fn get(&self) -> Value {
                Value::$kind($kept(self))
            }

            fn set(&mut self, value: &Value) -> bool {
                let Value::$kind(value) = value else { return false };
                let Some(of) = $of(value) else { return false };
                *self = of;
                true
            }
        }
    };
}

field!(bool, Flag, |flag: &bool| *flag, |flag: &bool| Some(*flag));
field!(f64, Float, |float: &f64| *float, |float: &f64| Some(*float));
field!(String, Text, String::clone, |text: &String| Some(text.clone()));
field!(u64, Number, |number: &u64| *number, |number: &u64| Some(*number));
field!(u32, Number, |number: &u32| u64::from(*number), |number: &u64| u32::try_from(*number).ok());

impl<T: Field + Default> Field for Option<T> {
    fn get(&self) -> Value {
        self.as_ref().map_or(Value::Nothing, Field::get)
    }

    fn set(&mut self, value: &Value) -> bool {
        if *value == Value::Nothing {
            *self = None;
            return true;
        }
        self.insert(T::default()).set(value)
    }
}

impl Field for Phase {
    fn get(&self) -> Value {
        Value::Text(self.word().to_owned())
    }

    fn set(&mut self, value: &Value) -> bool {
        let known = [Phase::Off, Phase::Mark, Phase::MarkTermination];
        let Value::Text(word) = value else { return false };
        let found = known.into_iter().find(|phase| phase.word() == word);
        found.map(|found| *self = found).is_some()
    }
}

/// One number of each of several things.
struct Column<'a, T> {
    of: &'a mut Vec<T>,
    get: fn(&T) -> u64,
    set: fn(&mut T, u64),
}

impl<T: Default + Clone> Field for Column<'_, T> {
    fn get(&self) -> Value {
        Value::List(self.of.iter().map(self.get).collect())
    }

    fn set(&mut self, value: &Value) -> bool {
        let Value::List(list) = value else { return false };
        if self.of.is_empty() {
            self.of.resize(list.len(), T::default());
        }
        self.of.iter_mut().zip(list).for_each(|(of, number)| (self.set)(of, *number));
        self.of.len() == list.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{made, round};
    use super::super::{json, text};
    use super::*;

    /// Everything that is printed of a round.
    fn printed(round: &Round) -> [String; 4] {
        [
            json::document(round, true).unwrap(),
            json::document(round, false).unwrap(),
            text::once(round, true),
            text::once(round, false),
        ]
    }

    #[test]
    fn what_was_recorded_is_printed_as_it_was() {
        let whole = round();
        assert_eq!(printed(&Round::of(&whole.recorded())), printed(&whole));
        let mut bare = round();
        let snapshot = &mut bare.snapshots[0];
        (snapshot.go_version, snapshot.container) = (None, None);
        snapshot.memory = Default::default();
        let stats = &mut snapshot.stats;
        (stats.heap.goal, stats.heap.trigger) = (None, None);
        stats.collector = Default::default();
        stats.collector.phase = Phase::MarkTermination;
        stats.allocated.classes.clear();
        assert_eq!(printed(&Round::of(&bare.recorded())), printed(&bare));
    }

    #[test]
    fn nothing_of_a_process_is_left_out() {
        let document = serde_json::to_value(json::process(&made())).unwrap();
        let mut paths = BTreeSet::new();
        collect(&document, "", &mut paths);
        // Who it is, and what follows from others.
        for other in ["pid", "start_ticks", "memory.off_heap"] {
            assert!(paths.remove(other), "{other}");
        }
        let reading = reading(made());
        let names: BTreeSet<String> =
            reading.values.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, paths);
        assert_eq!(names.len(), reading.values.len());
    }

    fn collect(value: &serde_json::Value, at: &str, paths: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    collect(member, &at, paths);
                }
            }
            serde_json::Value::Array(elements) => {
                elements.iter().for_each(|element| collect(element, at, paths));
            }
            _ => drop(paths.insert(at.to_owned())),
        }
    }

    #[test]
    fn what_is_missing_is_told_and_what_is_new_passed_over() {
        let mut recorded = round().recorded();
        let values = &mut recorded.readings[0].values;
        values.push((Arc::from("heap.of_later_versions"), Value::Number(1)));
        assert_eq!(printed(&Round::of(&recorded)), printed(&round()));
        let values = &mut recorded.readings[0].values;
        values.retain(|(name, _)| &**name != "heap.alloc");
        let round = Round::of(&recorded);
        assert!(round.snapshots.is_empty());
        let told = &round.unseen[0].failure.message;
        assert!(told.starts_with("process 4242: ") && told.contains("heap.alloc"), "{told}");
        // Lists that do not go together.
        let mut recorded = super::super::tests::round().recorded();
        for (name, value) in &mut recorded.readings[0].values {
            if &**name == "gc.pauses.ns" {
                *value = Value::List(vec![1]);
            }
        }
        assert_eq!(Round::of(&recorded).unseen.len(), 2);
    }
}
