//! Golden files: what outputs must be, kept in `tests/golden`. For tests only.
//!
//! `HEAPTAP_BLESS=1` rewrites them; a missing one fails, as does one that differs.

use std::path::Path;
use std::{env, fs};

use super::{Format, Options, render};
use crate::profile::Profile;

/// Compares `text` with the golden file of that name.
pub fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("HEAPTAP_BLESS").is_some_and(|v| v == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let hint = "look at the change, then run the test with HEAPTAP_BLESS=1";
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: {hint}", path.display()));
    let differs = golden.lines().zip(text.lines()).position(|(a, b)| a != b);
    let at = differs.unwrap_or(golden.lines().count().min(text.lines().count()));
    assert!(
        golden == text,
        "{} differs at line {}: {hint}\n golden: {:?}\n    now: {:?}",
        path.display(),
        at + 1,
        golden.lines().nth(at),
        text.lines().nth(at),
    );
}

/// A profile as the text of one format, with default options.
pub fn rendered(profile: &Profile, format: Format) -> String {
    let mut out = Vec::new();
    render(profile, format, &Options::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
