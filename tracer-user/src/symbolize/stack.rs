//! Rules that need a whole stack: which addresses count, what they stand for, which frames Go hides.
//!
//! In: return addresses as a frame-pointer walk gives them. Out: addresses of calls, cut where the
//! walk has left the goroutine (facts, section 6), and frames without the wrappers that Go's own
//! profiles leave out. Knows no map and no /proc.

use tracer_common::os::SYSTEM_FRAMES;

use super::SymFrame;
use crate::address::{LoadBias, RuntimeAddr};
use crate::gobin::GoBinary;

/// FuncIDs with a meaning for stacks, read from the binary's own functions: their numbers change with
/// the release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FuncIds {
    pub wrapper: Option<u8>,
    pub gopanic: Option<u8>,
    pub sigpanic: Option<u8>,
    pub panicwrap: Option<u8>,
}

impl FuncIds {
    /// Whether it is a function that starts a panic: then a wrapper that called it is shown.
    pub fn panics(&self, callee: u8) -> bool {
        [self.gopanic, self.sigpanic, self.panicwrap].contains(&Some(callee))
    }
}

/// Where some functions lie: start and end.
type Ranges = Vec<(u64, u64)>;

/// What a stack is judged by; made once for each binary.
#[derive(Clone, Debug)]
pub struct StackRules {
    ids: FuncIds,
    goexit: Option<(u64, u64)>,
    /// Functions whose caller is shown at the very address: it did not call, it was interrupted.
    injected: Ranges,
    /// Functions on g0 beyond which the chain holds another goroutine's frames, or, where a thread
    /// began, whatever its creator left in memory.
    ends: Ranges,
    /// Between C and Go in callbacks; C frames below have no dependable chain.
    crosscall2: Option<(u64, u64)>,
    /// Where a goroutine pretends to be while it is left for a system stack (runtime/asm_amd64.s,
    /// systemstack).
    switch: Option<(u64, u64)>,
}

impl StackRules {
    /// Finds the functions that the rules are about.
    pub fn new(binary: &GoBinary) -> Self {
        let names = [
            "runtime.gopanic",
            "runtime.sigpanic",
            "runtime.panicwrap",
            "runtime.goexit",
            "runtime.asyncPreempt",
            "runtime.debugCallV2",
            "runtime.mcall",
            "runtime.morestack",
            "runtime.mstart",
            "runtime.rt0_go",
            "crosscall2",
            "runtime.systemstack_switch",
        ];
        let found = binary.find_functions(&names);
        let get = |name| names.iter().position(|n| *n == name).and_then(|at| found[at]);
        // 0 means that the function has no number of its own.
        let id = |name| get(name).map(|f| f.func_id).filter(|id| *id != 0);
        let range = |name| get(name).map(|f| (f.entry.0, f.end.0));
        let before = |minor| binary.facts().version.is_some_and(|v| !v.at_least(minor));
        let mut injected = vec![range("runtime.sigpanic")];
        if !before(21) {
            // runtime/traceback.go: up to 1.20 only sigpanic (`waspanic`), then all injected calls.
            injected.extend([range("runtime.asyncPreempt"), range("runtime.debugCallV2")]);
        }
        // Marked TOPFRAME in runtime/asm_amd64.s: Go's own unwinder stops there too.
        let mut ends = vec![range("runtime.mstart"), range("runtime.rt0_go")];
        if before(25) {
            ends.push(range("runtime.mcall"));
        }
        if before(21) {
            ends.push(range("runtime.morestack"));
        }
        Self {
            ids: FuncIds {
                wrapper: binary.wrapper_id(),
                gopanic: id("runtime.gopanic"),
                sigpanic: id("runtime.sigpanic"),
                panicwrap: id("runtime.panicwrap"),
            },
            goexit: range("runtime.goexit"),
            injected: injected.into_iter().flatten().collect(),
            ends: ends.into_iter().flatten().collect(),
            crosscall2: range("crosscall2"),
            switch: range("runtime.systemstack_switch"),
        }
    }

    /// FuncIDs with a meaning.
    pub fn ids(&self) -> FuncIds {
        self.ids
    }

    /// Addresses of the calls of a stack, innermost first: return addresses less one, or as they are
    /// where a signal put a call in between. Ends before `runtime.goexit`, after the functions beyond
    /// which the chain is another goroutine's or nobody's, and behind `crosscall2` with the first address that
    /// `resolves` denies.
    pub fn calls(
        &self,
        returns: &[RuntimeAddr],
        bias: LoadBias,
        mut resolves: impl FnMut(RuntimeAddr) -> bool,
    ) -> Vec<RuntimeAddr> {
        let mut calls = Vec::with_capacity(returns.len());
        let (mut exact, mut in_c) = (false, false);
        for address in returns {
            let call = if exact { *address } else { RuntimeAddr(address.0.wrapping_sub(1)) };
            let at = bias.to_vaddr(call).0;
            let within = |(from, to): &(u64, u64)| (*from..*to).contains(&at);
            // The outermost return address is goexit+1, the call therefore goexit's first byte.
            if self.goexit.as_ref().is_some_and(within) || in_c && !resolves(call) {
                break;
            }
            calls.push(call);
            if self.ends.iter().any(within) {
                break;
            }
            exact = self.injected.iter().any(within);
            in_c |= self.crosscall2.as_ref().is_some_and(within);
        }
        calls
    }

    /// Addresses of the calls of a stack that was interrupted at any instruction, by the binary's own
    /// addresses (`tracer_common::record::STACK_INTERRUPTED`): of the system stack, then of the goroutine behind it. `size`
    /// tells how far above the stack pointer the return address lies at an instruction.
    pub fn calls_interrupted(
        &self,
        kept: &[RuntimeAddr],
        mut size: impl FnMut(RuntimeAddr) -> Option<u32>,
        mut resolves: impl FnMut(RuntimeAddr) -> bool,
    ) -> Vec<RuntimeAddr> {
        let (system, goroutine) = kept.split_at(kept.len().min(SYSTEM_FRAMES));
        let is_behind = system.first().is_some_and(|at| at.0 != 0);
        let mut calls = Vec::with_capacity(kept.len());
        for (part, was_left) in [(system, false), (goroutine, is_behind)] {
            let [at, word, rest @ ..] = part else { continue };
            if at.0 == 0 {
                continue;
            }
            // What was left goes on there; what was interrupted lies before the address.
            let place = if was_left { *at } else { RuntimeAddr(at.0.wrapping_sub(1)) };
            let switch = |(from, to): (u64, u64)| (from..to).contains(&place.0);
            let is_pretence = was_left && self.switch.is_some_and(switch);
            let returns = (!is_pretence).then_some(at).into_iter();
            // A function without a frame has its return address where the stack pointer points.
            let word = (word.0 != 0 && size(place) == Some(0)).then_some(word);
            let rest = rest.iter().take_while(|at| at.0 != 0);
            let returns: Vec<RuntimeAddr> = returns.chain(word).chain(rest).copied().collect();
            calls.extend(self.calls(&returns, LoadBias(0), &mut resolves));
        }
        calls
    }

    /// The frames of one address that Go shows, and the FuncID to pass with the next address of the
    /// same stack. `callee` is that of the frame before, 0 for the innermost. Wrappers are hidden
    /// unless a panic function called them (runtime/traceback.go `elideWrapperCalling`); an address
    /// may so lose all its frames.
    pub fn shown<'a, 'f>(
        &self,
        callee: u8,
        frames: &'a [SymFrame<'f>],
    ) -> (impl Iterator<Item = &'a SymFrame<'f>> + use<'a, 'f>, u8) {
        let ids = self.ids;
        let last = frames.last().map_or(callee, |frame| frame.func_id);
        let callees = std::iter::once(callee).chain(frames.iter().map(|frame| frame.func_id));
        let shown = frames.iter().zip(callees).filter_map(move |(frame, callee)| {
            let wrapper = ids.wrapper == Some(frame.func_id);
            (!wrapper || ids.panics(callee)).then_some(frame)
        });
        (shown, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::VAddr;

    fn rules() -> StackRules {
        StackRules {
            ids: FuncIds { wrapper: Some(23), gopanic: Some(10), ..FuncIds::default() },
            goexit: Some((0x100, 0x110)),
            injected: vec![(0x200, 0x210)],
            ends: vec![(0x300, 0x310)],
            crosscall2: Some((0x400, 0x410)),
            switch: Some((0x800, 0x810)),
        }
    }

    fn calls(returns: &[u64]) -> Vec<u64> {
        let returns: Vec<_> = returns.iter().map(|a| RuntimeAddr(a + 0x1000)).collect();
        let resolves = |a: RuntimeAddr| a.0 < 0x9000;
        let calls = rules().calls(&returns, LoadBias(0x1000), resolves);
        calls.iter().map(|a| a.0 - 0x1000).collect()
    }

    fn frame(function: &'static str, func_id: u8) -> SymFrame<'static> {
        let function = function.into();
        SymFrame {
            function,
            file: "".into(),
            line: 1,
            start_line: 1,
            inlined: false,
            func_id,
            at: VAddr(0),
        }
    }

    #[test]
    fn a_return_address_stands_for_the_call_before_it() {
        assert_eq!(calls(&[0x500, 0x600, 0x101]), [0x4ff, 0x5ff]);
    }

    #[test]
    fn an_interrupted_function_is_shown_where_it_was() {
        assert_eq!(calls(&[0x208, 0x600, 0x700]), [0x207, 0x600, 0x6ff]);
    }

    #[test]
    fn the_scheduler_ends_the_stack() {
        assert_eq!(calls(&[0x500, 0x308, 0x700]), [0x4ff, 0x307]);
    }

    #[test]
    fn c_frames_count_while_they_resolve() {
        assert_eq!(calls(&[0x9999, 0x405, 0x700, 0x9999, 0x700]), [0x9998, 0x404, 0x6ff]);
    }

    /// What is kept of a stack, and what becomes of it; functions from 0x600 on have no frame.
    fn interrupted(system: &[u64], goroutine: &[u64]) -> Vec<u64> {
        let mut kept = system.to_vec();
        kept.resize(SYSTEM_FRAMES, 0);
        kept.extend(goroutine);
        let kept: Vec<_> = kept.into_iter().map(RuntimeAddr).collect();
        let size = |at: RuntimeAddr| Some(if at.0 < 0x600 { 16 } else { 0 });
        let calls = rules().calls_interrupted(&kept, size, |_| true);
        calls.iter().map(|a| a.0).collect()
    }

    #[test]
    fn the_caller_of_a_function_without_a_frame_is_known() {
        assert_eq!(interrupted(&[], &[0x601, 0x501, 0x511]), [0x600, 0x500, 0x510]);
        assert_eq!(interrupted(&[], &[0x600, 0x501, 0x511]), [0x5ff, 0x510]);
        assert_eq!(interrupted(&[], &[0x601, 0, 0x511]), [0x600, 0x510]);
        assert!(interrupted(&[], &[]).is_empty());
        assert!(rules().calls_interrupted(&[], |_| None, |_| true).is_empty());
    }

    #[test]
    fn a_goroutine_comes_behind_the_system_stack_it_was_left_for() {
        // On g0: in a function without a frame, of which another one's; and where it was left.
        let behind = [0x808, 0x77, 0x511];
        assert_eq!(interrupted(&[0x621, 0x521], &behind), [0x620, 0x520, 0x76, 0x510]);
        assert_eq!(interrupted(&[0x521, 0x77], &[0x550, 0x77, 0x511]), [0x520, 0x54f, 0x510]);
        // The scheduler's own frames end where it was called; the goroutine's are there all the same.
        assert_eq!(interrupted(&[0x521, 0, 0x308, 0x999], &[0x550, 0]), [0x520, 0x307, 0x54f]);
    }

    #[test]
    fn wrappers_are_hidden_unless_a_panic_called_them() {
        let rules = rules();
        let frames = [frame("main.(*T).M", 23), frame("main.run", 0)];
        let names = |callee| {
            let (shown, last) = rules.shown(callee, &frames);
            (shown.map(|f| f.function.clone().into_owned()).collect::<Vec<_>>(), last)
        };
        assert_eq!(names(0), (vec!["main.run".to_owned()], 0));
        assert_eq!(names(10).0, ["main.(*T).M", "main.run"]);
        assert_eq!(rules.shown(0, &frames[..1]).0.count(), 0);
        assert_eq!(rules.shown(0, &frames[..1]).1, 23);
        assert_eq!(rules.shown(7, &[]).1, 7);
    }
}
