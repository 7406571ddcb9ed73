//! `heaptap gc` says by which stacks a heap grew from one collection to the next: of a program that keeps
//! a known number of bytes in known cycles, on every release.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::watching::Watching;
use heaptap_tests::{Fixture, Running, Variant};
use serde_json::Value;
use xtask::each_release;

/// What the program is told to do before each collection, and how many bytes an object takes.
const PHASES: [(&str, i64); 3] = [("retain", 512), ("store", 256), ("waste", 128)];

/// Bytes by function: allocated, and by how much what is alive grew.
type Truth = BTreeMap<&'static str, (i64, i64)>;

/// A program that is made to collect, and who watches it.
struct Session {
    program: Running,
    watching: Watching,
    retained: i64,
    did: Did,
}

/// What the program did.
struct Did {
    /// Number of the collection before the first one that is told.
    before: u64,
    /// Before each collection that was forced.
    by_number: BTreeMap<u64, Truth>,
}

impl Session {
    fn start(fixture: &Fixture, rate: &str, gogc: &str) -> Result<Session> {
        heaptap_tests::require_root()?;
        let mut command = Command::new(&fixture.program);
        command.env("GOGC", gogc).env("GC_RATE", rate);
        if rate != "1" {
            // How far it is to the first sample was drawn before the program could say a rate: from the default one,
            // of 512 KiB, for each of the runtime's processors. 16 MiB later that is over.
            command.env("GOMAXPROCS", "1");
        }
        let mut program = Running::start(command)?;
        program.ask("waste 131072")?;
        let before = program.ask("force")?.parse()?;
        let watching = Watching::in_mode(program.pid(), "records")?;
        let did = Did { before, by_number: BTreeMap::new() };
        Ok(Session { program, watching, retained: 0, did })
    }

    /// Does one of [`PHASES`] and waits until the collection after it was seen.
    fn phase(&mut self, (name, size): (&'static str, i64), objects: i64) -> Result<()> {
        let bytes = objects * size;
        let kept = if name == "waste" { 0 } else { bytes };
        self.retained += if name == "retain" { bytes } else { 0 };
        self.collect(&format!("{name} {objects}"), (name, (bytes, kept)))
    }

    /// Lets go of all that was retained.
    fn forget(&mut self) -> Result<()> {
        let freed = std::mem::take(&mut self.retained);
        self.collect("forget", ("retain", (0, -freed)))
    }

    fn collect(&mut self, line: &str, truth: (&'static str, (i64, i64))) -> Result<()> {
        let number = self.program.ask(line)?.parse()?;
        let seen = self.did.by_number.last_key_value().map_or(self.did.before, |(last, _)| *last);
        (seen + 1..=number).try_for_each(|number| self.watching.sees(number).map(|_| ()))?;
        self.did.by_number.insert(number, BTreeMap::from([truth]));
        Ok(())
    }
}

impl Did {
    /// What was done in collections that were told together.
    fn in_all(&self, first: u64, last: u64) -> Truth {
        let mut sum: Truth = PHASES.iter().map(|(name, _)| (*name, (0, 0))).collect();
        for (name, (allocated, grew)) in self.by_number.range(first..=last).flat_map(|(_, did)| did)
        {
            let (all, more) = sum.entry(name).or_default();
            (*all, *more) = (*all + allocated, *more + grew);
        }
        sum
    }
}

fn number(value: &Value, name: &str) -> Result<i64> {
    value[name].as_i64().with_context(|| format!("no number {name}: {value}"))
}

/// What a span says of the stacks that end in a function of the program: allocated and grown bytes, and
/// the squares of their errors.
fn told(growth: &Value, span: &Value, function: &str) -> Result<[(i64, f64); 2]> {
    let name = format!("main.{function}");
    let mut sums = [(0, 0.0); 2];
    for by in span["by_stack"].as_array().context("no stacks")? {
        let stack = &growth["stacks"][usize::try_from(number(by, "stack")?)?];
        if stack[0]["function"] != *name {
            continue;
        }
        ensure!(stack[1]["function"] == "main.main", "{stack}");
        let fields = [("allocated_bytes", "allocated_error"), ("grew_bytes", "grew_error")];
        for (sum, (bytes, error)) in sums.iter_mut().zip(fields) {
            *sum = (sum.0 + number(by, bytes)?, sum.1 + (number(by, error)? as f64).powi(2));
        }
    }
    Ok(sums)
}

/// By how much a sum of objects of this many bytes is off, in standard deviations, when about one in `rate` bytes is
/// sampled: of the number that are in it in truth, not of those that happened to be sampled.
fn deviation(bytes: i64, size: i64, rate: u64) -> f64 {
    let sampled = 1.0 - (-(size as f64) / rate as f64).exp();
    let objects = (bytes / size).unsigned_abs() as f64;
    size as f64 * (objects * (1.0 - sampled) / sampled).sqrt()
}

/// Compares all spans and their total with what the program did; which phases were told alone.
fn compare(did: &Did, growth: &Value, rate: u64) -> Result<Vec<&'static str>> {
    let mut alone = Vec::new();
    let spans = growth["spans"].as_array().context("no spans")?;
    let mut next = did.before + 1;
    for span in spans.iter().chain([&growth["total"]]) {
        let (first, last) = (number(span, "first")? as u64, number(span, "last")? as u64);
        if !std::ptr::eq(span, &growth["total"]) {
            ensure!(first == next, "GC {next} is in no span: {growth}");
            next = last + 1;
        }
        let truths = did.in_all(first, last);
        for (name, size) in PHASES {
            let (allocated, grew) = truths[name];
            for ((found, square), truth) in
                told(growth, span, name)?.into_iter().zip([allocated, grew])
            {
                let place = format!("GC {first} to {last}, {name}");
                let off = (found - truth).abs() as f64;
                if rate == 1 {
                    ensure!(square == 0.0, "{place}: an error of {square}: {span}");
                    ensure!(off == 0.0, "{place}: {found}, not {truth}: {span}");
                    continue;
                }
                let deviation = deviation(truth, size, rate);
                ensure!(off <= 6.0 * deviation, "{place}: {found}, not {truth}: {span}");
                // What is told holds 95 %, and so is about two of them wide: as wide as what was sampled lets it be.
                let (least, most) = (1.2 * deviation, 3.0 * deviation);
                let width = square.sqrt();
                ensure!((least..=most).contains(&width), "{place}: ±{width}, {deviation}: {span}");
            }
        }
        if first == last {
            alone.extend(did.by_number.get(&first).into_iter().flat_map(|did| did.keys().copied()));
        }
    }
    ensure!(next == did.before + 1 + did.by_number.len() as u64, "{growth}");
    ensure!(growth["unknown"] == 0, "{growth}");
    Ok(alone)
}

/// Runs all phases some times, and compares.
fn phases(go: &str, variant: Variant, rate: u64, objects: i64) -> Result<()> {
    let fixture = Fixture::build("gc", go, variant)?;
    let mut session = Session::start(&fixture, &rate.to_string(), "off")?;
    for _ in 0..3 {
        for phase in PHASES {
            session.phase(phase, objects)?;
        }
    }
    session.forget()?;
    let Session { watching, did, .. } = session;
    let (document, svg, rest) = watching.stop()?;
    let growth = &document["processes"][0]["growth"];
    ensure!(growth["rate"] == rate && growth["notes"] == serde_json::json!([]), "{growth}");
    let alone = compare(&did, growth, rate)?;
    ensure!(PHASES.iter().all(|(name, _)| alone.contains(name)), "{alone:?} alone: {growth}");
    ensure!(
        rest.contains("    main.retain (gc/main.go:") && svg.contains("main.retain ("),
        "{rest}"
    );
    let said = if rate == 1 { "every object is sampled" } else { "holds 95 %" };
    ensure!(rest.split_whitespace().collect::<Vec<_>>().join(" ").contains(said), "{rest}");
    Ok(())
}

// With every object sampled, what each cycle grew by is what the program says, to the byte; with few of
// them, it is within the error that is told.
each_release! {
    default: |go| phases(go, Variant::Default, 1, 10_000);
    stripped: |go| phases(go, Variant::Stripped, 1, 10_000);
    sampled: |go| phases(go, Variant::Stripped, 64 << 10, 80_000);
}

/// A program that collects by itself, too, as fast as it can: whatever was told together, the sum is right.
#[test]
fn in_all_nothing_is_missing_and_nothing_told_twice() -> Result<()> {
    for go in ["1.19", "1.23", "1.27"] {
        let fixture = Fixture::build("gc", go, Variant::Stripped)?;
        let mut session = Session::start(&fixture, "1", "5")?;
        for _ in 0..3 {
            for phase in PHASES {
                session.phase(phase, 5000)?;
            }
        }
        let Session { watching, did, .. } = session;
        let (document, ..) = watching.stop()?;
        let growth = &document["processes"][0]["growth"];
        let total = &growth["total"];
        let (first, last) = (number(total, "first")? as u64, number(total, "last")? as u64);
        ensure!(growth["unknown"] == 0 && last - first > 9, "go{go}: {growth}");
        let spans = growth["spans"].as_array().context("no spans")?;
        for (name, (allocated, grew)) in did.in_all(first, last) {
            let mut sums = [0; 2];
            for span in spans {
                let told = told(growth, span, name)?;
                (0..2).for_each(|at| sums[at] += told[at].0);
            }
            // What the runtime takes for a collection that begins in an allocation is told there, as pprof does.
            let near = |(sum, truth): (i64, i64)| (truth..truth + 1024).contains(&sum);
            ensure!(near((sums[0], allocated)), "go{go} {name}: {sums:?}: {growth}");
            ensure!(near((sums[1], grew)), "go{go} {name}: {sums:?}: {growth}");
            let told = told(growth, total, name)?.map(|(bytes, _)| bytes);
            ensure!(told == sums, "go{go} {name}: {told:?}, not {sums:?}: {growth}");
        }
    }
    Ok(())
}

#[test]
fn without_a_sampler_it_is_said_so_and_it_can_be_turned_on() -> Result<()> {
    heaptap_tests::require_root()?;
    let fixture = Fixture::build("unprofiled", "1.27", Variant::Stripped)?;
    let mut program = fixture.start()?;
    let watching = Watching::with(program.pid(), &[])?;
    program.ask("gc")?;
    watching.rows.next()?.context("no row")?;
    let (document, _, rest) = watching.stop()?;
    let growth = &document["processes"][0]["growth"];
    ensure!(growth["rate"].is_null() && growth["total"].is_null(), "{growth}");
    ensure!(growth["unknown"] == document["processes"][0]["count"], "{growth}");
    let said = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(said.contains("growth not known: the program's heap sampler is off"), "{rest}");
    ensure!(said.contains("--enable-sampler"), "{rest}");
    let watching = Watching::with(program.pid(), &["--enable-sampler=1"])?;
    // The first one is of a time when it was off: what is told begins at its end.
    program.ask("gc")?;
    watching.rows.next()?.context("no row")?;
    for _ in 0..4 {
        program.ask("keep 3000")?;
        program.ask("gc")?;
        watching.rows.next()?.context("no row")?;
    }
    let (document, _, rest) = watching.stop()?;
    ensure!(program.ask("rate")? == "rate 0", "it was left on");
    let growth = &document["processes"][0]["growth"];
    let told_of = 5 - number(growth, "unknown")?;
    ensure!(growth["rate"] == 1 && (1..=4).contains(&told_of), "{growth}");
    // What it keeps, and the list of that, which grows in the same line.
    let [(allocated, _), (grew, _)] = told(growth, &growth["total"], "keep")?;
    let kept = told_of * 3000 * 1024;
    ensure!(grew >= kept && allocated >= grew && grew < kept + 500_000, "{growth}");
    ensure!(rest.contains("main.keep ("), "{rest}");
    ensure!(growth["notes"][0].as_str().is_some_and(|n| n.contains("turned on meanwhile")));
    Ok(())
}

#[test]
fn nobody_has_to_want_stacks() -> Result<()> {
    heaptap_tests::require_root()?;
    let mut program = Fixture::build("gc", "1.27", Variant::Stripped)?.start()?;
    let watching = Watching::with(program.pid(), &["--top", "0"])?;
    watching.sees(program.ask("force")?.parse()?)?;
    let (document, _, rest) = watching.stop()?;
    ensure!(document["processes"][0]["growth"].is_null() && !rest.contains("growth"), "{rest}");
    Ok(())
}

#[test]
fn collections_that_are_no_cycles_of_the_profile_are_refused() -> Result<()> {
    heaptap_tests::require_root()?;
    let fixture = Fixture::build("gc", "1.27", Variant::Stripped)?;
    let mut command = Command::new(&fixture.program);
    command.env("GODEBUG", "gcstoptheworld=2");
    let mut program = Running::start(command)?;
    program.ask("force")?;
    let watching = Watching::with(program.pid(), &[])?;
    watching.sees(program.ask("force")?.parse()?)?;
    let (document, _, rest) = watching.stop()?;
    let note = document["processes"][0]["growth"]["notes"][0].as_str().context("no note")?;
    ensure!(note.contains("gcstoptheworld"), "{note}");
    ensure!(rest.contains("can't be read"), "{rest}");
    Ok(())
}
