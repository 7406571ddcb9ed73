//! `cargo xtask demo`: from a clean clone to a flame graph of a Go server under load.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::setup::{self, Purpose};
use crate::{build, process};
use xtask::pins::GoRelease;
use xtask::{paths, toolchain};

pub fn run() -> Result<()> {
    println!("demo: setting up");
    setup::install(Purpose::Demo)?;
    println!("demo: building heaptap (a few minutes the first time)");
    build::kernel_object()?;
    let heaptap = build::heaptap(true)?;
    let release = GoRelease::newest();
    println!("demo: building the bundled server with Go {}", release.version);
    let server = Server::start(release)?;
    println!("demo: the server runs as process {}, under load", server.child.id());
    let pid = server.child.id().to_string();
    let (svg, pprof) = (paths::repo().join("demo.svg"), paths::repo().join("demo.pb.gz"));
    println!("demo: recording every allocation for 5 s");
    let mut record = as_root(&heaptap)?;
    record
        .args(["record", "-p", &pid, "-d", "5", "--mode", "exact", "--budget", "none", "-o"])
        .arg(&svg)
        .arg("-o")
        .arg(&pprof);
    process::loud(record.args(["-o", "-", "--top", "10"]))?;
    drop(server);
    println!("\ndemo: the server is stopped. Look at");
    println!("  {}  (any browser)", svg.display());
    println!("  {}  (go tool pprof)", pprof.display());
    Ok(())
}

/// heaptap as root: attaching probes needs it.
fn as_root(heaptap: &Path) -> Result<Command> {
    if setup::is_root() {
        return Ok(Command::new(heaptap));
    }
    if paths::find_program("sudo").is_none() {
        bail!("attaching probes needs root, and there is no sudo: run as root");
    }
    let mut command = Command::new("sudo");
    command.arg(heaptap);
    Ok(command)
}

/// The bundled server; stopped when dropped.
struct Server {
    child: Child,
}

impl Server {
    /// Builds and starts it, and waits until it serves.
    fn start(release: GoRelease) -> Result<Server> {
        let go = toolchain::go(release)?.context("setup installed no Go")?;
        let program = paths::target_dir().join("demo-server");
        let mut build = toolchain::go_command(&go);
        build.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".");
        build.env("CGO_ENABLED", "0").current_dir(paths::repo().join("tests/fixtures/demo"));
        process::loud(&mut build)?;
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start the server")?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        let server = Server { child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("can't read from the server")?;
        if !line.starts_with("ready ") {
            bail!("the server did not start");
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its process id is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
