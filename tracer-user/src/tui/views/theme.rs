//! What things look like. Everything that a colour says is said by a letter, a place or a shape too.

use ratatui::style::{Color, Modifier, Style};

use crate::profile::FrameKind;

/// Styles, with colours or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    pub color: bool,
}

impl Theme {
    fn with(self, style: Style, color: Color) -> Style {
        if self.color { style.fg(color) } else { style }
    }

    /// heaptap's own name, titles.
    pub fn title(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD), Color::Cyan)
    }

    /// Heads of columns.
    pub fn head(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD), Color::Blue)
    }

    /// The column that is sorted by, the pane that is open.
    pub fn active(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED), Color::Cyan)
    }

    /// What is of less interest.
    pub fn dim(self) -> Style {
        if self.color { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }

    /// The chosen line.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn good(self) -> Style {
        self.with(Style::new(), Color::Green)
    }

    pub fn warning(self) -> Style {
        self.with(Style::new(), Color::Yellow)
    }

    pub fn bad(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD), Color::Red)
    }

    /// A key in a line of hints.
    pub fn key(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD), Color::Yellow)
    }

    /// One of several lines in a chart.
    pub fn series(self, index: usize) -> Style {
        const COLORS: [Color; 4] = [Color::Green, Color::Cyan, Color::Magenta, Color::Yellow];
        self.with(Style::new(), COLORS[index % COLORS.len()])
    }

    /// A frame of a flame graph; `odd` parts neighbours.
    pub fn frame(self, kind: Option<FrameKind>, odd: bool) -> Style {
        if !self.color {
            let style = Style::new();
            return if odd { style.add_modifier(Modifier::REVERSED) } else { style };
        }
        let (one, other) = match kind {
            Some(FrameKind::Program) => (215, 209),
            Some(FrameKind::Standard) => (117, 111),
            Some(FrameKind::Runtime) => (250, 246),
            Some(FrameKind::Native) => (114, 150),
            Some(FrameKind::Type) => (183, 177),
            Some(FrameKind::Marker) => (255, 252),
            Some(FrameKind::Group) => (225, 224),
            Some(FrameKind::Unknown) => (180, 144),
            None => (252, 248),
        };
        Style::new().fg(Color::Black).bg(Color::Indexed(if odd { other } else { one }))
    }
}
