//! Rules over pictures that are made up.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::agent::node::{Node, Own, Process, made};
use crate::host::Identity;
use crate::profile::Workload;

fn rule(name: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        metric: Metric::find("go_goroutine_count").unwrap(),
        labels: Vec::new(),
        whom: Whom::default(),
        of: Of::Value,
        bound: Bound::Above(100.0),
        hold: Duration::from_secs(2),
        severity: Severity::Warning,
        capture: Vec::new(),
        notify: None,
        cooldown: Duration::from_secs(10),
    }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
}

/// Processes by pid, with so many goroutines.
fn node(second: u64, processes: &[(u32, u64)]) -> Node {
    let process = |(pid, goroutines): &(u32, u64)| {
        let who = Who {
            id: Identity { pid: *pid, start: 7 },
            comm: format!("api-{pid}"),
            path: "/usr/bin/api".to_owned(),
            go_version: None,
            container: None,
            workload: Workload::default(),
        };
        made_process(who, *goroutines)
    };
    Node {
        time: at(second),
        name: "n1".into(),
        processes: processes.iter().map(process).collect(),
        unread: Vec::new(),
        own: Own::default(),
        push: Vec::new(),
        judged: State::default(),
    }
}

fn made_process(who: Who, goroutines: u64) -> Arc<Process> {
    let goroutines = Some(made::goroutines(goroutines));
    Arc::new(Process { who: Arc::new(who), goroutines, ..made::bare(1) })
}

fn engine(rules: Vec<Rule>) -> Engine {
    let mut engine = Engine::default();
    assert!(engine.set(rules, at(0)).is_empty());
    engine
}

/// Pids of alerts that begin and of those that end.
fn news(alerts: Vec<Alert>) -> (Vec<u32>, Vec<u32>) {
    let (ended, begun): (Vec<_>, Vec<_>) =
        alerts.into_iter().partition(|alert| alert.ended.is_some());
    let pids = |alerts: Vec<Alert>| alerts.iter().map(|alert| alert.who.id.pid).collect();
    (pids(begun), pids(ended))
}

#[test]
fn a_rule_holds_when_it_has_held_for_long_enough_and_is_told_once() {
    let mut engine = engine(vec![rule("many")]);
    let mut judge =
        |second, goroutines| news(engine.judge(&node(second, &[(1, goroutines), (2, 5)])));
    let nothing = (vec![], vec![]);
    assert_eq!(judge(0, 101), nothing);
    assert_eq!(judge(1, 100), nothing);
    assert_eq!([judge(2, 101), judge(3, 101)], [nothing.clone(), nothing.clone()]);
    assert_eq!(judge(4, 101), (vec![1], vec![]));
    assert_eq!(judge(5, 500), nothing);
    assert_eq!(judge(6, 100), (vec![], vec![1]));
    // Again, but too soon; and after that.
    for second in 7..16 {
        assert_eq!(judge(second, 200), nothing, "{second}");
    }
    assert_eq!(judge(16, 200), (vec![1], vec![]));
    let counts = engine.counts();
    assert_eq!((counts.begun, counts.ended, counts.cooled, counts.holding), (2, 1, 1, 1));
}

#[test]
fn who_ends_takes_its_alerts_along() {
    let mut engine = engine(vec![Rule { hold: Duration::ZERO, ..rule("many") }]);
    assert_eq!(news(engine.judge(&node(0, &[(1, 200), (2, 200)]))).0, [1, 2]);
    assert_eq!(news(engine.judge(&node(1, &[(2, 200)]))), (vec![], vec![1]));
    assert_eq!(engine.holding().count(), 1);
    // The same pid is somebody else.
    let mut other = node(2, &[(1, 200), (2, 200)]);
    let who = Who { id: Identity { pid: 1, start: 8 }, ..(*other.processes[0].who).clone() };
    other.processes[0] = made_process(who, 200);
    assert_eq!(news(engine.judge(&other)).0, [1]);
}

#[test]
fn rules_that_stay_go_on_and_others_end() {
    let at_once = |name| Rule { hold: Duration::ZERO, ..rule(name) };
    let mut engine = engine(vec![at_once("gone"), at_once("stays")]);
    assert_eq!(engine.judge(&node(0, &[(1, 200)])).len(), 2);
    let ended = engine.set(vec![at_once("new"), at_once("stays")], at(1));
    assert_eq!(ended.len(), 1);
    assert!(ended[0].rule.name == "gone" && ended[0].ended == Some(at(1)));
    let begun = engine.judge(&node(2, &[(1, 200)]));
    assert_eq!(begun.iter().map(|alert| &alert.rule.name[..]).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn only_who_is_meant_is_judged() {
    let whom = Whom { comm: Some(Pattern("api-2*".to_owned())), ..Whom::default() };
    let of_container = Whom { container: Some(Pattern("*".to_owned())), ..Whom::default() };
    let at_once = Rule { hold: Duration::ZERO, ..rule("two") };
    let other = Rule { name: "none".to_owned(), whom: of_container, ..at_once.clone() };
    let mut engine = engine(vec![Rule { whom, ..at_once }, other]);
    assert_eq!(news(engine.judge(&node(0, &[(1, 200), (2, 200), (21, 200)]))).0, [2, 21]);
}

#[test]
fn labels_of_numbers_tell_them_apart() {
    let metric = Metric::find("go_memory_used_bytes").unwrap();
    let all = Rule { metric, hold: Duration::ZERO, bound: Bound::Above(0.0), ..rule("all") };
    let labels = vec![("go_memory_type".to_owned(), "stack".to_owned())];
    let one = Rule { name: "one".to_owned(), labels, ..all.clone() };
    let mut engine = engine(vec![all, one]);
    let alerts = engine.judge(&node(0, &[(1, 0)]));
    let told: Vec<(&str, &str)> =
        alerts.iter().map(|alert| (&alert.rule.name[..], &alert.labels[..])).collect();
    let [stack, other] = ["go_memory_type=\"stack\"", "go_memory_type=\"other\""];
    assert_eq!(told, [("all", stack), ("all", other), ("one", stack)]);
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mut engine = engine(vec![Rule { hold: Duration::ZERO, ..rule("many") }]);
    let all: Vec<(u32, u64)> = (1..=MOST_COURSES as u32 + 3).map(|pid| (pid, 200)).collect();
    assert_eq!(engine.judge(&node(0, &all)).len(), MOST_COURSES);
    assert_eq!(engine.counts().left_out, 3);
}
