//! Go's size classes, and how the runtime rounds what it asks itself for.
//!
//! The kernel programs run this, and so do unit tests.

/// Sizes of the runtime's small-object classes, the same in every release 1.18 to 1.27
/// (runtime/sizeclasses.go, internal/runtime/gc/sizeclasses.go). Class 0 is for large objects.
pub const SIZE_CLASSES: [u16; 68] = [
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320,
    352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792,
    2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728,
    10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672,
    32768,
];

/// Largest size that has a class.
const LARGEST: u64 = 32768;
const PAGE: u64 = 8192;
/// Sizes up to `FINE_END` are looked up in steps of `FINE`, others in steps of `COARSE`: so many steps.
const FINE: u64 = 8;
const FINE_END: u64 = 1024;
const COARSE: u64 = 128;
const STEPS: usize = (FINE_END / FINE + 1 + (LARGEST - FINE_END) / COARSE) as usize;

/// Smallest class for each step.
static ROUNDED: [u16; STEPS] = rounded();

const fn rounded() -> [u16; STEPS] {
    let mut table = [0; STEPS];
    let (mut step, mut class) = (0, 0);
    while step < STEPS {
        let fine = (FINE_END / FINE) as usize;
        let size = if step <= fine {
            step as u64 * FINE
        } else {
            FINE_END + (step - fine) as u64 * COARSE
        };
        while (SIZE_CLASSES[class] as u64) < size {
            class += 1;
        }
        table[step] = SIZE_CLASSES[class];
        step += 1;
    }
    table
}

/// `runtime.roundupsize`: what an object of this size takes. With a header it is less by that, which
/// `mallocgc` puts in front of objects with pointers above 512 bytes since Go 1.22 (runtime/msize.go).
#[inline(always)]
pub fn round_up(size: u64, has_header: bool) -> u64 {
    const HEADER: u64 = 8;
    const HEADER_FROM: u64 = 512;
    let header =
        if has_header && size > HEADER_FROM && size <= LARGEST - HEADER { HEADER } else { 0 };
    let whole = size.wrapping_add(header);
    if whole > LARGEST {
        return whole.wrapping_add(PAGE - 1) & !(PAGE - 1);
    }
    // Not `div_ceil`: of what becomes of that the verifier of Linux 6.1 loses the bounds.
    let step = if whole <= FINE_END {
        (whole + (FINE - 1)) >> FINE.trailing_zeros()
    } else {
        FINE_END / FINE + ((whole - FINE_END + (COARSE - 1)) >> COARSE.trailing_zeros())
    };
    let rounded = ROUNDED.get(step as usize).copied().unwrap_or(0);
    u64::from(rounded).wrapping_sub(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_takes_the_smallest_class_that_holds_it() {
        for size in 0..=LARGEST {
            let class = SIZE_CLASSES.iter().find(|class| u64::from(**class) >= size).unwrap();
            assert_eq!(round_up(size, false), u64::from(*class), "{size}");
        }
    }

    #[test]
    fn larger_ones_take_pages() {
        assert_eq!(round_up(LARGEST + 1, false), 5 * PAGE);
        assert_eq!(round_up(5 * PAGE, true), 5 * PAGE);
        assert_eq!(round_up(1 << 40, true), 1 << 40);
    }

    #[test]
    fn a_header_is_part_of_the_slot() {
        // runtime/msize.go, Go 1.22 and later.
        assert_eq!([512, 513, 568, 569].map(|size| round_up(size, true)), [512, 568, 568, 632]);
        assert_eq!([1016, 1017].map(|size| round_up(size, true)), [1016, 1144]);
        assert_eq!([32759, 32760, 32761].map(|size| round_up(size, true)), [32760, 32760, 32768]);
    }
}
