//! What is told of leaks: in a table, as JSON, and by the exit code.

use super::*;
use crate::exit::Exit;
use crate::pipeline::assert_described;
use crate::profile::FrameKind;
use crate::profile::trend::Doubt;

fn place(function: &str, line: u32) -> Place {
    let file = "/src/orders/store.go";
    Place { function: function.into(), file: file.into(), line, kind: FrameKind::Program }
}

fn trend(verdict: Verdict, doubts: &[Doubt]) -> Trend {
    Trend {
        verdict,
        slope: 512.0 * 1024.0,
        error: 64.0 * 1024.0,
        grew: 30.0 * 1024.0 * 1024.0,
        hits: 60.0,
        stays: 0.995,
        looks: 24,
        span: 60.0,
        doubts: doubts.to_vec(),
    }
}

fn finding(of: What, trend: Trend) -> Finding {
    Finding {
        of,
        trend,
        place: Some(place("main.(*store).add", 42)),
        stack: vec![place("main.(*store).add", 42), place("main.main", 7)],
        stacks: 1,
        keeper: Some(Keeper::Map),
        live: 40.0 * 1024.0 * 1024.0,
        objects: Some(1000.0),
        blocked: Some(3),
    }
}

fn made() -> Report {
    let judged = Judged {
        id: Identity { pid: 4242, start: 77 },
        comm: "orders".into(),
        path: "/usr/bin/orders".into(),
        go_version: Some("1.27.3".into()),
        container: None,
        workload: Workload::default(),
        span: 60.0,
        profiles: 24,
        findings: vec![
            finding(What::Heap, trend(Verdict::Leak, &[])),
            finding(What::Goroutines, trend(Verdict::Growing, &[Doubt::Slowing])),
        ],
        notes: vec!["a note".into()],
    };
    let unseen = Unseen {
        pid: 7,
        comm: "old".into(),
        failure: Failure::new(Exit::Unsupported, "process 7: too old"),
    };
    Report { processes: vec![judged], unseen: vec![unseen] }
}

#[test]
fn every_field_is_described_and_nothing_else() {
    let report = made();
    let document = serde_json::to_value(json::Document::new(&report)).unwrap();
    assert_described(&document, include_str!("../../../../docs/leaks.md"), json::SCHEMA);
    assert_eq!(document["leaks"], 1);
}

#[test]
fn a_finding_says_where_how_sure_and_what_is_in_doubt() {
    let text = text::report(&made(), true);
    // However lines are broken.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "process 4242 (orders, Go 1.27.3), 60 s, 24 heap profiles: 1 leak",
        "LEAK main.(*store).add ",
        "store.go:42",
        "grew by 30.0 MiB in 60 s: 512.0 KiB ± 64.0 KiB a second, by 60 samples",
        "a map grows there",
        "looks the same",
        "main.main ",
        "growing, and no leak as far as can be told:",
        "it slows down, as something does that fills",
        "note: a note",
        "not judged: process 7: too old",
    ] {
        assert!(words.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text::report(&made(), false).contains("main.main"));
}
