//! Numbers and texts as bytes, and back.
//!
//! In: values one after the other. Out: bytes, small numbers in one. What is read is read within bounds,
//! and what promises more than there is, is refused before anything is allocated for it.

use std::mem::take;

use crate::profile::ValueType;

/// Bytes being written.
#[derive(Clone, Debug, Default)]
pub struct Put(Vec<u8>);

impl Put {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What was written; nothing of it is left.
    pub fn take(&mut self) -> Vec<u8> {
        take(&mut self.0)
    }

    /// As it is.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits in each byte, the lowest first; the eighth says that there are more (LEB128).
    pub fn number(&mut self, number: impl Into<u64>) {
        let mut rest: u64 = number.into();
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    pub fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    /// What `now` is more or less than `before`, small in either direction.
    pub fn change(&mut self, before: u64, now: u64) {
        let change = now.wrapping_sub(before) as i64;
        self.number((change << 1 ^ change >> 63) as u64);
    }

    /// Those with few significant bits take few bytes.
    pub fn float(&mut self, float: f64) {
        self.number(float.to_bits().swap_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.raw(text.as_bytes());
    }

    /// One more than it is, so that 0 is nothing.
    pub fn option(&mut self, number: Option<u32>) {
        self.number(number.map_or(0, |number| u64::from(number) + 1));
    }

    /// Whether there is one, and it.
    pub fn maybe(&mut self, float: Option<f64>) {
        self.number(u8::from(float.is_some()));
        if let Some(float) = float {
            self.float(float);
        }
    }
}

/// What was wrong with bytes, in a few words.
pub type Wrong = &'static str;

/// Bytes being read.
#[derive(Clone, Debug)]
pub struct Get<'a>(&'a [u8]);

impl<'a> Get<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes as they are.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], Wrong> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or("it ends within a value")?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn number(&mut self) -> Result<u64, Wrong> {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            // The tenth has room for one bit.
            if at == 9 && bits > 1 {
                break;
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(if self.0.len() < 10 { "it ends within a number" } else { "a number is too large" })
    }

    /// One that fits.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Wrong> {
        T::try_from(self.number()?).map_err(|_| "a number is too large")
    }

    /// How many follow, each of which takes a byte at least.
    pub fn count(&mut self) -> Result<usize, Wrong> {
        let count = self.small()?;
        if count > self.0.len() { Err("it promises more than there is") } else { Ok(count) }
    }

    /// What it is now, by what it was.
    pub fn change(&mut self, before: u64) -> Result<u64, Wrong> {
        let coded = self.number()?;
        Ok(before.wrapping_add((coded >> 1) ^ (coded & 1).wrapping_neg()))
    }

    pub fn float(&mut self) -> Result<f64, Wrong> {
        Ok(f64::from_bits(self.number()?.swap_bytes()))
    }

    pub fn text(&mut self) -> Result<&'a str, Wrong> {
        let len = self.count()?;
        std::str::from_utf8(self.raw(len)?).map_err(|_| "a text is no UTF-8")
    }

    pub fn flag(&mut self) -> Result<bool, Wrong> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("neither yes nor no"),
        }
    }

    pub fn option(&mut self) -> Result<Option<u32>, Wrong> {
        match self.number()?.checked_sub(1) {
            None => Ok(None),
            Some(number) => Ok(Some(number.try_into().map_err(|_| "a number is too large")?)),
        }
    }

    pub fn maybe(&mut self) -> Result<Option<f64>, Wrong> {
        Ok(if self.flag()? { Some(self.float()?) } else { None })
    }
}

/// Whether a value is told by how the one before it grew: bytes or time after a count.
pub fn grows_with_count(types: &[ValueType], value: usize) -> bool {
    let unit = |value: usize| types.get(value).map(|of| of.unit);
    value > 0 && unit(value - 1) == Some("count") && unit(value) != Some("count")
}

/// What a value that was `before` is expected to be, when its count went from `count` to `now`.
pub fn in_proportion(count: u64, before: u64, now: u64) -> u64 {
    match count {
        0 => before,
        count if count == now => before,
        count => {
            let expected = u128::from(before) * u128::from(now) / u128::from(count);
            u64::try_from(expected).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let floats = [0.0, -0.0, 1.5, 1e300, f64::MIN_POSITIVE, f64::INFINITY];
        let mut put = Put::default();
        for number in numbers {
            put.number(number);
            put.change(7, number);
            put.change(number, 7);
        }
        floats.into_iter().for_each(|float| put.float(float));
        put.text("größer");
        put.option(None);
        put.option(Some(u32::MAX));
        put.maybe(Some(0.25));
        put.maybe(None);
        let mut get = Get::new(put.bytes());
        for number in numbers {
            assert_eq!(get.number(), Ok(number));
            assert_eq!(get.change(7), Ok(number));
            assert_eq!(get.change(number), Ok(7));
        }
        for float in floats {
            assert_eq!(get.float().map(f64::to_bits), Ok(float.to_bits()));
        }
        assert_eq!(get.text(), Ok("größer"));
        assert_eq!((get.option(), get.option()), (Ok(None), Ok(Some(u32::MAX))));
        assert_eq!((get.maybe(), get.maybe()), (Ok(Some(0.25)), Ok(None)));
        assert!(get.is_empty());
    }

    #[test]
    fn small_is_short() {
        let len = |write: &dyn Fn(&mut Put)| {
            let mut put = Put::default();
            write(&mut put);
            put.len()
        };
        assert_eq!(len(&|put| put.change(1_000_000, 999_990)), 1);
        assert_eq!(len(&|put| put.float(1234.5)), 4);
        assert_eq!(len(&|put| put.float(0.0)), 1);
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        assert!(Get::new(&[]).number().is_err());
        assert!(Get::new(&[0x80]).number().is_err());
        assert!(Get::new(&[0xff; 10]).number().is_err());
        assert!(Get::new(&[0xff; 11]).number().is_err());
        assert!(Get::new(&[3, b'a', b'b']).text().is_err());
        assert!(Get::new(&[2, 0xc3, 0x28]).text().is_err());
        assert!(Get::new(&[9, 0]).count().is_err());
        assert!(Get::new(&[2]).flag().is_err());
        assert!(Get::new(&[0x80, 0x80, 0x04]).small::<u16>().is_err());
        assert!(Get::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).option().is_err());
    }
}
