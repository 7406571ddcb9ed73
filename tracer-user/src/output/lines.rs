//! Lines of a table, painted where colours are wanted, and wrapped at its width.

use std::io::{self, Write};

use super::table::Style;
use super::text::{keep_start, wrap};
use crate::profile::FrameKind;

/// What a text is, as colours tell it.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Plain,
    Bold,
    Dim,
    Alarm,
    /// The opposite of an alarm.
    Relief,
    Of(FrameKind),
}

impl Paint {
    /// Parameter of the terminal's "select graphic rendition".
    fn code(self) -> Option<&'static str> {
        match self {
            Paint::Plain => None,
            Paint::Bold | Paint::Of(FrameKind::Group) => Some("1"),
            Paint::Dim | Paint::Of(FrameKind::Runtime | FrameKind::Marker) => Some("2"),
            Paint::Alarm => Some("1;31"),
            Paint::Relief => Some("1;32"),
            Paint::Of(FrameKind::Program) => Some("33"),
            Paint::Of(FrameKind::Standard) => Some("36"),
            Paint::Of(FrameKind::Native) => Some("32"),
            Paint::Of(FrameKind::Type) => Some("35"),
            Paint::Of(FrameKind::Unknown) => Some("31"),
        }
    }
}

/// A text in its colour, where colours are wanted.
pub(super) fn paint(text: &str, paint: Paint, style: Style) -> String {
    match paint.code().filter(|_| style.color && !text.is_empty()) {
        Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
        None => text.to_owned(),
    }
}

/// Writes a text in as many lines as it takes, with `label` before the first and as many spaces before
/// the others, two at least.
pub(super) fn wrapped(
    out: &mut dyn Write,
    style: Style,
    text: &str,
    label: &str,
    paint: Paint,
) -> io::Result<()> {
    let indent = label.chars().count().max(2);
    for (at, line) in wrap(text, style.width.saturating_sub(indent)).iter().enumerate() {
        let before = if at == 0 { label.to_owned() } else { " ".repeat(indent) };
        let line = format!("{before}{line}");
        writeln!(out, "{}", self::paint(&keep_start(&line, style.width), paint, style))?;
    }
    Ok(())
}
