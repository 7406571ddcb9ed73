//! What is told of each `sync.Pool`: what it gave, what it had not, what it got back, and who asked; what
//! is worth a look.
//!
//! In: a [`Profile`], in which pools are labels. Out: lines of a table, sentences.

mod findings;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};

pub use findings::{Limits, findings};

use super::caller::place;
use super::describe::counted;
use super::lines::{self, Paint};
use super::table::Style;
use super::text::{grouped, keep_start, printable, share};
use crate::profile::{
    Frame, FrameKind, LabelValue, Name, POOL, POOL_GETS, POOL_MISSES, POOL_PUTS, ProcessId,
    Profile, Sample,
};

/// Pools that are listed.
const LISTED: usize = 20;

/// One pool of one process.
#[derive(Clone, Debug)]
struct Pool {
    process: ProcessId,
    name: Name,
    gets: u64,
    misses: u64,
    puts: u64,
    /// Who does most of each, as an index in the profile's samples: gets, misses, puts.
    hottest: [Option<usize>; 3],
}

/// Where the values of pools are: gets, misses, puts.
fn values(profile: &Profile) -> Option<[usize; 3]> {
    let of = |kind| profile.value_of_kind(kind);
    Some([of(POOL_GETS)?, of(POOL_MISSES)?, of(POOL_PUTS)?])
}

/// All pools of a profile, those with the most gets first.
fn pools(profile: &Profile) -> Vec<Pool> {
    let Some(values) = values(profile) else { return Vec::new() };
    let mut pools: HashMap<(ProcessId, Name), Pool> = HashMap::new();
    for (at, sample) in profile.samples.iter().enumerate() {
        let Some(name) = name(profile, sample) else { continue };
        let pool = pools.entry((sample.process, name)).or_insert(Pool {
            process: sample.process,
            name,
            gets: 0,
            misses: 0,
            puts: 0,
            hottest: [None; 3],
        });
        let [gets, misses, puts] = values.map(|value| sample.value(value));
        pool.gets = pool.gets.saturating_add(gets);
        pool.misses = pool.misses.saturating_add(misses);
        pool.puts = pool.puts.saturating_add(puts);
        for (value, hottest) in values.into_iter().zip(&mut pool.hottest) {
            let most = hottest.map_or(0, |at| profile.samples[at].value(value));
            if sample.value(value) > most {
                *hottest = Some(at);
            }
        }
    }
    let mut pools: Vec<Pool> = pools.into_values().collect();
    pools.sort_by_cached_key(|pool| {
        let name = profile.names.text(pool.name).to_owned();
        (Reverse(pool.gets), Reverse(pool.puts), pool.process, name)
    });
    pools
}

/// The pool that a sample is of.
fn name(profile: &Profile, sample: &Sample) -> Option<Name> {
    let label = sample.labels.iter().find(|label| profile.names.text(label.key) == POOL)?;
    match label.value {
        LabelValue::Text(name) => Some(name),
        LabelValue::Number(_) => None,
    }
}

/// Who calls the pool: the innermost function that is not its own, and the program's, if that is another.
fn caller(profile: &Profile, sample: &Sample) -> String {
    let of_pool = |frame: &&Frame| {
        let name = profile.names.text(frame.function);
        frame.kind == FrameKind::Group || name.starts_with("sync.(*Pool).")
    };
    let mut frames = profile.frames(sample).filter(|frame| !of_pool(frame));
    let Some(inner) = frames.next() else { return "[no stack]".to_owned() };
    let place = |frame: &Frame| place(&profile.names, frame);
    let own = match inner.kind {
        FrameKind::Program => None,
        _ => frames.find(|frame| frame.kind == FrameKind::Program),
    };
    match own {
        Some(own) => format!("{} ← {}", place(inner), place(own)),
        None => place(inner),
    }
}

/// Puts less gets, with its sign.
fn balance(pool: &Pool) -> String {
    match pool.puts.checked_sub(pool.gets) {
        Some(0) => "0".to_owned(),
        Some(more) => format!("+{}", grouped(more)),
        None => format!("-{}", grouped(pool.gets - pool.puts)),
    }
}

/// Writes a table of the pools, if there are any.
pub(super) fn sections(profile: &Profile, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let pools = pools(profile);
    let Some(values) = values(profile).filter(|_| !pools.is_empty()) else { return Ok(()) };
    let mut line = |text: &str, paint| {
        writeln!(out, "{}", lines::paint(&keep_start(text, style.width), paint, style))
    };
    line("", Paint::Plain)?;
    line(&format!("{:>12}  {:>9}  POOL", "BALANCE", "HITS"), Paint::Dim)?;
    for pool in pools.iter().take(LISTED) {
        let hits = match pool.gets {
            0 => "-".to_owned(),
            gets => share(gets.saturating_sub(pool.misses), gets),
        };
        let name = printable(profile.names.text(pool.name));
        let mut text = format!("{:>12}  {hits:>9}  {name}", balance(pool));
        if profile.processes.len() > 1 {
            let process = &profile.processes[pool.process.0 as usize];
            text.push_str(&format!("   {} ({})", printable(&process.comm), process.who()));
        }
        line(&text, Paint::Bold)?;
        let sums = [(pool.gets, "gets"), (pool.misses, "misses"), (pool.puts, "puts")];
        for (at, (sum, what)) in sums.into_iter().enumerate() {
            let by = pool.hottest[at].map_or(String::new(), |sample| {
                let sample = &profile.samples[sample];
                let part = share(sample.value(values[at]), sum);
                format!("  {part:>8}  {}", caller(profile, sample))
            });
            line(&format!("{:>12}  {what:<6}{by}", grouped(sum)), Paint::Plain)?;
        }
    }
    match pools.len().saturating_sub(LISTED) {
        0 => Ok(()),
        left => line(&format!("{} more", counted(left as u64, "pool")), Paint::Dim),
    }
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
    fn each_pool_has_its_sums_and_who_asks() {
        let text = told(&sample::pools());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].trim(), "-8,990      0.1 %  main.frames (New main.newFrame)", "{text}");
        assert_eq!(lines[3].trim(), "9,000  gets     100.0 %  main.(*conn).read (shop/conn.go:31)");
        assert_eq!(lines[4].trim(), "8,995  misses   100.0 %  main.(*conn).read (shop/conn.go:31)");
        assert_eq!(lines[5].trim(), "10  puts     100.0 %  main.(*conn).close (shop/conn.go:58)");
        let by_library = "fmt.newPrinter (fmt/print.go:152) ← main.report (shop/main.go:70)";
        assert!(text.contains(by_library), "{text}");
        assert!(text.contains("+2          -  0xc0000a2000 on the heap"), "{text}");
        assert_eq!(told(&sample::server()), "");
    }

    #[test]
    fn those_beyond_the_list_are_counted() {
        let mut profile = sample::pools();
        let one = profile.samples[0].clone();
        for number in 0..30 {
            let mut more = one.clone();
            let name = profile.names.intern(&format!("main.pool{number}"));
            more.labels[0].value = LabelValue::Text(name);
            profile.samples.push(more);
        }
        assert!(told(&profile).ends_with("14 pools more\n"), "{}", told(&profile));
    }
}
