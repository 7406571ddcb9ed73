//! Files that somebody runs: ELF, build information, function table, inline trees, module record, types, layouts, sites,
//! variables; and those that hold C code, with symbols and DWARF.

use std::sync::Arc;

use crate::address::{LoadBias, RuntimeAddr, VAddr};
use crate::gobin::symbols::{Symbol, Symbols};
use crate::gobin::types::Types;
use crate::gobin::{GoBinary, layout, sites};
use crate::runtime::unwind::Frames;
use crate::symbolize::native::NativeSymbols;
use crate::symbolize::stack::StackRules;
use crate::symbolize::{Symbolizer, name_for_print};

#[cfg(test)]
mod made;

/// Functions and types that are looked at one by one.
const MOST: usize = 2048;
/// Addresses that are named one by one.
const ALONE: usize = 16;

pub fn open(bytes: &[u8]) {
    // Where there is no memory for a file nothing is tested.
    let (Ok(one), Ok(two), Ok(three)) =
        (super::file(bytes), super::file(bytes), super::file(bytes))
    else {
        return;
    };
    if let Some(facts) = told(GoBinary::peek(&one)) {
        told(layout::of(&facts));
        assert!(facts.version.is_none_or(|version| !version.to_string().is_empty()));
    }
    if let Some(native) = told(NativeSymbols::open(two)) {
        c_code(native);
    }
    if let Some(binary) = told(GoBinary::open(three)) {
        go_code(binary);
    }
}

/// What was found; what is refused is refused in words.
fn told<T, E: std::fmt::Display>(found: Result<T, E>) -> Option<T> {
    found.map_err(|err| assert!(!err.to_string().is_empty())).ok()
}

fn c_code(mut native: NativeSymbols) {
    let _id = native.build_id();
    for at in native.any_addresses(16) {
        if let Some(mapping) = native.mapping(at) {
            let _place = native.vaddr(mapping.offset);
        }
        assert!(native.symbolize(at).map_or(true, |frames| !frames.is_empty()));
    }
}

fn go_code(binary: GoBinary) {
    let mut places = vec![VAddr(0), VAddr(u64::MAX), binary.text_range().0];
    for function in binary.functions().take(MOST) {
        let (entry, end) = (function.entry.0, function.end.0);
        places.extend([entry, entry.wrapping_add(9), end.wrapping_sub(1)].map(VAddr));
        let _about = (binary.is_wrapper(&function), binary.wrapped_at(function.entry));
    }
    let (lowest, highest) = binary.file_range();
    assert!(lowest <= highest && binary.lowest_page() == lowest);
    let _loaded = (binary.text_mapping(), binary.complete(), binary.memory());
    all_sites(&binary);
    let _rules = StackRules::new(&binary);
    if let Ok(layout) = layout::of(binary.facts()) {
        let symbols = Symbols::find(&binary, layout);
        for at in Symbol::ALL.into_iter().filter_map(|symbol| symbols.get(symbol).ok()) {
            let _place = (binary.file_offset(at), binary.read_relocated(at, 8));
        }
    }
    all_types(&binary);
    if let Some(variables) = binary.variables() {
        for symbol in variables.symbols.iter().take(MOST) {
            let _name = (variables.name(*symbol), variables.at(VAddr(symbol.start)));
        }
    }
    let symbolizer = Symbolizer::new(Arc::new(binary));
    let mut called = 0;
    symbolizer.symbolize(&places, |_, frames| {
        called += 1;
        assert!(frames.is_err() || frames.is_ok_and(|f| !f.is_empty()));
        for frame in frames.unwrap_or_default() {
            let _kind = symbolizer.kind(frame);
            let _name = name_for_print(&frame.to_owned_frame().function, true).len();
        }
    });
    for at in places.iter().take(ALONE) {
        assert!(symbolizer.symbolize_one(*at).map_or(true, |frames| !frames.is_empty()));
    }
    assert_eq!(called, places.len());
    let mut frames = Frames::new(symbolizer.binary(), LoadBias(0));
    for at in places {
        let _size = frames.size(RuntimeAddr(at.0));
    }
}

fn all_sites(binary: &GoBinary) {
    let found = [
        sites::alloc_sites(binary).map(drop),
        sites::span_sites(binary).map(drop),
        sites::sample_sites(binary).map(drop),
        sites::collection_site(binary).map(drop),
        sites::assist_sites(binary).map(drop),
        sites::box_sites(binary).map(drop),
        sites::goroutine_sites(binary).map(drop),
        sites::map_sites(binary).map(drop),
        sites::page_heap_sites(binary).map(drop),
        sites::pool_sites(binary).map(drop),
        sites::slice_sites(binary).map(drop),
        sites::stack_site(binary).map(drop),
    ];
    for sites in found {
        told(sites);
    }
}

fn all_types(binary: &GoBinary) {
    let (Some(types), Some((start, end))) = (told(Types::load(binary)), binary.types_range())
    else {
        return;
    };
    for at in (start.0..end.0).step_by(8).take(MOST).chain([u64::MAX]) {
        let found = types.get(VAddr(at));
        assert!(found.is_none_or(|found| !found.name.is_empty() && found.kind.word() != "invalid"));
    }
    assert!(types.memory() as u64 >= end.0.saturating_sub(start.0));
}
