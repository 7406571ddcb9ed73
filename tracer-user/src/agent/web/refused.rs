//! What is not answered, and why; each counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request was refused or a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many connections as are allowed: 503.
    Connections,
    /// More requests in a second than one address may make: 429.
    Rate,
    /// No token, or a wrong one: 401.
    Token,
    /// Another host is asked for than one of this machine's own names: 403.
    Host,
    /// Something is to be done, and another site asks for it: 403.
    Origin,
    /// The request's line and headers are too large: 431.
    Headers,
    /// Its body is too large: 413.
    Body,
    /// It is no HTTP: 400.
    Malformed,
    /// Headers, a handshake or taking the answer took too long: the connection is closed.
    Slow,
    /// No TLS, or no certificate that is accepted: the connection is closed.
    Tls,
    /// What was asked for could not be had in time, or too much was asked for at once: 503.
    Busy,
}

impl Refused {
    pub const ALL: [Refused; 11] = [
        Refused::Connections,
        Refused::Rate,
        Refused::Token,
        Refused::Host,
        Refused::Origin,
        Refused::Headers,
        Refused::Body,
        Refused::Malformed,
        Refused::Slow,
        Refused::Tls,
        Refused::Busy,
    ];

    /// As metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Refused::Connections => "connections",
            Refused::Rate => "rate",
            Refused::Token => "token",
            Refused::Host => "host",
            Refused::Origin => "origin",
            Refused::Headers => "headers",
            Refused::Body => "body",
            Refused::Malformed => "malformed",
            Refused::Slow => "slow",
            Refused::Tls => "tls",
            Refused::Busy => "busy",
        }
    }
}

/// How many requests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub answered: u64,
    refused: [u64; Refused::ALL.len()],
}

impl Requests {
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize]
    }
}

/// Counts while others read.
#[derive(Debug, Default)]
pub struct Counting {
    answered: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

impl Counting {
    pub fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn so_far(&self) -> Requests {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Requests { answered: read(&self.answered), refused: self.refused.each_ref().map(read) }
    }
}
