//! Whether people read along, and how much fits in a line.

use std::io::{self, IsTerminal};

/// Columns of the terminal that standard output is; nothing when it is none.
pub fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let (width, _) = terminal_size::terminal_size_of(stdout)?;
    // Some serial consoles say 0.
    Some(usize::from(width.0)).filter(|width| *width > 0)
}
