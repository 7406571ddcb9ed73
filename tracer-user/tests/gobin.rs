//! Real Go binaries of every release: what is read from them equals what they say themselves.
//!
//! The fixture (`frames/main.go`) prints its stacks as return addresses along the frame pointers and
//! as `runtime.CallersFrames` names them; it is built default, stripped and position-independent.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use heaptap::address::{LoadBias, RuntimeAddr, VAddr};
use heaptap::gobin::types::Types;
use heaptap::gobin::{GoBinary, LoadType, VersionFrom, sites};
use heaptap::symbolize::stack::StackRules;
use heaptap::symbolize::{Symbolizer, name_for_print};
use xtask::{each_release, toolchain};

const VARIANTS: [(&str, &[&str]); 3] = [
    ("default", &[]),
    ("stripped", &["-ldflags=-s -w"]),
    ("pie", &["-buildmode=pie", "-ldflags=-s -w"]),
];

/// The root of a release; fails the test when it is not installed.
fn go_root(release: &str) -> PathBuf {
    let (release, _) = toolchain::installed_go(release).unwrap();
    toolchain::go_root(release).unwrap()
}

fn build(release: &str, variant: &str, flags: &[&str]) -> PathBuf {
    let temp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let out = temp.join(format!("frames-{release}-{variant}"));
    // Tests that want the same program wait for each other.
    let lock = File::create(out.with_added_extension("lock")).unwrap();
    lock.lock().unwrap();
    let (_, go) = toolchain::installed_go(release).unwrap();
    let built = toolchain::go_command(&go)
        .arg("build")
        .args(flags)
        .arg("-o")
        .arg(&out)
        .arg(".")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frames"))
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "go {release} build {flags:?}: {errors}");
    out
}

#[derive(Default)]
struct Stack {
    name: String,
    returns: Vec<RuntimeAddr>,
    frames: Vec<(u32, String, String)>,
}

/// A type as the fixture describes it: address, size, kind, package, name.
type Described = (u64, u64, String, String, String);

/// Runs the fixture: address of `main.main`, its types, and its stacks.
fn run(fixture: &Path) -> (u64, Vec<Described>, Vec<Stack>) {
    let output = Command::new(fixture).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut main, mut types, mut stacks) = (0, Vec::new(), Vec::<Stack>::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        let hex = || u64::from_str_radix(rest, 16).unwrap();
        match word {
            "main" => main = hex(),
            "type" => {
                let fields: Vec<&str> = rest.split('\t').collect();
                let text = |i: usize| fields[i].to_owned();
                let at = u64::from_str_radix(fields[0], 16).unwrap();
                types.push((at, fields[1].parse().unwrap(), text(2), text(3), text(4)));
            }
            "stack" => stacks.push(Stack { name: rest.to_owned(), ..Stack::default() }),
            "pc" => stacks.last_mut().unwrap().returns.push(RuntimeAddr(hex())),
            _ => {
                let fields: Vec<&str> = rest.split('\t').collect();
                let frame = (fields[0].parse().unwrap(), fields[1].into(), fields[2].into());
                stacks.last_mut().unwrap().frames.push(frame);
            }
        }
    }
    (main, types, stacks)
}

fn matches_callers_frames(release: &str) {
    let minor: u32 = release.split('.').nth(1).unwrap().parse().unwrap();
    for (variant, flags) in VARIANTS {
        let path = build(release, variant, flags);
        let binary = Arc::new(GoBinary::open(File::open(&path).unwrap()).unwrap());
        let facts = binary.facts();
        let version = facts.version.unwrap();
        assert_eq!((version.major, version.minor), (1, minor));
        assert_eq!(facts.version_from, VersionFrom::BuildInfo);
        assert_eq!(facts.stripped, variant != "default");
        assert_eq!(facts.load == LoadType::Pie, variant == "pie");
        assert_eq!(facts.main_path.as_deref(), Some("heaptap.test/frames"));
        assert!(!facts.cgo && !facts.loads_plugins);

        let (main, types, stacks) = run(&path);
        assert!(stacks.len() > 15, "{variant}: only {} stacks", stacks.len());
        let entry = binary.find_function("main.main").unwrap().entry;
        let bias = LoadBias(main.wrapping_sub(entry.0));
        assert_eq!(bias.0 != 0, variant == "pie");
        types_match(&binary, bias, &types);
        let rules = StackRules::new(&binary);
        let symbolizer = Symbolizer::new(binary.clone());
        for stack in stacks {
            let mut seen = Vec::new();
            let mut callee = 0;
            for call in rules.calls(&stack.returns, bias, |_| false) {
                let frames = symbolizer.symbolize_one(bias.to_vaddr(call)).unwrap();
                let (shown, last) = rules.shown(callee, &frames);
                callee = last;
                let frame = |f: &heaptap::symbolize::SymFrame| {
                    assert_eq!(f.start_line > 0, minor >= 20, "{f:?}");
                    let function = name_for_print(&f.function, minor >= 27);
                    (f.line, function.into_owned(), f.file.clone().into_owned())
                };
                seen.extend(shown.map(frame));
            }
            assert_eq!(seen, stack.frames, "Go {release}, {variant}, stack {}", stack.name);
        }
        several_at_once_equal_one_by_one(&symbolizer);
        let maps = sites::map_sites(&binary).unwrap();
        // The end is found in one place of the old function and in three of the new one.
        assert_eq!(
            (maps.is_classic, maps.ends.len()),
            if minor < 24 { (true, 1) } else { (false, 3) }
        );
        let goroutines = sites::goroutine_sites(&binary).unwrap();
        let end = if minor < 22 { "runtime.goexit0" } else { "runtime.gdestroy" };
        assert_eq!(goroutines.ended.function, end);
        // A call of a function in the same text.
        assert_eq!((goroutines.created.bytes.len(), goroutines.created.bytes[0]), (5, 0xe8));
        let stack = sites::stack_site(&binary).unwrap();
        let pools = sites::pool_sites(&binary).unwrap();
        let [get, put] = [&pools.get, pools.put.as_ref().unwrap()];
        let alloc = &sites::alloc_sites(&binary).unwrap().sites[0].site;
        for site in [alloc, &maps.next, &stack.moved, get, put] {
            is_cheap(site, minor);
        }
        let function = binary.function_at(pools.miss.vaddr).unwrap();
        assert_eq!((function.name, pools.miss.bytes.len()), ("sync.(*Pool).Get", 2));
    }
}

/// Every type has the name, size, kind and package that reflection gives it.
fn types_match(binary: &GoBinary, bias: LoadBias, described: &[Described]) {
    assert!(described.len() > 30);
    let types = Types::load(binary).unwrap();
    for (at, size, kind, package, name) in described {
        let found = types.get(bias.to_vaddr(RuntimeAddr(*at)));
        let found = found.unwrap_or_else(|| panic!("no type {name} at {at:#x}"));
        assert_eq!((found.name, found.size, found.kind.word()), (&**name, *size, &**kind));
        if found.kind.word() != "map" {
            assert_eq!(found.package.unwrap_or_default(), package, "{name}");
        }
    }
}

/// What stands at P is not emulated in older releases: the jump before it is the site.
fn is_cheap(site: &sites::Site, minor: u32) {
    assert_eq!((site.emulated, site.at_check), (true, minor < 21), "{site:?}");
}

/// The batch gives each address the same frames as a single request, in whatever order.
fn several_at_once_equal_one_by_one(symbolizer: &Symbolizer) {
    let functions: Vec<_> = symbolizer.binary().functions().collect();
    let some = functions.iter().step_by(7);
    let mut addresses: Vec<VAddr> =
        some.flat_map(|f| [f.entry.0, f.entry.0 + 9, f.end.0 - 1, f.entry.0].map(VAddr)).collect();
    addresses.reverse();
    addresses.push(VAddr(1));
    let mut called = 0;
    symbolizer.symbolize(&addresses, |position, frames| {
        called += 1;
        let one = symbolizer.symbolize_one(addresses[position]);
        assert_eq!(frames.map(<[_]>::to_vec), one, "{}", addresses[position]);
    });
    assert_eq!(called, addresses.len());
}

each_release! {
    frames: matches_callers_frames;
    nothing_but_segments: needs_no_sections;
    slices_and_boxes: slices_and_boxes_are_seen;
    assists: every_return_of_an_assist_is_found;
}

/// Without section headers and without build information the same functions are found, and the
/// release comes from the runtime's own string.
fn needs_no_sections(release: &str) {
    for (variant, flags) in VARIANTS {
        let path = build(release, variant, flags);
        let whole = GoBinary::open(File::open(&path).unwrap()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        let magic = b"\xff Go buildinf:";
        let at: Vec<_> = memchr::memmem::find_iter(&bytes, magic).collect();
        at.into_iter().for_each(|at| bytes[at..at + magic.len()].fill(0));
        let bare = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(bare.path(), bytes).unwrap();

        let file = File::open(bare.path()).unwrap();
        assert_eq!(GoBinary::peek(&file).unwrap().version, None);
        let bare = GoBinary::open(file).unwrap();
        let (facts, expected) = (bare.facts(), whole.facts());
        assert_eq!(facts.version_from, VersionFrom::RuntimeString, "{release} {variant}");
        assert_eq!(facts.version_text, expected.version_text, "{release} {variant}");
        assert!(facts.stripped && facts.main_module.is_none());
        assert_eq!(bare.text_range(), whole.text_range());
        assert_eq!(bare.types_range(), whole.types_range());
        assert!(bare.functions().eq(whole.functions()), "{release} {variant}");
    }
}

/// What boxes values and makes slices and strings is found in every release; with a profile too, which puts
/// copies of it into other functions of Go's own compiler.
fn slices_and_boxes_are_seen(release: &str) {
    let minor: u32 = release.split('.').nth(1).unwrap().parse().unwrap();
    let (variant, flags) = VARIANTS[1];
    let tools = go_root(release).join("pkg/tool/linux_amd64");
    for (path, is_profiled) in
        [(build(release, variant, flags), false), (tools.join("compile"), minor >= 21)]
    {
        let binary = GoBinary::open(File::open(&path).unwrap()).unwrap();
        let found = sites::slice_sites(&binary).unwrap();
        assert_eq!(found.incomplete, None, "Go {release}, {}", path.display());
        let has = |name: &str| found.sites.iter().any(|(site, _)| site.function == name);
        for name in ["growslice", "makeslice", "concatstrings", "slicebytetostring", "gostring"] {
            assert!(has(&format!("runtime.{name}")), "Go {release}, {}: {name}", path.display());
        }
        assert_eq!(has("runtime.concatstring2"), is_profiled, "Go {release}, {}", path.display());
        let boxes = sites::box_sites(&binary).unwrap();
        assert!((6..=7).contains(&boxes.len()), "Go {release}, {}: {boxes:?}", path.display());
        boxes.iter().for_each(|(site, _)| is_cheap(site, minor));
    }
}

/// The functions have what their source has: five ways out (since Go 1.24 one more, by a deferred call), and two.
fn every_return_of_an_assist_is_found(release: &str) {
    let minor: u32 = release.split('.').nth(1).unwrap().parse().unwrap();
    let (variant, flags) = VARIANTS[1];
    let binary = GoBinary::open(File::open(build(release, variant, flags)).unwrap()).unwrap();
    let found = sites::assist_sites(&binary).unwrap();
    let ends = if minor >= 24 { 6 } else { 5 };
    assert_eq!((found.ends.len(), found.marked.len()), (ends, 2), "Go {release}");
    for end in found.ends.iter().chain(&found.marked) {
        assert_eq!((&end.bytes[..], end.emulated), (&[0xc3][..], false), "Go {release}: {end:?}");
    }
    [&found.begin, &found.mark].into_iter().for_each(|site| is_cheap(site, minor));
}

/// A file that ends early is refused, wherever it ends, and never brings the reader down.
#[test]
fn truncated_files_are_refused() {
    let path = build("1.26", "stripped", &["-ldflags=-s -w"]);
    let bytes = std::fs::read(&path).unwrap();
    let cut = tempfile::NamedTempFile::new().unwrap();
    for part in (0..40).map(|i| bytes.len() * i / 40).chain([1, 3, 4, 63, 64, 119, 120, 4096]) {
        std::fs::write(cut.path(), &bytes[..part]).unwrap();
        let result = GoBinary::open(File::open(cut.path()).unwrap());
        // What lies behind the tables (types come last in the file's data) may be missing.
        if let Ok(binary) = result {
            assert!(part > bytes.len() / 2, "opened with {part} of {} bytes", bytes.len());
            assert_eq!(binary.facts().version.map(|v| v.minor), Some(26));
        }
    }
}

/// Go's own compiler is built with a profile: its allocator is inlined in places.
#[test]
fn an_inlined_allocator_is_seen() {
    let open = |release: &str, tool: &str| {
        let tools = go_root(release).join("pkg/tool/linux_amd64");
        GoBinary::open(File::open(tools.join(tool)).unwrap()).unwrap()
    };
    // Go 1.26: mallocgc in newobject and others, refill in nextFree beside a refill of its own.
    let compile = open("1.26", "compile");
    let found = sites::alloc_sites(&compile).unwrap();
    let names: Vec<_> = found.sites.iter().map(|s| s.site.function.as_str()).collect();
    assert!(!names.contains(&"runtime.mallocgc") && names.len() == 5, "{names:?}");
    assert_eq!(found.incomplete, None);
    let refused = sites::span_sites(&compile).unwrap_err().to_string();
    assert!(refused.contains("refill was inlined into runtime.(*mcache).nextFree"), "{refused}");
    // Go 1.27: some size-specialised functions in mallocgc, which then counts what comes through it.
    let found = sites::alloc_sites(&open("1.27", "compile")).unwrap();
    let nested = found.sites.iter().filter(|s| s.nested).count();
    assert_eq!((found.sites.len(), nested, found.incomplete), (15, 14, None));
    assert!(found.mallocgc.is_some() && found.sites.iter().all(|s| s.min_size == 0));
    // Without a profile nothing of it is.
    for release in ["1.26", "1.27"] {
        let cgo = open(release, "cgo");
        let found = sites::alloc_sites(&cgo).unwrap();
        assert_eq!((found.incomplete, found.mallocgc), (None, None), "{release}");
        sites::span_sites(&cgo).unwrap();
    }
}
