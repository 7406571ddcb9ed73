//! The agent's page, looked at in a browser, with programs whose heaps it shows.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::devtools::Browser;
use crate::{Fixture, Running, Variant, heaptap, require_root};

/// Names of the programs; one is markup to a page that takes it for such.
pub const NAMES: [&str; 3] = ["orders", "<img src=q>", "payments"];

/// Programs with heaps, an agent, and a browser that looks at it.
pub struct Case {
    pub programs: Vec<Running>,
    pub agent: Agent,
    pub browser: Browser,
    pub dir: tempfile::TempDir,
}

impl Case {
    pub fn start(more: &str) -> Result<Self> {
        require_root()?;
        let dir = tempfile::tempdir()?;
        let fixture = Fixture::build("heap", "1.27", Variant::Default)?.program;
        let mut programs = Vec::new();
        for (at, name) in NAMES.iter().enumerate() {
            let path = dir.path().join(name);
            crate::copy(&fixture, &path)?;
            let mut command = Command::new(path);
            command.env("HEAP_RATE", "4096");
            let mut program = Running::start(command)?;
            for order in [&*format!("work {}", 20 + 30 * at), "gc", "gc"] {
                ensure!(program.ask(order)? == "done");
            }
            programs.push(program);
        }
        let captures = dir.path().join("captures");
        let file = dir.path().join("agent.toml");
        fs::write(&file, format!("{more}\n[captures]\ndir = {captures:?}\non_request = true\n"))?;
        let agent = Self::agent(&programs, &file, "127.0.0.1:0")?;
        Ok(Self { programs, agent, browser: Browser::open()?, dir })
    }

    pub fn agent(programs: &[Running], file: &Path, listen: &str) -> Result<Agent> {
        let file = file.display().to_string();
        let pids: Vec<String> = programs.iter().map(|one| one.pid().to_string()).collect();
        let mut command = Command::new(heaptap::program()?);
        command.args(["agent", "--config", &file, "--listen", listen, "--node", "n1"]);
        command.args(["--every", "100ms", "--cpu", "50%"]);
        command.args(pids.iter().flat_map(|pid| ["-p", pid])).stdin(Stdio::null());
        Agent::of(&mut command)
    }

    pub fn open(&mut self, path: &str) -> Result<()> {
        let address = format!("http://{}/{path}", self.agent.address);
        self.browser.go(&address)
    }

    /// Opens a process and waits for its flame graph.
    pub fn open_process(&mut self, at: usize) -> Result<u32> {
        let pid = self.programs[at].pid();
        self.open(&format!("#/process/{pid}"))?;
        self.browser.until(&format!("{FRAMES} > 3"))?;
        Ok(pid)
    }

    /// What cells of the table of processes say.
    pub fn cells(&mut self) -> Result<Vec<Vec<String>>> {
        let told = self.browser.value(CELLS)?;
        Ok(serde_json::from_value(told)?)
    }

    /// Until the table is not what it was.
    pub fn until_other_than(&mut self, cells: &[Vec<String>]) -> Result<()> {
        let before = serde_json::to_string(cells)?;
        self.browser.until(&format!("JSON.stringify({CELLS}) !== JSON.stringify({before})"))
    }

    pub fn column(&mut self, at: usize) -> Result<Vec<String>> {
        Ok(self.cells()?.into_iter().map(|row| row[at].clone()).collect())
    }

    /// Nothing went wrong in the browser: no exception, nothing that its policy forbids.
    pub fn is_quiet(&mut self, loads: bool) -> Result<()> {
        let said = self.browser.complaints(loads)?;
        ensure!(said.is_empty(), "{said:#?}");
        Ok(())
    }
}

/// How many frames the flame graph that is shown has.
pub const FRAMES: &str = "document.querySelector('[role=tabpanel]:not([hidden]) iframe')?.contentDocument\
                      ?.querySelectorAll('#frames g').length";
/// What the cells of the table of processes say.
const CELLS: &str = "[...document.querySelectorAll('.node tbody tr')]\
                     .map(row => [...row.children].map(cell => cell.textContent))";
/// Whether the table of the node has all of them.
pub const THREE: &str = "document.querySelectorAll('.node tbody tr').length === 3";

/// As the page writes sizes.
pub fn bytes(of: &Value) -> String {
    let Some(size) = of.as_f64() else { return "–".to_owned() };
    let units = ["B", "KiB", "MiB", "GiB"];
    let at = (0..3).find(|at| size < 1024_f64.powi(at + 1)).unwrap_or(3);
    let scaled = size / 1024_f64.powi(at);
    match at {
        0 => format!("{size} B"),
        at => format!("{scaled:.1} {}", units[at as usize]),
    }
}
