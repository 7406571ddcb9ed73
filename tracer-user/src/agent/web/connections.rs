//! Connections: as many as are allowed, each within its time.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::guard::{self, Guard};
use super::refused::{Counting, Refused};
use super::stall::Stalling;

/// A request's headers, and a handshake, have to be there within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's line and headers, and how many headers there may be.
const LARGEST_HEADERS: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// Where no connection can be taken, another try is made after this time.
const AGAIN: Duration = Duration::from_millis(100);
/// What those get that there is no room for.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n";

/// What all connections share.
pub struct Shared {
    pub router: Router,
    pub guard: Guard,
    /// Of connections that are made from now on.
    pub tls: RwLock<Option<TlsAcceptor>>,
    pub counting: Arc<Counting>,
    pub max_connections: usize,
}

impl Shared {
    fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(shared.max_connections));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Too many open files, most of the time: others close some.
            sleep(AGAIN).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            shared.counting.refuse(Refused::Connections);
            turn_away(&stream, shared.tls().is_some());
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            connection(stream, peer.ip(), &shared).await;
            drop(place);
        });
    }
}

/// Says that there is no room, as far as that can be done at once.
fn turn_away(stream: &TcpStream, is_tls: bool) {
    if !is_tls {
        let _ = stream.try_write(NO_ROOM);
    }
}

async fn connection(stream: TcpStream, who: IpAddr, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = shared.tls() else { return answer(stream, who, shared).await };
    match timeout(HEADERS_WITHIN, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, who, shared).await,
        Ok(Err(_)) => shared.counting.refuse(Refused::Tls),
        Err(_) => shared.counting.refuse(Refused::Slow),
    }
}

/// Answers what comes over a connection.
async fn answer<S>(stream: S, who: IpAddr, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, asking) = Stalling::new(stream);
    let service = service_fn(|request| {
        let shared = Arc::clone(shared);
        async move { Ok::<_, Infallible>(respond(request, who, &shared).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(LARGEST_HEADERS)
        .max_headers(MOST_HEADERS);
    let Err(err) = http.serve_connection(TokioIo::new(stream), service).await else { return };
    let is_asking = asking.load(Ordering::Relaxed);
    let is_late = |source: Option<&(dyn std::error::Error + 'static)>| {
        source
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|err| err.kind() == io::ErrorKind::TimedOut)
    };
    let why = if err.is_parse_too_large() {
        Refused::Headers
    } else if err.is_parse() {
        Refused::Malformed
    } else if is_late(std::error::Error::source(&err)) || err.is_timeout() && is_asking {
        Refused::Slow
    } else {
        // Who goes away in between, or has nothing to ask, is nobody's concern.
        return;
    };
    shared.counting.refuse(why);
}

async fn respond(request: Request<Incoming>, who: IpAddr, shared: &Shared) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut answer = match shared.guard.check(&head, who) {
        Err(why) => {
            shared.counting.refuse(why);
            let mut answer = guard::refusal(why);
            // What else is under way is not read.
            if why == Refused::Body {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
        Ok(()) => {
            shared.counting.answered();
            let router = TowerToHyperService::new(shared.router.clone());
            let Ok(answer) = router.call(Request::from_parts(head, Body::new(body))).await;
            answer
        }
    };
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}
