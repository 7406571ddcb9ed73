//! Walks the stack of a goroutine that does not run, by the function table's frame sizes.
//!
//! In: where a goroutine stopped, and parts of its stack. Out: its return addresses, innermost first,
//! as Go's own unwinder finds them (runtime/traceback.go, `unwinder`; up to Go 1.20 `gentraceback`).
//! Frame pointers are not needed and not asked. Reads no memory: it says which part it needs next.

use crate::address::{LoadBias, RuntimeAddr};
use crate::gobin::{AddressTable, GoBinary};

/// Bits of `internal/abi.FuncFlag`: the outermost function of a stack; one that moves the stack
/// pointer in ways that its table does not tell.
const TOP_FRAME: u8 = 1;
const WRITES_SP: u8 = 2;

/// Entries of the cache of addresses; a program has some thousand places where goroutines wait.
const CACHED: usize = 1 << 13;

/// What there is to know of an address in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a function whose return address lies this many bytes above the stack pointer.
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
    decoded: AddressTable,
    cache: Vec<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    pc: u64,
    place: Place,
    /// Whether a function begins there.
    is_entry: bool,
}

impl<'a> Frames<'a> {
    pub fn new(go: &'a GoBinary, bias: LoadBias) -> Self {
        let cgocallback = go.find_function("runtime.cgocallback").map(|f| f.index);
        // No code lies at 0.
        let cache = vec![Known { pc: 0, place: Place::Nowhere, is_entry: false }; CACHED];
        Self { go, bias, cgocallback, decoded: AddressTable::default(), cache }
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
        Known { pc: pc.0, place, is_entry: entry.is_some_and(|(_, entry)| entry == at) }
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
    /// End of the stack.
    end: u64,
    in_syscall: bool,
}

impl Walk {
    /// Begins where a goroutine stopped; nothing when that is outside of its stack.
    pub fn new(
        pc: RuntimeAddr,
        sp: RuntimeAddr,
        stack: (RuntimeAddr, RuntimeAddr),
        in_syscall: bool,
    ) -> Option<Self> {
        let inside = stack.0 <= sp && sp < stack.1 && sp.0.is_multiple_of(8);
        let walk = Self { pcs: Vec::new(), pc, sp: sp.0, end: stack.1.0, in_syscall };
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
            let Some(pc) = word(self.sp) else { return Step::Needs(RuntimeAddr(self.sp)) };
            (self.pc, self.sp, self.in_syscall) = (pc, self.sp.saturating_add(8), false);
        }
        loop {
            let innermost = self.pcs.is_empty();
            let known = frames.at(self.pc, self.in_syscall && innermost);
            let next = match known.place {
                Place::Nowhere => return Step::Broken,
                Place::Foreign => return Step::Whole,
                Place::Last => None,
                Place::Frame(size) => {
                    let slot = self.sp.saturating_add(u64::from(size));
                    let Some(above) = slot.checked_add(8).filter(|above| *above <= self.end) else {
                        return Step::Broken;
                    };
                    let Some(pc) = word(slot) else { return Step::Needs(RuntimeAddr(slot)) };
                    Some((pc, above))
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
                Some((pc, sp)) => (self.pc, self.sp) = (pc, sp),
            }
        }
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
            let mut walk = Walk::new(RuntimeAddr(pc), RuntimeAddr(top), all, false).unwrap();
            let mut frames = Frames::new(&go, LoadBias(0));
            let step = walk.on(&first.to_le_bytes(), RuntimeAddr(top), &mut frames, 10);
            assert!(matches!(step, Step::Broken | Step::Whole), "{pc:#x}: {step:?}");
        }
    }
}
