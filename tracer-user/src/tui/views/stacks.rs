//! A profile as a table: stacks with the most first, or what they have in common.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::list::{chosen_line, first_shown};
use super::put;
use super::text::{bytes, count, cut, fit, percent};
use super::theme::Theme;
use crate::output::text::wrap;
use crate::profile::FrameKind;
use crate::tui::model::detail::{Detail, Loaded, Pane, View};
use crate::tui::model::shape::{Group, Row, Shape};

/// Stacks that are shown of an opened row that has several.
const MOST_STACKS: usize = 10;

/// Draws the pane's table into `area`.
pub fn draw(detail: &mut Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let (pane, by_change) = (detail.pane, detail.by_change);
    let loaded = match &detail.view().content {
        Some(Ok(loaded)) => loaded,
        Some(Err(why)) => return say(why, theme.warning(), area, buffer),
        None => return say("reading …", theme.dim(), area, buffer),
    };
    if loaded.rows.is_empty() {
        return say("nothing was counted yet", theme.dim(), area, buffer);
    }
    let width = usize::from(area.width);
    let value = match pane {
        Pane::Allocated => "ALLOCATED",
        Pane::Goroutines => "GOROUTINES",
        Pane::Live | Pane::Sizes => "LIVE",
    };
    let what = match pane {
        Pane::Goroutines => "CREATED BY",
        _ => "FUNCTION ← CALLERS",
    };
    let styles = match by_change {
        true => [theme.head(), theme.active()],
        false => [theme.active(), theme.head()],
    };
    let head = vec![
        Span::styled("     %  ", theme.head()),
        Span::styled(fit(value, 10, true), styles[0]),
        Span::raw(" "),
        Span::styled(fit("SINCE OPEN", 10, true), styles[1]),
        Span::styled(format!("  {what}"), theme.head()),
    ];
    put(buffer, area, 0, Line::from(head));
    // Rows, and below those that are opened their stacks.
    let view = detail.view();
    let room = usize::from(area.height.saturating_sub(1));
    let first = first_shown(view.chosen, loaded.rows.len(), room, view.first);
    let mut at = 1;
    let mut chosen_seen = false;
    for (index, row) in loaded.rows.iter().enumerate().skip(first) {
        if at > room {
            break;
        }
        chosen_seen |= index == view.chosen;
        let line = Line::from(cells(theme, pane, loaded, row, width));
        chosen_line(buffer, area, at, line, theme, index == view.chosen);
        at += 1;
        if view.is_opened(row) {
            for line in opened(theme, pane, &loaded.shape, row, width) {
                if at > room {
                    break;
                }
                put(buffer, area, at, line);
                at += 1;
            }
        }
    }
    // What is opened above may have pushed the chosen row out.
    let first = if chosen_seen { first } else { view.chosen };
    let again = !chosen_seen && view.first != first;
    let view = detail.view_mut();
    view.first = first;
    detail.page = room;
    if again {
        super::clear(buffer, area);
        draw(detail, theme, area, buffer);
    }
}

/// A sentence instead of a table.
pub fn say(text: &str, style: Style, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width).saturating_sub(4).clamp(1, 100);
    let text = crate::output::text::printable(text);
    for (at, line) in wrap(&text, width).into_iter().enumerate() {
        put(buffer, area, at + 1, Line::styled(format!("  {line}"), style));
    }
}

fn value(pane: Pane, value: u64) -> String {
    if pane.is_bytes() { bytes(value) } else { count(value) }
}

/// `+1.2M`, `-3`, `=` for what did not change, nothing before there is anything to compare with.
fn change(pane: Pane, change: Option<i128>) -> String {
    let Some(change) = change else { return String::new() };
    let size = value(pane, u64::try_from(change.unsigned_abs()).unwrap_or(u64::MAX));
    match change {
        0 => "=".to_owned(),
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

fn cells(theme: Theme, pane: Pane, loaded: &Loaded, row: &Row, width: usize) -> Vec<Span<'static>> {
    let share = row.value as f64 / loaded.shape.total.max(1) as f64;
    let grown = match row.change {
        Some(0) | None => theme.dim(),
        Some(1..) => theme.warning(),
        Some(_) => theme.good(),
    };
    let mut spans = vec![
        Span::raw(fit(&percent(share), 6, true)),
        Span::raw("  "),
        Span::styled(fit(&value(pane, row.value), 10, true), theme.strong()),
        Span::raw(" "),
        Span::styled(fit(&change(pane, row.change), 10, true), grown),
        Span::raw("  "),
    ];
    let mut left = width.saturating_sub(31);
    let names = names(&loaded.shape, pane, row);
    for (at, (name, kind)) in names.into_iter().enumerate() {
        let (text, style) = match at {
            0 => (name, name_style(theme, kind)),
            _ => (format!(" ← {name}"), theme.dim()),
        };
        let text = cut(&text, left).into_owned();
        left = left.saturating_sub(super::text::width(&text));
        spans.push(Span::styled(text, style));
        if left == 0 {
            break;
        }
    }
    spans
}

/// What a row is called: the innermost function and its callers, or what its stacks begin with.
fn names(shape: &Shape, pane: Pane, row: &Row) -> Vec<(String, Option<FrameKind>)> {
    let stack = row.stacks.first().and_then(|at| shape.stacks.get(*at));
    let stack = stack.map_or(&[][..], |(stack, _)| stack);
    let name = |label: &u32| {
        let kind = shape.labels.get(*label as usize).and_then(|label| label.kind);
        (short(shape.text(*label)), kind)
    };
    match pane.group() {
        Group::Outermost => stack.first().map(name).into_iter().collect(),
        Group::Stack => stack.iter().rev().map(name).collect(),
    }
}

/// `json.(*Decoder).Decode` of `encoding/json.(*Decoder).Decode`: packages by their last element; and
/// creators by their names.
pub fn short(name: &str) -> String {
    let name = name.strip_prefix("created by ").unwrap_or(name);
    // Type parameters and places have slashes, too.
    let end = name.find(['[', ' ', '(']).unwrap_or(name.len());
    let from = name[..end].rfind('/').map_or(0, |at| at + 1);
    name[from..].to_owned()
}

pub fn name_style(theme: Theme, kind: Option<FrameKind>) -> Style {
    match kind {
        Some(FrameKind::Program) => theme.strong(),
        Some(FrameKind::Marker | FrameKind::Unknown) => theme.warning(),
        _ => Style::new(),
    }
}

/// What is shown below an opened row.
fn opened(theme: Theme, pane: Pane, shape: &Shape, row: &Row, width: usize) -> Vec<Line<'static>> {
    let indent = " ".repeat(31.min(width / 3));
    let room = width.saturating_sub(indent.len());
    let name = |label: &u32| {
        let kind = shape.labels.get(*label as usize).and_then(|label| label.kind);
        (cut(shape.text(*label), room).into_owned(), name_style(theme, kind))
    };
    if pane.group() == Group::Stack {
        let stack = row.stacks.first().map_or(&[][..], |at| &shape.stacks[*at].0);
        let frames = stack.iter().rev().map(|label| {
            let (text, style) = name(label);
            Line::from(vec![Span::raw(indent.clone()), Span::styled(text, style)])
        });
        return frames.collect();
    }
    let mut lines = Vec::new();
    for at in row.stacks.iter().take(MOST_STACKS) {
        let (stack, number) = &shape.stacks[*at];
        let frames: Vec<String> =
            stack.iter().skip(1).rev().map(|label| short(shape.text(*label))).collect();
        let number = fit(&value(pane, *number), 18.min(width), true);
        let text = format!("{}  {}", number, frames.join(" ← "));
        lines.push(Line::styled(cut(&text, width).into_owned(), theme.dim()));
    }
    if let Some(more) = row.stacks.len().checked_sub(MOST_STACKS).filter(|more| *more > 0) {
        lines.push(Line::styled(format!("{:18}  {more} stacks more", ""), theme.dim()));
    }
    lines
}

/// How it was measured and what is missing, in one line.
pub fn method(view: &View) -> Option<String> {
    let Some(Ok(Loaded { shape, .. })) = &view.content else { return None };
    let notes = shape.notes.iter().map(String::as_str);
    let parts: Vec<&str> = shape.method.as_deref().into_iter().chain(notes).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_known_by_their_last_element() {
        for (name, expected) in [
            ("encoding/json.(*Decoder).Decode", "json.(*Decoder).Decode"),
            ("main.main", "main.main"),
            (
                "created by net/http.(*Server).Serve http/server.go:3",
                "http.(*Server).Serve http/server.go:3",
            ),
            ("a/b.F[c/d.T]", "b.F[c/d.T]"),
            ("github.com/x/y.serve y/y.go:31", "y.serve y/y.go:31"),
            ("main.(*T[go.shape.int]).M", "main.(*T[go.shape.int]).M"),
            ("", ""),
        ] {
            assert_eq!(short(name), expected);
        }
    }

    #[test]
    fn changes_have_a_sign() {
        assert_eq!(change(Pane::Live, Some(3 << 20)), "+3.0M");
        assert_eq!(change(Pane::Goroutines, Some(-12)), "-12");
        assert_eq!(change(Pane::Live, Some(0)), "=");
        assert_eq!(change(Pane::Live, None), "");
    }
}
