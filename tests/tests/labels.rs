//! `record --labels`: a goroutine's own profiler labels tell its allocations apart.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Variant, require_root};
use xtask::each_release;

const ROUNDS: u64 = 1000;

type Labels = BTreeMap<String, String>;

fn labels_of(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn tells_labels_apart(go: &str) -> Result<()> {
    require_root()?;
    let mut labelled = Fixture::build("labelled", go, Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let (pid, path) = (labelled.pid().to_string(), json.display().to_string());
    let folded = dir.path().join("out.folded").display().to_string();
    let flags = ["-p", &pid, "--labels", "--value", "objects", "-o", &path, "-o", &folded];
    let recording = Recording::start(flags)?;
    labelled.ask(&format!("go {ROUNDS}"))?;
    recording.stop()?.expect(0)?;
    let profile = Profile::read(&json)?;
    let objects = profile.value("alloc_objects")?;
    let mut counts: BTreeMap<Labels, u64> = BTreeMap::new();
    for stack in profile.stacks.iter().filter(|s| s.frames[0].function == "main.keep") {
        *counts.entry(stack.text_labels()).or_default() += stack.values[objects];
    }
    let mut expected: BTreeMap<Labels, u64> = BTreeMap::from([(Labels::new(), ROUNDS)]);
    for user in 0..5 {
        let user = format!("user-{user}");
        for path in ["/orders", "/inner"] {
            expected.insert(labels_of(&[("user", &user), ("path", path)]), ROUNDS / 5);
        }
    }
    // Told apart by 64 bytes and by length: what comes after that is not kept.
    let long = "x".repeat(64) + "...";
    expected.insert(labels_of(&[("long", &long)]), ROUNDS);
    let is_many = |labels: &Labels| labels.keys().any(|key| key.starts_with("label"));
    let many: u64 = counts.iter().filter(|(labels, _)| is_many(labels)).map(|(_, n)| n).sum();
    counts.retain(|labels, _| !is_many(labels));
    // Up to Go 1.23 twelve labels are a map of two buckets, of which the first is read: it is empty
    // for one map in 4,096.
    let without = counts.get(&Labels::new()).copied().unwrap_or(0) - ROUNDS;
    ensure!(without < 10 && many + without == ROUNDS, "{many} of {ROUNDS} with many labels");
    counts.insert(Labels::new(), ROUNDS);
    ensure!(counts == expected, "Go {go}: {counts:#?}");
    ensure!(profile.counter("labels_left_out") >= ROUNDS, "nothing was left out");
    // Where stacks are of names alone, labels are their outermost frames, in the order of keys.
    let folded = fs::read_to_string(&folded)?;
    let roots = "path=/orders;user=user-3;";
    let of_user = folded.lines().filter_map(|line| line.strip_prefix(roots)?.rsplit_once(' '));
    let kept = of_user.filter(|(stack, _)| stack.ends_with("main.keep"));
    let kept: u64 = kept.filter_map(|(_, count)| count.parse::<u64>().ok()).sum();
    ensure!(kept == ROUNDS / 5, "Go {go}: {kept} below {roots}");
    // A text on a page that is not in memory at that moment can't be read inside a trap: rare, counted,
    // and above not one of `main.keep`.
    let lost: Vec<_> = profile.counters.iter().filter(|c| c.is_loss && c.count > 0).collect();
    let rare = lost.iter().all(|c| c.name == "lost_labels_unread" && c.count <= 2);
    ensure!(rare, "Go {go}: {lost:?}");
    Ok(())
}

each_release!(tells_labels_apart);
