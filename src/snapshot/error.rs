//! Errors of writing and reading snapshots.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::serializer::{RegistryError, SerializerError};
use super::watch::Loss;

/// Why a snapshot could not be written or read. A cache that was to be loaded is unchanged in that case.
///
/// The displayed message does not include the cause, such as the error of the serializer:
/// [`source`](Error::source) returns it. [`is_limit`](Self::is_limit) distinguishes a limit that can be raised
/// from damage.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Reading or writing failed. If a path was given, the cause names it.
    Io(io::Error),
    /// Another error, of a file that was given by its path.
    File {
        /// The path, as it was given.
        path: PathBuf,
        /// The error.
        source: Box<SnapshotError>,
    },
    /// The path is not that of a regular file. Nothing was written or read.
    NotAFile {
        /// What it is: `FIFO`, `socket`, `character device`, …
        kind: &'static str,
    },
    /// The bytes do not begin like a snapshot.
    NotASnapshot,
    /// The snapshot has a newer version of the format.
    NewerVersion {
        /// Its version.
        given: u32,
        /// The newest version that this build reads.
        newest: u32,
    },
    /// The snapshot ends before it is complete.
    CutOff {
        /// Where it ends, in unpacked bytes.
        at: u64,
    },
    /// The bytes of the snapshot are not those that were written.
    Damaged {
        /// The damaged part.
        part: Part,
        /// Where that begins, in unpacked bytes.
        at: u64,
    },
    /// The snapshot needs a feature that this build lacks.
    Unsupported {
        /// The flags of its header, some of which this build does not support.
        flags: u32,
    },
    /// The serializer that it was written with is not registered.
    Serializer(RegistryError),
    /// A record is larger than allowed. It may be undamaged: the limit can be raised.
    RecordTooLong {
        /// Its size in bytes.
        given: u64,
        /// The limit ([`RestoreOptions::max_record_bytes`](super::RestoreOptions::max_record_bytes),
        /// [`SaveOptions::max_record_bytes`](super::SaveOptions::max_record_bytes)).
        limit: u64,
    },
    /// The snapshot would unpack to many times its size. It may be undamaged: the limit can be raised.
    TooPacked {
        /// The limit, in times of its size
        /// ([`RestoreOptions::max_expansion`](super::RestoreOptions::max_expansion)).
        limit: u32,
    },
    /// A key or value could not be serialized.
    Serialize(SerializerError),
    /// The serializer would change a key or value without an error.
    Inexact {
        /// The number of the entry, from 0, in the order of writing.
        record: u64,
        /// Its key as JSON, if the key can be written so and feature `json` is on.
        key: Option<String>,
        /// The serializer's name.
        serializer: String,
        /// What the serializer would lose.
        loss: Loss,
    },
    /// The serializer wrote an entry that it cannot read. Values such as `serde_json::Value` and untagged enums
    /// need a serializer whose format is self-describing.
    Unreadable {
        /// The number of the entry, from 0, in the order of writing.
        record: u64,
        /// Its key as JSON, if the key can be written so and feature `json` is on.
        key: Option<String>,
        /// The serializer's name.
        serializer: String,
        /// The error of the serializer.
        source: SerializerError,
    },
    /// An undamaged record is not a key and value of the requested types.
    Deserialize {
        /// The number of the record, from 0.
        record: u64,
        /// The error of the serializer.
        source: SerializerError,
    },
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum Part {
    /// The fields before the records.
    Header,
    /// A record, which is one entry.
    Record,
    /// The fields after the records: count and checksum.
    End,
    /// Bytes after the end.
    Rest,
    /// The packed bytes.
    Packing,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Record => "record",
            Self::End => "end",
            Self::Rest => "part after the end",
            Self::Packing => "packing",
        })
    }
}

impl SnapshotError {
    /// Whether the snapshot exceeds a limit, which can be raised: it may be undamaged.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        match self {
            Self::RecordTooLong { .. } | Self::TooPacked { .. } => true,
            Self::File { source, .. } => source.is_limit(),
            _ => false,
        }
    }

    /// Whether the fault lies in the system, not in the snapshot or the types.
    #[must_use]
    pub fn is_io(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::File { source, .. } => source.is_io(),
            _ => false,
        }
    }

    /// Whether there is no such file, as at the first start of a program that saves its cache when it ends.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() == io::ErrorKind::NotFound,
            Self::File { source, .. } => source.is_not_found(),
            _ => false,
        }
    }

    /// The path of the file, if one was given.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Io(error) => {
                let below = error.get_ref()?.downcast_ref::<AtPath>()?;
                Some(&below.path)
            }
            _ => None,
        }
    }

    /// The same error with the path of the file that it is about.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            // It stays `Io`, so that a caller can match on it.
            Self::Io(source) if source.get_ref().is_none_or(|below| !below.is::<AtPath>()) => {
                let (kind, path) = (source.kind(), path.to_owned());
                Self::Io(io::Error::new(kind, AtPath { path, source }))
            }
            Self::Io(_) | Self::File { .. } => self,
            other => Self::File { path: path.to_owned(), source: Box::new(other) },
        }
    }
}

/// An error of the system, and the file that it is about.
#[derive(Debug)]
struct AtPath {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl Error for AtPath {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Displayed as "entry 3 (key "a")", or without the key if that is not known.
struct Which<'e>(u64, &'e Option<String>);

impl fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(key) => write!(f, "entry {} (key {key})", self.0),
            None => write!(f, "entry {}", self.0),
        }
    }
}

/// Advice for values that the serializer of this name cannot carry.
fn instead(serializer: &str) -> &'static str {
    if serializer == "json" { "use `bincode` or `postcard`" } else { "use `json`" }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("a snapshot cannot be read or written"),
            Self::File { path, .. } => write!(f, "the snapshot {} cannot be used", path.display()),
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
            Self::RecordTooLong { given, limit } => write!(
                f,
                "limit exceeded (no damage): a record of {given} bytes; allowed are {limit}, raise \
                 `max_record_bytes`"
            ),
            Self::TooPacked { limit } => write!(
                f,
                "limit exceeded (no damage): the snapshot unpacks to more than {limit} times its size; raise \
                 `max_expansion` if you trust it"
            ),
            Self::Serialize(_) => f.write_str("an entry cannot be serialized"),
            Self::Inexact { record, key, serializer, loss } => write!(
                f,
                "{} has {loss}; `{serializer}` cannot carry it, {}",
                Which(*record, key),
                instead(serializer)
            ),
            Self::Unreadable { record, key, serializer, .. } => write!(
                f,
                "{} cannot be read back as `{serializer}` writes it; {}",
                Which(*record, key),
                instead(serializer)
            ),
            Self::Deserialize { record, .. } => {
                write!(f, "record {record} is not an entry of the requested types")
            }
        }
    }
}

impl Error for SnapshotError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::File { source, .. } => Some(source),
            // The message is that of the registry's error.
            Self::Serializer(source) => source.source(),
            Self::Serialize(source)
            | Self::Unreadable { source, .. }
            | Self::Deserialize { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Serialized with the message and its causes on one line.
impl serde::Serialize for SnapshotError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("SnapshotError", 3)?;
        fields.serialize_field("message", &with_causes(self))?;
        fields.serialize_field("is_limit", &self.is_limit())?;
        fields.serialize_field("path", &self.path().map(Path::to_string_lossy))?;
        fields.end()
    }
}

/// An error and its causes on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
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
