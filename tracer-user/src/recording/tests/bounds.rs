//! A recording that goes on keeps what it may, and what it keeps can be read at any time.

use std::time::Duration;

use super::{Bounds, all_of, open, writer};
use crate::recording::Shown;
use crate::recording::busy::Busy;

#[test]
fn it_is_never_larger_than_it_may_be_and_ends_with_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    let size = 60_000;
    let mut writer = writer(&path, Bounds { size: Some(size), age: None });
    let mut busy = Busy::new(40);
    let mut least = u64::MAX;
    let mut went = 0;
    for shot in 0..500 {
        busy.pass(40);
        writer.write(&busy.profile, Shown::default()).unwrap();
        let now = std::fs::metadata(&path).unwrap().len();
        assert_eq!(now, writer.size());
        assert!(now <= size, "{shot}: {now}");
        if shot % 50 == 49 {
            let bytes = std::fs::read(&path).unwrap();
            let survey = open(&bytes).survey().unwrap();
            assert_eq!((survey.damaged, survey.left_over), (0, 0));
            let found = open(&bytes).at(u64::MAX).unwrap().unwrap();
            assert!(all_of(&found.shot.profile) == all_of(&busy.profile));
            went += u64::from(survey.shots < shot);
            if went > 1 {
                least = least.min(now);
            }
        }
    }
    assert!(least > size / 2, "{least}");
    assert!(went > 2);
    // Nothing but the recording is left there.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_older_than_it_may_be_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    let age = Duration::from_secs(800);
    let mut writer = writer(&path, Bounds { size: None, age: Some(age) });
    let mut busy = Busy::new(20);
    for _ in 0..400 {
        busy.pass(5);
        writer.write(&busy.profile, Shown::default()).unwrap();
    }
    let survey = open(&std::fs::read(&path).unwrap()).survey().unwrap();
    let kept = Duration::from_nanos(survey.last - survey.first);
    assert!(kept >= age && kept <= age * 5 / 4, "{kept:?}");
}

#[test]
fn an_older_file_is_there_until_something_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    std::fs::write(&path, "older").unwrap();
    let mut writer = writer(&path, Bounds::default());
    assert_eq!(std::fs::read(&path).unwrap(), b"older");
    writer.write(&Busy::new(3).profile, Shown::default()).unwrap();
    assert_eq!(open(&std::fs::read(&path).unwrap()).survey().unwrap().shots, 1);
}
