//! What was counted for processes that have ended, out of the kernel's tables and merged.
//!
//! In: stacks as the kernel kept them, and where their process had its code. Out: the same by entry
//! and address of the binary, so that equal stacks of processes that share an entry are one. As many
//! as the limit says; events of further stacks are counted as lost.

use std::collections::HashMap;

use crate::{
    address::RuntimeAddr,
    probe::{Ages, RawStack, Taken, Text},
};

use super::libraries::Places;

/// What a stack is told by: the process is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StackId {
    /// Number of an [`super::Entry`].
    pub entry: u32,
    /// [`tracer_common::Cookie::site`].
    pub site: u32,
    /// As in [`tracer_common::StackKey`]; a type as the linker placed it.
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
    /// What became of its objects (mode sample).
    pub ages: Option<Box<Ages>>,
}

/// Profiler labels by entry and [`StackId::labels`].
pub type LabelsOf = HashMap<(u32, u64), Vec<[Text; 2]>>;

/// All that was taken out of the kernel's tables.
pub struct Held {
    pub stacks: HashMap<StackId, Counts>,
    pub labels: LabelsOf,
    limit: usize,
    /// Events for which there was no room.
    pub lost: u64,
    /// Events of a process of which nothing is known any more.
    pub strays: u64,
}

/// Whose stacks they are: the entry, and where the process had its code.
#[derive(Clone, Debug)]
pub struct Origin {
    pub entry: u32,
    pub places: Places,
}

impl Held {
    /// With room for so many stacks of ended processes.
    pub fn new(limit: usize) -> Self {
        Self { stacks: HashMap::new(), labels: HashMap::new(), limit, lost: 0, strays: 0 }
    }

    /// Whether processes can have stacks of their own: half of the room is for those that share them.
    pub fn has_room(&self) -> bool {
        self.stacks.len() < self.limit / 2
    }

    /// Takes in what was counted for ended processes. `by_type` says that a class is a type.
    pub fn ended<'a>(
        &mut self,
        taken: Taken,
        by_type: bool,
        origin: impl Fn(u32) -> Option<&'a Origin>,
    ) {
        self.add(taken, by_type, origin, self.limit);
    }

    /// The same at the end of the recording, when the kernel's tables bound it.
    pub fn last<'a>(
        &mut self,
        taken: Taken,
        by_type: bool,
        origin: impl Fn(u32) -> Option<&'a Origin>,
    ) {
        self.add(taken, by_type, origin, usize::MAX);
    }

    fn add<'a>(
        &mut self,
        mut taken: Taken,
        by_type: bool,
        origin: impl Fn(u32) -> Option<&'a Origin>,
        limit: usize,
    ) {
        for ((image, hash), texts) in taken.labels {
            if let Some(origin) = origin(image)
                && self.labels.len() < limit
            {
                self.labels.insert((origin.entry, hash), texts);
            }
        }
        for raw in taken.stacks {
            let Some(origin) = origin(raw.key.image) else {
                self.strays += raw.hits;
                continue;
            };
            let ages = taken.ages.remove(&raw.key).map(Box::new);
            let counts = Counts {
                hits: raw.hits,
                objects: raw.objects,
                bytes: raw.bytes,
                weight_squares: raw.weight_squares,
                ages,
            };
            let id = stack_id(raw, origin, by_type);
            if self.stacks.len() >= limit && !self.stacks.contains_key(&id) {
                self.lost += counts.hits;
                continue;
            }
            self.stacks.entry(id).or_default().add(counts);
        }
    }
}

fn stack_id(raw: RawStack, origin: &Origin, by_type: bool) -> StackId {
    let places = &origin.places;
    StackId {
        entry: origin.entry,
        site: raw.key.site,
        class: if by_type { places.of_type(raw.key.class) } else { raw.key.class },
        labels: raw.labels,
        flags: raw.flags,
        pcs: raw.pcs.iter().map(|pc| places.of(*pc)).collect(),
    }
}

impl Counts {
    fn add(&mut self, other: Counts) {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{LoadBias, VAddr};
    use tracer_common::StackKey;

    fn origin(entry: u32, bias: u64) -> Origin {
        let text = (VAddr(0x1000), VAddr(0x2000));
        Origin { entry, places: Places::new(LoadBias(bias), text, Vec::new()) }
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

    fn taken(stacks: Vec<RawStack>) -> Taken {
        Taken { stacks, ages: HashMap::new(), labels: HashMap::new() }
    }

    #[test]
    fn equal_stacks_of_processes_that_share_an_entry_are_one() {
        let origins = HashMap::from([(1, origin(7, 0x5000)), (2, origin(7, 0x9000))]);
        let mut held = Held::new(10);
        let stacks = vec![stack(1, 0x6010, 3), stack(2, 0xa010, 4), stack(2, 0xa020, 1)];
        held.ended(taken(stacks), false, |image| origins.get(&image));
        let mut counts: Vec<_> =
            held.stacks.iter().map(|(id, counts)| (id.pcs[0].0, counts.bytes)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(0x1010, 16 * 7), (0x1020, 16)]);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_end_needs_none() {
        let origins = HashMap::from([(1, origin(0, 0))]);
        let of = |image: u32| origins.get(&image);
        let mut held = Held::new(1);
        let stacks = vec![stack(1, 0x1010, 1), stack(1, 0x1020, 5), stack(1, 0x1010, 1)];
        held.ended(taken(stacks), false, of);
        assert_eq!((held.stacks.len(), held.lost, held.strays), (1, 5, 0));
        held.last(taken(vec![stack(1, 0x1030, 1), stack(9, 0x1030, 2)]), false, of);
        assert_eq!((held.stacks.len(), held.lost, held.strays), (2, 5, 2));
    }
}
