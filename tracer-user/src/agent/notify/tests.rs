//! What receivers are told, of one alert.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::agent::node::Who;
use crate::agent::rules::{Bound, Metric, Rule, Severity, Whom};
use crate::host::Identity;
use crate::profile::Workload;

fn alert() -> Alert {
    let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + second);
    let rule = Rule {
        name: "too <large>".to_owned(),
        metric: Metric::find("heaptap_memory_resident_bytes").unwrap(),
        labels: Vec::new(),
        whom: Whom::default(),
        of: Of::Value,
        bound: Bound::Above(1e6),
        hold: Duration::from_secs(120),
        severity: Severity::Critical,
        capture: Vec::new(),
        notify: None,
        cooldown: Duration::ZERO,
    };
    let who = Who {
        id: Identity { pid: 42, start: 7 },
        comm: "a&b\u{1b}".to_owned(),
        path: "/bin/a".to_owned(),
        go_version: None,
        container: Some("3f8a".to_owned()),
        workload: Workload {
            pod: Some("api-1".to_owned()),
            namespace: Some("prod".to_owned()),
            ..Workload::default()
        },
    };
    Alert {
        id: 1,
        rule: Arc::new(rule),
        who: Arc::new(who),
        labels: String::new(),
        value: 3_145_728.0,
        since: at(0),
        at: at(120),
        ended: None,
    }
}

fn told(form: &Form, ended: bool) -> Request {
    let mut alert = alert();
    alert.ended = ended.then(|| alert.at + Duration::from_secs(60));
    let frames = ["main.read (a.go:7)", "main.main (a.go:3)"].map(str::to_owned).to_vec();
    let stacks = [(frames.clone(), 1024), (frames.clone(), 5), (frames.clone(), 4), (frames, 3)];
    let captures = ["a.pb.gz".to_owned()];
    form.request(&alert, &About { node: "n1", stacks: &stacks, captures: &captures }, "R")
}

const SUMMARY: &str = "a&b\\x1b (42) on n1: too <large>: heaptap_memory_resident_bytes is 3.0 MiB, above \
                       976.6 KiB for 2 min 0 s";

#[test]
fn plain() {
    let Request { path, body } = told(&Form::Generic, false);
    assert_eq!((path, &body["state"], &body["summary"]), ("", &"firing".into(), &SUMMARY.into()));
    assert_eq!((&body["since"], &body["ended"]), (&"2026-01-02T03:04:05Z".into(), &().into()));
    assert_eq!(body["stacks"].as_array().unwrap().len(), STACKS);
    assert_eq!(body["stacks"][0]["bytes"], 1024);
    assert_eq!(body["process"]["pod"], "api-1");
    let ended = told(&Form::Generic, true).body;
    assert_eq!((&ended["state"], &ended["key"]), (&"resolved".into(), &body["key"]));
    assert_eq!(ended["ended"], "2026-01-02T03:07:05Z");
    let description = include_str!("../../../../docs/agent.md");
    crate::pipeline::assert_described(&body, description, "heaptap.alert/1");
}

#[test]
fn slack() {
    let Request { body, .. } = told(&Form::Slack, false);
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with(":rotating_light: a&amp;b\\x1b (42) on n1: too &lt;large&gt;"),
        "{text}"
    );
    let stacks = body["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(stacks.contains("```1.0 KiB: main.read (a.go:7) ← main.main (a.go:3)\n"), "{stacks}");
    assert!(body["blocks"][2]["elements"][0]["text"].as_str().unwrap().contains("a.pb.gz"));
    assert!(told(&Form::Slack, true).body["text"].as_str().unwrap().contains(": over: "));
}

#[test]
fn pagerduty() {
    let form = Form::PagerDuty { routing_key_file: "/key".into() };
    let Request { path, body } = told(&form, false);
    assert_eq!((path, &body["event_action"]), ("/v2/enqueue", &"trigger".into()));
    assert_eq!((&body["routing_key"], form.secret().is_some()), (&"R".into(), true));
    assert_eq!(
        (&body["payload"]["severity"], &body["payload"]["source"]),
        (&"critical".into(), &"n1".into())
    );
    let ended = told(&form, true).body;
    assert_eq!(
        (&ended["event_action"], &ended["dedup_key"]),
        (&"resolve".into(), &body["dedup_key"])
    );
    assert!(ended.get("payload").is_none());
}

#[test]
fn alertmanager() {
    let Request { path, body } = told(&Form::Alertmanager, false);
    assert_eq!((path, &body[0]["labels"]["alertname"]), ("/api/v2/alerts", &"too <large>".into()));
    assert_eq!(body[0]["labels"]["severity"], "critical");
    assert_eq!(body[0]["startsAt"], "2026-01-02T03:04:05Z");
    assert_eq!(told(&Form::Alertmanager, true).body[0]["endsAt"], "2026-01-02T03:07:05Z");
    assert!(Form::Alertmanager.repeats().is_some() && Form::Slack.repeats().is_none());
}

#[test]
fn numbers_are_as_people_read_them() {
    let of = |value| (number(value, "go_goroutine_count"), number(value, "x_bytes"));
    assert_eq!(of(12_000.0), ("12000".to_owned(), "11.7 KiB".to_owned()));
    assert_eq!(of(-0.25), ("-0.2500".to_owned(), "-0 B".to_owned()));
    assert_eq!(number(2.345, "x_ratio"), "2.35");
}
