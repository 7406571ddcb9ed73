//! What a recording of a busy program takes. How long writing takes is measured by `cargo xtask bench recording`.

use super::{Bounds, open, writer};
use crate::recording::Shown;
use crate::recording::busy::Busy;

#[test]
fn an_hour_of_a_busy_program_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hour.htap");
    let mut writer = writer(&path, Bounds::default());
    let mut busy = Busy::new(5_000);
    // 100 MiB allocated each second are 2,000 samples in ten. Ten minutes are enough to know.
    for _ in 0..60 {
        busy.pass(2_000);
        writer.write(&busy.profile, Shown::default()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.shots, survey.damaged, survey.left_over), (60, 0, 0));
    assert!(bytes.len() < 5_000_000 / 6, "{}", bytes.len());
}
