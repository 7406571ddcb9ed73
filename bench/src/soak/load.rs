//! A server and its clients: as many operations as it can take, or so many a second.
//!
//! In: a server of `servers`. Out: how many operations were done, and how long the slowest took. An operation that is
//! answered wrongly is an error.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    http::Http,
    servers::{Client, Kind, Server},
};

/// Clients of each server.
const CLIENTS: usize = 2;

pub struct Served {
    server: Box<dyn Server>,
    clients: Vec<Box<dyn Client>>,
    done: u64,
    /// Seconds.
    slowest: f64,
}

/// What a client has done in a while.
#[derive(Clone, Copy, Default)]
struct Spell {
    done: u64,
    slowest: f64,
}

impl Served {
    /// Starts it, with a copy of its program that is called so, and its clients.
    pub fn start(kind: Kind, role: &str) -> Result<Served> {
        let server = kind.start(role)?;
        let clients: Result<Vec<_>> = (0..CLIENTS).map(|number| server.client(number)).collect();
        Ok(Served { clients: clients?, server, done: 0, slowest: 0.0 })
    }

    pub fn pid(&self) -> u32 {
        self.server.process().pid()
    }

    pub fn program(&self) -> &Path {
        self.server.process().program()
    }

    /// The Go release and the like.
    pub fn version(&self) -> String {
        self.server.process().version()
    }

    pub fn done(&self) -> u64 {
        self.done
    }

    /// Seconds of the slowest operation of the soak.
    pub fn slowest(&self) -> f64 {
        self.slowest
    }

    /// As fast as it goes: operations a second.
    pub fn full(&mut self, length: Duration) -> Result<f64> {
        let began = Instant::now();
        let spell = self.all(&|client, http, _| {
            let mut spell = Spell::default();
            while began.elapsed() < length {
                client.operate(http)?;
                spell.done += 1;
            }
            Ok(spell)
        })?;
        Ok(spell.done as f64 / began.elapsed().as_secs_f64())
    }

    /// So many operations a second, as long as it is told.
    pub fn soak(&mut self, rate: f64, under_way: &(dyn Fn() -> bool + Sync)) -> Result<()> {
        let began = Instant::now();
        let each = rate / CLIENTS as f64;
        let spell = self.all(&|client, http, number| {
            let mut spell = Spell::default();
            while under_way() {
                // Clients take turns.
                let due = (spell.done as f64 + number as f64 / CLIENTS as f64) / each;
                let due = began + Duration::from_secs_f64(due);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let asked = Instant::now();
                client.operate(http)?;
                spell.slowest = spell.slowest.max(asked.elapsed().as_secs_f64());
                spell.done += 1;
            }
            Ok(spell)
        })?;
        self.slowest = self.slowest.max(spell.slowest);
        Ok(())
    }

    /// Has all clients do something at once.
    fn all(
        &mut self,
        work: &(dyn Fn(&mut dyn Client, &Http, usize) -> Result<Spell> + Sync),
    ) -> Result<Spell> {
        let http = self.server.process().http();
        let spells: Vec<Result<Spell>> = thread::scope(|scope| {
            let numbered = self.clients.iter_mut().enumerate();
            let threads: Vec<_> = numbered
                .map(|(number, client)| scope.spawn(move || work(client.as_mut(), http, number)))
                .collect();
            let panicked = || Err(anyhow!("a client panicked"));
            threads.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).collect()
        });
        let mut all = Spell::default();
        for spell in spells {
            let spell = spell?;
            all.done += spell.done;
            all.slowest = all.slowest.max(spell.slowest);
        }
        self.done += all.done;
        self.server.process_mut().still_runs()?;
        Ok(all)
    }

    /// Ends it, with what it can tell itself of whether all is well.
    pub fn finish(mut self) -> Result<String> {
        self.server.verify(&mut self.clients)
    }
}
