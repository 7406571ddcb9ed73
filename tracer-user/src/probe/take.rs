//! Takes what was counted for images that have ended out of the kernel's tables, while others count on.
//!
//! In: images whose last event is long over. Out: their stacks, ages and labels; their entries are
//! free again. The kernel copies a table in batches of whole buckets, so that entries that come and
//! go meanwhile do not disturb the rest.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Pod,
    maps::{HashMap as KernelMap, MapData, MapError},
};
use nix::errno::Errno;
use tracer_common::{
    StackKey, StackValue,
    iteration::{Goroutine, GoroutineKey},
    record::{FreedValue, Labels, LabelsKey, ObjectKey, ObjectValue},
};

use super::{
    Ages, Error, Kernel, LabelTexts, RawStack,
    decode::{raw_stack, texts},
    drain::Clock,
    load::map,
    multi::data,
    syscall::{Cursor, lookup_batch},
};
use crate::profile;

/// What was counted for some images.
#[derive(Debug, Default)]
pub struct Taken {
    pub stacks: Vec<RawStack>,
    /// What became of sampled objects (mode sample) and of goroutines (probe goroutine).
    pub ages: HashMap<StackKey, Ages>,
    /// Profiler labels, where they are wanted.
    pub labels: LabelTexts,
    /// Iterations over maps, where they are followed.
    pub iterations: HashMap<StackKey, profile::Iterations>,
}

/// What becomes of entries that were seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Remove,
    Leave,
}

/// Entries copied at once; a table of stacks has a KiB each.
const BATCH: u32 = 512;

impl Kernel {
    /// What was counted for these images, which must have ended so long ago that no program is under
    /// way for them; it is removed.
    pub fn take(&mut self, images: &HashSet<u32>) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        let of_stack = |key: &StackKey| images.contains(&key.image);
        self.take_from("STACKS", of_stack, |key, value: &StackValue| {
            taken.stacks.push(raw_stack(*key, value));
        })?;
        self.take_ages(|image| images.contains(&image), &mut taken.ages)?;
        if self.options().by_labels {
            let of_labels = |key: &LabelsKey| images.contains(&key.image);
            self.take_from("LABELS", of_labels, |key, labels: &Labels| {
                taken.labels.insert((key.image, key.hash), texts(labels));
            })?;
        }
        if let Some(mut iterations) = self.iterations.take() {
            iterations.drain();
            let of_goroutine = |key: &GoroutineKey| images.contains(&key.image);
            self.take_from("GOROUTINES", of_goroutine, |_, goroutine: &Goroutine| {
                iterations.left_open(goroutine);
            })?;
            taken.iterations = iterations.take(|image| images.contains(&image));
            self.iterations = Some(iterations);
        }
        if let Some(os) = &mut self.os {
            os.take(|image| images.contains(&image), &mut taken.stacks);
        }
        Ok(taken)
    }

    /// What was counted until now, which stays where it is; of what comes through rings nothing. Ages are as of
    /// now.
    pub fn look(&mut self) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        self.see(
            "STACKS",
            After::Leave,
            |_: &StackKey| true,
            |key, value: &StackValue| taken.stacks.push(raw_stack(*key, value)),
        )?;
        self.ages(After::Leave, |_| true, &mut taken.ages)?;
        if self.options().by_labels {
            taken.labels = self.labels()?;
        }
        Ok(taken)
    }

    /// Everything that was counted. Exact once [`Kernel::detach_all`] has returned.
    pub fn everything(&mut self) -> Result<Taken, Error> {
        let mut ages = HashMap::new();
        self.take_ages(|_| true, &mut ages)?;
        let labels = if self.options().by_labels { self.labels()? } else { HashMap::new() };
        let mut followed = HashMap::new();
        if let Some(mut iterations) = self.iterations.take() {
            iterations.drain();
            self.take_from(
                "GOROUTINES",
                |_: &GoroutineKey| true,
                |_, goroutine: &Goroutine| {
                    iterations.left_open(goroutine);
                },
            )?;
            followed = iterations.take(|_| true);
        }
        let mut stacks = self.stacks()?;
        if let Some(os) = &mut self.os {
            os.take(|_| true, &mut stacks);
        }
        Ok(Taken { stacks, ages, labels, iterations: followed })
    }

    /// What became of sampled objects and of goroutines, by the key of the stack that made them. Ages
    /// are as of now.
    fn take_ages(
        &mut self,
        wanted: impl Fn(u32) -> bool,
        ages: &mut HashMap<StackKey, Ages>,
    ) -> Result<(), Error> {
        self.ages(After::Remove, wanted, ages)
    }

    fn ages(
        &mut self,
        after: After,
        wanted: impl Fn(u32) -> bool,
        ages: &mut HashMap<StackKey, Ages>,
    ) -> Result<(), Error> {
        if !self.options().follows_lives() {
            return Ok(());
        }
        self.see(
            "FREED",
            after,
            |stack: &StackKey| wanted(stack.image),
            |stack, freed: &FreedValue| {
                ages.entry(*stack).or_default().freed = freed.by_age;
            },
        )?;
        let clock = Clock::now()?;
        for name in ["OBJECTS", "LIVING"] {
            self.see(
                name,
                after,
                |key: &ObjectKey| wanted(key.image),
                |_, object: &ObjectValue| {
                    ages.entry(object.stack).or_default().live[clock.class(object)] += 1;
                },
            )?;
        }
        Ok(())
    }

    /// Removes the entries of a table that are wanted, each after `take` has seen it. They are not
    /// kept here: a stack's entry is several times as large as what is made of it.
    fn take_from<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
        wanted: impl Fn(&K) -> bool,
        take: impl FnMut(&K, &V),
    ) -> Result<(), Error> {
        self.see(name, After::Remove, wanted, take)
    }

    /// Looks at the entries of a table that are wanted.
    fn see<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
        after: After,
        wanted: impl Fn(&K) -> bool,
        mut take: impl FnMut(&K, &V),
    ) -> Result<(), Error> {
        // This also compares the sizes of K and V with the table's.
        let _: KernelMap<&MapData, K, V> = map(&self.ebpf, name)?;
        let table = self.ebpf.map(name).and_then(data).ok_or(Error::Missing(name))?;
        let mut taken = Vec::new();
        for_each(table.fd().as_fd(), name, |key: &K, value: &V| {
            if wanted(key) {
                take(key, value);
                if after == After::Remove {
                    taken.push(*key);
                }
            }
        })?;
        let failed = |source| Error::Map { map: name, source };
        let table = self.ebpf.map_mut(name).ok_or(Error::Missing(name))?;
        let mut table: KernelMap<&mut MapData, K, V> = table.try_into().map_err(failed)?;
        for key in &taken {
            match table.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(MapError::SyscallError(err))
                    if err.io_error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(())
    }
}

/// Looks at every entry of a table; what comes while it looks may be left out.
fn for_each<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    name: &'static str,
    mut each: impl FnMut(&K, &V),
) -> Result<(), Error> {
    let mut room = BATCH as usize;
    let mut cursor = Cursor::default();
    loop {
        let (mut keys, mut values) = (Vec::<K>::new(), Vec::<V>::new());
        match lookup_batch(map, &mut cursor, room, &mut keys, &mut values) {
            Ok(last) => {
                keys.iter().zip(&values).for_each(|(key, value)| each(key, value));
                if last {
                    return Ok(());
                }
            }
            // A bucket that is larger than the room.
            Err(refused) if refused.errno == Errno::ENOSPC => room *= 2,
            Err(refused) => return Err(Error::Batch { map: name, source: refused }),
        }
    }
}
