//! The numbers that a recording has for what a profile names by its own.
//!
//! In: profiles. Out: for a name or a place of one its number, as far as it is known. A profile that is what
//! the one before was, with more, keeps what is known: most of it need not be said to be found again.

use std::sync::Arc;

use crate::profile::{Location, Name, Profile};

/// Numbers by those of the profile.
#[derive(Default)]
pub struct Numbers {
    pub names: Vec<Option<u32>>,
    pub locations: Vec<Option<u32>>,
    pub binaries: Vec<u32>,
    pub processes: Vec<u32>,
    /// What the last profile had, which its numbers stand for.
    texts: Vec<Arc<str>>,
    places: Vec<Location>,
    /// Whether those are kept.
    is_kept: bool,
    /// Profiles in a row of which it is not known that they go on from the one before.
    anew: u32,
}

/// Where each profile is made anew, what one had is kept only now and then, to see whether that has changed.
const TRIED: u32 = 8;

impl Numbers {
    /// From here on they are those of `profile`.
    pub fn begin(&mut self, profile: &Profile) {
        let names = &profile.names;
        // Texts are shared: one that is at the same place is the same.
        let is_same = self.is_kept
            && self.texts.len() <= names.len()
            && (self.texts.iter().zip(0..))
                .all(|(text, name)| Arc::ptr_eq(text, names.shared(Name(name))));
        let anew = if is_same { 0 } else { self.anew.wrapping_add(1) };
        if !is_same {
            *self = Self { binaries: std::mem::take(&mut self.binaries), ..Self::default() };
        }
        self.anew = anew;
        let places = self.places.iter().zip(&profile.locations);
        let same = places.take_while(|(before, now)| before == now).count();
        self.places.truncate(same);
        self.locations.truncate(same);
        self.names.resize(names.len(), None);
        self.locations.resize(profile.locations.len(), None);
    }

    /// Those of its files. Where they are others, places are too.
    pub fn set_binaries(&mut self, binaries: Vec<u32>) {
        if !binaries.starts_with(&self.binaries) {
            self.places.clear();
            self.locations.fill(None);
        }
        self.binaries = binaries;
    }

    /// What they stand for from here on.
    pub fn keep(&mut self, profile: &Profile) {
        self.is_kept = self.anew <= 1 || self.anew.is_multiple_of(TRIED);
        if !self.is_kept {
            return;
        }
        let names = &profile.names;
        let more = (self.texts.len()..names.len()).map(|name| names.shared(Name(name as u32)));
        self.texts.extend(more.cloned());
        self.places.extend_from_slice(&profile.locations[self.places.len()..]);
    }
}
