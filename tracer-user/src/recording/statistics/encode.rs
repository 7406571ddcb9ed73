//! Contents of a record of statistics.
//!
//! In: statistics, one after the other. Out: bytes that `decode` makes the same of. Names are said once; of a
//! process that was there before, what has changed.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ANEW, FLOAT, LIST, MORE, NO, NOTHING, NUMBER, SAME, TEXT, YES, folded};
use super::{Reading, Statistics, Unread, Value};
use crate::recording::wire::Put;

/// Values that must be the same where a list is taken to go on from that before.
const ALIKE: usize = 4;

/// What records have said, from one that says everything on.
#[derive(Default)]
pub struct Encoder {
    names: HashMap<Arc<str>, u32>,
    last: Statistics,
    is_used: bool,
}

impl Encoder {
    /// Whether nothing was said.
    pub fn is_new(&self) -> bool {
        !self.is_used
    }

    /// Says what was read.
    pub fn encode(&mut self, statistics: &Statistics) -> Vec<u8> {
        self.is_used = true;
        let last = std::mem::replace(&mut self.last, statistics.clone());
        let places = last.readings.iter().enumerate();
        let places: HashMap<(u32, u64), usize> =
            places.map(|(at, before)| ((before.pid, before.start), at)).collect();
        let mut is_there = vec![false; last.readings.len()];
        let (mut new, mut added, mut body) = (Put::default(), 0, Put::default());
        body.count(statistics.readings.len());
        for reading in &statistics.readings {
            let place = places.get(&(reading.pid, reading.start)).copied();
            // Each of those before is followed by one.
            let place = place.filter(|place| !std::mem::replace(&mut is_there[*place], true));
            let Some(place) = place else {
                body.number(0u8);
                body.number(reading.pid);
                body.number(reading.start);
                self.anew(reading, &mut new, &mut added, &mut body);
                continue;
            };
            let before = &last.readings[place];
            body.count(place + 1);
            let is_alike = names(before).eq(names(reading));
            body.number(u8::from(!is_alike));
            if !is_alike {
                self.anew(reading, &mut new, &mut added, &mut body);
                continue;
            }
            for ((_, before), (_, now)) in before.values.iter().zip(&reading.values) {
                put_changed(before, now, &mut body);
            }
        }
        let is_same = last.unread == statistics.unread;
        body.number(u8::from(!is_same));
        if !is_same {
            put_unread(&statistics.unread, &mut body);
        }
        let mut put = Put::default();
        put.change(last.time, statistics.time);
        put.count(added);
        put.raw(new.bytes());
        put.raw(body.bytes());
        put.take()
    }

    /// Says all of a process's values, and those names that were not said.
    fn anew(&mut self, reading: &Reading, new: &mut Put, added: &mut usize, body: &mut Put) {
        body.count(reading.values.len());
        for (name, value) in &reading.values {
            let next = self.names.len() as u32;
            let number = *self.names.entry(Arc::clone(name)).or_insert(next);
            if number == next {
                new.text(name);
                *added += 1;
            }
            body.number(number);
            put_value(value, body);
        }
    }
}

fn names(of: &Reading) -> impl Iterator<Item = &Arc<str>> {
    of.values.iter().map(|(name, _)| name)
}

fn put_unread(unread: &[Unread], put: &mut Put) {
    put.count(unread.len());
    for Unread { pid, comm, reason } in unread {
        put.number(*pid);
        put.text(comm);
        put.text(reason);
    }
}

fn put_value(value: &Value, put: &mut Put) {
    match value {
        Value::Nothing => put.number(NOTHING),
        Value::Flag(false) => put.number(NO),
        Value::Flag(true) => put.number(YES),
        Value::Number(number) => {
            put.number(NUMBER);
            put.number(*number);
        }
        Value::Float(float) => {
            put.number(FLOAT);
            put.float(*float);
        }
        Value::Text(text) => {
            put.number(TEXT);
            put.text(text);
        }
        Value::List(list) => {
            put.number(LIST);
            put_each(0, list, put);
        }
    }
}

/// Numbers, each by the one before it.
fn put_each(mut before: u64, list: &[u64], put: &mut Put) {
    put.count(list.len());
    for number in list {
        put.change(before, *number);
        before = *number;
    }
}

fn put_changed(before: &Value, now: &Value, put: &mut Put) {
    match (before, now) {
        (Value::Float(before), Value::Float(now)) if before.to_bits() == now.to_bits() => {
            put.number(SAME);
        }
        (before, now) if before == now => put.number(SAME),
        (Value::Number(before), Value::Number(now)) if folded(*before, *now) < u64::MAX => {
            put.number(folded(*before, *now) - 1 + MORE);
        }
        (Value::List(before), Value::List(now)) => match fresh(before, now) {
            Some(fresh) => {
                put.number(MORE);
                put_list(before, now, fresh, put);
            }
            None => {
                put.number(ANEW);
                put_value(&Value::List(now.clone()), put);
            }
        },
        (_, now) => {
            put.number(ANEW);
            put_value(now, put);
        }
    }
}

/// How many of a list come before what goes on from the list before; nothing: it does not.
fn fresh(before: &[u64], now: &[u64]) -> Option<usize> {
    let goes_on = |fresh: &usize| {
        let (now, alike) = (&now[*fresh..], ALIKE.min(before.len()));
        let alike = alike.min(now.len());
        alike > 0 && now[..alike] == before[..alike]
    };
    let fresh = (0..now.len()).find(goes_on).unwrap_or(0);
    (now.len() - fresh <= before.len()).then_some(fresh)
}

/// A list that has new values in front of those before.
fn put_list(before: &[u64], now: &[u64], fresh: usize, put: &mut Put) {
    let (new, kept) = now.split_at(fresh);
    put_each(before.first().copied().unwrap_or(0), new, put);
    put.count(kept.len());
    let pairs = || before.iter().zip(kept);
    let changed: Vec<u64> =
        (0..).zip(pairs()).filter(|(_, (before, now))| before != now).map(|(at, _)| at).collect();
    put.count(changed.len());
    let mut next = 0;
    for at in changed {
        put.number(at - next);
        next = at + 1;
    }
    for (before, now) in pairs().filter(|(before, now)| before != now) {
        put.change(*before, *now);
    }
}
