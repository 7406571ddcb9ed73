//! Statistics in a recording: named values of each process, read again and again.
//!
//! In: what was read of each process at one time. Out: contents of records that say what has changed since the one
//! before, and back. What the names mean is not known here.

mod decode;
mod encode;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

pub use decode::Decoder;
pub use encode::Encoder;

/// What was read of several processes at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Nanoseconds since 1970 when reading began.
    pub time: u64,
    pub readings: Vec<Reading>,
    /// Processes that were meant and could not be read.
    pub unread: Vec<Unread>,
}

/// What was read of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start: u64,
    /// By name, in the order in which they were given.
    pub values: Vec<(Arc<str>, Value)>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nothing,
    Flag(bool),
    Number(u64),
    Float(f64),
    Text(String),
    List(Vec<u64>),
}

/// A process that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub pid: u32,
    pub comm: String,
    pub reason: String,
}

impl Reading {
    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }

    /// The number of a name; nothing where it has none.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The text of a name; nothing where it has none.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Codes of a value that was there before; of a number those from here on say by how much it is another, of a list
/// this one that it goes on from that before.
const SAME: u64 = 0;
const ANEW: u64 = 1;
const MORE: u64 = 2;

/// Codes of values that are said anew.
const NOTHING: u64 = 0;
const NO: u64 = 1;
const YES: u64 = 2;
const NUMBER: u64 = 3;
const FLOAT: u64 = 4;
const TEXT: u64 = 5;
const LIST: u64 = 6;

/// The sign in the lowest bit (zigzag).
fn folded(before: u64, now: u64) -> u64 {
    let change = now.wrapping_sub(before) as i64;
    (change << 1 ^ change >> 63) as u64
}

/// The other way.
fn unfolded(before: u64, change: u64) -> u64 {
    before.wrapping_add((change >> 1) ^ (change & 1).wrapping_neg())
}
