//! A flame graph in cells: the whole above, what it calls below, as wide as its share.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::stacks::{say, short};
use super::text::{bytes, count, fit, percent};
use super::theme::Theme;
use super::{put, text};
use crate::tui::model::detail::{Detail, Loaded, Pane};

/// Draws the pane's flame graph into `area`: a line about the chosen frame, then frames.
pub fn draw(detail: &mut Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let rows = usize::from(area.height.saturating_sub(1));
    (detail.width, detail.page) = (width, rows);
    let pane = detail.pane;
    let view = detail.view_mut();
    let Loaded { shape, tree, .. } = match &view.content {
        Some(Ok(loaded)) => loaded,
        Some(Err(why)) => return say(why, theme.warning(), area, buffer),
        None => return say("reading …", theme.dim(), area, buffer),
    };
    let chosen = view.flame.chosen(shape, tree);
    let root = view.flame.root(shape, tree);
    let cells = view.flame.cells(shape, tree, width);
    let depth = tree[chosen].depth.saturating_sub(tree[root].depth);
    let deepest = cells.last().map_or(0, |cell| cell.depth);
    view.flame.first = super::list::first_shown(depth, deepest + 1, rows, view.flame.first);
    let first = view.flame.first;
    put(buffer, area, 0, about(pane, theme, &view.content, chosen, root));
    let mut before = None;
    let mut odd = false;
    for cell in cells {
        let Some(row) = cell.depth.checked_sub(first).filter(|row| *row < rows) else { continue };
        odd = if before == Some(cell.depth) { !odd } else { cell.depth % 2 == 1 };
        before = Some(cell.depth);
        let node = tree[cell.node];
        let label = node.label.and_then(|label| shape.labels.get(label as usize));
        let name = label.map_or_else(|| "all".to_owned(), |label| short(&label.text));
        let mut style = theme.frame(label.and_then(|label| label.kind), odd);
        let mut name = if cell.width >= 3 { format!(" {name}") } else { String::new() };
        if cell.node == chosen {
            style = match theme.color {
                true => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
                false => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            };
            name = format!("▶{}", name.trim_start());
        }
        let line = Line::styled(fit(&name, cell.width, false), style);
        let x = area.x + cell.x as u16;
        buffer.set_line(x, area.y + 1 + row as u16, &line, cell.width as u16);
    }
    if deepest >= first + rows && rows > 0 {
        let text = format!("↓ {} deeper", deepest + 1 - first - rows);
        let x = area.right().saturating_sub(text::width(&text) as u16);
        buffer.set_line(x, area.y, &Line::styled(text, theme.dim()), area.right() - x);
    }
}

/// The chosen frame: its name in full, its value, its share of all and of what is zoomed to.
fn about(
    pane: Pane,
    theme: Theme,
    content: &Option<Result<Loaded, String>>,
    chosen: usize,
    root: usize,
) -> Line<'static> {
    let Some(Ok(Loaded { shape, tree, .. })) = content else { return Line::default() };
    let node = tree[chosen];
    let value = if pane.is_bytes() { bytes(node.value) } else { count(node.value) };
    let share = |of: u64| percent(node.value as f64 / of.max(1) as f64);
    let mut text = format!("  {value}, {} % of all", share(shape.total));
    if root != 0 && root != chosen {
        text = format!("{text}, {} % of what is shown", share(tree[root].value));
    }
    let name = node.label.map_or("all", |label| shape.text(label));
    let name = crate::output::text::printable(name).into_owned();
    Line::from(vec![Span::styled(name, theme.title()), Span::raw(text)])
}
