//! Trends: what grows over time, and whether that is a leak.
//!
//! In: profiles or counts over time. Out: for each stack, line or creator how it goes, with a verdict. Knows no
//! process and no clock.

mod classes;
mod history;
mod judge;
mod keeper;
mod line;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod tests;

pub use history::{Grown, History, Place};
pub use judge::{Doubt, FEWEST, LEAST, Point, SHORTEST, Trend, Verdict, judge, judge_level};
pub use keeper::Keeper;
pub use line::Line;
