//! What is attached at a binary, for whom, and for how long.
//!
//! In: images that begin and end. Out: groups in the kernel: one for everybody where every process of
//! the file is selected, else one for each process. A group ends with the last image that needs it;
//! one for everybody is kept for a while after that, so that a program that is started again and again
//! is caught from its first instruction.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Tapped, Targets, failure};
use crate::{
    exit::{Exit, Failure},
    host::Lease,
    probe::{AttachSite, Attachment, GroupId, Kernel, Scope, budget::Governor},
};

/// Sites of a binary, attached for somebody.
#[derive(Debug)]
pub struct Group {
    pub id: GroupId,
    /// The process that it is for; nothing: everybody.
    who: Option<u32>,
    /// Images that need it.
    users: usize,
    /// Since when nobody needs it.
    idle: Option<Instant>,
    /// Word before the file changes. Without it nothing stays attached to a file that nobody runs.
    lease: Option<Lease>,
}

/// A group, and the number that its hits carry.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    pub group: GroupId,
    /// [`tracer_common::Cookie::binary`]: a process counts the hits of its own group only.
    pub number: u32,
}

/// Processes of a file that have a group each, those that are being taken off counted; for more the
/// file is attached for everybody: every group takes the kernel a while to attach and to take off.
const CROWD: usize = 16;
/// How long a group is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(60);
/// How many of them.
const MOST_IDLE: usize = 64;

impl Targets {
    /// Sees to it that a binary's sites are attached for a process; one more image needs them.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn join(
        &mut self,
        kernel: &mut Kernel,
        binary: usize,
        pid: u32,
    ) -> Result<Joined, Failure> {
        let tapped = &mut self.binaries[binary];
        let of_all = tapped.groups.iter().any(|group| group.who.is_none());
        let crowded = of_all || tapped.groups.len() + kernel.detaching() >= CROWD;
        let who = (!self.wanted.whole_files && !crowded).then_some(pid);
        let number = 2 * binary as u32 + 1 + u32::from(who.is_some());
        if let Some(group) = tapped.groups.iter_mut().find(|group| group.who == who) {
            if self.meters.governors.get(&group.id).is_some_and(Governor::has_ended) {
                return Err(Failure::new(
                    Exit::Unsupported,
                    format!(
                        "process {pid}: its file's probes are off for the budget, which others that run it \
                         have used up"
                    ),
                ));
            }
            group.users += 1;
            group.idle = None;
            return Ok(Joined { group: group.id, number });
        }
        self.groups += 1;
        let id = GroupId(self.groups);
        // Before: what was compared at attaching must not change unnoticed afterwards.
        let lease = match who {
            None if self.wanted.follow => Lease::take(&tapped.file).ok(),
            _ => None,
        };
        tapped.attach(kernel, id, number, who)?;
        tapped.groups.push(Group { id, who, users: 1, idle: None, lease });
        Ok(Joined { group: id, number })
    }

    /// Puts a group on again that was taken off for a while; says whether there still is such a group.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn attach_again(
        &mut self,
        kernel: &mut Kernel,
        id: GroupId,
    ) -> Result<bool, Failure> {
        for (binary, tapped) in (0..).zip(&self.binaries) {
            if let Some(group) = tapped.groups.iter().find(|group| group.id == id) {
                let number = 2 * binary + 1 + u32::from(group.who.is_some());
                tapped.attach(kernel, id, number, group.who)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An image does not need its group any more.
    pub(super) fn leave(&mut self, kernel: &mut Kernel, binary: usize, id: GroupId) {
        let groups = &mut self.binaries[binary].groups;
        let Some(at) = groups.iter().position(|group| group.id == id) else { return };
        let group = &mut groups[at];
        group.users -= 1;
        if group.users > 0 {
            return;
        }
        let is_over = self.meters.governors.get(&id).is_some_and(Governor::has_ended);
        if is_over {
            // With the next process it begins anew.
            self.meters.governors.remove(&id);
        }
        if group.lease.is_some() && !is_over {
            group.idle = Some(Instant::now());
        } else {
            groups.swap_remove(at);
            kernel.detach(id);
        }
    }

    /// Takes off what nobody has needed for long, and the oldest of more than a few.
    pub fn tidy(&mut self, kernel: &mut Kernel) {
        // What is traced is held here, and what can't be is remembered here.
        self.opener.forget_unused();
        let idle = |group: &Group| group.idle;
        let mut since: Vec<Instant> =
            self.binaries.iter().flat_map(|tapped| tapped.groups.iter().filter_map(idle)).collect();
        since.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = since.get(MOST_IDLE).copied();
        let (now, mut off) = (Instant::now(), Vec::new());
        for tapped in &mut self.binaries {
            let over = |since: Instant| {
                now - since >= IDLE || oldest.is_some_and(|oldest| since <= oldest)
            };
            off.extend(tapped.groups.extract_if(.., |group| group.idle.is_some_and(over)));
        }
        self.take_off(kernel, off);
    }

    /// Takes off what is attached to files that somebody waits to write to.
    pub fn give_way(&mut self, kernel: &mut Kernel) {
        let mut off = Vec::new();
        for tapped in &mut self.binaries {
            let wanted = |group: &mut Group| group.lease.as_ref().is_some_and(Lease::is_wanted);
            for group in tapped.groups.iter_mut().filter(|group| group.users > 0) {
                // Nobody can write to what runs; if somebody will, it is not kept afterwards.
                if group.lease.as_ref().is_some_and(Lease::is_wanted) {
                    group.lease = None;
                }
            }
            off.extend(tapped.groups.extract_if(.., wanted));
        }
        self.take_off(kernel, off);
    }

    /// Leases are given back once nothing is attached.
    fn take_off(&mut self, kernel: &mut Kernel, off: Vec<Group>) {
        for group in off {
            match group.lease {
                Some(lease) => kernel.detach_then(group.id, Arc::new(lease)),
                None => kernel.detach(group.id),
            }
        }
    }
}

impl Tapped {
    /// Attaches all sites, for one process or for everybody.
    fn attach(
        &self,
        kernel: &mut Kernel,
        id: GroupId,
        number: u32,
        who: Option<u32>,
    ) -> Result<(), Failure> {
        let scope = who.and_then(NonZeroU32::new).map_or(Scope::File, Scope::Process);
        let planned = self.attach_sites(number);
        // Neighbours have the same program.
        for same in planned.chunk_by(|(a, _), (b, _)| a == b) {
            let sites: Vec<AttachSite<'_>> = same.iter().map(|(_, site)| *site).collect();
            let at = Attachment { program: same[0].0, file: &self.file, scope, sites: &sites };
            if let Err(err) = kernel.attach(id, &at) {
                kernel.detach(id);
                return Err(failure(err));
            }
        }
        Ok(())
    }
}
