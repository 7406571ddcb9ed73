//! Where a process has its file in memory.
//!
//! In: /proc/PID/maps and the place of a segment in the file. Out: mappings, and the load bias.

mod lines;

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::Error;
use super::exe::ExeFile;
use super::process::{Identity, dir};
use crate::address::LoadBias;

#[cfg(any(test, fuzzing))]
pub(super) use lines::any_bias;
pub(super) use lines::each_line;
pub use lines::{MAX_MAPPINGS, Mapping, Segment};
use lines::{Walked, bias_of};

/// A process that is just being exec'd has its new file before its mappings (fs/exec.c,
/// `begin_new_exec`, and fs/binfmt_elf.c, `load_elf_binary`); how long and how often it is waited for.
const STARTING: Duration = Duration::from_millis(1);
const STARTS: u32 = 20;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{FileOffset, RuntimeAddr, VAddr};
    use crate::host::exe::open_exe;
    use crate::host::process::tests::Sleeper;
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt;

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
