//! heaptap on a terminal: a pseudoterminal whose screen is read, and on which keys are pressed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, setsid};

use crate::heaptap;

/// Asks the kernel to hang a terminal up (asm-generic/ioctls.h); takes CAP_SYS_ADMIN.
const TIOCVHANGUP: libc::Ioctl = 0x5437;
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A heaptap on a terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    master: File,
    /// Kept open, so that what was set last can be asked for when heaptap has ended.
    slave: OwnedFd,
    before: Termios,
    seen: Arc<Seen>,
}

/// What is on the screen, changed by a thread that reads it.
struct Seen {
    parser: Mutex<vt100::Parser>,
    changed: Condvar,
}

/// Lines and columns.
pub type Size = (u16, u16);

fn winsize((ws_row, ws_col): Size) -> Winsize {
    Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts heaptap on a terminal of this size.
    pub fn start<I: AsRef<OsStr>>(size: Size, args: impl IntoIterator<Item = I>) -> Result<Self> {
        let mut command = Command::new(heaptap::program()?);
        command.args(args).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        Self::of(size, command)
    }

    /// The same of a prepared command.
    pub fn of(size: Size, mut command: Command) -> Result<Self> {
        let pty = openpty(&winsize(size), None).context("can't make a terminal")?;
        let before = tcgetattr(&pty.slave)?;
        let end = || -> Result<Stdio> { Ok(pty.slave.try_clone()?.into()) };
        command.stdin(end()?).stdout(end()?).stderr(end()?);
        // SAFETY: between fork and exec only system calls that may be made there.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().context("can't start heaptap")?;
        let master = File::from(pty.master);
        let parser = vt100::Parser::new(size.0, size.1, 0);
        let seen = Arc::new(Seen { parser: Mutex::new(parser), changed: Condvar::new() });
        let (mut source, into) = (master.try_clone()?, Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while let Ok(count @ 1..) = source.read(&mut bytes) {
                let mut parser = into.parser.lock().unwrap_or_else(PoisonError::into_inner);
                parser.process(&bytes[..count]);
                into.changed.notify_all();
            }
        });
        Ok(Self { child, master, slave: pty.slave, before, seen })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("can't press a key")
    }

    /// Gives the terminal another size.
    pub fn resize(&self, size: Size) -> Result<()> {
        self.parser().screen_mut().set_size(size.0, size.1);
        let winsize = winsize(size);
        // SAFETY: the descriptor is open, and the kernel reads one `winsize`.
        let done = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &winsize) };
        ensure!(done == 0, "can't resize: {}", io::Error::last_os_error());
        Ok(())
    }

    /// The screen as text.
    pub fn text(&self) -> String {
        self.parser().screen().contents()
    }

    /// Whether any cell has a colour.
    pub fn is_colored(&self) -> bool {
        let parser = self.parser();
        let (rows, columns) = parser.screen().size();
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let colored = |cell: &vt100::Cell| {
            [cell.fgcolor(), cell.bgcolor()].iter().any(|color| *color != vt100::Color::Default)
        };
        cells.filter_map(|(row, column)| parser.screen().cell(row, column)).any(colored)
    }

    /// Waits until what is on the screen is as wanted.
    pub fn wait(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        let mut parser = self.parser();
        loop {
            let text = parser.screen().contents();
            if is(&text) {
                return Ok(text);
            }
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{what}: not on the screen:\n{text}");
            let waited = self.seen.changed.wait_timeout(parser, left);
            parser = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until these words are on the screen.
    pub fn see(&self, words: &[&str]) -> Result<String> {
        self.wait(&format!("{words:?}"), |text| words.iter().all(|word| text.contains(word)))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into().context("no process id")?);
        kill(pid, signal).with_context(|| format!("can't send {signal} to heaptap"))
    }

    /// Waits until it has ended and checks that the terminal is as it was.
    pub fn ended(mut self) -> Result<ExitStatus> {
        let status = self.end()?;
        self.is_restored()?;
        Ok(status)
    }

    /// Takes the terminal away, as when a window is closed, and waits until heaptap has ended.
    pub fn hang_up(mut self) -> Result<ExitStatus> {
        // SAFETY: the descriptor is open; this request takes no argument.
        let done = unsafe { libc::ioctl(self.slave.as_raw_fd(), TIOCVHANGUP, 0) };
        ensure!(done == 0, "can't hang up: {}", io::Error::last_os_error());
        self.end()
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("heaptap does not end:\n{}", self.text());
            }
            thread::yield_now();
        }
    }

    /// Waits until the terminal is on its main screen, with a cursor, and set as it was.
    pub fn is_restored(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut parser = self.parser();
        while parser.screen().alternate_screen() || parser.screen().hide_cursor() {
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "the main screen is not back");
            let waited = self.seen.changed.wait_timeout(parser, left);
            parser = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(parser);
        // That is set behind what is written.
        while tcgetattr(&self.slave)? != self.before {
            ensure!(Instant::now() < until, "the terminal is set otherwise");
            thread::yield_now();
        }
        Ok(())
    }

    fn parser(&self) -> std::sync::MutexGuard<'_, vt100::Parser> {
        self.seen.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already; its process id is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
