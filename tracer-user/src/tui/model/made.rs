//! Made-up processes for tests.

use std::time::{Duration, SystemTime};

use super::list::List;
use super::process::{Look, Unread};
use crate::host::{CgroupMemory, Identity, MemoryUse};
use crate::profile::Workload;
use crate::runtime::stats::Collector;
use crate::runtime::stats::made::stats;

const MIB: u64 = 1 << 20;

pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// `orders` in a container, `web` in a pod, `cron` as a service without a collector.
pub fn looks() -> Vec<Look> {
    let look = |pid, comm: &str, heap: u64, goroutines| {
        let mut stats = stats();
        stats.heap.alloc = heap;
        Look {
            id: Identity { pid, start: 77 },
            comm: comm.into(),
            path: format!("/usr/bin/{comm}"),
            go_version: Some("1.27.3".into()),
            container: None,
            workload: Workload::default(),
            stats,
            goroutines,
            memory: MemoryUse {
                resident: Some(40 * MIB),
                anonymous: Some(30 * MIB),
                swapped: Some(0),
                cgroup: Some(CgroupMemory { usage: 100 * MIB, limit: Some(1024 * MIB) }),
            },
        }
    };
    let mut orders = look(4242, "orders", 12 * MIB, 120);
    orders.container = Some("3f8a6c0d9e1b77aa".into());
    orders.workload.container = Some("shop-orders-1".into());
    let mut web = look(777, "web", 5 * MIB, 4000);
    web.workload.pod = Some("web-pod-x1".into());
    web.workload.namespace = Some("prod".into());
    let mut cron = look(31, "cron", MIB, 3);
    cron.workload.unit = Some("cron.service".into());
    cron.stats.collector = Collector::default();
    cron.stats.heap.goal = None;
    cron.memory = MemoryUse::default();
    vec![orders, web, cron]
}

pub fn list() -> List {
    let mut list = List::default();
    list.update(now(), looks(), unread());
    list
}

pub fn unread() -> Vec<Unread> {
    let reason = "/usr/bin/old: go1.16 is too old".to_owned();
    vec![Unread { pid: 7, comm: "old".into(), reason }]
}
