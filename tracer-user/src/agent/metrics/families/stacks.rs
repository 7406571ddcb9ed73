//! Numbers of stacks and lines: those of each process that have most, and so bounded.

use super::Tell;
use crate::agent::node::{Finding, Frame, Process, Stack};

/// Frames of a stack that are shown.
const FRAMES: usize = 6;
/// Bytes of a label.
const LONGEST: usize = 256;
/// Findings of each process that are told one by one.
const FINDINGS: usize = 5;

/// Tells a number of each of the largest stacks.
pub fn each(process: &Process, tell: &mut Tell<'_>, of: fn(&Stack) -> u64) {
    for stack in process.heap.iter().flat_map(|heap| &heap.top) {
        let id = format!("{:016x}", stack.id);
        let text = chain(&stack.frames);
        tell(&[("stack_id", &id), ("stack", &text)], of(stack).into());
    }
}

/// How many there are of each kind.
pub fn leaks(process: &Process, tell: &mut Tell<'_>) {
    let Some(trends) = &process.trends else { return };
    for of in ["heap", "goroutines", "off-heap"] {
        for verdict in ["leak", "growing"] {
            let is_so = |finding: &&Finding| finding.of == of && finding.verdict == verdict;
            let count = trends.findings.iter().filter(is_so).count() as u64;
            tell(&[("of", of), ("verdict", verdict)], count.into());
        }
    }
}

/// How fast each of the first ones grows.
pub fn growth(process: &Process, tell: &mut Tell<'_>) {
    let Some(trends) = &process.trends else { return };
    let mut told: Vec<(&str, String)> = Vec::new();
    for finding in &trends.findings {
        if told.len() == FINDINGS {
            return;
        }
        let place = finding.place.as_ref().map(Frame::text).unwrap_or_default();
        let place = cut(place);
        // Two lines of one text: the first grows faster.
        if told.iter().any(|(of, known)| *of == finding.of && *known == place) {
            continue;
        }
        let labels = [("of", finding.of), ("verdict", finding.verdict), ("place", &*place)];
        tell(&labels, finding.slope.into());
        told.push((finding.of, place));
    }
}

/// Functions of a stack, innermost first.
fn chain(frames: &[Frame]) -> String {
    let mut names: Vec<String> = frames
        .iter()
        .take(FRAMES)
        .map(|frame| crate::output::text::printable(&frame.function).into_owned())
        .collect();
    if frames.len() > FRAMES {
        names.push("…".to_owned());
    }
    cut(names.join(" < "))
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let frame = |name: &str| Frame { function: name.into(), file: "/a/b.go".into(), line: 3 };
        let deep: Vec<Frame> = (0..9).map(|_| frame("main.f")).collect();
        assert_eq!(chain(&deep[..2]), "main.f < main.f");
        assert!(chain(&deep).ends_with("main.f < …"));
        let long = cut("ü".repeat(300));
        assert!(long.len() <= LONGEST && long.ends_with("ü…"), "{long}");
    }
}
