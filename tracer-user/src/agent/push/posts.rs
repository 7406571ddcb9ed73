//! Posts what others have made, as it is: to each receiver in its own order, through a spool of its own.
//!
//! In: uploads, by the receiver's name. Out: requests, in a thread of its own; figures of what became of them. Nobody
//! waits for a receiver.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::client::{Client, Target};
use super::receiver::{Queue, send};
use super::retry::Backoff;
use super::spool::{Bounds, Spool, Upload};
use super::{Error, Figures};

/// A receiver.
#[derive(Clone, Debug)]
pub struct Post {
    /// Unlike all others': its spool's directory is called so.
    pub name: String,
    pub target: Target,
    pub bounds: Bounds,
    /// The first wait after a failure, and the longest.
    pub retry: (std::time::Duration, std::time::Duration),
}

/// Receivers, and what waits for them.
pub struct Posts {
    queues: Vec<(String, Arc<Queue>)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Posts {
    /// Opens the spools, below a directory, and begins to send what waits in them.
    ///
    /// # Errors
    /// A spool can't be used; there is nobody to believe in TLS.
    pub fn start(posts: Vec<Post>, spool: &Path) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let queues: Result<Vec<(String, Arc<Queue>)>, Error> =
            posts.into_iter().map(|post| open(post, spool, &runtime)).collect();
        let queues = queues?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread =
            std::thread::Builder::new().name("heaptap-notify".to_owned()).spawn(move || {
                // Whoever drops the sender stops it as well.
                drop(runtime.block_on(stopped));
                runtime.shutdown_background();
            })?;
        Ok(Self { queues, stop: Some(stop), thread: Some(thread) })
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

fn open(post: Post, spool: &Path, runtime: &Runtime) -> Result<(String, Arc<Queue>), Error> {
    let Post { name, target, bounds, retry } = post;
    let opened = Spool::open(&spool.join(&name), bounds, SystemTime::now())
        .map_err(|source| Error::Spool { receiver: name.clone(), source })?;
    let _inside = runtime.enter();
    let client =
        Client::new(target).map_err(|source| Error::Client { receiver: name.clone(), source })?;
    let queue = Queue::new(&name, opened);
    runtime.spawn(send(Arc::clone(&queue), client, Backoff::new(retry.0, retry.1)));
    Ok((name, queue))
}

impl Drop for Posts {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has told so itself.
            let _ = thread.join();
        }
    }
}
