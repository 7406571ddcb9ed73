//! Screens. In: a [`Model`], a theme and an area. Out: cells.
//!
//! Drawing writes back what fits (columns, lines of a page), because keys depend on it; nothing else of
//! the model changes. Any size is drawn, however small.

pub mod bar;
pub mod chart;
pub mod detail;
pub mod flame;
pub mod help;
pub mod list;
pub mod row;
pub mod sizes;
pub mod stacks;
pub mod text;
pub mod theme;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::model::Model;
use theme::Theme;

/// Draws the whole screen.
pub fn draw(model: &mut Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    // The last line is for keys; the first two, where there is room, for what is seen in all.
    let above = if area.height >= 8 { 2 } else { 0 };
    let below = u16::from(area.height >= 3);
    let mut main =
        Rect { y: area.y + above, height: area.height.saturating_sub(above + below), ..area };
    if model.detail.is_some() && !model.help {
        main.y = area.y;
        main.height += above;
    } else if above > 0 {
        list::title(model, theme, area, buffer);
    }
    match (&mut model.detail, model.help) {
        (_, true) => help::draw(model, theme, main, buffer),
        (Some(detail), false) => detail::draw(detail, theme, main, buffer),
        (None, false) => list::draw(model, theme, main, buffer),
    }
    if below > 0 {
        let last = Rect { y: area.bottom() - 1, height: 1, ..area };
        put(buffer, last, 0, hints(model, theme, usize::from(area.width)));
    }
}

/// What is being typed, something to say, or what keys do: as many as fit.
fn hints(model: &Model, theme: Theme, width: usize) -> Line<'static> {
    if model.typing.is_some() {
        let typed = text::cut_front(model.list.filter(), width.saturating_sub(3)).into_owned();
        return Line::from(vec![
            Span::styled("/", theme.key()),
            Span::raw(typed),
            Span::styled("_", theme.chosen()),
        ]);
    }
    if let Some(message) = &model.message {
        return Line::styled(text::cut(message, width).into_owned(), theme.warning());
    }
    if let Some(unread) =
        model.list.chosen_unread().filter(|_| !model.help && model.detail.is_none())
    {
        return Line::styled(text::cut(&unread.reason, width).into_owned(), theme.warning());
    }
    let keys: &[(&str, &str)] = match &model.detail {
        _ if model.help => &[("↑↓", "move"), ("esc", "back"), ("q", "quit")],
        Some(detail) if detail.shows_flame() => &[
            ("esc", "out"),
            ("enter", "zoom in"),
            ("↑↓←→", "move"),
            ("f", "table"),
            ("tab", "pane"),
            ("s", "save"),
            ("?", "help"),
            ("q", "quit"),
            ("p", "pause"),
        ],
        Some(_) => &[
            ("esc", "back"),
            ("tab", "pane"),
            ("enter", "stack"),
            ("f", "flame"),
            ("d", "change"),
            ("s", "save"),
            ("?", "help"),
            ("q", "quit"),
            ("↑↓", "move"),
            ("p", "pause"),
        ],
        None => &[
            ("q", "quit"),
            ("?", "help"),
            ("enter", "open"),
            ("↑↓", "move"),
            ("/", "filter"),
            ("<>", "sort"),
            ("r", "reverse"),
            ("p", "pause"),
        ],
    };
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, word) in keys {
        let more = text::width(key) + word.len() + 3;
        if used + more > width + 2 {
            break;
        }
        used += more;
        spans.push(Span::styled((*key).to_owned(), theme.key()));
        spans.push(Span::raw(format!(" {word}  ")));
    }
    Line::from(spans)
}

/// Writes a line into row `at` of `area`, if there is one.
fn put(buffer: &mut Buffer, area: Rect, at: usize, line: Line<'_>) {
    let Some(y) = u16::try_from(at).ok().filter(|at| *at < area.height) else { return };
    let width = u16::try_from(line.width()).unwrap_or(u16::MAX);
    let centered = line.alignment == Some(ratatui::layout::HorizontalAlignment::Center);
    let x = if centered { area.x + area.width.saturating_sub(width) / 2 } else { area.x };
    buffer.set_line(x, area.y + y, &line, area.right() - x);
}

/// Empties what was drawn.
fn clear(buffer: &mut Buffer, area: Rect) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buffer[(x, y)].reset();
        }
    }
}

/// Writes one line to the left and one to the right; the left one is cut where they meet.
fn sides(buffer: &mut Buffer, area: Rect, at: usize, left: Line<'_>, right: Line<'_>) {
    let Some(y) = u16::try_from(at).ok().filter(|at| *at < area.height) else { return };
    let need = u16::try_from(left.width()).unwrap_or(u16::MAX);
    let right_width = u16::try_from(right.width()).unwrap_or(u16::MAX);
    buffer.set_line(area.x, area.y + y, &left, area.width);
    // What is to the right is of less interest, and whole or not there.
    if need.saturating_add(right_width).saturating_add(2) <= area.width {
        buffer.set_line(area.right() - right_width, area.y + y, &right, right_width);
    }
}

#[cfg(test)]
mod tests;
