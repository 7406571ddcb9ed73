//! What is told of forecasts: in words, as JSON, and by the exit code.

use super::*;
use crate::forecast::{Figures, Group};
use crate::pipeline::assert_described;
use crate::pipeline::stats::tests::made;

const MIB: u64 = 1 << 20;

pub(super) fn snapshot() -> Snapshot {
    made()
}

/// A minute in which resident memory grows by a MiB a second, off the heap, and goroutines by one.
fn grows(group: Option<u64>, memory_limit: Option<u64>) -> Vec<Figures> {
    let reading = |half: u32| {
        let at = f64::from(half) / 2.0;
        let grown = (at * MIB as f64) as u64;
        let young = u64::from(half % 8) * MIB;
        Figures {
            at,
            resident: Some(50 * MIB + grown),
            group: group.map(|limit| Group {
                path: "/pods/orders".into(),
                usage: 60 * MIB + grown,
                droppable: Some(10 * MIB),
                limit,
            }),
            cpu: Some(at),
            goroutines: Some(100 + u64::from(half) / 2),
            sys: 44 * MIB,
            released: 2 * MIB,
            in_use: 22 * MIB + young,
            idle: 20 * MIB - young,
            alloc: 20 * MIB + young,
            marked: 20 * MIB,
            goal: Some(40 * MIB),
            stacks: MIB,
            allocated: 1000 * MIB + u64::from(half) * MIB,
            objects: 1_000_000 + u64::from(half) * 5000,
            large: 0,
            exact: true,
            large_there: MIB,
            cycles: 5 + half / 8,
            collected: Some(500.0 + at),
            gc_share: 0.01,
            procs: 2,
            gogc: Some(100),
            memory_limit,
            limit_binds: false,
        }
    };
    (0..=120).map(reading).collect()
}

fn told(readings: &[Figures]) -> Told {
    let forecast = Forecast::of(readings).unwrap();
    Told { who: snapshot(), forecast, has_ended: false, notes: vec!["a note".into()] }
}

fn made_up() -> Report {
    let unseen = Unseen {
        pid: 7,
        comm: "old".into(),
        failure: Failure::new(Exit::Unsupported, "process 7: too old"),
    };
    let processes = vec![told(&grows(Some(256 * MIB), Some(512 * MIB)))];
    Report { processes, unseen: vec![unseen], within: 3600.0 }
}

/// However lines are broken.
fn words(report: &Report, all: bool) -> String {
    text::report(report, all).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_has(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
}

#[test]
fn every_field_is_described_and_nothing_else() {
    let document = serde_json::to_value(json::Document::new(&made_up())).unwrap();
    assert_described(&document, include_str!("../../../../docs/forecast.md"), json::SCHEMA);
    assert_eq!((&document["near"], &document["processes"][0]["near"]), (&1.into(), &true.into()));
    let limit = &document["processes"][0]["limits"][0];
    assert_eq!((&limit["limit"], &limit["outlook"]), (&"cgroup".into(), &"expected".into()));
    let seconds = limit["seconds"].as_f64().unwrap();
    // 256 MiB less 50 and a minute's growth.
    assert!((seconds - 146.0).abs() < 2.0, "{seconds}");
    assert_eq!(document["processes"][0]["ways"][0]["way"], "goroutines-off-heap");
}

#[test]
fn who_comes_to_a_limit_is_told_when_and_why() {
    let words = words(&made_up(), true);
    assert_has(
        &words,
        &[
            "process 4242 (orders, Go 1.27.3), 60 s, 15 collections: its control group's limit in 2 min 2",
            "note a note",
            "limit control group /pods/orders: 110.0 MiB of 256.0 MiB (43.0 %), without what the kernel can drop",
            "grows by 1.0 MiB ± ",
            ": full in 2 min 2",
            "the kernel kills for it",
            "GOMEMLIMIT, by what no collection frees: 24.0 MiB of 512.0 MiB (4.7 %)",
            "no end in sight",
            "likely goroutines become more: goroutines +1.00 ± ",
            "memory beyond what the runtime mapped +1.0 MiB ± ",
            "heaptap goroutines -p 4242",
            "heap 20.0 MiB survived the last collection, 50.0 % of the goal",
            "of the spans that are in use filled",
            "memory resident 110.0 MiB",
            "GC 2.0 % of the program's CPU time",
            "not looked at: process 7: too old",
        ],
    );
}

#[test]
fn other_outlooks_have_words_of_their_own() {
    let of = |readings: &[Figures]| {
        let report = Report { processes: vec![told(readings)], unseen: vec![], within: 1.0 };
        words(&report, true)
    };
    assert_has(&of(&grows(None, None)), &[": no limit", "limit none:", "resident memory grows by"]);
    let full = of(&grows(Some(111 * MIB), None));
    assert_has(&full, &["at its control group's limit", "it is reached: the kernel kills for it"]);
    let early = of(&grows(Some(256 * MIB), None)[..20]);
    assert_has(&early, &["too early to tell", "too early to tell how it goes"]);
    let mut steady = grows(Some(512 * MIB), Some(40 * MIB));
    for one in &mut steady {
        one.goroutines = Some(9);
        one.resident = Some(50 * MIB);
        one.group.as_mut().unwrap().usage = 60 * MIB;
        (one.limit_binds, one.gogc) = (true, None);
    }
    assert_has(
        &of(&steady),
        &[
            "no end in sight",
            "no sign of growth",
            "GOMEMLIMIT makes the goal, 2.0 times",
            "works harder",
        ],
    );
}

#[test]
fn those_of_whom_there_is_nothing_to_say_are_counted() {
    let steady = || {
        let mut readings = grows(None, None);
        for one in &mut readings {
            (one.goroutines, one.resident) = (Some(9), Some(50 * MIB));
        }
        told(&readings)
    };
    let processes = vec![told(&grows(None, None)), steady(), steady()];
    let report = Report { processes, unseen: vec![], within: 1.0 };
    let words = words(&report, false);
    assert_has(&words, &["likely goroutines", "2 processes: no end in sight, and no sign of one"]);
    assert_eq!(words.matches("process 4242").count(), 1);
}

#[test]
fn the_most_urgent_come_first() {
    let [late, soon, full] =
        [1024, 200, 100].map(|limit| told(&grows(Some(limit * MIB), None)).urgency().0);
    assert!(full < soon && soon < late && late < f64::MAX);
    assert_eq!(told(&grows(None, None)).urgency().0, f64::MAX);
}
