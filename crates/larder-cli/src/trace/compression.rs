//! How the bytes of a trace are packed.

use std::fmt;

/// How a file is packed, which its first bytes show, whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) const MAGIC_BYTES: usize = 10;

    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            // The third byte is deflate, the only method that gzip has.
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            // A frame, or a skippable frame, which may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// The name of a packer whose files are not read, by the first bytes. Each pattern has at least six
/// bytes, because a valid file of raw keys may start with fewer of them.
pub(super) fn other_packing(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y'] => Some("bzip2"),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Some("7-Zip"),
        _ => None,
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "plain",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        })
    }
}

const GZIP_SUFFIX: &str = ".gz";
const ZSTD_SUFFIX: &str = ".zst";

/// A file name without the suffix of its compression, and that compression.
pub(crate) fn split_compression(name: &str) -> (&str, Compression) {
    for (suffix, compression) in
        [(GZIP_SUFFIX, Compression::Gzip), (ZSTD_SUFFIX, Compression::Zstd)]
    {
        let at = name.len().checked_sub(suffix.len());
        if let Some((bare, end)) = at.and_then(|at| name.split_at_checked(at))
            && end.eq_ignore_ascii_case(suffix)
        {
            return (bare, compression);
        }
    }
    (name, Compression::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_split_off_names_whatever_the_case() {
        for (name, bare, compression) in [
            ("a.u32.zst", "a.u32", Compression::Zstd),
            ("b.csv.GZ", "b.csv", Compression::Gzip),
            ("c.gz.txt", "c.gz.txt", Compression::None),
            (".gz", "", Compression::Gzip),
            ("é", "é", Compression::None),
        ] {
            assert_eq!(split_compression(name), (bare, compression));
        }
    }
}
