//! Reads what the kernel programs have kept: stacks, counters, notices, log.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, AsRawFd},
    time::Duration,
};

use aya::{
    Pod,
    maps::{HashMap as KernelMap, MapData, PerCpuArray, RingBuf},
    programs::Program,
};
use aya_log::EbpfLogger;
use log::Log;
use nix::time::{ClockId, clock_gettime};
use tokio::io::{Interest, unix::AsyncFd};
use tracer_common::{
    Counter, StackKey, StackValue,
    record::{Labels, LabelsKey, ObjectKey, ObjectValue, SCRATCH_SLOTS, Scratch, age_class},
};

use super::{
    Error, Kernel,
    decode::{Notice, RawStack, Text, decode_notice, raw_stack, texts},
    load::{map, take_map},
    syscall::recursion_misses,
};

/// Profiler labels, names and values, by image and [`RawStack::labels`].
pub type LabelTexts = HashMap<(u32, u64), Vec<[Text; 2]>>;

/// The programs that give notices, and the tracepoints that they are at.
pub(super) const NOTIFY: [(&str, &str); 2] =
    [("process_exec", "sched_process_exec"), ("process_exit", "sched_process_exit")];

/// Notices as they come.
pub struct Notices(AsyncFd<RingBuf<MapData>>);

/// The kernel programs' log, as it comes.
pub struct KernelLog(AsyncFd<EbpfLogger<&'static dyn Log>>);

impl Kernel {
    /// Takes what comes one by one out of the rings, which have room for a fraction of a second.
    pub fn drain(&mut self) {
        if let Some(iterations) = &mut self.iterations {
            iterations.drain();
        }
        if let Some(os) = &mut self.os {
            os.drain();
        }
    }

    /// All stacks. Exact once [`Kernel::detach_all`] has returned; a moving picture before.
    pub fn stacks(&self) -> Result<Vec<RawStack>, Error> {
        let name = "STACKS";
        let failed = |source| Error::Map { map: name, source };
        let map: KernelMap<&MapData, StackKey, StackValue> = map(&self.ebpf, name)?;
        map.iter()
            .map(|entry| entry.map(|(key, value)| raw_stack(key, &value)).map_err(failed))
            .collect()
    }

    /// How many entries of its larger tables are taken, and how many they can have.
    pub fn tables(&self) -> Result<Vec<(&'static str, usize, u32)>, Error> {
        let stacks: KernelMap<&MapData, StackKey, StackValue> = map(&self.ebpf, "STACKS")?;
        let mut tables = vec![
            ("stacks", stacks.keys().count(), self.options().max_stacks),
            ("processes", self.selected(), self.options().max_processes),
        ];
        let lives = [
            ("objects", "OBJECTS", self.options().max_objects),
            ("goroutines", "LIVING", self.options().max_living),
        ];
        for (what, name, room) in lives.into_iter().filter(|(_, _, room)| *room > 0) {
            let living: KernelMap<&MapData, ObjectKey, ObjectValue> = map(&self.ebpf, name)?;
            tables.push((what, living.keys().count(), room));
        }
        Ok(tables)
    }

    /// The texts of profiler labels, by image and [`RawStack::labels`]: name and value of each.
    pub fn labels(&self) -> Result<LabelTexts, Error> {
        let map: KernelMap<&MapData, LabelsKey, Labels> = map(&self.ebpf, "LABELS")?;
        map.iter()
            .map(|entry| {
                let (key, labels) = entry.map_err(|source| Error::Map { map: "LABELS", source })?;
                Ok(((key.image, key.hash), texts(&labels)))
            })
            .collect()
    }

    /// Every counter of the kernel programs, summed over CPUs, in `Counter::ALL`'s order.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, Error> {
        let mut sums = self.sum_over_cpus("COUNTERS", Counter::ALL.len() as u32, |n: &u64| *n)?;
        let recorded =
            self.sum_over_cpus("SCRATCH", SCRATCH_SLOTS, |scratch: &Scratch| scratch.recorded)?;
        sums[Counter::Recorded as usize] = recorded.iter().sum();
        sums[Counter::LeftOut as usize] = self.left_out(|_| true)?;
        Ok(Counter::ALL.iter().copied().zip(sums).collect())
    }

    /// How many notices could not be given.
    pub fn notices_lost(&self) -> Result<u64, Error> {
        let name = "COUNTERS";
        let map: PerCpuArray<&MapData, u64> = map(&self.ebpf, name)?;
        let lost = map.get(&(Counter::NotifyFull as u32), 0);
        let lost: u64 = lost.map_err(|source| Error::Map { map: name, source })?.iter().sum();
        Ok(lost + self.left_out(|program| NOTIFY.iter().any(|(name, _)| *name == program))?)
    }

    /// How many events of tracepoints the kernel kept from programs that were running already on that CPU, for a task
    /// that had been preempted. It does not do so to programs at uprobes.
    fn left_out(&self, of: impl Fn(&str) -> bool) -> Result<u64, Error> {
        let mut sum = 0;
        for (name, program) in self.ebpf.programs() {
            if let Program::RawTracePoint(raw) = program
                && of(name)
                && let Ok(fd) = raw.fd()
            {
                sum += recursion_misses(fd.as_fd()).map_err(Error::Facts)?;
            }
        }
        Ok(sum)
    }

    /// One sum over CPUs for each of the first `entries` of a map.
    fn sum_over_cpus<V: Pod>(
        &self,
        name: &'static str,
        entries: u32,
        part: impl Fn(&V) -> u64,
    ) -> Result<Vec<u64>, Error> {
        let failed = |source| Error::Map { map: name, source };
        let map: PerCpuArray<&MapData, V> = map(&self.ebpf, name)?;
        let sum = |entry| Ok(map.get(&entry, 0).map_err(failed)?.iter().map(&part).sum());
        (0..entries).map(sum).collect()
    }

    /// The stream of notices; there is one.
    pub fn notices(&mut self) -> Result<Notices, Error> {
        let ring: RingBuf<MapData> = take_map(&mut self.ebpf, "NOTICES")?;
        Ok(Notices(readable(ring)?))
    }

    /// The kernel programs' log, when it was asked for at load time.
    pub fn log(&mut self) -> Result<Option<KernelLog>, Error> {
        if self.options().log.is_none() {
            return Ok(None);
        }
        let logger = EbpfLogger::init(&mut self.ebpf)?;
        Ok(Some(KernelLog(readable(logger)?)))
    }
}

impl Notices {
    /// Waits until there is at least one and returns all there are.
    pub async fn next(&mut self) -> io::Result<Vec<Notice>> {
        let mut guard = self.0.readable_mut().await?;
        let mut notices = Vec::new();
        while let Some(item) = guard.get_inner_mut().next() {
            notices.extend(decode_notice(&item));
        }
        guard.clear_ready();
        Ok(notices)
    }
}

impl KernelLog {
    /// Hands over what is there.
    pub fn flush(&mut self) {
        self.0.get_mut().flush();
    }

    /// Hands lines to the logger for ever.
    pub async fn pump(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}

/// Waits for a map's file descriptor to become readable.
fn readable<T: AsRawFd>(inner: T) -> Result<AsyncFd<T>, Error> {
    // SAFETY: `inner` is one of aya's map readers, which owns its descriptor and never changes it.
    let registered = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    registered.map_err(|err| Error::Ring(err.into_parts().1))
}

/// The time that objects' ages are told by.
pub(super) struct Clock(u64);

impl Clock {
    pub fn now() -> Result<Self, Error> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|err| Error::Ring(err.into()))?;
        Ok(Self(Duration::from(now).as_nanos() as u64))
    }

    /// The class of an object's age.
    pub fn class(&self, object: &ObjectValue) -> usize {
        age_class(self.0.saturating_sub(object.born))
    }
}
