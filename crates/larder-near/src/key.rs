//! How keys become bytes for the server, and how the keys that it names become keys again.

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
                out.extend_from_slice(self.to_string().as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

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
