//! Whatever the agent captures, sends or answers holds stacks and numbers, and nothing of what is on a program's heap.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use heaptap_tests::agent::Agent;
use heaptap_tests::receivers::Receiver;
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};

/// What should happen soon has this long.
const PATIENCE: Duration = Duration::from_secs(90);
/// Bytes of the secret of which none may be seen one after the other.
const PART: usize = 8;
/// Bytes of what is unpacked.
const MOST: u64 = 256 << 20;

/// Letters that nobody else has, made anew each time: it is in no file.
fn secret() -> Result<String> {
    let mut bytes = [0; 48];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
}

/// Whether a part of the secret is in bytes, as they are or in what is packed in them.
fn is_in(secret: &str, bytes: &[u8]) -> bool {
    let parts: Vec<&[u8]> = secret.as_bytes().windows(PART).collect();
    // What parts begin with: most of what is looked through has none of these.
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut begins = vec![false; 1 << 16];
    parts.iter().for_each(|part| begins[pair(part)] = true);
    let is_part = |window: &[u8]| begins[pair(window)] && parts.contains(&window);
    let packed = bytes.windows(3).enumerate().filter(|(_, window)| *window == [0x1f, 0x8b, 8]);
    bytes.windows(PART).any(is_part)
        || packed.map(|(at, _)| unpacked(&bytes[at..])).any(|unpacked| is_in(secret, &unpacked))
}

/// What can be unpacked.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    // What is behind it in a message is no error of what is packed.
    let _ = MultiGzDecoder::new(bytes).take(MOST).read_to_end(&mut all);
    all
}

/// Whether it is in memory of a process that is of no file.
fn is_on_heap(secret: &str, pid: u32) -> Result<bool> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    // What is of no file; the heap is somewhere in it.
    for line in maps.lines().filter(|line| line.contains(" rw-p ") && line.contains(" 00:00 0 ")) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let (start, end) = range.context("no range")?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        let mut bytes = vec![0; usize::try_from(end - start)?];
        memory.read_exact_at(&mut bytes, start)?;
        if is_in(secret, &bytes) {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Case {
    program: Running,
    secret: String,
    dir: tempfile::TempDir,
}

impl Case {
    fn start() -> Result<Self> {
        require_root()?;
        let fixture = Fixture::build("secret", "1.27", Variant::Default)?;
        let mut command = Command::new(&fixture.program);
        command.env("SECRET_RATE", "1");
        let (program, secret) = (Running::start(command)?, secret()?);
        let mut case = Self { program, secret, dir: tempfile::tempdir()? };
        ensure!(case.program.ask(&format!("keep {}", case.secret))? == "done");
        ensure!(case.program.ask("work 1000")? == "done");
        // What is looked for can be found.
        ensure!(is_on_heap(&case.secret, case.program.pid())?, "it is not on the heap");
        ensure!(!is_in(&case.secret, &fs::read(&fixture.program)?), "it is in the file");
        Ok(case)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn check(&self, what: &str, bytes: &[u8]) -> Result<()> {
        ensure!(!bytes.is_empty(), "{what} is empty");
        ensure!(!is_in(&self.secret, bytes), "{what} has what is on the heap");
        Ok(())
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    found.filter(|path| path.is_file()).collect()
}

fn is_named(path: &Path, end: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(end) && !name.starts_with('.')
}

#[test]
fn the_search_finds_what_is_packed() -> Result<()> {
    use std::io::Write as _;
    let secret = secret()?;
    let mut pack = flate2::write::GzEncoder::new(b"before ".to_vec(), flate2::Compression::best());
    write!(pack, "in the middle {} of it", &secret[20..30])?;
    ensure!(is_in(&secret, &pack.finish()?), "it is not found");
    ensure!(!is_in(&secret, b"nothing of it"));
    Ok(())
}

/// Every kind of capture, alert, upload and answer.
#[test]
fn nothing_of_the_heap_leaves_the_program() -> Result<()> {
    let mut case = Case::start()?;
    let receiver = Receiver::start()?;
    let url = receiver.url();
    let push = |kind: &str, more: &str| {
        format!("[[push]]\nkind = \"{kind}\"\nurl = \"{url}\"\nevery = \"100ms\"\n{more}\n")
    };
    let text = [
        format!(
            "[spool]\ndir = {:?}\n[captures]\non_request = true\ndir = {:?}\n",
            case.path("spool"),
            case.path("captures")
        ),
        "[[rule]]\nname = \"r\"\nmetric = \"go_goroutine_count\"\nabove = 0\n\
         capture = [\"heap\", \"goroutines\", \"record 1s\"]\n"
            .to_owned(),
        format!("[[notify]]\nkind = \"webhook\"\nurl = \"{url}/hook\"\n"),
        format!("[[notify]]\nkind = \"slack\"\nurl = \"{url}/slack\"\n"),
        format!("[[notify]]\nkind = \"alertmanager\"\nurl = \"{url}\"\n"),
        push("pyroscope", ""),
        push("parca", ""),
        push("otlp", "profiles = true"),
    ]
    .concat();
    fs::write(case.path("agent.toml"), text)?;
    let pid = case.program.pid();
    let flags = ["--config", &case.path("agent.toml"), "-p", &pid.to_string(), "--every", "100ms"];
    let agent = Agent::start(&[&flags[..], &["--cpu", "20%"]].concat())?;

    let captures = case.dir.path().join("captures");
    // Those of the rule, and others that are asked for.
    for what in ["map", "os"] {
        let answer = agent.capture(pid, what)?;
        ensure!(answer.status == 202, "{what}: {}", answer.text());
        case.check(what, &answer.body)?;
    }
    let ends = ["heap", "goroutines", "record", "map", "os"].map(|what| format!("-{what}.pb.gz"));
    let paths = [
        "/hook",
        "/slack",
        "/api/v2/alerts",
        "/ingest",
        "WriteRaw",
        "/v1/metrics",
        "/v1development/profiles",
    ];
    let until = Instant::now() + PATIENCE;
    loop {
        // Whatever is recorded has the secret in what it allocates.
        ensure!(case.program.ask("work 1000")? == "done");
        let (kept, came) = (files(&captures), receiver.taken());
        let is_kept = |end: &String| kept.iter().any(|path| is_named(path, end));
        let has_come = |path: &&str| came.iter().any(|one| one.path.contains(*path));
        if ends.iter().all(is_kept) && paths.iter().all(has_come) {
            break;
        }
        let paths: Vec<_> = paths.iter().filter(|path| !has_come(path)).collect();
        ensure!(Instant::now() < until, "not captured or sent: {kept:?}, {paths:?}");
    }
    for path in files(&captures) {
        case.check(&path.display().to_string(), &fs::read(&path)?)?;
    }
    for came in receiver.taken() {
        for (part, bytes) in &came.parts {
            let what = format!("{} {part}", came.path);
            ensure!(!is_in(&case.secret, bytes), "{what} has what is on the heap");
        }
        ensure!(!is_in(&case.secret, came.path.as_bytes()), "{}", came.path);
    }

    // Each path that the description has, and each form of what has several.
    let description = agent.json("/api/v1/openapi.json")?;
    let paths = description["paths"].as_object().context("no paths")?;
    let is_asked =
        |(path, of): (&String, &serde_json::Value)| (!of["get"].is_null()).then(|| path.clone());
    let mut paths: Vec<String> = paths.iter().filter_map(is_asked).collect();
    ensure!(paths.iter().any(|path| path.ends_with("/profile")), "{paths:?}");
    paths.retain(|path| !path.ends_with("/profile") && !path.ends_with("/diff"));
    paths.retain(|path| !path.ends_with("/{name}"));
    for path in files(&captures) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for format in ["svg", "html", "pprof", "folded", "json", "functions"] {
            paths.push(format!("/captures/{name}?format={format}"));
        }
    }
    for of in ["heap", "goroutines"] {
        for format in ["svg", "html", "pprof", "folded", "json"] {
            paths.push(format!("/processes/{{pid}}/profile?of={of}&format={format}"));
        }
    }
    let kept = || -> Result<Vec<u64>> {
        let one = agent.json(&format!("/api/v1/processes/{pid}"))?;
        Ok(one["kept"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_u64)
            .collect())
    };
    while kept()?.len() < 2 {
        ensure!(Instant::now() < until + PATIENCE, "no two profiles were kept");
        std::thread::sleep(Duration::from_millis(100));
    }
    let kept = kept()?;
    for format in ["svg", "pprof", "folded", "json"] {
        let times = format!("from={}&to={}", kept[0], kept[1]);
        paths.push(format!("/processes/{{pid}}/diff?{times}&format={format}"));
    }
    let pid = pid.to_string();
    for path in paths.iter().map(|path| path.replace("{pid}", &pid)) {
        // A path that is told in full, or from where the others begin.
        let path = if path.starts_with("/api/") { path } else { format!("/api/v1{path}") };
        ensure!(!path.contains('{'), "what is to be asked for: {path}");
        let answer = agent.get(&path)?;
        ensure!(answer.status == 200, "{path}: {}", answer.text());
        // Of a capture that has seen nothing no line is left.
        if !answer.body.is_empty() || !path.ends_with("folded") {
            case.check(&path, &answer.body)?;
        }
    }
    case.check("/metrics", agent.metrics()?.0.as_bytes())?;
    case.check("what it says", agent.running.stop()?.stderr.as_bytes())
}

/// What the commands write, in every form.
#[test]
fn nothing_of_the_heap_is_in_what_commands_write() -> Result<()> {
    let mut case = Case::start()?;
    let pid = case.program.pid().to_string();
    for command in [&["heap"][..], &["goroutines"], &["stats", "--json"]] {
        for end in ["pb.gz", "json", "folded", "svg", "html", "htap"] {
            let is_text = command[0] == "stats";
            let out = case.path(&format!("{}.{end}", command[0]));
            let mut args = vec![command[0], "-p", &pid];
            args.extend(&command[1..]);
            if !is_text {
                args.extend(["-o", &out]);
            }
            let ended = heaptap::run(&args)?;
            if is_text {
                case.check("stats", ended.expect(0)?.stdout.as_bytes())?;
                break;
            }
            ended.expect(0).with_context(|| out.clone())?;
            case.check(&out, &fs::read(&out)?)?;
        }
    }
    let out = case.path("record.json");
    let recording = heaptap_tests::Recording::start(["-p", &pid, "--by", "type", "-o", &out])?;
    ensure!(case.program.ask("work 1000")? == "done");
    recording.stop()?.expect(0)?;
    case.check(&out, &fs::read(&out)?)
}
