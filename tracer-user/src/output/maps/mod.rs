//! What is told of iterations over maps beside their stacks: how deep, the hottest functions, when; what
//! is worth a look.
//!
//! In: a [`Profile`]. Out: lines of a table, a picture, sentences.

mod findings;
mod heat;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};

pub use findings::{FINDING, Limits, findings};
pub use heat::svg;

use super::describe::counted;
use super::lines::{self, Paint};
use super::table::Style;
use super::text::{grouped, keep_start, nanoseconds, printable, share, short_path};
use crate::profile::{Frame, FrameKind, Iterations, Name, Profile};

/// Functions that are listed.
const HOTTEST: usize = 20;

/// The innermost frame of a stack that is not the runtime's, and where it is.
pub(super) fn label<'a>(
    profile: &Profile,
    frames: impl Iterator<Item = &'a Frame> + Clone,
) -> String {
    let own = frames.clone().find(|frame| frame.kind != FrameKind::Runtime);
    let Some(frame) = own.or(frames.clone().next()) else { return "[no stack]".to_owned() };
    let name = printable(profile.names.text(frame.function));
    let file = printable(short_path(profile.names.text(frame.file)));
    match frame.line {
        0 => name.into_owned(),
        line => format!("{name} ({file}:{line})"),
    }
}

/// What a stack's iterations were like, in two lines.
pub(super) fn about(of: &Iterations) -> [String; 2] {
    // What is less than what following it took can't be told.
    let within = |part| match of.by_time.quantile(part) {
        None | Some((_, 0)) => "next to nothing".to_owned(),
        Some((_, high)) => nanoseconds(high),
    };
    let first = format!(
        "half take up to {}, 99 % up to {}; {} to the end, {} deep",
        within(0.5),
        within(0.99),
        share(of.complete, of.count),
        of.deepest()
    );
    let longest = of.worst.first().map(|worst| {
        let (time, goroutine) = (nanoseconds(worst.time), worst.goroutine);
        format!("longest {time} for {} in goroutine {goroutine}", counted(worst.steps, "step"))
    });
    let mut second = longest.unwrap_or_default();
    if let Some(most) = of.most_steps.filter(|most| Some(most) != of.worst.first()) {
        second.push_str(&format!("; most {}", counted(most.steps, "step")));
    }
    [first, second]
}

/// Writes what all iterations have in common, if there are any: depths, functions, heat.
pub(super) fn sections(profile: &Profile, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut all = Iterations::default();
    let followed = || profile.samples.iter().filter_map(|sample| sample.iterations.as_deref());
    followed().for_each(|of| all.add(of));
    if all.count == 0 {
        return Ok(());
    }
    let line = |out: &mut dyn Write, text: &str, paint| {
        writeln!(out, "{}", lines::paint(&keep_start(text, style.width), paint, style))
    };
    let [shallow, deep, deepest] = all.depth_classes();
    let part = |count| format!("{} ({})", grouped(count), share(count, all.count));
    writeln!(out)?;
    line(out, "iterations by depth of nesting", Paint::Dim)?;
    let mut classes =
        format!("  1 to 3: {}   4 to 8: {}   over 8: {}", part(shallow), part(deep), part(deepest));
    let unknown = all.count.saturating_sub(shallow + deep + deepest);
    if unknown > 0 {
        classes.push_str(&format!("   not known: {}", part(unknown)));
    }
    line(out, &classes, Paint::Plain)?;
    let (functions, left) = hottest(profile);
    writeln!(out)?;
    line(out, "functions by steps", Paint::Dim)?;
    for (name, of) in &functions {
        let text = format!(
            "{:>8}  {:>12} steps  {:>10} iterations  {:>9}   {}",
            share(of.steps, all.steps),
            grouped(of.steps),
            grouped(of.count),
            nanoseconds(of.time),
            printable(profile.names.text(*name))
        );
        line(out, &text, Paint::Plain)?;
    }
    if left > 0 {
        line(out, &format!("{} more", counted(left as u64, "function")), Paint::Dim)?;
    }
    heat::text(profile, style, out)
}

/// Iterations by the innermost function that is not the runtime's, those with most steps first; and
/// how many functions are left out.
fn hottest(profile: &Profile) -> (Vec<(Name, Iterations)>, usize) {
    let mut by_name: HashMap<Name, Iterations> = HashMap::new();
    for sample in &profile.samples {
        let Some(of) = sample.iterations.as_deref() else { continue };
        let own = profile.frames(sample).find(|frame| frame.kind != FrameKind::Runtime);
        if let Some(frame) = own.or(profile.frames(sample).next()) {
            by_name.entry(frame.function).or_default().add(of);
        }
    }
    let mut all: Vec<(Name, Iterations)> = by_name.into_iter().collect();
    all.sort_by_key(|(name, of)| (Reverse(of.steps), profile.names.text(*name).to_owned()));
    let left = all.len().saturating_sub(HOTTEST);
    all.truncate(HOTTEST);
    (all, left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn told(profile: &Profile) -> String {
        let mut out = Vec::new();
        sections(profile, Style::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn depths_functions_and_heat_are_told() {
        let text = told(&sample::maps());
        assert!(text.contains("1 to 3: 40 (55.6 %)   4 to 8: 32 (44.4 %)   over 8: 0"), "{text}");
        let first = text.find("main.rebuild").unwrap();
        assert!(first < text.find("main.(*Shop).lookup").unwrap(), "{text}");
        assert!(text.contains("10,000,000 steps") && text.contains("40 iterations"), "{text}");
        assert_eq!(told(&sample::server()), "");
        let mut lossy = sample::maps();
        if let Some(of) = &mut lossy.samples[1].iterations {
            of.by_depth.clear();
        }
        assert!(told(&lossy).contains("not known: 32 (44.4 %)"));
    }

    #[test]
    fn a_stacks_iterations_are_two_lines() {
        let profile = sample::maps();
        let [first, second] = about(profile.samples[0].iterations.as_deref().unwrap());
        assert!(first.starts_with("half take up to 31") && first.ends_with("1 deep"), "{first}");
        assert!(first.contains("87.5 % to the end"), "{first}");
        assert!(second.starts_with("longest 30.0 ms for 250,000 steps in goroutine"), "{second}");
    }
}
