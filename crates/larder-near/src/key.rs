//! How keys become bytes for the server, and how the keys that it names become keys again.

use std::io::Write;
use std::sync::Arc;

/// A key of a near cache.
///
/// The two methods must be each other's inverse: `decode` of what `encode` wrote gives an equal key, and
/// different keys have different bytes. Otherwise a change of one key would be taken for that of another. The
/// cache notices bytes that cannot be decoded, and then forgets everything.
pub trait NearKey: Sized {
    /// Appends the bytes of the key to `out`, which holds the cache's prefix already.
    fn encode(&self, out: &mut Vec<u8>);

    /// The key of these bytes, which come after the prefix; `None` if they are not the bytes of one.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl NearKey for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl NearKey for Arc<str> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Arc::from)
    }
}

impl NearKey for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

macro_rules! decimal {
    ($($number:ty),*) => {$(
        /// As decimal text.
        impl NearKey for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                // Without a text of its own: a call for many keys encodes each of them.
                write!(out, "{self}").expect("a vector takes all that is written");
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                let text = std::str::from_utf8(bytes).ok()?;
                // `+1` and `01` are other keys than `1`, which are not ours.
                text.parse().ok().filter(|number: &Self| number.to_string() == text)
            }
        }
    )*};
}

decimal!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

/// How many slots a cluster has.
pub(crate) const SLOTS: usize = 16_384;

/// The slot of a key in a cluster: CRC16 (XMODEM) of its name, or of what stands between the first `{` and the
/// next `}` if that is not empty, so that keys can be kept together.
pub(crate) fn hash_slot(name: &[u8]) -> u16 {
    let hashed = hash_tag(name).unwrap_or(name);
    let crc = hashed
        .iter()
        .fold(0_u16, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) ^ u16::from(*byte))]);
    crc % SLOTS as u16
}

/// The part of the name that decides on its slot, if it is not the whole.
pub(crate) fn hash_tag(name: &[u8]) -> Option<&[u8]> {
    let open = name.iter().position(|byte| *byte == b'{')?;
    let rest = &name[open + 1..];
    let length = rest.iter().position(|byte| *byte == b'}')?;
    (length > 0).then_some(&rest[..length])
}

/// What the names of turns end with, by which the processes of a fleet load one after the other.
const TURN: &[u8] = b":larder-turn";

/// The name of the turn for the key called `name`: in the same slot. `None` for the few names with which that
/// cannot be done, which have a `}` that ends no tag.
pub(crate) fn turn_name(name: &[u8]) -> Option<Vec<u8>> {
    if hash_tag(name).is_some() {
        return Some([name, TURN].concat());
    }
    let can_be_tag = !name.is_empty() && !name.contains(&b'}');
    can_be_tag.then(|| [b"{", name, b"}", TURN].concat())
}

/// Whether `name` is that of a turn. A script reads turns, so the server may say that one was changed.
pub(crate) fn is_turn(name: &[u8]) -> bool {
    name.ends_with(TURN)
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        // By `CLUSTER KEYSLOT` of redis-server.
        for (name, slot) in
            [("k0", 8579), ("k1", 12_706), ("a", 15_495), ("b", 3300), ("h", 11_694)]
        {
            assert_eq!(hash_slot(name.as_bytes()), slot, "{name}");
        }
        assert_eq!(hash_slot(b"x{b}y"), 3300);
        assert_eq!(hash_slot(b"x{b}{a}"), 3300);
        // An empty tag counts for nothing, and so does a later one.
        assert_eq!(hash_tag(b"{}{b}"), None);
        assert_eq!(hash_tag(b"}b{"), None);
        assert_eq!(hash_tag(b"{{b}}"), Some(&b"{b"[..]));
    }

    #[test]
    fn a_turn_is_in_the_slot_of_its_key() {
        for name in ["a", "user:7", "x{b}y", "{b}", "a{b", "{"] {
            let turn = turn_name(name.as_bytes()).unwrap();
            assert_eq!(hash_slot(&turn), hash_slot(name.as_bytes()), "{name}");
            assert!(is_turn(&turn) && !is_turn(name.as_bytes()));
        }
        for name in ["", "a}b", "{}x", "{}{b"] {
            assert_eq!(turn_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut out = b"user:".to_vec();
        (-7_i64).encode(&mut out);
        assert_eq!(out, b"user:-7");
        assert_eq!(i64::decode(&out[5..]), Some(-7));
        for foreign in ["+7", "07", "", "7 ", "x", "300"] {
            assert_eq!(u8::decode(foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(String::decode(b"\xff"), None);
        assert_eq!(<Arc<str>>::decode("é".as_bytes()), Some(Arc::from("é")));
        assert_eq!(<Vec<u8>>::decode(b"\xff"), Some(vec![255]));
    }
}
