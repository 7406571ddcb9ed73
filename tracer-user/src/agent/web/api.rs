//! What is answered below `/api/v1`.
//!
//! In: the newest picture, and a way to the loop for profiles of now. Out: documents and profiles. A profile is made by
//! one thread at a time, beside the one that answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::bodies::Held;
use super::files;
use super::guard::refusal;
use super::refused::Refused;
use super::render::{self, Form};
use super::{Picture, Shown};
use crate::agent::api::{
    self, NodeDocument, OPENAPI, Overview, ProcessDocument, Summary, TimelineDocument, findings,
};
use crate::agent::asked::{Asked, NoProfile, Of};
use crate::agent::node::Process;
use crate::agent::timeline::millis;

/// How long one waits for what is looked at or made.
const WITHIN: Duration = Duration::from_secs(20);

type Asker = HashMap<String, String>;

pub fn router() -> Router<Arc<Shown>> {
    Router::new()
        .route("/openapi.json", get(async || ([JSON], OPENAPI)))
        .route("/node", get(node))
        .route("/overview", get(overview))
        .route("/processes", get(processes))
        .route("/findings", get(all_findings))
        .route("/processes/{pid}", get(process))
        .route("/processes/{pid}/timeline", get(timeline))
        .route("/processes/{pid}/profile", get(profile))
        .route("/processes/{pid}/diff", get(diff))
        .route("/processes/{pid}/captures", post(files::wish))
        .route("/captures", get(files::list))
        .route("/captures/{name}", get(files::file))
        .fallback(async || failed(StatusCode::NOT_FOUND, "no such thing: see /api/v1/openapi.json"))
}

const JSON: (header::HeaderName, HeaderValue) =
    (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));

pub(super) fn document(document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(text) => ([JSON], text).into_response(),
        Err(err) => failed(StatusCode::INTERNAL_SERVER_ERROR, &err.to_string()),
    }
}

fn failed(status: StatusCode, why: &str) -> Response {
    (status, [JSON], json!({ "error": why }).to_string()).into_response()
}

/// Why something is not answered.
pub(super) enum No {
    Because(StatusCode, String),
    Busy,
}

impl No {
    pub(super) fn because(status: StatusCode, why: &str) -> Self {
        No::Because(status, why.to_owned())
    }

    pub(super) fn answer(self) -> Response {
        match self {
            No::Because(status, why) => failed(status, &why),
            No::Busy => refusal(Refused::Busy),
        }
    }
}

/// Counts one that could not be served in time.
fn busy(shown: &Shown) -> No {
    shown.counting.refuse(Refused::Busy);
    No::Busy
}

/// What the loop says to something that it is asked.
pub(super) async fn told<Q, T>(
    shown: &Shown,
    to: &mpsc::Sender<Q>,
    ask: impl FnOnce(oneshot::Sender<T>) -> Q,
) -> Result<T, No> {
    let (answer, answered) = oneshot::channel();
    to.try_send(ask(answer)).map_err(|_| busy(shown))?;
    match timeout(WITHIN, answered).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(_)) | Err(_) => Err(busy(shown)),
    }
}

/// The newest picture.
fn picture(shown: &Shown) -> Result<Arc<Picture>, No> {
    shown
        .newest()
        .ok_or_else(|| No::because(StatusCode::SERVICE_UNAVAILABLE, "no process was looked at yet"))
}

/// The newest picture and a process in it.
pub(super) fn found(shown: &Shown, pid: &str) -> Result<(Arc<Picture>, Arc<Process>), No> {
    let picture = picture(shown)?;
    let pid = pid.parse::<u32>().ok();
    let process = picture.node.processes.iter().find(|one| Some(one.who.id.pid) == pid).cloned();
    let nobody = || No::because(StatusCode::NOT_FOUND, "no such process is watched");
    process.map(|process| (picture, process)).ok_or_else(nobody)
}

async fn node(State(shown): State<Arc<Shown>>) -> Response {
    picture(&shown).map_or_else(No::answer, |seen| document(&NodeDocument::new(&seen.node)))
}

async fn overview(State(shown): State<Arc<Shown>>) -> Response {
    picture(&shown)
        .map_or_else(No::answer, |seen| document(&Overview::new(&seen.node, &shown.captured())))
}

async fn processes(State(shown): State<Arc<Shown>>) -> Response {
    let all = |seen: Arc<Picture>| {
        let all: Vec<Summary<'_>> = api::processes(&seen.node);
        document(&all)
    };
    picture(&shown).map_or_else(No::answer, all)
}

async fn all_findings(State(shown): State<Arc<Shown>>) -> Response {
    picture(&shown).map_or_else(No::answer, |seen| document(&findings(&seen.node)))
}

async fn process(State(shown): State<Arc<Shown>>, Path(pid): Path<String>) -> Response {
    match found(&shown, &pid) {
        Ok((seen, process)) => {
            document(&ProcessDocument::new(&seen.node, &process, &shown.captured()))
        }
        Err(no) => no.answer(),
    }
}

async fn timeline(State(shown): State<Arc<Shown>>, Path(pid): Path<String>) -> Response {
    match found(&shown, &pid) {
        Ok((_, process)) => {
            let id = process.who.id;
            document(&shown.timeline(id, |points| TimelineDocument::new(id.pid, points)))
        }
        Err(no) => no.answer(),
    }
}

/// What is asked for beside the profile itself.
pub(super) struct Wanted {
    pub(super) form: Form,
    pub(super) value: Option<String>,
}

pub(super) fn wanted(asker: &Asker) -> Result<Wanted, No> {
    let word = asker.get("format").map_or("svg", String::as_str);
    let form = Form::of(word).ok_or_else(|| {
        No::because(
            StatusCode::BAD_REQUEST,
            "format is svg, html, pprof, folded, json or functions",
        )
    })?;
    Ok(Wanted { form, value: asker.get("value").cloned() })
}

async fn profile(
    State(shown): State<Arc<Shown>>,
    Path(pid): Path<String>,
    Query(asker): Query<Asker>,
) -> Response {
    asked_profile(&shown, &pid, &asker).await.unwrap_or_else(No::answer)
}

async fn asked_profile(shown: &Shown, pid: &str, asker: &Asker) -> Result<Response, No> {
    let (_, process) = found(shown, pid)?;
    let Wanted { form, value } = wanted(asker)?;
    let of = match asker.get("of").map_or("heap", String::as_str) {
        "heap" => Of::Heap,
        "goroutines" => Of::Goroutines,
        _ => return Err(No::because(StatusCode::BAD_REQUEST, "of is heap or goroutines")),
    };
    let id = process.who.id;
    let pid = id.pid;
    let profile = match shown.lately(id, of) {
        Some(profile) => profile,
        None => {
            let told = told(shown, &shown.questions, |answer| Asked { pid, of, answer }).await?;
            let profile = Arc::new(told.map_err(|no| match no {
                NoProfile::NoProcess => {
                    No::because(StatusCode::NOT_FOUND, "no such process is watched")
                }
                NoProfile::Unreadable(why) => No::because(StatusCode::CONFLICT, &why),
            })?);
            shown.looked(id, of, &profile);
            profile
        }
    };
    let name = format!(
        "{}-{pid}-{}",
        process.who.comm,
        if of == Of::Heap { "heap" } else { "goroutines" }
    );
    made(shown, form, &name, move || render::profile(&profile, form, value.as_deref())).await
}

async fn diff(
    State(shown): State<Arc<Shown>>,
    Path(pid): Path<String>,
    Query(asker): Query<Asker>,
) -> Response {
    asked_diff(&shown, &pid, &asker).await.unwrap_or_else(No::answer)
}

async fn asked_diff(shown: &Shown, pid: &str, asker: &Asker) -> Result<Response, No> {
    let (_, process) = found(shown, pid)?;
    let Wanted { form, value } = wanted(asker)?;
    if form == Form::Html {
        return Err(No::because(StatusCode::BAD_REQUEST, "a comparison has no page"));
    }
    let kept = |name: &str| {
        let at = asker.get(name).and_then(|at| at.parse::<u64>().ok());
        let kept = process.kept.iter().find(|kept| Some(millis(kept.at)) == at);
        let why = format!("{name} is none of the times that were kept");
        kept.cloned().ok_or_else(|| No::because(StatusCode::BAD_REQUEST, &why))
    };
    let (before, after) = (kept("from")?, kept("to")?);
    let name = format!("{}-{}-diff", process.who.comm, process.who.id.pid);
    made(shown, form, &name, move || render::diff(&before.pprof, &after.pprof, form, value)).await
}

/// What is made beside the thread that answers, when there is a place for it.
pub(super) async fn made(
    shown: &Shown,
    form: Form,
    name: &str,
    make: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
) -> Result<Response, No> {
    let place = timeout(WITHIN, Arc::clone(&shown.taking).acquire_owned()).await;
    let Ok(Ok(place)) = place else { return Err(busy(shown)) };
    let made = render::alone(&shown.rendering, make).await;
    let made = made.map_err(|why| No::because(StatusCode::BAD_REQUEST, &why))?;
    Ok(sent(Held::new(made.into(), place), form, name))
}

/// A file; one to look at, or one to keep.
fn sent(made: Held, form: Form, name: &str) -> Response {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let disposition = match form {
        Form::Svg | Form::Html => "inline",
        _ => "attachment",
    };
    let disposition = format!("{disposition}; filename=\"{name}{}\"", form.suffix());
    let headers = [
        (header::CONTENT_TYPE, form.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        // What it draws itself with is in it; it loads nothing.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
             frame-ancestors 'self'"
                .to_owned(),
        ),
    ];
    (headers, Body::new(made)).into_response()
}
