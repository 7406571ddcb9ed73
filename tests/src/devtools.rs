//! A browser that a test drives as a user would: keys, clicks, what is on the screen, what it tells a screen reader.
//!
//! In: addresses, scripts, keys. Out: what a page says, and what the browser complained of. Speaks the browser's debugging
//! protocol over two pipes (JSON, each message ended by a zero byte); the browser ends with its whole group of processes.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use xtask::paths;

/// How long anything may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);
/// The protocol's pipes are descriptors 3 and 4; a shell puts them there.
const PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    /// Events that came while an answer was waited for.
    events: VecDeque<Value>,
    session: Option<String>,
    last: u64,
    /// What is downloaded is here.
    pub dir: tempfile::TempDir,
}

impl Browser {
    /// Starts one, with an empty page.
    pub fn open() -> Result<Self> {
        let program =
            paths::find_program("chromium").context("no chromium: run `cargo xtask setup`")?;
        let dir = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        command.args(["-c", PIPES]).arg(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-sync", "--remote-debugging-pipe", "--window-size=1300,900"]);
        command.arg(format!("--user-data-dir={}", dir.path().join("browser").display()));
        command.arg("about:blank").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("can't start the browser")?;
        let input = child.stdin.take().context("no pipe")?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?);
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let text = message.strip_suffix(&[0]).unwrap_or(&message);
                let Ok(told) = serde_json::from_slice(text) else { return };
                if sender.send(told).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let events = VecDeque::new();
        let mut browser = Self { child, input, messages, events, session: None, last: 0, dir };
        let targets = browser.call("Target.getTargets", json!({}))?;
        let targets = targets["targetInfos"].as_array().cloned().unwrap_or_default();
        let page = targets.iter().find(|target| target["type"] == "page").context("no page")?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        let path = browser.dir.path().join("downloads");
        let downloads = json!({ "behavior": "allow", "downloadPath": path });
        browser.call("Browser.setDownloadBehavior", downloads)?;
        Ok(browser)
    }

    /// Asks for something and waits for the answer.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut text = serde_json::to_vec(&message)?;
        text.push(0);
        self.input.write_all(&text).context("the browser has ended")?;
        loop {
            let told = self.messages.recv_timeout(PATIENCE);
            let mut told = told.with_context(|| format!("no answer to {method}"))?;
            if told["id"] != self.last {
                self.events.push_back(told);
                continue;
            }
            if let Some(error) = told.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(told["result"].take());
        }
    }

    /// Goes to an address.
    pub fn go(&mut self, address: &str) -> Result<()> {
        let told = self.call("Page.navigate", json!({ "url": address }))?;
        ensure!(told.get("errorText").is_none(), "{address}: {told}");
        Ok(())
    }

    /// What an expression of the page's is.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut told = self.call("Runtime.evaluate", ask)?;
        if let Some(failed) = told.get("exceptionDetails") {
            bail!("{expression}: {failed}");
        }
        Ok(told["result"]["value"].take())
    }

    /// Its text.
    pub fn text(&mut self, expression: &str) -> Result<String> {
        let value = self.value(expression)?;
        value.as_str().map(str::to_owned).with_context(|| format!("{expression} is {value}"))
    }

    /// Waits until an expression is true of the page, whichever page that is by then.
    pub fn until(&mut self, expression: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.value(&format!("!!({expression})"));
            match &told {
                Ok(Value::Bool(true)) => return Ok(()),
                // A page that is on its way has no such thing yet.
                _ if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                Ok(_) => {
                    let seen = self.text("document.body.innerText").unwrap_or_default();
                    bail!("never: {expression}; the page says: {seen}");
                }
                Err(failed) => bail!("never: {expression}: {failed}"),
            }
        }
    }

    /// Presses keys by their names: `Tab`, `Enter`, `/`.
    pub fn press(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            let (code, text) = match *key {
                "Tab" => (9, ""),
                "Enter" => (13, "\r"),
                "Escape" => (27, ""),
                "ArrowRight" => (39, ""),
                "/" => (191, "/"),
                other => bail!("what is {other}?"),
            };
            for kind in ["keyDown", "keyUp"] {
                let text = if kind == "keyDown" { text } else { "" };
                let event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
                self.call("Input.dispatchKeyEvent", event)?;
            }
        }
        Ok(())
    }

    /// Types a text.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({ "text": text })).map(drop)
    }

    /// As somebody who likes it dark, or light.
    pub fn prefers(&mut self, scheme: &str) -> Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).map(drop)
    }

    /// What a screen reader finds: the role and the name of each element that it knows.
    pub fn accessible(&mut self) -> Result<Vec<(String, String)>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}))?;
        let nodes = tree["nodes"].as_array().context("no tree")?.iter();
        let known = nodes.filter(|node| node["ignored"] == false);
        let word = |of: &Value| of["value"].as_str().unwrap_or_default().to_owned();
        Ok(known.map(|node| (word(&node["role"]), word(&node["name"]))).collect())
    }

    /// What the browser complained of since it was asked last: exceptions, policies, errors of scripts; what could not be
    /// loaded only with `loads`.
    pub fn complaints(&mut self, loads: bool) -> Result<Vec<String>> {
        // What came before an answer has come with it.
        self.value("0")?;
        let is_one = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                ["error", "assert", "warning"].iter().any(|of| event["params"]["type"] == *of)
            }
            Some("Log.entryAdded") => {
                let entry = &event["params"]["entry"];
                entry["level"] == "error" && (loads || entry["source"] != "network")
            }
            _ => false,
        };
        let all = std::mem::take(&mut self.events);
        Ok(all
            .iter()
            .filter(|event| is_one(event))
            .map(|event| event["params"].to_string())
            .collect())
    }

    /// The only file that was downloaded, when it is there.
    pub fn downloaded(&self) -> Result<std::path::PathBuf> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = std::fs::read_dir(self.dir.path().join("downloads"));
            // Its name is kept by an empty file until it is renamed to it.
            let is_whole = |path: &Path| {
                path.extension().is_none_or(|end| end != "crdownload")
                    && path.metadata().is_ok_and(|file| file.len() > 0)
            };
            let mut paths = found
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| is_whole(path));
            if let Some(path) = paths.next() {
                return Ok(path);
            }
            ensure!(Instant::now() < until, "nothing was downloaded");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
