//! The numbers that stand for kinds in a recording. They are never given to anything else.
//!
//! In: kinds. Out: numbers; and back, where the number is known.

use super::wire::Wrong;
use crate::profile::{FrameKind, Raw, Rest, Source};

/// The number of a source.
pub fn of_source(source: Source) -> u8 {
    match source {
        Source::Exact => 0,
        Source::Span => 1,
        Source::Sample => 2,
        Source::Records => 3,
    }
}

/// The source of a number.
pub fn source(code: u8) -> Result<Source, Wrong> {
    let all = [Source::Exact, Source::Span, Source::Sample, Source::Records];
    all.into_iter().find(|source| of_source(*source) == code).ok_or("no such source")
}

/// The number of what is said of the time in which a process was not seen.
pub fn of_rest(rest: Rest) -> u8 {
    match rest {
        Rest::Unreadable => 0,
        Rest::Estimated => 1,
        Rest::TooFew => 2,
        Rest::TooDense => 3,
        Rest::Over => 4,
    }
}

/// The same of a number.
pub fn rest(code: u8) -> Result<Rest, Wrong> {
    let all = [Rest::Unreadable, Rest::Estimated, Rest::TooFew, Rest::TooDense, Rest::Over];
    all.into_iter().find(|rest| of_rest(*rest) == code).ok_or("no such kind of rest")
}

/// The number of a kind of frames.
pub fn of_frame(kind: FrameKind) -> u8 {
    match kind {
        FrameKind::Runtime => 0,
        FrameKind::Standard => 1,
        FrameKind::Program => 2,
        FrameKind::Native => 3,
        FrameKind::Type => 4,
        FrameKind::Marker => 5,
        FrameKind::Group => 6,
        FrameKind::Unknown => 7,
    }
}

/// The kind of frames of a number.
pub fn frame(code: u8) -> Result<FrameKind, Wrong> {
    FrameKind::ALL.into_iter().find(|kind| of_frame(*kind) == code).ok_or("no such kind of frames")
}

/// The number of a way in which an address was found.
pub fn of_raw(raw: Raw) -> u8 {
    match raw {
        Raw::Place => 0,
        Raw::Kept => 1,
        Raw::Start => 2,
        Raw::Call => 3,
        Raw::Logical => 4,
        Raw::Physical => 5,
        Raw::Native => 6,
    }
}

/// The way of a number.
pub fn raw(code: u8) -> Result<Raw, Wrong> {
    Raw::ALL.into_iter().find(|raw| of_raw(*raw) == code).ok_or("no such kind of addresses")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for kind in FrameKind::ALL {
            assert_eq!(frame(of_frame(kind)), Ok(kind));
        }
        assert!(frame(8).is_err());
        for way in Raw::ALL {
            assert_eq!(raw(of_raw(way)), Ok(way));
        }
        assert!(raw(7).is_err());
        assert_eq!([0, 1, 2, 3].map(|code| source(code).map(of_source)), [0, 1, 2, 3].map(Ok));
        assert!(source(4).is_err());
        assert_eq!([0, 1, 2, 3].map(|code| rest(code).map(of_rest)), [0, 1, 2, 3].map(Ok));
        assert!(rest(5).is_err());
    }
}
