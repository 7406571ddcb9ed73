//! The list as a table on standard output, without a terminal's help.

use std::fmt::Write as _;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::cli;
use crate::output::text::printable;
use crate::pipeline::{outputs, terminal};
use crate::tui::model::Model;
use crate::tui::model::list::Line;
use crate::tui::views::row::Layout;
use crate::tui::views::theme::Theme;

/// Columns where standard output is no terminal.
const WIDTH: usize = 160;

/// One line for each process, and one for each that can't be read.
pub fn table(model: &Model, color: cli::Color) -> String {
    let theme = Theme { color: outputs::style(color).color };
    render(model, theme, terminal::width().unwrap_or(WIDTH))
}

fn render(model: &Model, theme: Theme, width: usize) -> String {
    let lines = model.list.lines();
    let places = lines.iter().any(|line| matches!(line, Line::Read(p) if p.place().is_some()));
    let layout = Layout::new(width, places);
    let mut text = String::new();
    if !lines.is_empty() {
        push(&mut text, theme, &layout.head(theme, Some((model.list.sort, model.list.reverse))));
    }
    for line in &lines {
        match line {
            Line::Read(process) => push(&mut text, theme, &layout.row(theme, process)),
            // A reason is never cut where somebody may have to search for it.
            Line::Unread(unread) => {
                let (comm, reason) = (printable(&unread.comm), printable(&unread.reason));
                let _ = writeln!(text, "{:>7} {comm:<16} {reason}", unread.pid);
            }
        }
    }
    if lines.is_empty() {
        text.push_str("no Go program runs here\n");
    }
    text
}

fn push(text: &mut String, theme: Theme, spans: &[Span<'_>]) {
    let mut line = String::new();
    for span in spans {
        match sgr(span.style).filter(|_| theme.color) {
            Some(codes) => drop(write!(line, "\x1b[{codes}m{}\x1b[0m", span.content)),
            None => line.push_str(&span.content),
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// A style as parameters of `ESC [ … m`; nothing when it is none.
fn sgr(style: Style) -> Option<String> {
    let mut codes = Vec::new();
    if style.add_modifier.contains(Modifier::BOLD) {
        codes.push(1);
    }
    if style.add_modifier.contains(Modifier::UNDERLINED) {
        codes.push(4);
    }
    codes.extend(match style.fg {
        Some(Color::Red) => Some(31),
        Some(Color::Green) => Some(32),
        Some(Color::Yellow) => Some(33),
        Some(Color::Blue) => Some(34),
        Some(Color::Magenta) => Some(35),
        Some(Color::Cyan) => Some(36),
        Some(Color::DarkGray) => Some(90),
        _ => None,
    });
    let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
    (!codes.is_empty()).then(|| codes.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::model::made;

    fn model() -> Model {
        let mut model = Model::default();
        model.update(made::now(), made::looks(), made::unread());
        model
    }

    #[test]
    fn a_table_without_colours_is_plain_text() {
        let text = render(&model(), Theme { color: false }, WIDTH);
        assert!(!text.contains('\x1b'), "{text:?}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].contains("PID") && lines[0].contains("CONTAINER"), "{text}");
        assert!(lines[1].contains("orders") && lines[1].ends_with("shop-orders-1"), "{text}");
        assert_eq!(lines[4], "      7 old              /usr/bin/old: go1.16 is too old");
    }

    #[test]
    fn colours_are_ended_and_change_no_text() {
        let plain = render(&model(), Theme { color: false }, 80);
        let colored = render(&model(), Theme { color: true }, 80);
        assert!(colored.contains("\x1b[1;4;36mHEAP▼") || colored.contains("\x1b[1;4;36m HEAP▼"));
        let mut stripped = String::new();
        for part in colored.split("\x1b[") {
            stripped.push_str(part.split_once('m').map_or(part, |(codes, rest)| {
                if codes.chars().all(|c| c.is_ascii_digit() || c == ';') { rest } else { part }
            }));
        }
        for (a, b) in stripped.lines().zip(plain.lines()) {
            assert_eq!(a.trim_end(), b);
        }
    }

    #[test]
    fn nobody_is_told() {
        assert_eq!(table(&Model::default(), cli::Color::Never), "no Go program runs here\n");
    }
}
