//! The goroutine's profiler labels (`pprof.Do`), when stacks are to be split by them.
//!
//! Their texts are copied at the event: labels are ordinary objects of the program, and when the
//! recording ends their memory has been another's for long. What is kept is found by the hash of the
//! texts, not by an address, for the same reason.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::{
    Counter,
    record::{LABEL_TEXT, LABELS_LIST, Labels, LabelsKey, MAX_LABELS},
};

use crate::{
    bound::at_most,
    count::count,
    maps::{BY_LABELS, LABELS},
    regs::Regs,
    scratch::Owned,
    target::{Hit, read_word},
};

/// A small map's bucket (runtime/map.go, bmap): a byte for each of 8 slots, 8 keys, 8 values.
const BUCKET: usize = 8 + 8 * 16 + 8 * 16;
/// From here on a slot's byte says that it is used (runtime/map.go, minTopHash).
const USED: u64 = 5;

/// The hash that the labels are kept under; 0 when there are none or they are not wanted.
#[inline(always)]
pub fn of(hit: &Hit, regs: &Regs) -> u64 {
    if BY_LABELS.load() == 0 {
        return 0;
    }
    let field = regs.g.wrapping_add(hit.process.g_labels as u64);
    let at = match read_word(field) {
        Some(0) => return 0,
        Some(at) => at,
        None => {
            count(Counter::LabelsUnread);
            return 0;
        }
    };
    let Some(mut owned) = Owned::take() else { return 0 };
    let scratch = owned.get();
    let is_list = hit.process.labels_are == LABELS_LIST;
    let read =
        if is_list { list(at, &mut scratch.window) } else { bucket(at, &mut scratch.window) };
    let Some(entries) = read else {
        count(Counter::LabelsUnread);
        return 0;
    };
    if entries > MAX_LABELS as u64 {
        count(Counter::LabelsLeftOut);
    }
    let labels = &mut scratch.labels;
    let (mut kept, mut hash, mut check) = (0, 1, 2);
    let mut slot = 0;
    while slot < MAX_LABELS {
        let words = scratch.window.as_ptr();
        // SAFETY: all indices are below 4 * MAX_LABELS + 1, less than the window has.
        let (used, key, value) = unsafe {
            if is_list {
                let entry = words.add(slot * 4);
                let used = (slot as u64) < entries;
                (used, (*entry, *entry.add(1)), (*entry.add(2), *entry.add(3)))
            } else {
                let tops = *words;
                let key = words.add(1 + slot * 2);
                let value = words.add(1 + MAX_LABELS * 2 + slot * 2);
                let used = (tops >> (slot * 8)) & 0xff >= USED;
                (used, (*key, *key.add(1)), (*value, *value.add(1)))
            }
        };
        if used && kept < MAX_LABELS {
            let mut part = 0;
            while part < 2 {
                let (at, length) = if part == 0 { key } else { value };
                // SAFETY: kept < MAX_LABELS and part < 2.
                let text = unsafe { labels.texts.as_mut_ptr().add(kept * 2 + part) };
                // SAFETY: as above.
                unsafe {
                    (*labels.lengths.as_mut_ptr().add(kept).cast::<u32>().add(part)) =
                        if length > u32::MAX as u64 { u32::MAX } else { length as u32 };
                }
                if !copy(at, length, text, &mut hash, &mut check) {
                    count(Counter::LabelsUnread);
                    return 0;
                }
                part += 1;
            }
            kept += 1;
        }
        slot += 1;
    }
    if kept == 0 {
        return 0;
    }
    labels.count = kept as u32;
    labels.check = check;
    let key = LabelsKey { image: hit.image, _pad: 0, hash: hash | 1 };
    remember(&key, labels)
}

/// Go 1.24 and later: `labelMap` begins with a slice of pairs of strings.
#[inline(always)]
fn list(at: u64, window: &mut [u64; tracer_common::walk::WINDOW]) -> Option<u64> {
    let (pairs, count) = (read_word(at)?, read_word(at.wrapping_add(8))?);
    let size = at_most::<{ MAX_LABELS as u32 }>(count) * 32;
    // SAFETY: at most 256 bytes; the helper checks the source.
    let read =
        unsafe { bpf_probe_read_user(window.as_mut_ptr().cast(), size as u32, pairs as *const _) };
    (read == 0).then_some(count)
}

/// Up to Go 1.23: `labelMap` is a map, whose header says how many there are and where its buckets
/// begin. One of more than 8 has several buckets; the first is read.
#[inline(always)]
fn bucket(at: u64, window: &mut [u64; tracer_common::walk::WINDOW]) -> Option<u64> {
    let map = read_word(at)?;
    if map == 0 {
        // SAFETY: the window is longer.
        unsafe { *window.as_mut_ptr() = 0 };
        return Some(0);
    }
    let (count, buckets) = (read_word(map)?, read_word(map.wrapping_add(16))?);
    // SAFETY: the window is longer than a bucket; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_user(window.as_mut_ptr().cast(), BUCKET as u32, buckets as *const _)
    };
    (read == 0).then_some(count)
}

/// Copies a text, padded with zeros, and mixes it into both hashes.
#[inline(always)]
fn copy(
    at: u64,
    length: u64,
    text: *mut [u64; LABEL_TEXT / 8],
    hash: &mut u64,
    check: &mut u64,
) -> bool {
    let size = at_most::<{ LABEL_TEXT as u32 }>(length);
    let words = text.cast::<u64>();
    let mut i = 0;
    while i < LABEL_TEXT / 8 {
        // SAFETY: i < LABEL_TEXT / 8.
        unsafe { words.add(i).write_volatile(0) };
        i += 1;
    }
    // SAFETY: size <= LABEL_TEXT; the helper checks the source.
    if size > 0 && unsafe { bpf_probe_read_user(text.cast(), size as u32, at as *const _) } != 0 {
        return false;
    }
    mix(length, hash, check);
    let mut i = 0;
    while i < LABEL_TEXT / 8 {
        // SAFETY: as above.
        mix(unsafe { words.add(i).read_volatile() }, hash, check);
        i += 1;
    }
    true
}

#[inline(always)]
fn mix(word: u64, hash: &mut u64, check: &mut u64) {
    *hash = (*hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    *hash ^= *hash >> 29;
    *check = check.rotate_left(5).wrapping_add(word).wrapping_mul(0xd6e8_feb8_6659_fd93);
}

/// Keeps the texts once; the hash, or 0 when they are not kept.
#[inline(always)]
fn remember(key: &LabelsKey, labels: &Labels) -> u64 {
    const NOEXIST: u64 = 1;
    if LABELS.get_ptr(key).is_none() {
        // Another CPU may have inserted it meanwhile; either way it is there now, or the map is full.
        let _ = LABELS.insert(key, labels, NOEXIST);
    }
    match LABELS.get_ptr(key) {
        // SAFETY: a value of the map, never written after its insertion.
        Some(kept) if unsafe { (*kept).check } == labels.check => key.hash,
        Some(_) => {
            count(Counter::HashCollision);
            0
        }
        None => {
            count(Counter::LabelsFull);
            0
        }
    }
}
