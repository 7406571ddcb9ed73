//! What is asked of the loop: a look at one process, for one who wants its profile.
//!
//! In: questions of whoever is answered over HTTP. Out: profiles. Few questions wait at a time, and the loop takes them
//! only as far as all looks together stay within what is allowed.

use tokio::sync::{mpsc, oneshot};

use crate::profile::Profile;

/// Questions that may wait.
const WAITING: usize = 8;

/// Which profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Heap,
    Goroutines,
}

/// A question.
#[derive(Debug)]
pub struct Asked {
    pub pid: u32,
    pub of: Of,
    /// Closed when nobody waits for the answer any more.
    pub answer: oneshot::Sender<Result<Profile, NoProfile>>,
}

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProfile {
    /// Nobody with this number is watched.
    NoProcess,
    /// It has none, or it can't be read: in one line.
    Unreadable(String),
}

/// Where questions go, and where they come out.
pub fn questions() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(WAITING)
}
