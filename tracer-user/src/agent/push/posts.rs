//! Posts what others have made, as it is: to each receiver in its own order, through a spool of its own.
//!
//! In: uploads, by the receiver's name. Out: requests, in a thread of its own; figures of what became of them. Nobody
//! waits for a receiver.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::client::Target;
use super::receiver::Queue;
use super::spool::{Bounds, Upload};
use super::thread::{self, Sending};
use super::{Error, Figures};

/// A receiver.
#[derive(Clone, Debug)]
pub struct Post {
    /// Unlike all others': its spool's directory is called so.
    pub name: String,
    pub target: Target,
    pub bounds: Bounds,
    /// The first wait after a failure, and the longest.
    pub retry: (Duration, Duration),
}

/// Receivers, and what waits for them.
pub struct Posts {
    queues: Vec<(String, Arc<Queue>)>,
    _sending: Sending,
}

impl Posts {
    /// Opens the spools, below a directory, and begins to send what waits in them.
    ///
    /// # Errors
    /// A spool can't be used; there is nobody to believe in TLS.
    pub fn start(posts: Vec<Post>, spool: &Path) -> Result<Self, Error> {
        let (queues, sending) = Sending::start("heaptap-notify", |runtime| {
            let open = |Post { name, target, bounds, retry }: Post| {
                let queue = thread::queue(&name, target, (bounds, retry), spool, runtime)?;
                Ok((name, queue))
            };
            posts.into_iter().map(open).collect()
        })?;
        Ok(Self { queues, _sending: sending })
    }

    /// Puts an upload behind the others of a receiver.
    pub fn put(&self, receiver: &str, upload: &Upload) {
        if let Some((_, queue)) = self.queues.iter().find(|(name, _)| name == receiver) {
            queue.put(upload);
        }
    }

    /// Of each receiver.
    pub fn figures(&self) -> Vec<Figures> {
        self.queues.iter().map(|(_, queue)| queue.figures()).collect()
    }
}
