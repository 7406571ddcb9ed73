//! Connections: as many as are allowed, each within its time.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::{Shown, answers};

/// A request's headers have to be there within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a request's line and headers.
const LARGEST_HEADERS: usize = 16 << 10;
/// Where no connection can be taken, another try is made after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let router = answers::router(shown);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, most of the time: others close some.
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .max_buf_size(LARGEST_HEADERS);
            // Who goes away in between needs no answer.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
