//! The terminal: taken, drawn on, given back in every case.
//!
//! In: a model. Out: cells on the terminal. Given back means: no raw mode, the main screen, the cursor
//! seen.

use std::io::{self, BufWriter, Stdout, Write};
use std::panic;
use std::sync::Once;

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::{Rect, Size};

use crate::exit::{Exit, Failure};
use crate::tui::model::Model;
use crate::tui::views;
use crate::tui::views::theme::Theme;

/// A terminal that is taken; dropped, it is given back.
///
/// ratatui's own `Terminal` asks a terminal where its cursor is and waits seconds for one that does not
/// answer; nothing here needs to know.
pub struct Screen {
    backend: CrosstermBackend<BufWriter<Stdout>>,
    theme: Theme,
    /// What is on the screen; nothing when that is not known.
    shown: Option<Buffer>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It can't be written to or set.
    pub fn new(theme: Theme) -> Result<Self, Failure> {
        restore_on_panic();
        let backend = CrosstermBackend::new(BufWriter::new(io::stdout()));
        let mut screen = Self { backend, theme, shown: None };
        screen.take()?;
        Ok(screen)
    }

    /// Takes the terminal again after it was given back.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn take(&mut self) -> Result<(), Failure> {
        enable_raw_mode().map_err(failed)?;
        execute!(io::stdout(), EnterAlternateScreen, Hide).map_err(failed)?;
        self.forget();
        Ok(())
    }

    /// Writes what is not on the screen yet.
    ///
    /// # Errors
    /// The terminal can't be written to.
    pub fn draw(&mut self, model: &mut Model) -> Result<(), Failure> {
        self.try_draw(model).map_err(failed)
    }

    fn try_draw(&mut self, model: &mut Model) -> io::Result<()> {
        let Size { width, height } = self.backend.size()?;
        let area = Rect::new(0, 0, width, height);
        let mut next = Buffer::empty(area);
        views::draw(model, self.theme, area, &mut next);
        queue!(self.backend, BeginSynchronizedUpdate)?;
        let shown = match self.shown.take().filter(|shown| shown.area == area) {
            Some(shown) => shown,
            None => {
                self.backend.clear()?;
                Buffer::empty(area)
            }
        };
        self.backend.draw(shown.diff(&next).into_iter())?;
        queue!(self.backend, EndSynchronizedUpdate)?;
        self.shown = Some(next);
        Write::flush(&mut self.backend)
    }

    /// Draws everything anew next time.
    pub fn forget(&mut self) {
        self.shown = None;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back. One that has gone can't be, and needs not.
pub fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// A panic's message must be on the main screen, and the terminal be usable behind it.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}

fn failed(err: io::Error) -> Failure {
    Failure::new(Exit::Output, format!("the terminal can't be used: {err}"))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::pty::openpty;
    use nix::sys::termios::tcgetattr;

    use super::*;

    /// Tells this test that it is the program that panics.
    const INSIDE: &str = "HEAPTAP_TEST_PANICS";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_why() {
        if env::var_os(INSIDE).is_some() {
            let _screen = Screen::new(Theme { color: false }).unwrap();
            panic!("on purpose");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let name =
            "pipeline::top::screen::tests::a_panic_gives_the_terminal_back_before_it_says_why";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
        let status = command.stdin(end()).stdout(end()).stderr(end()).status().unwrap();
        assert!(!status.success());
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut written = Vec::new();
        // Until there is no more.
        let _ = File::from(pty.master).read_to_end(&mut written);
        let written = String::from_utf8_lossy(&written);
        let at = |what: &str| written.find(what).unwrap_or_else(|| panic!("{what}: {written:?}"));
        let (taken, left) = (at("\x1b[?1049h"), at("\x1b[?1049l"));
        let (shown, said) = (at("\x1b[?25h"), at("on purpose"));
        assert!(taken < left && left < said && shown < said, "{written:?}");
    }
}
