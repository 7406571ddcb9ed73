//! Rules of `heaptap agent`: what holds is captured and told, once, and so is its end.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::agent::Agent;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::receivers::Receiver;
use heaptap_tests::{Fixture, Running, Variant, heaptap, real, require_root};
use serde_json::Value;

/// What should happen soon has this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Case {
    program: Running,
    dir: tempfile::TempDir,
}

impl Case {
    fn start() -> Result<Self> {
        require_root()?;
        let mut command = Command::new(Fixture::build("heap", "1.27", Variant::Default)?.program);
        command.env("HEAP_RATE", "1");
        let mut case = Self { program: Running::start(command)?, dir: tempfile::tempdir()? };
        for line in ["work 20", "gc", "gc"] {
            ensure!(case.program.ask(line)? == "done");
        }
        Ok(case)
    }

    fn agent(&self, more: &str) -> Result<Agent> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let file = path("agent.toml");
        let (spool, captures) = (path("spool"), path("captures"));
        fs::write(
            &file,
            format!("[spool]\ndir = {spool:?}\n[captures]\ndir = {captures:?}\n{more}"),
        )?;
        Agent::start(&["--config", &file, "-p", &self.pid(), "--every", "100ms", "--node", "n1"])
    }

    fn pid(&self) -> String {
        self.program.pid().to_string()
    }

    /// Waits for a capture that is complete.
    fn captured(&self, end: &str) -> Result<PathBuf> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = fs::read_dir(self.dir.path().join("captures"))?.flatten();
            let mut paths = found.map(|entry| entry.path());
            let is_it = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.ends_with(end) && !name.starts_with('.')
            };
            if let Some(path) = paths.find(is_it) {
                return Ok(path);
            }
            ensure!(Instant::now() < until, "no capture that ends in {end}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn body(came: &heaptap_tests::receivers::Came) -> Result<Value> {
    serde_json::from_slice(came.parts.get("").context("no body")?).context("the body is no JSON")
}

const RULE: &str = r#"
[[rule]]
name = "has <memory>"
metric = "heaptap_memory_resident_bytes"
above = "1KiB"
for = "1s"
severity = "critical"
capture = ["heap", "goroutines", "record 1s"]

[[rule]]
name = "never"
metric = "go_goroutine_count"
above = 1000000
"#;

/// From the condition to the end: one alert, with its stacks and captures, and what the program itself says is in them.
#[test]
fn what_holds_is_captured_and_told_once_and_so_is_its_end() -> Result<()> {
    let mut case = Case::start()?;
    let receiver = Receiver::start()?;
    let notify = format!(
        "[[notify]]\nkind = \"webhook\"\nurl = \"{0}/hook\"\n[[notify]]\nkind = \"slack\"\nurl = \"{0}/slack\"\n",
        receiver.url()
    );
    let agent = case.agent(&format!("{RULE}{notify}"))?;
    let came = receiver.wait("two posts", |came| came.len() >= 2)?;
    let hook = came.iter().find(|came| came.path == "/hook").context("no webhook")?;
    let told = body(hook)?;
    ensure!(told["schema"] == "heaptap.alert/1" && told["state"] == "firing", "{told:#}");
    ensure!(told["rule"] == "has <memory>" && told["severity"] == "critical", "{told:#}");
    ensure!(told["process"]["pid"] == case.pid()[..], "{told:#}");
    ensure!(told["process"]["node"] == "n1", "{told:#}");
    let captures = told["captures"].as_array().context("no captures")?;
    ensure!(captures.len() == 3, "{told:#}");
    let slack = came.iter().find(|came| came.path == "/slack").context("no Slack")?;
    let text = body(slack)?["text"].as_str().context("no text")?.to_owned();
    ensure!(text.contains("has &lt;memory&gt;"), "{text}");

    let heap = Pprof::read(&case.captured("-heap.pb.gz")?)?;
    let own = case.dir.path().join("own.pb.gz");
    ensure!(case.program.ask(&format!("heap {}", own.display()))? == "done");
    let own = Pprof::read(&own)?;
    let functions = |profile: &Pprof| {
        let frames = profile.samples.iter().flat_map(|sample| &sample.stack);
        let mut names: Vec<String> = frames.map(|frame| frame.function.clone()).collect();
        // The program's own profile has what writing it has allocated.
        names.retain(|name| name.starts_with("main.") && name != "main.write");
        names.sort();
        names.dedup();
        names
    };
    let (of_own, of_heap) = (functions(&own), functions(&heap));
    ensure!(!of_heap.is_empty() && of_heap == of_own, "{of_heap:?} of {of_own:?}");
    ensure!(!Pprof::read(&case.captured("-goroutines.pb.gz")?)?.samples.is_empty());
    Pprof::read(&case.captured("-record.pb.gz")?)?;
    let metrics = agent.wait("three captures", |metrics| {
        metrics.number("heaptap_captures_total", &["result=\"made\""]) == Some(3.0)
    })?;
    ensure!(metrics.number("heaptap_alerts", &[]) == Some(1.0), "{}", metrics.0);
    ensure!(metrics.number("heaptap_alerts_begun_total", &[]) == Some(1.0), "{}", metrics.0);

    // It ends with its program.
    drop(case.program);
    let came = receiver.wait("the end", |came| came.len() >= 4)?;
    let ends: Vec<Value> =
        came[2..].iter().filter(|came| came.path == "/hook").map(body).collect::<Result<_>>()?;
    ensure!(came.len() == 4 && ends.len() == 1, "{} posts", came.len());
    ensure!(ends[0]["state"] == "resolved" && ends[0]["key"] == told["key"], "{:#}", ends[0]);
    Ok(())
}

/// Captures are no more than the file allows, and what is left out is counted.
#[test]
fn captures_are_bounded() -> Result<()> {
    let case = Case::start()?;
    let rules: String = (0..4)
        .map(|n| {
            format!(
                "[[rule]]\nname = \"r{n}\"\nmetric = \"go_goroutine_count\"\nabove = 0\ncapture = [\"heap\"]\n"
            )
        })
        .collect();
    let agent = case.agent(&format!("per_hour = 3\nmax_bytes = \"1B\"\n{rules}"))?;
    let of = |result: &str| format!("result=\"{result}\"");
    agent.wait("three captures, of which none has room", |metrics| {
        let count = |result| metrics.number("heaptap_captures_total", &[&of(result)]);
        count("made") == Some(3.0)
            && count("left_out") == Some(1.0)
            && count("removed") == Some(3.0)
    })?;
    Ok(())
}

/// A spool that can't be used is told in a line, whoever was to use it.
#[test]
fn without_a_place_for_posts_it_does_not_begin() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let (file, spool) = (dir.path().join("agent.toml"), dir.path().join("spool"));
    fs::write(&spool, "")?;
    let spool = spool.display();
    let notify = "[[notify]]\nkind = \"webhook\"\nurl = \"http://localhost/\"\n";
    fs::write(&file, format!("[spool]\ndir = \"{spool}\"\n{notify}"))?;
    let file = file.display().to_string();
    let ended = heaptap::run(["agent", "--listen", "127.0.0.1:0", "--config", &file])?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(ended.stderr.starts_with("heaptap: push notify-webhook: spool: "), "{ended:?}");
    ensure!(ended.stderr.lines().count() == 1, "{ended:?}");
    Ok(())
}

/// A real Alertmanager; killed when dropped.
struct Alertmanager {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("alertmanager.yml");
        fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = real::alertmanager()?
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log"))?)
            .spawn()?;
        let manager = Self { child, port, _dir: dir };
        manager.until("it is ready", || Ok(manager.get("/-/ready").is_ok().then_some(())))?;
        Ok(manager)
    }

    fn get(&self, path: &str) -> Result<String> {
        use std::io::{Read as _, Write as _};

        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        Ok(answer.split_once("\r\n\r\n").context("no body")?.1.to_owned())
    }

    fn until<T>(&self, what: &str, mut found: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(found) = found()? {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{what}: not within {PATIENCE:?}")
    }

    /// The alerts that it has.
    fn alerts(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.get("/api/v2/alerts")?)?)
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_alertmanager_hears_of_it() -> Result<()> {
    let case = Case::start()?;
    let manager = Alertmanager::start()?;
    let notify = format!(
        "[[notify]]\nkind = \"alertmanager\"\nurl = \"http://127.0.0.1:{}\"\n",
        manager.port
    );
    let _agent = case.agent(&format!("{RULE}{notify}"))?;
    let alert = manager.until("an alert", || Ok(manager.alerts()?.into_iter().next()))?;
    ensure!(alert["labels"]["alertname"] == "has <memory>", "{alert:#}");
    ensure!(alert["labels"]["pid"] == case.pid()[..], "{alert:#}");
    ensure!(alert["status"]["state"] == "active", "{alert:#}");
    let summary = alert["annotations"]["summary"].as_str().context("no summary")?;
    ensure!(summary.contains("heaptap_memory_resident_bytes is"), "{summary}");
    // When its program has ended, it is over.
    drop(case.program);
    manager.until("no alert", || Ok(manager.alerts()?.is_empty().then_some(())))
}
