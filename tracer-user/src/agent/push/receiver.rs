//! One receiver: what it is sent is made, spooled and sent here, in the order in which it came.
//!
//! In: profiles and pictures that are for it. Out: uploads, sent; and figures of what became of them. Two tasks: one
//! puts uploads behind the others, one sends the first until it is taken, so that a receiver that is away
//! stops nobody and nothing but its own queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::client::Client;
use super::make::Maker;
use super::retry::{Answer, Backoff};
use super::spool::{Number, Spool, Upload};
use super::{Figures, Given};
use crate::output::text::printable;

/// What both tasks share.
pub struct Queue {
    name: String,
    spool: Mutex<Spool>,
    figures: Mutex<Figures>,
    more: Notify,
}

impl Queue {
    pub fn new(name: &str, spool: Spool) -> Arc<Self> {
        let figures = Figures { receiver: name.into(), ..Figures::default() };
        let queue = Self {
            name: name.to_owned(),
            spool: Mutex::new(spool),
            figures: Mutex::new(figures),
            more: Notify::new(),
        };
        queue.told(|_| {});
        Arc::new(queue)
    }

    /// As of now.
    pub fn figures(&self) -> Figures {
        locked(&self.figures).clone()
    }

    /// Counts something, and what is in the spool.
    pub fn told(&self, count: impl FnOnce(&mut Figures)) {
        let spool = locked(&self.spool);
        let mut figures = locked(&self.figures);
        count(&mut figures);
        figures.spooled = spool.len() as u64;
        figures.spool_bytes = spool.bytes();
        figures.oldest = spool.oldest();
        figures.dropped = spool.dropped();
    }

    /// Behind the others.
    pub fn put(&self, upload: &Upload) {
        let put = locked(&self.spool).push(upload);
        if let Err(err) = put {
            self.say(&err.to_string());
        }
        self.told(|_| {});
        self.more.notify_one();
    }

    fn first(&self) -> Option<(Number, Upload)> {
        let first = locked(&self.spool).first(SystemTime::now());
        self.told(|_| {});
        first
    }

    fn say(&self, what: &str) {
        eprintln!("heaptap: push {}: {}", self.name, printable(what));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes uploads of what is given, until nobody gives any more.
pub async fn make(queue: Arc<Queue>, mut maker: Maker, mut given: mpsc::Receiver<Given>) {
    while let Some(given) = given.recv().await {
        if let Some(upload) = maker.upload(&given) {
            queue.put(&upload);
        }
    }
}

/// Sends uploads, one after the other, for ever.
pub async fn send(queue: Arc<Queue>, client: Client, mut backoff: Backoff) {
    let mut trouble = Trouble::default();
    loop {
        let Some((number, upload)) = queue.first() else {
            queue.more.notified().await;
            continue;
        };
        let answer = client.send(&upload).await;
        match answer {
            Answer::Taken => {
                taken(&queue, number, &upload, 0);
                backoff.reset();
                trouble.is_over(&queue);
            }
            Answer::Partly(rejected, why) => {
                taken(&queue, number, &upload, rejected);
                backoff.reset();
                trouble.is(&queue, format!("taken but for {rejected} points: {why}"));
            }
            Answer::Refused(why) => {
                locked(&queue.spool).done(number);
                queue.told(|figures| figures.refused += 1);
                backoff.reset();
                trouble.is(&queue, format!("refused, and dropped: {why}"));
            }
            Answer::Later(why, asked) => {
                locked(&queue.spool).later();
                queue.told(|figures| figures.retried += 1);
                trouble.is(&queue, format!("not sent yet: {why}"));
                sleep(backoff.next(asked, chance())).await;
            }
        }
    }
}

/// An upload was taken, but for so many of its points.
fn taken(queue: &Queue, number: Number, upload: &Upload, rejected: u64) {
    locked(&queue.spool).done(number);
    queue.told(|figures| {
        figures.sent += 1;
        figures.sent_bytes += upload.body.len() as u64;
        figures.rejected += rejected;
    });
}

/// What is told of a receiver: each trouble once, and its end.
#[derive(Default)]
struct Trouble {
    what: Option<String>,
    told: Option<SystemTime>,
}

/// How often the same receiver's troubles are told, however they change.
const TELL: Duration = Duration::from_secs(60);

impl Trouble {
    fn is(&mut self, queue: &Queue, what: String) {
        let now = SystemTime::now();
        let lately =
            self.told.is_some_and(|told| now.duration_since(told).is_ok_and(|since| since < TELL));
        if self.what.as_ref() != Some(&what) && !lately {
            queue.say(&what);
            (self.what, self.told) = (Some(what), Some(now));
        }
    }

    fn is_over(&mut self, queue: &Queue) {
        if self.what.take().is_some() {
            queue.say("it takes uploads again");
            self.told = None;
        }
    }
}

/// From 0 to 1, another one each time: hashers are keyed by chance.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};

    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}
