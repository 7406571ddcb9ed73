//! Tables that give each instruction of a function a number: its line, its file, its inlined call.
//!
//! In: a table's bytes. Out: ranges. The encoding is runtime/symtab.go `step`: pairs of varints, the
//! change of the value (zigzag) and how many units of code it holds for.

/// Most entries of one table; the largest seen in 100,000 functions has fewer than 20,000.
pub const MAX_ENTRIES: usize = 1 << 20;

/// The ranges of one function, decoded. Kept and filled again to save allocations.
#[derive(Debug, Default)]
pub struct AddressTable {
    /// End of each range, as offset from the function's entry, and its value.
    ranges: Vec<(u32, i32)>,
}

impl AddressTable {
    /// Forgets all ranges.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Decodes `data` up to its end mark or the range that ends at or beyond `size` bytes of code (the
    /// padding behind a function has no range). Nothing when the table is damaged; what was decoded
    /// up to there stays.
    pub fn decode(&mut self, data: &[u8], quantum: u8, size: u32) -> Option<()> {
        self.ranges.clear();
        let mut at = 0;
        let mut value = -1i32;
        let mut offset = 0u32;
        while offset < size {
            let change = varint(data, &mut at)?;
            if change == 0 && !self.ranges.is_empty() {
                break;
            }
            value = value.wrapping_add((change >> 1) as i32 ^ -((change & 1) as i32));
            let step = varint(data, &mut at)?.checked_mul(u32::from(quantum))?;
            offset = offset.checked_add(step)?;
            if self.ranges.len() == MAX_ENTRIES {
                return None;
            }
            self.ranges.push((offset, value));
        }
        Some(())
    }

    /// The value at `offset` bytes from the entry; -1, as in the runtime, where there is none.
    pub fn value(&self, offset: u32) -> i32 {
        let at = self.ranges.partition_point(|(end, _)| *end <= offset);
        self.ranges.get(at).map_or(-1, |(_, value)| *value)
    }

    /// Largest value of all ranges; -1 when there are none.
    pub fn largest(&self) -> i32 {
        self.ranges.iter().map(|(_, value)| *value).max().unwrap_or(-1)
    }

    /// Number of ranges: what decoding cost.
    pub fn cost(&self) -> u64 {
        self.ranges.len() as u64
    }
}

/// One number of up to 32 bits; `at` moves behind it.
fn varint(data: &[u8], at: &mut usize) -> Option<u32> {
    let first = *data.get(*at)?;
    *at += 1;
    if first & 0x80 == 0 {
        return Some(u32::from(first));
    }
    let mut value = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let byte = *data.get(*at)?;
        *at += 1;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_the_runtime_does() {
        let mut table = AddressTable::default();
        // +11 for 5 bytes (from -1: line 10), +1 for 3, -4 for 300.
        let data = [22, 5, 2, 3, 7, 0xac, 0x02, 0];
        assert_eq!(table.decode(&data, 1, 308), Some(()));
        let at = |offset| table.value(offset);
        assert_eq!([at(0), at(4), at(5), at(7), at(8), at(307)], [10, 10, 11, 11, 7, 7]);
        assert_eq!(at(308), -1);
        assert_eq!(table.decode(&data, 1, 320), Some(()), "padding has no range");
        assert_eq!(table.largest(), 11);
    }

    #[test]
    fn damaged_tables_end() {
        let mut table = AddressTable::default();
        assert_eq!(table.decode(&[22, 5], 1, 308), None, "no end mark");
        assert_eq!(table.value(3), 10, "what was there stays");
        assert_eq!(table.decode(&[22], 1, 308), None, "cut");
        assert_eq!(table.decode(&[0x80; 16], 1, 308), None, "endless varint");
        assert_eq!(table.decode(&[2, 0xff, 0xff, 0xff, 0xff, 0x0f], 4, 308), None, "overflow");
        assert_eq!(table.decode(&[], 1, 0), Some(()));
        // Entries that make no way: ended by the limit.
        let stuck: Vec<u8> = [2, 0].repeat(MAX_ENTRIES + 1);
        assert_eq!(table.decode(&stuck, 1, 308), None);
    }
}
