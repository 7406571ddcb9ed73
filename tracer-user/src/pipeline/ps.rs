//! `heaptap ps`: the Go programs of this host.
//!
//! In: a [`Survey`]. Out: a table for people, or the document `heaptap.ps/1` (docs/host-json.md).

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::programs::{self, Mode, Program, Survey, Unseen, not_permitted};
use super::{json, print, terminal};
use crate::cli::PsConfig;
use crate::exit::Failure;
use crate::gobin::{Facts, LoadType};
use crate::host::{self, System};
use crate::output::text::{keep_end, keep_start, printable};
use crate::profile::Source;

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.ps/1";

/// Lists the Go programs.
///
/// # Errors
/// /proc can't be listed, or standard output can't be written.
pub fn run(config: &PsConfig) -> Result<(), Failure> {
    let survey =
        programs::survey().map_err(|error| Failure::new(error.exit(), error.to_string()))?;
    if config.json {
        return print(&json("heaptap.ps/1", &Document::new(&survey), true)?);
    }
    print(&table(&survey.programs, terminal::width()))?;
    if let Some(remark) = remark(&survey, &host::system()) {
        // A remark that nobody can read is no failure.
        let _ = writeln!(io::stderr(), "heaptap: {remark}");
    }
    Ok(())
}

/// One line about what is not in the table.
fn remark(survey: &Survey, system: &System) -> Option<String> {
    let unseen = survey.unseen.len();
    let denied = survey.unseen.iter().filter(|unseen| unseen.is_permission).count();
    let first = survey.unseen.iter().find(|unseen| !unseen.is_permission);
    let mut parts = Vec::new();
    if survey.programs.is_empty() {
        parts.push("no Go program found".to_owned());
    }
    if denied > 0 {
        parts.push(not_permitted(system, denied));
    }
    if let Some(first) = first {
        let more = match unseen - denied {
            1 => String::new(),
            count => format!(" (and {} more; --json tells all)", count - 1),
        };
        parts.push(format!("{}{more}", printable(&first.reason)));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The table: at most `width` columns, or as wide as its content.
fn table(programs: &[Program], width: Option<usize>) -> String {
    const HEAD: [&str; 8] = ["PID", "USER", "CONTAINER", "GO", "LOAD", "SYMS", "BINARY", "TRACE"];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(programs.iter().map(row));
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    if let Some(width) = width {
        shrink(&mut widths, width);
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                0 => line.push_str(&format!("{cell:>width$}")),
                // The end of a path tells more than its start.
                BINARY => line.push_str(&format!("  {:<width$}", keep_end(cell, width))),
                _ => line.push_str(&format!("  {:<width$}", keep_start(cell, width))),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

const USER: usize = 1;
const BINARY: usize = 6;
const TRACE: usize = 7;

/// Takes columns from what can do with less: reasons first, then paths, then names of users.
fn shrink(widths: &mut [usize; 8], width: usize) {
    let gaps = 2 * (widths.len() - 1);
    for (column, least) in [(TRACE, 24), (BINARY, 16), (USER, 8), (TRACE, 10), (BINARY, 8)] {
        let total = widths.iter().sum::<usize>() + gaps;
        let excess = total.saturating_sub(width);
        widths[column] = widths[column].saturating_sub(excess).max(least.min(widths[column]));
    }
}

fn row(program: &Program) -> [String; 8] {
    let facts = program.binary.facts.as_ref();
    let fact = |text: fn(&Facts) -> String| facts.map_or_else(|| "?".to_owned(), text);
    let container = match &program.process.container {
        Ok(Some(container)) => printable(&container.called()).into_owned(),
        Ok(None) => "-".to_owned(),
        Err(_) => "?".to_owned(),
    };
    let deleted = if program.deleted { " (deleted)" } else { "" };
    [
        program.process.id.pid.to_string(),
        printable(&program.process.user_text()).into_owned(),
        container,
        facts.and_then(version).unwrap_or_else(|| "?".to_owned()),
        fact(|facts| load(facts).to_owned()),
        fact(|facts| if facts.stripped { "stripped" } else { "yes" }.to_owned()),
        printable(&shown(&program.path)).into_owned() + deleted,
        printable(&trace(program)).into_owned(),
    ]
}

/// `1.26.6`, or what stands in the file where that can't be read as a release.
fn version(facts: &Facts) -> Option<String> {
    let release = facts.version.map(|version| version.to_string());
    let text = || facts.version_text.as_deref().map(|text| printable(&keep_start(text, 16)).into());
    release.or_else(text)
}

fn load(facts: &Facts) -> &'static str {
    match facts.load {
        LoadType::Fixed => "fixed",
        LoadType::Pie => "pie",
    }
}

/// `exact,span,sample`, `exact,span; sampler off`, `exact; no span,sample: why not`, `no: why not`.
fn trace(program: &Program) -> String {
    let mut modes = Vec::new();
    let mut missing: Vec<(String, Vec<&str>)> = Vec::new();
    for (source, mode) in program.modes() {
        match mode {
            Mode::Works => modes.push(source.word().to_owned()),
            Mode::Incomplete(_) => modes.push(format!("{} (incomplete)", source.word())),
            Mode::Fails(_) if source == Source::Sample && program.is_sampler_off() => {
                missing.push(("sampler off".to_owned(), Vec::new()));
            }
            Mode::Fails(reason) => match missing.iter_mut().find(|(same, _)| *same == reason) {
                Some((_, sources)) => sources.push(source.word()),
                None => missing.push((reason, vec![source.word()])),
            },
        }
    }
    let missing = missing.into_iter().map(|(reason, sources)| match (sources.len(), modes.len()) {
        (0, _) => reason,
        (_, 0) => format!("no: {reason}"),
        _ => format!("no {}: {reason}", sources.join(",")),
    });
    let works = (!modes.is_empty()).then(|| modes.join(","));
    works.into_iter().chain(missing).collect::<Vec<_>>().join("; ")
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    processes: Vec<JsonProcess<'a>>,
    unseen: Vec<JsonUnseen<'a>>,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: u32,
    start_ticks: u64,
    inner_pid: Option<u32>,
    uid: Option<u32>,
    user: Option<&'a str>,
    comm: String,
    container: Option<JsonContainer<'a>>,
    unit: Option<&'a str>,
    binary: JsonBinary<'a>,
    trace: JsonTrace,
    /// Why fields are null that should not be.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct JsonContainer<'a> {
    id: &'a str,
    runtime: String,
    name: Option<&'a str>,
    pod_uid: Option<&'a str>,
    pod_name: Option<&'a str>,
    pod_namespace: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonBinary<'a> {
    path: String,
    deleted: bool,
    size: Option<u64>,
    go_version: Option<String>,
    go_version_text: Option<&'a str>,
    experiments: &'a [String],
    load: Option<&'static str>,
    stripped: Option<bool>,
    cgo: Option<bool>,
    gnu_build_id: Option<&'a str>,
    go_build_id: Option<&'a str>,
    main_module: Option<&'a str>,
    main_path: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonTrace {
    exact: JsonMode,
    span: JsonMode,
    sample: JsonMode,
    /// Bytes; 0 when the sampler is off.
    sampler_rate: Option<u64>,
}

#[derive(Serialize)]
struct JsonMode {
    available: bool,
    complete: bool,
    reason: Option<String>,
}

#[derive(Serialize)]
struct JsonUnseen<'a> {
    pid: u32,
    comm: String,
    reason: &'a str,
    permission: bool,
}

impl<'a> Document<'a> {
    fn new(survey: &'a Survey) -> Self {
        Self {
            schema: SCHEMA,
            processes: survey.programs.iter().map(JsonProcess::new).collect(),
            unseen: survey.unseen.iter().map(JsonUnseen::new).collect(),
        }
    }
}

impl<'a> JsonProcess<'a> {
    fn new(program: &'a Program) -> Self {
        let process = &program.process;
        let container = process.container.as_ref().ok().and_then(Option::as_ref);
        let problems: [Option<&host::Error>; 2] =
            [process.uid.as_ref().err(), process.container.as_ref().err()];
        let [exact, span, sample] = program.modes().map(|(_, mode)| mode);
        Self {
            pid: process.id.pid,
            start_ticks: process.id.start,
            inner_pid: process.inner_pid,
            uid: process.uid.as_ref().ok().copied(),
            user: process.user.as_deref(),
            comm: process.comm.to_string_lossy().into_owned(),
            container: container.map(|container| JsonContainer {
                id: &container.id,
                runtime: container.runtime.to_string(),
                name: container.names.container.as_deref(),
                pod_uid: container.pod_uid.as_deref(),
                pod_name: container.names.pod.as_deref(),
                pod_namespace: container.names.namespace.as_deref(),
            }),
            unit: process.unit.as_deref(),
            binary: JsonBinary::new(program),
            trace: JsonTrace {
                exact: JsonMode::new(exact),
                span: JsonMode::new(span),
                sample: JsonMode::new(sample),
                sampler_rate: program.sampler.as_ref().and_then(|rate| rate.as_ref().ok()).copied(),
            },
            problems: problems.into_iter().flatten().map(ToString::to_string).collect(),
        }
    }
}

impl<'a> JsonBinary<'a> {
    fn new(program: &'a Program) -> Self {
        let facts = program.binary.facts.as_ref();
        Self {
            path: shown(&program.path),
            deleted: program.deleted,
            size: facts.map(|facts| facts.size),
            go_version: facts.and_then(|facts| facts.version).map(|version| version.to_string()),
            go_version_text: facts.and_then(|facts| facts.version_text.as_deref()),
            experiments: facts.map_or(&[], |facts| &facts.experiments),
            load: facts.map(load),
            stripped: facts.map(|facts| facts.stripped),
            cgo: facts.map(|facts| facts.cgo),
            gnu_build_id: facts.and_then(|facts| facts.gnu_build_id.as_deref()),
            go_build_id: facts.and_then(|facts| facts.go_build_id.as_deref()),
            main_module: facts.and_then(|facts| facts.main_module.as_deref()),
            main_path: facts.and_then(|facts| facts.main_path.as_deref()),
        }
    }
}

impl JsonMode {
    fn new(mode: Mode) -> Self {
        let (available, complete, reason) = match mode {
            Mode::Works => (true, true, None),
            Mode::Incomplete(reason) => (true, false, Some(reason)),
            Mode::Fails(reason) => (false, false, Some(reason)),
        };
        Self { available, complete, reason }
    }
}

impl<'a> JsonUnseen<'a> {
    fn new(unseen: &'a Unseen) -> Self {
        Self {
            pid: unseen.process.id.pid,
            comm: unseen.process.comm.to_string_lossy().into_owned(),
            reason: &unseen.reason,
            permission: unseen.is_permission,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::{GoVersion, Machine, VersionFrom};
    use crate::host::{Container, Identity, Names, Process, Runtime};
    use crate::pipeline::programs::Binary;
    use std::path::PathBuf;
    use std::rc::Rc;

    const ID: &str = "3f8a6c0d9e1b2a4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4";

    fn facts() -> Facts {
        Facts {
            machine: Machine::Amd64,
            version: Some(GoVersion { major: 1, minor: 26, patch: Some(6) }),
            version_text: Some("go1.26.6".into()),
            version_from: VersionFrom::BuildInfo,
            experiments: vec![],
            load: LoadType::Pie,
            stripped: true,
            gnu_build_id: Some("ab12".into()),
            go_build_id: None,
            main_module: Some("example.com/api".into()),
            main_path: None,
            settings: vec![],
            cgo: false,
            loads_plugins: false,
            size: 4096,
        }
    }

    fn process(pid: u32) -> Process {
        Process {
            id: Identity { pid, start: 77 },
            comm: "api".into(),
            uid: Ok(0),
            user: Some("root".into()),
            exe: Err(host::Error::Gone { pid }),
            container: Ok(None),
            unit: None,
            inner_pid: None,
        }
    }

    fn program(pid: u32, path: &str, binary: Binary) -> Program {
        Program {
            process: process(pid),
            path: PathBuf::from(path),
            deleted: false,
            sampler: (binary.sample == Mode::Works).then_some(Ok(524_288)),
            binary: Rc::new(binary),
        }
    }

    fn binary(facts: Option<Facts>, exact: Mode, span: Mode, sample: Mode) -> Binary {
        let mut binary = Binary::refused(facts, "");
        (binary.exact, binary.span, binary.sample) = (exact, span, sample);
        binary
    }

    fn works() -> Binary {
        binary(Some(facts()), Mode::Works, Mode::Works, Mode::Works)
    }

    fn sample() -> Vec<Program> {
        let reason = "where Go 1.20.14 keeps its records is not known to this heaptap";
        let old = Facts {
            version: Some(GoVersion { major: 1, minor: 20, patch: Some(14) }),
            load: LoadType::Fixed,
            stripped: false,
            ..facts()
        };
        let fails = Mode::Fails(reason.into());
        let unknown = binary(Some(old), Mode::Works, fails.clone(), fails);
        let refused = "made by Go 1.17, older than 1.18, the oldest that heaptap knows";
        let too_old = Binary::refused(None, refused);
        let mut contained = program(42, "/app/api", works());
        contained.process.container = Ok(Some(Container {
            id: ID.into(),
            runtime: Runtime::Docker,
            pod_uid: None,
            names: Names::default(),
        }));
        contained.process.inner_pid = Some(1);
        let mut odd = program(4_194_304, "/tmp/\u{1b}[31mred", too_old);
        odd.process.uid = Err(host::Error::Gone { pid: 4_194_304 });
        odd.process.user = None;
        odd.process.container = Err(host::Error::Gone { pid: 4_194_304 });
        odd.deleted = true;
        vec![contained, program(700, "/usr/bin/hugo", unknown), odd]
    }

    #[test]
    fn a_table_for_no_terminal_is_as_wide_as_its_content() {
        let expected = [
            "    PID  USER  CONTAINER     GO       LOAD   SYMS      BINARY                      TRACE",
            "     42  root  3f8a6c0d9e1b  1.26.6   pie    stripped  /app/api                    exact,span,sample",
            "    700  root  -             1.20.14  fixed  yes       /usr/bin/hugo               exact; no span,sample: where Go 1.20.14 keeps its records is not known to this heaptap",
            "4194304  ?     ?             ?        ?      ?         /tmp/\\x1b[31mred (deleted)  no: made by Go 1.17, older than 1.18, the oldest that heaptap knows",
        ];
        let table = table(&sample(), None);
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_table_keeps_to_the_terminal() {
        for width in [90, 100, 120, 160] {
            let table = table(&sample(), Some(width));
            for line in table.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            assert!(table.contains("exact,span,sample"), "{table}");
        }
        let wide = table(&sample(), Some(1000));
        assert_eq!(wide, table(&sample(), None));
        // What cannot fit is cut, and nothing panics.
        assert!(!table(&sample(), Some(1)).is_empty());
    }

    #[test]
    fn an_incomplete_set_of_sites_is_said_so() {
        let incomplete = Mode::Incomplete("an entry is missing".into());
        let program = program(1, "a", binary(None, incomplete, Mode::Works, Mode::Works));
        assert_eq!(trace(&program), "exact (incomplete),span,sample");
    }

    #[test]
    fn what_does_not_work_is_told_with_its_reason() {
        let mut off = program(1, "a", works());
        off.sampler = Some(Ok(0));
        assert_eq!(trace(&off), "exact,span; sampler off");
        off.sampler = Some(Err("not allowed".into()));
        assert_eq!(trace(&off), "exact,span; no sample: not allowed");
        let inlined = || Mode::Fails("refill was inlined".into());
        let mut both = program(1, "a", binary(None, Mode::Works, inlined(), Mode::Works));
        assert_eq!(trace(&both), "exact,sample; no span: refill was inlined");
        both.sampler = Some(Ok(0));
        assert_eq!(trace(&both), "exact; no span: refill was inlined; sampler off");
    }

    #[test]
    fn the_document_has_what_the_table_has_and_more() {
        let unseen = Unseen {
            process: process(9),
            reason: "process 9: not allowed".into(),
            is_permission: true,
        };
        let survey = Survey { programs: sample(), unseen: vec![unseen] };
        let document = serde_json::to_value(Document::new(&survey)).unwrap();
        assert_eq!(document["schema"], "heaptap.ps/1");
        let [first, second, third] = document["processes"].as_array().unwrap().as_slice() else {
            panic!("{document}");
        };
        assert_eq!(first["container"]["id"], ID);
        assert_eq!(first["container"]["runtime"], "docker");
        assert_eq!(first["inner_pid"], 1);
        assert_eq!(first["binary"]["go_version"], "1.26.6");
        assert_eq!(first["binary"]["load"], "pie");
        assert_eq!(first["trace"]["exact"]["available"], true);
        assert_eq!(first["trace"]["sample"]["available"], true);
        assert_eq!(first["trace"]["sampler_rate"], 524_288);
        assert_eq!(second["trace"]["span"]["available"], false);
        assert_eq!(second["trace"]["sampler_rate"], serde_json::Value::Null);
        assert!(second["trace"]["span"]["reason"].as_str().unwrap().contains("1.20.14"));
        assert_eq!(third["binary"]["stripped"], serde_json::Value::Null);
        assert_eq!(third["binary"]["path"], "/tmp/\u{1b}[31mred");
        assert_eq!(third["problems"].as_array().unwrap().len(), 2);
        assert_eq!(document["unseen"][0]["permission"], true);
    }

    #[test]
    fn the_document_and_its_description_have_the_same_fields() {
        let text = include_str!("../../../docs/host-json.md");
        let unseen = Unseen { process: process(9), reason: String::new(), is_permission: false };
        let survey = Survey { programs: sample(), unseen: vec![unseen] };
        let document = serde_json::to_value(Document::new(&survey)).unwrap();
        super::super::assert_described(&document, text, "heaptap.ps/1");
    }

    #[test]
    fn what_is_not_in_the_table_is_told_in_one_line() {
        let unseen = |pid, is_permission| Unseen {
            process: process(pid),
            reason: format!("process {pid}: \u{1b} odd"),
            is_permission,
        };
        let mut system = host::system();
        system.capabilities = host::Capabilities(0);
        let remark_of = |programs, unseen| remark(&Survey { programs, unseen }, &system);
        assert_eq!(remark_of(sample(), vec![]), None);
        assert_eq!(remark_of(vec![], vec![]).as_deref(), Some("no Go program found"));
        let line = remark_of(sample(), vec![unseen(1, true)]).unwrap();
        assert!(line.starts_with("1 process could not be looked at; run as root"), "{line}");
        let some = vec![unseen(1, true), unseen(2, true), unseen(3, false), unseen(4, false)];
        let line = remark_of(sample(), some).unwrap();
        assert!(line.starts_with("2 processes could not"), "{line}");
        assert!(line.ends_with("process 3: \\x1b odd (and 1 more; --json tells all)"), "{line}");
        system.capabilities = host::Capabilities(u64::MAX);
        let survey = Survey { programs: sample(), unseen: vec![unseen(1, true)] };
        let line = remark(&survey, &system).unwrap();
        assert!(line.starts_with("1 process could not be looked at: the kernel"), "{line}");
    }
}
