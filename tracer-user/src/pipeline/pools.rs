//! What pools are called: by their variable, else by their address; and by the function that makes what
//! they have not.
//!
//! In: the targets and what was counted for them. Out: a label for each sample of a pool. Symbols are read
//! when a pool lies in a file that has them.

use std::collections::HashMap;

use tracer_common::record::STACK_IS_FUNCTION;

use super::targets::{Counts, StackId, Targets, data};
use crate::{
    address::VAddr,
    gobin::{GoBinary, SymbolTable},
    probe::Program,
    profile::{Label, LabelValue, POOL, Profile},
};

/// A pool: number of its entry, and [`StackId::class`].
type Key = (u32, u64);

/// Names of all pools.
#[derive(Default)]
pub struct Pools(HashMap<Key, String>);

/// Whether the pool probe has counted it, and its class is a pool.
fn is_of_pool(program: Option<Program>) -> bool {
    matches!(program, Some(Program::PoolGet | Program::PoolMiss | Program::PoolPut))
}

/// Whether it is no stack, but says which New a pool has.
pub fn is_new(id: &StackId) -> bool {
    id.flags & STACK_IS_FUNCTION != 0
}

impl Pools {
    /// Names all pools that something was counted for.
    pub fn of(targets: &Targets, raw: &[(&StackId, &Counts)]) -> Self {
        let mut made: HashMap<Key, HashMap<VAddr, u64>> = HashMap::new();
        for (id, counts) in raw {
            if !is_of_pool(targets.program(id)) {
                continue;
            }
            let made = made.entry((id.entry, id.class)).or_default();
            if let (true, Some(code)) = (is_new(id), id.pcs.first()) {
                *made.entry(VAddr(code.0)).or_default() += counts.hits;
            }
        }
        // By binary, read when the first is asked for.
        let mut symbols: HashMap<usize, Option<SymbolTable>> = HashMap::new();
        let mut names = HashMap::new();
        for ((entry, class), made) in made {
            let Some(binary) = targets.entries.get(entry).map(|entry| entry.binary) else {
                continue;
            };
            let go = &targets.binaries[binary].go;
            let place = match data(class) {
                Ok(at) => {
                    let symbols = symbols.entry(binary).or_insert_with(|| go.variables());
                    variable(symbols.as_ref(), at).unwrap_or_else(|| format!("{:#x}", at.0))
                }
                Err(at) => format!("{:#x} on the heap", at.0),
            };
            let name = match news(go, &made) {
                Some(news) => format!("{place} (New {news})"),
                None => place,
            };
            names.insert((entry, class), name);
        }
        Self(names)
    }

    /// Which pool a stack is of.
    pub fn label(&self, profile: &mut Profile, id: &StackId, program: Program) -> Option<Label> {
        let name = self.0.get(&(id.entry, id.class)).filter(|_| is_of_pool(Some(program)))?;
        let (key, name) = (profile.names.intern(POOL), profile.names.intern(name));
        Some(Label { key, value: LabelValue::Text(name) })
    }
}

/// `main.pool`, `main.server+0x18`.
fn variable(symbols: Option<&SymbolTable>, at: VAddr) -> Option<String> {
    let symbol = symbols?.at(at)?;
    let name = String::from_utf8_lossy(symbols?.name(symbol)?);
    match at.0 - symbol.start {
        0 => Some(name.into_owned()),
        offset => Some(format!("{name}+{offset:#x}")),
    }
}

/// The functions that a pool has made things with, the one that made most first. A pool whose address was
/// another's before can have several.
fn news(go: &GoBinary, made: &HashMap<VAddr, u64>) -> Option<String> {
    let mut all: Vec<(u64, &str)> = made
        .iter()
        .filter_map(|(code, count)| Some((*count, go.function_at(*code)?.name)))
        .collect();
    all.sort_unstable_by(|(a, first), (b, second)| b.cmp(a).then_with(|| first.cmp(second)));
    // `-fm` is a method of a value, bound to it.
    let names: Vec<&str> = all.iter().map(|(_, name)| name.trim_end_matches("-fm")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
