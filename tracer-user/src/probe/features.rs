//! What this kernel lets heaptap do, found by doing it once with the smallest thing there is.
//!
//! In: a place in a file of heaptap's own to attach to. Out: for each feature whether it worked, or
//! the call that was refused and the kernel's error. Everything made is taken away again. The calls
//! are made without aya, whose errors do not tell which of several calls failed, and whose own
//! checks would hide what the kernel says.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use crate::address::FileOffset;

/// Something that recording uses, or would use if it were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// bpf(2) takes a program.
    Programs,
    /// Hash tables.
    HashMaps,
    /// Ring buffers (kernel 5.8).
    RingBuffers,
    /// Raw tracepoints: how execs and exits are seen.
    RawTracepoints,
    /// Uprobes through perf events.
    Uprobes,
    /// A number of ours with each attached probe (kernel 5.15).
    AttachCookies,
    /// Many uprobes in one link (kernel 6.6). Not used yet.
    UprobeMulti,
}

impl Feature {
    pub const ALL: [Feature; 7] = [
        Feature::Programs,
        Feature::HashMaps,
        Feature::RingBuffers,
        Feature::RawTracepoints,
        Feature::Uprobes,
        Feature::AttachCookies,
        Feature::UprobeMulti,
    ];

    /// Whether there is no recording without it.
    pub fn is_required(self) -> bool {
        self != Feature::UprobeMulti
    }
}

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

/// Tries a feature. `file` at `offset` must be executable code that nobody runs meanwhile but us.
///
/// # Errors
/// What the kernel refused.
pub fn try_out(feature: Feature, file: &Path, offset: FileOffset) -> Result<(), Refused> {
    match feature {
        Feature::Programs => load(PROG_KPROBE, 0).map(drop),
        Feature::HashMaps => create_map(MAP_HASH, 8, 8, 1).map(drop),
        Feature::RingBuffers => create_map(MAP_RINGBUF, 0, 0, RING_BYTES).map(drop),
        Feature::RawTracepoints => {
            let program = load(PROG_RAW_TRACEPOINT, 0)?;
            open_raw_tracepoint(&program).map(drop)
        }
        Feature::Uprobes => open_uprobe(file, offset).map(drop),
        Feature::AttachCookies => {
            let program = load(PROG_KPROBE, 0)?;
            let event = open_uprobe(file, offset)?;
            link_with_cookie(&program, &event).map(drop)
        }
        Feature::UprobeMulti => {
            let program = load(PROG_KPROBE, ATTACH_UPROBE_MULTI)?;
            link_multi(&program, file, offset).map(drop)
        }
    }
}

// Numbers of include/uapi/linux/bpf.h.
const CMD_MAP_CREATE: libc::c_long = 0;
const CMD_PROG_LOAD: libc::c_long = 5;
const CMD_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const CMD_LINK_CREATE: libc::c_long = 28;
const MAP_HASH: u32 = 1;
const MAP_RINGBUF: u32 = 27;
const PROG_KPROBE: u32 = 2;
const PROG_RAW_TRACEPOINT: u32 = 17;
const ATTACH_PERF_EVENT: u32 = 41;
const ATTACH_UPROBE_MULTI: u32 = 48;

/// A ring buffer is a power of two and whole pages, of 4 or 64 KiB.
const RING_BYTES: u32 = 64 << 10;

/// `r0 = 0; exit`.
const PROGRAM: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

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

fn create_map(
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
) -> Result<OwnedFd, Refused> {
    let attr = MapCreate { kind, key_size, value_size, max_entries };
    // SAFETY: MAP_CREATE reads these integers and follows no pointer.
    unsafe { bpf("bpf(BPF_MAP_CREATE)", CMD_MAP_CREATE, &attr) }
}

fn load(kind: u32, expected_attach_type: u32) -> Result<OwnedFd, Refused> {
    let license = c"GPL";
    let attr = ProgLoad {
        kind,
        instructions: PROGRAM.len() as u32,
        code: PROGRAM.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
        // Kernels before 5.0 want their own version here; they are too old for the rest anyway.
        kernel_version: 0,
        flags: 0,
        name: *b"heaptap_try\0\0\0\0\0",
        interface: 0,
        expected_attach_type,
    };
    // SAFETY: the two pointers are to statics, of the lengths given (the license ends in 0).
    unsafe { bpf("bpf(BPF_PROG_LOAD)", CMD_PROG_LOAD, &attr) }
}

fn open_raw_tracepoint(program: &OwnedFd) -> Result<OwnedFd, Refused> {
    let name = c"sched_process_exec";
    let attr = RawTracepointOpen { name: name.as_ptr() as u64, program: number(program), pad: 0 };
    // SAFETY: the name is a static that ends in 0.
    unsafe { bpf("bpf(BPF_RAW_TRACEPOINT_OPEN)", CMD_RAW_TRACEPOINT_OPEN, &attr) }
}

fn link_with_cookie(program: &OwnedFd, event: &OwnedFd) -> Result<OwnedFd, Refused> {
    let attr = LinkPerfEvent {
        program: number(program),
        event: number(event),
        attach_type: ATTACH_PERF_EVENT,
        flags: 0,
        cookie: 1,
    };
    // SAFETY: LINK_CREATE of this type reads these integers and follows no pointer.
    unsafe { bpf("bpf(BPF_LINK_CREATE)", CMD_LINK_CREATE, &attr) }
}

fn link_multi(program: &OwnedFd, file: &Path, offset: FileOffset) -> Result<OwnedFd, Refused> {
    let path = c_path(file)?;
    let offsets = [offset.0];
    let attr = LinkUprobeMulti {
        program: number(program),
        target: 0,
        attach_type: ATTACH_UPROBE_MULTI,
        flags: 0,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        reference_counts: 0,
        cookies: 0,
        count: 1,
        multi_flags: 0,
        pid: 0,
        pad: 0,
    };
    // SAFETY: the path ends in 0, the array has `count` elements, and both live until the call
    // returns.
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

/// Installs a uprobe in every process that maps the file, as recording does.
fn open_uprobe(file: &Path, offset: FileOffset) -> Result<OwnedFd, Refused> {
    let call = "read /sys/bus/event_source/devices/uprobe/type";
    // Without it the kernel was built without CONFIG_UPROBE_EVENTS.
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type");
    let kind = kind.map_err(|e| Refused { call, errno: errno_of(&e) })?;
    let kind = kind.trim().parse().map_err(|_| Refused { call, errno: Errno::EINVAL })?;
    let path = c_path(file)?;
    let attr = PerfEventAttr {
        kind,
        size: size_of::<PerfEventAttr>() as u32,
        config: 0,
        unused: [0; 5],
        path: path.as_ptr() as u64,
        offset: offset.0,
    };
    let (every_process, cpu, no_group): (libc::c_long, libc::c_long, libc::c_long) = (-1, 0, -1);
    // SAFETY: the attributes are initialised for the length they state, and the path lives until
    // the call returns.
    let fd = unsafe {
        let number = libc::SYS_perf_event_open;
        libc::syscall(number, &attr, every_process, cpu, no_group, PERF_FLAG_FD_CLOEXEC)
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

fn c_path(path: &Path) -> Result<CString, Refused> {
    let call = "the path of heaptap's own file";
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
