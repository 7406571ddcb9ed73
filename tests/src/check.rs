//! Compares what heaptap recorded with what the fixture `alloc` counted of itself.

use anyhow::{Result, bail, ensure};

use crate::profile::{Profile, Stack, StackFrame};
use crate::report::{Frame, Path, Report};

/// Deepest stack that heaptap keeps, in return addresses.
const MAX_DEPTH: usize = 128;

/// How many of them may be the runtime's own allocation functions, which are folded away.
const RUNTIME_DEPTH: usize = 8;

/// Nothing was lost, the total is the runtime's own, and every path has its count and bytes.
pub fn all(profile: &Profile, report: &Report) -> Result<()> {
    total(profile, report)?;
    paths(profile, report)
}

/// Nothing was lost and the total equals `runtime.MemStats.Mallocs`.
pub fn total(profile: &Profile, report: &Report) -> Result<()> {
    ensure!(profile.meta.lost_events == 0, "lost: {:?}", profile.losses());
    let objects = profile.total("alloc_objects")?;
    // What the runtime allocated while the program waited was seen when it was after the start.
    let possible = report.mallocs..=report.mallocs + report.idle;
    ensure!(possible.contains(&objects), "{objects} allocations seen of {possible:?}");
    Ok(())
}

/// Every path appears with exactly its count and bytes under exactly its frames.
pub fn paths(profile: &Profile, report: &Report) -> Result<()> {
    paths_where(profile, report, |found, told| found == told)
}

/// The same, where what was found (objects, bytes) stands in some relation to what the program told.
pub fn paths_where(
    profile: &Profile,
    report: &Report,
    holds: impl Fn(u64, u64) -> bool,
) -> Result<()> {
    let (objects, space) = (profile.value("alloc_objects")?, profile.value("alloc_space")?);
    let mut wrong = Vec::new();
    for path in &report.paths {
        let found: Vec<&Stack> =
            profile.stacks.iter().filter(|stack| is_path(stack, path)).collect();
        let sum = |value: usize| found.iter().map(|stack| stack.values[value]).sum::<u64>();
        if !holds(sum(objects), path.count)
            || path.bytes.is_some_and(|bytes| !holds(sum(space), bytes))
        {
            wrong.push(format!(
                "{}: {} objects of {}, {} bytes of {:?}; {}",
                path.id,
                sum(objects),
                path.count,
                sum(space),
                path.bytes,
                nearest(profile, path),
            ));
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {} paths are wrong:\n{}", wrong.len(), report.paths.len(), wrong.join("\n"));
    }
    Ok(())
}

/// Whether a stack was made by a path.
fn is_path(stack: &Stack, path: &Path) -> bool {
    let expected = without_end(&path.frames, |frame: &Frame| &frame.function);
    let (mut frames, truncated) = (&stack.frames[..], stack.is_truncated());
    if truncated {
        frames = &frames[..frames.len() - 1];
        let enough = frames.len() >= MAX_DEPTH - RUNTIME_DEPTH;
        return enough && expected.len() > frames.len() && same(frames, &expected[..frames.len()]);
    }
    frames = without_end(frames, |frame| &frame.function);
    let Some(inner) = frames.len().checked_sub(expected.len()) else { return false };
    let starts = path.inner.as_deref().unwrap_or_default();
    let is_inner =
        |frame: &StackFrame| starts.iter().any(|start| frame.function.starts_with(start));
    frames[..inner].iter().all(is_inner) && same(&frames[inner..], expected)
}

fn same(frames: &[StackFrame], expected: &[Frame]) -> bool {
    frames.iter().zip(expected).all(|(frame, expected)| frame.is(expected))
}

/// Goroutines end in `runtime.goexit`, which Go's own profiles leave out.
fn without_end<T>(frames: &[T], function: impl Fn(&T) -> &String) -> &[T] {
    match frames.split_last() {
        Some((last, rest)) if function(last) == "runtime.goexit" => rest,
        _ => frames,
    }
}

/// The stacks that begin where the path does, for the message.
fn nearest(profile: &Profile, path: &Path) -> String {
    let first = &path.frames[0];
    let near = profile.stacks.iter().filter(|stack| {
        stack
            .frames
            .iter()
            .any(|frame| frame.function == first.function && frame.line == first.line)
    });
    let show = |stack: &Stack| {
        let frames = stack.frames.iter().take(6);
        let frames: Vec<String> =
            frames.map(|frame| format!("{}:{}", frame.function, frame.line)).collect();
        format!("{:?} at {} ({} frames)", stack.values, frames.join(" < "), stack.frames.len())
    };
    let near: Vec<String> = near.take(3).map(show).collect();
    let wanted = format!("wanted {}:{} ({} frames)", first.function, first.line, path.frames.len());
    if near.is_empty() {
        return format!("{wanted}, nothing near");
    }
    format!("{wanted}, near: {}", near.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn frame(function: &str, line: u32) -> Value {
        json!({
            "function": function, "file": "a.go", "line": line, "kind": "program",
            "inlined": false, "address": "0x1"
        })
    }

    fn profile(frames: Vec<Value>, objects: u64, bytes: u64) -> Profile {
        serde_json::from_value(json!({
            "schema": "heaptap.profile/1",
            "meta": {
                "source": "exact", "estimate": false, "started_unix_ns": 0, "duration_ns": 0,
                "lost_events": 0, "totals": [objects, bytes],
                "value_types": [{"kind": "alloc_objects"}, {"kind": "alloc_space"}],
            },
            "counters": [], "notes": [],
            "processes": [{"pid": 1, "comm": "alloc", "go_version": "go1.27.3"}],
            "stacks": [{
                "process": 0, "values": [objects, bytes], "error": [], "go_type": null,
                "frames": frames,
            }],
        }))
        .expect("a profile")
    }

    fn report(inner: &[&str], frames: &[(&str, u32)]) -> Report {
        let frames: Vec<Value> = frames.iter().map(|(name, line)| frame(name, *line)).collect();
        let path =
            json!({"id": "path", "count": 10, "bytes": 160, "inner": inner, "frames": frames});
        let report = json!({"go": "go1.27.3", "pid": 1, "mallocs": 10, "idle": 0, "paths": [path]});
        serde_json::from_value(report).expect("a report")
    }

    fn stack() -> Vec<Value> {
        vec![frame("main.f", 7), frame("main.main", 3), frame("runtime.main", 1)]
    }

    const EXPECTED: [(&str, u32); 4] =
        [("main.f", 7), ("main.main", 3), ("runtime.main", 1), ("runtime.goexit", 2)];

    #[test]
    fn what_is_right_passes() {
        all(&profile(stack(), 10, 160), &report(&[], &EXPECTED)).expect("right");
        let with_end = [stack(), vec![frame("runtime.goexit", 2)]].concat();
        all(&profile(with_end, 10, 160), &report(&[], &EXPECTED)).expect("right");
        let with_inner = [vec![frame("strings.grow", 1)], stack()].concat();
        all(&profile(with_inner, 10, 160), &report(&["strings."], &EXPECTED)).expect("right");
    }

    #[test]
    fn whatever_is_wrong_fails() {
        let report = report(&["strings."], &EXPECTED);
        let mut line = stack();
        line[1] = frame("main.main", 4);
        let mut missing = stack();
        missing.remove(1);
        let caller_lost = stack().split_off(1);
        let other_inner = [vec![frame("bytes.grow", 1)], stack()].concat();
        let wrong = [
            (stack(), 9, 160),
            (stack(), 11, 160),
            (stack(), 10, 159),
            (line, 10, 160),
            (missing, 10, 160),
            (caller_lost, 10, 160),
            (other_inner, 10, 160),
        ];
        for (frames, objects, bytes) in wrong {
            let text = format!("{frames:?}");
            all(&profile(frames, objects, bytes), &report).expect_err(&text);
        }
    }

    #[test]
    fn truncated_stacks_are_as_deep_as_can_be() {
        let deep: Vec<(&str, u32)> = (0..200).map(|line| ("main.f", line)).collect();
        let report = report(&[], &deep);
        let cut = |depth: u32| {
            let mut frames: Vec<Value> = (0..depth).map(|line| frame("main.f", line)).collect();
            frames.push(json!({
                "function": "[truncated]", "file": "", "line": 0, "kind": "marker",
                "inlined": false, "address": "0x0"
            }));
            profile(frames, 10, 160)
        };
        all(&cut(127), &report).expect("as deep as it can be");
        all(&cut(60), &report).expect_err("cut too early");
    }
}
