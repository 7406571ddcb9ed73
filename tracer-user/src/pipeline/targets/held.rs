//! What was counted for processes that have ended, out of the kernel's tables and merged.
//!
//! In: stacks as the kernel kept them, and where their process had its code. Out: the same by entry
//! and address of the binary, so that equal stacks of processes that share an entry are one. As many
//! as the limit says; events of further stacks are counted as lost.

use std::collections::HashMap;

use crate::{
    address::RuntimeAddr,
    probe::{Ages, RawStack, Taken, Text},
    profile::{self, Iterations, ledger::Part},
};

use super::{libraries::Places, plan::Class};

/// What a stack is told by: the process is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StackId {
    /// Number of an [`super::Entry`].
    pub entry: u32,
    /// [`tracer_common::Cookie::site`].
    pub site: u32,
    /// As in [`tracer_common::StackKey`]; addresses as [`Class`] says.
    pub class: u64,
    /// What [`Kept::labels`] has its labels under.
    pub labels: u64,
    pub flags: u32,
    /// As [`Places::of`] writes them.
    pub pcs: Box<[RuntimeAddr]>,
}

/// What a stack was counted for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub hits: u64,
    pub objects: u64,
    pub bytes: u64,
    pub weight_squares: u64,
    /// What became of its objects (mode sample), or of its goroutines (probe goroutine).
    pub ages: Option<Box<Ages>>,
    /// What its iterations over maps were like (probe map).
    pub iterations: Option<Box<Iterations>>,
    /// Its part of what was allocated while its process was not traced.
    pub part: Part,
}

/// Profiler labels by entry and [`StackId::labels`].
pub type LabelsOf = HashMap<(u32, u64), Vec<[Text; 2]>>;

/// All that was taken out of the kernel's tables.
#[derive(Clone)]
pub struct Held {
    pub stacks: HashMap<StackId, Counts>,
    pub labels: LabelsOf,
    limit: usize,
    /// Events for which there was no room.
    pub lost: u64,
    /// Events of a process of which nothing is known any more.
    pub strays: u64,
}

/// What was counted for one process, out of the kernel's tables.
#[derive(Debug, Default)]
pub struct Seen {
    pub stacks: Vec<(StackId, Counts)>,
    /// Profiler labels by [`StackId::labels`].
    pub labels: Vec<(u64, Vec<[Text; 2]>)>,
}

/// [`StackId::entry`] of a process that has none yet.
const NOBODY: u32 = u32::MAX;

impl Held {
    /// With room for so many stacks of ended processes.
    pub fn new(limit: usize) -> Self {
        Self { stacks: HashMap::new(), labels: HashMap::new(), limit, lost: 0, strays: 0 }
    }

    /// Whether processes can have stacks of their own: half of the room is for those that share them.
    pub fn has_room(&self) -> bool {
        self.stacks.len() < self.limit / 2
    }

    /// Sorts out what was counted, by image. `class` says what the classes of a site of an image are;
    /// `places` is where an image has its code.
    pub fn sort_out<'a>(
        &mut self,
        mut taken: Taken,
        class: impl Fn(u32, u32) -> Class,
        places: impl Fn(u32) -> Option<&'a Places>,
    ) -> HashMap<u32, Seen> {
        let mut images: HashMap<u32, Seen> = HashMap::new();
        for ((image, hash), texts) in taken.labels {
            images.entry(image).or_default().labels.push((hash, texts));
        }
        for raw in taken.stacks {
            let Some(places) = places(raw.key.image) else {
                self.strays += raw.hits;
                continue;
            };
            let counts = Counts {
                hits: raw.hits,
                objects: raw.objects,
                bytes: raw.bytes,
                weight_squares: raw.weight_squares,
                ages: taken.ages.remove(&raw.key).map(Box::new),
                iterations: taken.iterations.remove(&raw.key).map(Box::new),
                part: Part::default(),
            };
            let image = raw.key.image;
            let class = class(image, raw.key.site);
            let id = stack_id(raw, places, class);
            images.entry(image).or_default().stacks.push((id, counts));
        }
        images
    }

    /// Takes in what was counted for a process that has ended, or at the end of the recording, when
    /// the kernel's tables bound it.
    pub fn add(&mut self, entry: u32, seen: Seen, is_end: bool) {
        let limit = if is_end { usize::MAX } else { self.limit };
        for (hash, texts) in seen.labels {
            if self.labels.len() < limit {
                self.labels.insert((entry, hash), texts);
            }
        }
        for (id, counts) in seen.stacks {
            let id = StackId { entry, ..id };
            if self.stacks.len() >= limit && !self.stacks.contains_key(&id) {
                self.lost += counts.hits;
                continue;
            }
            self.stacks.entry(id).or_default().add(counts);
        }
    }

    /// How many further stacks may be kept.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.stacks.len())
    }
}

fn stack_id(raw: RawStack, places: &Places, class: Class) -> StackId {
    StackId {
        entry: NOBODY,
        site: raw.key.site,
        class: match class {
            Class::Number => raw.key.class,
            Class::Address => places.of_word(raw.key.class),
            Class::Data => places.of_data(raw.key.class),
        },
        labels: raw.labels,
        flags: raw.flags,
        // 0 is none (probe os).
        pcs: raw.pcs.iter().map(|pc| if pc.0 == 0 { *pc } else { places.of(*pc) }).collect(),
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.hits = self.hits.saturating_add(other.hits);
        self.objects = self.objects.saturating_add(other.objects);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.weight_squares = self.weight_squares.saturating_add(other.weight_squares);
        match (&mut self.ages, other.ages) {
            (Some(ages), Some(more)) => {
                let add = |to: &mut [u64], from: &[u64]| {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                };
                add(&mut ages.freed, &more.freed);
                add(&mut ages.live, &more.live);
            }
            (ages @ None, more) => *ages = more,
            (Some(_), None) => {}
        }
        profile::add(&mut self.iterations, &other.iterations, Iterations::add);
        self.part.add(&other.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{LoadBias, VAddr};
    use tracer_common::StackKey;

    fn places(bias: u64) -> Places {
        let text = (VAddr(0x1000), VAddr(0x2000));
        Places::at(LoadBias(bias), text, text, Vec::new())
    }

    fn add(
        held: &mut Held,
        entry: u32,
        stacks: Vec<RawStack>,
        places: &HashMap<u32, Places>,
        is_end: bool,
    ) {
        let taken = Taken { stacks, ..Taken::default() };
        let mut images: Vec<_> = held
            .sort_out(taken, |_, _| Class::Number, |image| places.get(&image))
            .into_iter()
            .collect();
        images.sort_by_key(|(image, _)| *image);
        images.into_iter().for_each(|(_, seen)| held.add(entry, seen, is_end));
    }

    fn stack(image: u32, pc: u64, hits: u64) -> RawStack {
        let key = StackKey { image, site: 1, class: 0, hash: pc };
        RawStack {
            key,
            hits,
            objects: hits,
            bytes: 16 * hits,
            weight_squares: 0,
            labels: 0,
            flags: 0,
            pcs: vec![RuntimeAddr(pc)],
        }
    }

    #[test]
    fn equal_stacks_of_processes_that_share_an_entry_are_one() {
        let both = HashMap::from([(1, places(0x5000)), (2, places(0x9000))]);
        let mut held = Held::new(10);
        let stacks = vec![stack(1, 0x6010, 3), stack(2, 0xa010, 4), stack(2, 0xa020, 1)];
        add(&mut held, 7, stacks, &both, false);
        let mut counts: Vec<_> =
            held.stacks.iter().map(|(id, counts)| (id.pcs[0].0, counts.bytes)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(0x1010, 16 * 7), (0x1020, 16)]);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_end_needs_none() {
        let one = HashMap::from([(1, places(0))]);
        let mut held = Held::new(1);
        let stacks = vec![stack(1, 0x1010, 1), stack(1, 0x1020, 5), stack(1, 0x1010, 1)];
        add(&mut held, 0, stacks, &one, false);
        assert_eq!((held.stacks.len(), held.lost, held.strays), (1, 5, 0));
        add(&mut held, 0, vec![stack(1, 0x1030, 1), stack(9, 0x1030, 2)], &one, true);
        assert_eq!((held.stacks.len(), held.lost, held.strays), (2, 5, 2));
    }
}
