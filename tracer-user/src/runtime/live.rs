//! A live Go process: its binary's facts, where it was loaded and its memory, tied together.
//!
//! In: an opened binary, a load bias and a [`Memory`]. Out: values of the runtime's variables and
//! structures. A release whose structures are not known is refused here, once for all commands.

use std::sync::Arc;

use super::memory::{Batch, Memory, MemoryError, Range};
use crate::address::{LoadBias, RuntimeAddr};
use crate::exit::Exit;
use crate::gobin::bytes::{u16_at, u32_at, u64_at};
use crate::gobin::layout::{self, Layout};
use crate::gobin::symbols::{Symbol, SymbolError, Symbols};
use crate::gobin::{GoBinary, LoadType};

/// How often something is read again that changed while it was read.
const ATTEMPTS: u32 = 20;

/// Why a live process's records can't be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Layout(#[from] layout::Unknown),
    #[error(transparent)]
    Symbol(#[from] SymbolError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("{what} changed {attempts} times while it was read; try again")]
    Unsteady { what: &'static str, attempts: u32 },
    #[error("{what} can't be: {detail}")]
    Implausible { what: &'static str, detail: String },
    #[error("{what}: {count}, more than the {limit} that heaptap reads")]
    TooMany { what: &'static str, count: u64, limit: u64 },
    #[error("{what} takes more than the {} MiB that are allowed; see --max-memory", limit >> 20)]
    TooBig { what: &'static str, limit: usize },
}

impl Error {
    /// The exit code when this ends a command.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Memory(MemoryError::Gone { .. }) => Exit::Target,
            Error::Memory(MemoryError::Refused { .. }) => Exit::Permission,
            Error::Layout(_) | Error::Symbol(_) | Error::TooMany { .. } | Error::TooBig { .. } => {
                Exit::Unsupported
            }
            Error::Memory(_) | Error::Unsteady { .. } | Error::Implausible { .. } => Exit::Failure,
        }
    }
}

/// What is known of a binary's runtime before any process is looked at; shared by all that run it.
#[derive(Debug)]
pub struct Program {
    pub go: Arc<GoBinary>,
    pub layout: &'static Layout,
    pub symbols: Symbols,
}

impl Program {
    /// Finds layout and variables.
    ///
    /// # Errors
    /// [`Error::Layout`]: a release, experiment or build that is not known.
    pub fn new(go: Arc<GoBinary>) -> Result<Self, Error> {
        let layout = layout::of(go.facts())?;
        let symbols = Symbols::find(&go, layout);
        Ok(Self { go, layout, symbols })
    }
}

/// A live process.
pub struct Live<M> {
    pub program: Arc<Program>,
    pub bias: LoadBias,
    pub memory: M,
}

impl<M: Memory> Live<M> {
    pub fn new(program: Arc<Program>, bias: LoadBias, memory: M) -> Self {
        debug_assert!(program.go.facts().load == LoadType::Pie || bias == LoadBias(0));
        Self { program, bias, memory }
    }

    /// Where fields lie in this release.
    pub fn layout(&self) -> &'static Layout {
        self.program.layout
    }

    /// Where a variable is in the process.
    pub fn address(&self, symbol: Symbol) -> Result<RuntimeAddr, Error> {
        Ok(self.bias.to_runtime(self.program.symbols.get(symbol)?))
    }

    /// Bytes from an address on.
    pub fn bytes(&self, at: RuntimeAddr, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Batch::default();
        self.memory.read_many(&[Range { at, len }], &mut bytes)?;
        let unmapped = || Error::Implausible {
            what: "an address",
            detail: format!("there is no memory at {at} (+{len})"),
        };
        bytes.get(0).map(<[u8]>::to_vec).ok_or_else(unmapped)
    }

    /// The word at an address.
    pub fn u64(&self, at: RuntimeAddr) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.memory.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The u32 at an address.
    pub fn u32(&self, at: RuntimeAddr) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.memory.read(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// `runtime.MemProfileRate`: bytes between two samples on average, 1 for every object, 0 where the
    /// sampler is off.
    pub fn sampler_rate(&self) -> Result<u64, Error> {
        sampler_rate(&self.memory, self.address(Symbol::MemProfileRate)?)
    }

    /// The words of several variables, read in one system call, one after the other.
    pub fn words<const N: usize>(&self, symbols: [Symbol; N]) -> Result<[u64; N], Error> {
        let mut ranges = [Range { at: RuntimeAddr(0), len: 8 }; N];
        for (range, symbol) in ranges.iter_mut().zip(symbols) {
            range.at = self.address(symbol)?;
        }
        let mut batch = Batch::default();
        self.memory.read_many(&ranges, &mut batch)?;
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            let read = batch.get(index).and_then(|bytes| u64_at(bytes, 0));
            *word = read.ok_or_else(|| Error::Implausible {
                what: symbols[index].name(),
                detail: format!("there is no memory at {}", ranges[index].at),
            })?;
        }
        Ok(words)
    }

    /// Reads until `read` gives something: nothing means that it saw a change under way. The process
    /// is asked for before the result is believed.
    ///
    /// # Errors
    /// [`Error::Unsteady`] after some attempts; errors of `read`.
    pub fn steady<T>(
        &self,
        what: &'static str,
        mut read: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(value) = read()? {
                self.memory.check()?;
                return Ok(value);
            }
            std::thread::yield_now();
        }
        Err(Error::Unsteady { what, attempts: ATTEMPTS })
    }

    /// The texts of wait reasons, by number. Empty where a text can't be read.
    ///
    /// # Errors
    /// The array can't be found or read.
    pub fn wait_reasons(&self) -> Result<Vec<String>, Error> {
        const LONGEST: u64 = 256;
        let at = self.address(Symbol::WaitReasonStrings)?;
        let count = self.program.symbols.wait_reasons();
        let headers = self.bytes(at, count * 16)?;
        let ranges: Vec<Range> = headers
            .chunks_exact(16)
            .map(|header| {
                let len = u64_at(header, 8).filter(|len| *len <= LONGEST).unwrap_or(0);
                Range { at: RuntimeAddr(u64_at(header, 0).unwrap_or(0)), len: len as usize }
            })
            .collect();
        let mut batch = Batch::default();
        self.memory.read_many(&ranges, &mut batch)?;
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        Ok(batch.iter().map(text).collect())
    }
}

/// [`Live::sampler_rate`], where only the variable's place is known.
pub fn sampler_rate(memory: &impl Memory, at: RuntimeAddr) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    memory.read_checked(at, &mut bytes)?;
    Ok(rate_of(u64::from_le_bytes(bytes)))
}

/// The rate is an int; what is below 0 is off too (malloc.go, `nextSample`).
pub(super) fn rate_of(word: u64) -> u64 {
    if word > i64::MAX as u64 { 0 } else { word }
}

/// Numbers at offsets of a structure that was read whole; 0 beyond its end.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(pub &'a [u8]);

impl Record<'_> {
    #[inline]
    pub fn u64(self, offset: u32) -> u64 {
        u64_at(self.0, offset as usize).unwrap_or(0)
    }

    #[inline]
    pub fn u32(self, offset: u32) -> u32 {
        u32_at(self.0, offset as usize).unwrap_or(0)
    }

    #[inline]
    pub fn u16(self, offset: u32) -> u16 {
        u16_at(self.0, offset as usize).unwrap_or(0)
    }

    #[inline]
    pub fn u8(self, offset: u32) -> u8 {
        self.0.get(offset as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A live process made by hand, without a binary behind it.

    use super::*;
    use crate::address::VAddr;
    use crate::gobin::fake::{Fake, open};
    use crate::runtime::memory::fake::FakeMemory;

    /// A process of a release, with an empty memory, whose variables lie at these addresses.
    pub fn live(layout: &'static Layout, symbols: &[(Symbol, u64)]) -> Live<FakeMemory> {
        let go = Arc::new(open(&Fake::new().bytes).expect("a binary"));
        let symbols: Vec<_> = symbols.iter().map(|(s, at)| (*s, VAddr(*at))).collect();
        let program = Program { go, layout, symbols: Symbols::made(&symbols) };
        Live::new(Arc::new(program), LoadBias(0), FakeMemory::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::layout::LAYOUTS;
    use std::cell::Cell;

    #[test]
    fn what_changes_all_the_time_is_an_error() {
        let live = fake::live(&LAYOUTS[0], &[]);
        let reads = Cell::new(0);
        let third = || {
            reads.set(reads.get() + 1);
            Ok((reads.get() == 3).then_some(7))
        };
        assert_eq!(live.steady("it", third).unwrap(), 7);
        let never = live.steady::<()>("it", || Ok(None)).unwrap_err();
        assert_eq!(never.to_string(), "it changed 20 times while it was read; try again");
        live.memory.gone.set(true);
        let error = live.steady("it", || Ok(Some(1))).unwrap_err();
        assert_eq!(error.exit(), Exit::Target);
    }

    #[test]
    fn variables_are_read_and_missing_ones_named() {
        let live = fake::live(&LAYOUTS[0], &[(Symbol::AllGLen, 0x1000), (Symbol::AllGPtr, 0x2000)]);
        live.memory.map(0x1000, vec![5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(live.words([Symbol::AllGLen]).unwrap(), [5]);
        let error = live.words([Symbol::AllGLen, Symbol::AllGPtr]).unwrap_err();
        assert!(error.to_string().contains("allgptr"), "{error}");
        let error = live.words([Symbol::MBuckets]).unwrap_err();
        assert!(error.to_string().contains("runtime.mbuckets can't be found"), "{error}");
        assert_eq!(error.exit(), Exit::Unsupported);
    }
}
