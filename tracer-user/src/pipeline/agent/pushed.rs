//! Heap profiles of the node's processes for whoever they are pushed to: read when somebody waits for one.
//!
//! In: pictures, and opened processes. Out: profiles, given to `agent::push`. Reading them all takes no more than a
//! share of one CPU: who is not read in time is read later, and what it allocates meanwhile is in its next profile.

use std::time::Instant;

use super::round::Rounds;
use super::turns::Allowance;
use crate::agent::config::Push;
use crate::agent::node::Node;
use crate::agent::push::{Figures, Pusher};
use crate::exit::{Exit, Failure};
use crate::host::Identity;

/// Of one CPU.
const SHARE: f64 = 0.02;

/// What is pushed.
pub struct Pushed {
    /// Nothing where there are no receivers.
    pusher: Option<Pusher>,
    allowance: Allowance,
    /// Who was read last.
    last: Option<Identity>,
}

impl Pushed {
    /// Begins to send what an earlier agent has left.
    ///
    /// # Errors
    /// A spool can't be used; a file of certificates can't be read.
    pub fn start(push: &Push) -> Result<Self, Failure> {
        let pusher = match push.receivers.is_empty() {
            true => None,
            false => Some(
                Pusher::start(push.receivers.clone(), &push.spool)
                    .map_err(|err| Failure::new(Exit::Failure, err.to_string()))?,
            ),
        };
        Ok(Self { pusher, allowance: Allowance::new(SHARE, Instant::now()), last: None })
    }

    /// From now on to others. What waits for those that stay is sent as before.
    pub fn restart(&mut self, push: &Push) {
        // Its spools are this process's until it is gone.
        self.pusher = None;
        match Self::start(push) {
            Ok(new) => *self = new,
            Err(failure) => eprintln!("heaptap: nothing is pushed: {failure}"),
        }
    }

    /// Of each receiver.
    pub fn figures(&self) -> Vec<Figures> {
        self.pusher.as_ref().map(Pusher::figures).unwrap_or_default()
    }

    /// Gives what is waited for after a round.
    pub fn round(&mut self, rounds: &mut Rounds, node: &std::sync::Arc<Node>) {
        let Some(pusher) = &mut self.pusher else { return };
        pusher.picture(node, Instant::now());
        // Who comes after the last one is first.
        let after = |id: &Identity| {
            self.last.is_none_or(|last| (id.pid, id.start) > (last.pid, last.start))
        };
        let split = node.processes.iter().position(|process| after(&process.who.id));
        let (before, rest) = node.processes.split_at(split.unwrap_or(0));
        for process in rest.iter().chain(before) {
            let (id, now) = (process.who.id, Instant::now());
            if !pusher.is_due(id, now) {
                continue;
            }
            if !self.allowance.allows(now) {
                return;
            }
            match rounds.heap(id) {
                Ok(profile) => pusher.profile(&process.who, &node.name, profile, now),
                Err(_) => pusher.no_profile(id, now),
            }
            self.last = Some(id);
            self.allowance.took(now.elapsed());
        }
    }
}
