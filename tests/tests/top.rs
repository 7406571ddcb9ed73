//! `heaptap top` shows what programs do, on a terminal and without one, and leaves terminals as they
//! were.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::{Fixture, Running, Terminal, Variant, heaptap, require_root};
use nix::sys::signal::Signal;
use serde_json::Value;

const SMALL: (u16, u16) = (24, 80);

fn program() -> Result<Running> {
    require_root()?;
    let mut program = Fixture::build("stats", "1.27", Variant::Default)?.start()?;
    program.ask("work")?;
    Ok(program)
}

fn top(program: &Running, size: (u16, u16)) -> Result<Terminal> {
    Terminal::start(size, ["top", "-w", "0.1", "-p", &program.pid().to_string()])
}

#[test]
fn a_program_is_shown_and_the_terminal_given_back() -> Result<()> {
    let mut program = program()?;
    let mut top = top(&program, SMALL)?;
    top.see(&["heaptap top", "1 Go process", "ALLOC/S", &program.pid().to_string(), "q quit"])?;
    // It allocates: there is a rate.
    program.ask("busy")?;
    let rates = ["K/s allocated", "M/s allocated", "G/s allocated"];
    top.wait("a rate", |text| rates.iter().any(|rate| text.contains(rate)))?;
    program.ask("stop")?;
    top.press("?")?;
    top.see(&["Keys", "esc back"])?;
    top.press("\x1b")?;
    top.see(&["ALLOC/S"])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    Ok(())
}

#[test]
fn keys_sort_filter_and_pause() -> Result<()> {
    let (one, other) = (program()?, program()?);
    let [a, b] = [one.pid(), other.pid()].map(|pid| pid.to_string());
    let (low, high) = if one.pid() < other.pid() { (&a, &b) } else { (&b, &a) };
    let mut top = Terminal::start(SMALL, ["top", "-w", "0.1", "-p", &a, "-p", &b])?;
    top.see(&["2 Go processes"])?;
    let first = |text: &str, pid: &str, then: &str| matches!((text.find(pid), text.find(then)), (Some(a), Some(b)) if a < b);
    top.press("I")?;
    top.wait("the lower pid first", |text| text.contains("PID▲") && first(text, low, high))?;
    top.press("r")?;
    top.wait("the higher pid first", |text| text.contains("PID▼") && first(text, high, low))?;
    top.press(&format!("/{low}"))?;
    top.wait("one of them", |text| text.contains("(1 shown)") && !text.contains(&**high))?;
    top.press("\r\x1b")?;
    top.see(&[low, high])?;
    top.press("p")?;
    top.see(&["PAUSED"])?;
    top.press("\x03")?;
    ensure!(top.ended()?.code() == Some(0), "ctrl-c is q");
    Ok(())
}

#[test]
fn it_fits_every_size_of_the_terminal() -> Result<()> {
    let program = program()?;
    let mut top = top(&program, SMALL)?;
    top.see(&["GOAL", "q quit"])?;
    top.resize((10, 40))?;
    top.wait("a narrow list", |text| text.contains("ALLOC/S") && !text.contains("GOAL"))?;
    top.resize((60, 200))?;
    top.see(&["LIMIT", "live ▒ since GC"])?;
    top.resize((1, 1))?;
    top.resize((24, 80))?;
    top.see(&["GOAL", "q quit"])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    Ok(())
}

#[test]
fn signals_end_it_and_the_terminal_is_given_back() -> Result<()> {
    let program = program()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let top = top(&program, SMALL)?;
        top.see(&["q quit"])?;
        top.signal(signal)?;
        ensure!(top.ended()?.code() == Some(0), "{signal}");
    }
    Ok(())
}

#[test]
fn in_the_background_the_terminal_is_the_shells() -> Result<()> {
    let program = program()?;
    // A shell with control of its jobs goes on when one of them stands still.
    let script = "set -m; \"$0\" top -w 0.1 -p \"$1\"; echo it stands still; read line; fg";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(heaptap::program()?).arg(program.pid().to_string());
    let mut top = Terminal::of(SMALL, shell)?;
    top.see(&["q quit"])?;
    top.press("\x1a")?;
    top.see(&["it stands still"])?;
    top.is_restored()?;
    top.press("\n")?;
    top.see(&["q quit", "ALLOC/S"])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    Ok(())
}

/// Nobody is there who could let it go on.
#[test]
fn without_a_shell_it_stays_on_its_screen() -> Result<()> {
    let program = program()?;
    let mut top = top(&program, SMALL)?;
    top.see(&["q quit"])?;
    top.press("\x1ap")?;
    top.see(&["q quit", "ALLOC/S", "PAUSED"])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    Ok(())
}

#[test]
fn colours_are_left_out_when_nobody_wants_them() -> Result<()> {
    let program = program()?;
    let pid = program.pid().to_string();
    let mut command = Command::new(heaptap::program()?);
    command.args(["top", "-p", &pid]).env("NO_COLOR", "1").env("TERM", "xterm");
    let mut plain = Terminal::of(SMALL, command)?;
    plain.see(&["q quit"])?;
    ensure!(!plain.is_colored());
    plain.press("q")?;
    plain.ended()?;
    let colored = Terminal::start(SMALL, ["top", "-p", &pid])?;
    colored.see(&["q quit"])?;
    ensure!(colored.is_colored());
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_do() -> Result<()> {
    heaptap::run(["top"])?.refused(1, "--once prints a table without one")
}

#[test]
fn a_process_that_is_none_is_refused_before_the_terminal_is_taken() -> Result<()> {
    let top = Terminal::start(SMALL, ["top", "-p", "4194304"])?;
    top.see(&["heaptap: there is no process 4194304"])?;
    ensure!(top.ended()?.code() == Some(4));
    heaptap::run(["top", "--once", "-p", "4194304"])?.refused(4, "there is no process 4194304")
}

/// What the fixture says of itself.
fn own(program: &mut Running) -> Result<Value> {
    serde_json::from_str(&program.ask("read")?).context("the fixture's statistics")
}

#[test]
fn the_document_and_the_table_have_the_programs_own_numbers() -> Result<()> {
    let mut program = program()?;
    let pid = program.pid().to_string();
    // The runtime may have allocated between two looks; not every time.
    for _ in 0..30 {
        let theirs = own(&mut program)?;
        let ended = heaptap::run(["top", "--json", "--once", "-w", "0.05", "-p", &pid])?;
        let document: Value = serde_json::from_str(&ended.expect(0)?.stdout)?;
        let table = heaptap::run(["top", "--once", "-w", "0.05", "-p", &pid])?;
        if own(&mut program)? != theirs {
            continue;
        }
        let ours = &document["processes"][0];
        for (field, name) in [
            ("heap", "Alloc"),
            ("heap_goal", "NextGC"),
            ("allocated", "TotalAlloc"),
            ("gc_cycles", "NumGC"),
            ("goroutines", "NumGoroutine"),
        ] {
            ensure!(ours[field] == theirs[name], "{field}: {ours} is not {theirs}");
        }
        let pauses = theirs["Pauses"].as_array().context("no pauses")?;
        let longest = pauses.iter().filter_map(|pause| pause[1].as_u64()).max();
        ensure!(ours["pause_p99_ns"].as_u64() == longest, "of fewer than 100 the longest");
        ensure!(ours["alloc_rate"] == 0.0 && document["heaptap"]["cpu"].is_number(), "{document}");
        let table = &table.expect(0)?.stdout;
        ensure!(!table.contains('\x1b') && table.lines().count() == 2, "{table}");
        let row = table.lines().nth(1).context("no row")?;
        ensure!(row.trim_start().starts_with(&pid), "{row}");
        let goroutines = theirs["NumGoroutine"].to_string();
        ensure!(row.split_whitespace().any(|cell| cell == goroutines), "{goroutines}: {row}");
        return Ok(());
    }
    anyhow::bail!("the program does not rest")
}

#[test]
fn documents_follow_one_another_until_the_program_ends() -> Result<()> {
    let mut program = program()?;
    let pid = program.pid().to_string();
    let watched =
        std::thread::spawn(move || heaptap::run(["top", "--json", "-w", "0.05", "-p", &pid]));
    for _ in 0..20 {
        program.ask("work")?;
        heaptap::run(["stats", "-p", &program.pid().to_string()])?.expect(0)?;
    }
    program.wait()?;
    let ended = watched.join().map_err(|_| anyhow::anyhow!("heaptap's runner panicked"))??;
    let mut rates = 0;
    let mut before = 0;
    for line in ended.expect(0)?.stdout.lines() {
        let document: Value = serde_json::from_str(line)?;
        ensure!(document["schema"] == "heaptap.top/1", "{line}");
        let time = document["unix_ns"].as_u64().context("no time")?;
        ensure!(time > before, "{line}");
        before = time;
        rates += usize::from(document["processes"][0]["alloc_rate"].as_f64() > Some(0.0));
    }
    ensure!(rates > 0, "it allocated: {}", ended.stdout);
    Ok(())
}

/// A program that keeps a profile of every allocation, with `work` done.
fn profiled() -> Result<Running> {
    require_root()?;
    let fixture = Fixture::build("heap", "1.27", Variant::Default)?;
    let mut command = Command::new(&fixture.program);
    command.env("HEAP_RATE", "1");
    let mut program = Running::start(command)?;
    program.ask("work 20")?;
    program.ask("gc")?;
    program.ask("gc")?;
    Ok(program)
}

#[test]
fn an_opened_process_shows_who_allocates_and_saves_it() -> Result<()> {
    let mut program = profiled()?;
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(heaptap::program()?);
    command.args(["top", "-w", "0.1", "-p", &program.pid().to_string()]);
    command.current_dir(dir.path()).env("TERM", "xterm-256color");
    let mut top = Terminal::of((60, 200), command)?;
    top.see(&["q quit"])?;
    top.press("\r")?;
    top.see(&["[1 live heap]", "main.large ← main.work", "every allocation counted"])?;
    // What comes since is told.
    program.ask("work 20")?;
    program.ask("gc")?;
    program.ask("gc")?;
    top.wait("growth", |text| {
        text.lines().any(|line| line.contains("main.large ←") && line.contains('+'))
    })?;
    // The choice is the first row: enter shows its whole stack.
    top.press("\r")?;
    top.wait("a stack", |text| text.lines().any(|line| line.trim() == "runtime.main"))?;
    top.press("f")?;
    top.see(&["flame graph", "▶all", " main.work"])?;
    top.press("\x1b[B\x1b[B\x1b[B")?;
    top.see(&["▶main.", "% of all"])?;
    top.press("\r")?;
    top.press("s")?;
    top.see(&["saved heaptap-heap-"])?;
    top.press("2")?;
    top.see(&["[2 allocated]", "▶all"])?;
    top.press("s")?;
    top.see(&["-alloc-"])?;
    top.press("f\t")?;
    top.see(&["[3 goroutines]", "main goroutine"])?;
    top.press("s")?;
    top.see(&["-goroutines-"])?;
    top.press("\t")?;
    top.see(&["[4 sizes]", "OBJECTS/S", "LIVE BYTES"])?;
    top.press("s")?;
    top.see(&["nothing to save here"])?;
    top.press("\x1b")?;
    top.see(&["1 Go process", "ALLOC/S"])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    let mut saved: Vec<_> = std::fs::read_dir(dir.path())?.collect::<Result<_, _>>()?;
    saved.sort_by_key(|entry| entry.file_name());
    ensure!(saved.len() == 6, "{saved:?}");
    for entry in &saved {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.ends_with(".svg") {
            let text = std::fs::read_to_string(&path)?;
            ensure!(text.contains("<svg") && text.trim_end().ends_with("</svg>"), "{name}");
            ensure!(text.contains("main."), "{name}");
        } else {
            let profile = Pprof::read(&path)?;
            let expected = match &name {
                name if name.contains("-inuse-") => "inuse_space",
                name if name.contains("-alloc-") => "alloc_space",
                _ => "goroutine",
            };
            ensure!(profile.default_type == expected, "{name}: {}", profile.default_type);
            ensure!(!profile.samples.is_empty(), "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_program_without_a_profile_is_opened_and_ends() -> Result<()> {
    let mut program = Fixture::build("unprofiled", "1.27", Variant::Default)?.start()?;
    let mut top = top(&program, SMALL)?;
    top.see(&["q quit"])?;
    top.press("\r")?;
    top.see(&["keeps no heap profile", "esc back"])?;
    top.press("3")?;
    top.see(&["main goroutine"])?;
    program.wait()?;
    top.see(&["HAS ENDED"])?;
    top.press("\x1b")?;
    top.see(&["0 Go processes"])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    Ok(())
}

#[test]
fn a_process_that_becomes_another_program_is_read_as_that() -> Result<()> {
    require_root()?;
    let next = Fixture::build("heap", "1.27", Variant::Default)?;
    let mut command = Command::new(Fixture::build("life", "1.27", Variant::Default)?.program);
    command.env("HEAP_RATE", "1");
    let mut program = Running::start(command)?;
    let mut top = top(&program, SMALL)?;
    top.see(&["q quit"])?;
    top.press("\r")?;
    top.see(&["keeps no heap profile"])?;
    ensure!(program.ask(&format!("exec {}", next.program.display()))?.starts_with("ready "));
    program.ask("work 5")?;
    program.ask("gc")?;
    program.ask("gc")?;
    top.see(&["FUNCTION ← CALLERS", "main."])?;
    top.press("q")?;
    ensure!(top.ended()?.code() == Some(0));
    Ok(())
}
