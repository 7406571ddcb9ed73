//! A heap against its goal and limit, in one line of cells.

use ratatui::style::Style;
use ratatui::text::Span;

use super::theme::Theme;

/// What a bar is of, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    pub alloc: u64,
    /// Of that: survived the last collection.
    pub marked: u64,
    pub goal: Option<u64>,
    pub limit: Option<u64>,
}

const MARKED: char = '█';
const SINCE: char = '▒';
const FREE: char = '∙';
const GOAL: char = '┃';
const LIMIT: char = '╪';

/// Whether a cell is part of a bar.
pub fn is_drawn(cell: &str) -> bool {
    [MARKED, SINCE, FREE, GOAL, LIMIT].iter().any(|drawn| cell.chars().eq([*drawn]))
}

/// A limit is drawn when the bar is not more than this many times as long for it.
const LIMIT_NEAR: f64 = 1.5;

/// `█` survived the last collection, `▒` since then, `┃` the goal, `╪` the limit.
///
/// The end of the bar is the goal, or what is farther; without goal and limit there is nothing to be
/// compared with, and no bar.
pub fn heap(theme: Theme, heap: Heap, width: usize) -> Vec<Span<'static>> {
    let Heap { alloc, marked, goal, limit } = heap;
    if goal.is_none() && limit.is_none() {
        return vec![Span::raw(" ".repeat(width))];
    }
    let end = goal.or(limit).unwrap_or(0).max(alloc).max(1);
    let near = limit.filter(|limit| *limit as f64 <= end as f64 * LIMIT_NEAR);
    let end = near.unwrap_or(0).max(end);
    let place = |bytes: u64| ((bytes as f64 / end as f64) * width as f64).round() as usize;
    let marked_to = place(marked.min(alloc));
    // Any heap at all is seen.
    let alloc_to = place(alloc).max(usize::from(alloc > 0)).min(width);
    let last = |bytes: u64| place(bytes).clamp(1, width.max(1)) - 1;
    let (goal_at, limit_at) = (goal.map(last), near.map(last));
    let tight = limit.is_some_and(|limit| alloc as f64 > 0.9 * limit as f64);
    let cell = |at: usize| -> (char, Style) {
        match at {
            at if Some(at) == limit_at => (LIMIT, theme.bad()),
            at if at < marked_to && tight => (MARKED, theme.bad()),
            at if at < marked_to => (MARKED, theme.good()),
            at if at < alloc_to => (SINCE, theme.good()),
            at if Some(at) == goal_at => (GOAL, theme.dim()),
            _ => (FREE, theme.dim()),
        }
    };
    let mut spans: Vec<(String, Style)> = Vec::new();
    for (c, style) in (0..width).map(cell) {
        match spans.last_mut() {
            Some((text, last)) if *last == style => text.push(c),
            _ => spans.push((c.to_string(), style)),
        }
    }
    spans.into_iter().map(|(text, style)| Span::styled(text, style)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(alloc: u64, marked: u64, goal: Option<u64>, limit: Option<u64>) -> String {
        let spans = heap(Theme { color: false }, Heap { alloc, marked, goal, limit }, 10);
        spans.iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn the_goal_is_the_end_unless_something_is_farther() {
        assert_eq!(drawn(60, 30, Some(100), None), "███▒▒▒∙∙∙┃");
        assert_eq!(drawn(60, 30, Some(100), Some(120)), "███▒▒∙∙┃∙╪");
        assert_eq!(drawn(60, 30, Some(100), Some(1000)), "███▒▒▒∙∙∙┃", "far away");
        assert_eq!(drawn(200, 100, Some(100), None), "█████▒▒▒▒▒", "beyond its goal");
        assert_eq!(drawn(100, 100, Some(100), Some(90)), "████████╪█");
        assert_eq!(drawn(1, 0, Some(1000), None), "▒∙∙∙∙∙∙∙∙┃");
        assert_eq!(drawn(0, 0, Some(1000), None), "∙∙∙∙∙∙∙∙∙┃");
        assert_eq!(drawn(60, 30, None, Some(100)), "███▒▒▒∙∙∙╪", "only a limit");
        assert_eq!(drawn(60, 30, None, None), "          ", "no collector");
        let huge = drawn(u64::MAX, u64::MAX, Some(u64::MAX), Some(u64::MAX));
        assert_eq!(huge, "█████████╪");
        assert!(
            heap(
                Theme { color: true },
                Heap { alloc: 1, marked: 1, goal: Some(1), limit: None },
                0
            )
            .is_empty()
        );
    }
}
