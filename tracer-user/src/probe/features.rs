//! What this kernel lets heaptap do, found by doing it once with the smallest thing there is.
//!
//! In: a place in a file of heaptap's own to attach to. Out: for each feature whether it worked, or
//! the call that was refused and the kernel's error. Everything made is taken away again. The calls
//! are made without aya, whose errors do not tell which of several calls failed, and whose own
//! checks would hide what the kernel says.

use std::os::fd::AsFd as _;
use std::path::Path;

pub use super::syscall::Refused;
use super::syscall::{
    AttachType, MapKind, MultiSites, ProgramKind, c_path, create_map, link_multi, link_with_cookie,
    load, open_raw_tracepoint, open_uprobe,
};
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
    /// Many uprobes in one link (kernel 6.6): taken off at once, where perf events take 0.1 s each.
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

    /// Whether there is no recording without it. Links of many uprobes do what perf events do, and take
    /// CAP_BPF and CAP_PERFMON alone.
    pub fn is_required(self, has_links: bool) -> bool {
        match self {
            Feature::UprobeMulti => false,
            Feature::Uprobes | Feature::AttachCookies => !has_links,
            _ => true,
        }
    }
}

/// A ring buffer is a power of two and whole pages, of 4 or 64 KiB.
const RING_BYTES: u32 = 64 << 10;

/// `r0 = 0; exit`.
const PROGRAM: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

/// Tries a feature. `file` at `offset` must be executable code that nobody runs meanwhile but us.
///
/// # Errors
/// What the kernel refused.
pub fn try_out(feature: Feature, file: &Path, offset: FileOffset) -> Result<(), Refused> {
    let program = |kind, attach| load(kind, attach, c"heaptap_try", &PROGRAM);
    match feature {
        Feature::Programs => program(ProgramKind::Kprobe, AttachType::None).map(drop),
        Feature::HashMaps => create_map(MapKind::Hash, 8, 8, 1).map(drop),
        Feature::RingBuffers => create_map(MapKind::Ringbuf, 0, 0, RING_BYTES).map(drop),
        Feature::RawTracepoints => {
            let program = program(ProgramKind::RawTracepoint, AttachType::None)?;
            open_raw_tracepoint(&program).map(drop)
        }
        Feature::Uprobes => open_uprobe(&c_path(file)?, offset, None).map(drop),
        Feature::AttachCookies => {
            let program = program(ProgramKind::Kprobe, AttachType::None)?;
            let event = open_uprobe(&c_path(file)?, offset, None)?;
            link_with_cookie(program.as_fd(), &event, 1).map(drop)
        }
        Feature::UprobeMulti => {
            let program = program(ProgramKind::Kprobe, AttachType::UprobeMulti)?;
            let sites = MultiSites { offsets: &[offset.0], cookies: &[1], pid: 0 };
            link_multi(&program, &c_path(file)?, &sites).map(drop)
        }
    }
}
