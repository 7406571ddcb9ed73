//! What is asked for and what is answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::{Shown, api, page};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn router(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .nest("/api/v1", api::router())
        .with_state(shown)
}

/// Ready when there was a round.
async fn ready(State(shown): State<Arc<Shown>>) -> Response {
    match shown.newest() {
        Some(_) => "ok\n".into_response(),
        None => no_round_yet(),
    }
}

async fn metrics(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    let Some(picture) = shown.newest() else { return no_round_yet() };
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, body) = match accepted {
        Some(accept) if accept.contains("application/openmetrics-text") => {
            (OPENMETRICS, picture.openmetrics())
        }
        _ => (PROMETHEUS, picture.prometheus()),
    };
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn no_round_yet() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "no process was looked at yet\n").into_response()
}
