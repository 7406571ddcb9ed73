//! The thread that sends: a runtime of its own, in which each receiver's spool is emptied.
//!
//! In: receivers, opened in its runtime. Out: what opening them gave, and the thread, which ends when it is dropped; what
//! was not sent until then is in the spools.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::Error;
use super::client::{Client, Target};
use super::receiver::{Queue, send};
use super::retry::Backoff;
use super::spool::{Bounds, Spool};

/// Sends until it is dropped.
pub struct Sending {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sending {
    /// Starts a thread of this name, with the tasks that `open` begins.
    ///
    /// # Errors
    /// That of `open`; there is no runtime or thread to be had.
    pub fn start<T>(
        name: &str,
        open: impl FnOnce(&Runtime) -> Result<T, Error>,
    ) -> Result<(T, Self), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let opened = match open(&runtime) {
            Ok(opened) => opened,
            Err(err) => {
                // The caller may be in a runtime of its own, where none may be waited for.
                runtime.shutdown_background();
                return Err(err);
            }
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Whoever drops the sender stops it as well.
            drop(runtime.block_on(stopped));
            runtime.shutdown_background();
        })?;
        Ok((opened, Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has told so itself.
            let _ = thread.join();
        }
    }
}

/// Opens the spool of a receiver, below a directory, and begins to send what waits in it.
///
/// # Errors
/// The spool can't be used; there is nobody to believe in TLS.
pub fn queue(
    name: &str,
    target: Target,
    (bounds, retry): (Bounds, (Duration, Duration)),
    spool: &Path,
    runtime: &Runtime,
) -> Result<Arc<Queue>, Error> {
    let receiver = || name.to_owned();
    let opened = Spool::open(&spool.join(name), bounds, SystemTime::now())
        .map_err(|source| Error::Spool { receiver: receiver(), source })?;
    let _inside = runtime.enter();
    let client =
        Client::new(target).map_err(|source| Error::Client { receiver: receiver(), source })?;
    let queue = Queue::new(name, opened);
    runtime.spawn(send(Arc::clone(&queue), client, Backoff::new(retry.0, retry.1)));
    Ok(queue)
}
