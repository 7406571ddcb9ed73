//! The forms: plain JSON, Slack's incoming webhooks, PagerDuty's Events API v2, Alertmanager's API v2.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{About, Request, lines, summary};
use crate::agent::rules::{Alert, Severity};
use crate::output::text::utc;

/// An alert that Alertmanager has not heard of for so long is over: it is told again before that.
pub const STANDS: Duration = Duration::from_secs(300);

/// What a receiver understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A document `heaptap.alert/1` (docs/agent.md).
    Generic,
    Slack,
    PagerDuty {
        /// Has the key of the integration, which is sent along.
        routing_key_file: PathBuf,
    },
    Alertmanager,
}

impl Form {
    /// Whether what holds is to be told again and again.
    pub fn repeats(&self) -> Option<Duration> {
        (*self == Form::Alertmanager).then_some(Duration::from_secs(60))
    }

    /// The file of a secret that bodies have.
    pub fn secret(&self) -> Option<&Path> {
        match self {
            Form::PagerDuty { routing_key_file } => Some(routing_key_file),
            _ => None,
        }
    }

    /// What is posted, with the secret if there is one.
    pub fn request(&self, alert: &Alert, about: &About<'_>, secret: &str) -> Request {
        match self {
            Form::Generic => Request { path: "", body: generic(alert, about) },
            Form::Slack => Request { path: "", body: slack(alert, about) },
            Form::PagerDuty { .. } => {
                Request { path: "/v2/enqueue", body: pagerduty(secret, alert, about) }
            }
            Form::Alertmanager => {
                Request { path: "/api/v2/alerts", body: json!([alertmanager(alert, about)]) }
            }
        }
    }
}

/// The same for as long as it holds, wherever it is told; a new start of the agent does not change it.
fn key(alert: &Alert, about: &About<'_>) -> String {
    let id = alert.who.id;
    let mut key = format!("heaptap/{}/{}/{}/{}", about.node, alert.rule.name, id.pid, id.start);
    if !alert.labels.is_empty() {
        key += &format!("/{}", alert.labels);
    }
    key
}

/// `2026-01-02T03:04:05Z`.
fn time(at: SystemTime) -> String {
    utc(at).trim_end_matches(" UTC").replacen(' ', "T", 1) + "Z"
}

/// Who it is: the labels of metrics.
fn labels(alert: &Alert, about: &About<'_>) -> Map<String, Value> {
    let who = &alert.who;
    let named = who.workload.container.as_ref().or(who.container.as_ref());
    let all = [
        ("node", Some(about.node.to_owned())),
        ("pid", Some(who.id.pid.to_string())),
        ("comm", Some(who.comm.clone())),
        ("container", named.cloned()),
        ("pod", who.workload.pod.clone()),
        ("namespace", who.workload.namespace.clone()),
    ];
    let known = |(name, value): (&str, Option<String>)| Some((name.to_owned(), json!(value?)));
    all.into_iter().filter_map(known).collect()
}

fn generic(alert: &Alert, about: &About<'_>) -> Value {
    let rule = &alert.rule;
    let stacks: Vec<Value> = (about.stacks.iter().take(super::STACKS))
        .map(|(frames, bytes)| json!({ "frames": frames, "bytes": bytes }))
        .collect();
    json!({
        "schema": "heaptap.alert/1",
        "key": key(alert, about),
        "state": if alert.ended.is_some() { "resolved" } else { "firing" },
        "rule": rule.name,
        "severity": rule.severity.word(),
        "summary": summary(alert, about),
        "metric": rule.metric.0.full_name(),
        "labels": alert.labels,
        "value": alert.value,
        "bound": rule.bound.word(),
        "threshold": rule.bound.value(),
        "since": time(alert.since),
        "at": time(alert.at),
        "ended": alert.ended.map(time),
        "process": labels(alert, about),
        "executable": alert.who.path,
        "stacks": stacks,
        "captures": about.captures,
    })
}

/// Slack takes three characters for its own.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn slack(alert: &Alert, about: &About<'_>) -> Value {
    let sign = match (alert.ended, alert.rule.severity) {
        (Some(_), _) => ":white_check_mark:",
        (None, Severity::Critical) => ":rotating_light:",
        (None, Severity::Warning) => ":warning:",
        (None, Severity::Info) => ":information_source:",
    };
    let head = format!("{sign} {}", slack_text(&summary(alert, about)));
    let mut blocks =
        vec![json!({ "type": "section", "text": { "type": "mrkdwn", "text": &head } })];
    let lines = lines(about);
    if !lines.is_empty() && alert.ended.is_none() {
        let text = slack_text(&lines.join("\n")).replace("```", "'''");
        let text = format!("Alive:\n```{text}```");
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    if !about.captures.is_empty() {
        let text = format!("Captured: {}", slack_text(&about.captures.join(", ")));
        let elements = json!([{ "type": "mrkdwn", "text": text }]);
        blocks.push(json!({ "type": "context", "elements": elements }));
    }
    json!({ "text": head, "blocks": blocks })
}

fn pagerduty(routing_key: &str, alert: &Alert, about: &About<'_>) -> Value {
    // 1,024 characters of a summary are shown, and 255 of a key count.
    let cut = |text: String, most: usize| text.chars().take(most).collect::<String>();
    let dedup_key = cut(key(alert, about), 255);
    if alert.ended.is_some() {
        return json!({
            "routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key,
        });
    }
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "heaptap",
        "payload": {
            "summary": cut(summary(alert, about), 1024),
            "source": about.node,
            "severity": alert.rule.severity.word(),
            "timestamp": time(alert.at),
            "component": alert.who.comm,
            "class": alert.rule.name,
            "custom_details": generic(alert, about),
        },
    })
}

fn alertmanager(alert: &Alert, about: &About<'_>) -> Value {
    let mut labels = labels(alert, about);
    labels.insert("alertname".to_owned(), json!(alert.rule.name));
    labels.insert("severity".to_owned(), json!(alert.rule.severity.word()));
    if !alert.labels.is_empty() {
        labels.insert("labels".to_owned(), json!(alert.labels));
    }
    json!({
        "labels": labels,
        "annotations": {
            "summary": summary(alert, about),
            "stacks": lines(about).join("\n"),
            "captures": about.captures.join("\n"),
        },
        "startsAt": time(alert.since),
        "endsAt": time(alert.ended.unwrap_or_else(|| SystemTime::now() + STANDS)),
    })
}
