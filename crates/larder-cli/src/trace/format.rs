//! The formats of traces, and which one a file's name stands for.

use clap::ValueEnum;
use serde::Serialize;

use crate::trace::compression::split_compression;
use crate::trace::error::TraceError;

/// The format of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// One key per line: any bytes, without the white space around them
    Text,
    /// Separated columns: a key, optionally a size in bytes, a TTL in seconds and a time
    Csv,
    /// Lines `start count ...`, each for `count` blocks starting at `start`
    Arc,
    /// One block number per line; lines that start with `*` are skipped
    Lirs,
    /// Raw little-endian 32-bit keys
    U32,
    /// Raw little-endian 64-bit keys
    U64,
    /// libCacheSim's 24-byte records: time, key, size, next access
    OracleGeneral,
}

/// The names that [`Format::of_name`] knows, for the error message.
const KNOWN_NAMES: &str = "known are .txt, .keys, .csv, .tsv, .arc, .lis, .lirs, .trc, .u32, \
                           .u64, *oracleGeneral*, each also with .gz or .zst";
const FORMATS: &str = "text, csv, arc, lirs, u32, u64 or oracle-general";

impl Format {
    /// The name that `--format` takes.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The requested format, or else the one of the file name.
    pub(super) fn of(file: &str, asked: Option<Self>) -> Result<Self, TraceError> {
        asked.or_else(|| Self::of_name(file)).ok_or_else(|| TraceError::UnknownFormat {
            file: file.to_owned(),
            known: KNOWN_NAMES,
            formats: FORMATS,
        })
    }

    fn of_name(file: &str) -> Option<Self> {
        let bare = split_compression(file).0.to_ascii_lowercase();
        let name = bare.rsplit(['/', '\\']).next().unwrap_or(&bare);
        // Checked before the suffix: such files are called `w01.oracleGeneral.bin`.
        if name.contains("oraclegeneral") {
            return Some(Format::OracleGeneral);
        }
        match name.rsplit_once('.')?.1 {
            "txt" | "keys" => Some(Format::Text),
            "csv" | "tsv" => Some(Format::Csv),
            "arc" | "lis" => Some(Format::Arc),
            "lirs" | "trc" => Some(Format::Lirs),
            "u32" => Some(Format::U32),
            "u64" => Some(Format::U64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_from_the_name_without_the_compression() {
        for (name, format) in [
            ("a.txt", Some(Format::Text)),
            ("dir.csv/a.TSV.gz", Some(Format::Csv)),
            ("OLTP.lis", Some(Format::Arc)),
            ("loop.trc.zst", Some(Format::Lirs)),
            ("x.u32.zst", Some(Format::U32)),
            ("x.u64", Some(Format::U64)),
            ("w01.oracleGeneral.bin.zst", Some(Format::OracleGeneral)),
            ("cluster52.oracleGeneral.sample10", Some(Format::OracleGeneral)),
            ("oracleGeneral/a.txt", Some(Format::Text)),
            ("dir.txt/trace", None),
            ("trace", None),
            ("a.gz", None),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}
