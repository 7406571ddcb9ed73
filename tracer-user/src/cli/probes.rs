//! What can be recorded, and what stacks can be weighed by; shared by the commands that record.
//!
//! In: names. Out: parts of configurations.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::output::maps::Limits;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, MAP_ELEMENTS, MAP_ITERATIONS, MAP_STEPS, MAP_TIME, ValueType,
};

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probes {
    /// Allocations.
    pub alloc: bool,
    /// Iterations over maps.
    pub map: Option<MapForm>,
}

/// How iterations over maps are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapForm {
    /// One trap for each, when it begins.
    Count,
    /// One trap for each step.
    Exact,
}

impl Probes {
    /// Everything that some names stand for.
    pub(super) fn of(names: &[Probe]) -> Self {
        let has = |name| names.contains(&name);
        let map = match (has(Probe::Map), has(Probe::MapCount)) {
            (true, _) => Some(MapForm::Exact),
            (false, true) => Some(MapForm::Count),
            (false, false) => None,
        };
        Self { alloc: has(Probe::Alloc), map }
    }

    /// What stacks are weighed by when nothing is said.
    pub(super) fn default_value(self) -> Value {
        match self {
            Probes { alloc: true, .. } => Value::Bytes,
            Probes { map: Some(MapForm::Count), .. } => Value::Elements,
            Probes { .. } => Value::Steps,
        }
    }

    /// Whether this is measured.
    pub(super) fn have(self, value: Value) -> bool {
        match value {
            Value::Bytes | Value::Objects => self.alloc,
            Value::Iterations => self.map.is_some(),
            Value::Steps | Value::Time => self.map == Some(MapForm::Exact),
            Value::Elements => self.map == Some(MapForm::Count),
        }
    }
}

/// What can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Probe {
    /// Allocations; --mode says how
    Alloc,
    /// Iterations over maps, each step of each
    Map,
    /// Iterations over maps, counted as they begin: much cheaper
    MapCount,
}

/// What stacks are weighed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Value {
    /// Bytes allocated
    Bytes,
    /// Number of allocations
    Objects,
    /// Iterations over maps
    Iterations,
    /// Elements that iterations visited (probe map)
    Steps,
    /// Time that iterations took, with what is nested in them (probe map)
    Time,
    /// Elements that maps had when iterations began (probe map-count)
    Elements,
}

impl Value {
    pub fn value_type(self) -> ValueType {
        match self {
            Value::Bytes => ALLOC_SPACE,
            Value::Objects => ALLOC_OBJECTS,
            Value::Iterations => MAP_ITERATIONS,
            Value::Steps => MAP_STEPS,
            Value::Time => MAP_TIME,
            Value::Elements => MAP_ELEMENTS,
        }
    }
}

/// What is told of iterations over maps beside their stacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MapReport {
    /// What is worth a finding.
    pub limits: Limits,
    /// Where the picture of steps over time goes.
    pub heat: Option<PathBuf>,
}
