//! Where fields lie in the runtime's structures, by release. One reviewed table, from DWARF.
//!
//! In: a Go version. Out: byte offsets, or nothing for a version that was not measured: a wrong
//! offset would give wrong numbers, so there is no guessing from neighbours.

use super::GoVersion;

/// Offsets that the span probe needs. `allocCount` and `allocCountBeforeCache` are u16 everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLayout {
    /// `runtime.mcache.alloc`, an array of `*mspan` by span class.
    pub mcache_alloc: u32,
    /// `runtime.mspan.allocCount`.
    pub alloc_count: u32,
    /// `runtime.mspan.allocCountBeforeCache`.
    pub alloc_count_before_cache: u32,
    /// `runtime.mspan.elemsize`.
    pub elemsize: u32,
}

/// Releases whose DWARF was read: go1.19.8, 1.21.13, 1.22.10, 1.23.9, 1.24.11, 1.25.5, 1.26.6,
/// 1.27.3 (linux/amd64; patch releases do not move these fields).
pub fn span(version: &GoVersion) -> Option<SpanLayout> {
    let (mcache_alloc, alloc_count) = match (version.major, version.minor) {
        (1, 19) => (40, 96),
        (1, 21) => (40, 104),
        (1, 22..=23) => (40, 96),
        (1, 24..=27) => (48, 96),
        _ => return None,
    };
    Some(SpanLayout {
        mcache_alloc,
        alloc_count,
        alloc_count_before_cache: alloc_count + 6,
        elemsize: alloc_count + 8,
    })
}

/// Sizes of the runtime's small-object classes, the same in every release 1.18 to 1.27
/// (runtime/sizeclasses.go, internal/runtime/gc/sizeclasses.go). Class 0 is for large objects.
pub const SIZE_CLASSES: [u16; 68] = [
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320,
    352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792,
    2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728,
    10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672,
    32768,
];
