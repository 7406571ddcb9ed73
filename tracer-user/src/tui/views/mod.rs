//! Screens. In: a [`Model`], a theme and an area. Out: cells.
//!
//! Drawing writes back what fits (columns, lines of a page), because keys depend on it; nothing else of
//! the model changes. Any size is drawn, however small.

pub mod bar;
pub mod help;
pub mod list;
pub mod row;
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
    let main =
        Rect { y: area.y + above, height: area.height.saturating_sub(above + below), ..area };
    if above > 0 {
        list::title(model, theme, area, buffer);
    }
    match model.help {
        true => help::draw(model, theme, main, buffer),
        false => list::draw(model, theme, main, buffer),
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
    if let Some(unread) = model.list.chosen_unread().filter(|_| !model.help) {
        return Line::styled(text::cut(&unread.reason, width).into_owned(), theme.warning());
    }
    let keys: &[(&str, &str)] = match model.help {
        true => &[("↑↓", "move"), ("esc", "back"), ("q", "quit")],
        false => &[
            ("q", "quit"),
            ("?", "help"),
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
