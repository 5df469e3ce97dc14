//! Keys as they are stored: those of all databases in one cache.
#![forbid(unsafe_code)]

/// The first byte of keys that are stored with their namespace.
pub(crate) const ESCAPE: u8 = 0xff;

/// The namespace of a stored key, and the key as clients know it.
pub(crate) fn split(stored: &[u8]) -> (u8, &[u8]) {
    match stored {
        [ESCAPE, namespace, key @ ..] => (*namespace, key),
        key => (0, key),
    }
}
