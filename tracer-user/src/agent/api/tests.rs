//! The description says what is answered: every field, and no other.

use serde_json::{Value, json};

use std::time::{Duration, SystemTime};

use super::*;
use crate::agent::captured::{Captured, Listed};
use crate::agent::node::made;
use crate::agent::timeline::Timelines;
use crate::output::{self, functions};

fn schema(name: &str) -> Value {
    let all: Value = serde_json::from_str(OPENAPI).expect("JSON");
    all["components"]["schemas"][name].clone()
}

/// Holds a value to a schema.
fn hold(value: &Value, schema: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return hold(value, &self::schema(name), at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let of = any.iter().find(|one| (one["type"] == "null") == value.is_null()).unwrap();
        return hold(value, of, at);
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is = match value {
        Value::Null => &["null"][..],
        Value::Bool(_) => &["boolean"],
        Value::Number(number) if number.is_f64() => &["number"],
        Value::Number(_) => &["integer", "number"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    };
    assert!(
        types.iter().any(|of| is.contains(&of.as_str().unwrap())),
        "{at}: {value} is no {types:?}"
    );
    match value {
        Value::Array(all) => all.iter().for_each(|one| hold(one, &schema["items"], at)),
        Value::Object(fields) => {
            let described = schema["properties"].as_object().expect(at);
            let names = |of: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = of.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(names(fields), names(described), "{at}");
            let required = schema["required"].as_array().expect(at).len();
            assert_eq!(required, described.len(), "{at}: a field is always there");
            for (name, value) in fields {
                hold(value, &described[name], &format!("{at}.{name}"));
            }
        }
        _ => {}
    }
}

#[test]
fn every_document_is_as_described() {
    let value = |document: &dyn erased::Document| document.value();
    let node = made::node();
    let name = "20260102-030405-asked-api-4242-1-map.pb.gz";
    let file = Captured::of(name, SystemTime::UNIX_EPOCH, 5).unwrap();
    let longest = Duration::from_secs(30);
    let listed = Listed { files: vec![file.clone()], longest, ..Listed::default() };
    hold(&value(&CaptureDocument::new(&file)), &schema("Capture"), "capture");
    hold(&value(&NodeDocument::new(&node)), &schema("Node"), "node");
    hold(&value(&Overview::new(&node, &listed)), &schema("Overview"), "overview");
    for summary in processes(&node) {
        hold(&value(&summary), &schema("Summary"), "summary");
    }
    for process in &node.processes {
        hold(&value(&ProcessDocument::new(&node, process, &listed)), &schema("Process"), "process");
    }
    let found = findings(&node);
    assert!(!found.is_empty());
    for finding in found {
        hold(&value(&finding), &schema("FindingOf"), "finding");
    }
    let mut lines = Timelines::default();
    lines.add(&node);
    let points = lines.of(node.processes[0].who.id);
    hold(&value(&TimelineDocument::new(1, points)), &schema("Timeline"), "timeline");
    let mut told = Vec::new();
    functions::write(&output::sample::heap(), 0, &mut told).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    hold(&told, &schema("Functions"), "functions");
    let mut told = Vec::new();
    functions::write_diff(&output::diff::sample::grown(), &mut told).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    hold(&told, &schema("FunctionsDiff"), "functions of a comparison");
    hold(&json!({"error": "no such process"}), &schema("Error"), "error");
}

#[test]
fn nothing_known_is_null_and_not_left_out() {
    let node = made::node();
    let bare = node.processes.last().unwrap();
    let document =
        serde_json::to_value(ProcessDocument::new(&node, bare, &Listed::default())).unwrap();
    for name in ["profile", "goroutines", "gc_pressure", "forecast_seconds"] {
        assert_eq!(document[name], Value::Null, "{name}");
    }
}

/// What can be written.
mod erased {
    use serde_json::Value;

    pub trait Document {
        fn value(&self) -> Value;
    }

    impl<T: serde::Serialize> Document for T {
        fn value(&self) -> Value {
            serde_json::to_value(self).unwrap()
        }
    }
}
