//! Any text, as each of the host's files that are parsed ([`crate::doors`]).

use std::ops::ControlFlow;

use super::read::{Stat, Status};
use super::{cgroup, maps, memory, names, pressure, select, system};

pub fn text(bytes: &[u8]) {
    if let Ok(stat) = Stat::parse(bytes) {
        let _dead = (stat.is_dead(), super::process::ticks(stat.taken));
    }
    let status = Status::parse(bytes);
    assert!(status.ns_pids.len() <= 33);
    let mut count = 0;
    let _walked = maps::each_line(bytes, |mapping| {
        count += 1;
        maps::any_bias(&mapping);
        ControlFlow::Continue(())
    });
    assert!(count <= maps::MAX_MAPPINGS);
    let text = String::from_utf8_lossy(bytes);
    if let Some(container) = cgroup::container(&text) {
        assert!(container.short_id().chars().count() <= 12 && !container.called().is_empty());
    }
    let _unit = cgroup::unit(&text);
    memory::any_text(&text);
    names::any_text(&text);
    let _waited = pressure::total(&text);
    system::any_text(&text);
    // A pattern and what it is held against.
    if let Some(at) = memchr::memchr(0, bytes) {
        let _matches = select::matches(&bytes[..at], &bytes[at + 1..]);
    }
}
