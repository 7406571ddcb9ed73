//! Symbols of functions, for tracers that ask for names and for how long a function is.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use heaptap::address::VAddr;
use object::{
    Endianness, elf,
    read::elf::{FileHeader as _, SectionHeader as _, Sym as _},
};

/// A function: name, first byte, byte behind its last.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub start: VAddr,
    pub end: VAddr,
}

/// Writes the functions' sizes into the file's symbol table, which objcopy can't.
pub fn set_sizes(file: &Path, functions: &[Named]) -> Result<()> {
    let mut data = fs::read(file).with_context(|| file.display().to_string())?;
    let mut patches = Vec::new();
    {
        let header = elf::FileHeader64::<Endianness>::parse(&*data)?;
        let endian = header.endian()?;
        for section in header.sections(endian, &*data)?.iter() {
            if section.sh_type(endian) != elf::SHT_SYMTAB {
                continue;
            }
            let symbols: &[elf::Sym64<Endianness>] = section.data_as_array(endian, &*data)?;
            for (index, symbol) in symbols.iter().enumerate() {
                let function = functions.iter().find(|f| f.start.0 == symbol.st_value(endian));
                let Some(function) = function else { continue };
                // Elf64_Sym has 24 bytes, st_size are the last 8.
                let at = section.sh_offset(endian) as usize + 24 * index + 16;
                patches.push((at, function.end.0 - function.start.0));
            }
        }
    }
    for (at, size) in patches {
        let place = data.get_mut(at..at + 8).context("a symbol outside of its file")?;
        place.copy_from_slice(&size.to_le_bytes());
    }
    fs::write(file, data).with_context(|| file.display().to_string())
}
