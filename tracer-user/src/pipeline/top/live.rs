//! The loop of the live view: a round, keys, signals, whichever comes; in between it sleeps.

use std::io::{self, IsTerminal, Stdin};
use std::time::SystemTime;

use nix::sys::signal::{Signal as Sent, raise};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::keys::{self, Input};
use super::opened::Opened;
use super::reading::Reading;
use super::screen::{self, Screen};
use crate::cli::heap as flags;
use crate::cli::top::Config;
use crate::exit::{Exit, Failure};
use crate::pipeline::heap;
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
    let heap = heap::plain();
    block_on(async {
        let mut live = Live::new(config, &heap)?;
        live.run(config).await
    })
}

struct Live<'a> {
    reading: Reading,
    heap: &'a flags::Config,
    opened: Option<Opened<'a>>,
    model: Model,
    signals: Signals,
    resized: Signal,
    continued: Signal,
    keys: AsyncFd<Stdin>,
    screen: Screen,
}

impl<'a> Live<'a> {
    /// Reads once before it takes the terminal: what can't be shown is said as by any command.
    fn new(config: &Config, heap: &'a flags::Config) -> Result<Self, Failure> {
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
        let opened = None;
        Ok(Self { reading, heap, opened, model, signals, resized, continued, keys, screen })
    }

    async fn run(&mut self, config: &Config) -> Result<(), Failure> {
        let mut ticks = interval(config.period);
        // A round that takes longer than the period does not make the next ones come faster.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, and was read.
        ticks.tick().await;
        loop {
            self.read_opened(config);
            self.screen.draw(&mut self.model)?;
            tokio::select! {
                biased;
                () = self.signals.next() => return Ok(()),
                ready = self.keys.readable() => {
                    // Whatever is there is read below.
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    for input in keys::inputs()? {
                        if self.take(input)? == Action::Quit {
                            return Ok(());
                        }
                    }
                }
                _ = self.resized.recv() => {}
                _ = self.continued.recv() => {
                    // Who stopped it may have set the terminal otherwise.
                    screen::give_back();
                    self.screen.take()?;
                }
                _ = ticks.tick() => {
                    if !self.model.paused {
                        self.reading.round(&mut self.model, false)?;
                    }
                }
            }
        }
    }

    /// Reads the stacks that the opened process's pane shows.
    fn read_opened(&mut self, config: &Config) {
        let Some(detail) = &mut self.model.detail else {
            self.opened = None;
            return;
        };
        // One that has ended can still be saved; one that runs another program is another one.
        if let Some(process) = self.reading.process(detail.process.look.id)
            && self.opened.as_ref().is_none_or(|opened| !opened.is_of(process))
        {
            self.opened = Some(Opened::new(process, self.heap));
            detail.forget_profiles();
        }
        if let Some(opened) = &mut self.opened {
            opened.sync(detail, config.period, self.model.paused);
        }
    }

    fn save(&mut self) {
        let (Some(opened), Some(detail)) = (&self.opened, &self.model.detail) else { return };
        let said = opened.save(detail, SystemTime::now());
        self.model.message = Some(said.unwrap_or_else(|failure| failure.message));
    }

    fn take(&mut self, input: Input) -> Result<Action, Failure> {
        match input {
            Input::Key(key) => {
                let action = self.model.key(key);
                if action == Action::Save {
                    self.save();
                }
                return Ok(action);
            }
            Input::Quit => return Ok(Action::Quit),
            Input::Redraw => self.screen.forget(),
            Input::Suspend => {
                screen::give_back();
                // It stands still in there, but where nobody is who could let it go on (an orphaned process group).
                let _ = raise(Sent::SIGTSTP);
                self.screen.take()?;
            }
        }
        Ok(Action::None)
    }
}
