//! Where a process has its file in memory.
//!
//! In: /proc/PID/maps and the place of a segment in the file. Out: mappings, and the load bias.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::libc;

use super::error::Error;
use super::exe::ExeFile;
use super::process::{Identity, dir};
use crate::address::{FileOffset, LoadBias, RuntimeAddr, VAddr};

/// Most mappings looked at; the kernel's own default limit (`vm.max_map_count`) is 65,530.
pub const MAX_MAPPINGS: usize = 200_000;

/// Longest line: addresses and a path of 4,096 bytes, each of them written as `\012` at worst.
const MAX_LINE: u64 = 32 << 10;

/// A process that is just being exec'd has its new file before its mappings (fs/exec.c,
/// `begin_new_exec`, and fs/binfmt_elf.c, `load_elf_binary`); how long and how often it is waited for.
const STARTING: Duration = Duration::from_millis(1);
const STARTS: u32 = 20;

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

/// Every mapping of a process, by ascending address.
///
/// # Errors
/// The process is gone or may not be looked at, or has more than [`MAX_MAPPINGS`].
pub fn mappings(pid: u32) -> Result<Vec<Mapping>, Error> {
    let mut all = Vec::new();
    walk(&dir(pid), pid, |mapping| {
        all.push(mapping);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Opens the file behind a mapping: the very one, whatever lies at its path now.
///
/// # Errors
/// The mapping is gone, it is of no regular file (opening a device may do things), or the privilege
/// is missing: CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
pub fn open_mapped(pid: u32, mapping: &Mapping) -> Result<File, Error> {
    let what = "mapped file";
    let error = |e: io::Error| Error::read(pid, what, &e);
    let name = format!("{:x}-{:x}", mapping.start.0, mapping.end.0);
    let path = dir(pid).join("map_files").join(name);
    if !std::fs::metadata(&path).map_err(error)?.is_file() {
        return Err(Error::Malformed { pid, what, detail: "it is no regular file" });
    }
    File::open(path).map_err(error)
}

/// What was added to the link-time addresses of `exe` in the process that it was opened through.
///
/// `segment` is the file's executable segment. The bias follows from the lowest executable mapping
/// that holds the segment's first page. Files are compared by device and inode, or by name where
/// the file system shows other numbers in maps than in `stat` (overlay, btrfs). Meaningful for
/// position-independent executables; for others it is 0 without looking.
///
/// # Errors
/// As for [`mappings`]; [`Error::NotMapped`]; [`Error::Replaced`] when the process has gone on to
/// another program since `exe` was opened.
pub fn load_bias(exe: &ExeFile, segment: Segment) -> Result<LoadBias, Error> {
    for _ in 0..STARTS {
        match look_for_bias(exe, segment) {
            Err(Error::NotMapped { .. }) => thread::sleep(STARTING),
            found => return found,
        }
    }
    look_for_bias(exe, segment)
}

fn look_for_bias(exe: &ExeFile, segment: Segment) -> Result<LoadBias, Error> {
    let Identity { pid, .. } = exe.process;
    let dir = dir(pid);
    let page = page_size();
    let mut bias = None;
    let walked = walk(&dir, pid, |mapping| {
        let named = || mapping.path.as_deref() == Some(exe.link());
        let same = (mapping.dev, mapping.inode) == exe.inode() || named();
        bias = same.then(|| bias_of(&mapping, segment, page)).flatten();
        if bias.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // Also before an error is told: the memory of a process that is gone has no mappings.
    if !exe.still_runs() {
        return Err(Error::Replaced { pid });
    }
    walked?;
    bias.ok_or_else(|| Error::NotMapped { pid, path: exe.path.clone() })
}

/// The bias, if this is where the segment's first page was mapped.
fn bias_of(mapping: &Mapping, segment: Segment, page: u64) -> Option<LoadBias> {
    let mask = !(page - 1);
    let skipped = (segment.offset.0 & mask).checked_sub(mapping.offset.0)?;
    let length = mapping.end.0.checked_sub(mapping.start.0)?;
    if !mapping.executable || skipped >= length {
        return None;
    }
    let start = mapping.start.0.checked_add(skipped)?;
    Some(LoadBias(start.wrapping_sub(segment.vaddr.0 & mask)))
}

pub(super) fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).filter(|s| s.is_power_of_two()).unwrap_or(4096)
}

/// Shows each mapping to `visit` until it has seen enough.
fn walk(dir: &Path, pid: u32, visit: impl FnMut(Mapping) -> ControlFlow<()>) -> Result<(), Error> {
    let error = |e: io::Error| Error::read(pid, "mappings", &e);
    let file = File::open(dir.join("maps")).map_err(error)?;
    match each_line(BufReader::with_capacity(64 << 10, file), visit).map_err(error)? {
        Walked::All(0) => Err(Error::Gone { pid }),
        Walked::All(_) | Walked::Enough => Ok(()),
        Walked::TooMany => Err(Error::TooManyMappings { pid, limit: MAX_MAPPINGS }),
        Walked::Malformed => {
            let (what, detail) = ("mappings", "a line has no address or is too long");
            Err(Error::Malformed { pid, what, detail })
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// All of them, this many.
    All(usize),
    Enough,
    TooMany,
    Malformed,
}

pub(super) fn each_line(
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

/// The bias that each kind of segment would have there ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub(super) fn any_bias(mapping: &Mapping) {
    for (vaddr, offset) in [(0, 0), (0x40_1000, 0x1000), (u64::MAX, u64::MAX)] {
        let segment = Segment { vaddr: VAddr(vaddr), offset: FileOffset(offset) };
        let _bias = bias_of(mapping, segment, page_size());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::exe::open_exe;
    use crate::host::process::tests::Sleeper;
    use std::os::unix::fs::MetadataExt;

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

    /// The segments of a real file, read by another library than the one under test.
    fn executable_segment(file: &File) -> (Segment, u64) {
        use object::read::elf::{ElfFile64, ProgramHeader};
        let mut data = Vec::new();
        (&*file).read_to_end(&mut data).unwrap();
        let elf = ElfFile64::<object::Endianness>::parse(&*data).unwrap();
        let endian = elf.endian();
        let header = elf
            .elf_program_headers()
            .iter()
            .find(|h| h.p_type(endian) == object::elf::PT_LOAD && h.p_flags(endian).0 & 1 != 0)
            .unwrap();
        let segment = Segment {
            vaddr: VAddr(header.p_vaddr(endian)),
            offset: FileOffset(header.p_offset(endian)),
        };
        (segment, elf.elf_header().e_entry.get(endian))
    }

    #[test]
    fn the_bias_of_a_child_is_the_one_its_loader_was_told() {
        let mut sleeper = Sleeper::start();
        let exe = open_exe(sleeper.pid()).unwrap();
        let (segment, entry) = executable_segment(&exe.file);
        let bias = load_bias(&exe, segment).unwrap();

        // AT_ENTRY (9) of the auxiliary vector is the entry point as mapped.
        let auxv = std::fs::read(format!("/proc/{}/auxv", sleeper.pid())).unwrap();
        let words: Vec<u64> =
            auxv.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        let at_entry = words.chunks_exact(2).find(|pair| pair[0] == 9).unwrap()[1];
        assert_eq!(bias.to_runtime(VAddr(entry)), RuntimeAddr(at_entry));

        // As root: what is behind the mapping is the file itself.
        let inode = |file: &File| file.metadata().unwrap().ino();
        let mapped = mappings(sleeper.pid()).unwrap();
        let text =
            mapped.iter().find(|m| m.executable && m.path == Some(exe.path.clone())).unwrap();
        match open_mapped(sleeper.pid(), text) {
            Ok(file) => assert_eq!(inode(&file), inode(&exe.file)),
            Err(error) => {
                assert!(error.is_permission() && !nix::unistd::geteuid().is_root(), "{error}");
            }
        }

        let wrong = Segment { vaddr: segment.vaddr, offset: FileOffset(1 << 40) };
        let error = load_bias(&exe, wrong).expect_err("no such segment");
        assert!(matches!(error, Error::NotMapped { .. }), "{error}");

        sleeper.end();
        let pid = sleeper.pid();
        assert_eq!(load_bias(&exe, segment), Err(Error::Replaced { pid }));
        assert_eq!(mappings(pid), Err(Error::Gone { pid }));
    }
}
