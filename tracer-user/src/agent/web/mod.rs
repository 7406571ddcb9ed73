//! What the agent answers over HTTP.
//!
//! In: a listening socket, and the newest picture of the node. Out: answers. The server has a thread of its own and
//! sees nothing but pictures: whoever asks, however fast, makes nobody look at a process, but for profiles of now,
//! which are asked of the loop and which it gives as its own limits allow.

mod answers;
mod api;
mod bodies;
mod connections;
mod files;
mod guard;
mod page;
mod rates;
mod refused;
mod render;
mod shown;
mod stall;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use connections::Shared;
use guard::Guard;

pub use refused::{Refused, Requests};
pub use shown::{Picture, Shown};
pub use tls::{Files as TlsFiles, acceptor};

/// A server that runs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What has to be known to be answered, and by what the agent itself is known.
pub struct Secrets {
    pub token: Option<String>,
    pub tls: Option<TlsAcceptor>,
}

/// Who is answered, and how many.
pub struct Access {
    pub secrets: Secrets,
    pub max_connections: usize,
    /// Requests in a second, of one address.
    pub max_rate: f64,
}

/// Begins to answer.
///
/// # Errors
/// The socket or the thread can't be set up.
pub fn start(listener: TcpListener, shown: Arc<Shown>, access: Access) -> io::Result<Server> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Access { secrets: Secrets { token, tls }, max_connections, max_rate } = access;
    let only_local = address.ip().is_loopback() && token.is_none() && tls.is_none();
    let shared = Arc::new(Shared {
        counting: Arc::clone(&shown.counting),
        router: answers::router(shown),
        guard: Guard::new(token, only_local, max_rate),
        tls: RwLock::new(tls),
        max_connections,
    });
    let (stop, stopped) = oneshot::channel();
    let answering = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("heaptap-web".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                () = connections::serve(listener, answering) => {}
            }
        });
        // Answers under way are not waited for: nobody's data depends on them.
        runtime.shutdown_background();
    })?;
    Ok(Server { address, shared, stop: Some(stop), thread: Some(thread) })
}

impl Server {
    /// Goes on with others. Connections that are open stay, and have to know the new token.
    pub fn renew(&self, secrets: Secrets) {
        let Secrets { token, tls } = secrets;
        self.shared.guard.set_token(token);
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has told so itself.
            let _ = thread.join();
        }
    }
}
