//! Closes links in a process of its own.
//!
//! The kernel takes a probe off for whoever closes its link; if that one is being killed meanwhile, it gives up, and the
//! breakpoint stays in the traced program for as long as that lives. So links are closed by a process that is not
//! the one to be killed: it has no privileges, ignores what ends heaptap, and ends when heaptap has.
//!
//! In: links, through a socket, each with a pipe for the answer. Out: the same closed, and the CPU time that it took.
//! Knows no group and no program.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use caps::CapSet;
use nix::{
    fcntl::OFlag,
    sys::{
        prctl,
        signal::{SigHandler, Signal, signal},
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
            recvmsg, sendmsg, socketpair,
        },
    },
    unistd::pipe2,
};

use super::clock;

/// What the process is called. Not by heaptap's name: who kills all that is called so would kill both.
const NAME: &str = "detach-links";

/// Whether this program is heaptap, and so can be started again as a detacher.
static IS_HEAPTAP: AtomicBool = AtomicBool::new(false);

/// Heaptap's end of it.
pub(super) struct Detacher {
    /// Nothing from when it is to end.
    socket: Option<OwnedFd>,
    process: Child,
}

/// For `main`: does a detacher's work if that is what was started. Links are closed here from then on, if not.
pub fn run_if_asked() -> Option<ExitCode> {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        return Some(run());
    }
    IS_HEAPTAP.store(true, Ordering::Relaxed);
    None
}

impl Detacher {
    /// Nothing where it can't be had: links are closed in this process then.
    pub fn start() -> Option<Detacher> {
        if !IS_HEAPTAP.load(Ordering::Relaxed) {
            return None;
        }
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let started = socketpair(AddressFamily::Unix, kind, None, flags).map_err(Into::into);
        let started = started.and_then(|(socket, theirs)| {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(NAME).env_clear().current_dir("/").stdin(theirs);
            // A terminal's Ctrl-C, and who kills its group, do not mean it.
            command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            Ok::<_, std::io::Error>(Detacher { socket: Some(socket), process: command.spawn()? })
        });
        started.inspect_err(|err| log::debug!("links are closed by heaptap itself: {err}")).ok()
    }

    /// Closes a link, and waits for it: the CPU time that it took. Gives it back if nobody is there to do so.
    pub fn close(&self, link: OwnedFd) -> Result<Duration, OwnedFd> {
        let Some(socket) = &self.socket else { return Err(link) };
        let Ok((answer, theirs)) = pipe2(OFlag::O_CLOEXEC) else { return Err(link) };
        let passed = [link.as_raw_fd(), theirs.as_raw_fd()];
        let (data, passed) = ([IoSlice::new(&[0])], [ControlMessage::ScmRights(&passed)]);
        let to = socket.as_raw_fd();
        if sendmsg::<()>(to, &data, &passed, MsgFlags::MSG_NOSIGNAL, None).is_err() {
            return Err(link);
        }
        // From here on the last one is theirs.
        drop((link, theirs));
        let mut took = [0; 8];
        // No answer: it has ended, and all that it had is closed.
        let answered = File::from(answer).read_exact(&mut took);
        Ok(answered.map(|()| Duration::from_nanos(u64::from_le_bytes(took))).unwrap_or_default())
    }
}

impl Drop for Detacher {
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.process.wait();
    }
}

/// What the process does: all that comes through its standard input, until nobody is left at the other end.
fn run() -> ExitCode {
    for ends in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE]
    {
        // SAFETY: ignoring is no handler function.
        let _ = unsafe { signal(ends, SigHandler::SigIgn) };
    }
    let _ = prctl::set_name(c"detach-links");
    let _ = prctl::set_no_new_privs();
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let _ = caps::clear(None, set);
    }
    let mut closing: Vec<thread::JoinHandle<()>> = Vec::new();
    while let Some((link, answer)) = next(0) {
        closing.retain(|one| !one.is_finished());
        // The kernel waits for programs under way: one does not wait for the other. Without a thread the link is
        // closed all the same, with what was to close it.
        closing.extend(thread::Builder::new().spawn(move || close(link, answer)));
    }
    for one in closing {
        let _ = one.join();
    }
    ExitCode::SUCCESS
}

/// The next link and the pipe for the answer; nothing when there will be no more.
fn next(socket: RawFd) -> Option<(OwnedFd, OwnedFd)> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let mut data = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket, &mut data, Some(&mut space), flags).ok()?;
    for part in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(passed) = part
            && let [link, answer] = passed[..]
        {
            // SAFETY: the kernel has just made these descriptors for us.
            return Some(unsafe { (OwnedFd::from_raw_fd(link), OwnedFd::from_raw_fd(answer)) });
        }
    }
    None
}

fn close(link: OwnedFd, answer: OwnedFd) {
    let took = here(link);
    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let _ = File::from(answer).write_all(&nanoseconds.to_le_bytes());
}

/// Closes a link in this thread: the CPU time that it took.
pub(super) fn here(link: OwnedFd) -> Duration {
    let began = clock::cpu_of_thread();
    drop(link);
    clock::cpu_of_thread().saturating_sub(began)
}
