//! Collections that traps have caught, as they come.
//!
//! In: where an image has the runtime's records. Out: the records of each collection, raw.

use aya::maps::{HashMap, MapData, MapError, RingBuf};
use tracer_common::collection::{Collection, Collector};

use super::{Error, Kernel};

/// The table of collectors, and the ring that collections come through.
pub(super) struct Collections {
    collectors: HashMap<MapData, u32, Collector>,
    ring: RingBuf<MapData>,
}

impl Collections {
    pub(super) fn new(
        collectors: HashMap<MapData, u32, Collector>,
        ring: RingBuf<MapData>,
    ) -> Self {
        Self { collectors, ring }
    }
}

impl Kernel {
    /// Says where an image has what is read at the end of its collections.
    pub fn follow_collector(&mut self, image: u32, collector: &Collector) -> Result<(), Error> {
        let map = "COLLECTORS";
        let Some(collections) = &mut self.collections else { return Err(Error::Missing(map)) };
        let inserted = collections.collectors.insert(image, collector, 0);
        inserted.map_err(|source| Error::Map { map, source })
    }

    /// Forgets it. That it is not known is no error.
    pub fn forget_collector(&mut self, image: u32) -> Result<(), Error> {
        let map = "COLLECTORS";
        let Some(collections) = &mut self.collections else { return Ok(()) };
        match collections.collectors.remove(&image) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(Error::Map { map, source }),
        }
    }

    /// Calls `each` for every collection that has come since the last time, in order.
    pub fn each_collection(&mut self, mut each: impl FnMut(&Collection)) {
        let Some(collections) = &mut self.collections else { return };
        while let Some(item) = collections.ring.next() {
            if item.len() < size_of::<Collection>() {
                continue;
            }
            // SAFETY: the item is as long as the record, which is plain data; it need not be aligned.
            let collection = unsafe { item.as_ptr().cast::<Collection>().read_unaligned() };
            each(&collection);
        }
    }
}
