//! What can go wrong with a snapshot.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;

use super::serializer::{RegistryError, SerializerError};

/// Why a snapshot could not be written or read. Whatever the reason, a cache that was to be loaded
/// is as before.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Reading or writing failed.
    Io(io::Error),
    /// The name stands for something else than a regular file. Nothing was written or read.
    NotAFile {
        /// What it stands for: `FIFO`, `socket`, `character device`, …
        kind: &'static str,
    },
    /// The bytes do not begin as a snapshot does.
    NotASnapshot,
    /// It is of a newer version of the format.
    NewerVersion {
        /// The version it says.
        given: u32,
        /// The newest that is understood.
        newest: u32,
    },
    /// It ends before it is complete.
    CutOff {
        /// After so many bytes, unpacked.
        at: u64,
    },
    /// Its bytes are not what was written.
    Damaged {
        /// Which part is: a name from the format.
        part: Part,
        /// Where that begins, in bytes, unpacked.
        at: u64,
    },
    /// It needs a feature that this build lacks.
    Unsupported {
        /// The flags that it has and this build does not know.
        flags: u32,
    },
    /// The serializer that it was written with is not registered.
    Serializer(RegistryError),
    /// A record is larger than allowed.
    RecordTooLong {
        /// Its size in bytes.
        given: u64,
        /// What is allowed ([`LoadOptions::max_record_bytes`](super::LoadOptions::max_record_bytes)).
        limit: u64,
    },
    /// It would unpack to far more than it is.
    TooPacked {
        /// How many times its size is allowed
        /// ([`LoadOptions::max_expansion`](super::LoadOptions::max_expansion)).
        limit: u32,
    },
    /// A key or value could not be serialized.
    Serialize(SerializerError),
    /// An undamaged record is no key and value of the types that were asked for.
    Deserialize {
        /// Which record, from 0.
        record: u64,
        /// What the serializer says.
        source: SerializerError,
    },
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// What stands before the records.
    Header,
    /// A record: an entry.
    Record,
    /// What stands after them: count and checksum.
    End,
    /// Bytes after the end.
    Rest,
    /// The packing.
    Packing,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Record => "record",
            Self::End => "end",
            Self::Rest => "part behind the end",
            Self::Packing => "packing",
        })
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => write!(f, "reading or writing failed: {source}"),
            Self::NotAFile { kind } => write!(
                f,
                "{kind} in the place of a file; use the name of a regular file, or `save_to` and \
                 `load_from` with a stream"
            ),
            Self::NotASnapshot => f.write_str("not a snapshot of larder"),
            Self::NewerVersion { given, newest } => {
                write!(f, "snapshot of format {given}; this build understands up to {newest}")
            }
            Self::CutOff { at } => write!(f, "snapshot is cut off after {at} bytes"),
            Self::Damaged { part, at } => write!(f, "snapshot is damaged: the {part} at byte {at}"),
            Self::Unsupported { flags } => write!(
                f,
                "snapshot needs what this build lacks (flags {flags:#x}); 0x1 is feature `zstd`"
            ),
            Self::Serializer(source) => source.fmt(f),
            Self::RecordTooLong { given, limit } => {
                write!(f, "record of {given} bytes; allowed are {limit}, see `max_record_bytes`")
            }
            Self::TooPacked { limit } => write!(
                f,
                "snapshot unpacks to more than {limit} times its size; see `max_expansion`"
            ),
            Self::Serialize(source) => write!(f, "an entry cannot be serialized: {source}"),
            Self::Deserialize { record, source } => {
                write!(f, "record {record} is no entry of the types asked for: {source}")
            }
        }
    }
}

impl Error for SnapshotError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Serializer(source) => Some(source),
            Self::Serialize(source) | Self::Deserialize { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<RegistryError> for SnapshotError {
    fn from(source: RegistryError) -> Self {
        Self::Serializer(source)
    }
}
