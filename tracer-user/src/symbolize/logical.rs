//! Stacks as the runtime itself writes them down, shown as its own pprof shows them.
//!
//! In: return addresses from the runtime's profile buckets, innermost first. Where `runtime.Callers`
//! wrote them there is one for each logical frame: a call that is inlined into a function is followed
//! by the place in that function. Where a frame-pointer walk wrote them (block and mutex profiles
//! since Go 1.23) there are only those that really return. Out: places: one for each function that
//! was really called, with what is inlined into it. The rules are those of runtime/pprof (proto.go,
//! protomem.go) and `runtime.CallersFrames` (symtab.go), so that profiles are equal to the last frame.

use std::collections::HashMap;

use super::stack::FuncIds;
use super::{SymFrame, Symbolizer, Unknown};
use crate::address::VAddr;

/// How a stack was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// One address for each logical frame.
    Logical,
    /// Real return addresses, with or without those of logical frames between them.
    Physical,
}

/// One function that was called, and the calls that are inlined into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'a> {
    /// Link-time address of the call.
    pub at: VAddr,
    /// Innermost first, or why there are none.
    pub frames: Result<Vec<&'a SymFrame<'static>>, Unknown>,
}

/// What is known of one return address.
#[derive(Clone, Debug)]
struct Known {
    /// The call that it stands for.
    at: VAddr,
    frames: Result<Vec<SymFrame<'static>>, Unknown>,
    /// Whether `runtime.FuncForPC`, which looks at the address itself, finds a function of the
    /// runtime there.
    runtime: bool,
}

/// Names the stacks of one binary.
pub struct LogicalStacks {
    ids: FuncIds,
    known: HashMap<VAddr, Known>,
}

impl LogicalStacks {
    /// Names all return addresses at once; `ids` are those of the binary's functions.
    pub fn new(
        symbolizer: &Symbolizer,
        ids: FuncIds,
        returns: impl Iterator<Item = VAddr>,
    ) -> Self {
        let mut returns: Vec<VAddr> = returns.collect();
        returns.sort_unstable();
        returns.dedup();
        let binary = symbolizer.binary();
        let call = |pc: VAddr| match binary.function_at(pc) {
            // A return address at the very start of a function is taken for that function's.
            Some(function) if pc > function.entry => VAddr(pc.0 - 1),
            Some(_) => pc,
            None => VAddr(pc.0.wrapping_sub(1)),
        };
        let calls: Vec<VAddr> = returns.iter().map(|pc| call(*pc)).collect();
        let mut known: HashMap<VAddr, Known> = HashMap::with_capacity(returns.len());
        symbolizer.symbolize(&calls, |index, frames| {
            // Code that no Go function is behind is looked up by the return address, too.
            let outside = binary.function_at(returns[index]).is_none();
            let frames = frames.map(|frames| frames.iter().map(SymFrame::to_owned_frame).collect());
            let frames = if outside { Err(Unknown::OutsideGo) } else { frames };
            known.insert(returns[index], Known { at: calls[index], frames, runtime: false });
        });
        // Packages below internal/runtime count since Go 1.24 (protomem.go, `writeHeapProto`).
        let both = binary.facts().version.is_none_or(|v| v.at_least(24));
        let of_runtime = |name: &str| {
            name.starts_with("runtime.") || both && name.starts_with("internal/runtime/")
        };
        symbolizer.symbolize(&returns, |index, frames| {
            let innermost = frames.ok().and_then(|frames| frames.first());
            if let (Some(frame), Some(known)) = (innermost, known.get_mut(&returns[index])) {
                known.runtime = of_runtime(&frame.function);
            }
        });
        Self { ids, known }
    }

    /// Leaves out the runtime's own frames at the inner end, as pprof's heap profile does: unless
    /// there is nothing else.
    pub fn without_runtime<'s>(&self, returns: &'s [VAddr]) -> &'s [VAddr] {
        let runtime = |pc: &VAddr| self.known.get(pc).is_some_and(|known| known.runtime);
        match returns.iter().position(|pc| !runtime(pc)) {
            Some(from) if !self.places(&returns[from..], Written::Logical).is_empty() => {
                &returns[from..]
            }
            _ => returns,
        }
    }

    /// The places of a stack, innermost first, without `runtime.goexit`.
    pub fn places(&self, returns: &[VAddr], written: Written) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        let mut open = Open::default();
        for (index, pc) in returns.iter().enumerate() {
            let rest = &returns[index + 1..];
            let Some(Known { at, frames, .. }) = self.known.get(pc) else { continue };
            let frames = match frames {
                Ok(frames) => frames,
                Err(unknown) => {
                    open.close(&mut places);
                    // `CallersFrames` leaves out what is no Go code.
                    if written == Written::Logical {
                        places.push(Place { at: *at, frames: Err(*unknown) });
                    }
                    continue;
                }
            };
            if open.frames.is_empty() || open.next != Some(*at) {
                open.close(&mut places);
            }
            let shown = self.shown(frames, rest, written);
            open.add(*at, &shown);
            let whole = shown.last().is_none_or(|frame| !frame.inlined);
            open.next = self.parent(shown.last().copied(), frames).filter(|_| !whole);
            if open.next.is_none() {
                open.close(&mut places);
            }
        }
        open.close(&mut places);
        places
    }

    /// The frames that an address stands for: the innermost alone, and what is inlined around it
    /// where no address of its own follows for that.
    fn shown<'a>(
        &self,
        frames: &'a [SymFrame<'static>],
        rest: &[VAddr],
        written: Written,
    ) -> Vec<&'a SymFrame<'static>> {
        let Some(innermost) = frames.first() else { return Vec::new() };
        if !innermost.inlined {
            return vec![innermost];
        }
        let next = match (rest.first(), written) {
            // The last address of a stack that was cut may have lost those that belong to it.
            (None, _) => None,
            (Some(_), Written::Logical) => return vec![innermost],
            (Some(next), Written::Physical) => self.known.get(next).map(|known| known.at),
        };
        let mut shown = vec![innermost];
        let mut callee = innermost.func_id;
        if rest.is_empty() && self.is_hidden(innermost, 0) {
            shown.clear();
        }
        for frame in &frames[1..] {
            if next.is_some_and(|next| next == frame.at) {
                break;
            }
            if !self.is_hidden(frame, callee) {
                shown.push(frame);
            }
            callee = frame.func_id;
        }
        shown
    }

    /// A wrapper, unless a panic function called it (`elideWrapperCalling`).
    fn is_hidden(&self, frame: &SymFrame<'_>, callee: u8) -> bool {
        self.ids.wrapper == Some(frame.func_id) && !self.ids.panics(callee)
    }

    /// The address in the function around `frame` that follows it in a stack of logical frames.
    fn parent(&self, frame: Option<&SymFrame<'_>>, frames: &[SymFrame<'static>]) -> Option<VAddr> {
        let frame = frame?;
        let after = frames.iter().skip_while(|f| f.at != frame.at).skip(1);
        let mut callee = frame.func_id;
        for outer in after {
            if !self.is_hidden(outer, callee) {
                return Some(outer.at);
            }
            callee = outer.func_id;
        }
        None
    }
}

/// A place in the making.
#[derive(Default)]
struct Open<'a> {
    at: VAddr,
    frames: Vec<&'a SymFrame<'static>>,
    /// The call that goes on with it.
    next: Option<VAddr>,
}

impl<'a> Open<'a> {
    fn add(&mut self, at: VAddr, frames: &[&'a SymFrame<'static>]) {
        if self.frames.is_empty() {
            self.at = at;
        }
        self.frames.extend(frames.iter().filter(|f| f.function != "runtime.goexit"));
    }

    fn close(&mut self, places: &mut Vec<Place<'a>>) {
        let frames = std::mem::take(&mut self.frames);
        if !frames.is_empty() {
            places.push(Place { at: self.at, frames: Ok(frames) });
        }
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRAPPER: u8 = 23;

    fn frame(function: &'static str, at: u64, inlined: bool) -> SymFrame<'static> {
        let func_id = if function.ends_with("wrapper") { WRAPPER } else { 0 };
        let (file, line, start_line) = ("".into(), at as u32, 1);
        let at = VAddr(at);
        SymFrame { function: function.into(), file, line, start_line, inlined, func_id, at }
    }

    /// `f` calls `c`, into which `b` is inlined, and into that `a`; `w` goes through a wrapper.
    fn stacks() -> LogicalStacks {
        let a = frame("a", 0x10, true);
        let b = frame("b", 0x20, true);
        let c = frame("c", 0x30, false);
        let w = frame("w.wrapper", 0x60, true);
        let chains = [
            (vec![a, b.clone(), c.clone()], false),
            (vec![b, c.clone()], false),
            (vec![c], false),
            (vec![frame("f", 0x40, false)], false),
            (vec![frame("runtime.goexit", 0x50, false)], true),
            (vec![frame("x", 0x70, true), w, frame("y", 0x80, false)], false),
            (vec![frame("y", 0x80, false)], false),
            (vec![frame("runtime.newobject", 0x90, false)], true),
            (vec![frame("runtime.inlined", 0xa0, true), frame("f", 0x40, false)], true),
        ];
        let known = chains.map(|(frames, runtime)| {
            let at = frames[0].at;
            (VAddr(at.0 + 1), Known { at, frames: Ok(frames), runtime })
        });
        let mut known: HashMap<_, _> = known.into_iter().collect();
        let outside = Known { at: VAddr(0xb0), frames: Err(Unknown::OutsideGo), runtime: false };
        known.insert(VAddr(0xb1), outside);
        LogicalStacks { ids: FuncIds { wrapper: Some(WRAPPER), ..FuncIds::default() }, known }
    }

    fn addresses(calls: &[u64]) -> Vec<VAddr> {
        calls.iter().map(|call| VAddr(call + 1)).collect()
    }

    /// Places as `a+b+c|f`.
    fn shown(calls: &[u64], written: Written) -> String {
        let stacks = stacks();
        let places = stacks.places(&addresses(calls), written);
        let texts = places.iter().map(|place| match &place.frames {
            Ok(frames) => {
                let names: Vec<&str> = frames.iter().map(|f| f.function.as_ref()).collect();
                names.join("+")
            }
            Err(unknown) => unknown.to_string(),
        });
        texts.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn logical_frames_come_together_and_none_is_shown_twice() {
        use Written::Logical;
        assert_eq!(shown(&[0x10, 0x20, 0x30, 0x40, 0x50], Logical), "a+b+c|f");
        assert_eq!(shown(&[0x20, 0x30, 0x40], Logical), "b+c|f", "the inner end is cut off");
        assert_eq!(shown(&[0x30, 0x30, 0x40], Logical), "c|c|f", "recursion");
        assert_eq!(shown(&[0x10, 0x40], Logical), "a|f", "no address is made up");
        assert_eq!(shown(&[0x70, 0x80, 0x40], Logical), "x+y|f", "past a wrapper");
    }

    #[test]
    fn the_last_address_gets_back_what_was_cut_off() {
        use Written::{Logical, Physical};
        assert_eq!(shown(&[0x40, 0x10], Logical), "f|a+b+c");
        assert_eq!(shown(&[0x40, 0x10, 0x20], Logical), "f|a+b+c");
        assert_eq!(shown(&[0x40, 0x70], Logical), "f|x+y");
        assert_eq!(shown(&[0x40, 0x10], Physical), "f|a+b+c");
    }

    #[test]
    fn real_return_addresses_are_expanded_once() {
        use Written::Physical;
        assert_eq!(shown(&[0x10, 0x40, 0x50], Physical), "a+b+c|f");
        assert_eq!(shown(&[0x10, 0x20, 0x30, 0x40], Physical), "a+b+c|f");
        assert_eq!(shown(&[0x10, 0x30, 0x40], Physical), "a+b+c|f");
        assert_eq!(shown(&[0x70, 0x40], Physical), "x+y|f");
    }

    #[test]
    fn what_is_no_go_code() {
        assert_eq!(shown(&[0xb0, 0x40], Written::Logical), "[outside Go code]|f");
        assert_eq!(shown(&[0xb0, 0x40], Written::Physical), "f");
    }

    #[test]
    fn the_runtime_at_the_inner_end_is_left_out_unless_it_is_all() {
        let stacks = stacks();
        let rest = |calls: &[u64]| {
            let addresses = addresses(calls);
            stacks.without_runtime(&addresses).len()
        };
        assert_eq!(rest(&[0x90, 0x30, 0x40, 0x50]), 3);
        assert_eq!(rest(&[0x90, 0xa0, 0x40]), 1);
        assert_eq!(rest(&[0x30, 0x90, 0x40]), 3);
        assert_eq!(rest(&[0x90, 0x90, 0x50]), 3);
        assert_eq!(rest(&[0x90, 0xb0]), 1);
        assert_eq!(rest(&[]), 0);
    }
}
