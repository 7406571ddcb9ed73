//! Pictures that are made up, for tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::runtime::stats::made;

/// When they are of.
pub const TIME: SystemTime = SystemTime::UNIX_EPOCH;

/// Two processes: one of which everything is known that can be, and one of which little is.
pub fn node() -> Node {
    Node {
        time: TIME + Duration::from_secs(1_700_000_000),
        name: "n1".into(),
        processes: vec![Arc::new(full(7)), Arc::new(bare(8))],
        unread: vec![Unread { pid: 9, comm: "old".into(), reason: "too old".into() }],
        own: Own { resident: Some(1 << 20), ..Own::default() },
        push: Vec::new(),
        judged: Default::default(),
    }
}

pub fn who(pid: u32) -> Who {
    Who {
        id: Identity { pid, start: 77 },
        comm: format!("api-{pid}"),
        path: "/usr/bin/api".into(),
        go_version: None,
        container: None,
        workload: Workload::default(),
    }
}

/// Nothing but statistics.
pub fn bare(pid: u32) -> Process {
    Process {
        who: Arc::new(who(pid)),
        stats: made::stats(),
        memory: MemoryUse::default(),
        pauses: Arc::default(),
        gc: GcTime::default(),
        goroutines: None,
        heap: None,
        no_heap: None,
        trends: None,
        iterations: None,
        kept: Arc::default(),
    }
}

pub fn goroutines(program: u64) -> Arc<Goroutines> {
    let states = vec![("running".to_owned(), 1), ("select".to_owned(), program.saturating_sub(1))];
    Arc::new(Goroutines { at: TIME, program, runtime: 5, unreadable: 0, states })
}

/// All that can be known.
pub fn full(pid: u32) -> Process {
    let frame = Frame { function: "main.f".into(), file: "/src/a.go".into(), line: 3 };
    let frames = vec![frame.clone(), Frame { line: 0, ..frame.clone() }];
    let top = Stack { id: Stack::id_of(&frames), frames, bytes: 64, objects: 2, allocated: 128 };
    let finding = Finding {
        of: "heap",
        verdict: "leak",
        place: Some(frame.clone()),
        stack: vec![frame],
        slope: 3.5,
        error: 0.5,
        grew: 100.0,
        live: 200.0,
        seconds: 60.0,
        doubts: vec!["it is little"],
    };
    let growing = Finding { verdict: "growing", of: "off-heap", place: None, ..finding.clone() };
    Process {
        memory: MemoryUse { resident: Some(40 << 20), ..MemoryUse::default() },
        gc: GcTime { seconds: Some(1.5), pressure: Some(0.25) },
        goroutines: Some(goroutines(12)),
        heap: Some(Arc::new(Heap { at: TIME, bytes: 64, objects: 2, stacks: 1, top: vec![top] })),
        no_heap: Some("its records can't be read now".into()),
        trends: Some(Arc::new(Trends {
            at: TIME,
            forecast: None,
            findings: vec![growing, finding],
        })),
        kept: Arc::new(vec![Arc::new(Kept { at: TIME, pprof: Vec::new() })]),
        ..bare(pid)
    }
}
