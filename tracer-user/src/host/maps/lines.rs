//! Lines of /proc/PID/maps, and what follows from one of them.
//!
//! In: the text, of which a part was chosen by the process. Out: mappings, and the load bias that one stands for. Opens
//! nothing.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::libc;

use crate::address::{FileOffset, LoadBias, RuntimeAddr, VAddr};

/// Most mappings looked at; the kernel's own default limit (`vm.max_map_count`) is 65,530.
pub const MAX_MAPPINGS: usize = 200_000;

/// Longest line: addresses and a path of 4,096 bytes, each of them written as `\012` at worst.
const MAX_LINE: u64 = 32 << 10;

/// One line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: RuntimeAddr,
    pub end: RuntimeAddr,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    pub offset: FileOffset,
    /// As `st_dev` has it. On overlay and btrfs it is the lower file system's and differs from it.
    pub dev: u64,
    /// 0 for anonymous memory.
    pub inode: u64,
    /// As heaptap sees it, ` (deleted)` included; `[heap]` and the like for special mappings.
    pub path: Option<PathBuf>,
}

/// Where the linker put an executable segment, and where it lies in the file (`p_vaddr`,
/// `p_offset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub vaddr: VAddr,
    pub offset: FileOffset,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Walked {
    /// All of them, this many.
    All(usize),
    Enough,
    TooMany,
    Malformed,
}

pub fn each_line(
    mut reader: impl BufRead,
    mut visit: impl FnMut(Mapping) -> ControlFlow<()>,
) -> io::Result<Walked> {
    let mut line = Vec::new();
    for count in 0..=MAX_MAPPINGS {
        line.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(Walked::All(count));
        }
        if count == MAX_MAPPINGS {
            break;
        }
        let whole = line.strip_suffix(b"\n");
        let Some(mapping) = whole.and_then(parse) else { return Ok(Walked::Malformed) };
        if visit(mapping).is_break() {
            return Ok(Walked::Enough);
        }
    }
    Ok(Walked::TooMany)
}

/// Reads `55d0-55d1 r-xp 00001000 fd:01 1234   /path` (fs/proc/task_mmu.c, `show_map_vma`). The
/// path begins after the padding and reaches to the end of the line, spaces included.
fn parse(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|b| *b != b' ')?;
        let end = rest[start..].iter().position(|b| *b == b' ').map_or(rest.len(), |n| start + n);
        let (found, tail) = (&rest[start..end], &rest[end..]);
        rest = tail;
        std::str::from_utf8(found).ok()
    };
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    let perms = field()?.as_bytes();
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let dev =
        libc::makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = field()?.parse().ok()?;
    let path = rest.iter().position(|b| *b != b' ').map(|start| unescape(&rest[start..]));
    Some(Mapping {
        start: RuntimeAddr(hex(start)?),
        end: RuntimeAddr(hex(end)?),
        readable: perms.first() == Some(&b'r'),
        writable: perms.get(1) == Some(&b'w'),
        executable: perms.get(2) == Some(&b'x'),
        offset: FileOffset(offset),
        dev,
        inode,
        path,
    })
}

/// The kernel writes a line break in a name as `\012` and leaves every other byte as it is
/// (`seq_file_path` with "\n").
fn unescape(path: &[u8]) -> PathBuf {
    const BREAK: &[u8] = b"\\012";
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = memchr::memmem::find(rest, BREAK) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.push(b'\n');
        rest = &rest[at + BREAK.len()..];
    }
    bytes.extend_from_slice(rest);
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// The bias, if this is where the segment's first page was mapped.
pub fn bias_of(mapping: &Mapping, segment: Segment, page: u64) -> Option<LoadBias> {
    let mask = !(page - 1);
    let skipped = (segment.offset.0 & mask).checked_sub(mapping.offset.0)?;
    let length = mapping.end.0.checked_sub(mapping.start.0)?;
    if !mapping.executable || skipped >= length {
        return None;
    }
    let start = mapping.start.0.checked_add(skipped)?;
    Some(LoadBias(start.wrapping_sub(segment.vaddr.0 & mask)))
}

/// The bias that each kind of segment would have there ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub fn any_bias(mapping: &Mapping) {
    for (vaddr, offset) in [(0, 0), (0x40_1000, 0x1000), (u64::MAX, u64::MAX)] {
        let segment = Segment { vaddr: VAddr(vaddr), offset: FileOffset(offset) };
        let _bias = bias_of(mapping, segment, 4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> (Walked, Vec<Mapping>) {
        let mut found = Vec::new();
        let walked = each_line(text, |mapping| {
            found.push(mapping);
            ControlFlow::Continue(())
        });
        (walked.unwrap(), found)
    }

    #[test]
    fn a_line_as_the_kernel_writes_it() {
        let line = b"7f2c1a000000-7f2c1a021000 r-xp 0001f000 fd:01 1835012                    /usr/lib/a b (deleted)\n";
        let (walked, found) = all(line);
        assert_eq!(walked, Walked::All(1));
        assert_eq!(
            found,
            [Mapping {
                start: RuntimeAddr(0x7f2c_1a00_0000),
                end: RuntimeAddr(0x7f2c_1a02_1000),
                readable: true,
                writable: false,
                executable: true,
                offset: FileOffset(0x1f000),
                dev: libc::makedev(0xfd, 1),
                inode: 1_835_012,
                path: Some("/usr/lib/a b (deleted)".into()),
            }]
        );
    }

    #[test]
    fn lines_without_a_path_and_with_odd_ones() {
        let text = b"00400000-00401000 ---p 00000000 00:00 0 \n\
                     ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n\
                     1000-2000 rw-s 00000000 00:1a 18446744073709551615 /a\\012b\\012\n\
                     2000-3000 rw-p 00000000 103:00005 7 /x\xff\\134 7f-80 r-xp 0 0:0 1 /y\n\
                     3000-4000 rw-p 00000000 00:00 0                  [anon: Go: heap]";
        let (walked, found) = all(text);
        // The last line has no end, so it may have been cut.
        assert_eq!(walked, Walked::Malformed);
        let paths: Vec<_> =
            found.iter().map(|m| m.path.as_ref().map(|p| p.as_os_str().as_bytes())).collect();
        assert_eq!(
            paths,
            [
                None,
                Some(&b"[vsyscall]"[..]),
                Some(b"/a\nb\n"),
                Some(b"/x\xff\\134 7f-80 r-xp 0 0:0 1 /y"),
            ]
        );
        assert_eq!(found[1].end, RuntimeAddr(0xffff_ffff_ff60_1000));
        assert_eq!(found[2].inode, u64::MAX);
        assert_eq!(found[3].dev, libc::makedev(0x103, 5));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            &b"\n"[..],
            b"1000 r-xp 0 0:0 1\n",
            b"1000-2000\n",
            b"1000-2000 r-xp\n",
            b"1000-2000 r-xp zz 0:0 1\n",
            b"1000-2000 r-xp 0 00 1\n",
            b"1000-2000 r-xp 0 0:0 x\n",
            b"11111111111111111-2 r-xp 0 0:0 1\n",
            b"\xff-\xfe r-xp 0 0:0 1\n",
        ] {
            assert_eq!(all(text).0, Walked::Malformed, "{}", String::from_utf8_lossy(text));
        }
        let long = [b"1-2 r-xp 0 0:0 1 /".to_vec(), vec![b'a'; 40_000], b"\n".to_vec()].concat();
        assert_eq!(all(&long).0, Walked::Malformed);
        assert_eq!(all(b"").0, Walked::All(0));
    }

    #[test]
    fn more_mappings_than_anybody_has_end_the_reading() {
        let line = b"1000-2000 r-xp 0 0:0 1\n";
        assert_eq!(all(&line.repeat(MAX_MAPPINGS)).0, Walked::All(MAX_MAPPINGS));
        assert_eq!(all(&line.repeat(MAX_MAPPINGS + 1)).0, Walked::TooMany);
    }

    fn mapping(start: u64, end: u64, offset: u64) -> Mapping {
        Mapping {
            start: RuntimeAddr(start),
            end: RuntimeAddr(end),
            readable: true,
            writable: false,
            executable: true,
            offset: FileOffset(offset),
            dev: 1,
            inode: 1,
            path: None,
        }
    }

    #[test]
    fn the_bias_follows_from_the_segments_first_page() {
        let segment = |vaddr, offset| Segment { vaddr: VAddr(vaddr), offset: FileOffset(offset) };
        let at = |m: Mapping, s| bias_of(&m, s, 4096).map(|b| b.0);
        // Linked at 0x400000 and position-independent, as Go's own linker does it.
        let text = mapping(0x5555_5540_0000, 0x5555_5550_0000, 0);
        assert_eq!(at(text.clone(), segment(0x40_0000, 0)), Some(0x5555_5500_0000));
        // The segment does not begin at a page.
        let text = mapping(0x7f00_0000_1000, 0x7f00_0000_9000, 0x1000);
        assert_eq!(at(text.clone(), segment(0x2abc, 0x1abc)), Some(0x7efff_ffff000));
        // Within a mapping that starts earlier.
        assert_eq!(at(text.clone(), segment(0x3000, 0x3000)), Some(0x7f00_0000_0000));
        // Outside of it, before and after; not executable; nonsense.
        assert_eq!(at(text.clone(), segment(0, 0)), None);
        assert_eq!(at(text.clone(), segment(0x9000, 0x9000)), None);
        assert_eq!(at(Mapping { executable: false, ..text }, segment(0x1000, 0x1000)), None);
        assert_eq!(at(mapping(0x2000, 0x1000, 0), segment(0, 0)), None);
        assert_eq!(at(mapping(u64::MAX - 1, u64::MAX, 0), segment(0, u64::MAX)), None);
    }
}
