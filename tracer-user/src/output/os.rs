//! What is told of the kernel's work for a program (probe os) beside its stacks: how much became resident
//! and ceased to be, system calls, what is still mapped and who mapped it, pages by order and node.
//!
//! In: a [`Profile`]. Out: lines of a table, sentences.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::describe::counted;
use super::lines::{self, Paint};
use super::maps::{FINDING, label};
use super::table::Style;
use super::text::{bytes, grouped, nanoseconds, printable, share};
use crate::profile::{
    BRK_CALLS, BRK_SPACE, Frame, FrameId, FrameKind, LabelValue, MADVISE_CALLS, MADVISE_SPACE,
    MAPPED_SPACE, MMAP_CALLS, MMAP_SPACE, MREMAP_CALLS, MREMAP_SPACE, MUNMAP_CALLS, MUNMAP_SPACE,
    PAGES_SPACE, PAGES_TAKEN, Profile, RELEASED_SPACE, RESIDENT_GROWTH, SPAN_CALLS,
    SPAN_KERNEL_TIME, SPAN_TIME, Sample, ValueType,
};

/// Labels of samples: kind of pages, who did it, advice, whether the call failed, order and node.
pub const PAGES: &str = "pages";
pub const BY: &str = "by";
pub const ADVICE: &str = "advice";
pub const FAILED_CALL: &str = "failed";
pub const ORDER: &str = "order";
pub const NODE: &str = "node";
pub const IN: &str = "in";

/// Callers that are named with a function.
const CALLERS: usize = 2;
/// Findings that are told; others are counted.
const TOLD: usize = 5;

/// Who has mapped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Runtime,
    C,
    Program,
}

impl Who {
    fn word(self) -> &'static str {
        match self {
            Who::Runtime => "the Go runtime",
            Who::C => "C code",
            Who::Program => "the program by system calls of its own",
        }
    }
}

/// Who a sample's stack says has asked for memory: the runtime for itself, C code, or the program.
fn who(profile: &Profile, sample: &Sample) -> Who {
    let mut frames = profile.frames(sample).peekable();
    let is_native = frames.peek().is_some_and(|f| f.kind == FrameKind::Native);
    let mut frames = frames
        .skip_while(|f| matches!(f.kind, FrameKind::Native | FrameKind::Unknown))
        .map(|f| (f.kind, profile.names.text(f.function)))
        .peekable();
    if is_native {
        // The runtime of a program with C code maps through C too (runtime/cgo_mmap.go).
        let is_called = |name: &str| matches!(name, "runtime.cgocall" | "runtime.asmcgocall");
        let of_runtime =
            |(kind, name): &(FrameKind, &str)| *kind == FrameKind::Runtime && !is_called(name);
        return if frames.peek().is_some_and(of_runtime) { Who::Runtime } else { Who::C };
    }
    // Its functions for memory (runtime/mem.go, mem_linux.go); what it offers to others is in packages
    // of their own.
    let of_runtime = |name: &str| {
        name.starts_with("runtime.sys")
            || matches!(name, "runtime.mmap" | "runtime.munmap" | "runtime.madvise")
    };
    if frames.any(|(_, name)| of_runtime(name)) { Who::Runtime } else { Who::Program }
}

/// A sum of samples.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    calls: u64,
    bytes: u64,
}

impl Sum {
    fn told(self, what: &str) -> String {
        format!("{} ({})", counted(self.calls, what), bytes(self.bytes))
    }
}

/// Values by what a label says.
struct By<'a> {
    profile: &'a Profile,
    calls: Option<usize>,
    bytes: usize,
}

impl<'a> By<'a> {
    fn new(profile: &'a Profile, calls: Option<ValueType>, of: ValueType) -> Option<Self> {
        let calls = calls.and_then(|calls| profile.value_of_kind(calls));
        Some(Self { profile, calls, bytes: profile.value_of_kind(of)? })
    }

    fn of(&self, sample: &Sample) -> Sum {
        let calls = self.calls.map_or(0, |calls| sample.value(calls));
        Sum { calls, bytes: sample.value(self.bytes) }
    }

    /// Sums by a label's value, those without it under the empty text; the largest first.
    fn label(&self, key: &str) -> Vec<(String, Sum)> {
        let key = self.profile.names.get(key);
        let mut sums: HashMap<String, Sum> = HashMap::new();
        for sample in &self.profile.samples {
            let of = self.of(sample);
            if of.calls == 0 && of.bytes == 0 {
                continue;
            }
            let label = sample.labels.iter().find(|label| Some(label.key) == key);
            let text = label.map_or_else(String::new, |label| match label.value {
                LabelValue::Text(text) => self.profile.names.text(text).to_owned(),
                LabelValue::Number(number) => number.to_string(),
            });
            let sum = sums.entry(text).or_default();
            (sum.calls, sum.bytes) = (sum.calls + of.calls, sum.bytes + of.bytes);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|(a, x), (b, y)| (y.bytes, y.calls, a).cmp(&(x.bytes, x.calls, b)));
        sums
    }

    fn all(&self) -> Sum {
        self.profile.samples.iter().map(|sample| self.of(sample)).fold(Sum::default(), |sum, of| {
            Sum { calls: sum.calls + of.calls, bytes: sum.bytes + of.bytes }
        })
    }
}

/// Writes what all stacks have in common, if the probe was on.
pub(super) fn sections(profile: &Profile, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let Some(grown) = By::new(profile, None, RESIDENT_GROWTH) else { return Ok(()) };
    let mut rows: Vec<(&str, String)> = Vec::new();
    let kinds = |by: &By| {
        let parts =
            by.label(PAGES).into_iter().map(|(kind, sum)| format!("{kind} {}", bytes(sum.bytes)));
        let parts: Vec<String> = parts.collect();
        match parts.is_empty() {
            true => "by nothing".to_owned(),
            false => format!("by {}: {}", bytes(by.all().bytes), parts.join(", ")),
        }
    };
    rows.push(("grew", kinds(&grown)));
    if let Some(released) = By::new(profile, None, RELEASED_SPACE) {
        rows.push(("shrank", kinds(&released)));
        let (more, less) = (grown.all().bytes, released.all().bytes);
        let change = match more >= less {
            true => format!("{} more at the end than at the beginning", bytes(more - less)),
            false => format!("{} less at the end than at the beginning", bytes(less - more)),
        };
        rows.push(("resident", change));
    }
    let calls = [
        ("mmap", MMAP_CALLS, MMAP_SPACE),
        ("munmap", MUNMAP_CALLS, MUNMAP_SPACE),
        ("madvise", MADVISE_CALLS, MADVISE_SPACE),
        ("mremap", MREMAP_CALLS, MREMAP_SPACE),
        ("brk", BRK_CALLS, BRK_SPACE),
    ];
    for (name, calls, space) in calls {
        let Some(by) = By::new(profile, Some(calls), space) else { continue };
        let sum = by.all();
        if sum.calls == 0 {
            continue;
        }
        let mut text = sum.told("call");
        let advice: Vec<String> = (by.label(ADVICE).into_iter())
            .filter(|(advice, _)| !advice.is_empty())
            .map(|(advice, sum)| format!("{advice} {}", sum.told("call")))
            .collect();
        if !advice.is_empty() {
            text.push_str(&format!(": {}", advice.join(", ")));
        }
        let failed = by.label(FAILED_CALL).into_iter().find(|(failed, _)| !failed.is_empty());
        if let Some((_, sum)) = failed {
            text.push_str(&format!("; {} failed", grouped(sum.calls)));
        }
        rows.push((name, text));
    }
    if let Some(by) = By::new(profile, None, MAPPED_SPACE) {
        let mut sums: BTreeMap<Who, u64> = BTreeMap::new();
        for sample in &profile.samples {
            let left = by.of(sample).bytes;
            if left > 0 {
                *sums.entry(who(profile, sample)).or_default() += left;
            }
        }
        let parts: Vec<String> =
            sums.iter().map(|(who, sum)| format!("{} by {}", bytes(*sum), who.word())).collect();
        if !parts.is_empty() {
            rows.push(("still mapped", parts.join(", ")));
        }
    }
    if let Some(by) = By::new(profile, Some(PAGES_TAKEN), PAGES_SPACE) {
        let mut orders = by.label(ORDER);
        orders.sort_by_key(|(order, _)| order.parse::<u64>().unwrap_or(u64::MAX));
        let told = |(of, sum): &(String, Sum)| {
            format!("{} of order {of} ({})", grouped(sum.calls), bytes(sum.bytes))
        };
        let mut text = orders.iter().map(told).collect::<Vec<_>>().join(", ");
        let nodes = by.label(NODE);
        if nodes.len() > 1 {
            let told = |(node, sum): &(String, Sum)| format!("node {node} {}", bytes(sum.bytes));
            let nodes = nodes.iter().map(told).collect::<Vec<_>>().join(", ");
            text.push_str(&format!("; by CPUs of {nodes}"));
        }
        if !orders.is_empty() {
            rows.push(("pages taken", text));
        }
    }
    rows.extend(spans(profile).map(|text| ("spans", text)));
    writeln!(out)?;
    writeln!(out, "{}", lines::paint("what the kernel did", Paint::Dim, style))?;
    for (name, text) in rows {
        lines::wrapped(out, style, &text, &format!("  {name:13}"), Paint::Plain)?;
    }
    Ok(())
}

/// How long spans took to get, and how much of that in the kernel.
fn spans(profile: &Profile) -> Option<String> {
    let all = By::new(profile, Some(SPAN_CALLS), SPAN_TIME)?.all();
    let kernel = By::new(profile, None, SPAN_KERNEL_TIME)?;
    if all.calls == 0 {
        return Some("none came from the page heap".to_owned());
    }
    let told = |(of, sum): &(String, Sum)| {
        format!("{} ({}) in {of}", share(sum.bytes, all.bytes), nanoseconds(sum.bytes))
    };
    let parts: Vec<String> = kernel.label(IN).iter().map(told).collect();
    let kernel = match parts.is_empty() {
        true => "no time".to_owned(),
        false => parts.join(", "),
    };
    let count = counted(all.calls, "span");
    Some(format!(
        "{count} from the page heap took {}, of it the kernel {kernel}; the rest is the runtime's, and \
         waiting for a CPU",
        nanoseconds(all.bytes)
    ))
}

/// Who has mapped memory and not unmapped it, but for the runtime, as sentences.
pub fn findings(profile: &Profile) -> Vec<String> {
    let Some(left) = profile.value_of_kind(MAPPED_SPACE) else { return Vec::new() };
    let mut own = profile.clone();
    own.samples.retain(|sample| sample.value(left) > 0 && who(profile, sample) != Who::Runtime);
    let ranking = own.ranked(left);
    let mut found: Vec<(u64, String)> = Vec::new();
    for one in &ranking.stacks {
        let sum = one.values[left];
        let frames = one.frames.iter().map(|id: &FrameId| ranking.frame(*id));
        // Who asked for it is the program's own function, where there is one.
        let is_own = |frame: &Frame| {
            let name = profile.names.text(frame.function);
            frame.kind == FrameKind::Program && !name.contains("._Cfunc_")
        };
        let own = frames.clone().skip_while(|frame| !is_own(frame));
        let text = match own.clone().next() {
            Some(_) => chain(profile, own),
            None => chain(profile, frames),
        };
        let text = format!("{text} mapped {} and did not unmap it", bytes(sum));
        found.push((sum, text));
    }
    found.sort_by_key(|(sum, _)| Reverse(*sum));
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    let mut texts: Vec<String> =
        found.into_iter().map(|(_, text)| format!("{FINDING}{text}")).collect();
    if more > 0 {
        texts.push(format!(
            "{FINDING}{} more did not unmap what they mapped",
            counted(more as u64, "stack")
        ));
    }
    texts
}

/// A function, where it is, and who called it.
fn chain<'a>(profile: &Profile, frames: impl Iterator<Item = &'a Frame> + Clone) -> String {
    let callers = frames.clone().skip(1).take(CALLERS);
    let callers =
        callers.map(|frame| format!(" ← {}", printable(profile.names.text(frame.function))));
    format!("{}{}", label(profile, frames), callers.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Source;
    use crate::profile::build::Build;

    const VALUES: [ValueType; 9] = [
        RESIDENT_GROWTH,
        RELEASED_SPACE,
        MAPPED_SPACE,
        MMAP_CALLS,
        MMAP_SPACE,
        MADVISE_CALLS,
        MADVISE_SPACE,
        PAGES_TAKEN,
        PAGES_SPACE,
    ];

    fn profile() -> Profile {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.values(&VALUES, 0);
        let runtime = ["runtime.sysMmap", "runtime.sysReserve", "runtime.mallocgc", "main.fill"];
        let own = ["internal/runtime/syscall.Syscall6", "syscall.Mmap", "main.(*Cache).grow"];
        for (stack, values) in [
            (&["main.fill", "main.main"][..], [8 << 20, 0, 0, 0, 0, 0, 0, 0, 0]),
            (&runtime, [0, 0, 4 << 20, 1, 4 << 20, 0, 0, 0, 0]),
            (&own, [0, 0, 3 << 20, 2, 6 << 20, 0, 0, 0, 0]),
            (&own, [0, 0, 0, 1, 0, 0, 0, 0, 0]),
            (&["runtime.madvise", "runtime.sysUnused"], [0, 0, 0, 0, 0, 5, 1 << 20, 0, 0]),
            (&["main.fill"], [0, 1 << 20, 0, 0, 0, 0, 0, 0, 0]),
            (&["main.fill"], [0, 0, 0, 0, 0, 0, 0, 7, 7 << 12]),
            (&["main.fill"], [0, 0, 0, 0, 0, 0, 0, 2, 2 << 21]),
        ] {
            build.stack(process, stack, 0, 0).valued(&values);
            match values {
                [grown, released, ..] if grown + released > 0 => build.text(PAGES, "anonymous"),
                [.., 7, _] => build.label(ORDER, 0).label(NODE, 0),
                [.., 2, _] => build.label(ORDER, 9).label(NODE, 1),
                [_, _, 0, 1, ..] => build.label(FAILED_CALL, 1),
                [_, _, _, _, _, 5, ..] => build.text(ADVICE, "MADV_DONTNEED"),
                _ => &mut build,
            };
        }
        build.done()
    }

    #[test]
    fn what_all_stacks_have_in_common_is_told() {
        let mut out = Vec::new();
        let style = Style { width: 120, ..Style::default() };
        sections(&profile(), style, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for wanted in [
            "grew         by 8.0 MiB: anonymous 8.0 MiB",
            "resident     7.0 MiB more at the end",
            "mmap         4 calls (10.0 MiB); 1 failed",
            "madvise      5 calls (1.0 MiB): MADV_DONTNEED 5 calls (1.0 MiB)",
            "4.0 MiB by the Go runtime, 3.0 MiB by the program by system calls of its own",
            "7 of order 0 (28.0 KiB), 2 of order 9 (4.0 MiB); by CPUs of node 1 4.0 MiB, node 0",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        let mut out = Vec::new();
        sections(&crate::output::sample::server(), style, &mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn who_maps_and_does_not_unmap_is_named() {
        let found = findings(&profile());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("finding: main.(*Cache).grow"), "{found:?}");
        assert!(found[0].ends_with("mapped 3.0 MiB and did not unmap it"), "{found:?}");
        assert!(findings(&crate::output::sample::server()).is_empty());
    }
}
