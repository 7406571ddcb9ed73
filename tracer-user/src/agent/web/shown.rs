//! The newest picture, for everybody who asks; written as text at most once.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::refused::{Counting, Requests};
use crate::agent::asked::{Asked, Of};
use crate::agent::captured::{Listed, Wish};
use crate::agent::metrics::{Served, serve};
use crate::agent::node::Node;
use crate::agent::timeline::{Point, Timelines};
use crate::host::Identity;
use crate::profile::Profile;

/// Where the loop puts pictures and the server takes them.
#[derive(Debug)]
pub struct Shown {
    max_series: usize,
    newest: RwLock<Option<Arc<Picture>>>,
    pub(super) counting: Arc<Counting>,
    timelines: Mutex<Timelines>,
    /// What was asked for last, and when: its picture and its table are of one look.
    last: Mutex<Option<Last>>,
    /// To the loop.
    pub(super) questions: mpsc::Sender<Asked>,
    pub(super) wishes: mpsc::Sender<Wish>,
    captured: RwLock<Arc<Listed>>,
    /// Profiles are written one at a time.
    pub(super) rendering: Semaphore,
    /// Answers that were written and are being taken: they are large, and who takes them may be slow.
    pub(super) taking: Arc<Semaphore>,
}

/// A profile that was asked for.
#[derive(Debug)]
struct Last {
    id: Identity,
    of: Of,
    at: Instant,
    profile: Arc<Profile>,
}

/// Large answers that are taken at a time.
const TAKING: usize = 4;
/// For how long it is given again.
const LATELY: Duration = Duration::from_secs(10);

/// One picture and its texts.
#[derive(Debug)]
pub struct Picture {
    pub node: Arc<Node>,
    max_series: usize,
    served: OnceLock<Served>,
    openmetrics: OnceLock<Bytes>,
    prometheus: OnceLock<Bytes>,
}

impl Shown {
    pub fn new(
        max_series: usize,
        questions: mpsc::Sender<Asked>,
        wishes: mpsc::Sender<Wish>,
    ) -> Self {
        Self {
            max_series,
            newest: RwLock::default(),
            counting: Arc::default(),
            timelines: Mutex::default(),
            last: Mutex::default(),
            questions,
            wishes,
            captured: RwLock::default(),
            rendering: Semaphore::new(1),
            taking: Arc::new(Semaphore::new(TAKING)),
        }
    }

    /// Shows a newer picture.
    pub fn show(&self, node: Arc<Node>) {
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner).add(&node);
        // Nobody else lets it go.
        self.last().take_if(|last| last.at.elapsed() >= LATELY);
        let picture = Picture {
            node,
            max_series: self.max_series,
            served: OnceLock::new(),
            openmetrics: OnceLock::new(),
            prometheus: OnceLock::new(),
        };
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(Arc::new(picture));
    }

    /// Shows what was captured.
    pub fn show_captured(&self, listed: &Arc<Listed>) {
        let mut captured = self.captured.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&captured, listed) {
            *captured = Arc::clone(listed);
        }
    }

    pub(super) fn captured(&self) -> Arc<Listed> {
        Arc::clone(&self.captured.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes something of the course of a process.
    pub fn timeline<T>(&self, id: Identity, make: impl FnOnce(&[Point]) -> T) -> T {
        make(self.timelines.lock().unwrap_or_else(PoisonError::into_inner).of(id))
    }

    /// The profile of a process that somebody has asked for just now.
    pub(super) fn lately(&self, id: Identity, of: Of) -> Option<Arc<Profile>> {
        let last = self.last();
        let is_it = |last: &&Last| last.id == id && last.of == of && last.at.elapsed() < LATELY;
        last.as_ref().filter(is_it).map(|last| Arc::clone(&last.profile))
    }

    /// Keeps it for a moment.
    pub(super) fn looked(&self, id: Identity, of: Of, profile: &Arc<Profile>) {
        let profile = Arc::clone(profile);
        *self.last() = Some(Last { id, of, at: Instant::now(), profile });
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked for so far.
    pub fn requests(&self) -> Requests {
        self.counting.so_far()
    }

    /// Nothing before the first round.
    pub fn newest(&self) -> Option<Arc<Picture>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Picture {
    pub fn served(&self) -> &Served {
        self.served.get_or_init(|| serve(&self.node, self.max_series))
    }

    /// As OpenMetrics.
    pub fn openmetrics(&self) -> Bytes {
        let text = || Bytes::copy_from_slice(self.served().openmetrics.as_bytes());
        self.openmetrics.get_or_init(text).clone()
    }

    /// In Prometheus' format of before.
    pub fn prometheus(&self) -> Bytes {
        self.prometheus.get_or_init(|| self.served().prometheus().into()).clone()
    }
}
