//! `heaptap agent` serves what programs' runtimes say, and goes on whatever is asked of it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::{Agent, Metrics};
use heaptap_tests::leaks::cases;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::prometheus::{Prometheus, number};
use heaptap_tests::{Fixture, Running, Variant, heaptap, real, require_root};
use serde_json::Value;

fn program() -> Result<Running> {
    require_root()?;
    Fixture::build("stats", "1.27", Variant::Default)?.start()
}

/// One whose heap profile has something in it.
fn with_heap() -> Result<Running> {
    require_root()?;
    with_heap_of(&Fixture::build("heap", "1.27", Variant::Default)?.program)
}

fn with_heap_of(program: &Path) -> Result<Running> {
    let mut command = Command::new(program);
    command.env("HEAP_RATE", "4096");
    let mut program = Running::start(command)?;
    program.ask("work 60")?;
    program.ask("gc")?;
    Ok(program)
}

#[test]
fn metrics_are_what_the_runtime_says() -> Result<()> {
    let mut program = program()?;
    program.ask("work")?;
    let pid = program.pid();
    let agent = Agent::start(&["--every", "100ms", "-p", &pid.to_string(), "--node", "n1"])?;
    // Nothing happens in the program between its own look and ours.
    let said: Value = serde_json::from_str(&program.ask("read")?)?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("no {name}"));
    let allocated = number("TotalAlloc")?;
    let metrics = agent.wait("what was allocated", |metrics| {
        metrics
            .of(pid, "go_memory_allocated_bytes_total", &["node=\"n1\""])
            .is_some_and(|bytes| bytes >= allocated)
    })?;
    let of = |name: &str, labels: &[&str]| {
        metrics.of(pid, name, labels).with_context(|| format!("no {name}: {}", metrics.0))
    };
    let used = of("go_memory_used_bytes", &["go_memory_type=\"stack\""])?
        + of("go_memory_used_bytes", &["go_memory_type=\"other\""])?;
    ensure!(used == number("Sys")? - number("HeapReleased")?, "{used}");
    ensure!(of("go_memory_used_bytes", &["\"stack\""])? == number("StackInuse")?);
    ensure!(of("go_memory_gc_goal_bytes", &[])? == number("NextGC")?);
    let count = number("NumGoroutine")?;
    agent
        .wait("goroutines", |metrics| metrics.of(pid, "go_goroutine_count", &[]) == Some(count))?;
    ensure!(of("go_processor_limit", &[])? == number("GOMAXPROCS")?);
    ensure!(of("heaptap_memory_resident_bytes", &[])? > 0.0);
    Ok(())
}

#[test]
fn who_has_ended_is_forgotten_and_who_comes_is_seen() -> Result<()> {
    let first = program()?;
    let agent = Agent::start(&["--every", "100ms", "--comm", "stats*"])?;
    let has =
        |pid: u32| move |metrics: &Metrics| metrics.of(pid, "go_goroutine_count", &[]).is_some();
    agent.wait("the first", has(first.pid()))?;
    let second = program()?;
    agent.wait("the second", has(second.pid()))?;
    let pid = first.pid();
    drop(first);
    agent.wait("the first is gone", |metrics| !metrics.0.contains(&format!("pid=\"{pid}\"")))?;
    ensure!(has(second.pid())(&agent.metrics()?));
    ensure!(agent.get("/readyz")?.status == 200 && agent.get("/healthz")?.status == 200);
    ensure!(agent.get("/nothing")?.status == 404);
    agent.running.stop()?.expect(0)?;
    Ok(())
}

#[test]
fn a_file_that_is_wrong_is_told_with_its_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, "[watch]\n\nevery = 7\n")?;
    let name = file.to_string_lossy();
    let ended = heaptap::run(["agent", "--config", &name])?;
    ensure!(ended.code == Some(2), "{ended:?}");
    ensure!(ended.stderr.starts_with(&format!("heaptap: {name}:3: ")), "{}", ended.stderr);
    Ok(())
}

#[test]
fn prometheus_scrapes_it_and_promtool_finds_nothing_wrong() -> Result<()> {
    let mut program = program()?;
    program.ask("work")?;
    let agent = Agent::start(&["--every", "200ms", "--comm", "stats*"])?;
    agent.wait("goroutines", |metrics| metrics.series("go_goroutine_count", &[]).count() > 0)?;
    let mut promtool = Command::new(real::promtool()?);
    let mut promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("no promtool: run `cargo xtask setup`")?;
    promtool.stdin.take().context("no stdin")?.write_all(agent.metrics()?.0.as_bytes())?;
    let said = String::from_utf8(promtool.wait_with_output()?.stderr)?;
    // OpenTelemetry has it so.
    let wrong: Vec<&str> =
        said.lines().filter(|line| !line.starts_with("go_goroutine_count ")).collect();
    ensure!(wrong.is_empty(), "{said}");

    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: heaptap, \
         static_configs: [{{targets: ['{}']}}]}}]\n",
        agent.address
    ))?;
    let until = Instant::now() + Duration::from_secs(60);
    let scrapes = loop {
        let found = prometheus.query("count_over_time(up[1m])").unwrap_or_default();
        let count = number(&found).unwrap_or(0.0);
        if count >= 5.0 || Instant::now() > until {
            break count;
        }
        thread::sleep(Duration::from_millis(200));
    };
    ensure!(scrapes >= 5.0, "{scrapes} scrapes");
    let up = number(&prometheus.query("min_over_time(up[1m])")?).context("no up")?;
    ensure!(up == 1.0, "a scrape has failed");
    // Asked for by its full names: counters, histograms and gauges are what they should be.
    for query in [
        "go_memory_used_bytes",
        "go_memory_allocated_bytes_total",
        "histogram_quantile(0.99,heaptap_allocation_size_bytes_bucket)",
        "heaptap_gc_pause_seconds_count",
        "rate(heaptap_cpu_seconds_total[1m])",
        "heaptap_goroutines",
    ] {
        ensure!(!prometheus.query(query)?.is_empty(), "{query}: nothing");
    }
    Ok(())
}

#[test]
fn the_largest_stacks_are_those_of_the_heap_profile() -> Result<()> {
    let program = with_heap()?;
    let pid = program.pid();
    let agent = Agent::start(&["--every", "100ms", "-p", &pid.to_string(), "--top-stacks", "3"])?;
    let metrics = agent
        .wait("stacks", |metrics| metrics.series("heaptap_stack_live_bytes", &[]).count() == 3)?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("heap.json");
    let out = path.to_string_lossy();
    heaptap::run(["heap", "-p", &pid.to_string(), "-o", &out])?.expect(0)?;
    let document: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let total = document["meta"]["totals"][3].as_f64();
    ensure!(metrics.of(pid, "heaptap_profile_live_bytes", &[]) == total, "{total:?}");
    let mut of_stacks = std::collections::HashMap::<String, u64>::new();
    for stack in document["stacks"].as_array().context("no stacks")? {
        let bytes = stack["values"][3].as_u64().unwrap_or(0);
        *of_stacks.entry(stack["frames"].to_string()).or_default() += bytes;
    }
    let mut largest: Vec<u64> = of_stacks.into_values().collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let told: Vec<u64> =
        metrics.series("heaptap_stack_live_bytes", &[]).map(|bytes| bytes as u64).collect();
    ensure!(told == largest[..3], "{told:?} instead of {:?}", &largest[..3]);
    Ok(())
}

#[test]
fn nothing_is_kept_of_who_has_ended() -> Result<()> {
    let stays = with_heap()?;
    let dir = tempfile::tempdir()?;
    let fixture = Fixture::build("heap", "1.27", Variant::Default)?;
    let agent = Agent::start(&[
        "--every",
        "100ms",
        "--comm",
        "heap-*",
        "--top-stacks",
        "1",
        "--cpu",
        "50%",
    ])?;
    let pid = stays.pid();
    let read = |metrics: &Metrics, pid| {
        metrics.of(pid, "heaptap_profile_live_bytes", &[]).is_some_and(|bytes| bytes > 0.0)
    };
    agent.wait("the profile of who stays", |metrics| read(metrics, pid))?;
    // Without those that tell whether who stays has run: they are there once it rests.
    let holds = || -> Result<usize> {
        let own = format!("/proc/{pid}/task");
        let open = fs::read_dir(format!("/proc/{}/fd", agent.running.pid()))?;
        let links = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        Ok(links.filter(|link| !link.starts_with(&own)).count())
    };
    let before = holds()?;
    let mut others = Vec::new();
    for number in 0..6 {
        let file = dir.path().join(format!("heap-{number}"));
        heaptap_tests::copy(&fixture.program, &file)?;
        others.push(with_heap_of(&file)?);
    }
    agent.wait("all profiles", |metrics| others.iter().all(|one| read(metrics, one.pid())))?;
    drop(others);
    // A connection may be open that was not.
    agent.wait("as many descriptors as before", |_| holds().is_ok_and(|now| now <= before + 2))?;
    Ok(())
}

#[test]
fn a_leak_is_told_and_nobody_else_is_accused() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("leaks", "1.27", Variant::Stripped)?;
    let start = |name: &str| -> Result<Running> {
        let case = cases(&fixture)?.into_iter().find(|case| case.name == name);
        case.context("no such case")?.start(&fixture, Some(8192))
    };
    // One that is steady from its start: what still fills can't be told from what leaks before it has slowed down.
    let (leaks, steady) = (start("fast")?, start("goroutine-per-request")?);
    let pids = [leaks.pid(), steady.pid()].map(|pid| pid.to_string());
    let agent =
        Agent::start(&["--every", "200ms", "--cpu", "20%", "-p", &pids[0], "-p", &pids[1]])?;
    let leak = ["of=\"heap\"", "verdict=\"leak\""];
    let metrics = agent
        .wait("a leak", |metrics| metrics.of(leaks.pid(), "heaptap_leaks", &leak) >= Some(1.0))?;
    ensure!(metrics.of(steady.pid(), "heaptap_leaks", &leak) == Some(0.0), "{}", metrics.0);
    let growth = metrics.series("heaptap_leak_growth_per_second", &leak).next();
    ensure!(growth.is_some_and(|bytes| bytes > 0.0), "{growth:?}");
    Ok(())
}

#[test]
fn it_goes_on_whatever_is_asked_of_it() -> Result<()> {
    let program = program()?;
    let pid = program.pid();
    let agent = Agent::start(&["--every", "100ms", "-p", &pid.to_string()])?;
    let before = agent.metrics()?;
    let rounds = |metrics: &Metrics| metrics.number("heaptap_rounds_total", &[]).unwrap_or(0.0);
    let address = agent.address;
    // A thousand at once, of which most say nothing, or half of what they have to say.
    let mut open = Vec::new();
    for number in 0..1000 {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let _ = match number % 5 {
            0 => stream.write_all(b""),
            1 => stream.write_all(b"GET /metrics HTT"),
            2 => stream.write_all(b"\x16\x03\x01\x00\xff\x00\x00 no HTTP\r\n\r\n"),
            3 => stream.write_all(format!("GET /{} HTTP/1.1\r\n", "x".repeat(40_000)).as_bytes()),
            _ => stream.write_all(
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
            ),
        };
        open.push(stream);
    }
    // Those for whom there was no room were told so, or have no connection any more.
    let first = |stream: &mut TcpStream| {
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).ok().map(|()| begin)
    };
    let told = open.iter_mut().rev().take(200).filter_map(first);
    let codes: Vec<[u8; 12]> = told.collect();
    for code in &codes {
        let code = &code[9..];
        ensure!([&b"503"[..], b"400", b"413", b"431", b"429", b"414"].contains(&code), "{code:?}");
    }
    ensure!(!codes.is_empty(), "nobody was told anything");
    drop(open);
    let metrics = agent.patient("it answers again", |metrics| rounds(metrics) > rounds(&before))?;
    let refused =
        |why: &str| metrics.number("heaptap_http_refused_total", &[&format!("reason=\"{why}\"")]);
    for why in ["connections", "malformed", "headers"] {
        ensure!(refused(why) > Some(0.0), "{why}: {:?}", refused(why));
    }
    // A body that is too large, from somebody who waits for the answer.
    let large =
        agent.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n")?;
    ensure!(large.status == 413, "{}", large.head);
    // Too many from one address.
    let busy = (0..2000).any(|_| agent.get("/healthz").is_ok_and(|answer| answer.status == 429));
    ensure!(busy, "as many requests as one likes");
    ensure!(metrics.of(pid, "go_processor_limit", &[]).is_some());
    let late = metrics.number("heaptap_rounds_late_total", &[]).context("no late rounds")?;
    ensure!(late <= rounds(&metrics) / 2.0, "{late} of {} rounds late", rounds(&metrics));
    Ok(())
}

#[test]
fn who_is_slow_is_let_go() -> Result<()> {
    let program = program()?;
    let agent = Agent::start(&["--every", "100ms", "-p", &program.pid().to_string()])?;
    let mut stream = TcpStream::connect(agent.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localh")?;
    // Nothing more comes; the agent closes the connection.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    agent.wait("a slow one", |metrics| {
        metrics.number("heaptap_http_refused_total", &["reason=\"slow\""]) == Some(1.0)
    })?;
    Ok(())
}

#[test]
fn others_are_answered_only_with_a_token_or_a_certificate() -> Result<()> {
    let program = program()?;
    let pid = program.pid().to_string();
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let open = heaptap::run(["agent", "--listen", "0.0.0.0:0", "-p", &pid])?;
    open.refused(2, "say who is answered")?;
    fs::write(path("token"), "correct-horse-battery\n")?;
    fs::set_permissions(path("token"), fs::Permissions::from_mode(0o644))?;
    let flags = ["agent", "--listen", "0.0.0.0:0", "-p", &pid, "--token-file", &path("token")];
    heaptap::run(flags)?.refused(1, "others may read")?;
    fs::set_permissions(path("token"), fs::Permissions::from_mode(0o600))?;
    let agent = Agent::start(&["-p", &pid, "--token-file", &path("token")])?;
    ensure!(agent.get("/metrics")?.status == 401);
    ensure!(agent.get("/readyz")?.status == 200);
    let with = |token: &str| {
        agent.ask(&format!(
            "GET /metrics HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
    };
    ensure!(with("correct-horse-battery")?.status == 200);
    ensure!(with("correct-horse-batterz")?.status == 401);

    let run = |program: &str, args: &[&str]| -> Result<std::process::Output> {
        let mut command = Command::new(program);
        let output = command.args(args).current_dir(dir.path()).output();
        output.with_context(|| format!("no {program}: run `cargo xtask setup`"))
    };
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                   -addext subjectAltName=IP:127.0.0.1";
    let openssl = |line: &str| -> Result<()> {
        let made = run("openssl", &line.split_whitespace().collect::<Vec<_>>())?;
        ensure!(made.status.success(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    };
    fs::write(path("of-clients"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n")?;
    for name in ["agent", "ours", "theirs"] {
        openssl(&format!("{request} -keyout {name}.key -out {name}.pem -subj /CN={name}"))?;
    }
    for (name, authority) in [("client", "ours"), ("other", "theirs")] {
        openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key \
             -out {name}.csr -subj /CN={name}"
        ))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
             -days 2 -extfile of-clients -out {name}.pem"
        ))?;
    }
    let [cert, key, ca] = ["agent.pem", "agent.key", "ours.pem"].map(path);
    let tls = ["-p", &pid, "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let agent = Agent::start(&tls)?;
    let url = format!("https://{}/healthz", agent.address);
    let ask = |name: &str| {
        let (key, cert) = (format!("{name}.key"), format!("{name}.pem"));
        run("curl", &["-s", "--cacert", "agent.pem", "--key", &key, "--cert", &cert, &url])
    };
    let answered = ask("client")?;
    ensure!(answered.stdout == b"ok\n", "{answered:?}");
    ensure!(!ask("other")?.status.success(), "anybody's certificate is accepted");
    ensure!(!run("curl", &["-s", "--cacert", "agent.pem", &url])?.status.success());
    Ok(())
}

/// A token and a certificate that were replaced are used after SIGHUP, on the same port; wrong ones are not.
#[test]
fn a_token_and_a_certificate_are_replaced_while_it_runs() -> Result<()> {
    let program = program()?;
    let pid = program.pid().to_string();
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    // The certificate tells which of them it is.
    let certificate = |name: &str| -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-nodes", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-keyout", "key", "-out", "cert", "-subj", &format!("/CN={name}")]);
        let made = openssl.current_dir(dir.path()).output();
        let made = made.context("no openssl: run `cargo xtask setup`")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(fs::copy(path("cert"), path(name)).map(drop)?)
    };
    let token = |text: &str| -> Result<()> {
        fs::write(path("token"), text)?;
        Ok(fs::set_permissions(path("token"), fs::Permissions::from_mode(0o600))?)
    };
    let config = |node: &str| -> Result<()> {
        let [token, cert, key] = ["token", "cert", "key"].map(path);
        let listen =
            format!("[listen]\ntoken_file = {token:?}\ntls_cert = {cert:?}\ntls_key = {key:?}\n");
        Ok(fs::write(path("agent.toml"), format!("{listen}[watch]\nnode = {node:?}\n"))?)
    };
    certificate("first")?;
    token("the-first-token-1")?;
    config("n1")?;
    let flags = ["--every", "100ms", "-p", &pid, "--config", &path("agent.toml")];
    let agent = Agent::start(&flags)?;
    let address = agent.address;
    // What who trusts this certificate and knows this token is answered; nothing where it is not the agent's.
    let ask = |name: &str, token: &str| -> Result<String> {
        let mut curl = Command::new("curl");
        let bearer = format!("Authorization: Bearer {token}");
        curl.args(["-s", "--cacert", &path(name), "--header", &bearer]);
        let output = curl.arg(format!("https://{address}/metrics")).output();
        let output = output.context("no curl: run `cargo xtask setup`")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let until = |what: &str, name: &str, token: &str, has: &str| -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while !ask(name, token)?.contains(has) {
            ensure!(Instant::now() < until, "{what}: {}", ask(name, token)?);
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    until("at first", "first", "the-first-token-1", "node=\"n1\"")?;
    ensure!(ask("first", "the-other-token-2")?.contains("a token is needed"));

    certificate("second")?;
    token("the-other-token-2")?;
    config("n2")?;
    agent.running.reload()?;
    until("after SIGHUP", "second", "the-other-token-2", "node=\"n2\"")?;
    ensure!(ask("second", "the-first-token-1")?.contains("a token is needed"));
    ensure!(ask("first", "the-other-token-2")?.is_empty(), "the old certificate is still used");

    // A key of another certificate, and a token that is too short: one wrong file is enough.
    fs::write(path("key"), "no key")?;
    token("the-third-token-3")?;
    config("n3")?;
    agent.running.reload()?;
    until("with a wrong key", "second", "the-other-token-2", "node=\"n3\"")?;
    certificate("third")?;
    token("short")?;
    config("n4")?;
    agent.running.reload()?;
    until("with a wrong token", "second", "the-other-token-2", "node=\"n4\"")?;
    let ended = agent.running.stop()?;
    let told: Vec<&str> =
        ended.expect(0)?.stderr.lines().filter(|line| line.contains("as they were")).collect();
    ensure!(told.len() == 2, "{}", ended.stderr);
    ensure!(told[0].contains("TLS: the key") && told[1].contains("16 or more"), "{told:?}");
    Ok(())
}

#[test]
fn killed_at_any_time_it_starts_again_and_programs_are_unharmed() -> Result<()> {
    let mut program = program()?;
    program.ask("work")?;
    let pid = program.pid().to_string();
    for _ in 0..5 {
        let agent = Agent::start(&["--every", "100ms", "-p", &pid])?;
        agent
            .wait("goroutines", |metrics| metrics.series("go_goroutine_count", &[]).count() == 1)?;
        // Dropped: SIGKILL.
        drop(agent);
        let answer = program.ask("read")?;
        ensure!(serde_json::from_str::<Value>(&answer)?["NumGC"].as_u64() >= Some(1));
    }
    // Nobody traces it, and nothing was left in it.
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    ensure!(status.contains("TracerPid:\t0"), "{status}");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    ensure!(!maps.contains("[uprobes]"), "probes were attached");
    Ok(())
}

#[test]
fn the_api_tells_what_metrics_tell_and_gives_profiles() -> Result<()> {
    let mut program = with_heap()?;
    let pid = program.pid();
    let of = pid.to_string();
    let agent = Agent::start(&["--every", "100ms", "--cpu", "20%", "-p", &of])?;
    let metrics = agent.wait("a heap profile", |metrics| {
        metrics.of(pid, "heaptap_profile_live_bytes", &[]).is_some()
    })?;
    let one = agent.json(&format!("/api/v1/processes/{pid}"))?;
    let live = metrics.of(pid, "heaptap_profile_live_bytes", &[]);
    ensure!(one["profile"]["bytes"].as_f64() == live && live > Some(0.0), "{one}");
    let top = metrics.series("heaptap_stack_live_bytes", &[]).next();
    ensure!(one["profile"]["top"][0]["bytes"].as_f64() == top, "{one}");
    let all = agent.json("/api/v1/processes")?;
    ensure!(all.as_array().is_some_and(|all| all.len() == 1) && all[0]["pid"] == pid, "{all}");
    ensure!(agent.json("/api/v1/node")?["processes"] == 1);
    ensure!(agent.json("/api/v1/findings")?.as_array().is_some());
    ensure!(agent.json("/api/v1/openapi.json")?["openapi"] == "3.1.0");
    let line = agent.json(&format!("/api/v1/processes/{pid}/timeline"))?;
    let times = line["times"].as_array().context("no times")?.len();
    ensure!(times > 0 && line["heap_live"].as_array().map(Vec::len) == Some(times), "{line}");

    // The live heap as pprof, as Go's own tool reads it, is that of heaptap heap.
    let dir = tempfile::tempdir()?;
    let profile = |query: &str| agent.get(&format!("/api/v1/processes/{pid}/profile?{query}"));
    let pprof = profile("format=pprof")?;
    ensure!(pprof.status == 200, "{}", pprof.text());
    let (ours, theirs) = (dir.path().join("ours.pb.gz"), dir.path().join("theirs.pb.gz"));
    fs::write(&ours, &pprof.body)?;
    heaptap::run(["heap", "-p", &of, "-o", &theirs.to_string_lossy()])?.expect(0)?;
    Pprof::read(&ours)?.assert_same(&Pprof::read(&theirs)?, 0.0)?;
    let svg = profile("format=svg&value=alloc_space")?;
    ensure!(svg.text().contains("<svg") && svg.text().contains("main."), "{}", svg.head);
    ensure!(profile("format=html")?.text().contains("<html"));
    ensure!(profile("of=goroutines&format=folded")?.text().contains("main."));
    for (query, status) in [("format=x", 400), ("of=x", 400), ("value=x", 400)] {
        ensure!(profile(query)?.status == status, "{query}");
    }
    for path in ["/api/v1/nothing", "/api/v1/processes/1/timeline", "/api/v1/processes/x"] {
        ensure!(agent.get(path)?.status == 404, "{path}");
    }

    // Two that were kept, and what changed in between.
    program.ask("work 5")?;
    program.ask("gc")?;
    let until = Instant::now() + Duration::from_secs(60);
    let kept = loop {
        let one = agent.json(&format!("/api/v1/processes/{pid}"))?;
        let kept = one["kept"].as_array().cloned().unwrap_or_default();
        if kept.len() >= 2 || Instant::now() > until {
            break kept;
        }
        thread::sleep(Duration::from_millis(200));
    };
    ensure!(kept.len() >= 2, "{kept:?}");
    let path = format!("/api/v1/processes/{pid}/diff?from={}&to={}", kept[0], kept[1]);
    let diff = agent.json(&format!("{path}&format=json"))?;
    ensure!(
        diff["schema"].as_str().is_some_and(|schema| schema.starts_with("heaptap.diff/")),
        "{diff}"
    );
    ensure!(agent.get(&path)?.text().contains("<svg"));
    ensure!(agent.get(&format!("/api/v1/processes/{pid}/diff?from=1&to=2"))?.status == 400);
    Ok(())
}
