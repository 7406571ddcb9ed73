//! The screen with one line for each process.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::row::{self, Layout};
use super::theme::Theme;
use super::{put, text};
use crate::tui::model::Model;
use crate::tui::model::list::Line as Row;

/// Draws head and rows into `area`; tells the model what fits.
pub fn draw(model: &mut Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let lines = model.list.lines();
    let places = lines.iter().any(|line| matches!(line, Row::Read(p) if p.place().is_some()));
    let layout = Layout::new(width, places);
    let head = layout.head(theme, Some((model.list.sort, model.list.reverse)));
    put(buffer, area, 0, Line::from(head));
    let rows = usize::from(area.height.saturating_sub(1));
    let chosen = model.list.chosen();
    let from = first_shown(chosen.unwrap_or(0), lines.len(), rows, model.first);
    if lines.is_empty() {
        let why = match (model.time, model.list.filter()) {
            (None, _) => "looking …".to_owned(),
            (_, "") => "no Go program runs here (heaptap ps says more)".to_owned(),
            (_, filter) => format!("nothing matches {filter:?}; esc shows all"),
        };
        put(buffer, area, 2, Line::from(text::cut(&why, width).into_owned()).centered());
    }
    for (at, shown) in lines.iter().enumerate().skip(from).take(rows) {
        let spans = match shown {
            Row::Read(process) => layout.row(theme, process),
            Row::Unread(unread) => row::unread(theme, unread, width),
        };
        chosen_line(buffer, area, at - from + 1, Line::from(spans), theme, chosen == Some(at));
    }
    model.columns = layout.columns.into_iter().map(|(column, _)| column).collect();
    model.page = rows;
    model.first = from;
}

/// Draws a line, in a bar over the whole width when it is the chosen one.
pub fn chosen_line(
    buffer: &mut Buffer,
    area: Rect,
    at: usize,
    line: Line<'_>,
    theme: Theme,
    is_chosen: bool,
) {
    if !is_chosen {
        return put(buffer, area, at, line);
    }
    let row = Rect { y: area.y.saturating_add(at as u16), height: 1, ..area }.intersection(area);
    put(buffer, area, at, line);
    for x in row.left()..row.right() {
        let cell = &mut buffer[(x, row.y)];
        // A coloured text in a bar that is reversed can't be read, and what is drawn would turn into
        // its opposite.
        if !super::bar::is_drawn(cell.symbol()) {
            cell.set_style(Style::reset()).set_style(theme.chosen());
        }
    }
}

/// The first of `count` lines that is shown on `rows`, so that the chosen one is seen and the picture
/// moves little from what it was.
pub fn first_shown(chosen: usize, count: usize, rows: usize, before: usize) -> usize {
    let last = count.saturating_sub(rows);
    let lowest = (chosen + 1).saturating_sub(rows);
    before.clamp(lowest, chosen.max(lowest)).min(last)
}

/// The two lines above: who, how much in all, and what heaptap itself takes.
pub fn title(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let totals = model.list.totals();
    let mut left = vec![Span::styled("heaptap top", theme.title())];
    left.push(Span::raw(match totals.processes {
        1 => "  1 Go process".to_owned(),
        several => format!("  {several} Go processes"),
    }));
    if totals.unread > 0 {
        left.push(Span::styled(format!(", {} unreadable", totals.unread), theme.warning()));
    }
    if model.paused {
        left.push(Span::styled("  PAUSED", theme.bad()));
    }
    let own = model.footprint;
    let own = format!(
        "heaptap: {} RSS, {} % CPU",
        own.resident.map_or_else(|| "?".to_owned(), text::bytes),
        own.cpu.map_or_else(|| "-".to_owned(), text::percent)
    );
    super::sides(buffer, area, 0, Line::from(left), Line::styled(own, theme.dim()));
    let rate = match totals.rate {
        Some(_) => format!("{}/s allocated", text::rate(totals.rate)),
        None => "rates from the next look on".to_owned(),
    };
    let sums = format!(
        "heaps {} · {rate} · {} goroutines · {} RSS",
        text::bytes(totals.heap),
        crate::output::text::grouped(totals.goroutines),
        text::bytes(totals.resident)
    );
    let filter = match (model.list.filter(), &model.typing) {
        ("", None) => Line::default(),
        (filter, _) => {
            let shown = model.list.lines().len();
            let text = format!("filter {} ({shown} shown)", text::cut(filter, 30));
            Line::styled(text, theme.warning())
        }
    };
    let mut sums = Line::styled(sums, theme.dim());
    if filter.width() > 0 && sums.width() + filter.width() + 2 > usize::from(area.width) {
        sums = Line::default();
    }
    super::sides(buffer, area, 1, sums, filter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_line_is_always_seen() {
        assert_eq!(first_shown(0, 100, 10, 0), 0);
        assert_eq!(first_shown(9, 100, 10, 0), 0);
        assert_eq!(first_shown(10, 100, 10, 0), 1);
        assert_eq!(first_shown(99, 100, 10, 0), 90);
        assert_eq!(first_shown(50, 100, 10, 45), 45, "the picture rests");
        assert_eq!(first_shown(3, 100, 10, 45), 3);
        assert_eq!(first_shown(0, 5, 10, 3), 0, "everything fits");
        assert_eq!(first_shown(0, 0, 0, 9), 0);
        assert_eq!(first_shown(4, 5, 0, 0), 5);
    }
}
