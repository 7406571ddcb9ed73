//! Files that nothing can be recorded of, so that none is looked at twice: shells, scripts' interpreters,
//! Go programs of releases that are not known.

use std::collections::HashMap;

use crate::{exit::Failure, host::FileKey};

/// Files, each with the reason. Bounded: when it is full it begins anew.
#[derive(Default)]
pub struct Unfit(HashMap<FileKey, Failure>);

/// About 150 bytes each.
const MOST: usize = 4_096;

impl Unfit {
    pub fn get(&self, file: &FileKey) -> Option<&Failure> {
        self.0.get(file)
    }

    /// Remembers a file, and returns the reason.
    pub fn insert(&mut self, file: FileKey, why: Failure) -> &Failure {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.entry(file).insert_entry(why).into_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn it_stays_small_and_knows_the_last() {
        let key = |ino| FileKey { dev: 1, ino, changed: (0, 0) };
        let mut unfit = Unfit::default();
        for ino in 0..3 * MOST as u64 {
            unfit.insert(key(ino), Failure::new(Exit::Target, "no Go program"));
            assert!(unfit.get(&key(ino)).is_some() && unfit.0.len() <= MOST);
        }
        // Changed since: another file.
        assert!(unfit.get(&FileKey { changed: (0, 1), ..key(3 * MOST as u64 - 1) }).is_none());
    }
}
