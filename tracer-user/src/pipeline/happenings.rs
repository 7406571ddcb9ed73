//! What sets apart what the kernel did (probe os), in words.
//!
//! In: a [`Happening`] and its class. Out: labels of samples, and a frame for what is nobody's doing in
//! the process.

use tracer_common::os::{
    ANON_PAGES, BY_OTHERS, FAILED, FILE_PAGES, Happening, IN_CALLS, SHMEM_PAGES,
};

use crate::{
    address::RuntimeAddr,
    output::os::{ADVICE, BY, FAILED_CALL, IN, NODE, ORDER, PAGES},
    profile::{FrameKind, Label, LabelValue, LocationId, Profile},
};

/// Names of advice (include/uapi/asm-generic/mman-common.h).
const ADVICES: [(u64, &str); 21] = [
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (9, "MADV_REMOVE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (12, "MADV_MERGEABLE"),
    (13, "MADV_UNMERGEABLE"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (18, "MADV_WIPEONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
    (25, "MADV_COLLAPSE"),
];

/// What is told of a sample beside its stack; sorted.
pub fn labels(profile: &mut Profile, happening: Happening, class: u64) -> Vec<Label> {
    let mut labels = Vec::new();
    let mut add = |key: &str, value: Result<u64, &str>| {
        let key = profile.names.intern(key);
        let value = match value {
            Ok(number) => LabelValue::Number(number),
            Err(text) => LabelValue::Text(profile.names.intern(text)),
        };
        labels.push(Label { key, value });
    };
    let rest = class & !(FAILED | BY_OTHERS);
    match happening {
        Happening::Grow | Happening::Shrink => {
            let kind = u32::try_from(rest).ok().and_then(kind);
            add(PAGES, kind.map_or(Ok(rest), Err));
            if class & BY_OTHERS != 0 {
                add(BY, Err("others"));
            }
        }
        Happening::Pages => {
            add(ORDER, Ok(rest & 0xff));
            add(NODE, Ok(rest >> 8));
        }
        Happening::Madvise => {
            let known = ADVICES.iter().find(|(number, _)| *number == rest);
            add(ADVICE, known.map_or(Ok(rest), |(_, name)| Err(*name)));
        }
        Happening::SpanKernel => {
            add(IN, Err(if rest == IN_CALLS { "system calls" } else { "page faults" }));
        }
        Happening::Mmap
        | Happening::Munmap
        | Happening::Mremap
        | Happening::Brk
        | Happening::Left
        | Happening::Span => {}
    }
    if class & FAILED != 0 {
        add(FAILED_CALL, Ok(1));
    }
    labels.sort();
    labels
}

fn kind(of: u32) -> Option<&'static str> {
    match of {
        FILE_PAGES => Some("file"),
        ANON_PAGES => Some("anonymous"),
        SHMEM_PAGES => Some("shared"),
        _ => None,
    }
}

/// The frame of what has no stack: another process did it, or the kernel by itself.
pub fn of_nobody(profile: &mut Profile, pcs: &[RuntimeAddr]) -> Option<LocationId> {
    let text = "[by the kernel itself or another process]";
    pcs.is_empty().then(|| profile.made_up(text, FrameKind::Marker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Source;
    use crate::profile::build::Build;
    use tracer_common::os::page_class;

    fn told(happening: Happening, class: u64) -> String {
        let mut profile = Build::new(Source::Exact).done();
        let labels = labels(&mut profile, happening, class);
        let text = |label: &Label| {
            let key = profile.names.text(label.key);
            match label.value {
                LabelValue::Text(text) => format!("{key}={}", profile.names.text(text)),
                LabelValue::Number(number) => format!("{key}={number}"),
            }
        };
        let mut all: Vec<String> = labels.iter().map(text).collect();
        all.sort();
        all.join(" ")
    }

    #[test]
    fn classes_are_told_in_words() {
        assert_eq!(told(Happening::Grow, u64::from(ANON_PAGES)), "pages=anonymous");
        assert_eq!(
            told(Happening::Shrink, u64::from(FILE_PAGES) | BY_OTHERS),
            "by=others pages=file"
        );
        assert_eq!(told(Happening::Pages, page_class(9, 1)), "node=1 order=9");
        assert_eq!(told(Happening::Madvise, 4), "advice=MADV_DONTNEED");
        assert_eq!(told(Happening::Madvise, 99 | FAILED), "advice=99 failed=1");
        assert_eq!(told(Happening::SpanKernel, IN_CALLS), "in=system calls");
        assert_eq!(told(Happening::Mmap, 0), "");
        assert_eq!(told(Happening::Mmap, FAILED), "failed=1");
    }
}
