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
    let (objects, space) = (profile.value("alloc_objects")?, profile.value("alloc_space")?);
    let mut wrong = Vec::new();
    for path in &report.paths {
        let found: Vec<&Stack> =
            profile.stacks.iter().filter(|stack| is_path(stack, path)).collect();
        let sum = |value: usize| found.iter().map(|stack| stack.values[value]).sum::<u64>();
        if sum(objects) != path.count || path.bytes.is_some_and(|bytes| sum(space) != bytes) {
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
