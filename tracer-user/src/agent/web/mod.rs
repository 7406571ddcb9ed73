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
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use connections::Shared;
use guard::Guard;

pub use refused::{Refused, Requests};
pub use shown::{Picture, Shown};
pub use tls::{Files as TlsFiles, acceptor};

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Who is answered, and how many.
pub struct Access {
    /// What has to be known to be answered.
    pub token: Option<String>,
    pub tls: Option<TlsAcceptor>,
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
    let Access { token, tls, max_connections, max_rate } = access;
    let only_local = address.ip().is_loopback() && token.is_none() && tls.is_none();
    let shared = Arc::new(Shared {
        counting: Arc::clone(&shown.counting),
        router: answers::router(shown),
        guard: Guard::new(token, only_local, max_rate),
        tls,
        max_connections,
    });
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("heaptap-web".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                () = connections::serve(listener, shared) => {}
            }
        });
        // Answers under way are not waited for: nobody's data depends on them.
        runtime.shutdown_background();
    })?;
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
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
