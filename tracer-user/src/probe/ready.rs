//! Makes the kernel ready to attach at once.
//!
//! Before the kernel attaches a uprobe for the first time in a while it waits until no fork is under way,
//! which takes it 8 to 19 ms however few there are; for some milliseconds after that it does not wait. So
//! an empty program is attached to a function of heaptap's own that nobody calls, and taken off again.

use std::{
    ffi::CString,
    fs::File,
    num::NonZeroU32,
    os::fd::AsRawFd as _,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tracer_common::Cookie;

use super::{
    AttachSite, Attachment, Error, GroupId, Kernel, Program, Scope,
    syscall::{MultiSites, link_multi},
    trap::Trapped,
};
use crate::address::FileOffset;

/// What is attached to heaptap itself; no other group has this number.
pub(super) const OWN: GroupId = GroupId(u32::MAX);

/// Attaches an empty program to a function of heaptap's own, in this process alone: another heaptap that
/// does the same runs the same file.
pub(super) fn attach_empty(
    kernel: &mut Kernel,
    function: Trapped,
    file: &File,
    offset: FileOffset,
) -> Result<(), Error> {
    let cookie = Cookie { binary: 0, site: 0, at_check: false, kind: 0 };
    let sites = &[AttachSite { offset, expected: function.instruction(), cookie }];
    let scope = NonZeroU32::new(std::process::id()).map_or(Scope::File, Scope::Process);
    kernel.attach(OWN, &Attachment { program: Program::Empty, file, scope, sites })
}

/// Where that function is.
pub struct Ready {
    file: Arc<File>,
    offset: FileOffset,
    aside: Option<JoinHandle<()>>,
}

impl Ready {
    /// `file` is heaptap's own executable, and `offset` where [`Trapped::Emulated`] lies in it.
    pub fn new(file: File, offset: FileOffset) -> Self {
        Self { file: Arc::new(file), offset, aside: None }
    }

    /// What is attached after this is attached at once.
    ///
    /// # Errors
    /// The kernel did not attach it.
    pub fn wait(&self, kernel: &mut Kernel) -> Result<(), Error> {
        attach_empty(kernel, Trapped::Emulated, &self.file, self.offset)?;
        kernel.detach(OWN);
        Ok(())
    }

    /// The same in a thread, while something else is done before attaching. Where it can't be had,
    /// attaching takes longer.
    pub fn begin(&mut self, kernel: &mut Kernel) {
        if self.aside.as_ref().is_some_and(|aside| !aside.is_finished()) {
            return;
        }
        let copy = kernel.multi.as_mut().and_then(|multi| multi.copy(Program::Empty));
        let Some(program) = copy else { return };
        let (file, offset) = (Arc::clone(&self.file), self.offset.0);
        let attach = move || {
            let Ok(path) = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())) else {
                return;
            };
            let sites = MultiSites { offsets: &[offset], cookies: &[0], pid: std::process::id() };
            if let Err(refused) = link_multi(&program, &path, &sites) {
                log::debug!("probes are attached late: {refused}");
            }
        };
        self.aside = thread::Builder::new().spawn(attach).ok();
    }
}
