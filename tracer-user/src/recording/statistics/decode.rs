//! A record of statistics understood: the other way of `encode`.
//!
//! In: contents of records, from one that says everything on. Out: what was read. Memory is taken out of a given amount;
//! a process that was there before is moved, not copied, so that few bytes can't make much.

use std::mem::take;
use std::sync::Arc;

use super::{ANEW, FLOAT, LIST, MORE, NO, NOTHING, NUMBER, SAME, TEXT, YES, unfolded};
use super::{Reading, Statistics, Unread, Value};
use crate::recording::Error;
use crate::recording::decode::{Fault, Room};
use crate::recording::wire::{Get, Wrong};

/// What records have said.
pub struct Decoder {
    /// What is left beside the names.
    room: Room,
    names: Vec<Arc<str>>,
    last: Statistics,
}

impl Decoder {
    /// Nothing yet; takes so many bytes at most, roughly.
    pub fn new(memory: usize) -> Self {
        Self { room: Room::new(memory), names: Vec::new(), last: Statistics::default() }
    }

    /// What was read last.
    pub fn last(&self) -> &Statistics {
        &self.last
    }

    /// The same, when nothing follows.
    pub fn into_last(self) -> Statistics {
        self.last
    }

    /// Takes in the next contents, of the record at `at`.
    ///
    /// # Errors
    /// They make no sense; they need too much memory. What was taken in before is of no use any more.
    pub fn apply(&mut self, contents: &[u8], at: u64) -> Result<(), Error> {
        let mut get = Get::new(contents);
        let done = self.read(&mut get).and_then(|()| match get.is_empty() {
            true => Ok(()),
            false => Err(Fault::Wrong("there is more than statistics")),
        });
        done.map_err(|fault| fault.error(&self.room, at))
    }

    fn read(&mut self, get: &mut Get) -> Result<(), Fault> {
        self.last.time = get.change(self.last.time)?;
        for _ in 0..get.count()? {
            let name = get.text()?;
            self.room.take(100 + name.len())?;
            self.names.push(name.into());
        }
        let mut room = self.room;
        let mut before: Vec<Option<Reading>> =
            take(&mut self.last.readings).into_iter().map(Some).collect();
        let mut readings = Vec::new();
        for _ in 0..get.count()? {
            let place: usize = get.small()?;
            let reading = match place.checked_sub(1) {
                None => {
                    let (pid, start) = (get.small()?, get.number()?);
                    Reading { pid, start, values: self.values(get)? }
                }
                Some(place) => {
                    let of = before.get_mut(place).and_then(Option::take);
                    let mut reading = of.ok_or("no such process was there before")?;
                    match get.flag()? {
                        true => reading.values = self.values(get)?,
                        false => {
                            for (_, value) in &mut reading.values {
                                change(get, value)?;
                            }
                        }
                    }
                    reading
                }
            };
            room.take(weight(&reading))?;
            readings.push(reading);
        }
        self.last.readings = readings;
        if get.flag()? {
            self.last.unread = unread(get)?;
        }
        let bytes = |one: &Unread| size_of::<Unread>() + one.comm.len() + one.reason.len();
        room.take(self.last.unread.iter().map(bytes).sum())
    }

    fn values(&self, get: &mut Get) -> Result<Vec<(Arc<str>, Value)>, Fault> {
        let mut values = Vec::new();
        for _ in 0..get.count()? {
            let name = self.names.get(get.small::<usize>()?).ok_or("there is no such name")?;
            values.push((Arc::clone(name), value(get)?));
        }
        Ok(values)
    }
}

/// Bytes of memory that a process takes, roughly.
fn weight(reading: &Reading) -> usize {
    let value = |(_, value): &(Arc<str>, Value)| match value {
        Value::Text(text) => text.len(),
        Value::List(list) => 8 * list.len(),
        _ => 0,
    };
    let each = size_of::<(Arc<str>, Value)>();
    size_of::<Reading>()
        + each * reading.values.len()
        + reading.values.iter().map(value).sum::<usize>()
}

fn unread(get: &mut Get) -> Result<Vec<Unread>, Wrong> {
    let mut unread = Vec::new();
    for _ in 0..get.count()? {
        let (pid, comm) = (get.small()?, get.text()?.to_owned());
        unread.push(Unread { pid, comm, reason: get.text()?.to_owned() });
    }
    Ok(unread)
}

fn value(get: &mut Get) -> Result<Value, Wrong> {
    Ok(match get.number()? {
        NOTHING => Value::Nothing,
        NO => Value::Flag(false),
        YES => Value::Flag(true),
        NUMBER => Value::Number(get.number()?),
        FLOAT => Value::Float(get.float()?),
        TEXT => Value::Text(get.text()?.to_owned()),
        LIST => Value::List(each(0, get)?),
        _ => return Err("no such kind of values"),
    })
}

/// Numbers, each by the one before it.
fn each(mut before: u64, get: &mut Get) -> Result<Vec<u64>, Wrong> {
    let mut list = Vec::new();
    for _ in 0..get.count()? {
        before = get.change(before)?;
        list.push(before);
    }
    Ok(list)
}

fn change(get: &mut Get, before: &mut Value) -> Result<(), Wrong> {
    match (get.number()?, &mut *before) {
        (SAME, _) => {}
        (ANEW, _) => *before = value(get)?,
        (code, Value::Number(number)) => *number = unfolded(*number, code - MORE + 1),
        (MORE, Value::List(list)) => *list = goes_on(get, take(list))?,
        _ => return Err("no such change"),
    }
    Ok(())
}

/// A list that has new values in front of those before.
fn goes_on(get: &mut Get, mut before: Vec<u64>) -> Result<Vec<u64>, Wrong> {
    let mut list = each(before.first().copied().unwrap_or(0), get)?;
    let kept: usize = get.small()?;
    if kept > before.len() {
        return Err("it goes on with more than there was");
    }
    before.truncate(kept);
    let mut changed = Vec::new();
    let mut next = 0usize;
    for _ in 0..get.count()? {
        let at = next.checked_add(get.small()?).filter(|at| *at < kept);
        let at = at.ok_or("there is no such value")?;
        changed.push(at);
        next = at + 1;
    }
    for at in changed {
        before[at] = get.change(before[at])?;
    }
    list.append(&mut before);
    Ok(list)
}
