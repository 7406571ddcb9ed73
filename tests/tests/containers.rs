//! Programs in containers, and heaptap in one: right names, each process once.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::holding::is_counted;
use heaptap_tests::podman::Podman;
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A container that runs the fixture `life`.
struct Contained {
    name: &'static str,
    pid: u32,
    id: String,
    /// podman, whose pipes are the program's.
    running: Running,
}

impl Contained {
    fn start(podman: &Podman, name: &'static str, image: &str) -> Result<Contained> {
        let mut run = podman.run(name);
        run.arg(image);
        let running = Running::start(run)?;
        let (pid, id) = podman.inspect(name)?;
        Ok(Contained { name, pid, id, running })
    }

    /// Exactly one process of the profile is this one; it has made so many objects.
    fn check(&self, profile: &Profile, objects: u64) -> Result<()> {
        let mine = |process: &&heaptap_tests::profile::Process| {
            process.pid == self.pid
                && process.container.as_ref() == Some(&self.id)
                && process.container_name.as_deref() == Some(self.name)
        };
        let found = profile.processes.iter().filter(mine).count();
        ensure!(found == 1, "{} is there {found} times: {:?}", self.name, profile.processes);
        let value = profile.value("alloc_objects")?;
        let made: u64 = profile
            .stacks
            .iter()
            .filter(|stack| profile.processes[stack.process].pid == self.pid)
            .filter(|stack| stack.frames.first().is_some_and(|f| f.function == "main.allocate"))
            .map(|stack| stack.values[value])
            .sum();
        ensure!(made == objects, "{}: {made} objects of {objects}", self.name);
        Ok(())
    }
}

fn until_counted(heaptap: u32, contained: &Contained) -> Result<()> {
    let began = Instant::now();
    while !is_counted(heaptap, contained.pid)? {
        ensure!(began.elapsed() < Duration::from_secs(30), "{} is not counted", contained.name);
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Two images with programs of different releases.
fn images() -> Result<Podman> {
    let podman = Podman::new()?;
    for (image, release) in [("web", "1.26"), ("db", "1.24")] {
        podman.image(image, &Fixture::build("life", release, Variant::Stripped)?.program)?;
    }
    Ok(podman)
}

/// Two containers of one image share the file underneath, and each has it under a device of its own.
#[test]
fn containers_are_recorded_once_each_by_name() -> Result<()> {
    require_root()?;
    let podman = images()?;
    let json = tempfile::tempdir()?.keep().join("out.json");
    let output = json.to_str().context("a path that is no text")?;
    let mut all =
        vec![Contained::start(&podman, "web-1", "web")?, Contained::start(&podman, "db-1", "db")?];
    for (selection, expected) in [
        (&["--container", "*"][..], [true, true, true]),
        (&["--container", "web-*"], [true, false, true]),
        (&["--container", "*", "--exclude", "container=web-1"], [false, true, true]),
        (&["--container", &all[1].id.clone()[..12]], [false, true, false]),
    ] {
        let recording = Recording::start(selection.iter().copied().chain(["-o", output]))?;
        // The third comes while it records, the first time.
        if all.len() < 3 {
            all.push(Contained::start(&podman, "web-2", "web")?);
        }
        for (contained, expected) in all.iter().zip(expected) {
            if expected {
                until_counted(recording.pid(), contained)?;
            }
        }
        for (objects, contained) in (10..).zip(&mut all) {
            contained.running.ask(&format!("alloc {objects}"))?;
        }
        recording.stop()?.expect(0)?;
        let profile = Profile::read(&json)?;
        for ((objects, contained), expected) in (10..).zip(&all).zip(expected) {
            if expected {
                contained.check(&profile, objects).with_context(|| format!("{selection:?}"))?;
            } else {
                let there = profile.processes.iter().any(|p| p.pid == contained.pid);
                ensure!(!there, "{selection:?}: {} was not meant", contained.name);
            }
        }
    }
    if let Some(dir) = json.parent() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}

/// `ps` names containers.
#[test]
fn ps_names_containers() -> Result<()> {
    require_root()?;
    let podman = images()?;
    let web = Contained::start(&podman, "shop-1", "web")?;
    let ended = heaptap::run(["ps", "--json"])?;
    ended.expect(0)?;
    let all: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    let all = all["processes"].as_array().context("no processes")?;
    let mine = all.iter().find(|process| process["pid"] == web.pid).context("not listed")?;
    ensure!(mine["container"]["name"] == "shop-1", "{mine}");
    ensure!(mine["container"]["id"] == web.id.as_str(), "{mine}");
    ensure!(mine["container"]["runtime"] == "podman", "{mine}");
    Ok(())
}

/// heaptap in a privileged container with the host's process ids sees what it sees on the host.
#[test]
fn heaptap_in_a_container_sees_the_host() -> Result<()> {
    require_root()?;
    let podman = images()?;
    let mut web = Contained::start(&podman, "web-1", "web")?;
    let out = tempfile::tempdir()?;
    // The same command name outside of containers.
    let own = out.path().join("web");
    heaptap_tests::copy(Fixture::build("life", "1.26", Variant::Stripped)?.program, &own)?;
    let mut host = Running::start(Command::new(&own))?;
    let mut tap = podman.run("tap");
    tap.args(["--privileged", "--pid", "host", "--entrypoint", "/heaptap"]);
    // The image is empty: heaptap needs the C library.
    for dir in ["/lib", "/lib64", "/usr"] {
        if Path::new(dir).exists() {
            tap.args(["--volume", &format!("{dir}:{dir}:ro")]);
        }
    }
    let program = heaptap::program()?;
    tap.args(["--volume", &format!("{}:/heaptap:ro", program.display())]);
    tap.args(["--volume", &format!("{}:/out", out.path().display())]);
    tap.args(["--volume", "/sys/kernel/tracing:/sys/kernel/tracing"]);
    tap.args(["db", "record", "--comm", "web", "--mode", "exact", "--budget", "none"]);
    tap.args(["-o", "/out/out.json"]);
    let recording = Recording::of(tap.stdin(Stdio::null()))?;
    let (heaptap, _) = podman.inspect("tap")?;
    until_counted(heaptap, &web)?;
    web.running.ask("alloc 10")?;
    host.ask("alloc 20")?;
    let host_pid = host.pid();
    kill(Pid::from_raw(heaptap.try_into()?), Signal::SIGINT)?;
    recording.finish()?.expect(0)?;
    let profile = Profile::read(&out.path().join("out.json"))?;
    web.check(&profile, 10)?;
    let on_host = profile.processes.iter().filter(|process| process.pid == host_pid);
    let on_host: Vec<_> = on_host.map(|process| process.container.clone()).collect();
    ensure!(on_host == [None], "{on_host:?}");
    Ok(())
}
