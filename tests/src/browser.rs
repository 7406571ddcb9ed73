//! Pages in a real browser, without a window.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::paths;

/// What a page is driven with, before the script of a test: a result that can be read from outside, and a
/// way to wait until the page has drawn itself.
const DRIVER: &str = r#"
const told = Object.assign(document.createElement("script"), { type: "text/plain", id: "told" });
const get = id => document.getElementById(id);
const all = selector => [...document.querySelectorAll(selector)];
const press = key => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const choose = (id, value, event) => { get(id).value = value; get(id).dispatchEvent(new Event(event, { bubbles: true })); };
addEventListener("error", event => { told.textContent = JSON.stringify({ error: event.message }); });
"#;

/// Opens a page from the disk, runs `script` in it when it has drawn itself, and gives what that returns.
///
/// # Errors
/// There is no browser; the page does not draw itself; the script fails.
pub fn drive(page: &Path, address: &str, script: &str) -> Result<Value> {
    let browser =
        paths::find_program("chromium").context("no chromium: run `cargo xtask setup`")?;
    let dir = tempfile::tempdir()?;
    let driven = dir.path().join("page.html");
    let text = fs::read_to_string(page)?;
    let (page, end) = text.rsplit_once("</body>").context("a page without an end")?;
    let script = format!(
        "<script>{DRIVER}\n(async () => {{\n\
         while (!document.documentElement.dataset.ready) await new Promise(soon => setTimeout(soon, 5));\n\
         return (() => {{ {script} }})();\n}})()\
         .then(result => {{ told.textContent = JSON.stringify(result); }}, \
         error => {{ told.textContent = JSON.stringify({{ error: String(error) }}); }})\
         .then(() => document.body.append(told));</script>"
    );
    fs::write(&driven, format!("{page}{script}</body>{end}"))?;
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update"]);
    command.args(["--disable-sync", "--window-size=1300,900"]);
    // The time that the page sees; it runs as fast as the page allows.
    command.args(["--virtual-time-budget=20000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", dir.path().join("browser").display()));
    command.arg(format!("file://{}#{address}", driven.display()));
    let output = command.stdin(Stdio::null()).output().context("can't start the browser")?;
    let dom = String::from_utf8_lossy(&output.stdout);
    let found = dom.split_once("id=\"told\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let (told, _) = found.with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("the page has told nothing ({} bytes of it): {said}", dom.len())
    })?;
    let told: Value = serde_json::from_str(told).with_context(|| format!("told {told:?}"))?;
    ensure!(told.get("error").is_none(), "the page failed: {told}");
    Ok(told)
}
