//! Facts from a Go binary's bytes: ELF, build info, pclntab, inline tree, probe sites, types.
