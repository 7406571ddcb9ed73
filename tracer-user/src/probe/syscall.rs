//! bpf(2) and perf_event_open(2) without aya: for what aya can't do (links of many uprobes, copies of
//! tables in batches) and for
//! finding out what the kernel says (aya's errors do not tell which of several calls failed).
//!
//! In: integers, instructions, paths. Out: descriptors, entries of tables, or the call that was
//! refused and why.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::mem::{size_of, size_of_val};
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use aya::Pod;
use aya_obj::generated::bpf_prog_info;
use nix::errno::Errno;
use nix::libc;

use crate::address::FileOffset;

/// A call that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct Refused {
    pub call: &'static str,
    pub errno: Errno,
}

impl Refused {
    /// Whether a privilege is missing; otherwise the kernel can't do it.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Errno::EPERM | Errno::EACCES)
    }
}

// Numbers of include/uapi/linux/bpf.h.
const CMD_MAP_CREATE: libc::c_long = 0;
const CMD_PROG_LOAD: libc::c_long = 5;
const CMD_MAP_LOOKUP_BATCH: libc::c_long = 24;
const CMD_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const CMD_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const CMD_LINK_CREATE: libc::c_long = 28;

/// `enum bpf_map_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum MapKind {
    Hash = 1,
    Ringbuf = 27,
}

/// `enum bpf_prog_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum ProgramKind {
    Kprobe = 2,
    RawTracepoint = 17,
}

/// `enum bpf_attach_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum AttachType {
    None = 0,
    PerfEvent = 41,
    UprobeMulti = 48,
}

// The first members of `union bpf_attr`, each without what it does not use: the kernel takes what
// is not given as zero.

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct ProgLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct RawTracepointOpen {
    name: u64,
    program: u32,
    pad: u32,
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
struct LinkPerfEvent {
    program: u32,
    event: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

#[repr(C)]
struct LinkUprobeMulti {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counts: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    pad: u32,
}

#[repr(C)]
struct MapBatch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Where in a table the next batch begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(Option<u32>);

/// Copies the next entries of a hash table, at most `room`; says whether they are the last.
pub fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    room: usize,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> Result<bool, Refused> {
    (*keys, *values) = (Vec::with_capacity(room), Vec::with_capacity(room));
    let mut next = 0u32;
    let mut attr = MapBatch {
        from: cursor.0.as_ref().map_or(0, |from| from as *const u32 as u64),
        next: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: room as u32,
        map: map.as_raw_fd().unsigned_abs(),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: both buffers have room for `count` elements of the table's own sizes, which aya has
    // compared with K and V; `from` and `next` are words that live until the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, CMD_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<MapBatch>())
    };
    let last = result < 0;
    if last && Errno::last() != Errno::ENOENT {
        return Err(Refused { call: "bpf(BPF_MAP_LOOKUP_BATCH)", errno: Errno::last() });
    }
    let count = (attr.count as usize).min(room);
    // SAFETY: the kernel has written `count` elements of plain data.
    unsafe {
        keys.set_len(count);
        values.set_len(count);
    }
    cursor.0 = Some(next);
    Ok(last)
}

/// Creates a map.
pub fn create_map(
    kind: MapKind,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
) -> Result<OwnedFd, Refused> {
    let attr = MapCreate { kind: kind as u32, key_size, value_size, max_entries };
    // SAFETY: MAP_CREATE reads these integers and follows no pointer.
    unsafe { bpf("bpf(BPF_MAP_CREATE)", CMD_MAP_CREATE, &attr) }
}

/// Loads a program. Its license is that of heaptap's kernel programs; `name` is at most 15 bytes.
pub fn load(
    kind: ProgramKind,
    expected: AttachType,
    name: &CStr,
    instructions: &[u64],
) -> Result<OwnedFd, Refused> {
    let license = c"GPL";
    let mut short = [0; 16];
    for (to, from) in short[..15].iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    let attr = ProgLoad {
        kind: kind as u32,
        instructions: instructions.len() as u32,
        code: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
        // Kernels before 5.0 want their own version here; they are too old for the rest anyway.
        kernel_version: 0,
        flags: 0,
        name: short,
        interface: 0,
        expected_attach_type: expected as u32,
    };
    // SAFETY: the license is a static that ends in 0; the instructions are as many as stated and
    // live until the call returns.
    unsafe { bpf("bpf(BPF_PROG_LOAD)", CMD_PROG_LOAD, &attr) }
}

/// Attaches a raw tracepoint program to `sched_process_exec`.
pub fn open_raw_tracepoint(program: &OwnedFd) -> Result<OwnedFd, Refused> {
    let name = c"sched_process_exec";
    let attr = RawTracepointOpen { name: name.as_ptr() as u64, program: number(program), pad: 0 };
    // SAFETY: the name is a static that ends in 0.
    unsafe { bpf("bpf(BPF_RAW_TRACEPOINT_OPEN)", CMD_RAW_TRACEPOINT_OPEN, &attr) }
}

/// How often the kernel did not run a program because it was running already on that CPU. Kernels before 5.12 count
/// nothing.
pub fn recursion_misses(program: BorrowedFd<'_>) -> Result<u64, Refused> {
    // SAFETY: all of it is numbers and arrays of them.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = InfoByFd {
        fd: program.as_raw_fd().unsigned_abs(),
        len: size_of::<bpf_prog_info>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: `info` has the length that is given and lives until the call returns; it is zero, so that the kernel
    // follows no pointer in it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, CMD_OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<InfoByFd>())
    };
    match result {
        0 => Ok(info.recursion_misses),
        _ => Err(Refused { call: "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno: Errno::last() }),
    }
}

/// Lets a program run at each hit of a perf event, with a number of ours.
pub fn link_with_cookie(
    program: BorrowedFd<'_>,
    event: &OwnedFd,
    cookie: u64,
) -> Result<OwnedFd, Refused> {
    let attr = LinkPerfEvent {
        program: program.as_raw_fd().unsigned_abs(),
        event: number(event),
        attach_type: AttachType::PerfEvent as u32,
        flags: 0,
        cookie,
    };
    // SAFETY: LINK_CREATE of this type reads these integers and follows no pointer.
    unsafe { bpf("bpf(BPF_LINK_CREATE)", CMD_LINK_CREATE, &attr) }
}

/// Sites of one file for one link.
pub struct MultiSites<'a> {
    pub offsets: &'a [u64],
    /// One for each offset.
    pub cookies: &'a [u64],
    /// The only process that takes the trap, or 0 for all.
    pub pid: u32,
}

/// Attaches a program to many sites of a file at once.
pub fn link_multi(
    program: &OwnedFd,
    file: &CStr,
    sites: &MultiSites<'_>,
) -> Result<OwnedFd, Refused> {
    let attr = LinkUprobeMulti {
        program: number(program),
        target: 0,
        attach_type: AttachType::UprobeMulti as u32,
        flags: 0,
        path: file.as_ptr() as u64,
        offsets: sites.offsets.as_ptr() as u64,
        reference_counts: 0,
        cookies: sites.cookies.as_ptr() as u64,
        count: sites.offsets.len().min(sites.cookies.len()) as u32,
        multi_flags: 0,
        pid: sites.pid,
        pad: 0,
    };
    // SAFETY: the path ends in 0, both arrays have at least `count` elements, and all live until the
    // call returns.
    unsafe { bpf("bpf(BPF_LINK_CREATE)", CMD_LINK_CREATE, &attr) }
}

/// Calls bpf(2) for a file descriptor.
///
/// # Safety
/// `attr` must begin like the member of `union bpf_attr` that `command` reads, and what it points
/// to must be as long as it says.
unsafe fn bpf<T>(call: &'static str, command: libc::c_long, attr: &T) -> Result<OwnedFd, Refused> {
    // SAFETY: `attr` is initialised for its whole length, which is given; the rest is the caller's
    // promise.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of_val(attr)) };
    owned(call, fd)
}

/// Waits until every kernel program is over that runs now: programs run inside of RCU, and this
/// command of membarrier(2) waits for it (kernel/sched/membarrier.c). Takes some milliseconds.
///
/// # Errors
/// A kernel with CPUs that have no tick (nohz_full) does not offer it.
pub fn wait_for_programs() -> Result<(), Refused> {
    let (global, flags, cpu): (libc::c_long, libc::c_long, libc::c_long) = (1, 0, 0);
    // SAFETY: the call takes integers only.
    match unsafe { libc::syscall(libc::SYS_membarrier, global, flags, cpu) } {
        0 => Ok(()),
        _ => Err(Refused { call: "membarrier", errno: Errno::last() }),
    }
}

const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// The first fields of `struct perf_event_attr` (include/uapi/linux/perf_event.h), 72 bytes.
#[repr(C)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    /// Period, sample type, read format, flags, wake-up and breakpoint type: unused.
    unused: [u64; 5],
    /// config1: the path of the file.
    path: u64,
    /// config2: the offset in it.
    offset: u64,
}

const _: () = {
    assert!(size_of::<PerfEventAttr>() == 72);
    assert!(size_of::<ProgLoad>() == 72);
    assert!(size_of::<LinkUprobeMulti>() == 64);
};

/// Installs a uprobe in every process that maps the file, or in one.
pub fn open_uprobe(
    path: &CStr,
    offset: FileOffset,
    who: Option<NonZeroU32>,
) -> Result<OwnedFd, Refused> {
    let call = "read /sys/bus/event_source/devices/uprobe/type";
    // Without it the kernel was built without CONFIG_UPROBE_EVENTS.
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type");
    let kind = kind.map_err(|e| Refused { call, errno: errno_of(&e) })?;
    let kind = kind.trim().parse().map_err(|_| Refused { call, errno: Errno::EINVAL })?;
    let attr = PerfEventAttr {
        kind,
        size: size_of::<PerfEventAttr>() as u32,
        config: 0,
        unused: [0; 5],
        path: path.as_ptr() as u64,
        offset: offset.0,
    };
    // On one processor for everybody, on all for one.
    let (who, cpu): (libc::c_long, libc::c_long) = match who {
        Some(pid) => (pid.get().into(), -1),
        None => (-1, 0),
    };
    let no_group: libc::c_long = -1;
    // SAFETY: the attributes are initialised for the length they state, and the path lives until
    // the call returns.
    let fd = unsafe {
        let number = libc::SYS_perf_event_open;
        libc::syscall(number, &attr, who, cpu, no_group, PERF_FLAG_FD_CLOEXEC)
    };
    owned("perf_event_open(uprobe)", fd)
}

fn owned(call: &'static str, fd: libc::c_long) -> Result<OwnedFd, Refused> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Refused { call, errno: Errno::last() }),
    }
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// A path as the kernel takes it.
pub fn c_path(path: &Path) -> Result<CString, Refused> {
    let call = "a path";
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Refused { call, errno: Errno::EINVAL })
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_whether_a_privilege_would_help() {
        let refused = |errno| Refused { call: "bpf(BPF_PROG_LOAD)", errno };
        assert!(refused(Errno::EPERM).is_permission() && refused(Errno::EACCES).is_permission());
        assert!(!refused(Errno::EINVAL).is_permission() && !refused(Errno::ENOSYS).is_permission());
        let line = refused(Errno::EPERM).to_string();
        assert_eq!(line, "bpf(BPF_PROG_LOAD): EPERM: Operation not permitted");
    }

    #[test]
    fn a_path_with_a_zero_byte_is_refused() {
        assert!(c_path(Path::new("a\0b")).is_err());
    }
}
