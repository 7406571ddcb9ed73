//! What is attached at a binary, for whom, and for how long.
//!
//! In: images that begin and end. Out: groups in the kernel: one for everybody where every process of
//! the file is selected, else one for each process. A group ends with the last image that needs it.

use std::num::NonZeroU32;

use super::{Targets, failure};
use crate::{
    exit::Failure,
    probe::{AttachSite, Attachment, GroupId, Kernel, Scope},
};

/// Sites of a binary, attached for somebody.
#[derive(Debug)]
pub struct Group {
    pub id: GroupId,
    /// The process that it is for; nothing: everybody.
    who: Option<u32>,
    /// Images that need it.
    users: usize,
}

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
    ) -> Result<GroupId, Failure> {
        let who = (!self.wanted.whole_files).then_some(pid);
        let tapped = &mut self.binaries[binary];
        if let Some(group) = tapped.groups.iter_mut().find(|group| group.who == who) {
            group.users += 1;
            return Ok(group.id);
        }
        self.groups += 1;
        let id = GroupId(self.groups);
        let scope = who.and_then(NonZeroU32::new).map_or(Scope::File, Scope::Process);
        let planned = tapped.attach_sites(binary as u32 + 1);
        // Neighbours have the same program.
        for same in planned.chunk_by(|(a, _), (b, _)| a == b) {
            let sites: Vec<AttachSite<'_>> = same.iter().map(|(_, site)| *site).collect();
            let at = Attachment { program: same[0].0, file: &tapped.file, scope, sites: &sites };
            if let Err(err) = kernel.attach(id, &at) {
                kernel.detach(id);
                return Err(failure(err));
            }
        }
        tapped.groups.push(Group { id, who, users: 1 });
        Ok(id)
    }

    /// An image does not need its group any more.
    pub(super) fn leave(&mut self, kernel: &mut Kernel, binary: usize, id: GroupId) {
        let groups = &mut self.binaries[binary].groups;
        let Some(at) = groups.iter().position(|group| group.id == id) else { return };
        groups[at].users -= 1;
        if groups[at].users == 0 {
            groups.swap_remove(at);
            kernel.detach(id);
        }
    }
}
