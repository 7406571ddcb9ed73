//! The agent in a container with what the DaemonSet gives it, and with less: what it sees, what it captures, and what it
//! says of what is missing.
//!
//! The settings are read from the manifest, so that what is tested is what is deployed. podman stands for the kubelet and
//! the runtime: it gives mounts, identities, limits and a filter of system calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::agent::{Agent, Metrics};
use heaptap_tests::heaptap::{Ended, run_command};
use heaptap_tests::owned::Owned;
use heaptap_tests::podman::Podman;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::{Fixture, Running, Variant, manifests, require_root};
use serde_json::{Value, json};
use xtask::paths;

const IMAGE: &str = "heaptap";
const TOKEN: &str = "a-token-of-the-test";
const NODE: &str = "node-of-the-test";
/// What should happen soon has this long.
const PATIENCE: Duration = Duration::from_secs(60);
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// How the DaemonSet runs the agent.
struct Deployed {
    podman: Podman,
    /// The pod and its only container.
    pod: Value,
    /// What stands for its volumes, and a seccomp profile.
    dir: tempfile::TempDir,
}

/// Keys that mean something here; with others the test would not be of what is deployed.
const OF_POD: [&str; 12] = [
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "hostPID",
    "priorityClassName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "nodeSelector",
    "containers",
    "volumes",
    "restartPolicy",
    "dnsPolicy",
];

impl Deployed {
    fn new() -> Result<Self> {
        require_root()?;
        let documents = manifests::read("kubernetes/daemonset.yaml")?;
        let set = manifests::of_kind(&documents, "DaemonSet")?;
        let pod = set["spec"]["template"]["spec"].clone();
        for key in pod.as_object().context("no pod")?.keys() {
            ensure!(OF_POD.contains(&key.as_str()), "what does {key} mean for a container?");
        }
        let podman = Podman::new()?;
        let program = paths::static_heaptap();
        ensure!(program.is_file(), "no static heaptap: run `cargo xtask build --static`");
        podman.image_of(
            IMAGE,
            &manifests::deploy("Containerfile"),
            &[
                (&program, "heaptap"),
                (&paths::repo().join("LICENSE-APACHE"), "LICENSE-APACHE"),
                (&paths::repo().join("LICENSE-MIT"), "LICENSE-MIT"),
                (&paths::repo().join("LICENSE-GPL2"), "LICENSE-GPL2"),
            ],
        )?;
        let deployed = Self { podman, pod, dir: tempfile::tempdir()? };
        deployed.seccomp()?;
        Ok(deployed)
    }

    fn container(&self) -> &Value {
        &self.pod["containers"][0]
    }

    fn capabilities(&self) -> Result<Vec<String>> {
        let add = &self.container()["securityContext"]["capabilities"]["add"];
        let add = add.as_array().context("no capabilities")?;
        Ok(add.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect())
    }

    /// This machine's default profile, with the two rules that containerd's (since 1.7) and docker's (since 23) have.
    fn seccomp(&self) -> Result<()> {
        let text = fs::read_to_string(PROFILE).context(PROFILE)?;
        let mut profile: Value = serde_json::from_str(&text)?;
        let rules = profile["syscalls"].as_array_mut().context("no rules")?;
        for (call, capability) in [("bpf", "CAP_BPF"), ("perf_event_open", "CAP_PERFMON")] {
            for rule in rules.iter_mut().filter(|rule| rule["action"] != "SCMP_ACT_ALLOW") {
                let names = rule["names"].as_array_mut().context("no names")?;
                names.retain(|name| name != call);
            }
            rules.push(json!({
                "names": [call], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [capability]},
            }));
        }
        Ok(fs::write(self.dir.path().join("seccomp.json"), serde_json::to_vec(&profile)?)?)
    }

    /// `podman run` with all that the manifest says but these capabilities; arguments of heaptap follow.
    fn run(&self, name: &str, without: &[&str]) -> Result<Command> {
        let mut run = self.podman.run(name);
        ensure!(self.pod["hostPID"] == true, "not the host's processes");
        run.args(["--pid", "host"]);
        let security = self.container()["securityContext"].as_object().context("no security")?;
        for (key, value) in security {
            match (key.as_str(), value) {
                ("runAsUser", Value::Number(user)) => run.args(["--user", &user.to_string()]),
                ("privileged", Value::Bool(false)) => &mut run,
                ("allowPrivilegeEscalation", Value::Bool(false)) => {
                    run.args(["--security-opt", "no-new-privileges"])
                }
                ("readOnlyRootFilesystem", Value::Bool(true)) => {
                    run.args(["--read-only", "--read-only-tmpfs=false"])
                }
                ("capabilities", set) if set["drop"] == json!(["ALL"]) => {
                    run.args(["--cap-drop", "all"])
                }
                ("seccompProfile", of) if of["type"] == "RuntimeDefault" => {
                    let profile = self.dir.path().join("seccomp.json");
                    run.arg("--security-opt").arg(format!("seccomp={}", profile.display()))
                }
                (key, value) => bail!("what does {key}: {value} mean for a container?"),
            };
        }
        for capability in self.capabilities()? {
            if !without.contains(&capability.as_str()) {
                run.args(["--cap-add", &capability]);
            }
        }
        let memory = &self.container()["resources"]["limits"]["memory"];
        let memory =
            memory.as_str().and_then(|text| text.strip_suffix("Mi")).context("no limit")?;
        run.args(["--memory", &format!("{memory}m")]);
        Ok(run)
    }

    /// Directories as the pod's volumes, made for a container of this name.
    fn mounts(&self, name: &str, rules: &str) -> Result<Vec<String>> {
        let mut flags = Vec::new();
        let volumes = self.pod["volumes"].as_array().context("no volumes")?;
        for mount in self.container()["volumeMounts"].as_array().context("no mounts")? {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.with_context(|| format!("no volume for {mount}"))?;
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let dir = self.dir.path().join(name).join(word(&mount["name"]));
            fs::create_dir_all(&dir)?;
            if volume["configMap"].is_object() {
                let config = manifests::deploy("kubernetes/heaptap-agent.toml");
                let text = fs::read_to_string(config)?;
                fs::write(dir.join("heaptap-agent.toml"), format!("{text}\n{rules}"))?;
            } else if volume["secret"].is_object() {
                fs::write(dir.join("token"), TOKEN)?;
                // As YAML reads it, an octal number.
                let mode = volume["secret"]["defaultMode"].as_u64().context("no mode")?;
                let mode = fs::Permissions::from_mode(mode.try_into()?);
                fs::set_permissions(dir.join("token"), mode)?;
            } else {
                ensure!(volume["emptyDir"].is_object(), "what is {volume}?");
            }
            let read_only = if mount["readOnly"] == true { ":ro" } else { "" };
            let at = word(&mount["mountPath"]);
            flags.extend(["--volume".to_owned(), format!("{}:{at}{read_only}", dir.display())]);
        }
        Ok(flags)
    }

    /// What is captured by the agent of that name.
    fn captures(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("state/captures")
    }

    /// Starts the agent as the manifest does, with these rules more.
    fn agent(&self, name: &str, without: &[&str], rules: &str) -> Result<InPod> {
        let mut run = self.run(name, without)?;
        run.args(self.mounts(name, rules)?).args(["--env", &format!("NODE_NAME={NODE}")]);
        run.arg(IMAGE);
        for arg in self.container()["args"].as_array().context("no arguments")? {
            let arg = arg.as_str().context("an argument that is no text")?;
            run.arg(arg.replace("$(NODE_NAME)", NODE));
        }
        let agent = Agent::of(run.stdin(std::process::Stdio::null()))?;
        let (pid, _) = self.podman.inspect(name)?;
        Ok(InPod { agent, pid })
    }

    /// Runs another command of heaptap to its end.
    fn heaptap(&self, name: &str, without: &[&str], args: &[&str]) -> Result<Ended> {
        let mut run = self.run(name, without)?;
        run.arg(IMAGE).args(args);
        run_command(run)
    }
}

/// An agent in its own network, as a pod's is.
struct InPod {
    agent: Agent,
    pid: u32,
}

impl InPod {
    /// Asks from within its network, as the kubelet and Prometheus would by the pod's address.
    fn ask(&self, path: &str, token: Option<&str>) -> Result<(String, String)> {
        let mut curl = Command::new("nsenter");
        curl.arg(format!("--net=/proc/{}/ns/net", self.pid));
        curl.args(["curl", "--silent", "--max-time", "60", "--write-out", "\n%{http_code}"]);
        if let Some(token) = token {
            curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        let port = self.agent.address.port();
        let output = curl.arg(format!("http://127.0.0.1:{port}{path}")).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').context("no answer")?;
        Ok((status.to_owned(), body.to_owned()))
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.ask("/metrics", Some(TOKEN))?;
            let metrics = Metrics(body);
            if status == "200" && is_so(&metrics) {
                return Ok(metrics);
            }
            ensure!(Instant::now() < until, "{what}: {status}\n{}", metrics.0);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A rule that records what is called so at once.
fn records(comm: &str) -> String {
    format!(
        "[[rule]]\nname = \"record it\"\nmetric = \"go_goroutine_count\"\ncomm = \"{comm}\"\nabove = 0\n\
         capture = [\"record 2s\"]\n"
    )
}

fn captured(dir: &Path) -> Option<PathBuf> {
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with("-record.pb.gz") && !name.starts_with('.')
    };
    fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find(is_it)
}

/// The DaemonSet's agent sees programs of the host and of other containers, names the containers, and its captures
/// attach probes.
#[test]
fn with_what_the_manifest_gives_it_sees_and_captures() -> Result<()> {
    let deployed = Deployed::new()?;
    let host = Owned::start()?;
    deployed.podman.image("web", &Fixture::build("life", "1.24", Variant::Stripped)?.program)?;
    let mut web = deployed.podman.run("web-1");
    let mut web = Running::start({
        web.arg("web");
        web
    })?;
    let (web_pid, _) = deployed.podman.inspect("web-1")?;

    let doctor = deployed.heaptap("doctor", &[], &["doctor"])?;
    doctor.expect(0)?;
    let wanting: Vec<&str> =
        doctor.stdout.lines().filter(|line| !line.starts_with("ok ")).collect();
    // Other tests' programs may be of another mind.
    let wanting: Vec<_> = wanting.iter().filter(|line| !line.contains("samplers")).collect();
    ensure!(wanting.is_empty(), "{wanting:#?}");

    let pod = deployed.agent("agent", &[], &records("web"))?;
    ensure!(!pod.agent.running.said.contains("CAP_"), "{}", pod.agent.running.said);
    let metrics = pod.wait("both programs", |metrics| {
        [host.pid(), web_pid]
            .iter()
            .all(|pid| metrics.of(*pid, "go_processor_limit", &[]).is_some())
    })?;
    let labels = ["container=\"web-1\"", &format!("node=\"{NODE}\"")];
    ensure!(metrics.of(web_pid, "go_processor_limit", &labels).is_some(), "{}", metrics.0);
    ensure!(metrics.of(host.pid(), "go_processor_limit", &labels[..1]).is_none());
    // Who has no token is told nothing, but the kubelet's probes.
    ensure!(pod.ask("/metrics", None)?.0 == "401");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let probe = &deployed.container()[probe]["httpGet"];
        ensure!(probe["port"] == deployed.container()["ports"][0]["name"], "{probe}");
        let path = probe["path"].as_str().context("no path")?;
        ensure!(pod.ask(path, None)?.0 == "200", "{path}");
    }
    let port = deployed.container()["ports"][0]["containerPort"].as_u64();
    ensure!(port == Some(pod.agent.address.port().into()), "{port:?}");

    let until = Instant::now() + PATIENCE;
    let file = loop {
        web.ask("alloc 20000")?;
        if let Some(file) = captured(&deployed.captures("agent")) {
            break file;
        }
        ensure!(Instant::now() < until, "nothing was captured");
    };
    let profile = Pprof::read(&file)?;
    let mut frames = profile.samples.iter().flat_map(|sample| &sample.stack);
    ensure!(frames.any(|frame| frame.function == "main.allocate"), "{:?}", profile.samples);
    // As the kubelet ends it.
    let mut end = deployed.podman.command();
    ensure!(end.args(["kill", "--signal", "TERM", "agent"]).output()?.status.success());
    pod.agent.running.finish()?.expect(0)?;
    Ok(())
}

/// The image, as `cargo xtask dist` saves it, holds the program and its licences, and says how it is run.
#[test]
fn the_image_holds_the_program_and_its_licences_alone() -> Result<()> {
    let deployed = Deployed::new()?;
    let dir = deployed.dir.path().join("image");
    fs::create_dir(&dir)?;
    let archive = deployed.dir.path().join("image.tar");
    let run = |command: &mut Command| -> Result<String> {
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut save = deployed.podman.command();
    save.args(["save", "--quiet", "--format", "oci-archive", "--output"]).arg(&archive).arg(IMAGE);
    run(&mut save)?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&dir))?;
    let read = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob = |of: &Value| -> Result<PathBuf> {
        let digest = of["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        Ok(dir.join("blobs/sha256").join(digest.context("no digest")?))
    };
    let manifest = read(blob(&read(dir.join("index.json"))?["manifests"][0])?)?;
    let mut files = Vec::new();
    for layer in manifest["layers"].as_array().context("no layers")? {
        let listed = run(Command::new("tar").arg("-tzf").arg(blob(layer)?))?;
        files.extend(listed.lines().filter(|line| !line.ends_with('/')).map(str::to_owned));
    }
    files.sort();
    let licences = ["APACHE", "GPL2", "MIT"].map(|name| format!("licenses/LICENSE-{name}"));
    let expected: Vec<String> = ["heaptap".to_owned()].into_iter().chain(licences).collect();
    ensure!(files == expected, "{files:?}");
    let config = read(blob(&manifest["config"])?)?;
    ensure!(config["config"]["Entrypoint"] == json!(["/heaptap"]), "{config:#}");
    let command = json!(["agent", "--config", "/etc/heaptap/heaptap-agent.toml"]);
    ensure!(config["config"]["Cmd"] == command, "{config:#}");
    Ok(())
}

/// Of each capability that the manifest lists: what doctor says that it costs is what is told, and what happens.
#[test]
fn each_capability_that_is_taken_away_is_told_as_doctor_says() -> Result<()> {
    let deployed = Deployed::new()?;
    let host = Owned::start()?;
    let pid = host.pid().to_string();
    let listed = deployed.capabilities()?;
    let known = ["SYS_PTRACE", "DAC_READ_SEARCH", "BPF", "PERFMON"];
    ensure!(listed == known, "{listed:?}: not all of these have a case here");
    for capability in known {
        let name = format!("CAP_{capability}");
        let is_of_probes = matches!(capability, "BPF" | "PERFMON");
        let without = [capability];
        let doctor = deployed.heaptap("doctor", &without, &["doctor", "--json"])?;
        let document: Value =
            serde_json::from_str(&doctor.stdout).context(doctor.stderr.clone())?;
        let checks = document["checks"].as_array().context("no checks")?;
        let line = checks.iter().find(|check| check["name"] == name.as_str());
        let line = line.with_context(|| format!("doctor does not name {name}"))?;
        ensure!(line["state"] == "limited", "{line}");
        // `not held; WHAT THAT COSTS; what to do`.
        let promised = line["text"].as_str().and_then(|text| text.split("; ").nth(1));
        let promised = promised.with_context(|| line.to_string())?;
        doctor.expect(if is_of_probes { 3 } else { 0 }).with_context(|| document.to_string())?;
        ensure!(
            document["verdict"] == if is_of_probes { "privilege" } else { "works" },
            "{document}"
        );

        let record = deployed.heaptap("record", &without, &["record", "-p", &pid, "-d", "1"])?;
        record.refused(3, &name).with_context(|| name.clone())?;

        let pod = deployed.agent("agent", &without, &records("owned"))?;
        let said = pod.agent.running.said.clone();
        let told = said.lines().filter(|line| line.contains("CAP_")).collect::<Vec<_>>();
        let [line] = told[..] else { bail!("{name}: {said}") };
        ensure!(line.contains(&format!("{name} is not held; {promised}")), "{line}");
        let sees = |metrics: &Metrics| metrics.of(host.pid(), "go_processor_limit", &[]).is_some();
        if is_of_probes {
            // It watches all the same, and what can't be captured is counted.
            pod.wait("a capture that failed", |metrics| {
                // Another test's program of that name may be captured too.
                let failed = metrics.number("heaptap_captures_total", &["result=\"failed\""]);
                sees(metrics) && failed.is_some_and(|failed| failed >= 1.0)
            })?;
            ensure!(captured(&deployed.captures("agent")).is_none(), "{name}");
        } else {
            let metrics = pod.wait("programs that can't be read", |metrics| {
                metrics.number("heaptap_processes_unreadable", &[]) > Some(0.0)
            })?;
            ensure!(!sees(&metrics), "{name} is not needed");
        }
        deployed.podman.remove("agent")?;
    }
    Ok(())
}

/// A runtime whose profile lets nobody but CAP_SYS_ADMIN call bpf(2): doctor names the filter.
#[test]
fn a_filter_that_refuses_bpf_is_named() -> Result<()> {
    let deployed = Deployed::new()?;
    fs::copy(PROFILE, deployed.dir.path().join("seccomp.json"))?;
    let profile: Value = serde_json::from_str(&fs::read_to_string(PROFILE)?)?;
    let rules = profile["syscalls"].as_array().context("no rules")?;
    let lets = rules.iter().any(|rule| rule["includes"]["caps"] == json!(["CAP_BPF"]));
    if lets {
        // This machine's is one of the newer ones, which the other tests are about.
        return Ok(());
    }
    let doctor = deployed.heaptap("doctor", &[], &["doctor"])?;
    doctor.expect(3)?;
    let line =
        |name: &str| doctor.stdout.lines().find(|line| line.split("  ").any(|of| of == name));
    let filter = line("seccomp").context("no line of the filter")?;
    ensure!(filter.starts_with("limited") && filter.contains("use a profile"), "{filter}");
    let maps = line("BPF maps").context("no line of maps")?;
    ensure!(maps.ends_with("the seccomp filter may be why"), "{maps}");
    Ok(())
}
