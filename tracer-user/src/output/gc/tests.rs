//! The timeline and its summary, against what they are to look like.

use super::super::json::Document;
use super::super::{Growth, SCHEMA, head, made, row, write_json, write_summary};
use super::*;
use crate::output::golden::check;
use crate::pipeline::assert_described;

fn svg(report: &Report) -> String {
    let mut out = Vec::new();
    write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn pictures_and_lines_match_the_golden_files() {
    let report = made::report();
    check("gc.svg.txt", &svg(&report));
    let mut text = head(true);
    for cycle in &report.processes[0].cycles {
        text.push_str(&row(&report.processes[0], cycle, true));
    }
    let mut summary = Vec::new();
    write_summary(&report, &mut summary).unwrap();
    text.push_str(&String::from_utf8(summary).unwrap());
    check("gc.txt", &text);
}

#[test]
fn every_field_of_the_document_is_described_and_nothing_else() {
    let document = serde_json::to_value(Document::new(&made::report())).unwrap();
    let text = include_str!("../../../../docs/gc.md");
    assert_described(&document, text, SCHEMA);
    let mut out = Vec::new();
    write_json(&made::report(), &mut out).unwrap();
    let back: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let process = &back["processes"][0];
    assert_eq!((&process["count"], &process["in_full"]), (&3.into(), &2.into()));
    assert_eq!(process["cycles"][2]["detail"], serde_json::Value::Null);
    assert_eq!(process["cycles"][1]["trigger"], "forced");
}

#[test]
fn no_markup_comes_through() {
    let mut report = made::report();
    report.processes[0].comm = "<script>alert(1)</script>\x1b[31m\u{202e}".into();
    report.unseen[0].reason = "<b>&\"".into();
    let growth = report.processes[0].growth.as_mut().unwrap();
    growth.stacks[0][0].function = growth.names.intern("main.<script>\x1b\u{202e}");
    let svg = svg(&report);
    assert!(!svg.contains("<script") && !svg.contains("<b>"), "{svg}");
    assert!(!svg.contains(['\u{202e}', '\x1b']));
}

#[test]
fn what_is_not_known_is_not_drawn() {
    let report = made::report();
    let whole = svg(&report);
    assert_eq!(whole.matches("class=\"gc\"").count(), 2, "bands of two collections");
    assert_eq!(whole.matches("class=\"part\"").count(), 1, "a mark of the third");
    assert_eq!(whole.matches("class=\"live\"").count(), 2, "a gap in between");
    assert!(whole.contains("not seen in full"));
}

#[test]
fn growth_is_told_with_its_stacks_and_what_is_not_known_of_it() {
    let mut report = made::report();
    let text = |report: &Report| {
        let mut out = Vec::new();
        write_summary(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let drawn = svg(&report);
    assert_eq!(drawn.matches("class=\"grew\"").count(), 2, "{drawn}");
    assert!(drawn.contains("+4.0 MiB main.(*cache).put (shop/orders.go:31)"), "a tooltip: {drawn}");
    // One span is the whole.
    let growth = report.processes[0].growth.as_mut().unwrap();
    growth.spans.truncate(1);
    growth.spans[0].is_cut = true;
    growth.total = Some(growth.spans[0].clone());
    let one = text(&report);
    assert!(one.contains("GC 7 at 1.000 s: its stacks were not kept"), "{one}");
    assert_eq!(one.matches("  GC 7").count(), 1, "{one}");
    report.top = 0;
    assert!(!text(&report).contains("GREW BY"));
    report.processes[0].growth =
        Some(Growth { notes: vec!["not known".into()], ..Growth::default() });
    let nothing = text(&report);
    assert!(nothing.contains("growth       not known\n") && !nothing.contains("GREW"), "{nothing}");
    report.processes[0].growth = None;
    assert!(!text(&report).contains("\ngrowth "));
}

#[test]
fn a_limit_far_above_is_told_and_not_drawn() {
    let mut report = made::report();
    for (_, sample) in &mut report.processes[0].samples {
        sample.memory_limit = Some(4 << 30);
    }
    let svg = svg(&report);
    assert!(svg.contains("GOMEMLIMIT 4.0 GiB: above the picture"));
    assert!(!svg.contains("class=\"goal limit\"") && !svg.contains("class=\"mapped\""));
}

#[test]
fn pictures_stay_small_and_finite_whatever_is_in_them() {
    let mut report = made::report();
    let process = &mut report.processes[0];
    process.cycles = (7..20_000).map(made::cycle).collect();
    for (index, cycle) in process.cycles.iter_mut().enumerate() {
        cycle.end_unix_ns = process.first_unix_ns + 200_000 * index as u64;
    }
    process.cycles[5].end_unix_ns = 0;
    process.cycles[6].end_unix_ns = u64::MAX;
    process.cycles[6].pause_ns = u64::MAX;
    if let Some(detail) = &mut process.cycles[7].detail {
        detail.mark_ns = u64::MAX;
        detail.goal = None;
    }
    let svg = svg(&report);
    assert!(svg.len() < 2_000_000, "{}", svg.len());
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "a number that is none");
}

#[test]
fn nothing_and_nobody_have_a_picture_too() {
    let mut report = made::report();
    report.processes[0].cycles.clear();
    report.processes[0].samples.clear();
    assert!(svg(&report).contains("0 in 4.0 s"));
    report.processes.clear();
    assert!(svg(&report).ends_with("</svg>\n"));
}
