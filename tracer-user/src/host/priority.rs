//! This thread's share of a busy CPU.

use nix::libc;

/// A higher one than usual, until it is dropped.
#[derive(Debug)]
pub struct Priority {
    /// The nice value before.
    before: libc::c_int,
}

/// Nice value of somebody who has little to do, and that soon.
const PROMPT: libc::c_int = -10;

impl Priority {
    /// Raises it, where that is allowed (CAP_SYS_NICE).
    pub fn raise() -> Option<Self> {
        // SAFETY: the call takes integers; 0 is the calling thread.
        let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        set(PROMPT.min(before)).then_some(Self { before })
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        set(self.before);
    }
}

fn set(nice: libc::c_int) -> bool {
    // SAFETY: as above.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn nice() -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn it_is_given_back() {
        // It is the thread's own.
        let seen = thread::spawn(|| {
            let before = nice();
            let raised = Priority::raise();
            let (allowed, with) = (raised.is_some(), nice());
            drop(raised);
            (before, allowed, with, nice())
        });
        let (before, allowed, with, after) = seen.join().unwrap();
        assert_eq!((with < before, after), (allowed, before));
    }
}
