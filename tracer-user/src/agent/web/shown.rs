//! The newest picture, for everybody who asks; written as text at most once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use hyper::body::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::refused::{Counting, Requests};
use crate::agent::asked::Asked;
use crate::agent::metrics::{Served, serve};
use crate::agent::node::Node;
use crate::agent::timeline::{Point, Timelines};
use crate::host::Identity;

/// Where the loop puts pictures and the server takes them.
#[derive(Debug)]
pub struct Shown {
    max_series: usize,
    newest: RwLock<Option<Arc<Picture>>>,
    pub(super) counting: Arc<Counting>,
    timelines: Mutex<Timelines>,
    /// To the loop.
    pub(super) questions: mpsc::Sender<Asked>,
    /// Profiles are written one at a time.
    pub(super) rendering: Semaphore,
}

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
    pub fn new(max_series: usize, questions: mpsc::Sender<Asked>) -> Self {
        Self {
            max_series,
            newest: RwLock::default(),
            counting: Arc::default(),
            timelines: Mutex::default(),
            questions,
            rendering: Semaphore::new(1),
        }
    }

    /// Shows a newer picture.
    pub fn show(&self, node: Arc<Node>) {
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner).add(&node);
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

    /// Makes something of the course of a process.
    pub fn timeline<T>(&self, id: Identity, make: impl FnOnce(&[Point]) -> T) -> T {
        make(self.timelines.lock().unwrap_or_else(PoisonError::into_inner).of(id))
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
