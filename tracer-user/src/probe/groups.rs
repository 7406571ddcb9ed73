//! What is attached, in groups that come and go by themselves.
//!
//! In: links as they are made. Out: the same, taken off by group. The kernel waits for programs under
//! way when a link is closed (about 0.1 s), so that threads see to it, a bounded number at
//! a time. Knows no program and no site.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use super::detacher::{self, Detacher};

/// What is attached and taken off together: the sites of a file, for all processes or for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// What is attached as long as it is kept: all sites of an attachment, or one through a perf event.
pub(super) type Link = OwnedFd;

/// What is let go once a group is off.
pub type Held = Arc<dyn Any + Send + Sync>;

/// Threads that close links, and how long one waits for another link: windows follow each other.
const CLOSERS: usize = 16;
const IDLE: Duration = Duration::from_millis(500);

/// Links by group, and those that are being closed.
#[derive(Default)]
pub(super) struct Groups {
    attached: HashMap<GroupId, Attached>,
    closing: Arc<Closing>,
}

/// Links on their way out; shared with the threads that close them.
#[derive(Default)]
struct Closing {
    left: Mutex<Left>,
    fewer: Condvar,
    more: Condvar,
    detacher: OnceLock<Option<Detacher>>,
}

#[derive(Default)]
struct Left {
    waiting: VecDeque<(GroupId, Link, Option<Held>)>,
    /// What the threads are at.
    under_way: Vec<GroupId>,
    closers: usize,
    /// Of the closers.
    idle: usize,
    /// CPU time that closing took, until it is asked for.
    took: HashMap<GroupId, Duration>,
}

#[derive(Default)]
struct Attached {
    links: Vec<Link>,
    sites: usize,
}

impl Groups {
    /// A link of so many sites.
    pub fn add(&mut self, group: GroupId, link: Link, sites: usize) {
        let attached = self.attached.entry(group).or_default();
        attached.links.push(link);
        attached.sites += sites;
    }

    /// How many sites are attached.
    pub fn sites(&self) -> usize {
        self.attached.values().map(|attached| attached.sites).sum()
    }

    /// Whether anything of a group is attached.
    pub fn holds(&self, group: GroupId) -> bool {
        self.attached.contains_key(&group)
    }

    /// Begins to take a group off, without waiting for the kernel. Its programs may still run until
    /// [`Groups::is_off`]; then `held` is let go.
    pub fn remove(&mut self, group: GroupId, held: Option<Held>) {
        let links = self.attached.remove(&group).into_iter().flat_map(|attached| attached.links);
        for link in links {
            self.closing.push(group, link, held.clone());
        }
    }

    /// Takes everything off. When this returns no program is running any more.
    pub fn remove_all(&mut self) {
        let groups: Vec<GroupId> = self.attached.keys().copied().collect();
        for group in groups {
            self.remove(group, None);
        }
        self.settle();
    }

    /// Waits until what was removed is off.
    pub fn settle(&mut self) {
        let mut left = self.closing.left();
        while left.count() > 0 {
            left = self.closing.fewer.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many links are being closed or wait for it.
    pub fn closing(&self) -> usize {
        self.closing.left().count()
    }

    /// Whether nothing of a group is attached and none of its programs is running any more.
    pub fn is_off(&self, group: GroupId) -> bool {
        !self.holds(group) && !self.closing.left().holds(group)
    }

    /// CPU time that taking a group off took since this was asked last.
    pub fn closing_took(&self, group: GroupId) -> Duration {
        self.closing.left().took.remove(&group).unwrap_or_default()
    }
}

impl Closing {
    /// Nothing panics while it is locked; if something did, what is left to close would be the same.
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, group: GroupId, link: Link, held: Option<Held>) {
        let mut left = self.left();
        left.waiting.push_back((group, link, held));
        if left.idle >= left.waiting.len() {
            self.more.notify_one();
            return;
        }
        if left.closers >= CLOSERS {
            return;
        }
        left.closers += 1;
        drop(left);
        let closer = Arc::clone(self);
        if thread::Builder::new().spawn(move || closer.close_all(IDLE)).is_err() {
            // No thread to be had: it takes the time that it takes.
            self.close_all(Duration::ZERO);
        }
    }

    fn detacher(&self) -> Option<&Detacher> {
        self.detacher.get_or_init(Detacher::start).as_ref()
    }

    fn close(&self, link: Link) -> Duration {
        match self.detacher() {
            Some(detacher) => detacher.close(link).unwrap_or_else(detacher::here),
            None => detacher::here(link),
        }
    }

    /// Closes what waits, until nothing has for a while.
    fn close_all(&self, idle: Duration) {
        let mut left = self.left();
        loop {
            while let Some((group, link, held)) = left.waiting.pop_front() {
                left.under_way.push(group);
                drop(left);
                let took = self.close(link);
                drop(held);
                left = self.left();
                *left.took.entry(group).or_default() += took;
                if let Some(at) = left.under_way.iter().position(|one| *one == group) {
                    left.under_way.swap_remove(at);
                }
                self.fewer.notify_all();
            }
            left.idle += 1;
            let waited = self.more.wait_timeout(left, idle);
            left = waited.unwrap_or_else(PoisonError::into_inner).0;
            left.idle -= 1;
            if left.waiting.is_empty() {
                break;
            }
        }
        left.closers -= 1;
    }
}

impl Left {
    fn count(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    fn holds(&self, group: GroupId) -> bool {
        self.under_way.contains(&group) || self.waiting.iter().any(|(of, ..)| *of == group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.remove_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read as _, pipe};

    fn link() -> (PipeReader, Link) {
        let (reader, writer) = pipe().unwrap();
        (reader, writer.into())
    }

    fn is_closed(mut reader: PipeReader) -> bool {
        reader.read(&mut [0]).unwrap() == 0
    }

    #[test]
    fn a_group_is_taken_off_by_itself() {
        let mut groups = Groups::default();
        let (first, link_of_first) = link();
        let (other, link_of_other) = link();
        groups.add(GroupId(1), link_of_first, 3);
        groups.add(GroupId(2), link_of_other, 4);
        assert_eq!(groups.sites(), 7);
        groups.remove(GroupId(1), None);
        assert!(is_closed(first));
        assert!(!groups.holds(GroupId(1)) && groups.holds(GroupId(2)));
        assert_eq!(groups.sites(), 4);
        groups.remove(GroupId(1), None);
        drop(groups);
        assert!(is_closed(other));
    }

    #[test]
    fn more_links_than_threads_are_all_closed() {
        let mut groups = Groups::default();
        let readers: Vec<_> = (0..3 * CLOSERS)
            .map(|_| {
                let (reader, link) = link();
                groups.add(GroupId(9), link, 1);
                reader
            })
            .collect();
        groups.remove_all();
        assert!(groups.is_off(GroupId(9)) && groups.closing() == 0 && groups.sites() == 0);
        assert!(readers.into_iter().all(is_closed));
    }

    #[test]
    fn what_is_held_is_let_go_after_the_last_link() {
        let mut groups = Groups::default();
        let links = [link(), link()];
        let [first, second] = links.map(|(reader, link)| {
            groups.add(GroupId(1), link, 1);
            reader
        });
        let held: Held = Arc::new(());
        let weak = Arc::downgrade(&held);
        groups.remove(GroupId(1), Some(held));
        groups.settle();
        assert!(is_closed(first) && is_closed(second) && groups.is_off(GroupId(1)));
        assert!(weak.upgrade().is_none());
        // A group of nothing.
        let held: Held = Arc::new(());
        let weak = Arc::downgrade(&held);
        groups.remove(GroupId(2), Some(held));
        assert!(weak.upgrade().is_none());
    }
}
