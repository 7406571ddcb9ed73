//! The spool: cut at every byte, damaged, too full, too old, killed, somebody else's.

use std::os::unix::fs::symlink;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;

const WIDE: Bounds = Bounds { bytes: 1 << 20, age: Duration::from_secs(3600) };

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
}

fn upload(number: u64) -> Upload {
    Upload {
        made: at(number),
        path: format!("/ingest?name=app{number}"),
        content_type: "application/octet-stream".to_owned(),
        body: Bytes::from(vec![number as u8; 100]),
    }
}

fn open(dir: &TempDir) -> Spool {
    Spool::open(&dir.path().join("spool"), WIDE, at(0)).unwrap()
}

/// Takes all that wait, in their order.
fn drain(spool: &mut Spool) -> Vec<Upload> {
    let mut all = Vec::new();
    while let Some((number, upload)) = spool.first(at(0)) {
        spool.done(number);
        all.push(upload);
    }
    all
}

#[test]
fn order_is_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir);
    for number in 0..300 {
        spool.push(&upload(number)).unwrap();
    }
    let (first, _) = spool.first(at(300)).unwrap();
    spool.done(first);
    drop(spool);
    let mut spool = open(&dir);
    assert_eq!((spool.len(), spool.oldest()), (299, Some(at(1))));
    spool.push(&upload(300)).unwrap();
    let expected: Vec<Upload> = (1..301).map(upload).collect();
    assert_eq!(drain(&mut spool), expected);
    assert_eq!((spool.bytes(), spool.dropped()), (0, Dropped::default()));
    let left = fs::read_dir(dir.path().join("spool")).unwrap().count();
    assert_eq!(left, 1, "the lock alone");
}

/// Whatever was written of a file when its writer was killed, under either name: it is never sent, and it is counted.
#[test]
fn a_file_cut_at_any_byte_is_found_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let whole = upload(7).encode();
    for cut in 0..whole.len() {
        for kind in [WHOLE, UNDER_WAY] {
            let path = dir.path().join(format!("spool/{:016x}.{kind}", 5));
            fs::write(&path, &whole[..cut]).unwrap();
            let mut spool = open(&dir);
            assert!(spool.first(at(0)).is_none(), "{cut}");
            assert_eq!((spool.dropped().torn, path.exists()), (1, false), "{cut}");
            assert_eq!(spool.next, 6);
        }
    }
    // A whole one that was not renamed was not given to the queue yet.
    let part = dir.path().join(format!("spool/{:016x}.{UNDER_WAY}", 5));
    fs::write(&part, &whole).unwrap();
    assert!(open(&dir).is_empty() && !part.exists());
}

#[test]
fn a_byte_that_changed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let whole = upload(7).encode();
    let path = dir.path().join(format!("spool/{:016x}.{WHOLE}", 5));
    for at_byte in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at_byte] ^= 1 << (at_byte % 8);
        fs::write(&path, &bytes).unwrap();
        let mut spool = open(&dir);
        assert!(spool.first(at(0)).is_none(), "{at_byte}");
        // One whose time has changed may be too old before it is read.
        let Dropped { torn, old, .. } = spool.dropped();
        assert_eq!((torn + old, path.exists()), (1, false), "{at_byte}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    fs::write(&path, &longer).unwrap();
    assert_eq!(open(&dir).dropped().torn, 1);
}

#[test]
fn the_oldest_go_first_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = upload(0).bytes() * 3;
    let bounds = Bounds { bytes, ..WIDE };
    let mut spool = Spool::open(dir.path().join("s").as_path(), bounds, at(0)).unwrap();
    for number in 0..5 {
        spool.push(&upload(number)).unwrap();
        assert!(spool.bytes() <= bytes);
    }
    assert_eq!((spool.len(), spool.dropped().full), (3, 2));
    // What is on its way stays until it is known what became of it.
    let (number, first) = spool.first(at(5)).unwrap();
    assert_eq!(first, upload(2));
    spool.push(&upload(5)).unwrap();
    spool.done(number);
    assert_eq!(spool.dropped().full, 3);
    assert_eq!(drain(&mut spool), [upload(4), upload(5)]);
    let huge = Upload { body: Bytes::from(vec![0; bytes as usize]), ..upload(6) };
    spool.push(&huge).unwrap();
    assert_eq!((spool.len(), spool.dropped().full), (0, 4));
}

#[test]
fn what_waited_for_too_long_goes_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { age: Duration::from_secs(10), ..WIDE };
    let path = dir.path().join("s");
    let mut spool = Spool::open(&path, bounds, at(0)).unwrap();
    for number in 0..3 {
        spool.push(&upload(number * 5)).unwrap();
    }
    assert_eq!(spool.first(at(11)).unwrap().1, upload(5));
    assert_eq!((spool.len(), spool.dropped().old), (2, 1));
    drop(spool);
    let spool = Spool::open(&path, bounds, at(100)).unwrap();
    assert_eq!((spool.len(), spool.bytes(), spool.dropped().old), (0, 0, 2));
}

#[test]
fn the_directory_is_this_users_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let spool = Spool::open(&path, WIDE, at(0)).unwrap();
    for made in [dir.path().join("a"), path.clone()] {
        assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let again = Spool::open(&path, WIDE, at(0)).unwrap_err();
    assert!(matches!(again, Error::InUse { .. }), "{again}");
    drop(spool);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let refused = Spool::open(&link, WIDE, at(0)).unwrap_err();
    assert!(matches!(refused, Error::NoDirectory { .. }), "{refused}");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Spool::open(&file, WIDE, at(0)).unwrap_err();
    assert!(matches!(refused, Error::NoDirectory { .. }), "{refused}");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o770)).unwrap();
    let refused = Spool::open(&path, WIDE, at(0)).unwrap_err();
    assert!(refused.to_string().contains("mode 0770"), "{refused}");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    Spool::open(&path, WIDE, at(0)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    // Only root can give a directory away.
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        let refused = Spool::open(&path, WIDE, at(0)).unwrap_err();
        assert!(matches!(refused, Error::Others { owner: 12345, .. }), "{refused}");
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let names = ["notes.txt", "1.upload", "zzzzzzzzzzzzzzzz.upload", "0000000000000001.gz"];
    for name in names {
        fs::write(dir.path().join("spool").join(name), "x").unwrap();
    }
    let spool = open(&dir);
    assert_eq!((spool.len(), spool.dropped()), (0, Dropped::default()));
    assert!(names.iter().all(|name| dir.path().join("spool").join(name).exists()));
}
