//! What was read of a process that has not run since: reading it again would give the same.
//!
//! In: an opened process's pid, and how it is read. Out: what was read, now or before. What another process writes into its
//! memory is not seen here.

use std::cell::RefCell;

use crate::host::Rest;
use crate::runtime::Error;
use crate::runtime::g::Goroutines;
use crate::runtime::stats::Stats;

/// Of one process.
#[derive(Debug)]
pub struct AtRest(Option<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    rest: Rest,
    stats: Kept<Stats>,
    goroutines: Kept<Goroutines>,
}

/// Something, and in which rest it was read.
#[derive(Debug)]
struct Kept<T>(Option<(u64, T)>);

/// Which rest a process is at, if it is; asked for before something is read.
#[derive(Clone, Copy, Debug)]
pub struct Turn(Option<u64>);

impl AtRest {
    pub fn new(pid: u32) -> Self {
        let inner = |rest| Inner { rest, stats: Kept(None), goroutines: Kept(None) };
        Self(Rest::of(pid).map(inner).map(RefCell::new))
    }

    /// Looks at the process.
    pub fn turn(&self) -> Turn {
        Turn(self.0.as_ref().and_then(|inner| inner.borrow_mut().rest.look()))
    }

    /// Its statistics, and whether they were read before.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn stats(
        &self,
        turn: Turn,
        read: impl FnOnce() -> Result<Stats, Error>,
    ) -> Result<(Stats, bool), Error> {
        let Some(inner) = &self.0 else { return Ok((read()?, false)) };
        inner.borrow_mut().stats.get(turn, |stats| stats.exact, read)
    }

    /// How many goroutines it has.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn goroutines(
        &self,
        turn: Turn,
        read: impl FnOnce() -> Result<Goroutines, Error>,
    ) -> Result<Goroutines, Error> {
        let Some(inner) = &self.0 else { return read() };
        let whole = |found: &Goroutines| found.unreadable == 0;
        Ok(inner.borrow_mut().goroutines.get(turn, whole, read)?.0)
    }
}

impl<T: Clone> Kept<T> {
    /// What is kept of this rest, or else what `read` gives; that is kept where it is whole.
    fn get(
        &mut self,
        turn: Turn,
        whole: impl FnOnce(&T) -> bool,
        read: impl FnOnce() -> Result<T, Error>,
    ) -> Result<(T, bool), Error> {
        if let (Some(turn), Some((then, kept))) = (turn.0, &self.0)
            && *then == turn
        {
            return Ok((kept.clone(), true));
        }
        self.0 = None;
        let found = read()?;
        self.0 = turn.0.filter(|_| whole(&found)).map(|turn| (turn, found.clone()));
        Ok((found, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_at_rest_and_whole_is_kept() {
        let mut kept = Kept(None);
        let mut get = |turn, now: u32| kept.get(Turn(turn), |n| n % 2 == 0, || Ok(now)).unwrap();
        assert_eq!(get(None, 2), (2, false));
        assert_eq!(get(None, 4), (4, false));
        assert_eq!(get(Some(1), 6), (6, false));
        assert_eq!(get(Some(1), 8), (6, true));
        assert_eq!(get(Some(1), 8), (6, true));
        // It has run.
        assert_eq!(get(Some(2), 8), (8, false));
        assert_eq!(get(None, 10), (10, false));
        assert_eq!(get(Some(2), 12), (12, false), "what was kept is of before");
        assert_eq!(get(Some(3), 13), (13, false));
        assert_eq!(get(Some(3), 14), (14, false), "13 was not whole");
        assert_eq!(get(Some(3), 16), (14, true));
    }

    #[test]
    fn what_failed_is_not_kept() {
        let mut kept = Kept(Some((1, 5)));
        let failing = || Err(Error::Unsteady { what: "it", attempts: 1 });
        assert!(kept.get(Turn(Some(2)), |_| true, failing).is_err());
        assert_eq!(kept.get(Turn(Some(1)), |_| true, || Ok(7)).unwrap(), (7, false));
    }
}
