//! Address to frames: function, file, line, inlined calls, or the reason why not.
//!
//! In: link-time addresses and an opened binary. Out: frames as `runtime.CallersFrames` gives them,
//! innermost first, or [`Unknown`]. [`Symbolizer`] names Go code, [`native`] C code and shared
//! libraries, [`stack`] holds the rules that need a whole stack, [`logical`] those of stacks that the
//! runtime itself has written down, [`kind`] tells whose code a frame is.
//! Knows no process, no kernel map and no output format.

pub mod kind;
pub mod logical;
pub mod native;
pub mod stack;

use std::borrow::Cow;
use std::sync::Arc;

use crate::address::VAddr;
use crate::gobin::{AddressTable, GoBinary, InlineTrees, Record};
use crate::profile::FrameKind;

/// Deepest nesting of inlined calls followed; the compiler's own limit is far lower.
const MAX_INLINED: usize = 256;
/// Table entries decoded for each address asked for, beyond a few times all tables of the binary: a
/// hostile binary could make every function use one endless table.
const STEPS_PER_ADDRESS: u64 = 4096;

/// Why an address has no frames. Reads as the name of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Unknown {
    #[error("[outside Go code]")]
    OutsideGo,
    #[error("[damaged function table]")]
    DamagedTable,
    #[error("[function table overwritten]")]
    Overwritten,
    #[error("[damaged inline tree]")]
    DamagedInlineTree,
    #[error("[inlined call of an unknown Go release]")]
    UnknownRelease,
    #[error("[no symbol]")]
    NoSymbol,
    #[error("[no symbol table]")]
    NoSymbolTable,
    #[error("[outside the file's code]")]
    NotInFile,
    #[error("[file can't be read]")]
    Unreadable,
}

/// One logical frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymFrame<'a> {
    /// As Go's own profiles have it, since Go 1.21 with type arguments: `main.F[go.shape.int]`,
    /// `main.(*T).Run.func1`. Earlier linkers write `main.F[...]`.
    pub function: Cow<'a, str>,
    /// Path as the compiler recorded it; empty when unknown.
    pub file: Cow<'a, str>,
    /// 0 when unknown.
    pub line: u32,
    /// Line of the function's declaration; 0 when unknown (always up to Go 1.19).
    pub start_line: u32,
    /// Whether it was inlined into the next frame.
    pub inlined: bool,
    /// `internal/abi.FuncID`; see [`stack::FuncIds`].
    pub func_id: u8,
    /// What file and line are of: the address that was asked for or, of a frame that others were
    /// inlined into, the place of the inlined call.
    pub at: VAddr,
}

impl SymFrame<'_> {
    /// The same, outliving the tables that it was read from.
    pub fn to_owned_frame(&self) -> SymFrame<'static> {
        SymFrame {
            function: self.function.to_string().into(),
            file: self.file.to_string().into(),
            ..*self
        }
    }
}

/// Names addresses of one Go binary.
#[derive(Clone, Debug)]
pub struct Symbolizer {
    binary: Arc<GoBinary>,
    kinds: kind::Kinds,
}

impl Symbolizer {
    pub fn new(binary: Arc<GoBinary>) -> Self {
        let facts = binary.facts();
        let kinds = kind::Kinds::new(facts.main_module.as_deref());
        Self { binary, kinds }
    }

    /// The binary whose addresses these are.
    pub fn binary(&self) -> &Arc<GoBinary> {
        &self.binary
    }

    /// Whose code a Go frame is. C functions that Go's own linker put in have a name in the function
    /// table, and neither package nor file.
    pub fn kind(&self, frame: &SymFrame) -> FrameKind {
        if frame.file.is_empty() && kind::package(&frame.function).is_empty() {
            return FrameKind::Native;
        }
        self.kinds.of(&frame.function)
    }

    /// Names addresses, calling `each` once for every one with its position in `addresses`, in no
    /// particular order.
    ///
    /// An address is that of the call: a return address less one ([`stack`] tells when). Many at
    /// once are cheap: each function's tables are decoded once. A range of code without line
    /// information gets the function with line 0.
    pub fn symbolize(
        &self,
        addresses: &[VAddr],
        mut each: impl FnMut(usize, Result<&[SymFrame<'_>], Unknown>),
    ) {
        let table = self.binary.table();
        let mut order: Vec<(VAddr, usize)> =
            addresses.iter().enumerate().map(|(i, address)| (*address, i)).collect();
        order.sort_unstable();
        let budget = table.address_tables_size().saturating_mul(16);
        let budget = budget.saturating_add(STEPS_PER_ADDRESS * addresses.len() as u64);
        let mut worker = Worker { of: self, budget, current: Current::default() };
        let mut frames = Vec::new();
        let mut last: Option<(VAddr, Result<(), Unknown>)> = None;
        for (address, position) in order {
            let result = match last {
                Some((before, result)) if before == address => result,
                _ => worker.frames(address, &mut frames),
            };
            last = Some((address, result));
            each(position, result.map(|()| frames.as_slice()));
        }
    }

    /// The frames of one address. For several use [`Symbolizer::symbolize`].
    pub fn symbolize_one(&self, address: VAddr) -> Result<Vec<SymFrame<'_>>, Unknown> {
        let table = self.binary.table();
        let budget = table.address_tables_size().saturating_mul(4);
        let mut worker = Worker { of: self, budget, current: Current::default() };
        let mut frames = Vec::new();
        worker.frames(address, &mut frames).map(|()| frames)
    }
}

/// The function that was looked at last, with its tables.
#[derive(Default)]
struct Current {
    /// Addresses it spans; empty at first.
    from: u64,
    to: u64,
    record: Option<Record>,
    lines: AddressTable,
    files: AddressTable,
    inlined: AddressTable,
    inlined_sound: bool,
}

/// A batch in progress.
struct Worker<'a> {
    of: &'a Symbolizer,
    /// Table entries that may still be decoded.
    budget: u64,
    current: Current,
}

impl<'a> Worker<'a> {
    fn frames(&mut self, at: VAddr, frames: &mut Vec<SymFrame<'a>>) -> Result<(), Unknown> {
        frames.clear();
        if at.0 < self.current.from || at.0 >= self.current.to {
            self.enter(at)?;
        }
        let of = self.of;
        let table = of.binary.table();
        let current = &self.current;
        let record = current.record.ok_or(Unknown::DamagedTable)?;
        if !current.inlined_sound {
            return Err(Unknown::DamagedInlineTree);
        }
        let mut offset = (at.0 - current.from) as u32;
        let mut callee = -1;
        loop {
            let (mut file, mut line) = self.place(&record, offset);
            let mut index = match record.inline_tree {
                Some(_) => self.current.inlined.value(offset),
                None => -1,
            };
            if index != -1 && index == callee {
                // In initialisers made of inlined assignments only, no instruction is the outer
                // function's own, and a call's parent leads back to the call. None of these can be
                // a return address.
                (index, file, line) = (-1, Cow::Borrowed(""), 0);
            }
            callee = index;
            let (Ok(index), Some(tree)) = (u32::try_from(index), record.inline_tree) else {
                let name = table.name(record.name).ok_or(Unknown::DamagedTable)?;
                frames.push(SymFrame {
                    function: Cow::Borrowed(name),
                    file,
                    line,
                    start_line: record.start_line,
                    inlined: false,
                    func_id: record.func_id,
                    at: VAddr(self.current.from + u64::from(offset)),
                });
                return Ok(());
            };
            let trees: &InlineTrees = of.binary.inline_trees().ok_or(Unknown::UnknownRelease)?;
            let call = trees.call(tree, index).ok_or(Unknown::DamagedInlineTree)?;
            let name = table.name(call.name).ok_or(Unknown::DamagedInlineTree)?;
            if frames.len() == MAX_INLINED {
                return Err(Unknown::DamagedInlineTree);
            }
            frames.push(SymFrame {
                function: Cow::Borrowed(name),
                file,
                line,
                start_line: call.start_line,
                inlined: true,
                func_id: call.func_id,
                at: VAddr(self.current.from + u64::from(offset)),
            });
            offset = call.parent;
        }
    }

    /// Makes the function that `at` lies in the current one.
    fn enter(&mut self, at: VAddr) -> Result<(), Unknown> {
        let table = self.of.binary.table();
        let index = table.index_of(at).ok_or(Unknown::OutsideGo)?;
        let entry = table.entry(index).ok_or(Unknown::DamagedTable)?;
        let size = table.size_of(index);
        let current = &mut self.current;
        (current.from, current.to) = (entry.0, entry.0.saturating_add(u64::from(size)));
        if at.0 < current.from || at.0 >= current.to {
            // The index is not in order.
            (current.from, current.to) = (0, 0);
            return Err(Unknown::DamagedTable);
        }
        if !table.complete() {
            (current.from, current.to) = (0, 0);
            return Err(Unknown::Overwritten);
        }
        current.record = table.details(index);
        let Some(record) = current.record else { return Ok(()) };
        let budget = &mut self.budget;
        let mut decode = |into: &mut AddressTable, offset: u32| {
            into.clear();
            let Some(data) = table.address_table(offset) else { return offset == 0 };
            if *budget == 0 {
                return false;
            }
            let sound = into.decode(data, table.header.quantum, size).is_some();
            *budget = budget.saturating_sub(into.cost());
            sound
        };
        // Damaged lines still leave the function's name; a damaged inline table could name a wrong
        // one.
        decode(&mut current.lines, record.line_table);
        decode(&mut current.files, record.file_table);
        current.inlined_sound = match record.inline_tree {
            Some(_) => decode(&mut current.inlined, record.inline_table),
            None => true,
        };
        Ok(())
    }

    /// File and line of an instruction (runtime/symtab.go `funcline1`).
    fn place(&self, record: &Record, offset: u32) -> (Cow<'a, str>, u32) {
        let number = u32::try_from(self.current.files.value(offset));
        let line = u32::try_from(self.current.lines.value(offset));
        let (Ok(number), Ok(line)) = (number, line) else { return (Cow::Borrowed(""), 0) };
        match self.of.binary.table().file(record.unit, number) {
            Some(file) => (Cow::Borrowed(file), line),
            None => (Cow::Borrowed(""), 0),
        }
    }
}

/// A name as tracebacks have it, for who compares with one (`runtime.funcNameForPrint`): type arguments become `...`. Go 1.27 keeps what stands between the
/// arguments of a generic type and those of its generic method; earlier ones hide it.
pub fn name_for_print(name: &str, two_groups: bool) -> Cow<'_, str> {
    let (Some(open), Some(close)) = (name.find('['), name.rfind(']')) else {
        return Cow::Borrowed(name);
    };
    if close <= open {
        return Cow::Borrowed(name);
    }
    let (head, inner, tail) = (&name[..open], &name[open + 1..close], &name[close + 1..]);
    if !two_groups || !inner.contains('[') {
        return Cow::Owned([head, "[...]", tail].concat());
    }
    match between_groups(inner) {
        Groups::One => Cow::Owned([head, "[...]", tail].concat()),
        Groups::Two(middle) => Cow::Owned([head, "[...]", middle, "[...]", tail].concat()),
        Groups::Malformed => Cow::Borrowed(name),
    }
}

enum Groups<'a> {
    One,
    /// What stands between the two.
    Two(&'a str),
    Malformed,
}

/// Looks for the `]…[` that parts two groups, in what lies between the first `[` and the last `]`
/// (runtime/traceback.go `funcNamePiecesForPrint`, Go 1.27).
fn between_groups(inner: &str) -> Groups<'_> {
    let mut depth = 1;
    let mut closed = None;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'[' => {
                depth += 1;
                if depth == 1 {
                    return closed.map_or(Groups::Malformed, |c: usize| Groups::Two(&inner[c..at]));
                }
            }
            b']' => {
                depth -= 1;
                if depth < 0 {
                    return Groups::Malformed;
                }
                if depth == 0 {
                    closed = Some(at + 1);
                }
            }
            _ => {}
        }
    }
    if depth == 1 && closed.is_none() { Groups::One } else { Groups::Malformed }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;
    use crate::gobin::fake::{self, Fake};

    #[test]
    fn names_as_the_runtime_prints_them() {
        let print = |name| name_for_print(name, true).into_owned();
        assert_eq!(print("main.main"), "main.main");
        assert_eq!(print("main.F[go.shape.int]"), "main.F[...]");
        assert_eq!(print("main.F[go.shape.[]uint8].func1"), "main.F[...].func1");
        assert_eq!(print("main.(*T[go.shape.int]).M[go.shape.string]"), "main.(*T[...]).M[...]");
        assert_eq!(print("main.F[...]"), "main.F[...]");
        assert_eq!(print("a]b[c"), "a]b[c");
        assert_eq!(print("a[b]c]d[e]"), "a[b]c]d[e]");
        assert_eq!(name_for_print("main.(*T[int]).M[string].f", false), "main.(*T[...].f");
    }

    /// What was read before keeps its names; what was not has none when somebody has written to the file.
    #[test]
    fn a_file_that_is_overwritten_names_nothing_wrong() {
        let main = VAddr(fake::MAIN + 4);
        for completed in [true, false] {
            let mut file = fake::file(&Fake::new().bytes);
            let go = GoBinary::open(file.try_clone().unwrap()).unwrap();
            assert!(!completed || go.complete());
            // Whatever the clock of the file system says.
            file.rewind().unwrap();
            file.write_all(&vec![0; Fake::new().bytes.len() + 1]).unwrap();
            let symbolizer = Symbolizer::new(Arc::new(go));
            let named = symbolizer.symbolize_one(main).map(|frames| frames[0].function.clone());
            let expected =
                if completed { Ok("main.main".into()) } else { Err(Unknown::Overwritten) };
            assert_eq!(named, expected);
        }
    }

    #[test]
    fn unknown_reads_as_a_frame() {
        assert_eq!(Unknown::OutsideGo.to_string(), "[outside Go code]");
    }
}
