//! Sends heap profiles and metrics to receivers: Grafana Pyroscope, Parca, OpenTelemetry.
//!
//! In: pictures of the node, and heap profiles, from the loop that watches; which receivers there are, from the
//! configuration. Out: uploads, over the network, in a thread of its own: the loop is never waited for and never waits.
//! What can't be sent now waits on disk, within bounds; what is lost is counted ([`Figures`]).

pub mod client;
mod delta;
pub mod labels;
pub mod make;
pub mod otlp;
pub mod parca;
mod posts;
pub mod pyroscope;
mod receiver;
pub mod retry;
pub mod spool;
mod thread;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub use self::posts::{Post, Posts};

use self::client::Target;
use self::labels::Pattern;
use self::make::{Kind, Maker};
use self::receiver::Queue;
use self::spool::{Bounds, Dropped};
use self::thread::Sending;
use super::node::{Node, Who};
use crate::host::Identity;
use crate::output::pprof;
use crate::profile::Profile;

/// Profiles and pictures that wait to be made uploads, of each receiver.
const GIVEN: usize = 64;

/// A receiver, as the configuration has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Unlike all others': its spool's directory is called so.
    pub name: String,
    pub kind: Kind,
    pub target: Target,
    /// Between two profiles of a process, or two sets of metrics.
    pub every: Duration,
    pub service: Pattern,
    pub sends: Sends,
    pub bounds: Bounds,
    /// The first wait after a failure, and the longest.
    pub retry: (Duration, Duration),
}

/// What a receiver is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sends {
    pub profiles: bool,
    pub metrics: bool,
}

/// What a receiver's maker is given.
#[derive(Clone, Debug)]
pub enum Given {
    Heap(Arc<Heap>),
    Node(Arc<Node>),
}

/// A heap profile of one process: allocation since it began.
#[derive(Debug)]
pub struct Heap {
    pub who: Arc<Who>,
    pub node: Arc<str>,
    pub at: SystemTime,
    pub profile: pprof::proto::Profile,
}

/// What became of uploads to one receiver since the agent began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub receiver: Arc<str>,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Points of these that a receiver did not take.
    pub rejected: u64,
    /// Failures after which an upload waits for another try.
    pub retried: u64,
    /// The receiver does not want them.
    pub refused: u64,
    /// What was given was not made an upload: there was too much at once.
    pub busy: u64,
    pub dropped: Dropped,
    /// Uploads that wait, their bytes, and when the oldest was made.
    pub spooled: u64,
    pub spool_bytes: u64,
    pub oldest: Option<SystemTime>,
}

impl Figures {
    /// Uploads that were given up, by why (docs/agent.md, Push).
    pub fn reasons(&self) -> [(&'static str, u64); 6] {
        let Dropped { full, old, torn, failed } = self.dropped;
        [
            ("full", full),
            ("old", old),
            ("torn", torn),
            ("failed", failed),
            ("refused", self.refused),
            ("busy", self.busy),
        ]
    }
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("push {receiver}: spool: {source}")]
    Spool { receiver: String, source: spool::Error },
    #[error("push {receiver}: {source}")]
    Client { receiver: String, source: client::Error },
    #[error("push: {0}")]
    Thread(#[from] io::Error),
}

/// Gives receivers what they are to be sent. Belongs to the loop that watches.
pub struct Pusher {
    outlets: Vec<Outlet>,
    _sending: Sending,
}

/// The loop's side of a receiver.
struct Outlet {
    every: Duration,
    sends: Sends,
    queue: Arc<Queue>,
    to: mpsc::Sender<Given>,
    /// When a profile of a process was given last.
    profiles: HashMap<Identity, Instant>,
    pictures: Option<Instant>,
}

impl Pusher {
    /// Opens the spools, below a directory, and begins to send what waits in them.
    ///
    /// # Errors
    /// A spool can't be used; there is nobody to believe in TLS.
    pub fn start(receivers: Vec<Receiver>, spool: &Path) -> Result<Self, Error> {
        let (outlets, sending) = Sending::start("heaptap-push", |runtime| {
            receivers.into_iter().map(|receiver| outlet(receiver, spool, runtime)).collect()
        })?;
        Ok(Self { outlets, _sending: sending })
    }

    /// Whether some receiver waits for a profile of this process.
    pub fn is_due(&self, id: Identity, now: Instant) -> bool {
        self.outlets.iter().any(|outlet| outlet.wants_profile(id, now))
    }

    /// Gives a profile of one process to those who wait for one. What there is no room for is counted.
    pub fn profile(&mut self, who: &Arc<Who>, node: &Arc<str>, profile: &Profile, now: Instant) {
        let id = who.id;
        if !self.is_due(id, now) {
            return;
        }
        let heap = Arc::new(Heap {
            who: Arc::clone(who),
            node: Arc::clone(node),
            at: profile.meta.started,
            profile: pprof::of_one(profile, profile.meta.default_value),
        });
        for outlet in self.outlets.iter_mut().filter(|outlet| outlet.wants_profile(id, now)) {
            outlet.profiles.insert(id, now);
            outlet.give(Given::Heap(Arc::clone(&heap)));
        }
    }

    /// It has none: it is not asked again before another time is up.
    pub fn no_profile(&mut self, id: Identity, now: Instant) {
        for outlet in self.outlets.iter_mut().filter(|outlet| outlet.wants_profile(id, now)) {
            outlet.profiles.insert(id, now);
        }
    }

    /// Gives a picture to those who wait for one, and forgets who has ended.
    pub fn picture(&mut self, node: &Arc<Node>, now: Instant) {
        for outlet in &mut self.outlets {
            if outlet.pictures.is_some_and(|last| now - last < outlet.every) {
                continue;
            }
            outlet.pictures = Some(now);
            outlet.profiles.retain(|id, _| node.processes.iter().any(|one| one.who.id == *id));
            outlet.give(Given::Node(Arc::clone(node)));
        }
    }

    /// Of each receiver.
    pub fn figures(&self) -> Vec<Figures> {
        self.outlets.iter().map(|outlet| outlet.queue.figures()).collect()
    }
}

impl Outlet {
    fn wants_profile(&self, id: Identity, now: Instant) -> bool {
        let last = self.profiles.get(&id);
        self.sends.profiles && last.is_none_or(|last| now - *last >= self.every)
    }

    fn give(&self, given: Given) {
        if self.to.try_send(given).is_err() {
            self.queue.told(|figures| figures.busy += 1);
        }
    }
}

/// Opens a receiver's spool and starts its tasks.
fn outlet(receiver: Receiver, spool: &Path, runtime: &Runtime) -> Result<Outlet, Error> {
    let Receiver { name, kind, target, every, service, sends, bounds, retry } = receiver;
    let queue = thread::queue(&name, target, (bounds, retry), spool, runtime)?;
    let (to, given) = mpsc::channel(GIVEN);
    let maker = Maker::new(kind, sends, service, every);
    runtime.spawn(receiver::make(Arc::clone(&queue), maker, given));
    Ok(Outlet { every, sends, queue, to, profiles: HashMap::new(), pictures: None })
}
