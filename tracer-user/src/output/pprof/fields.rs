//! Fields of protocol buffers, one after the other, within bounds.
//!
//! In: the bytes of a message. Out: numbers of fields and what they hold, borrowed. Nothing is allocated, and what
//! promises more than there is ends it.

/// Why bytes are no message.
pub type Wrong = &'static str;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number, or eight or four bytes as one.
    Number(u64),
    /// A text, a message, or numbers one after the other.
    Bytes(&'a [u8]),
}

/// The fields of a message.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn number(&mut self) -> Result<u64, Wrong> {
        let mut number = 0u64;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            // Bits beyond the 64th are dropped, as other readers do.
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err("a number has no end")
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Wrong> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or("it ends within a field")?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next field: its number, and what it holds; nothing at the end.
    pub fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Wrong> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let fixed = |bytes: &[u8]| {
            bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => Field::Number(fixed(self.bytes(8)?)),
            2 => {
                let len = self.number()?;
                let len = usize::try_from(len).map_err(|_| "it ends within a field")?;
                Field::Bytes(self.bytes(len)?)
            }
            5 => Field::Number(fixed(self.bytes(4)?)),
            _ => return Err("a field of an unknown kind"),
        };
        match key >> 3 {
            0 => Err("a field without a number"),
            number => Ok(Some((number, field))),
        }
    }
}

impl<'a> Field<'a> {
    /// A message or a text.
    pub fn message(self) -> Result<&'a [u8], Wrong> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            Field::Number(_) => Err("a number where a message is expected"),
        }
    }

    /// A number.
    pub fn one(self) -> Result<u64, Wrong> {
        match self {
            Field::Number(number) => Ok(number),
            Field::Bytes(_) => Err("a message where a number is expected"),
        }
    }

    /// Numbers of a repeated field: several together, or one of them.
    pub fn numbers(self, mut each: impl FnMut(u64) -> Result<(), Wrong>) -> Result<(), Wrong> {
        match self {
            Field::Number(number) => each(number),
            Field::Bytes(bytes) => {
                let mut rest = Fields(bytes);
                while !rest.0.is_empty() {
                    each(rest.number()?)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field_is_read() {
        let message = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 2, b'a', b'b'],
            &[0x1a, 3, 1, 0x80, 0x01],
            &[0x21, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x2d, 2, 0, 0, 0],
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ]
        .concat();
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next(), Ok(Some((1, Field::Number(150)))));
        assert_eq!(fields.next(), Ok(Some((2, Field::Bytes(b"ab")))));
        let (_, packed) = fields.next().unwrap().unwrap();
        let mut numbers = Vec::new();
        packed
            .numbers(|number| {
                numbers.push(number);
                Ok(())
            })
            .unwrap();
        assert_eq!(numbers, [1, 128]);
        assert_eq!(fields.next(), Ok(Some((4, Field::Number(1)))));
        assert_eq!(fields.next(), Ok(Some((5, Field::Number(2)))));
        assert_eq!(fields.next(), Ok(Some((6, Field::Number(u64::MAX)))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in
            [&[0x80][..], &[0x08], &[0x12, 9, 1], &[0x0b], &[0x00, 1], &[0x09, 1], &[0xff; 12]]
        {
            assert!(Fields::new(bytes).next().is_err(), "{bytes:x?}");
        }
        let huge = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(Fields::new(&huge).next().is_err());
    }
}
