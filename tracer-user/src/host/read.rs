//! Bounded reads and the few texts of /proc that every caller needs: `stat` and `status`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Longest small file: `status` of a process in 65,536 groups has 0.7 MiB.
const LIMIT: u64 = 1 << 20;

/// Room for nearly all of them.
const USUAL: usize = 4 << 10;

/// Flag of a kernel thread in `stat` (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x0020_0000;

/// Reads a small file; what lies beyond 1 MiB is left out.
pub(super) fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Most are smaller: one read for all of it, and one that says that it is all.
    let mut bytes = Vec::with_capacity(USUAL);
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A small file that is read again and again: opening and closing it is half of what reading it takes. Only for those
/// that the kernel gives in one piece, as `status` and `cgroup` of a process.
#[derive(Debug)]
pub(super) struct Again(File);

impl Again {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// What it says now; what lies beyond 1 MiB is left out.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; USUAL];
        let mut len = 0;
        loop {
            let read = self.0.read_at(&mut bytes[len..], len as u64)?;
            len += read;
            // All of the piece, which was smaller than the room for it.
            if len < bytes.len() || len as u64 >= LIMIT {
                bytes.truncate(len);
                return Ok(bytes);
            }
            bytes.resize(2 * len, 0);
        }
    }
}

/// A small file as text, trimmed; nothing when it can't be read.
pub(super) fn text(path: &str) -> Option<String> {
    let bytes = bounded(Path::new(path)).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What is taken from /proc/PID/stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    pub comm: &'a [u8],
    pub state: u8,
    pub parent: u32,
    pub kernel_thread: bool,
    /// Clock ticks since boot.
    pub start: u64,
    /// Clock ticks that it has taken, in the kernel too.
    pub taken: u64,
}

impl<'a> Stat<'a> {
    /// Reads the one line. The name may hold anything, parentheses and line breaks included; it
    /// ends at the last parenthesis, because numbers follow (fs/proc/array.c, `do_task_stat`).
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, &'static str> {
        let open = line.iter().position(|b| *b == b'(').ok_or("no name")?;
        let close = line.iter().rposition(|b| *b == b')').ok_or("no name")?;
        let comm = line.get(open + 1..close).ok_or("no name")?;
        let rest = std::str::from_utf8(&line[close + 1..]).map_err(|_| "not a number")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered as in proc(5), where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied().ok_or("too few fields");
        let number = |n: usize| field(n)?.parse::<u64>().map_err(|_| "not a number");
        Ok(Self {
            comm,
            state: field(3)?.bytes().next().ok_or("no state")?,
            parent: u32::try_from(number(4)?).map_err(|_| "not a number")?,
            kernel_thread: number(9)? & PF_KTHREAD != 0,
            start: number(22)?,
            taken: number(14)?.saturating_add(number(15)?),
        })
    }

    /// Whether nothing is left of the process but its entry.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// What is taken from /proc/PID/status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub tgid: Option<u32>,
    /// Effective user id.
    pub uid: Option<u32>,
    /// Process ids from the reader's pid namespace down to the process's own.
    pub ns_pids: Vec<u32>,
    /// Effective capabilities, as a mask.
    pub capabilities: Option<u64>,
    /// 0 off, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
}

impl Status {
    /// Reads `Key:\tvalue` lines; the kernel escapes line breaks in the name (`proc_task_name`).
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut status = Self::default();
        for line in text.split(|b| *b == b'\n') {
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let (key, value) = (&line[..colon], &line[colon + 1..]);
            let mut words = std::str::from_utf8(value).unwrap_or_default().split_ascii_whitespace();
            match key {
                b"Tgid" => status.tgid = words.next().and_then(|w| w.parse().ok()),
                b"Uid" => status.uid = words.nth(1).and_then(|w| w.parse().ok()),
                // The kernel allows 32 nested namespaces.
                b"NSpid" => {
                    status.ns_pids = words.take(33).filter_map(|w| w.parse().ok()).collect()
                }
                b"CapEff" => {
                    status.capabilities =
                        words.next().and_then(|w| u64::from_str_radix(w, 16).ok());
                }
                b"Seccomp" => status.seccomp = words.next().and_then(|w| w.parse().ok()),
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, state: char, flags: u64) -> Vec<u8> {
        format!(
            "4242 ({name}) {state} 1 4242 4242 0 -1 {flags} 100 0 0 0 5 6 0 0 20 0 9 0 123456789 \
             1000 200 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
        )
        .into_bytes()
    }

    #[test]
    fn stat_with_every_kind_of_name() {
        for name in ["bash", "a b", "a) S 1 (b", ")", "(", "", "x\ny", "a)\n1 (b) Z 9", "é"] {
            let line = stat(name, 'S', 0x40_0000);
            let stat = Stat::parse(&line).unwrap();
            assert_eq!(stat.comm, name.as_bytes());
            assert_eq!((stat.state, stat.kernel_thread, stat.start), (b'S', false, 123_456_789));
            assert_eq!(stat.taken, 11);
        }
    }

    #[test]
    fn kernel_threads_and_zombies_are_known() {
        assert!(Stat::parse(&stat("kthreadd", 'S', 0x0020_8040)).unwrap().kernel_thread);
        assert!(Stat::parse(&stat("sh", 'Z', 0x40_400c)).unwrap().is_dead());
        assert!(!Stat::parse(&stat("sh", 'D', 0)).unwrap().is_dead());
    }

    #[test]
    fn a_stat_that_is_not_one_is_refused() {
        for line in [
            &b""[..],
            b"1",
            b"1 (a",
            b"1 a)",
            b")(",
            b"1 (a)",
            b"1 (a) S 1 1 1",
            b"1 (a) S 1 1 1 0 -1 x 100 0 0 0 5 6 0 0 20 0 9 0 1 1",
            b"1 (a) S 1 1 1 0 -1 0 100 0 0 0 5 6 0 0 20 0 9 0 99999999999999999999999 1",
            b"1 (a) \xff\xff",
        ] {
            assert!(Stat::parse(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn status_of_a_process_two_namespaces_down() {
        let text = b"Name:\tapi\\nUid:\t7\nTgid:\t4242\nPid:\t4242\nUid:\t1000\t0\t0\t0\n\
                     NSpid:\t4242\t17\t1\nCapEff:\t000001ffffffffff\nSeccomp:\t2\nGroups:\t\xff\n";
        assert_eq!(
            Status::parse(text),
            Status {
                tgid: Some(4242),
                uid: Some(0),
                ns_pids: vec![4242, 17, 1],
                capabilities: Some(0x1ff_ffff_ffff),
                seccomp: Some(2),
            }
        );
    }

    #[test]
    fn a_status_of_garbage_says_nothing() {
        assert_eq!(Status::parse(b""), Status::default());
        assert_eq!(
            Status::parse(b"Uid:\nTgid:\t-1\nCapEff:\tzz\nNSpid:\tx y\n::\n"),
            Status::default()
        );
        let many = format!("NSpid:{}", "\t1".repeat(100_000));
        assert_eq!(Status::parse(many.as_bytes()).ns_pids.len(), 33);
    }
}
