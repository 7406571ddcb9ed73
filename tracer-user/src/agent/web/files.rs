//! What was captured, and asking for more: `/api/v1/captures`.
//!
//! In: names. Out: the list, files as they are, or what else they can be made into. A capture is made only where the
//! file allows it, within what it allows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Shown;
use super::api::{No, document, found, made, told, wanted};
use super::bodies::Chunks;
use super::render::{self, Form};
use crate::agent::api::CaptureDocument;
use crate::agent::captured::{END, Unmade, Wish};
use crate::agent::rules::Capture;

/// Larger files are given as they are, and in no other form.
const LARGEST: u64 = 32 << 20;
/// How long one is recorded when nothing is said.
const SECONDS: f64 = 10.0;

pub async fn list(State(shown): State<Arc<Shown>>) -> Response {
    let listed = shown.captured();
    let all: Vec<CaptureDocument<'_>> = listed.files.iter().map(CaptureDocument::new).collect();
    document(&all)
}

pub async fn file(
    State(shown): State<Arc<Shown>>,
    Path(name): Path<String>,
    Query(asker): Query<HashMap<String, String>>,
) -> Response {
    asked_file(&shown, &name, &asker).await.unwrap_or_else(No::answer)
}

async fn asked_file(
    shown: &Shown,
    name: &str,
    asker: &HashMap<String, String>,
) -> Result<Response, No> {
    let listed = shown.captured();
    let nothing = |_| No::because(StatusCode::NOT_FOUND, "there is no such capture");
    let (_, file) = listed.open(name).map_err(nothing)?;
    let left = file.metadata().map_err(nothing)?.len();
    if !asker.contains_key("format") {
        let disposition = format!("attachment; filename=\"{name}\"");
        let kind = Form::Pprof.content_type().to_owned();
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)];
        return Ok((headers, Body::new(Chunks { file, left })).into_response());
    }
    let wanted = wanted(asker)?;
    if left > LARGEST {
        let why = "it is too large to be drawn here: fetch it, and use heaptap or go tool pprof";
        return Err(No::because(StatusCode::CONFLICT, why));
    }
    let form = wanted.form;
    let name = name.strip_suffix(END).unwrap_or(name).to_owned();
    let value = wanted.value;
    made(shown, form, &name, move || render::captured(&file, form, value.as_deref())).await
}

pub async fn wish(
    State(shown): State<Arc<Shown>>,
    Path(pid): Path<String>,
    Query(asker): Query<HashMap<String, String>>,
) -> Response {
    wished(&shown, &pid, &asker).await.unwrap_or_else(No::answer)
}

async fn wished(shown: &Shown, pid: &str, asker: &HashMap<String, String>) -> Result<Response, No> {
    let (_, process) = found(shown, pid)?;
    let wrong = |why: &str| No::because(StatusCode::BAD_REQUEST, why);
    let seconds = match asker.get("seconds") {
        None => Duration::from_secs_f64(SECONDS).min(shown.captured().longest),
        Some(text) => {
            let number = text.parse::<f64>().ok().filter(|seconds| *seconds >= 1.0);
            number
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| wrong("seconds is a number, 1 at least"))?
        }
    };
    let what = asker.get("what").and_then(|word| Capture::of(word, seconds));
    let what = what.ok_or_else(|| wrong("what is heap, goroutines, record, map or os"))?;
    let id = process.who.id;
    let name = told(shown, &shown.wishes, |answer| Wish { id, what, answer }).await?;
    let name = name.map_err(|unmade| {
        let status = match unmade {
            Unmade::NotAllowed => StatusCode::FORBIDDEN,
            Unmade::TooLong(_) => StatusCode::BAD_REQUEST,
            Unmade::NoProcess => StatusCode::NOT_FOUND,
            Unmade::TooMany => StatusCode::TOO_MANY_REQUESTS,
        };
        No::because(status, &unmade.to_string())
    })?;
    let seconds = what.recorded().map(|(_, length)| length.as_secs_f64());
    let told = json!({ "name": name, "what": what.word(), "seconds": seconds });
    Ok((StatusCode::ACCEPTED, document(&told)).into_response())
}
