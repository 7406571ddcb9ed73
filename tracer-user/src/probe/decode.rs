//! Records of the kernel's tables and rings, understood: stacks, labels, notices.
//!
//! In: bytes, of any contents. Out: values that are within their bounds, or nothing. Reads no map.

use std::time::Duration;

use tracer_common::{
    StackKey, StackValue,
    record::{
        AGES, LABEL_TEXT, Labels, MAX_DEPTH, MAX_LABELS, NO_CODE, NOTICE_DRY, NOTICE_END,
        NOTICE_EXEC, NOTICE_EXIT, NOTICE_LATE, NOTICE_VICTIM,
    },
};

use crate::address::RuntimeAddr;

/// One stack as the kernel kept it: addresses, not names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    pub key: StackKey,
    pub hits: u64,
    /// As many as `hits` in exact mode; in span mode what the hits stand for.
    pub objects: u64,
    pub bytes: u64,
    pub weight_squares: u64,
    /// What `Kernel::labels` has its labels under; 0 without any.
    pub labels: u64,
    /// `STACK_TRUNCATED`, `STACK_BROKEN` of tracer-common.
    pub flags: u32,
    /// Return addresses, innermost first.
    pub pcs: Vec<RuntimeAddr>,
}

/// Sampled objects, or goroutines, of one stack by class of age (`tracer_common::record::age_class`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Those that were freed or ended, by the age that they reached.
    pub freed: [u64; AGES],
    /// Those that were not.
    pub live: [u64; AGES],
}

/// A text of the program, of which the beginning is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub is_cut: bool,
}

/// What a traced process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It runs another program now and is not counted until it is selected again.
    Exec { pid: u32, image: u32 },
    /// It is gone and no longer selected.
    Exit { pid: u32, image: u32 },
    /// It has taken the last trap that it was allowed.
    Dry { image: u32, at: Duration },
    /// It was seen for as long as it was to be.
    Late { image: u32, at: Duration },
    /// It has ended, and how, as the kernel tells it (`Kernel::watch_ends`).
    End { pid: u32, code: Option<u32> },
    /// The kernel kills it because memory has run out; nothing: it is not known whom.
    Victim { pid: Option<u32> },
}

/// A notice's bytes; nothing when they are not one.
pub fn decode_notice(bytes: &[u8]) -> Option<Notice> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (kind, pid, image) = (word(0)?, word(4)?, word(8)?);
    match kind {
        NOTICE_EXEC => Some(Notice::Exec { pid, image }),
        NOTICE_EXIT => Some(Notice::Exit { pid, image }),
        NOTICE_DRY | NOTICE_LATE => {
            let at = u64::from_ne_bytes(bytes.get(16..24)?.try_into().ok()?);
            let at = Duration::from_nanos(at);
            let is_dry = kind == NOTICE_DRY;
            Some(if is_dry { Notice::Dry { image, at } } else { Notice::Late { image, at } })
        }
        NOTICE_END => Some(Notice::End { pid, code: Some(word(12)?).filter(|c| *c != NO_CODE) }),
        NOTICE_VICTIM => Some(Notice::Victim { pid: Some(pid).filter(|pid| *pid != 0) }),
        _ => None,
    }
}

pub fn texts(labels: &Labels) -> Vec<[Text; 2]> {
    let count = (labels.count as usize).min(MAX_LABELS);
    let pairs = labels.lengths.iter().zip(labels.texts.chunks_exact(2));
    let pair = |(lengths, texts): (&[u32; 2], &[[u64; LABEL_TEXT / 8]])| {
        [0, 1].map(|part| {
            let bytes = texts[part].iter().flat_map(|word| word.to_ne_bytes());
            let length = lengths[part] as usize;
            let bytes = bytes.take(length.min(LABEL_TEXT)).collect();
            Text { bytes, is_cut: length > LABEL_TEXT }
        })
    };
    pairs.take(count).map(pair).collect()
}

pub fn raw_stack(key: StackKey, value: &StackValue) -> RawStack {
    let depth = (value.depth as usize).min(MAX_DEPTH);
    RawStack {
        key,
        hits: value.hits,
        objects: value.hits.wrapping_add(value.more_objects),
        bytes: value.bytes,
        weight_squares: value.weight_squares,
        labels: value.labels,
        flags: value.flags,
        pcs: value.pcs[..depth].iter().map(|pc| RuntimeAddr(*pc)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_decoded_only_when_it_is_whole_and_known() {
        let mut bytes = Vec::new();
        for word in [NOTICE_EXEC, 42, 7, 0, 9, 0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(decode_notice(&bytes), Some(Notice::Exec { pid: 42, image: 7 }));
        assert_eq!(decode_notice(&bytes[..11]), None);
        assert_eq!(decode_notice(&[]), None);
        bytes[0] = NOTICE_DRY as u8;
        let at = Duration::from_nanos(9);
        assert_eq!(decode_notice(&bytes), Some(Notice::Dry { image: 7, at }));
        bytes[0] = NOTICE_LATE as u8;
        assert_eq!(decode_notice(&bytes), Some(Notice::Late { image: 7, at }));
        bytes[0] = NOTICE_END as u8;
        bytes[12..16].copy_from_slice(&9u32.to_ne_bytes());
        assert_eq!(decode_notice(&bytes), Some(Notice::End { pid: 42, code: Some(9) }));
        bytes[12..16].copy_from_slice(&NO_CODE.to_ne_bytes());
        assert_eq!(decode_notice(&bytes), Some(Notice::End { pid: 42, code: None }));
        bytes[0] = NOTICE_VICTIM as u8;
        assert_eq!(decode_notice(&bytes), Some(Notice::Victim { pid: Some(42) }));
        bytes[0] = 99;
        assert_eq!(decode_notice(&bytes), None);
    }

    #[test]
    fn a_depth_beyond_the_limit_is_clamped() {
        let mut value = StackValue {
            hits: 1,
            more_objects: 0,
            bytes: 8,
            weight_squares: 0,
            labels: 0,
            depth: u32::MAX,
            flags: 0,
            pcs: [7; MAX_DEPTH],
        };
        assert_eq!(raw_stack(StackKey::default(), &value).pcs.len(), MAX_DEPTH);
        value.depth = 2;
        assert_eq!(raw_stack(StackKey::default(), &value).pcs, [RuntimeAddr(7); 2]);
    }
}
