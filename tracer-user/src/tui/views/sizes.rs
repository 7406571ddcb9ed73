//! Allocations by size class: how many a second, how much is alive.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::list::{chosen_line, first_shown};
use super::put;
use super::text::{bytes, count, fit};
use super::theme::Theme;
use crate::tui::model::detail::Detail;
use crate::tui::model::sizes::SizeRow;

const HEADS: [(&str, usize); 5] =
    [("SIZE", 8), ("OBJECTS/S", 10), ("BYTES/S", 9), ("LIVE", 9), ("LIVE BYTES", 11)];

/// Draws the table into `area`.
pub fn draw(detail: &mut Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let head: String = HEADS.iter().map(|(head, width)| fit(head, *width, true) + " ").collect();
    let used = super::text::width(&head);
    let bar = usize::from(area.width).saturating_sub(used + 1).min(60);
    let title = if bar >= 8 { " OF BYTES/S" } else { "" };
    put(buffer, area, 0, Line::styled(format!("{head}{title}"), theme.head()));
    let room = usize::from(area.height.saturating_sub(1));
    let rate = |row: &SizeRow| row.rates.map_or(0.0, |(_, bytes)| bytes);
    let most = detail.sizes.rows.iter().map(rate).fold(1.0, f64::max);
    let view = detail.view();
    let (chosen, count) = (view.chosen, detail.sizes.rows.len());
    let first = first_shown(chosen, count, room, view.first);
    for (at, row) in detail.sizes.rows.iter().enumerate().skip(first).take(room) {
        let cells: String =
            cells(row).iter().zip(HEADS).map(|(cell, (_, w))| fit(cell, w, true) + " ").collect();
        let filled = (rate(row) / most * bar as f64).round() as usize;
        let filled = filled.max(usize::from(rate(row) > 0.0)).min(bar);
        let line = Line::from(vec![
            Span::raw(cells),
            Span::raw(" "),
            Span::styled("█".repeat(filled), theme.good()),
        ]);
        chosen_line(buffer, area, at - first + 1, line, theme, at == chosen);
    }
    detail.view_mut().first = first;
    detail.page = room;
}

fn cells(row: &SizeRow) -> [String; 5] {
    let rates = row.rates.map(|(objects, size)| (count(objects as u64), bytes(size as u64)));
    let (objects, rate) = rates.unwrap_or_else(|| ("-".to_owned(), "-".to_owned()));
    let size = row.size.map_or_else(|| "> 32K".to_owned(), |size| size.to_string());
    [size, objects, rate, count(row.live), bytes(row.live_bytes)]
}
