//! What is typed becomes a configuration, or a refusal that says what to do.

use std::path::PathBuf;

use super::*;
use crate::cli::groups::DEFAULT_BUDGET;
use crate::cli::{Color, Command, parse};
use crate::exit::Exit;

fn config(flags: &[&str]) -> Config {
    match parse(["heaptap", "record"].iter().chain(flags)) {
        Ok(Command::Record(config)) => config,
        other => panic!("{flags:?}: {other:?}"),
    }
}

fn refusal(flags: &[&str]) -> String {
    let refusal = parse(["heaptap", "record"].iter().chain(flags)).expect_err("must be refused");
    assert_eq!(refusal.exit, Exit::Usage, "{flags:?}");
    assert!(refusal.is_message);
    assert!(!refusal.text.contains('\n'), "{}", refusal.text);
    refusal.text
}

#[test]
fn defaults() {
    assert_eq!(
        config(&["--all"]),
        Config {
            selection: Selection::All,
            duration: None,
            probes: Probes::of(&[Probe::Alloc]),
            source: None,
            show: Show::default(),
            kept: None,
            every: None,
            maps: MapReport::default(),
            pools: pools::Limits::default(),
            value: Value::Bytes,
            by: By::Stack,
            labels: false,
            runtime_frames: false,
            max_stacks: 16384,
            max_objects: 65536,
            max_goroutines: 8192,
            max_processes: 1024,
            max_ended_stacks: 65536,
            max_memory: 512 << 20,
            budget: Some(0.01),
            enable_sampler: None,
            short_lived: false,
            stats: false,
            kernel_log: None,
            perf_events: false,
        }
    );
}

#[test]
fn every_flag_reaches_the_configuration() {
    let words = "-p 7 --pid 5 -p7 -d 1.5 --mode span -o a.svg --output b.pb.gz -o c.folded \
                 -o d.json --value objects --by stack --labels --runtime-frames --max-stacks 512 --max-objects 9 --max-goroutines 10 --max-processes 8 --max-ended-stacks 7 \
                 --max-memory 64 --budget 0.5% \
                 --top 3 -q --stats --kernel-log debug --perf-events --color never";
    let flags: Vec<_> = words.split_whitespace().collect();
    assert_eq!(
        config(&flags),
        Config {
            selection: Selection::Pids(vec![5, 7]),
            duration: Some(Duration::from_millis(1500)),
            probes: Probes::of(&[Probe::Alloc]),
            source: Some(Source::Span),
            show: Show {
                outputs: ["a.svg", "b.pb.gz", "c.folded", "d.json"].map(PathBuf::from).to_vec(),
                top: 3,
                quiet: true,
                color: Color::Never,
            },
            kept: None,
            every: None,
            maps: MapReport::default(),
            pools: pools::Limits::default(),
            value: Value::Objects,
            by: By::Stack,
            labels: true,
            runtime_frames: true,
            max_stacks: 512,
            max_objects: 9,
            max_goroutines: 10,
            max_processes: 8,
            max_ended_stacks: 7,
            max_memory: 64 << 20,
            budget: Some(0.005),
            enable_sampler: None,
            short_lived: false,
            stats: true,
            kernel_log: Some(log::Level::Debug),
            perf_events: true,
        }
    );
    assert_eq!(config(&["--all", "--by", "type"]).by, By::Type);
    assert_eq!(config(&["--exe", "/a b"]).selection, Selection::Exe("/a b".into()));
    assert_eq!(config(&["--comm", "api-*"]).selection, Selection::Comm("api-*".into()));
}

#[test]
fn probes_say_what_is_measured() {
    let probe = |names: &str| config(&["--all", "--probe", names]);
    let alloc = Probes::of(&[Probe::Alloc]);
    assert_eq!(probe("alloc").probes, alloc);
    let map = probe("map");
    assert_eq!(map.probes, Probes::of(&[Probe::Map]));
    assert_eq!((map.value, map.budget, map.source), (Value::Steps, Some(DEFAULT_BUDGET), None));
    let count = probe("map-count");
    assert_eq!((count.probes, count.value), (Probes::of(&[Probe::MapCount]), Value::Elements));
    let boxes = config(&["--all", "--probe", "box", "--by", "type"]);
    assert_eq!((boxes.value, boxes.by), (Value::BoxedBytes, By::Type));
    assert_eq!((boxes.budget, probe("box,goroutine").budget), (Some(0.01), Some(0.01)));
    let several = config(&["--all", "--probe", "alloc,box,stack", "--budget", "2%"]);
    assert_eq!(several.budget, Some(0.02));
    let slices = probe("slice,box,map");
    assert_eq!(slices.value, Value::Steps);
    assert_eq!(probe("slice").value, Value::SliceCopied);
    assert_eq!(probe("assist").value, Value::AssistTime);
    let both = probe("map,alloc");
    assert_eq!(both.probes, Probes::of(&[Probe::Map, Probe::Alloc]));
    assert_eq!((both.value, both.budget), (Value::Bytes, Some(DEFAULT_BUDGET)));
    for (names, flags, wanted) in [
        ("map", &["--value", "bytes"][..], "--value"),
        ("map-count", &["--value", "steps"], "--value"),
        ("map", &["--mode", "exact"], "need --probe alloc"),
        ("map", &["--by", "type"], "needs --probe alloc, box or slice"),
        ("box", &["--value", "copied"], "--value"),
        ("maps", &[], "possible values: alloc, map, map-count"),
    ] {
        let refused = refusal(&[&["--all", "--probe", names], flags].concat());
        assert!(refused.contains(wanted), "{refused}");
    }
}

#[test]
fn what_is_recorded_over_time_has_no_budget() {
    let made = config(&["--all", "--every", "10s", "-o", "run.htap"]);
    assert_eq!((made.every, made.budget), (Some(Duration::from_secs(10)), None));
    assert_eq!(made.kept.map(|kept| kept.path), Some("run.htap".into()));
    assert!(made.show.outputs.is_empty());
    assert_eq!(config(&["--all", "-o", "run.htap"]).budget, Some(0.01));
    let refused = refusal(&["--all", "--every", "10s", "--budget", "1%"]);
    assert!(refused.contains("--budget none"), "{refused}");
    assert!(refusal(&["--all", "--every", "1", "--probe", "map"]).contains("map and os"));
}

#[test]
fn a_selection_is_required_and_the_message_names_ps() {
    for flags in [&[][..], &["-d", "10"], &["-o", "x.svg"]] {
        let text = refusal(flags);
        assert!(text.contains("-p PID") && text.contains("heaptap ps"), "{text}");
    }
    assert!(refusal(&["--exe", ""]).contains("a value is required for '--exe <PATH>'"));
    assert!(refusal(&["--comm", ""]).contains("--comm needs a name"));
}

#[test]
fn processes_are_selected_in_one_way_only() {
    for flags in [
        &["-p", "1", "--all"][..],
        &["-p", "1", "--exe", "/x"],
        &["--exe", "/x", "--comm", "y"],
        &["--comm", "y", "--all"],
    ] {
        let text = refusal(flags);
        assert!(text.contains("cannot be used with"), "{text}");
    }
}

#[test]
fn containers_and_the_like_are_selected_and_excluded() {
    use crate::host::{Filter, Kind};
    let filter = |kind, glob: &str| Filter { kind, glob: glob.into() };
    for (word, kind) in [
        ("--container", Kind::Container),
        ("--pod", Kind::Pod),
        ("--namespace", Kind::Namespace),
        ("--unit", Kind::Unit),
    ] {
        assert_eq!(config(&[word, "a*"]).selection, Selection::Only(filter(kind, "a*")));
        assert!(refusal(&[word, "a", "--all"]).contains("cannot be used with"), "{word}");
        assert!(refusal(&[word, "a", "-p", "1"]).contains("cannot be used with"), "{word}");
        assert!(refusal(&[word, ""]).contains("needs a name"), "{word}");
    }
    let excluded = config(&["--all", "--exclude", "comm=kube-*", "--exclude", "pod=a=b"]);
    let filters = vec![filter(Kind::Comm, "kube-*"), filter(Kind::Pod, "a=b")];
    assert_eq!(excluded.selection, Selection::Except(Box::new(Selection::All), filters));
    assert!(excluded.follows() && excluded.waits());
    assert!(refusal(&["--exclude", "comm=x"]).contains("say which processes"));
    for text in ["comm", "comm=", "name=x", "=x"] {
        assert!(refusal(&["--all", "--exclude", text]).contains("expected one of comm="));
    }
}

#[test]
fn outputs_that_say_no_format_or_repeat_are_refused() {
    let text = refusal(&["--all", "-o", "heap.txt"]);
    assert!(text.starts_with("-o heap.txt: ") && text.contains(".pb.gz"), "{text}");
    assert!(refusal(&["--all", "-o", "a\nb"]).contains(r"a\nb"));
    assert!(refusal(&["--all", "-o", "a.svg", "-o", "a.svg"]).contains("given twice"));
    assert_eq!(config(&["--all", "-o", "-"]).show.outputs, [PathBuf::from("-")]);
}

#[test]
fn the_sampler_is_turned_on_only_where_it_is_used() {
    let flags = ["--all", "--enable-sampler"];
    assert_eq!(config(&flags).enable_sampler, Some(524_288));
    assert_eq!(config(&flags).source, Some(Source::Sample));
    assert_eq!(config(&["--all", "--enable-sampler=4096"]).enable_sampler, Some(4096));
    for mode in ["exact", "span"] {
        let refused = refusal(&["--all", "--enable-sampler", "--mode", mode]);
        assert!(refused.contains("--mode sample"), "{refused}");
    }
    assert!(refusal(&["--all", "--enable-sampler=0"]).contains("--enable-sampler"));
}

#[test]
fn a_budget_is_a_share_or_none() {
    assert_eq!(config(&["--all", "--budget", "none"]).budget, None);
    assert_eq!(config(&["--all", "--budget=2.5%"]).budget, Some(0.025));
    let exact = |more: &[&str]| config(&[&["--all", "--mode", "exact"], more].concat());
    assert_eq!((exact(&[]).max_stacks, exact(&["--budget=2%"]).max_stacks), (16_384, 16_384));
    let everything = exact(&["--budget", "none"]).max_stacks;
    let less = exact(&["--budget", "none", "--max-stacks", "7"]).max_stacks;
    assert_eq!((everything, less), (65_536, 7));
    for text in ["", "1", "0%", "-1%", "101%", "x%", "nan%", "%", "1%%", "None"] {
        let refused = refusal(&["--all", "--budget", text]);
        assert!(refused.contains("--budget") && refused.contains("none"), "{refused}");
    }
}

#[test]
fn values_out_of_range_are_refused_with_what_is_expected() {
    assert!(refusal(&["-p", "0"]).contains("expected a process id"));
    assert!(refusal(&["-p", "-5"]).contains("-5"));
    assert!(refusal(&["--all", "-d", "0"]).contains("shorter than a millisecond"));
    assert!(refusal(&["--all", "-d", "-1"]).contains("expected seconds"));
    assert!(refusal(&["--all", "--top", "0"]).contains("--top"));
    assert!(refusal(&["--all", "--max-stacks", "0"]).contains("--max-stacks"));
    assert!(refusal(&["--all", "--max-stacks", "1048577"]).contains("--max-stacks"));
    assert!(
        refusal(&["--all", "--mode", "guess"])
            .contains("possible values: auto, sample, span, exact")
    );
    assert!(refusal(&["--all", "--by", "type", "--mode", "span"]).contains("--mode exact"));
}
