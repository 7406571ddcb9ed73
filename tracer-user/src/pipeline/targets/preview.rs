//! What was counted until now, while counting goes on.
//!
//! In: the kernel's tables, which are read and left as they are. Out: the targets as they would be if the recording
//! ended now, for as long as somebody looks at them. The tables are read while programs add to them: an event
//! that is under way may be in one sum of its stack and not in another yet.

use std::collections::HashMap;

use super::images::in_caches;
use super::libraries::Places;
use super::plan::Class;
use super::{Entry, Targets, failure};
use crate::{exit::Failure, probe::Kernel, profile::Source};

impl Targets {
    /// What `make` makes of everything that was counted until now. Not for what is traced in windows, nor for what
    /// comes through rings.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn as_of_now<T>(
        &mut self,
        kernel: &mut Kernel,
        make: impl FnOnce(&Self) -> T,
    ) -> Result<T, Failure> {
        let counted = kernel.look().map_err(failure)?;
        let (held, entries) = (self.held.clone(), self.entries.iter().count());
        let images = self.images_of_now();
        let place = |image| images.get(&image).map(|(_, places)| places);
        let class = |image, site: u32| {
            let entry = images.get(&image).and_then(|(entry, _)| self.entries.get(*entry));
            let tapped = entry.and_then(|entry| self.binaries.get(entry.binary));
            tapped.map_or(Class::Number, |tapped| tapped.class_of(site, self.wanted.types))
        };
        let mut seen = self.held.sort_out(counted, class, place);
        for (number, (entry, _)) in &images {
            self.held.add(*entry, seen.remove(number).unwrap_or_default(), true);
        }
        let made = make(self);
        self.held = held;
        self.entries.truncate(entries);
        Ok(made)
    }

    /// Entries and places of those that are counted, or have ended and are in the kernel's tables still.
    fn images_of_now(&mut self) -> HashMap<u32, (u32, Places)> {
        let mut images = HashMap::new();
        for (number, ended) in self.images.ended() {
            images.insert(number, (ended.entry, ended.places.clone()));
        }
        for (number, image) in self.images.iter() {
            let mut entry = Entry::new(image.process.clone(), image.binary, image.sampler_rate);
            if self.source == Source::Span {
                entry.add_cached(image.at_start.as_ref(), -1);
                entry.add_cached(in_caches(&image.records).as_ref(), 1);
            }
            let rate = image.records.as_ref().and_then(|live| live.sampler_rate().ok());
            entry.other_rate =
                rate.filter(|rate| self.source == Source::Sample && *rate != image.sampler_rate);
            images.insert(number, (self.entries.push(entry), image.places.clone()));
        }
        images
    }
}
