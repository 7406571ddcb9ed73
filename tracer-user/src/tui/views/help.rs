//! The screen that says what keys do and what columns mean.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::text::{fit, width};
use super::theme::Theme;
use crate::output::text::wrap;
use crate::tui::model::Model;
use crate::tui::model::process::Column;

const KEYS: [(&str, &str); 17] = [
    ("↑ ↓ j k", "move; page up, page down, home (g) and end"),
    ("enter", "open the process; there: show a stack; in a flame graph: zoom in"),
    ("esc", "back: zoom out, to the table, to the list, without a filter"),
    ("tab 1-4", "in a process: live heap, allocated, goroutines, sizes"),
    ("f", "in a process: flame graph, and the table again"),
    ("d", "in a process: what changed most since its pane was first opened comes first"),
    ("s", "in a process: save what is shown as SVG and pprof, here"),
    ("← →", "in a flame graph: frames beside; in the list: as < >"),
    ("/", "filter by anything in pid, name, path, container, pod, namespace, unit"),
    ("< >", "sort by the column before, the next one"),
    ("I N T …", "sort by a column: its letter is below; again: the other way round"),
    ("r", "the other way round"),
    ("p", "pause, and go on"),
    ("?", "this help"),
    ("ctrl-l", "draw the screen anew"),
    ("ctrl-z", "into the background"),
    ("q", "end; ctrl-c too"),
];

/// Draws it into `area`; what does not fit is reached by moving.
pub fn draw(model: &mut Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let lines = lines(theme, usize::from(area.width));
    let rows = usize::from(area.height);
    model.help_from = model.help_from.min(lines.len().saturating_sub(rows));
    model.page = rows;
    for (at, line) in lines.into_iter().skip(model.help_from).take(rows).enumerate() {
        put(buffer, area, at, line);
    }
}

fn lines(theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Keys", theme.title())];
    for (keys, text) in KEYS {
        entry(&mut lines, theme, keys, 9, text, width);
    }
    lines.push(Line::default());
    lines.push(Line::styled("Columns, each with the key that sorts by it", theme.title()));
    for column in Column::ALL {
        let name = format!("{} {}", column.key(), column.title());
        entry(&mut lines, theme, &name, 11, column.help(), width);
    }
    lines.push(Line::default());
    let bar =
        "█ survived the last collection, ▒ allocated since, ┃ goal, ╪ GOMEMLIMIT when it is near";
    entry(&mut lines, theme, "bar", 11, bar, width);
    let units = "B, K, M, G: binary units (1K is 1024 bytes)";
    entry(&mut lines, theme, "units", 11, units, width);
    let source = "everything is read out of the processes' memory: no probe, no signal, no stop";
    entry(&mut lines, theme, "source", 11, source, width);
    lines
}

fn entry(
    lines: &mut Vec<Line<'static>>,
    theme: Theme,
    name: &str,
    indent: usize,
    text: &str,
    whole: usize,
) {
    let room = whole.saturating_sub(indent + 4).max(10);
    for (at, part) in wrap(text, room).into_iter().enumerate() {
        let name = if at == 0 { name } else { "" };
        let name = fit(name, indent.max(width(name)), false);
        lines.push(Line::from(vec![
            Span::raw("  "),
            Span::styled(name, theme.key()),
            Span::raw("  "),
            Span::raw(part),
        ]));
    }
}
