//! Which changes are published as keyspace events.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

/// The classes of keyspace events, by the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventClass {
    /// `g`
    Generic,
    /// `$`
    String,
    /// `h`
    Hash,
    /// `x`
    Expired,
    /// `e`
    Evicted,
    /// `n`
    New,
}

impl EventClass {
    pub(crate) const fn mask(self) -> EventMask {
        EventMask(match self {
            Self::Generic => 1 << 2,
            Self::String => 1 << 3,
            Self::Hash => 1 << 6,
            Self::Expired => 1 << 8,
            Self::Evicted => 1 << 9,
            Self::New => 1 << 13,
        })
    }
}

/// A set of classes of events, and the channels on which they are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventMask(u32);

/// The letters by bit. Those of types that are not served are accepted and kept.
const LETTERS: &[u8; 14] = b"KEg$lshzxetdmn";
/// What the letter `A` stands for: all classes but `m` and `n`.
const ALL_CLASSES: u32 = 0b1111_1111_1100;

impl EventMask {
    /// Channels named after the key.
    pub(crate) const KEYSPACE: Self = Self(1);
    /// Channels named after the event.
    pub(crate) const KEYEVENT: Self = Self(2);
    /// All bits that a mask may have.
    pub(crate) const BITS: u32 = (1 << LETTERS.len()) - 1;

    /// The mask of a text of letters; `None` if another byte is among them.
    pub(crate) fn parse(letters: &[u8]) -> Option<Self> {
        let mut bits = 0;
        for letter in letters {
            bits |= match letter {
                b'A' => ALL_CLASSES,
                letter => 1 << LETTERS.iter().position(|known| known == letter)?,
            };
        }
        Some(Self(bits))
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::BITS)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any event is published.
    pub(crate) const fn publishes(self) -> bool {
        self.0 & (Self::KEYSPACE.0 | Self::KEYEVENT.0) != 0
    }
}

/// The letters, in the order in which Redis shows them.
impl fmt::Display for EventMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_all = self.0 & ALL_CLASSES == ALL_CLASSES;
        if has_all {
            f.write_char('A')?;
        }
        for bit in [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 0, 1, 12] {
            let is_named = self.0 & (1 << bit) != 0;
            let is_in_all = has_all && ALL_CLASSES & (1 << bit) != 0;
            if is_named && !is_in_all {
                f.write_char(char::from(LETTERS[bit]))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_parsed_and_shown() {
        for (letters, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("EK$g", "g$KE"),
            ("Kg$lshzxetd", "AK"),
            ("KEmn", "nKEm"),
            ("AnE", "AnE"),
        ] {
            let mask = EventMask::parse(letters.as_bytes()).unwrap();
            assert_eq!(mask.to_string(), shown);
            assert_eq!(EventMask::parse(shown.as_bytes()), Some(mask));
        }
        assert_eq!(EventMask::parse(b"Kq"), None);
        assert!(!EventMask::parse(b"g$").unwrap().publishes());
        assert!(EventMask::parse(b"Kx").unwrap().has(EventClass::Expired.mask()));
    }
}
