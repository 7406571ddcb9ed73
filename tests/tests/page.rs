//! Pages of recordings, as a browser shows them: every number is the one that other outputs tell.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Running, Variant, browser, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A recording of a program whose heap grows.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Result<Made> {
        require_root()?;
        let made = Made { dir: tempfile::tempdir()? };
        // A name that is no text to a page that takes it for one of its own.
        let program = made.path("<i>&lt;");
        heaptap_tests::copy(Fixture::build("heap", "1.27", Variant::Default)?.program, &program)?;
        let mut command = Command::new(program);
        command.env("HEAP_RATE", "1");
        let mut program = Running::start(command)?;
        let (file, pid) = (made.path("run.htap"), program.pid().to_string());
        let mut command = Command::new(heaptap::program()?);
        command.args(["heap", "-p", &pid, "--every", "0.05", "-q", "-o", &file]);
        let mut recording = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        for round in 1..=4 {
            for order in ["work 2", "gc", "gc"] {
                program.ask(order)?;
            }
            let seen = made.snapshots()?;
            while made.snapshots()? < seen.max(round) + 2 {
                ensure!(recording.try_wait()?.is_none(), "heaptap has ended");
            }
        }
        interrupt(&mut recording)?;
        Ok(made)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn snapshots(&self) -> Result<u64> {
        heaptap::snapshots(&self.path("run.htap"))
    }

    /// What `export` writes as JSON.
    fn exported(&self, flags: &[&str]) -> Result<Profile> {
        let (file, json) = (self.path("run.htap"), self.path("part.json"));
        heaptap::run([&["export", &file, "-q", "-o", &json], flags].concat())?.expect(0)?;
        Profile::read(Path::new(&json))
    }

    fn page(&self, flags: &[&str]) -> Result<String> {
        let (file, page) = (self.path("run.htap"), self.path("x.html"));
        heaptap::run([&["export", &file, "-q", "-o", &page], flags].concat())?.expect(0)?;
        Ok(page)
    }
}

fn interrupt(recording: &mut Child) -> Result<()> {
    kill(Pid::from_raw(recording.id().try_into()?), Signal::SIGINT)?;
    let status = recording.wait()?;
    ensure!(status.success(), "heaptap ended with {status}");
    Ok(())
}

/// The sum over the stacks with such a frame.
fn with(profile: &Profile, kind: &str, is: impl Fn(&str) -> bool) -> Result<u64> {
    let value = profile.value(kind)?;
    let found = profile.stacks.iter().filter(|s| s.frames.iter().any(|f| is(&f.function)));
    Ok(found.map(|stack| stack.values[value]).sum())
}

fn number(told: &Value, name: &str) -> Result<u64> {
    let text = told[name].as_str().map(str::to_owned).unwrap_or_else(|| told[name].to_string());
    text.parse().with_context(|| format!("{name} is {text}"))
}

/// What a page tells of itself, at any state.
const TELL: &str = r#"
const tell = () => ({
  sum: get("total").dataset.sum,
  matched: get("matched").dataset.sum,
  all: all(".frame[data-name=all]")[0]?.dataset.value,
  main: all(".frame[data-name='main.main']")[0]?.dataset.value,
  self: all("tbody tr").reduce((sum, row) => sum + Number(row.dataset.self), 0),
  row: all("tbody tr").filter(row => row.querySelector(".name").textContent === "main.main")[0]?.dataset.total,
  tree: all(".tree summary")[0]?.textContent,
  hits: all(".frame.hit").length,
  top: all(".frame:not(.dim)")[0]?.dataset.name,
  since: get("compare").checked,
  hash: location.hash,
  title: get("title").textContent + all("i").length,
  facts: get("facts").textContent,
  last: Number(get("at").max),
  levels: Object.fromEntries(all(".level").map(level => [level.dataset.key, level.dataset.value])),
  level_text: get("levels").textContent,
  lines: all('#levels path.line[d^=M]').map(line => line.getAttribute("d").length),
  marks: all('#levels .mark').map(mark => mark.getAttribute("x1")),
  charts: all('#levels svg[role=img]').map(chart => chart.getAttribute("aria-label")),
});
"#;

#[test]
fn a_page_shows_at_each_time_what_is_exported_of_it() -> Result<()> {
    let made = Made::new()?;
    let page = made.page(&[])?;
    let script = format!(
        "{TELL}
        const states = [];
        const keep = name => states.push({{ name, ...tell() }});
        keep('end');
        choose('value', 1, 'change'); keep('allocated');
        choose('at', 0, 'input'); keep('first');
        press('ArrowRight'); keep('second');
        choose('at', get('at').max, 'input');
        get('compare').click(); keep('since first');
        get('compare').click();
        choose('value', 3, 'change');
        all('#views button')[1].click(); keep('table');
        all('#views button')[2].click(); keep('tree');
        all('#views button')[0].click();
        choose('search', 'main.', 'input'); keep('searched');
        choose('search', '/^main\\\\.main$/', 'input'); keep('pattern');
        choose('search', '/(/', 'input'); keep('no pattern');
        press('Escape'); keep('escaped');
        all(\".frame[data-name='main.main']\")[0].click(); keep('zoomed');
        press('Escape'); keep('whole');
        return states;"
    );
    let states = browser::drive(Path::new(&page), "", &script)?;
    let states = states.as_array().context("no states")?;
    let state = |name: &str| {
        let found = states.iter().find(|state| state["name"] == name);
        found.with_context(|| format!("no state {name}"))
    };
    let (last, first) = (made.exported(&[])?, made.exported(&["--at", "0"])?);
    let inuse = last.total("inuse_space")?;
    let main = with(&last, "inuse_space", |function| function == "main.main")?;
    ensure!(main > 0 && inuse > 0, "nothing is in use");
    for name in ["end", "escaped", "whole"] {
        let end = state(name)?;
        ensure!(number(end, "sum")? == inuse, "{name}: {end} of {inuse}");
        ensure!(number(end, "all")? == inuse && number(end, "main")? == main, "{name}: {end}");
        ensure!(end["hits"] == 0 && end["top"] == "all", "{name}: {end}");
        ensure!(end["title"] == "heaptap: <i>&lt;0", "{name}: {end}");
    }
    let facts = state("end")?["facts"].as_str().unwrap_or_default();
    ensure!(facts.contains("as in the program's own profile"), "facts: {facts}");
    let (then, now) = (first.total("alloc_space")?, last.total("alloc_space")?);
    ensure!(number(state("allocated")?, "sum")? == now, "allocated {now}");
    ensure!(number(state("first")?, "sum")? == then, "first {then}");
    let second = number(state("second")?, "sum")?;
    ensure!((then..=now).contains(&second), "second {second}");
    let since = state("since first")?;
    ensure!(since["since"] == true && number(since, "sum")? == now - then, "since {since}");
    let exported = made.exported(&["--from", "0"])?;
    let (all, between) = (number(since, "all")?, exported.total("alloc_space")?);
    // The page takes from the sum what a stack has lost, export says of how many it shows none.
    let has_lost = exported.notes.iter().any(|note| {
        note.contains("less than before") || note.contains("not in the second snapshot")
    });
    let is_same = all == between || has_lost && between.saturating_sub(all) < between / 1000;
    ensure!(is_same, "{since} of {between}: {:?}", exported.notes);
    ensure!(now > then, "nothing happened");
    let table = state("table")?;
    ensure!(number(table, "self")? == inuse && number(table, "row")? == main, "{table}");
    let tree = state("tree")?["tree"].as_str().unwrap_or_default().to_owned();
    ensure!(tree.contains("100.0 %") && tree.contains("all"), "tree: {tree}");
    let matched = with(&last, "inuse_space", |function| function.contains("main."))?;
    let searched = state("searched")?;
    ensure!(number(searched, "matched")? == matched && searched["hits"] != 0, "{searched}");
    let pattern = state("pattern")?;
    ensure!(number(pattern, "matched")? == main && pattern["hits"] == 1, "{pattern}");
    ensure!(state("no pattern")?["hits"] == 0, "a pattern that is none hits");
    let zoomed = state("zoomed")?;
    ensure!(zoomed["top"] == "main.main", "{zoomed}");
    let hash = zoomed["hash"].as_str().unwrap_or_default();
    ensure!(hash.ends_with("zoom=main.main"), "{hash}");
    Ok(())
}

/// Under the time slider there is what the statistics of the recording say at each time.
#[test]
fn a_page_shows_memory_and_goroutines_over_time() -> Result<()> {
    let made = Made::new()?;
    let page = made.page(&[])?;
    let script = format!(
        "{TELL}
        const states = [tell()];
        choose('at', 0, 'input'); states.push(tell());
        choose('at', get('at').max, 'input'); get('compare').click(); states.push(tell());
        return states;"
    );
    let states = browser::drive(Path::new(&page), "", &script)?;
    for (state, flags) in [(0, &[][..]), (1, &["--at", "0"])] {
        let (file, json) = (made.path("run.htap"), made.path("stats.json"));
        let args = [&["export", &file, "-q", "--stats", "-o", &json], flags].concat();
        heaptap::run(args)?.expect(0)?;
        let document: Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
        let process = &document["processes"][0];
        let levels = &states[state]["levels"];
        for (key, wanted) in [
            ("live", &process["heap"]["marked"]),
            ("resident", &process["memory"]["resident"]),
            ("goroutines", &process["goroutines"]["program"]),
        ] {
            let wanted = wanted.as_u64().context("no number")?;
            ensure!(number(levels, key)? == wanted, "{key}: {levels} of {wanted}");
        }
        // The fixture's collector is off.
        ensure!(levels["goal"] == Value::Null, "{levels}");
    }
    let (end, first, since) = (&states[0], &states[1], &states[2]);
    ensure!(number(&end["levels"], "live")? > number(&first["levels"], "live")?, "{states}");
    let charts = end["charts"].as_array().context("no charts")?;
    ensure!(charts.len() == 2, "{charts:?}");
    let told = charts[0].as_str().unwrap_or_default();
    ensure!(told.starts_with("memory over time: live heap up to "), "{told}");
    ensure!(end["marks"][0] == "1000" && first["marks"][0] == "0", "{states}");
    let lines = end["lines"].as_array().context("no lines")?;
    ensure!(lines.len() >= 3 && lines.iter().any(|line| line.as_u64() > Some(50)), "{lines:?}");
    let text = since["level_text"].as_str().unwrap_or_default();
    ensure!(text.contains("(+"), "{text}");
    Ok(())
}

#[test]
fn a_page_opens_where_its_address_says_and_shows_what_was_asked_for() -> Result<()> {
    let made = Made::new()?;
    let script = format!("{TELL} return tell();");
    let page = made.page(&[])?;
    let address = "at=1&value=alloc_objects&view=table&search=main.main";
    let told = browser::drive(Path::new(&page), address, &script)?;
    let whole = number(&told, "last")?;
    ensure!(whole >= 8, "{told}");
    ensure!(told["row"] != Value::Null && told["all"] == Value::Null, "{told}");
    // What makes no sense is left out.
    let odd = "at=-1&since=99999&value=x&process=7&view=../&zoom=nobody";
    let told = browser::drive(Path::new(&page), odd, &script)?;
    let inuse = made.exported(&[])?.total("inuse_space")?;
    ensure!(number(&told, "all")? == inuse && told["top"] == "all", "{told}");

    let part = made.page(&["--to", "200ms", "--type", "alloc_space"])?;
    let told = browser::drive(Path::new(&part), "", &script)?;
    ensure!(number(&told, "last")? < whole, "{told}");
    let then = made.exported(&["--at", "200ms"])?.total("alloc_space")?;
    ensure!(number(&told, "sum")? == then, "{told} of {then}");
    let moment = made.page(&["--at", "200ms"])?;
    let told = browser::drive(Path::new(&moment), "", &script)?;
    ensure!(number(&told, "last")? == 0, "{told}");
    heaptap::run(["export", &made.path("run.htap"), "--process", "1", "-o", &part])?
        .refused(4, "--process 1: is not there")
}
