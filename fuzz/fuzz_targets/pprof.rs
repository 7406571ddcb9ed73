//! The reader of pprof files: of any bytes it makes a profile that makes sense, or an error.

#![no_main]

use heaptap::output::pprof::read::read;
use heaptap::profile::FrameKind;
use heaptap::profile::diff::{Asked, Diff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(measured) = read("fuzz".to_owned(), bytes, 8 << 20, |_| FrameKind::Program) else {
        return;
    };
    let diff = Diff::new(&measured, &measured, &Asked::default()).expect("it is like itself");
    assert_eq!(diff.totals()[0], diff.totals()[1]);
});
