//! What receivers of alerts are told: bodies of requests, each in its receiver's own form.
//!
//! In: an [`Alert`], and what is known of the process at that moment. Out: a [`Request`]. Sends nothing and knows no
//! network; names of programs, containers and functions are somebody else's, and are escaped as the form wants it.

mod forms;

use super::push::client::Target;
use super::rules::{Alert, Of};
use crate::output::text::{bytes, duration, printable};

pub use forms::Form;

/// Stacks that are told of a process.
pub const STACKS: usize = 3;
/// Frames of each.
const FRAMES: usize = 6;

/// Who is told of alerts, as the configuration has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Unlike all others'.
    pub name: String,
    pub form: Form,
    pub target: Target,
    /// Alerts that it is told of in an hour; others are counted.
    pub per_hour: u32,
}

/// What is told beside the alert itself.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub node: &'a str,
    /// Those with most bytes alive, most first; of each its frames, innermost first.
    pub stacks: &'a [(Vec<String>, u64)],
    /// Files that are being made of it.
    pub captures: &'a [String],
}

/// A body to be posted.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Behind the receiver's address.
    pub path: &'static str,
    pub body: serde_json::Value,
}

/// `api (4242) on n1: many goroutines: go_goroutine_count is 12000, above 10000 for 2 min`.
pub fn summary(alert: &Alert, about: &About<'_>) -> String {
    let rule = &alert.rule;
    let name = rule.metric.0.full_name();
    let shown = |value: f64| number(value, &name);
    let of = match rule.of {
        Of::Value => name.clone(),
        Of::Rate(over) => format!("change of {name} a second over {}", duration(over)),
        Of::Quantile(part, over) => {
            format!("{} % quantile of {name} over {}", 100.0 * part, duration(over))
        }
    };
    let whom = format!("{} ({}) on {}", alert.who.comm, alert.who.id.pid, about.node);
    let labels =
        if alert.labels.is_empty() { String::new() } else { format!(" {{{}}}", alert.labels) };
    let text = match alert.ended {
        Some(_) => format!("{whom}: {}: over: {of}{labels} was {}", rule.name, shown(alert.value)),
        None => format!(
            "{whom}: {}: {of}{labels} is {}, {} {}{}",
            rule.name,
            shown(alert.value),
            rule.bound.word(),
            shown(rule.bound.value()),
            if rule.hold.is_zero() {
                String::new()
            } else {
                format!(" for {}", duration(rule.hold))
            }
        ),
    };
    printable(&text).into_owned()
}

/// As people read it: bytes with a unit, others with as many digits as say something.
fn number(value: f64, name: &str) -> String {
    if name.ends_with("_bytes") && value.abs() < 1e18 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", bytes(value.abs() as u64));
    }
    match value {
        value if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value}"),
        value => format!("{:.digits$}", value, digits = if value.abs() < 1.0 { 4 } else { 2 }),
    }
}

/// `512.0 MiB: main.read ← main.serve`, of each stack.
fn lines(about: &About<'_>) -> Vec<String> {
    let line = |(frames, live): &(Vec<String>, u64)| {
        let shown: Vec<&str> = frames.iter().take(FRAMES).map(String::as_str).collect();
        let more = if frames.len() > FRAMES { " ← …" } else { "" };
        printable(&format!("{}: {}{more}", bytes(*live), shown.join(" ← "))).into_owned()
    };
    about.stacks.iter().take(STACKS).map(line).collect()
}

#[cfg(test)]
mod tests;
