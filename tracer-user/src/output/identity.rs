//! Who a process is and where it runs, as documents write it.
//!
//! In: names and numbers. Out: the fields that each process of the documents of `stats`, `top` and `gc` begins
//! with, and those of where it runs, which profiles have too.

use serde::Serialize;

use crate::profile::Workload;

/// The first fields of a process.
#[derive(Serialize)]
pub struct Identity<'a> {
    pub pid: u32,
    start_ticks: u64,
    comm: &'a str,
    path: &'a str,
    go_version: Option<&'a str>,
    #[serde(flatten)]
    place: Place<'a>,
}

/// Where a process runs.
#[derive(Serialize)]
pub struct Place<'a> {
    container: Option<&'a str>,
    container_name: Option<&'a str>,
    pod_name: Option<&'a str>,
    pod_namespace: Option<&'a str>,
    unit: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// `container` is the container's id.
    pub fn new(container: Option<&'a str>, workload: &'a Workload) -> Self {
        Self {
            container,
            container_name: workload.container.as_deref(),
            pod_name: workload.pod.as_deref(),
            pod_namespace: workload.namespace.as_deref(),
            unit: workload.unit.as_deref(),
        }
    }
}

impl<'a> Identity<'a> {
    /// `id` is its number and when it started, in clock ticks; `container` the container's id.
    pub fn new(
        id: (u32, u64),
        [comm, path]: [&'a str; 2],
        go_version: Option<&'a str>,
        container: Option<&'a str>,
        workload: &'a Workload,
    ) -> Self {
        Self {
            pid: id.0,
            start_ticks: id.1,
            comm,
            path,
            go_version,
            place: Place::new(container, workload),
        }
    }
}
