//! Stacks that a runtime wrote down, to a profile's locations.
//!
//! In: a binary, and return addresses of its code, stack by stack. Out: locations in a profile, each stack named once;
//! or, where names are for later, the addresses themselves.

use std::collections::HashMap;
use std::sync::Arc;

use super::naming;
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::profile::{BinaryId, LocationId, Profile, Raw};
use crate::symbolize::Symbolizer;
use crate::symbolize::logical::{LogicalStacks, Written};
use crate::symbolize::stack::{FuncIds, StackRules};

/// How stacks are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    pub written: Written,
    /// Without the runtime's own frames at the inner end, as pprof's heap profile has them.
    pub without_runtime: bool,
    /// Not named.
    pub raw: bool,
}

/// Stacks of one binary that have names.
pub struct WrittenStacks {
    pub go: Arc<GoBinary>,
    binary: BinaryId,
    symbolizer: Symbolizer,
    ids: FuncIds,
    /// By return addresses.
    stacks: HashMap<Box<[VAddr]>, Vec<LocationId>>,
    /// By what makes them up.
    locations: HashMap<Vec<VAddr>, LocationId>,
}

impl WrittenStacks {
    /// `binary` is its index in the profile.
    pub fn new(go: &Arc<GoBinary>, binary: BinaryId) -> Self {
        Self {
            go: Arc::clone(go),
            binary,
            symbolizer: Symbolizer::new(Arc::clone(go)),
            ids: StackRules::new(go).ids(),
            stacks: HashMap::new(),
            locations: HashMap::new(),
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.stacks.len()
    }

    /// The locations of stacks, in their order. They are all shown in the same way each time.
    pub fn named<S: Iterator<Item = VAddr>>(
        &mut self,
        profile: &mut Profile,
        stacks: impl Iterator<Item = S>,
        how: How,
    ) -> Vec<Vec<LocationId>> {
        let mut named = Vec::new();
        let mut unknown: Vec<(usize, Box<[VAddr]>)> = Vec::new();
        let mut returns = Vec::new();
        for stack in stacks {
            returns.clear();
            returns.extend(stack);
            match self.stacks.get(&returns[..]) {
                Some(locations) => named.push(locations.clone()),
                None => {
                    unknown.push((named.len(), returns[..].into()));
                    named.push(Vec::new());
                }
            }
        }
        if unknown.is_empty() {
            return named;
        }
        // Many at once are named much faster than one after the other.
        let addresses = unknown.iter().flat_map(|(_, returns)| returns.iter().copied());
        let rules = (!how.raw).then(|| LogicalStacks::new(&self.symbolizer, self.ids, addresses));
        for (at, returns) in unknown {
            let stack = match &rules {
                Some(rules) => self.places(profile, rules, &returns, how),
                None => self.raw(profile, &returns, how.written),
            };
            named[at].clone_from(&stack);
            self.stacks.insert(returns, stack);
        }
        named
    }

    fn places(
        &mut self,
        profile: &mut Profile,
        rules: &LogicalStacks,
        returns: &[VAddr],
        how: How,
    ) -> Vec<LocationId> {
        let shown = if how.without_runtime { rules.without_runtime(returns) } else { returns };
        let mut stack = Vec::new();
        for place in rules.places(shown, how.written) {
            let mut key = vec![place.at];
            key.extend(place.frames.iter().flatten().map(|frame| frame.at));
            let location = *self.locations.entry(key).or_insert_with(|| {
                naming::location(profile, &self.symbolizer, self.binary, &place)
            });
            stack.push(location);
        }
        stack
    }

    fn raw(
        &mut self,
        profile: &mut Profile,
        returns: &[VAddr],
        written: Written,
    ) -> Vec<LocationId> {
        let raw = match written {
            Written::Logical => Raw::Logical,
            Written::Physical => Raw::Physical,
        };
        let location = |pc: &VAddr| {
            let call = VAddr(pc.0.wrapping_sub(1));
            let known = self.locations.entry(vec![call]);
            *known.or_insert_with(|| profile.raw(raw, self.binary, call))
        };
        returns.iter().map(location).collect()
    }
}
