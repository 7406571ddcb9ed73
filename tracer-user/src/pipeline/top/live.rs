//! The loop of the live view: a round, keys, signals, whichever comes; in between it sleeps.

use std::io::{self, IsTerminal, Stdin};

use nix::sys::signal::{Signal as Sent, raise};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::reading::Reading;
use super::screen::{self, Input, Screen};
use crate::cli::top::Config;
use crate::exit::{Exit, Failure};
use crate::pipeline::outputs;
use crate::pipeline::watch::{Signals, block_on};
use crate::tui::model::{Action, Model};
use crate::tui::views::theme::Theme;

/// Shows all processes until somebody ends it.
///
/// # Errors
/// There is no terminal; nothing is there of what was asked for; the terminal goes away.
pub fn run(config: &Config) -> Result<(), Failure> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Failure::new(
            Exit::Failure,
            "top needs a terminal; --once prints a table without one, --json documents",
        ));
    }
    block_on(async {
        let mut live = Live::new(config)?;
        live.run(config).await
    })
}

struct Live {
    reading: Reading,
    model: Model,
    signals: Signals,
    resized: Signal,
    continued: Signal,
    keys: AsyncFd<Stdin>,
    screen: Screen,
}

impl Live {
    /// Reads once before it takes the terminal: what can't be shown is said as by any command.
    fn new(config: &Config) -> Result<Self, Failure> {
        let failed = |err: io::Error| {
            Failure::new(Exit::Failure, format!("the terminal can't be waited for: {err}"))
        };
        let mut reading = Reading::new(config);
        let mut model = Model::default();
        reading.round(&mut model, true)?;
        // From here on signals do not end heaptap by themselves, and the terminal is given back.
        let signals = Signals::new()?;
        let resized = signal(SignalKind::window_change()).map_err(failed)?;
        let continued = signal(SignalKind::from_raw(Sent::SIGCONT as i32)).map_err(failed)?;
        // SAFETY: standard input is a descriptor that nobody closes while heaptap runs.
        let keys = unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) };
        let keys = keys.map_err(|err| failed(err.into()))?;
        let screen = Screen::new(Theme { color: outputs::style(config.color).color })?;
        Ok(Self { reading, model, signals, resized, continued, keys, screen })
    }

    async fn run(&mut self, config: &Config) -> Result<(), Failure> {
        let mut ticks = interval(config.period);
        // A round that takes longer than the period does not make the next ones come faster.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, and was read.
        ticks.tick().await;
        loop {
            self.screen.draw(&mut self.model)?;
            tokio::select! {
                biased;
                () = self.signals.next() => return Ok(()),
                ready = self.keys.readable() => {
                    // Whatever is there is read below.
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    for input in screen::inputs()? {
                        if self.take(input)? == Action::Quit {
                            return Ok(());
                        }
                    }
                }
                _ = self.resized.recv() => {}
                _ = self.continued.recv() => self.screen.take()?,
                _ = ticks.tick() => {
                    if !self.model.paused {
                        self.reading.round(&mut self.model, false)?;
                    }
                }
            }
        }
    }

    fn take(&mut self, input: Input) -> Result<Action, Failure> {
        match input {
            Input::Key(key) => return Ok(self.model.key(key)),
            Input::Quit => return Ok(Action::Quit),
            Input::Redraw => self.screen.forget(),
            Input::Suspend => {
                screen::give_back();
                // It goes on with SIGCONT, which takes the terminal again.
                let _ = raise(Sent::SIGTSTP);
            }
        }
        Ok(Action::None)
    }
}
