//! `heaptap diff --phases`: a recording cut into phases, and these compared.
//!
//! In: a recording, and names of phases with or without times. Out: each phase beside the next, and the first beside
//! the last. A phase has what happened from its beginning to its end, and what there is at its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::export::{self, Open, moment_text, resolve};
use super::super::{outputs, print};
use super::{compared, rooted, write};
use crate::cli::diff::{Config, Phases};
use crate::exit::{Exit, Failure};
use crate::output::text::{duration, grouped, printable};
use crate::profile::diff::{Asked, Kind, Measured};
use crate::profile::phases::{SHORTEST, Shape, cut};
use crate::profile::{Profile, Source};
use crate::recording::Shot;

/// Snapshots that phases are found from; of more, some are left out evenly.
const POINTS: u64 = 1_000;

/// Phases are there when this part of the squared error is left by them, or less.
const LEFT: f64 = 0.5;

/// A phase: its name, and nanoseconds since 1970.
struct Phase {
    name: String,
    begin: u64,
    end: u64,
}

/// Reads, cuts, compares and writes.
///
/// # Errors
/// There are no such phases; the recording can't be read; an output can't be written.
pub fn run(config: &Config, recording: &Path, phases: &Phases) -> Result<(), Failure> {
    let names = phases.names();
    let pairs = pairs(names.len());
    let mut sinks = Vec::new();
    for (before, after) in &pairs {
        let pair = format!("{}-{}", names[*before], names[*after]);
        let paths: Vec<PathBuf> =
            config.show.outputs.iter().map(|path| of_pair(path, &pair)).collect();
        sinks.push(outputs::open(&paths)?);
    }
    let mut open = Open::new(recording, config.max_memory)?;
    let (first, last) = open.span()?;
    let (phases, how) = match phases {
        Phases::Given(given) => {
            let begins = given.iter().map(|(name, moment)| (name.clone(), resolve(*moment, first)));
            (of_begins(begins.collect(), first, last)?, "as given".to_owned())
        }
        Phases::Found(names) => found(config, &mut open, names, last)?,
    };
    let mut measured = Vec::new();
    for phase in &phases {
        measured.push(of_phase(config, &mut open, phase, first)?);
    }
    let to_terminal = config.show.outputs.is_empty()
        || config.show.outputs.iter().any(|path| path.as_os_str() == "-");
    if to_terminal {
        print(&listing(&phases, first, &how))?;
    }
    for ((before, after), sinks) in pairs.into_iter().zip(sinks) {
        let (before, after) = (&measured[before], &measured[after]);
        // Phases are never equally long.
        let kind = config.asked.value.as_ref().map_or_else(
            || after.types.get(after.default),
            |word| after.types.iter().find(|of| of.kind == *word),
        );
        let normalize = kind.is_some_and(|kind| !kind.is_level());
        let diff = compared(before, after, &Asked { normalize, ..config.asked.clone() })?;
        if to_terminal {
            print(&format!("\n{} → {}\n", before.name, after.name))?;
        }
        write(config, &diff, sinks)?;
    }
    Ok(())
}

/// Each with the next, and the first with the last.
fn pairs(count: usize) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = (1..count).map(|after| (after - 1, after)).collect();
    if count > 2 {
        pairs.push((0, count - 1));
    }
    pairs
}

/// `x.svg` of a pair of phases: `x.start-load.svg`.
fn of_pair(path: &Path, pair: &str) -> PathBuf {
    let text = path.to_string_lossy();
    match text.rsplit_once('/') {
        _ if text == "-" => path.to_owned(),
        Some((dir, name)) => PathBuf::from(format!("{dir}/{}", with(name, pair))),
        None => PathBuf::from(with(&text, pair)),
    }
}

fn with(name: &str, pair: &str) -> String {
    let at = [".pb.gz"].iter().find(|end| name.ends_with(**end)).map(|end| name.len() - end.len());
    let at = at.or_else(|| name.rfind('.')).unwrap_or(name.len());
    let (name, suffix) = name.split_at(at);
    format!("{name}.{pair}{suffix}")
}

/// Phases that follow one another to the end.
fn of_begins(begins: Vec<(String, u64)>, first: u64, last: u64) -> Result<Vec<Phase>, Failure> {
    let ends = begins.iter().skip(1).map(|(_, begin)| *begin).chain([last]).collect::<Vec<_>>();
    let mut phases = Vec::new();
    for ((name, begin), end) in begins.into_iter().zip(ends) {
        if begin >= end || begin >= last || begin < first {
            let length = duration(Duration::from_nanos(last - first));
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--phases: {name} has no time in a recording of {length}, from {} to {}",
                    moment_text(first),
                    moment_text(last)
                ),
            ));
        }
        phases.push(Phase { name, begin, end });
    }
    Ok(phases)
}

/// Finds where phases begin, and says how.
fn found(
    config: &Config,
    open: &mut Open,
    names: &[String],
    last: u64,
) -> Result<(Vec<Phase>, String), Failure> {
    let mut totals: Vec<(u64, u64)> = Vec::new();
    let mut shown: Option<Kind> = None;
    let word = config.asked.value.as_deref();
    open.each(POINTS, |mut shot: Shot| {
        export::keep(&mut shot.profile, &config.processes);
        let meta = &shot.profile.meta;
        let value = match word {
            None => Some(meta.default_value),
            Some(word) => meta.value_types.iter().position(|of| of.kind == word),
        };
        if let Some(value) = value {
            let of = meta.value_types[value];
            shown = Some(Kind::new(of.kind, of.unit));
            // Of one time the last one counts.
            totals.pop_if(|(time, _)| *time == shot.time);
            totals.push((shot.time, shot.profile.total(value)));
        }
    })?;
    let refused = |why: &str| Failure::new(Exit::Usage, format!("--phases: {why}"));
    let kind = shown.ok_or_else(|| refused("the recording has no such value"))?;
    let seconds = |time: u64| time as f64 / 1e9;
    let origin = totals.first().map_or(0, |(time, _)| *time);
    // A point for each snapshot, or for each two: where the time that a rate is of begins.
    let (points, shape): (Vec<(f64, f64)>, Shape) = match kind.is_level() {
        true => (
            totals.iter().map(|(time, of)| (seconds(time - origin), *of as f64)).collect(),
            Shape::Line,
        ),
        false => {
            let rates =
                totals.iter().zip(totals.iter().skip(1)).map(|((from, before), (to, after))| {
                    let more = after.saturating_sub(*before) as f64;
                    (seconds(from - origin), more / seconds(to - from))
                });
            (rates.collect(), Shape::Mean)
        }
    };
    let Some(cut) = cut(&points, names.len(), shape).filter(|cut| cut.left <= LEFT) else {
        return Err(refused(&format!(
            "no {} phases are in {} of {} snapshots, with {SHORTEST} or more each; say when they begin: \
             {}=0s,{}=30s",
            names.len(),
            printable(&kind.kind),
            grouped(totals.len() as u64),
            names[0],
            names[1],
        )));
    };
    // A level that is another one has become so since the point before; rates are told by when they begin.
    let before = usize::from(shape == Shape::Line);
    let begins = names.iter().zip(&cut.begins).map(|(name, at)| {
        let (begin, _) = totals[at.saturating_sub(before)];
        (name.clone(), begin)
    });
    let phases = of_begins(begins.collect(), origin, last)?;
    let (what, each) = match shape {
        Shape::Line => (kind.kind.clone(), "a straight line"),
        Shape::Mean => (format!("the rate of {}", kind.kind), "a mean"),
    };
    let how = format!(
        "found from {} of {} snapshots: {each} for each phase leaves {:.1} % of the squared error of one \
         for all",
        printable(&what),
        grouped(totals.len() as u64),
        100.0 * cut.left
    );
    Ok((phases, how))
}

/// What a phase has.
fn of_phase(
    config: &Config,
    open: &mut Open,
    phase: &Phase,
    first: u64,
) -> Result<Measured, Failure> {
    let until = open.at_time(phase.end)?;
    let mut profile = rooted(until);
    // What is counted since a recording began has no beginning before its first snapshot.
    let is_whole = phase.begin <= first && profile.meta.source != Source::Records;
    if !is_whole {
        let before = rooted(open.at_time(phase.begin)?);
        since(&mut profile, &before, phase)?;
    }
    export::keep(&mut profile, &config.processes);
    Ok(Measured::new(phase.name.clone(), profile))
}

fn since(profile: &mut Profile, before: &Profile, phase: &Phase) -> Result<(), Failure> {
    let end = |profile: &Profile| profile.meta.started + profile.meta.duration;
    if end(profile) <= end(before) {
        let text = format!("--phases: there are no two snapshots in {}", phase.name);
        return Err(Failure::new(Exit::Usage, text));
    }
    profile.since(before);
    Ok(())
}

fn listing(phases: &[Phase], first: u64, how: &str) -> String {
    let after = |time: u64| duration(Duration::from_nanos(time.saturating_sub(first)));
    let one = |Phase { name, begin, end }: &Phase| {
        let length = duration(Duration::from_nanos(end - begin));
        format!("  {name}: {} to {}, {length}\n", after(*begin), after(*end))
    };
    let all: String = phases.iter().map(one).collect();
    format!("{} phases, {how}:\n{all}", phases.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_files_of_its_own() {
        let of = |path: &str| of_pair(Path::new(path), "a-b").to_string_lossy().into_owned();
        assert_eq!(of("x.svg"), "x.a-b.svg");
        assert_eq!(of("dir.d/x.pb.gz"), "dir.d/x.a-b.pb.gz");
        assert_eq!(of("-"), "-");
        assert_eq!((pairs(2), pairs(3)), (vec![(0, 1)], vec![(0, 1), (1, 2), (0, 2)]));
    }

    #[test]
    fn phases_follow_one_another() {
        let begins = |times: [u64; 3]| {
            let names = ["a", "b", "c"].map(str::to_owned);
            names.into_iter().zip(times).collect::<Vec<_>>()
        };
        let phases = of_begins(begins([10, 20, 30]), 10, 50).unwrap();
        let times: Vec<_> = phases.iter().map(|phase| (phase.begin, phase.end)).collect();
        assert_eq!(times, [(10, 20), (20, 30), (30, 50)]);
        for times in [[10, 10, 30], [10, 30, 20], [10, 20, 50], [9, 20, 30]] {
            assert_eq!(of_begins(begins(times), 10, 50).err().unwrap().exit, Exit::Usage);
        }
    }
}
