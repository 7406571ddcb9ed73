//! Walks the stack of a goroutine that does not run, by the function table's frame sizes.
//!
//! In: where a goroutine stopped, and parts of its stack. Out: its return addresses, innermost first,
//! as Go's own unwinder finds them (runtime/traceback.go, `unwinder`; up to Go 1.20 `gentraceback`).
//! Frame pointers are not needed and not asked. Reads no memory: it says which part it needs next.
//!
//! On amd64 a call pushes its return address, which lies above the frame of what is called. On arm64 it stays in
//! a register, and the one who is called stores it at the low end of its frame, if it makes one.

use crate::address::{LoadBias, RuntimeAddr};
use crate::gobin::{AddressTable, GoBinary, Machine};

/// Bits of `internal/abi.FuncFlag`: the outermost function of a stack; one that moves the stack
/// pointer in ways that its table does not tell.
const TOP_FRAME: u8 = 1;
const WRITES_SP: u8 = 2;

/// Entries of the cache of addresses; a program has some thousand places where goroutines wait.
const CACHED: usize = 1 << 13;

/// What there is to know of an address in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a function whose frame has this many bytes: on amd64 its return address lies above.
    Frame(u32),
    /// In a function that nothing called, or that what called can't be told of.
    Last,
    /// In a function without frame sizes, which Go does not show and does not walk beyond.
    Foreign,
    /// In no function, or where its table tells of no frame.
    Nowhere,
}

/// Frame sizes of a program, with those that were asked for before at hand.
pub struct Frames<'a> {
    go: &'a GoBinary,
    bias: LoadBias,
    /// Writes the stack pointer and can be walked beyond all the same.
    cgocallback: Option<u32>,
    /// Those that the runtime has a signal call in the middle of a function (traceback.go, injectedCall).
    injected: [Option<u32>; 3],
    /// Return addresses are left in a register.
    links: bool,
    decoded: AddressTable,
    cache: Vec<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    pc: u64,
    place: Place,
    /// Whether a function begins there.
    is_entry: bool,
    is_injected: bool,
}

impl<'a> Frames<'a> {
    pub fn new(go: &'a GoBinary, bias: LoadBias) -> Self {
        let names = [
            "runtime.cgocallback",
            "runtime.asyncPreempt",
            "runtime.sigpanic",
            "runtime.debugCallV2",
        ];
        let mut found = go.find_functions(&names).into_iter().map(|f| f.map(|f| f.index));
        let mut next = || found.next().flatten();
        let (cgocallback, injected) = (next(), [next(), next(), next()]);
        let links = go.machine() == Machine::Arm64;
        // No code lies at 0.
        let none = Known { pc: 0, place: Place::Nowhere, is_entry: false, is_injected: false };
        let cache = vec![none; CACHED];
        Self { go, bias, cgocallback, injected, links, decoded: AddressTable::default(), cache }
    }

    /// How far above the stack pointer the return address lies at an instruction; nothing where that is
    /// not known.
    pub fn size(&mut self, pc: RuntimeAddr) -> Option<u32> {
        match self.at(pc, false).place {
            Place::Frame(size) => Some(size),
            _ => None,
        }
    }

    fn at(&mut self, pc: RuntimeAddr, in_syscall: bool) -> Known {
        if in_syscall {
            return self.look_up(pc, true);
        }
        let slot = (pc.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % CACHED;
        if self.cache[slot].pc != pc.0 {
            self.cache[slot] = self.look_up(pc, false);
        }
        self.cache[slot]
    }

    fn look_up(&mut self, pc: RuntimeAddr, in_syscall: bool) -> Known {
        let at = self.bias.to_vaddr(pc);
        let entry = self.go.table().index_of(at).and_then(|i| Some((i, self.go.table().entry(i)?)));
        let place = entry.map_or(Place::Nowhere, |(index, entry)| {
            self.place(index, at.0.saturating_sub(entry.0) as u32, in_syscall)
        });
        let is_injected = entry.is_some_and(|(index, _)| self.injected.contains(&Some(index)));
        let is_entry = entry.is_some_and(|(_, entry)| entry == at);
        Known { pc: pc.0, place, is_entry, is_injected }
    }

    /// What lies at an offset in function `index`. A stack pointer that is written in a system call is
    /// written after its place was kept (`entersyscall`).
    fn place(&mut self, index: u32, offset: u32, in_syscall: bool) -> Place {
        let table = self.go.table();
        let Some(record) = table.details(index) else { return Place::Nowhere };
        if record.frame_table == 0 {
            return Place::Foreign;
        }
        let writes_sp =
            record.flags & WRITES_SP != 0 && !in_syscall && self.cgocallback != Some(index);
        if record.flags & TOP_FRAME != 0 || writes_sp {
            return Place::Last;
        }
        let Some(data) = table.address_table(record.frame_table) else { return Place::Nowhere };
        let sound = self.decoded.decode(data, table.header.quantum, table.size_of(index));
        match (sound, u32::try_from(self.decoded.value(offset))) {
            (Some(()), Ok(size)) => Place::Frame(size),
            _ => Place::Nowhere,
        }
    }
}

/// Where a walk has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The word at this address is needed.
    Needs(RuntimeAddr),
    /// The outermost frame was reached.
    Whole,
    /// As many frames as were allowed.
    Cut,
    /// What should be a frame is none: the stack changed while it was read, or is damaged.
    Broken,
}

/// A walk under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Return addresses: less one they are inside of the calls. The first is that of the next
    /// instruction. For one at which a function begins (nothing of it has run; what C calls back, up
    /// to Go 1.20) it is that of the second byte, so that less one it is in that function too.
    pub pcs: Vec<RuntimeAddr>,
    pc: RuntimeAddr,
    sp: u64,
    /// Where a function without a frame returns to, if that is known; else 0.
    link: RuntimeAddr,
    /// End of the stack.
    end: u64,
    in_syscall: bool,
}

impl Walk {
    /// Begins where a goroutine stopped, with what was in the register of return addresses, if the machine has
    /// one; nothing when that is outside of its stack.
    pub fn new(
        pc: RuntimeAddr,
        (sp, link): (RuntimeAddr, RuntimeAddr),
        stack: (RuntimeAddr, RuntimeAddr),
        in_syscall: bool,
    ) -> Option<Self> {
        let inside = stack.0 <= sp && sp < stack.1 && sp.0.is_multiple_of(8);
        let walk = Self { pcs: Vec::new(), pc, sp: sp.0, link, end: stack.1.0, in_syscall };
        inside.then_some(walk)
    }

    /// Goes as far as `part`, the stack from `at` on, reaches.
    pub fn on(&mut self, part: &[u8], at: RuntimeAddr, frames: &mut Frames, most: usize) -> Step {
        let word = |address: u64| {
            let from = usize::try_from(address.checked_sub(at.0)?).ok()?;
            let bytes = part.get(from..from.checked_add(8)?)?;
            Some(RuntimeAddr(u64::from_le_bytes(bytes.try_into().ok()?)))
        };
        // A call through a nil function: its caller's frame is the innermost.
        if self.pc.0 == 0 && self.pcs.is_empty() {
            let pushed = if frames.links { 0 } else { 8 };
            if frames.links && self.link.0 != 0 {
                self.pc = std::mem::replace(&mut self.link, RuntimeAddr(0));
            } else {
                let Some(pc) = word(self.sp) else { return Step::Needs(RuntimeAddr(self.sp)) };
                self.pc = pc;
            }
            (self.sp, self.in_syscall) = (self.sp.saturating_add(pushed), false);
        }
        loop {
            let innermost = self.pcs.is_empty();
            let known = frames.at(self.pc, self.in_syscall && innermost);
            let next = match known.place {
                Place::Nowhere => return Step::Broken,
                Place::Foreign => return Step::Whole,
                Place::Last => None,
                Place::Frame(size) if frames.links => {
                    match self.above(size, known, frames, &word) {
                        Ok(next) => Some(next),
                        Err(step) => return step,
                    }
                }
                Place::Frame(size) => {
                    let slot = self.sp.saturating_add(u64::from(size));
                    let Some(above) = slot.checked_add(8).filter(|above| *above <= self.end) else {
                        return Step::Broken;
                    };
                    let Some(pc) = word(slot) else { return Step::Needs(RuntimeAddr(slot)) };
                    Some((pc, above, RuntimeAddr(0)))
                }
            };
            if self.pcs.len() == most {
                return Step::Cut;
            }
            let entered = u64::from(known.is_entry);
            self.pcs.push(RuntimeAddr(self.pc.0.wrapping_add(entered)));
            match next {
                None => return Step::Whole,
                // Each frame lies above the one before: a walk ends.
                Some((pc, sp, link)) => (self.pc, self.sp, self.link) = (pc, sp, link),
            }
        }
    }

    /// Where what left its return address in a register returns to, the stack pointer there, and what was in that
    /// register, if a signal saved it.
    fn above(
        &self,
        size: u32,
        known: Known,
        frames: &mut Frames,
        word: &impl Fn(u64) -> Option<RuntimeAddr>,
    ) -> Result<(RuntimeAddr, u64, RuntimeAddr), Step> {
        let read = |at: u64| word(at).ok_or(Step::Needs(RuntimeAddr(at)));
        let above = self.sp.saturating_add(u64::from(size));
        if above > self.end.saturating_sub(8) {
            return Err(Step::Broken);
        }
        // Without a frame it is in the register, or has been stored there by who called on (gosave…).
        let pc = if size == 0 && self.link.0 != 0 { self.link } else { read(self.sp)? };
        if size == 0 && self.link.0 == 0 && !self.pcs.is_empty() {
            return Err(Step::Broken);
        }
        if !known.is_injected {
            return Ok((pc, above, RuntimeAddr(0)));
        }
        // The signal has stored the register in 16 bytes of its own, before it set it to the place of the call.
        let saved = read(above)?;
        let above = above.checked_add(16).filter(|above| *above <= self.end).ok_or(Step::Broken)?;
        let has_frame = matches!(frames.at(pc, false).place, Place::Frame(1..));
        Ok((pc, above, if has_frame { RuntimeAddr(0) } else { saved }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::fake::{Fake, MAIN, open};

    #[test]
    fn a_stack_at_the_end_of_the_address_space_is_walked_to_it() {
        let go = open(&Fake::new().bytes).unwrap();
        let top = u64::MAX - 7;
        for (pc, first) in [(0, MAIN + 4), (MAIN + 4, MAIN + 4), (MAIN + 0x48, 0)] {
            let all = (RuntimeAddr(0), RuntimeAddr(u64::MAX));
            let mut walk =
                Walk::new(RuntimeAddr(pc), (RuntimeAddr(top), RuntimeAddr(0)), all, false).unwrap();
            let mut frames = Frames::new(&go, LoadBias(0));
            let step = walk.on(&first.to_le_bytes(), RuntimeAddr(top), &mut frames, 10);
            assert!(matches!(step, Step::Broken | Step::Whole), "{pc:#x}: {step:?}");
        }
    }

    #[test]
    fn a_register_keeps_the_return_address_of_who_calls_nobody() {
        const SP: u64 = 0x1000;
        let go = open(&Fake::new().patched(18, &[183, 0])).unwrap();
        let stack: Vec<u8> = [5, 6, 7, 8].iter().flat_map(|at| (MAIN + at).to_le_bytes()).collect();
        let all = (RuntimeAddr(SP), RuntimeAddr(SP + 0x100));
        let walk = |pc: u64, link: u64| {
            let from = (RuntimeAddr(SP), RuntimeAddr(link));
            let mut walk = Walk::new(RuntimeAddr(pc), from, all, false).unwrap();
            let mut frames = Frames::new(&go, LoadBias(0));
            let step = walk.on(&stack, RuntimeAddr(SP), &mut frames, 3);
            assert_eq!(step, Step::Cut);
            walk.pcs.iter().map(|pc| pc.0 - MAIN).collect::<Vec<_>>()
        };
        // Frames of 8 bytes, each with its return address at the low end.
        assert_eq!(walk(MAIN + 4, 0), [4, 5, 6]);
        assert_eq!(walk(MAIN + 4, MAIN + 9), [4, 5, 6]);
        // A call of nothing: who called is in the register, or was stored.
        assert_eq!(walk(0, MAIN + 9), [9, 5, 6]);
        assert_eq!(walk(0, 0), [5, 5, 6]);
    }
}
