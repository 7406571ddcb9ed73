//! The agent's page in a real browser: what it shows is what the API tells, and nobody needs a mouse for it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::{Agent, Answer};
use heaptap_tests::devtools::Browser;
use heaptap_tests::page::{Case, FRAMES, NAMES, THREE, bytes};
use heaptap_tests::pprof::Pprof;
use serde_json::Value;

/// What should happen soon has this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails unless the cells of the table are what the agent tells.
fn are_told(cells: &[Vec<String>], told: &Value) -> Result<()> {
    ensure!(cells.len() == 3 && cells.iter().all(|row| row[10] == "1"), "{cells:?}");
    for process in told.as_array().context("no processes")? {
        let pid = process["pid"].to_string();
        let row = cells.iter().find(|row| row[1] == pid).with_context(|| format!("no {pid}"))?;
        ensure!(row[0] == process["comm"].as_str().unwrap_or_default(), "{row:?} of {process}");
        ensure!(row[3] == process["go_version"].as_str().unwrap_or_default(), "{row:?}");
        for (at, name) in [(4, "heap_live"), (5, "heap_goal"), (6, "resident")] {
            ensure!(row[at] == bytes(&process[name]), "{name}: {row:?} of {process}");
        }
    }
    Ok(())
}

#[test]
fn all_processes_are_there_with_the_numbers_that_are_told_and_names_are_text() -> Result<()> {
    let mut case = Case::start("")?;
    case.open("")?;
    case.browser.until(THREE)?;
    // Nothing allocates, but pages of memory come and go. What the agent tells after the table was read is newer, if it
    // differs, and the table follows.
    let until = Instant::now() + PATIENCE;
    let mut cells = case.cells()?;
    while let Err(differs) = are_told(&cells, &case.agent.json("/api/v1/processes")?) {
        ensure!(Instant::now() < until, differs);
        case.until_other_than(&cells).context(differs)?;
        cells = case.cells()?;
    }
    ensure!(cells.iter().any(|row| row[0] == NAMES[1]), "{cells:?}");
    ensure!(case.browser.value("document.images.length")? == 0, "a name became an image");
    let head = case.browser.text("document.querySelector('header').innerText")?;
    ensure!(head.contains("n1") && head.contains("agent: "), "{head}");
    case.is_quiet(true)
}

#[test]
fn sorted_and_filtered_it_keeps_focus_and_selection_from_second_to_second() -> Result<()> {
    let mut case = Case::start("")?;
    case.open("")?;
    case.browser.until(THREE)?;
    let sorted = |by: &str| format!("document.querySelector('[data-key={by}] button').click()");
    let told =
        |by: &str| format!("document.querySelector('[data-key={by}]').getAttribute('aria-sort')");
    case.browser.value(&sorted("pid"))?;
    ensure!(case.browser.text(&told("pid"))? == "descending");
    let mut pids = case.column(1)?;
    ensure!(pids.is_sorted_by(|a, b| a.parse::<u32>().ok() >= b.parse::<u32>().ok()), "{pids:?}");
    case.browser.value(&sorted("pid"))?;
    ensure!(case.browser.text(&told("pid"))? == "ascending");
    pids.reverse();
    ensure!(case.column(1)? == pids);
    case.browser.value(&sorted("comm"))?;
    ensure!(case.browser.text(&told("pid"))? == "none");
    ensure!(case.column(0)? == [NAMES[1], NAMES[0], NAMES[2]], "by name");

    case.browser.press(&["/"])?;
    case.browser.write("pay")?;
    case.browser.until("document.querySelectorAll('.node tbody tr').length === 1")?;
    ensure!(case.column(0)? == [NAMES[2]]);
    ensure!(case.browser.text("document.getElementById('shown').textContent")? == "1 of 3");
    case.browser.press(&["Escape"])?;
    case.browser.until(THREE)?;

    // Sorted by what changes: a row that has the focus keeps it when it moves, and so does the page its place.
    case.browser.value(&sorted("heap_live"))?;
    case.browser
        .value("[...document.links].find(link => link.textContent === 'orders').focus()")?;
    let top = "document.querySelector('.node tbody tr').children[0].textContent === 'orders'";
    ensure!(case.browser.value(top)? == false);
    for _ in 0..12 {
        case.programs[0].ask("work 60")?;
    }
    case.programs[0].ask("gc")?;
    case.programs[0].ask("gc")?;
    case.browser.until(top)?;
    ensure!(
        case.browser.text("document.activeElement.textContent")? == "orders",
        "the focus has moved"
    );

    // While text is selected the table stands still.
    case.browser.value(
        "getSelection().selectAllChildren(document.querySelector('.node tbody tr').children[6])",
    )?;
    let selected = case.browser.text("getSelection().toString()")?;
    case.programs[0].ask("work 60")?;
    case.programs[0].ask("gc")?;
    case.browser.until("document.getElementById('shown').textContent.includes('held')")?;
    ensure!(!selected.is_empty() && case.browser.text("getSelection().toString()")? == selected);
    case.browser.value("getSelection().removeAllRanges()")?;
    case.browser.until("!document.getElementById('shown').textContent.includes('held')")?;
    case.is_quiet(true)
}

/// Self and total of each function, from all stacks.
fn functions(profile: &Value, value: usize) -> Vec<(String, u64, u64)> {
    let mut found: Vec<(String, u64, u64)> = Vec::new();
    for stack in profile["stacks"].as_array().into_iter().flatten() {
        let amount = stack["values"][value].as_u64().unwrap_or_default();
        let frames = stack["frames"].as_array().into_iter().flatten();
        let mut seen: Vec<&str> = Vec::new();
        for (at, frame) in frames.enumerate() {
            let name = frame["function"].as_str().unwrap_or_default();
            if amount == 0 || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let own = if at == 0 { amount } else { 0 };
            match found.iter_mut().find(|(of, ..)| of == name) {
                Some(one) => (one.1, one.2) = (one.1 + own, one.2 + amount),
                None => found.push((name.to_owned(), own, amount)),
            }
        }
    }
    found
}

#[test]
fn a_process_has_its_course_its_flame_graph_and_the_functions_of_it() -> Result<()> {
    let mut case = Case::start("")?;
    case.open("")?;
    case.browser.until(THREE)?;
    case.browser
        .value("[...document.links].find(link => link.textContent === 'payments').click()")?;
    case.browser.until(&format!("{FRAMES} > 3"))?;
    let pid = case.programs[2].pid();
    ensure!(
        case.browser.text("document.querySelector('h2').textContent")?
            == format!("payments ({pid})")
    );
    let charts = "[...document.querySelectorAll('figure svg')].map(one => one.getAttribute('aria-label')).join()";
    case.browser.until(&format!("({charts}).includes('Memory since ')"))?;
    let lines = "[...document.querySelectorAll('.line.heap_live, .line.goroutines')].every(line => line.getAttribute('d')?.includes('L'))";
    case.browser.until(lines)?;
    case.browser.value("document.querySelector('figure details').open = true")?;
    case.browser.until("document.querySelectorAll('figure tbody tr').length > 1")?;

    // The table has what each stack adds up to.
    let json = case.agent.json(&format!("/api/v1/processes/{pid}/profile?of=heap&format=json"))?;
    let types = json["meta"]["value_types"].as_array().context("no types")?;
    let inuse =
        types.iter().position(|of| of["kind"] == "inuse_space").context("no inuse_space")?;
    let functions = functions(&json, inuse);
    ensure!(functions.len() > 5, "{functions:?}");
    let rows = "[...document.querySelectorAll('.functions tbody tr')].map(row => [...row.children].map(cell => cell.textContent))";
    let rows: Vec<Vec<String>> = serde_json::from_value(case.browser.value(rows)?)?;
    ensure!(rows.len() == functions.len(), "{} rows of {}", rows.len(), functions.len());
    for (name, own, total) in &functions {
        let row = rows.iter().find(|row| row[0] == *name).with_context(|| format!("no {name}"))?;
        let shown = |of: u64| if of == 0 { "–".to_owned() } else { bytes(&of.into()) };
        ensure!(row[1] == shown(*own) && row[2] == shown(*total), "{row:?}: {own}, {total}");
    }

    // A function that is chosen is searched in the picture, which says how much of it that is.
    let (_, _, whole) =
        functions.iter().find(|of| of.0 == "main.small").context("no main.small")?;
    let all = json["meta"]["totals"][inuse].as_f64().context("no total")?;
    case.browser.value("[...document.querySelectorAll('button.name')].find(one => one.textContent === 'main.small').click()")?;
    case.browser.until("document.querySelector('.matched').textContent.startsWith('Matched')")?;
    let matched = case.browser.text("document.querySelector('.matched').textContent")?;
    let part: f64 = matched.trim_start_matches("Matched: ").trim_end_matches('%').parse()?;
    // The picture leaves out what is narrower than an eighth of a pixel.
    ensure!((part - 100.0 * *whole as f64 / all).abs() < 0.2, "{matched} of {whole} of {all}");
    let hits = "[...document.querySelector('iframe').contentDocument.querySelectorAll('#frames rect')].filter(one => one.getAttribute('fill') === 'rgb(230,0,230)').length";
    ensure!(case.browser.value(hits)?.as_u64() > Some(0));
    let search = |text: &str| {
        format!(
            "{{ const field = document.querySelector('[data-filter]'); field.value = '{text}'; field.dispatchEvent(new Event('input')) }}"
        )
    };
    case.browser.value(&search("("))?;
    case.browser
        .until("document.querySelector('.matched').textContent === 'no regular expression'")?;
    case.browser.value(&search("main.nobody"))?;
    case.browser.until("document.querySelector('.matched').textContent === 'nothing matches'")?;
    ensure!(case.browser.value(hits)? == 0);
    case.browser.value(&search(""))?;
    case.browser.until("document.querySelector('.matched').textContent === ''")?;

    // Zoomed into a frame others are gone; and back.
    let hidden =
        "document.querySelector('iframe').contentDocument.querySelectorAll('#frames .hide').length";
    case.browser.value("(() => { const frame = document.querySelector('iframe'); frame.contentWindow.zoom(frame.contentDocument.querySelector('#frames g')) })()")?;
    ensure!(case.browser.value(hidden)?.as_u64() > Some(0));
    case.browser.value(
        "[...document.querySelectorAll('button')].find(one => one.textContent === 'Whole').click()",
    )?;
    ensure!(case.browser.value(hidden)? == 0);

    // Others of it.
    for tab in ["allocations", "goroutines"] {
        case.browser.value(&format!("document.getElementById('tab-{tab}').click()"))?;
        case.browser.until(&format!("{FRAMES} > 1"))?;
    }
    let states = case.browser.text("document.querySelector('.parts').textContent")?;
    ensure!(
        states.contains("GOMAXPROCS") && states.contains("Nothing that was seen to grow"),
        "{states}"
    );
    case.is_quiet(true)
}

#[test]
fn what_is_fetched_is_a_profile() -> Result<()> {
    let mut case = Case::start("")?;
    let pid = case.open_process(0)?;
    case.browser.until("document.querySelector('.links a')")?;
    case.browser.value("document.querySelector('.links a').click()")?;
    let fetched = case.browser.downloaded()?;
    let name = fetched.file_name().context("no name")?.to_string_lossy().into_owned();
    ensure!(name == format!("orders-{pid}-heap.pb.gz"), "{name}");
    let profile = Pprof::read(&fetched)?;
    ensure!(profile.types.contains(&"inuse_space/bytes".to_owned()), "{:?}", profile.types);
    let has_main = |name: &str| name.starts_with("main.");
    ensure!(
        profile.samples.iter().any(|sample| sample.stack.iter().any(|f| has_main(&f.function)))
    );
    case.is_quiet(true)
}

#[test]
fn what_changed_between_two_times_is_drawn() -> Result<()> {
    let mut case = Case::start("")?;
    let pid = case.open_process(0)?;
    // What is kept next may have been read before the program was done; what is kept then was not.
    for order in ["work 50", "gc", "gc"] {
        case.programs[0].ask(order)?;
    }
    let mut last = Value::Null;
    for _ in 0..3 {
        let until = Instant::now() + PATIENCE;
        loop {
            let told = case.agent.json(&format!("/api/v1/processes/{pid}"))?;
            let newest = told["kept"].as_array().and_then(|kept| kept.last()).cloned();
            if let Some(newest) = newest.filter(|newest| *newest != last) {
                last = newest;
                break;
            }
            ensure!(Instant::now() < until, "nothing was kept");
            thread::sleep(Duration::from_millis(100));
        }
    }
    case.browser
        .until(&format!("document.querySelector('#panel-changes option[value=\"{last}\"]')"))?;
    case.browser.value("document.getElementById('tab-changes').click()")?;
    let newest = format!(
        "(() => {{ const to = document.querySelectorAll('#panel-changes select')[1]; to.value = {last}; to.dispatchEvent(new Event('change')) }})()"
    );
    case.browser.value(&newest)?;
    case.browser.until(&format!("{FRAMES} > 1"))?;
    let title = "document.querySelector('#panel-changes iframe').title";
    ensure!(case.browser.text(title)?.contains("what changed from "), "another picture");
    let chosen = "[...document.querySelectorAll('#panel-changes > div > .bar select')].map(one => one.value)";
    let chosen: Vec<String> = serde_json::from_value(case.browser.value(chosen)?)?;
    let path = format!(
        "/api/v1/processes/{pid}/diff?from={}&to={}&format=functions",
        chosen[0], chosen[1]
    );
    let told = case.agent.json(&path)?;
    let first = &told["functions"][0];
    let change = first["after"].as_i64().context("no after")?
        - first["before"].as_i64().context("no before")?;
    ensure!(change > 0, "{first}");
    let row = "[...document.querySelectorAll('#panel-changes tbody tr')][0].innerText.split('\\t').map(text => text.trim())";
    let row: Vec<String> = serde_json::from_value(case.browser.value(row)?)?;
    ensure!(row[1] == format!("+{}", bytes(&change.into())), "{row:?} of {first}");
    let title = "[...document.querySelector('#panel-changes iframe').contentDocument.querySelectorAll('title')].map(one => one.textContent).find(text => text.includes(' before, '))";
    ensure!(case.browser.text(title)?.contains(" after"), "no comparison");
    case.is_quiet(true)
}

#[test]
fn captures_are_asked_for_listed_drawn_and_fetched_and_nothing_else_is() -> Result<()> {
    let mut case = Case::start("")?;
    let pid = case.open_process(0)?;
    case.browser.value("document.querySelector('[aria-labelledby=captures] button').click()")?;
    case.browser.until("document.querySelector('[aria-labelledby=captures] tbody a')?.textContent.endsWith('-heap.pb.gz')")?;
    let listed = case.agent.json("/api/v1/captures")?;
    let name = listed[0]["name"].as_str().context("no name")?.to_owned();
    ensure!(listed[0]["what"] == "heap" && listed[0]["pid"] == pid, "{listed}");
    ensure!(name.contains(&format!("-asked-orders-{pid}-")), "{name}");
    let path = format!("/api/v1/captures/{name}");
    let whole = case.agent.get(&path)?;
    let file = case.dir.path().join("fetched.pb.gz");
    fs::write(&file, &whole.body)?;
    ensure!(whole.body.len() as u64 == listed[0]["bytes"].as_u64().unwrap_or_default());
    let fetched = Pprof::read(&file)?;
    ensure!(fetched.types.contains(&"inuse_space/bytes".to_owned()));
    let svg = case.agent.get(&format!("{path}?format=svg"))?;
    ensure!(svg.status == 200 && svg.text().contains("main."), "{}", svg.head);
    let told = case.agent.json(&format!("{path}?format=functions&value=alloc_space"))?;
    let at =
        fetched.types.iter().position(|of| of == "alloc_space/bytes").context("no alloc_space")?;
    let sum: i64 = fetched.samples.iter().map(|sample| sample.values[at]).sum();
    ensure!(told["total"].as_i64() == Some(sum), "{} of {sum}", told["total"]);

    // Resident memory and maps by recordings, which the page draws when they are there.
    for (what, tab) in [("os", "os"), ("map", "map")] {
        let asked = post(&case.agent, pid, &format!("what={what}&seconds=1"), JSON)?;
        ensure!(asked.status == 202, "{}", asked.text());
        let until = Instant::now() + PATIENCE;
        let is_there =
            |all: &Value| all.as_array().into_iter().flatten().any(|one| one["what"] == what);
        let mut all = case.agent.json("/api/v1/captures")?;
        while !is_there(&all) {
            case.programs[0].ask("work 20")?;
            ensure!(Instant::now() < until, "no capture of {what}: {}", case.agent.metrics()?.0);
            thread::sleep(Duration::from_millis(50));
            all = case.agent.json("/api/v1/captures")?;
        }
        // What it says of itself is what the recording has said, not that it is the program's own.
        let found = all.as_array().into_iter().flatten().find(|one| one["what"] == what);
        let name = found.and_then(|one| one["name"].as_str()).context("no name")?;
        let told = case.agent.json(&format!("/api/v1/captures/{name}?format=functions"))?;
        let about = told["about"].as_str().unwrap_or_default();
        ensure!(!about.contains("pprof file") && !about.contains("own profile"), "{about}");
        case.browser.value(&format!("document.getElementById('tab-{tab}').click()"))?;
        case.browser.until(&format!(
            "document.querySelector('#panel-{tab} iframe')?.contentDocument?.querySelector('svg')"
        ))?;
    }

    // What lies beside them, and where links lead, is nobody's business.
    let captures = case.dir.path().join("captures");
    fs::write(captures.join("notes.txt"), "secret")?;
    fs::write(case.dir.path().join("outside-1-1-heap.pb.gz"), "secret")?;
    std::os::unix::fs::symlink(
        case.dir.path().join("outside-1-1-heap.pb.gz"),
        captures.join("link-1-1-heap.pb.gz"),
    )?;
    for name in [
        "notes.txt",
        "link-1-1-heap.pb.gz",
        "..%2Foutside-1-1-heap.pb.gz",
        "../outside-1-1-heap.pb.gz",
        "%2Fetc%2Fpasswd",
        ".",
    ] {
        let answer = case.agent.get(&format!("/api/v1/captures/{name}"))?;
        ensure!(
            answer.status == 404 && !answer.text().contains("secret"),
            "{name}: {}",
            answer.head
        );
    }

    // No site but this one has anything made, and nobody more than the file allows.
    for (headers, status) in [
        ("", 403),
        ("Content-Type: text/plain\r\n", 403),
        ("Content-Type: application/json\r\nOrigin: http://evil.example\r\n", 403),
        ("Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n", 403),
    ] {
        let answer = post(&case.agent, pid, "what=heap", headers)?;
        ensure!(answer.status == status, "{headers}: {}", answer.text());
    }
    for (query, status) in [
        ("what=core", 400),
        ("", 400),
        ("what=record&seconds=31", 400),
        ("what=map&seconds=x", 400),
    ] {
        let answer = post(&case.agent, pid, query, JSON)?;
        ensure!(answer.status == status, "{query}: {}", answer.text());
    }
    ensure!(post(&case.agent, 1, "what=heap", JSON)?.status == 404);
    let most = (0..40)
        .map(|_| post(&case.agent, pid, "what=heap", JSON))
        .find(|answer| !answer.as_ref().is_ok_and(|answer| answer.status == 202));
    let most = most.context("never too many")??;
    ensure!(most.status == 429 && most.text().contains("per_hour"), "{}", most.text());
    case.is_quiet(true)
}

const JSON: &str = "Content-Type: application/json\r\n";

fn post(agent: &Agent, pid: u32, query: &str, headers: &str) -> Result<Answer> {
    agent.ask(&format!(
        "POST /api/v1/processes/{pid}/captures?{query} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

#[test]
fn without_the_files_word_no_request_has_anything_captured() -> Result<()> {
    let mut case = Case::start("")?;
    let plain = case.dir.path().join("plain.toml");
    fs::write(&plain, "")?;
    case.agent = Case::agent(&case.programs, &plain, "127.0.0.1:0")?;
    let answer = post(&case.agent, case.programs[0].pid(), "what=heap", JSON)?;
    ensure!(
        answer.status == 403 && answer.text().contains("on_request = true"),
        "{}",
        answer.text()
    );
    ensure!(case.agent.json("/api/v1/captures")?.as_array().is_some_and(Vec::is_empty));
    case.open_process(0)?;
    let form = "document.querySelector('[aria-labelledby=captures] button').offsetParent";
    ensure!(case.browser.value(form)?.is_null(), "the page offers what it can't do");
    case.is_quiet(true)
}

#[test]
fn keys_alone_reach_everything_and_everything_has_a_name() -> Result<()> {
    let mut case = Case::start("")?;
    case.open("")?;
    case.browser.until(THREE)?;
    let focused = "(document.activeElement.id || document.activeElement.textContent.trim())";
    case.browser.press(&["Tab"])?;
    ensure!(case.browser.text(focused)? == "skip", "the first is the link to the content");
    case.browser.press(&["Enter", "Tab"])?;
    ensure!(case.browser.text(focused)? == "filter", "{}", case.browser.text(focused)?);
    // Each header can be reached, and sorts.
    let mut seen = Vec::new();
    // Nobody runs in a container: that column is not there.
    for _ in 0..12 {
        case.browser.press(&["Tab"])?;
        seen.push(case.browser.text(focused)?);
    }
    ensure!(seen[0] == "Process" && seen[11] == "Findings", "{seen:?}");
    let outline = case.browser.text("getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(outline == "solid", "who has the focus is not seen: {outline}");
    case.browser.press(&["Enter"])?;
    ensure!(
        case.browser.text("document.activeElement.closest('th').getAttribute('aria-sort')")?
            == "descending"
    );
    named(&mut case.browser)?;
    case.browser.press(&["Tab"])?;
    let name = case.browser.text(focused)?;
    case.browser.press(&["Enter"])?;
    case.browser.until(&format!("{FRAMES} > 3"))?;
    ensure!(case.browser.text("document.querySelector('h2').textContent")?.starts_with(&name));
    ensure!(
        case.browser.text("document.activeElement.id")? == "main",
        "who opens it is not where it is"
    );
    let id = "document.activeElement.id";
    let mut at = String::new();
    for _ in 0..20 {
        case.browser.press(&["Tab"])?;
        at = case.browser.text(id)?;
        if at == "tab-live" {
            break;
        }
    }
    ensure!(at == "tab-live", "the tabs are not reached: {at}");
    case.browser.press(&["ArrowRight"])?;
    ensure!(case.browser.text(id)? == "tab-allocations");
    case.browser.until(&format!("{FRAMES} > 3"))?;
    case.browser.press(&["/"])?;
    named(&mut case.browser)?;
    case.is_quiet(true)
}

/// What can be used has a name that is read out.
fn named(browser: &mut Browser) -> Result<()> {
    let roles = [
        "button",
        "link",
        "textbox",
        "searchbox",
        "combobox",
        "spinbutton",
        "tab",
        "tabpanel",
        "table",
        "image",
        "Iframe",
        "main",
        "region",
    ];
    let tree = browser.accessible()?;
    let used: Vec<_> = tree.iter().filter(|(role, _)| roles.contains(&role.as_str())).collect();
    ensure!(used.len() > 15, "{tree:?}");
    let nameless: Vec<_> =
        used.iter().filter(|(role, name)| name.trim().is_empty() && role != "main").collect();
    ensure!(nameless.is_empty(), "{nameless:?}");
    for landmark in ["banner", "main", "contentinfo"] {
        ensure!(tree.iter().any(|(role, _)| role == landmark), "no {landmark}");
    }
    Ok(())
}

/// The contrast of texts to what they stand on, by WCAG 2.
const CONTRASTS: &str = "(() => {
  const style = getComputedStyle(document.documentElement);
  const parse = text => text.trim().slice(1).match(/../g).map(part => parseInt(part, 16) / 255);
  const light = text => parse(text).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const of = name => light(style.getPropertyValue(name));
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return ['--text', '--faint', '--accent', '--bad', '--hit'].flatMap(name =>
    ['--back', '--raised'].map(back => contrast(of(name), of(back))));
})()";

#[test]
fn dark_and_light_both_can_be_read() -> Result<()> {
    let mut case = Case::start("")?;
    case.open_process(0)?;
    let mut backs = Vec::new();
    for scheme in ["light", "dark"] {
        case.browser.prefers(scheme)?;
        let contrasts: Vec<f64> = serde_json::from_value(case.browser.value(CONTRASTS)?)?;
        ensure!(
            contrasts.len() == 10 && contrasts.iter().all(|of| *of >= 4.5),
            "{scheme}: {contrasts:?}"
        );
        let page = case.browser.text("getComputedStyle(document.body).backgroundColor")?;
        let frame = "(() => { const frame = document.querySelector('iframe'); return frame.contentWindow.getComputedStyle(frame.contentDocument.querySelector('rect')).fill })()";
        ensure!(case.browser.text(frame)? == page, "the picture stands on another ground");
        backs.push(page);
    }
    ensure!(backs[0] != backs[1], "{backs:?}");
    case.is_quiet(true)
}

#[test]
fn with_a_token_the_page_asks_for_it_and_no_address_has_it() -> Result<()> {
    let mut case = Case::start("")?;
    let token = case.dir.path().join("token");
    fs::write(&token, "correct-horse-battery\n")?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    let file = case.dir.path().join("token.toml");
    fs::write(&file, format!("[listen]\ntoken_file = {token:?}\n"))?;
    case.agent = Case::agent(&case.programs, &file, "127.0.0.1:0")?;
    for (path, status) in [
        ("/", 200),
        ("/assets/main.js", 200),
        ("/api/v1/overview", 401),
        ("/api/v1/overview?token=correct-horse-battery", 401),
        ("/api/v1/captures", 401),
    ] {
        ensure!(case.agent.get(path)?.status == status, "{path}");
    }
    case.open("")?;
    case.browser.until("document.activeElement.name === 'token'")?;
    case.browser.write("wrong-horse-battery")?;
    case.browser.press(&["Enter"])?;
    case.browser
        .until("document.getElementById('wrong').textContent === 'That is not the token.'")?;
    case.browser.write("correct-horse-battery")?;
    case.browser.press(&["Enter"])?;
    case.browser.until(THREE)?;
    ensure!(case.browser.value("document.getElementById('token').hidden")? == true);
    case.browser
        .value("[...document.links].find(link => link.textContent === 'orders').click()")?;
    case.browser.until(&format!("{FRAMES} > 3"))?;
    case.browser.value("document.querySelector('.links a').click()")?;
    ensure!(!Pprof::read(&case.browser.downloaded()?)?.samples.is_empty());
    let asked = "performance.getEntriesByType('resource').map(one => one.name).concat(location.href).join()";
    ensure!(!case.browser.text(asked)?.contains("horse"), "the token is in an address");
    case.is_quiet(false)
}

#[test]
fn an_agent_that_goes_away_is_told_and_so_is_its_return() -> Result<()> {
    let mut case = Case::start("")?;
    case.open("")?;
    case.browser.until(THREE)?;
    let stale = "document.getElementById('stale')";
    ensure!(case.browser.value(&format!("{stale}.hidden"))? == true);
    let (address, file) = (case.agent.address.to_string(), case.dir.path().join("agent.toml"));
    // Another one in its place, which goes away with it.
    case.agent = Case::agent(&case.programs, &file, "127.0.0.1:0")?;
    case.browser.until(&format!(
        "{stale}.textContent.includes('does not answer') && {stale}.offsetParent"
    ))?;
    ensure!(case.cells()?.len() == 3, "what was seen is gone");
    case.agent = Case::agent(&case.programs, &file, &address)?;
    case.browser.until(&format!("{stale}.hidden"))?;

    // A process that ends while somebody looks at it.
    case.open_process(2)?;
    drop(case.programs.pop());
    case.browser.until("document.querySelector('.process [role=alert]')?.textContent.includes('not there any more')")?;
    ensure!(case.browser.text("document.querySelector('h2').textContent")?.starts_with("payments"));
    case.open("#/process/1")?;
    case.browser.until("document.querySelector('.process [role=alert]')?.textContent.includes('No such Go process')")?;
    case.is_quiet(false)
}
