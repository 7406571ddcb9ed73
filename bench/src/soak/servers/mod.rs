//! Real servers, and clients that know what each answer must be.
//!
//! In: programs of the cache. Out: servers that run, from a copy of their program in a directory of their own. A
//! client asks for what nobody else changes, so that it knows what is right.

mod etcd;
mod process;
mod prometheus;
mod registry;

use anyhow::Result;
use clap::ValueEnum;
use xtask::programs::RealProgram;

use super::http::Http;
pub use process::Process;

pub trait Server: Send + Sync {
    fn process(&self) -> &Process;
    fn process_mut(&mut self) -> &mut Process;

    /// A client with a share of its own.
    fn client(&self, number: usize) -> Result<Box<dyn Client>>;

    /// Looks at all that was written, and has the server look; ends it, starts it again, and looks again. Says what
    /// was looked at.
    fn verify(&mut self, clients: &mut [Box<dyn Client>]) -> Result<String>;
}

pub trait Client: Send {
    /// Asks for something that changes the server, or that reads it; fails when the answer is not what it must be.
    fn operate(&mut self, http: &Http) -> Result<()>;

    /// Reads all that it has written; fails when something is not as it was acknowledged. How many things these are.
    fn look(&mut self, http: &Http) -> Result<u64>;

    /// Writes that were acknowledged.
    fn writes(&self) -> u64 {
        0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Etcd,
    Registry,
    Prometheus,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Etcd, Kind::Registry, Kind::Prometheus];

    pub fn name(self) -> &'static str {
        self.real().name()
    }

    pub fn about(self) -> &'static str {
        match self {
            Kind::Etcd => {
                "etcd: transactions that compare a value and put the next one, and reads that must have the last \
                 value and the number of its writes"
            }
            Kind::Registry => {
                "a registry of containers' images: contents of 16 kB, which it takes only if they have the hash that \
                 they are sent with, and reads that must have the same bytes"
            }
            Kind::Prometheus => {
                "prometheus: scrapes 201 series each second, one of which counts the scrapes; queries whose result is \
                 known, and reads of all samples of the last ten seconds, none of which may be missing"
            }
        }
    }

    pub fn start(self, role: &str) -> Result<Box<dyn Server>> {
        Ok(match self {
            Kind::Etcd => Box::new(etcd::Etcd::start(role)?),
            Kind::Registry => Box::new(registry::Registry::start(role)?),
            Kind::Prometheus => Box::new(prometheus::Prometheus::start(role)?),
        })
    }

    fn real(self) -> RealProgram {
        match self {
            Kind::Etcd => RealProgram::Etcd,
            Kind::Registry => RealProgram::Registry,
            Kind::Prometheus => RealProgram::Prometheus,
        }
    }
}

/// Looks of all clients.
fn look(clients: &mut [Box<dyn Client>], http: &Http) -> Result<u64> {
    clients.iter_mut().map(|client| client.look(http)).sum()
}
