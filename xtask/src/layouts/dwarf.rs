//! Structures of a program as its DWARF describes them.
//!
//! In: the bytes of an executable file with uncompressed DWARF. Out: offsets, sizes and counts of
//! named fields. Knows nothing of Go but that names are written with their package.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use gimli::{AttributeValue as Value, EndianSlice, LittleEndian};
use object::{Object, ObjectSection};

type Reader<'a> = EndianSlice<'a, LittleEndian>;
type Unit<'a> = gimli::Unit<Reader<'a>>;
type Entry<'u, 'a> = gimli::DebuggingInformationEntry<Reader<'a>>;

/// Where an entry is: number of its unit, and offset in it.
type At = (usize, gimli::UnitOffset);

/// A field, or a whole structure, found by its path.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub offset: u64,
    at: At,
}

/// The types and variables of a program.
pub struct Types<'a> {
    dwarf: gimli::Dwarf<Reader<'a>>,
    units: Vec<Unit<'a>>,
    /// Structures by name, variables as `var NAME`, constants as `const NAME`.
    named: HashMap<String, At>,
}

impl<'a> Types<'a> {
    /// Reads the DWARF of a program.
    pub fn read(program: &'a [u8]) -> Result<Self> {
        let file = object::File::parse(program).context("no ELF file")?;
        let load = |id: gimli::SectionId| -> Result<Reader<'a>> {
            let section = file.section_by_name(id.name());
            let data = section.map(|s| s.uncompressed_data()).transpose()?;
            match data.unwrap_or(Cow::Borrowed(&[])) {
                Cow::Borrowed(data) => Ok(EndianSlice::new(data, LittleEndian)),
                Cow::Owned(_) => bail!("{} is compressed", id.name()),
            }
        };
        let dwarf = gimli::Dwarf::load(load)?;
        let mut types = Self { dwarf, units: Vec::new(), named: HashMap::new() };
        let mut headers = types.dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = types.dwarf.unit(header)?;
            types.units.push(unit);
        }
        for number in 0..types.units.len() {
            let found = types.names(number)?;
            types.named.extend(found);
        }
        Ok(types)
    }

    /// The structures and variables at the top of a unit.
    fn names(&self, number: usize) -> Result<Vec<(String, At)>> {
        let unit = &self.units[number];
        let mut found = Vec::new();
        let mut tree = unit.entries_tree(None)?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            let prefix = match entry.tag() {
                gimli::DW_TAG_structure_type => "",
                gimli::DW_TAG_variable => "var ",
                gimli::DW_TAG_constant => "const ",
                _ => continue,
            };
            if let Some(name) = self.name(number, entry)? {
                found.push((format!("{prefix}{name}"), (number, entry.offset())));
            }
        }
        Ok(found)
    }

    /// The structure, or the structure that a variable is, by its name.
    pub fn named(&self, name: &str) -> Result<Option<Found>> {
        let Some(&at) = self.named.get(name) else { return Ok(None) };
        let at = if name.starts_with("var ") { self.type_of(at)? } else { at };
        Ok(Some(Found { offset: 0, at }))
    }

    /// The value of a constant, by its name.
    pub fn constant(&self, name: &str) -> Result<u64> {
        let at = self.named.get(&format!("const {name}")).context("no such constant")?;
        let value = self.entry(*at)?.attr_value(gimli::DW_AT_const_value);
        value.and_then(|v| v.udata_value()).context("a constant that is no number")
    }

    /// Follows a path such as `sched.sp` or `stats[1]` from a structure; nothing when it has no such
    /// field.
    pub fn follow(&self, from: Found, path: &str) -> Result<Option<Found>> {
        let mut found = from;
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let Some(member) = self.member(found.at, step)? else { return Ok(None) };
            found = Found { offset: found.offset + member.offset, at: member.at };
        }
        Ok(Some(found))
    }

    /// Bytes of what was found.
    pub fn size(&self, found: Found) -> Result<u64> {
        let at = self.resolved(found.at)?;
        let entry = self.entry(at)?;
        match (entry.attr_value(gimli::DW_AT_byte_size), entry.tag()) {
            (Some(size), _) => size.udata_value().context("a size that is no number"),
            (None, gimli::DW_TAG_pointer_type) => Ok(8),
            (None, tag) => bail!("a {tag} without a size"),
        }
    }

    /// Elements of the array that was found.
    pub fn count(&self, found: Found) -> Result<u64> {
        let at = self.resolved(found.at)?;
        let mut tree = self.units[at.0].entries_tree(Some(at.1))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            if let Some(count) = entry.attr_value(gimli::DW_AT_count) {
                return count.udata_value().context("a count that is no number");
            }
            if let Some(bound) = entry.attr_value(gimli::DW_AT_upper_bound) {
                return Ok(bound.udata_value().context("a bound that is no number")? + 1);
            }
        }
        bail!("no array")
    }

    fn member(&self, structure: At, name: &str) -> Result<Option<Found>> {
        let at = self.resolved(structure)?;
        let mut tree = self.units[at.0].entries_tree(Some(at.1))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            if entry.tag() != gimli::DW_TAG_member
                || self.name(at.0, entry)?.as_deref() != Some(name)
            {
                continue;
            }
            let place = entry.attr_value(gimli::DW_AT_data_member_location);
            let offset = place.and_then(|v| v.udata_value()).context("a member without a place")?;
            return Ok(Some(Found { offset, at: self.type_of((at.0, entry.offset()))? }));
        }
        Ok(None)
    }

    /// The type behind names that stand for it.
    fn resolved(&self, mut at: At) -> Result<At> {
        while self.entry(at)?.tag() == gimli::DW_TAG_typedef {
            at = self.type_of(at)?;
        }
        Ok(at)
    }

    fn type_of(&self, at: At) -> Result<At> {
        match self.entry(at)?.attr_value(gimli::DW_AT_type) {
            Some(Value::UnitRef(offset)) => Ok((at.0, offset)),
            Some(Value::DebugInfoRef(offset)) => {
                let holds = |unit: &Unit| offset.to_unit_offset(&unit.header);
                let found = self.units.iter().enumerate();
                let mut found = found.filter_map(|(number, unit)| Some((number, holds(unit)?)));
                found.next().context("a type in no unit")
            }
            other => bail!("a type given as {other:?}"),
        }
    }

    fn entry(&self, at: At) -> Result<Entry<'_, 'a>> {
        Ok(self.units[at.0].entry(at.1)?)
    }

    fn name(&self, unit: usize, entry: &Entry<'_, 'a>) -> Result<Option<String>> {
        let Some(value) = entry.attr_value(gimli::DW_AT_name) else { return Ok(None) };
        let text = self.dwarf.attr_string(&self.units[unit], value)?;
        Ok(Some(text.to_string_lossy().into_owned()))
    }
}
