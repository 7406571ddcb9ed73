//! What each kind of receiver wants, made of what all are given.
//!
//! In: heap profiles and pictures. Out: uploads: with what was allocated since the last profile or since the program
//! began, as the receiver has it.

use std::time::{Duration, SystemTime};

use super::client::Protocol;
use super::delta::Deltas;
use super::labels::{self, Pattern};
use super::spool::Upload;
use super::{Given, Heap, Sends, otlp, parca, pyroscope};
use crate::output::pprof;
use crate::output::pprof::proto::Profile;

/// What a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pyroscope,
    Parca,
    /// Metrics, and profiles where that is switched on.
    Otlp(Protocol),
}

/// Makes uploads for one receiver.
pub struct Maker {
    kind: Kind,
    sends: Sends,
    service: Pattern,
    /// A process not older than this has allocated all of it just now.
    recent: Duration,
    began: SystemTime,
    deltas: Deltas,
}

impl Maker {
    pub fn new(kind: Kind, sends: Sends, service: Pattern, every: Duration) -> Self {
        let began = SystemTime::now();
        Self { kind, sends, service, recent: every * 2, began, deltas: Deltas::new() }
    }

    /// Nothing of what begins an interval.
    pub fn upload(&mut self, given: &Given) -> Option<Upload> {
        match given {
            Given::Heap(heap) => self.of_heap(heap),
            Given::Node(node) => {
                self.deltas.retain(|id| node.processes.iter().any(|one| one.who.id == *id));
                match self.kind {
                    Kind::Otlp(protocol) if self.sends.metrics => {
                        Some(otlp::metrics(node, &self.service, protocol, self.began))
                    }
                    _ => None,
                }
            }
        }
    }

    fn of_heap(&mut self, heap: &Heap) -> Option<Upload> {
        let labels = labels::of(&heap.who, &heap.node);
        let service = self.service.fill(&labels);
        let mut profile = heap.profile.clone();
        match self.kind {
            Kind::Pyroscope => {
                let times = self.since_last(heap, &mut profile)?;
                Some(pyroscope::upload(&service, &labels, times, &compressed(&profile)))
            }
            Kind::Parca => Some(parca::upload(&service, &labels, heap.at, compressed(&profile))),
            Kind::Otlp(protocol) => {
                let times = self.since_last(heap, &mut profile)?;
                let of = (&*heap.who, &*heap.node);
                Some(otlp::profiles(&service, of, times, &profile, protocol))
            }
        }
    }

    /// Makes allocation that of an interval, and says of which.
    fn since_last(
        &mut self,
        heap: &Heap,
        profile: &mut Profile,
    ) -> Option<(SystemTime, SystemTime)> {
        let id = heap.who.id;
        let since = self.deltas.apply(id, profile, heap.at, id.age(), self.recent)?;
        // They are of all that was ever allocated.
        profile.comment.clear();
        let length = heap.at.duration_since(since).unwrap_or_default();
        profile.time_nanos -= i64::try_from(length.as_nanos()).unwrap_or(0);
        profile.duration_nanos = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        Some((since, heap.at))
    }
}

fn compressed(profile: &Profile) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = pprof::compress(profile, &mut out);
    out
}
