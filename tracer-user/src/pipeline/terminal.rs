//! Whether people read along, and how much fits in a line.

use std::io::{self, IsTerminal};

use terminal_size::{Height, Width};

/// Columns of the terminal that standard output is; nothing when it is none.
pub fn width() -> Option<usize> {
    let (width, _) = size()?;
    // Some serial consoles say 0.
    Some(usize::from(width.0)).filter(|width| *width > 0)
}

/// Rows of the terminal that standard output is; nothing when it is none.
pub fn height() -> Option<usize> {
    let (_, height) = size()?;
    Some(usize::from(height.0)).filter(|height| *height > 0)
}

fn size() -> Option<(Width, Height)> {
    let stdout = io::stdout();
    if stdout.is_terminal() { terminal_size::terminal_size_of(stdout) } else { None }
}
