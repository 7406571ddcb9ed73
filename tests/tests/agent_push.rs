//! `heaptap agent` pushes what programs say of themselves, loses nothing within its bounds, and counts what it loses.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heaptap::agent::push::spool::Upload;
use heaptap_tests::agent::{Agent, Metrics};
use heaptap_tests::own_profile;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::pushing::{Bench, now, table};
use heaptap_tests::receivers::{Came, Mood, Receiver, parca};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// From when to when an upload to Pyroscope is, in nanoseconds since 1970.
fn times(came: &Came) -> Result<(i128, i128)> {
    let of = |name: &str| came.query.get(name).context("no time")?.parse().context("no number");
    Ok((of("from")?, of("until")?))
}

/// Whether all of an upload's time is after this one.
fn is_after(came: &[Came], at: i128) -> bool {
    came.last().is_some_and(|last| times(last).is_ok_and(|(from, _)| from > at))
}

/// A stack, as names, and the size of its objects.
type Key = (Vec<String>, i64);

/// Sums of values by stack; those without any are left out.
fn sums<'p>(profiles: impl IntoIterator<Item = &'p Pprof>) -> BTreeMap<Key, Vec<i64>> {
    let mut sums = BTreeMap::<Key, Vec<i64>>::new();
    for sample in profiles.into_iter().flat_map(|profile| &profile.samples) {
        let stack = sample.stack.iter().map(|f| format!("{} {}:{}", f.function, f.file, f.line));
        let size = sample.numbers.get("bytes").copied().unwrap_or(0);
        let sum = sums.entry((stack.collect(), size)).or_insert_with(|| vec![0; 4]);
        sum.iter_mut().zip(&sample.values).for_each(|(sum, value)| *sum += value);
    }
    sums.retain(|_, values| values.iter().any(|value| *value != 0));
    sums
}

/// What was allocated by stack: later less earlier.
fn allocated(later: &Pprof, earlier: &Pprof) -> BTreeMap<Key, [i64; 2]> {
    let before = sums([earlier]);
    let of = |(key, values): (Key, Vec<i64>)| {
        let then = before.get(&key).map_or([0, 0], |then| [then[0], then[1]]);
        let more = [values[0] - then[0], values[1] - then[1]];
        (more != [0, 0]).then_some((key, more))
    };
    sums([later]).into_iter().filter_map(of).collect()
}

/// The same, of uploads that each have what was allocated since the one before.
fn added(all: &[Pprof]) -> BTreeMap<Key, [i64; 2]> {
    let of = |(key, values): (Key, Vec<i64>)| {
        ([values[0], values[1]] != [0, 0]).then_some((key, [values[0], values[1]]))
    };
    sums(all).into_iter().filter_map(of).collect()
}

#[test]
fn pyroscope_gets_what_the_program_has_allocated_and_has_in_use() -> Result<()> {
    let mut bench = Bench::start()?;
    let token = bench.path("token");
    fs::write(&token, "secret\n")?;
    let receiver = Receiver::start()?;
    let more = format!(
        "service = \"shop/{{comm}}\"\ntoken_file = {:?}\nheaders = {{ X-Scope-OrgID = \"t1\" }}",
        token.display().to_string()
    );
    let (_, before) = bench.own()?;
    let agent = bench.agent(&table("pyroscope", &receiver.url(), &more))?;
    receiver.wait("the first upload", |came| !came.is_empty())?;
    bench.work(40)?;
    let (_, own) = bench.own()?;
    let told = now()?;
    let came = receiver.wait("an upload after that", |came| is_after(came, told))?;
    let profiles: Vec<Pprof> =
        came.iter().map(|came| bench.pprof(&came.parts["profile"])).collect::<Result<_>>()?;
    let (sum, truth) = (added(&profiles), allocated(&own, &before));
    ensure!(!truth.is_empty() && sum == truth, "came:\n{sum:#?}\nallocated:\n{truth:#?}");
    let in_use = |profile: &Pprof| -> BTreeMap<Key, Vec<i64>> {
        let of = sums([profile]).into_iter().map(|(key, values)| (key, values[2..].to_vec()));
        of.filter(|(_, values)| values.iter().any(|value| *value != 0)).collect()
    };
    let last = profiles.last().context("none")?;
    ensure!(in_use(last) == in_use(&own) && !in_use(last).is_empty());
    ensure!(last.types == own.types && last.period == own.period, "{:?}", last.period);
    // Stacks and numbers: labels are the series', and nothing of what the heap holds comes along.
    for sample in profiles.iter().flat_map(|profile| &profile.samples) {
        ensure!(sample.labels.is_empty() && sample.numbers.keys().eq(["bytes"]), "{sample:?}");
    }
    let (pid, comm) = (bench.program.pid(), bench.comm()?);
    for came in &came {
        let name = &came.query["name"];
        ensure!(name == &format!("shop/{comm}{{pid={pid},comm={comm},node=n1}}"), "{name}");
        ensure!(came.query["spyName"] == "gospy", "{:?}", came.query);
        ensure!(came.headers["x-scope-orgid"] == "t1", "{:?}", came.headers);
        ensure!(came.headers["authorization"] == "Bearer secret");
        let types: serde_json::Value = serde_json::from_slice(&came.parts["sample_type_config"])?;
        ensure!(types["inuse_space"]["aggregation"] == "average", "{types}");
        ensure!(types["alloc_space"].get("cumulative").is_none(), "{types}");
    }
    // A new token is used as soon as it is there.
    fs::write(&token, "other")?;
    receiver.wait("the new token", |came| {
        came.last().is_some_and(|last| last.headers["authorization"] == "Bearer other")
    })?;
    let metrics = agent.wait("its own count", |metrics| {
        metrics.number("heaptap_push_sent_total", &["receiver=\"pyroscope\""]) > Some(0.0)
    })?;
    let dropped: f64 = metrics.series("heaptap_push_dropped_total", &[]).sum();
    ensure!(dropped == 0.0, "{}", metrics.0);
    Ok(())
}

#[test]
fn parca_gets_the_programs_own_profile() -> Result<()> {
    let mut bench = Bench::start()?;
    let receiver = Receiver::start()?;
    let _agent = bench.agent(&table("parca", &receiver.url(), ""))?;
    bench.work(20)?;
    let (path, own) = bench.own()?;
    let count = receiver.taken().len();
    // The one after the next one was begun after that.
    let came = receiver.wait("an upload", |came| came.len() > count + 1)?;
    let last = &came.last().context("none")?.parts[""];
    let request = parca::WriteRawRequest::decode(&**last)?;
    ensure!(request.normalized && request.tenant.is_empty());
    let [series] = &request.series[..] else { bail!("{} series", request.series.len()) };
    let labels = &series.labels.as_ref().context("no labels")?.labels;
    let labels: BTreeMap<_, _> =
        labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
    let (pid, comm) = (bench.program.pid().to_string(), bench.comm()?);
    let expected = BTreeMap::from([
        ("__name__", "memory"),
        ("job", &*comm),
        ("pid", &*pid),
        ("comm", &*comm),
        ("node", "n1"),
    ]);
    ensure!(labels == expected, "{labels:?}");
    let file = bench.file(&series.samples[0].raw_profile)?;
    Pprof::read(&file)?.assert_same(&own, 0.0)?;
    for value in ["inuse_space", "alloc_objects"] {
        let (ours, theirs) = (own_profile::top(&file, value)?, own_profile::top(&path, value)?);
        ensure!(ours == theirs, "{value}:\n{ours}\n{theirs}");
    }
    Ok(())
}

/// How long a receiver is away: a few seconds, or as long as `HEAPTAP_AWAY` says, in seconds (600: the bar).
fn away() -> Result<Duration> {
    match std::env::var("HEAPTAP_AWAY") {
        Ok(seconds) => Ok(Duration::from_secs(seconds.parse().context("HEAPTAP_AWAY")?)),
        Err(_) => Ok(Duration::from_secs(5)),
    }
}

/// Works while a receiver is away, for as long as that is: something in each of the agent's rounds.
fn work_meanwhile(bench: &mut Bench, agent: &Agent) -> Result<()> {
    let until = Instant::now() + away()?;
    let rounds = |metrics: &Metrics| metrics.number("heaptap_rounds_total", &[]);
    while Instant::now() < until {
        bench.work(2)?;
        let before = rounds(&agent.metrics()?);
        agent.wait("another round", |metrics| rounds(metrics) > before)?;
    }
    Ok(())
}

#[test]
fn nothing_is_lost_while_a_receiver_is_away() -> Result<()> {
    let mut bench = Bench::start()?;
    let (_, before) = bench.own()?;
    let receiver = Receiver::start()?;
    let agent = bench.agent(&table("pyroscope", &receiver.url(), "spool_bytes = \"1GiB\""))?;
    let first = receiver.wait("the first uploads", |came| came.len() > 2)?;
    let (address, count) = (receiver.address, first.len());
    let earlier = receiver.taken();
    drop(receiver);
    work_meanwhile(&mut bench, &agent)?;
    let waiting = agent.wait("uploads that wait", |metrics| {
        metrics.number("heaptap_push_spool_uploads", &[]) > Some(3.0)
    })?;
    ensure!(waiting.number("heaptap_push_spool_bytes", &[]) > Some(0.0));
    ensure!(waiting.number("heaptap_push_spool_age_seconds", &[]) > Some(0.0));
    let (_, own) = bench.own()?;
    let told = now()?;
    let receiver = Receiver::again(address, earlier)?;
    let came = receiver.wait("all that waited", |came| is_after(came, told))?;
    ensure!(came.len() > count + 3, "{} uploads, {count} before", came.len());
    // Each begins where the one before ends. One whose answer was lost may have come twice.
    let mut all: Vec<&Came> = Vec::new();
    for came in &came {
        if all.last().is_none_or(|last| last.path != came.path) {
            all.push(came);
        }
    }
    for pair in all.windows(2) {
        let ((_, until), (from, _)) = (times(pair[0])?, times(pair[1])?);
        ensure!(from == until, "a gap of {} ns", from - until);
    }
    let profiles: Vec<Pprof> =
        all.iter().map(|came| bench.pprof(&came.parts["profile"])).collect::<Result<_>>()?;
    let (sum, truth) = (added(&profiles), allocated(&own, &before));
    ensure!(!truth.is_empty() && sum == truth, "came:\n{sum:#?}\nallocated:\n{truth:#?}");
    let metrics = agent.wait("an empty spool", |metrics| {
        metrics.number("heaptap_push_spool_uploads", &[]) < Some(3.0)
    })?;
    ensure!(metrics.series("heaptap_push_dropped_total", &[]).sum::<f64>() == 0.0);
    ensure!(metrics.number("heaptap_push_retried_total", &[]) > Some(0.0));
    Ok(())
}

#[test]
fn what_there_is_no_room_for_is_counted_and_the_newest_is_kept() -> Result<()> {
    let mut bench = Bench::start()?;
    let receiver = Receiver::start()?;
    let agent = bench.agent(&table("pyroscope", &receiver.url(), "spool_bytes = \"64KiB\""))?;
    receiver.wait("the first uploads", |came| came.len() > 2)?;
    receiver.set(Mood::Refuses(503, None));
    work_meanwhile(&mut bench, &agent)?;
    let full = |of: &Metrics| of.number("heaptap_push_dropped_total", &["reason=\"full\""]);
    agent.wait("uploads that there is no room for", |metrics| full(metrics) > Some(3.0))?;
    let spooled: u64 = files(&bench.spool("pyroscope"))?
        .iter()
        .filter_map(|file| Some(fs::metadata(file).ok()?.len()))
        .sum();
    ensure!(spooled <= 64 << 10, "{spooled} bytes");
    receiver.set(Mood::Takes);
    let told = now()?;
    let came = receiver.wait("what was kept", |came| is_after(came, told))?;
    let lost = full(&agent.metrics()?).context("no count")?;
    let gaps: Vec<i128> = came
        .windows(2)
        .map(|pair| Ok(times(&pair[1])?.0 - times(&pair[0])?.1))
        .collect::<Result<_>>()?;
    // Of what was given up; another one where an upload was on its way when the next ones were.
    let given_up = gaps.iter().filter(|gap| **gap > 0).count();
    ensure!(given_up == 1 || given_up == 2, "{gaps:?}");
    ensure!(gaps.iter().all(|gap| *gap >= 0), "out of order: {gaps:?}");
    // All profiles there were are those that came and those that were counted: as many as fit into their times.
    let (from, until) = (times(&came[0])?.0, times(came.last().context("none")?)?.1);
    let lengths: Vec<i128> =
        came.iter().map(|came| Ok(times(came)?.1 - times(came)?.0)).collect::<Result<_>>()?;
    let mean = lengths.iter().sum::<i128>() as f64 / lengths.len() as f64;
    let all = (until - from) as f64 / mean;
    let counted = came.len() as f64 + lost;
    ensure!((all - counted).abs() < 0.35 * counted, "{counted} uploads counted, {all} made");
    Ok(())
}

/// Uploads in a spool, oldest first.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let all: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut all: Vec<PathBuf> =
        all.into_iter().filter(|path| path.extension().is_some_and(|of| of == "upload")).collect();
    all.sort();
    Ok(all)
}

#[test]
fn an_agent_that_is_killed_sends_what_it_had_spooled_and_nothing_torn() -> Result<()> {
    let mut bench = Bench::start()?;
    let receiver = Receiver::start()?;
    receiver.set(Mood::Refuses(503, None));
    let config = table("pyroscope", &receiver.url(), "spool_bytes = \"1GiB\"");
    let spool = bench.spool("pyroscope");
    for round in 0..8 {
        let agent = bench.agent(&config)?;
        let more = files(&spool).map_or(0, |files| files.len()) + 2;
        agent.wait("uploads in the spool", |metrics| {
            metrics.number("heaptap_push_spool_uploads", &[]) >= Some(more as f64)
        })?;
        bench.work(1)?;
        // Dropped is killed, at a moment of its own each time.
        std::thread::sleep(Duration::from_millis(round * 13));
        drop(agent);
    }
    let kept = files(&spool)?;
    // What a kill in the middle of a write leaves, under both names.
    let whole = fs::read(kept.last().context("nothing was spooled")?)?;
    for (name, bytes) in [
        ("00000000000f0000.part", &whole[..whole.len() / 2]),
        ("00000000000f0001.upload", &whole[..whole.len() - 1]),
        ("00000000000f0002.upload", &[][..]),
    ] {
        fs::write(spool.join(name), bytes)?;
    }
    let expected: Vec<Upload> = kept
        .iter()
        .map(|file| Upload::decode(fs::read(file)?).with_context(|| format!("{file:?}: torn")))
        .collect::<Result<_>>()?;
    ensure!(expected.len() >= 16, "{} uploads", expected.len());
    receiver.set(Mood::Takes);
    let agent = bench.agent(&config)?;
    let came = receiver.wait("everything", |came| came.len() >= expected.len())?;
    for (came, expected) in came.iter().zip(&expected) {
        ensure!(came.path == expected.path, "{} and {}", came.path, expected.path);
        bench.pprof(&came.parts["profile"])?;
    }
    let metrics = agent.wait("what was torn", |metrics| {
        metrics.number("heaptap_push_dropped_total", &["reason=\"torn\""]) == Some(3.0)
    })?;
    ensure!(metrics.number("heaptap_push_dropped_total", &["reason=\"refused\""]) == Some(0.0));
    let paths: HashSet<&str> = came.iter().map(|came| came.path.as_str()).collect();
    ensure!(paths.len() == came.len(), "something came twice although it was taken");
    bench.tell("gc")?;
    Ok(())
}

#[test]
fn a_receiver_says_what_is_tried_again_and_when() -> Result<()> {
    let bench = Bench::start()?;
    let receiver = Receiver::start()?;
    receiver.set(Mood::Refuses(429, Some(2)));
    let agent = bench.agent(&table("pyroscope", &receiver.url(), "timeout = \"500ms\""))?;
    let of = |name: &'static str| move |metrics: &Metrics| metrics.number(name, &[]).unwrap_or(0.0);
    let retried = of("heaptap_push_retried_total");
    let refused = |metrics: &Metrics| {
        metrics.number("heaptap_push_dropped_total", &["reason=\"refused\""]).unwrap_or(0.0)
    };
    agent.wait("the first failure", |metrics| retried(metrics) >= 1.0)?;
    let began = Instant::now();
    agent.wait("the second one", |metrics| retried(metrics) >= 2.0)?;
    ensure!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    receiver.set(Mood::Refuses(400, None));
    agent.wait("uploads that are refused", |metrics| refused(metrics) >= 2.0)?;
    // One that does not answer stops nobody.
    receiver.set(Mood::Silent);
    let before = agent.wait("a time limit", |metrics| retried(metrics) >= 3.0)?;
    let rounds = of("heaptap_rounds_total");
    agent.wait("rounds go on", |metrics| rounds(metrics) >= rounds(&before) + 10.0)?;
    receiver.set(Mood::Takes);
    receiver.wait("uploads that are taken", |came| came.len() > 2)?;
    Ok(())
}

#[test]
fn what_can_not_be_used_is_told_at_the_start() -> Result<()> {
    let bench = Bench::start()?;
    let refused = |receivers: &str, why: &str| -> Result<()> {
        let file = bench.path("wrong.toml");
        let spool = bench.path("link");
        let text = format!("[spool]\ndir = {:?}\n{receivers}", spool.display().to_string());
        fs::write(&file, text)?;
        let file = file.display().to_string();
        let ended = heaptap_tests::heaptap::run(["agent", "--config", &file])?;
        ended.refused(1, why)
    };
    std::os::unix::fs::symlink("/nowhere", bench.path("link"))?;
    refused(&table("pyroscope", "http://127.0.0.1:1", ""), "push pyroscope: spool: ")?;
    fs::remove_file(bench.path("link"))?;
    let more = "ca_file = \"/nowhere/ca.pem\"";
    refused(&table("parca", "https://127.0.0.1:1", more), "push parca: /nowhere/ca.pem: ")
}

/// An authority's certificate, and a server's for 127.0.0.1 that it has signed, with its key.
fn certificates(dir: &Path) -> Result<rustls::ServerConfig> {
    let openssl = |line: &str| -> Result<()> {
        let out = Command::new("openssl").args(line.split(' ')).current_dir(dir).output()?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2"))?;
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"))?;
    fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1\n")?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 \
         -extfile ext",
    )?;
    let chain = CertificateDer::pem_file_iter(dir.join("server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?)
}

#[test]
fn tls_with_an_authority_of_a_file() -> Result<()> {
    let bench = Bench::start()?;
    let config = certificates(bench.dir.path())?;
    let [http, grpc] = [Receiver::with_tls(config.clone())?, Receiver::with_tls(config)?];
    let ca = format!("ca_file = {:?}", bench.path("ca.pem").display().to_string());
    let url = |of: &Receiver| format!("https://{}", of.address);
    // The host's own authorities have not signed it.
    let other = table("pyroscope", &url(&http), "name = \"stranger\"");
    let receivers =
        [table("pyroscope", &url(&http), &ca), table("parca", &url(&grpc), &ca), other].concat();
    let agent = bench.agent(&receivers)?;
    http.wait("an upload over HTTP", |came| !came.is_empty())?;
    grpc.wait("an upload over gRPC", |came| !came.is_empty())?;
    let metrics = agent.wait("a failure", |metrics| {
        metrics.number("heaptap_push_retried_total", &["receiver=\"stranger\""]) > Some(0.0)
    })?;
    let sent = metrics.number("heaptap_push_sent_total", &["receiver=\"stranger\""]);
    ensure!(sent == Some(0.0), "{sent:?}");
    Ok(())
}
