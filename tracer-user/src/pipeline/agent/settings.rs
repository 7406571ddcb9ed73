//! What the agent does: the file, and above it the flags.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::agent::config::{self, Captures, Config, Listen, Push, Watch};
use crate::agent::notify::Receiver;
use crate::agent::rules::Rule;
use crate::cli::agent::Config as Flags;
use crate::exit::{Exit, Failure};
use crate::output::text::printable;

/// Most bytes of the file.
const LONGEST: u64 = 1 << 20;

/// The file and the flags together.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Listen,
    pub watch: Watch,
    pub push: Push,
    pub rules: Vec<Rule>,
    pub captures: Captures,
    pub notify: Vec<Receiver>,
}

/// What a reading of the file has changed.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    pub push: bool,
    pub rules: bool,
    /// How iterations over maps are recorded.
    pub maps: bool,
}

impl Settings {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// It can't be read, or something in it is wrong: `FILE:LINE: why`.
    pub fn read(flags: &Flags) -> Result<Self, Failure> {
        let Config { mut listen, mut watch, push, rules, captures, notify } = match &flags.file {
            None => Config::default(),
            Some(path) => {
                let name = printable(&path.to_string_lossy()).into_owned();
                let unread = |err| Failure::new(Exit::Usage, format!("{name}: {err}"));
                let text = text_of(path).map_err(unread)?;
                config::parse(&text)
                    .map_err(|problem| Failure::new(Exit::Usage, format!("{name}:{problem}")))?
            }
        };
        listen.address = flags.listen.unwrap_or(listen.address);
        for (said, of_file) in [
            (&flags.token_file, &mut listen.token_file),
            (&flags.tls_cert, &mut listen.tls_cert),
            (&flags.tls_key, &mut listen.tls_key),
            (&flags.tls_client_ca, &mut listen.tls_client_ca),
        ] {
            if said.is_some() {
                of_file.clone_from(said);
            }
        }
        watch.every = flags.every.unwrap_or(watch.every);
        watch.top_stacks = flags.top_stacks.unwrap_or(watch.top_stacks);
        watch.max_processes = flags.max_processes.unwrap_or(watch.max_processes);
        watch.cpu = flags.cpu.unwrap_or(watch.cpu);
        watch.max_series = flags.max_series.unwrap_or(watch.max_series);
        watch.node = flags.node.clone().or(watch.node);
        Ok(Self { listen, watch, push, rules, captures, notify })
    }

    /// Takes over what can be changed while it runs; says what can't.
    pub fn reload(&mut self, new: Self) -> Changed {
        let Self { listen, watch, push, rules, captures, notify } = new;
        if listen != self.listen
            || watch.every != self.watch.every
            || watch.max_series != self.watch.max_series
        {
            eprintln!(
                "heaptap: [listen], every and max_series are as they were: they take a new start"
            );
        }
        let of_rules = (rules, captures, notify);
        let before = (&self.rules, &self.captures, &self.notify);
        let changed = Changed {
            push: push != self.push,
            maps: (watch.maps, watch.cpu) != (self.watch.maps, self.watch.cpu)
                || of_rules.1 != self.captures,
            // Those who are told have their spools where uploads have theirs.
            rules: before != (&of_rules.0, &of_rules.1, &of_rules.2)
                || push.spool != self.push.spool,
        };
        (self.rules, self.captures, self.notify) = of_rules;
        let Watch { every, max_series, .. } = self.watch;
        self.watch = Watch { every, max_series, ..watch };
        self.push = push;
        eprintln!("heaptap: reloaded");
        changed
    }
}

/// A file of settings, whole.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(io::Error::other("it has more than 1 MiB")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, " ".repeat(LONGEST as usize)).unwrap();
        assert_eq!(text_of(&path).unwrap().len() as u64, LONGEST);
        std::fs::write(&path, " ".repeat(LONGEST as usize + 1)).unwrap();
        assert!(text_of(&path).unwrap_err().to_string().contains("more than 1 MiB"));
    }
}
