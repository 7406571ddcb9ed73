//! What holds, since when, and what is to be told.
//!
//! In: a picture of each round. Out: alerts that begin and end with it. A number is told apart by rule, process and its
//! own labels; a process that is gone takes its numbers along.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::course::Course;
use super::{Alert, Of, Rule};
use crate::agent::metrics::{Histogram, Numbers};
use crate::agent::node::{Node, Process, Who};
use crate::host::Identity;

/// Numbers that are followed at once.
pub const MOST_COURSES: usize = 20_000;

/// Judges pictures.
#[derive(Debug, Default)]
pub struct Engine {
    rules: Vec<Arc<Rule>>,
    numbers: HashMap<Key, Followed>,
    last_id: u64,
    /// Pictures that were judged.
    round: u64,
    counts: Counts,
}

/// What was told and what was not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub begun: u64,
    pub ended: u64,
    /// Began again within the cooldown.
    pub cooled: u64,
    /// Numbers that there was no room for, as of the last picture.
    pub left_out: u64,
    /// Alerts that hold.
    pub holding: u64,
}

/// Rule by its place, process, own labels.
type Key = (usize, Identity, String);

#[derive(Debug)]
struct Followed {
    seen: Seen,
    /// Since when it holds.
    since: Option<SystemTime>,
    told: Option<Alert>,
    /// Until then it is not told again, and whether it would have been.
    quiet: Option<SystemTime>,
    is_hushed: bool,
    /// The round in which it was told last.
    round: u64,
}

/// What is kept of a number.
#[derive(Debug)]
enum Seen {
    Value,
    Rate(Course<f64>),
    Quantile(Course<Histogram>),
}

impl Engine {
    /// From now on these rules are judged. What holds by a rule that is as it was goes on; all else ends.
    pub fn set(&mut self, rules: Vec<Rule>, now: SystemTime) -> Vec<Alert> {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let stays: HashMap<usize, usize> = (self.rules.iter().enumerate())
            .filter_map(|(old, rule)| Some((old, rules.iter().position(|new| new == rule)?)))
            .collect();
        let before = std::mem::take(&mut self.numbers);
        let mut ended = Vec::new();
        for ((rule, id, labels), number) in before {
            match stays.get(&rule) {
                Some(rule) => {
                    self.numbers.insert((*rule, id, labels), number);
                }
                None => ended.extend(number.told.map(|told| end(told, now))),
            }
        }
        self.rules = rules;
        self.counts.ended += ended.len() as u64;
        self.count();
        ended
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Alerts that hold.
    pub fn holding(&self) -> impl Iterator<Item = &Alert> {
        self.numbers.values().filter_map(|number| number.told.as_ref())
    }

    /// Looks at a picture; says what begins and what ends with it.
    pub fn judge(&mut self, node: &Node) -> Vec<Alert> {
        let mut news = Vec::new();
        self.round += 1;
        self.counts.left_out = 0;
        for number in 0..self.rules.len() {
            let rule = Arc::clone(&self.rules[number]);
            for process in node.processes.iter().filter(|process| rule.whom.means(&process.who)) {
                each(&rule, process, |labels, value| {
                    let key = (number, process.who.id, labels);
                    self.follow(&rule, &process.who, key, value, node.time, &mut news);
                });
            }
        }
        // What is not told any more holds no more: the process has ended, or does not say it.
        let (now, round, counts) = (node.time, self.round, &mut self.counts);
        self.numbers.retain(|(_, id, _), number| {
            if number.round == round {
                return true;
            }
            number.over(now, counts, &mut news);
            let is_there = node.processes.iter().any(|process| process.who.id == *id);
            is_there && number.quiet.is_some_and(|until| now < until)
        });
        self.count();
        news
    }

    fn count(&mut self) {
        self.counts.holding = self.holding().count() as u64;
    }

    fn follow(
        &mut self,
        rule: &Arc<Rule>,
        who: &Arc<Who>,
        key: Key,
        value: Told,
        now: SystemTime,
        news: &mut Vec<Alert>,
    ) {
        if !self.numbers.contains_key(&key) {
            if self.numbers.len() >= MOST_COURSES {
                self.counts.left_out += 1;
                return;
            }
            self.numbers.insert(key.clone(), Followed::new(rule.of));
        }
        let Some(number) = self.numbers.get_mut(&key) else { return };
        number.round = self.round;
        let value = number.add(rule, now, value);
        let holds = value.filter(|value| value.is_finite() && rule.bound.holds(*value));
        let Some(value) = holds else {
            number.is_hushed = false;
            number.over(now, &mut self.counts, news);
            return;
        };
        let since = *number.since.get_or_insert(now);
        let held = now.duration_since(since).unwrap_or(Duration::ZERO);
        if let Some(told) = &mut number.told {
            told.value = value;
            return;
        }
        if held < rule.hold {
            return;
        }
        if number.quiet.is_some_and(|until| now < until) {
            // Once for each time that it begins to hold.
            self.counts.cooled += u64::from(!std::mem::replace(&mut number.is_hushed, true));
            return;
        }
        number.is_hushed = false;
        self.last_id += 1;
        let alert = Alert {
            id: self.last_id,
            rule: Arc::clone(rule),
            who: Arc::clone(who),
            labels: key.2,
            value,
            since,
            at: now,
            ended: None,
        };
        self.counts.begun += 1;
        number.told = Some(alert.clone());
        news.push(alert);
    }
}

fn end(alert: Alert, at: SystemTime) -> Alert {
    Alert { ended: Some(at), ..alert }
}

/// A number of a picture.
enum Told {
    Number(f64),
    Histogram(Histogram),
}

/// Calls `tell` with each number that a rule is about, and its own labels as text.
fn each(rule: &Rule, process: &Process, mut tell: impl FnMut(String, Told)) {
    let family = rule.metric.0;
    if let Numbers::Histogram(read) = family.numbers {
        if let Some(histogram) = read(process) {
            tell(String::new(), Told::Histogram(histogram));
        }
        return;
    }
    family.each(process, &mut |labels, number| {
        let has = |(name, value): &(String, String)| {
            labels.iter().any(|(own, is)| own == name && is == value)
        };
        if rule.labels.iter().all(has) {
            let text: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            tell(text.join(", "), Told::Number(number.value()));
        }
    });
}

impl Followed {
    fn new(of: Of) -> Self {
        let seen = match of {
            Of::Value => Seen::Value,
            Of::Rate(over) => Seen::Rate(Course::new(over)),
            Of::Quantile(_, over) => Seen::Quantile(Course::new(over)),
        };
        Self { seen, since: None, told: None, quiet: None, is_hushed: false, round: 0 }
    }

    /// It holds no more: what was told has ended.
    fn over(&mut self, now: SystemTime, counts: &mut Counts, news: &mut Vec<Alert>) {
        self.since = None;
        if let Some(told) = self.told.take() {
            self.quiet = Some(now + told.rule.cooldown);
            counts.ended += 1;
            news.push(end(told, now));
        }
    }

    /// What is compared, once it is known.
    fn add(&mut self, rule: &Rule, now: SystemTime, told: Told) -> Option<f64> {
        match (&mut self.seen, told, rule.of) {
            (Seen::Value, Told::Number(value), _) => Some(value),
            (Seen::Rate(course), Told::Number(value), _) => {
                course.add(now, value);
                course.rate(rule.metric.is_counter())
            }
            (Seen::Quantile(course), Told::Histogram(histogram), Of::Quantile(part, _)) => {
                course.add(now, histogram);
                course.quantile(part)
            }
            _ => None,
        }
    }
}
