//! The commands: the only place that sees all stages.
//!
//! In: a [`Command`] from the command line. Out: text on standard output, remarks on standard
//! error, or a [`Failure`].

mod assemble;
mod record;
mod targets;

use std::io::{self, Write};

use crate::cli::Command;
use crate::exit::{Exit, Failure};

/// Runs a command.
///
/// # Errors
/// A [`Failure`] whose message is one line for the user.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Record(config) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
            runtime.block_on(record::run(config))
        }
        Command::Ps(_) | Command::Doctor(_) => {
            Err(Failure::new(Exit::Unsupported, "this build does not have the command yet"))
        }
    }
}

/// Writes `text` to standard output. A reader that went away (`heaptap ps | head`) is success.
///
/// # Errors
/// [`Exit::Output`] when standard output can't be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Output, format!("standard output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}
