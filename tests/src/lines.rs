//! Lines that arrive through a pipe, waited for with a limit.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

/// How long anything may take before a test fails. Generous: CI machines are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The lines of a pipe; a thread reads them so that the writer never waits.
#[derive(Debug)]
pub struct Lines {
    arrived: Receiver<String>,
}

impl Lines {
    pub fn of(source: impl Read + Send + 'static) -> Lines {
        let (sender, arrived) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(source);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                let text = text.strip_suffix('\n').unwrap_or(&text);
                if sender.send(text.to_string()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Lines { arrived }
    }

    /// The next line, or nothing when the pipe was closed.
    pub fn next(&self) -> Result<Option<String>> {
        match self.arrived.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("nothing arrived in {} s", PATIENCE.as_secs()),
        }
    }

    /// Drops what has arrived until now.
    pub fn skip(&self) {
        while self.arrived.try_recv().is_ok() {}
    }

    /// All lines until the pipe is closed.
    pub fn rest(&self) -> Result<String> {
        let mut text = String::new();
        while let Some(line) = self.next()? {
            text.push_str(&line);
            text.push('\n');
        }
        Ok(text)
    }
}
