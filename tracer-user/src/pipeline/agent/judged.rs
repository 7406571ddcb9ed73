//! Rules, judged after each round: what begins and ends is captured and told.
//!
//! In: pictures, and opened processes. Out: captures, and posts to receivers. A receiver hears of so many alerts in an
//! hour, each once; of its end who has heard of its beginning.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::captures::Captures;
use super::round::Rounds;
use super::settings::Settings;
use crate::agent::captured::{Listed, Unmade, Wish};
use crate::agent::node::{Frame, Node};
use crate::agent::notify::{About, Receiver};
use crate::agent::push::spool::{Bounds, Upload};
use crate::agent::push::{Figures, Post, Posts};
use crate::agent::rules::{Alert, Engine, State};
use crate::exit::{Exit, Failure};
use crate::output::text::printable;

/// What waits for a receiver, below the spool: an alert is of no use a day later.
const BOUNDS: Bounds = Bounds { bytes: 4 << 20, age: Duration::from_secs(24 * 3600) };
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const HOUR: Duration = Duration::from_secs(3600);

/// What is judged, and who hears of it.
pub struct Judged {
    engine: Engine,
    captures: Captures,
    told: Vec<Told>,
    /// Nothing where there are no receivers.
    posts: Option<Posts>,
    hushed: u64,
}

/// A receiver, and what it has heard.
struct Told {
    receiver: Receiver,
    /// When it heard of the alerts of the last hour.
    lately: VecDeque<Instant>,
    /// Alerts that hold and that it has heard of, with what was captured of them, and when it heard last.
    heard: HashMap<u64, (Vec<String>, Instant)>,
}

impl Judged {
    /// # Errors
    /// The directory of captures or a spool can't be used.
    pub fn start(settings: &Settings) -> Result<Self, Failure> {
        let is_used = settings.captures.on_request
            || settings.rules.iter().any(|rule| !rule.capture.is_empty());
        let posts = settings.notify.iter().map(|receiver| Post {
            name: format!("notify-{}", receiver.name),
            target: receiver.target.clone(),
            bounds: BOUNDS,
            retry: RETRY,
        });
        let posts: Vec<Post> = posts.collect();
        let posts = match posts.is_empty() {
            true => None,
            false => Some(
                Posts::start(posts, &settings.push.spool)
                    .map_err(|err| Failure::new(Exit::Failure, err.to_string()))?,
            ),
        };
        let told = |receiver: &Receiver| Told {
            receiver: receiver.clone(),
            lately: VecDeque::new(),
            heard: HashMap::new(),
        };
        let mut judged = Self {
            engine: Engine::default(),
            captures: Captures::new(&settings.captures, is_used)?,
            told: settings.notify.iter().map(told).collect(),
            posts,
            hushed: 0,
        };
        // There was nothing that could end.
        let _ = judged.engine.set(settings.rules.clone(), SystemTime::now());
        Ok(judged)
    }

    /// From now on by others. What holds by a rule that stays goes on.
    pub fn restart(&mut self, settings: &Settings, node: &Node) {
        let ended = self.engine.set(settings.rules.clone(), node.time);
        for alert in &ended {
            self.tell(alert, node, &[]);
        }
        // Its spools are this process's until it is gone.
        self.posts = None;
        match Self::start(settings) {
            Ok(mut new) => {
                new.engine = std::mem::take(&mut self.engine);
                new.hushed = self.hushed;
                for told in &mut new.told {
                    let before = self.told.iter_mut().find(|old| old.receiver == told.receiver);
                    if let Some(before) = before {
                        std::mem::swap(&mut told.heard, &mut before.heard);
                        std::mem::swap(&mut told.lately, &mut before.lately);
                    }
                }
                *self = new;
            }
            Err(failure) => eprintln!("heaptap: nobody is told: {failure}"),
        }
    }

    pub fn state(&self) -> State {
        State { rules: self.engine.counts(), captures: self.captures.counts(), hushed: self.hushed }
    }

    /// What was captured and is there.
    pub fn captured(&self) -> &Arc<Listed> {
        self.captures.listed()
    }

    /// Somebody wants a capture.
    pub fn wish(&mut self, wish: Wish, node: &Node) {
        let process = node.processes.iter().find(|process| process.who.id == wish.id);
        let told = match process {
            None => Err(Unmade::NoProcess),
            Some(process) => self.captures.wish(&process.who, wish.what, Instant::now()),
        };
        // Who asked may have gone.
        let _ = wish.answer.send(told);
    }

    /// Of each receiver.
    pub fn figures(&self) -> Vec<Figures> {
        self.posts.as_ref().map(Posts::figures).unwrap_or_default()
    }

    /// After a round: judges, captures and tells.
    pub fn round(&mut self, rounds: &mut Rounds<'_>, node: &Arc<Node>) {
        let now = Instant::now();
        for alert in self.engine.judge(node) {
            let captures = match alert.ended {
                None => self.captures.ask(&alert, now),
                Some(_) => Vec::new(),
            };
            self.tell(&alert, node, &captures);
        }
        self.repeat(node, now);
        self.captures.work(rounds, now);
    }

    /// Tells those that are to hear of an alert.
    fn tell(&mut self, alert: &Alert, node: &Node, captures: &[String]) {
        let now = Instant::now();
        for told in &mut self.told {
            let is_meant = |names: &Vec<String>| names.contains(&told.receiver.name);
            if !alert.rule.notify.as_ref().is_none_or(is_meant) {
                continue;
            }
            if alert.ended.is_some() {
                let Some((captures, _)) = told.heard.remove(&alert.id) else { continue };
                told.post(&self.posts, alert, node, &captures);
                continue;
            }
            let is_past = |at: &Instant| now.saturating_duration_since(*at) >= HOUR;
            while told.lately.front().is_some_and(is_past) {
                told.lately.pop_front();
            }
            if told.lately.len() >= told.receiver.per_hour as usize {
                self.hushed += 1;
                continue;
            }
            told.lately.push_back(now);
            told.heard.insert(alert.id, (captures.to_vec(), now));
            told.post(&self.posts, alert, node, captures);
        }
    }

    /// Who forgets what holds is told again.
    fn repeat(&mut self, node: &Node, now: Instant) {
        let holding: HashSet<u64> = self.engine.holding().map(|alert| alert.id).collect();
        for told in &mut self.told {
            told.heard.retain(|id, _| holding.contains(id));
            let Some(every) = told.receiver.form.repeats() else { continue };
            for alert in self.engine.holding() {
                let Some((captures, last)) = told.heard.get_mut(&alert.id) else { continue };
                if now.saturating_duration_since(*last) >= every {
                    *last = now;
                    let captures = captures.clone();
                    told.post(&self.posts, alert, node, &captures);
                }
            }
        }
    }
}

impl Told {
    fn post(&self, posts: &Option<Posts>, alert: &Alert, node: &Node, captures: &[String]) {
        let Some(posts) = posts else { return };
        let process = node.processes.iter().find(|process| process.who.id == alert.who.id);
        let heap = process.and_then(|process| process.heap.as_ref());
        let stacks: Vec<(Vec<String>, u64)> = heap
            .iter()
            .flat_map(|heap| &heap.top)
            .map(|stack| (stack.frames.iter().map(Frame::text).collect(), stack.bytes))
            .collect();
        let about = About { node: &node.name, stacks: &stacks, captures };
        let form = &self.receiver.form;
        let secret = match form.secret().map(std::fs::read_to_string) {
            None => String::new(),
            Some(Ok(secret)) => secret.trim().to_owned(),
            Some(Err(err)) => {
                let name = printable(&self.receiver.name);
                eprintln!("heaptap: notify {name}: its key can't be read: {err}");
                return;
            }
        };
        let request = form.request(alert, &about, &secret);
        let upload = Upload {
            made: SystemTime::now(),
            path: request.path.to_owned(),
            content_type: "application/json".to_owned(),
            body: request.body.to_string().into(),
        };
        posts.put(&format!("notify-{}", self.receiver.name), &upload);
    }
}
