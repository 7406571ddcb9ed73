//! This thread's share of a busy CPU.
//!
//! A nice value counts only among those of the same group (cgroup, or session where autogroups are
//! on); a real-time priority counts everywhere. The lowest of those is asked for first.

use nix::libc;

/// A higher one than usual, until it is dropped. Threads that are started meanwhile have it too.
#[derive(Debug)]
pub struct Priority {
    before: Scheduling,
}

/// What the kernel goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheduling {
    /// Policy and priority.
    Policy(libc::c_int, libc::c_int),
    /// Nice value.
    Nice(libc::c_int),
}

/// In turn with others of this priority, before all that have none.
const PROMPT: Scheduling = Scheduling::Policy(libc::SCHED_RR, 1);
/// Nice value of somebody who has little to do, and that soon.
const PROMPT_AMONG_ITS_OWN: libc::c_int = -10;

impl Priority {
    /// Raises it, where that is allowed (CAP_SYS_NICE; real time not in every cgroup).
    pub fn raise() -> Option<Self> {
        let before = Scheduling::policy()?;
        if before.is_real_time() {
            return None;
        }
        if PROMPT.set() {
            return Some(Self { before });
        }
        // SAFETY: the call takes integers; 0 is the calling thread.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let raised = Scheduling::Nice(PROMPT_AMONG_ITS_OWN.min(nice)).set();
        raised.then_some(Self { before: Scheduling::Nice(nice) })
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        self.before.set();
    }
}

impl Scheduling {
    /// The calling thread's policy.
    fn policy() -> Option<Self> {
        let mut parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: 0 is the calling thread, and the kernel writes one sched_param.
        let (policy, read) =
            unsafe { (libc::sched_getscheduler(0), libc::sched_getparam(0, &raw mut parameters)) };
        (policy >= 0 && read == 0).then_some(Self::Policy(policy, parameters.sched_priority))
    }

    fn is_real_time(self) -> bool {
        matches!(self, Self::Policy(_, priority) if priority > 0)
    }

    /// Gives it to the calling thread; says whether the kernel did.
    fn set(self) -> bool {
        match self {
            Self::Policy(policy, priority) => {
                let parameters = libc::sched_param { sched_priority: priority };
                // SAFETY: 0 is the calling thread; the kernel reads one sched_param.
                unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
            }
            // SAFETY: the call takes integers; 0 is the calling thread.
            Self::Nice(nice) => unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Policy and nice value.
    fn now() -> (Option<Scheduling>, libc::c_int) {
        // SAFETY: as above.
        (Scheduling::policy(), unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) })
    }

    #[test]
    fn it_is_given_back() {
        // It is the thread's own.
        let seen = thread::spawn(|| {
            let before = now();
            let raised = Priority::raise();
            let (allowed, with) = (raised.is_some(), now());
            drop(raised);
            (before, allowed, with, now())
        });
        let (before, allowed, with, after) = seen.join().unwrap();
        assert_eq!((with != before, after), (allowed, before));
        let ahead = with.0.is_some_and(Scheduling::is_real_time) || with.1 < before.1;
        assert_eq!(ahead, allowed);
    }
}
