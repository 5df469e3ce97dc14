//! Writes keys as text or raw, packed if the file's name says so.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::ValueEnum;
use flate2::write::GzEncoder;

use crate::error::{CommandError, GenerateError};
use crate::trace::{Compression, split_compression};

/// How a generated key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFormat {
    /// One decimal number per line
    Text,
    /// Raw little-endian 32 bits
    U32,
}

/// What to do with a file that already exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Overwrite,
}

impl KeyFormat {
    /// Raw for names with `.u32`, else text.
    fn of_name(bare: &str) -> Self {
        if bare.to_ascii_lowercase().ends_with(".u32") { KeyFormat::U32 } else { KeyFormat::Text }
    }
}

/// Writes `keys` to `path`, or to standard output for `-`. What could not be written whole does not stay under its
/// name, where it would pass for a shorter trace.
pub(crate) fn write_keys(
    keys: impl Iterator<Item = u32>,
    path: &Path,
    format: Option<KeyFormat>,
    existing: Existing,
) -> Result<(), CommandError> {
    let name = path.display().to_string();
    let (bare, compression) = split_compression(&name);
    let format = format.unwrap_or_else(|| KeyFormat::of_name(bare));
    if path == Path::new("-") {
        return write(keys, io::stdout().lock(), format, Compression::None)
            .map_err(CommandError::write("standard output"));
    }
    let mut options = OpenOptions::new();
    options.write(true);
    match existing {
        Existing::Keep => options.create_new(true),
        Existing::Overwrite => options.create(true).truncate(true),
    };
    match options.open(path) {
        Ok(file) => write(keys, &file, format, compression).map_err(|failure| {
            // That it fails is reported, and what was written may be only half of a number.
            let _ = match existing {
                Existing::Keep => fs::remove_file(path),
                // It may be a device, or the target of a link.
                Existing::Overwrite => file.set_len(0),
            };
            CommandError::Write { to: name, source: failure }
        }),
        // For a folder the message would wrongly promise that it can be overwritten.
        Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
            Err(GenerateError::Exists { file: path.to_owned() }.into())
        }
        Err(source) => Err(CommandError::Write { to: name, source }),
    }
}

fn write(
    keys: impl Iterator<Item = u32>,
    mut out: impl Write,
    format: KeyFormat,
    compression: Compression,
) -> io::Result<()> {
    match compression {
        Compression::None => write_plain(keys, &mut out, format),
        Compression::Gzip => {
            let mut packed = GzEncoder::new(out, flate2::Compression::default());
            write_plain(keys, &mut packed, format)?;
            packed.finish()?.flush()
        }
        Compression::Zstd => {
            let mut packed = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            write_plain(keys, &mut packed, format)?;
            packed.finish()?.flush()
        }
    }
}

fn write_plain(
    mut keys: impl Iterator<Item = u32>,
    out: &mut impl Write,
    format: KeyFormat,
) -> io::Result<()> {
    // Files and encoders are slow at a few bytes per call.
    let mut out = BufWriter::new(out);
    match format {
        KeyFormat::Text => keys.try_for_each(|key| writeln!(out, "{key}")),
        KeyFormat::U32 => keys.try_for_each(|key| out.write_all(&key.to_le_bytes())),
    }?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Input;

    fn written(name: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        write_keys([7, 300].into_iter(), &path, None, Existing::Keep).unwrap();
        let mut input = Input::open(&path).unwrap();
        let mut plain = Vec::new();
        while let Some([byte]) = input.next_record().unwrap() {
            plain.push(byte);
        }
        plain
    }

    #[test]
    fn the_name_says_format_and_compression() {
        for name in ["a.txt", "a.txt.gz", "a.zst", "a"] {
            assert_eq!(written(name), b"7\n300\n", "{name}");
        }
        for name in ["a.u32", "a.u32.gz", "a.U32.zst"] {
            assert_eq!(written(name), [7, 0, 0, 0, 44, 1, 0, 0], "{name}");
        }
    }

    #[test]
    fn a_file_that_exists_is_kept_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "precious and long").unwrap();
        let failure = write_keys([1].into_iter(), &path, None, Existing::Keep).unwrap_err();
        assert!(matches!(failure, CommandError::Generate(GenerateError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious and long");
        write_keys([1].into_iter(), &path, None, Existing::Overwrite).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n");
    }
}
