//! What a rule asks for: which metric, what of it, and which side of a bound.
//!
//! In: words of the file. Out: checked parts of a [`super::Rule`], each with the reason why a word can't be.

use std::fmt;
use std::time::Duration;

use crate::agent::metrics::{self, Family, Numbers};
use crate::agent::node::Process;
use crate::host;

/// A metric of processes that there is.
#[derive(Clone, Copy)]
pub struct Metric(pub &'static Family<Process>);

impl Metric {
    /// # Errors
    /// There is none of that name.
    pub fn find(name: &str) -> Result<Self, String> {
        metrics::of_processes(name).map(Metric).ok_or_else(|| {
            let name = name.escape_debug();
            format!("there is no metric \"{name}\" of processes (docs/agent.md lists them)")
        })
    }

    pub fn is_histogram(self) -> bool {
        matches!(self.0.numbers, Numbers::Histogram(_))
    }

    pub fn is_counter(self) -> bool {
        matches!(self.0.numbers, Numbers::Counter(_))
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0.full_name())
    }
}

/// What of a metric is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Of {
    /// As it is.
    Value,
    /// By how much it changes a second, over such a time.
    Rate(Duration),
    /// The value that this part of a histogram's values is not above, of those within such a time.
    Quantile(f64, Duration),
}

/// Beyond which a rule holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Above(f64),
    Below(f64),
}

impl Bound {
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::Above(bound) => value > bound,
            Bound::Below(bound) => value < bound,
        }
    }

    pub fn value(self) -> f64 {
        let (Bound::Above(value) | Bound::Below(value)) = self;
        value
    }

    pub fn word(self) -> &'static str {
        match self {
            Bound::Above(_) => "above",
            Bound::Below(_) => "below",
        }
    }
}

/// A glob, as selections have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub String);

impl Pattern {
    pub fn matches(&self, text: &str) -> bool {
        host::matches(self.0.as_bytes(), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_metric_that_nobody_tells() {
        assert!(Metric::find("go_goroutine_count").is_ok());
        let why = Metric::find("go_goroutines\n").unwrap_err();
        assert!(why.contains("\"go_goroutines\\n\""), "{why}");
    }
}
