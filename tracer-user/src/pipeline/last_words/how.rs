//! How a process has ended.
//!
//! In: its exit code as the kernel keeps it, and whether the kernel has chosen it because memory had run out. Out:
//! what that is called, and whether it needs last words.

use nix::libc;
use nix::sys::signal::Signal;

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Killed by the kernel because memory had run out.
    OutOfMemory,
    Signal(i32),
    /// By itself.
    Status(u8),
    Unknown,
}

/// What a program ends with that panics, or that its runtime ends (`runtime.throw`).
const GO_FATAL: u8 = 2;

impl How {
    /// `code` is that of wait(2).
    pub fn of(code: Option<u32>, was_chosen: bool) -> Self {
        match code {
            // It could also have been killed by something else; it was chosen for its memory.
            _ if was_chosen => How::OutOfMemory,
            None => How::Unknown,
            Some(code) => match code & 0x7f {
                0 => How::Status((code >> 8) as u8),
                signal => How::Signal(signal as i32),
            },
        }
    }

    /// Whether somebody has killed it, be it the kernel.
    pub fn is_kill(self) -> bool {
        self == How::Signal(libc::SIGKILL)
    }

    /// Whether that is how programs end when all is well, or when somebody asks them to.
    pub fn is_ordinary(self) -> bool {
        let asked = [
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGPIPE,
            libc::SIGALRM,
            libc::SIGUSR1,
        ];
        match self {
            How::Status(status) => status == 0,
            How::Signal(signal) => asked.contains(&signal) || signal == libc::SIGUSR2,
            How::OutOfMemory | How::Unknown => false,
        }
    }

    /// Stable word of the documents.
    pub fn word(self) -> &'static str {
        match self {
            How::OutOfMemory => "oom",
            How::Signal(_) => "signal",
            How::Status(_) => "exit",
            How::Unknown => "unknown",
        }
    }

    /// `was killed by the kernel: out of memory`.
    pub fn text(self) -> String {
        match self {
            How::OutOfMemory => "was killed by the kernel: out of memory".to_owned(),
            How::Signal(signal) => {
                let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
                format!("was ended by {name} ({signal})")
            }
            How::Status(GO_FATAL) => {
                "ended with status 2, as after a panic or a fatal error of the runtime".to_owned()
            }
            How::Status(status) => format!("ended with status {status}"),
            How::Unknown => "ended; the kernel did not tell how".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_wait() {
        assert_eq!(How::of(Some(0), false), How::Status(0));
        assert_eq!(How::of(Some(2 << 8), false), How::Status(2));
        assert_eq!(How::of(Some(9), false), How::Signal(9));
        // With a core.
        assert_eq!(How::of(Some(0x86), false), How::Signal(6));
        assert_eq!(How::of(Some(9), true), How::OutOfMemory);
        assert_eq!(How::of(None, true), How::OutOfMemory);
        assert_eq!(How::of(None, false), How::Unknown);
    }

    #[test]
    fn who_was_asked_to_end_has_no_last_words() {
        let ordinary = [How::Status(0), How::Signal(15), How::Signal(2)];
        let others =
            [How::Status(1), How::Signal(9), How::Signal(11), How::OutOfMemory, How::Unknown];
        assert!(ordinary.iter().all(|how| how.is_ordinary()));
        assert!(others.iter().all(|how| !how.is_ordinary()));
        assert_eq!(How::Signal(9).text(), "was ended by SIGKILL (9)");
    }
}
