//! Made-up collections for tests.

use std::time::{Duration, SystemTime};

use super::{Amounts, Growth, Process, Report, Span, Unseen};
use crate::profile::{Frame, FrameKind, Workload};
use crate::runtime::cycles::{Cycle, Detail, GoalBy, Sample, Trigger};

const MIB: u64 = 1 << 20;
const START: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// The seventh and so on of a program that collects each second; it takes 3 ms.
pub fn cycle(number: u32) -> Cycle {
    let at = u64::from(number.saturating_sub(6));
    Cycle {
        number,
        end_unix_ns: START + at * SECOND,
        pause_ns: 90_000 + 10_000 * at,
        since_last_ns: Some(SECOND),
        trigger: Some(Trigger::Heap),
        detail: Some(Detail {
            sweep_termination_ns: 60_000,
            mark_ns: 2_900_000,
            mark_termination_ns: 40_000,
            assist_ns: 120_000,
            background_ns: 1_500_000,
            idle_ns: 700_000,
            stopped_procs: 2,
            procs: 2,
            heap_before: 11 * MIB + at * 1000,
            heap_after: 12 * MIB,
            live: 6 * MIB,
            goal: Some(12 * MIB),
            goal_by: Some(GoalBy::Gogc),
        }),
    }
}

/// One program that was watched for four seconds: a collection in full, one that was forced, one of
/// which the pauses alone are known; and one that can't be read.
pub fn report() -> Report {
    let forced = Cycle { trigger: Some(Trigger::Forced), ..cycle(8) };
    let missed = Cycle { trigger: None, detail: None, ..cycle(9) };
    let sample = |at: u64, live: u64| {
        let sample = Sample {
            live: live * MIB,
            goal: Some(12 * MIB),
            trigger: Some(11 * MIB),
            mapped: 15 * MIB,
            memory_limit: Some(20 * MIB),
            percent: Some(100),
            collecting: false,
        };
        (START + at * SECOND / 2, sample)
    };
    let process = Process {
        pid: 4242,
        start_ticks: 77,
        comm: "orders".into(),
        path: "/usr/bin/orders".into(),
        go_version: Some("1.27.3".into()),
        container: Some("3f8a6c0d9e1b".into()),
        workload: Workload { container: Some("orders-1".into()), ..Workload::default() },
        first_unix_ns: START,
        last_unix_ns: START + 4 * SECOND,
        ended: false,
        looks: 400,
        traps: None,
        cycles: vec![cycle(7), forced, missed],
        dropped: 0,
        overwritten: 0,
        samples: vec![sample(0, 6), sample(1, 9), sample(3, 8), sample(5, 10), sample(8, 9)],
        growth: Some(growth()),
    };
    Report {
        started: SystemTime::UNIX_EPOCH + Duration::from_nanos(START),
        duration: Duration::from_secs(4),
        own_cpu: Some(Duration::from_millis(12)),
        processes: vec![process],
        unseen: vec![Unseen { pid: 7, comm: "old".into(), reason: "process 7: too old".into() }],
        notes: vec!["a note".into()],
        top: 3,
    }
}

/// Of two collections together, and of the one before.
fn growth() -> Growth {
    let mut growth = Growth { rate: Some(512 << 10), unknown: 0, ..Growth::default() };
    let mut frame = |function: &str, line| Frame {
        function: growth.names.intern(function),
        file: growth.names.intern("/src/shop/orders.go"),
        line,
        start_line: line - 5,
        kind: FrameKind::Program,
    };
    let outer = frame("main.main", 90);
    growth.stacks = vec![
        vec![frame("main.(*cache).put", 31), outer],
        vec![frame("main.parse", 57), frame("main.serve", 70), outer],
    ];
    let by = |allocated: u64, grew: i64| Amounts {
        allocated_objects: allocated << 10,
        allocated_bytes: allocated << 20,
        allocated_error: allocated << 18,
        grew_objects: grew << 10,
        grew_bytes: grew << 20,
        grew_error: grew.unsigned_abs() << 18,
    };
    let span = |first, last, cache: u64| Span {
        first,
        last,
        sum: by(cache + 30, cache as i64 - 1),
        by: vec![(0, by(cache, cache as i64)), (1, by(30, -1))],
        is_cut: false,
    };
    growth.spans = vec![span(7, 7, 4), span(8, 9, 2)];
    growth.total = Some(Span { is_cut: false, ..span(7, 9, 6) });
    growth.notes = vec!["a note on growth".into()];
    growth
}
