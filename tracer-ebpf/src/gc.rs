//! Probe `gc`: a collection has ended. At P of `runtime.mProf_Flush`, which the end of each collection
//! calls when all is written down, and before it lets the next one begin (mgc.go, gcMarkTermination).

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use tracer_common::{Counter, collection::Collection};

use crate::{
    count::count,
    maps::{COLLECTIONS, COLLECTORS},
    target::selected,
};

/// Nobody is woken for each: the loader looks often enough (BPF_RB_NO_WAKEUP).
const NO_WAKEUP: u64 = 1;

#[uprobe]
pub fn gc(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let Some(places) = COLLECTORS.get_ptr(hit.image) else {
        count(Counter::CollectionUnread);
        return 0;
    };
    let Some(mut entry) = COLLECTIONS.reserve::<Collection>(0) else {
        count(Counter::CollectionsFull);
        return 0;
    };
    let collection = entry.as_mut_ptr();
    // SAFETY: a value of the map, and room for one record, of which each field is written before
    // anybody sees it.
    let read = unsafe {
        (*collection).image = hit.image;
        (*collection)._pad = 0;
        read(&raw mut (*collection).end_unix_ns, (*places).end_unix)
            && read(&raw mut (*collection).counters, (*places).counters)
            && read(&raw mut (*collection).work, (*places).work)
            && read(&raw mut (*collection).controller, (*places).controller)
    };
    if read {
        entry.submit(NO_WAKEUP);
    } else {
        entry.discard(NO_WAKEUP);
        count(Counter::CollectionUnread);
    }
    0
}

/// Fills `into` from an address of the process.
///
/// # Safety
/// `into` must be valid for writes.
#[inline(always)]
unsafe fn read<T>(into: *mut T, at: u64) -> bool {
    // SAFETY: the helper checks the source and writes one T at most.
    unsafe { bpf_probe_read_user(into.cast(), size_of::<T>() as u32, at as *const _) == 0 }
}
