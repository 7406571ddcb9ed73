//! C frames of cgo programs, for every command that walks stacks.
//!
//! In: an address, and the library that it lies in. Out: locations in a profile.

use std::collections::HashMap;

use super::naming::{add_location, unknown_frame};
use super::targets::{Library, file_offset, nowhere};
use crate::address::{RuntimeAddr, VAddr};
use crate::profile::{Binary, BinaryId, Frame, FrameKind, Interner, LocationId, Profile, Raw};
use crate::symbolize::native::NativeSymbols;
use crate::symbolize::{SymFrame, Unknown};

/// Names C frames; each file is read once, however many images have it mapped.
#[derive(Default)]
pub struct Natives {
    files: HashMap<(u64, u64), (BinaryId, Result<NativeSymbols, Unknown>)>,
    locations: HashMap<(BinaryId, VAddr), Option<LocationId>>,
    is_raw: bool,
}

impl Natives {
    /// Names nothing.
    pub fn raw() -> Self {
        Self { is_raw: true, ..Self::default() }
    }

    /// The location of a call that is no Go code of the program; `library` is what it lies in.
    pub fn location(
        &mut self,
        profile: &mut Profile,
        library: Option<&Library>,
        call: RuntimeAddr,
    ) -> Option<LocationId> {
        let Some(library) = library else {
            let frame = unknown_frame(&mut profile.names, Unknown::NotInFile);
            return add_location(profile, None, VAddr(nowhere(call).0), vec![frame]);
        };
        let mapping = &library.mapping;
        let (binary, native) =
            self.files.entry((mapping.dev, mapping.inode)).or_insert_with(|| {
                let file = library.file.try_clone().map_err(|_| Unknown::Unreadable);
                let native =
                    file.and_then(|f| NativeSymbols::open(f).map_err(|_| Unknown::Unreadable));
                profile.binaries.push(Binary {
                    path: mapping
                        .path
                        .as_ref()
                        .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
                    build_id: native.as_ref().ok().and_then(|n| n.build_id()).unwrap_or_default(),
                    text_start: VAddr(mapping.start.0),
                    text_end: VAddr(mapping.end.0),
                    text_offset: mapping.offset.0,
                });
                (BinaryId(profile.binaries.len() as u32 - 1), native)
            });
        let offset = file_offset(mapping, call);
        let at = native.as_ref().ok().and_then(|n| n.vaddr(offset)).unwrap_or(VAddr(offset.0));
        if let Some(location) = self.locations.get(&(*binary, at)) {
            return *location;
        }
        let frames = match native {
            Ok(_) if self.is_raw => {
                let location = Some(profile.raw(Raw::Native, *binary, at));
                self.locations.insert((*binary, at), location);
                return location;
            }
            Ok(native) => frames(&mut profile.names, native, at),
            Err(unknown) => vec![unknown_frame(&mut profile.names, *unknown)],
        };
        let location = add_location(profile, Some(*binary), at, frames);
        self.locations.insert((*binary, at), location);
        location
    }
}

/// Frames of an address of a file, innermost first.
pub fn frames(names: &mut Interner, native: &mut NativeSymbols, at: VAddr) -> Vec<Frame> {
    let frames = match native.symbolize(at) {
        Ok(frames) => frames,
        Err(unknown) => return vec![unknown_frame(names, unknown)],
    };
    let frame = |f: &SymFrame<'_>| Frame {
        function: names.intern(&f.function),
        file: names.intern(&f.file),
        line: f.line,
        start_line: f.start_line,
        kind: FrameKind::Native,
    };
    frames.iter().map(frame).collect()
}
