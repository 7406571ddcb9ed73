//! What is attached, in groups that come and go by themselves.
//!
//! In: links as they are made. Out: the same, taken off by group. The kernel waits for programs under
//! way when a link is closed (about 0.1 s), so that links are closed by threads, a bounded number at
//! a time. Knows no program and no site.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    thread::{self, JoinHandle},
};

use aya::programs::uprobe::UProbeLink;

/// What is attached and taken off together: the sites of a file, for all processes or for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// What is attached as long as it is kept.
pub(super) enum Link {
    /// All sites of an attachment.
    Multi(#[expect(dead_code, reason = "closed when it is dropped")] OwnedFd),
    /// One site, through a perf event.
    Perf(#[expect(dead_code, reason = "closed when it is dropped")] UProbeLink),
}

/// Links that are closed at the same time; who closes one more waits for the oldest.
const CLOSING: usize = 16;

/// Links by group, and those that are being closed.
#[derive(Default)]
pub(super) struct Groups {
    attached: HashMap<GroupId, Attached>,
    closing: Vec<(GroupId, JoinHandle<()>)>,
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

    /// Begins to take a group off. Its programs may still run until [`Groups::settle`] has returned.
    pub fn remove(&mut self, group: GroupId) {
        for link in self.attached.remove(&group).into_iter().flat_map(|attached| attached.links) {
            self.closing.retain(|(_, thread)| !thread.is_finished());
            if self.closing.len() >= CLOSING {
                join(self.closing.remove(0).1);
            }
            self.closing.push((group, thread::spawn(move || drop(link))));
        }
    }

    /// Takes everything off. When this returns no program is running any more.
    pub fn remove_all(&mut self) {
        let groups: Vec<GroupId> = self.attached.keys().copied().collect();
        for group in groups {
            self.remove(group);
        }
        self.settle();
    }

    /// Waits until what was removed is off.
    pub fn settle(&mut self) {
        self.closing.drain(..).for_each(|(_, thread)| join(thread));
    }

    /// Whether nothing of a group is attached and none of its programs is running any more.
    pub fn is_off(&self, group: GroupId) -> bool {
        let closing =
            |(of, thread): &(GroupId, JoinHandle<()>)| *of == group && !thread.is_finished();
        !self.holds(group) && !self.closing.iter().any(closing)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.remove_all();
    }
}

/// Closing a descriptor does not panic; if it did, the link would be gone all the same.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read as _, pipe};

    fn link() -> (PipeReader, Link) {
        let (reader, writer) = pipe().unwrap();
        (reader, Link::Multi(writer.into()))
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
        groups.remove(GroupId(1));
        assert!(is_closed(first));
        assert!(!groups.holds(GroupId(1)) && groups.holds(GroupId(2)));
        assert_eq!(groups.sites(), 4);
        groups.remove(GroupId(1));
        drop(groups);
        assert!(is_closed(other));
    }

    #[test]
    fn more_links_than_threads_are_all_closed() {
        let mut groups = Groups::default();
        let readers: Vec<_> = (0..3 * CLOSING)
            .map(|_| {
                let (reader, link) = link();
                groups.add(GroupId(9), link, 1);
                reader
            })
            .collect();
        groups.remove_all();
        assert!(groups.closing.is_empty() && groups.sites() == 0);
        assert!(readers.into_iter().all(is_closed));
    }
}
