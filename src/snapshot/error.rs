//! What can go wrong with a snapshot.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::serializer::{RegistryError, SerializerError};
use super::watch::Loss;

/// Why a snapshot could not be written or read. Whatever the reason, a cache that was to be loaded
/// is as before.
///
/// What is displayed is one layer; [`source`](Error::source) has what lies below it, such as what
/// the serializer says. [`is_limit`](Self::is_limit) tells a limit that can be lifted from damage.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Reading or writing failed. Where a path was given, the error below names it.
    Io(io::Error),
    /// Something else was wrong with a file that was given by its path.
    File {
        /// The path, as it was given.
        path: PathBuf,
        /// What was wrong.
        source: Box<SnapshotError>,
    },
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
    /// A record is larger than allowed. That is no damage: the limit can be raised.
    RecordTooLong {
        /// Its size in bytes.
        given: u64,
        /// What is allowed ([`LoadOptions::max_record_bytes`](super::LoadOptions::max_record_bytes),
        /// [`SaveOptions::max_record_bytes`](super::SaveOptions::max_record_bytes)).
        limit: u64,
    },
    /// It would unpack to far more than it is. That is no damage: the limit can be raised.
    TooPacked {
        /// How many times its size is allowed
        /// ([`LoadOptions::max_expansion`](super::LoadOptions::max_expansion)).
        limit: u32,
    },
    /// A key or value could not be serialized.
    Serialize(SerializerError),
    /// The serializer would change a key or value without saying so.
    Inexact {
        /// Which entry, from 0, in the order of writing.
        record: u64,
        /// Its key as JSON, if that can be written and feature `json` is on.
        key: Option<String>,
        /// The serializer's name.
        serializer: String,
        /// What it would lose.
        loss: Loss,
    },
    /// The serializer wrote an entry that it cannot read. Kinds of values that say themselves what
    /// they are, such as `serde_json::Value` and untagged enums, need a serializer that says so too.
    Unreadable {
        /// Which entry, from 0, in the order of writing.
        record: u64,
        /// Its key as JSON, if that can be written and feature `json` is on.
        key: Option<String>,
        /// The serializer's name.
        serializer: String,
        /// What the serializer says.
        source: SerializerError,
    },
    /// An undamaged record is no key and value of the types that were asked for.
    Deserialize {
        /// Which record, from 0.
        record: u64,
        /// What the serializer says.
        source: SerializerError,
    },
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
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

impl SnapshotError {
    /// Whether the snapshot is beyond a limit, which can be raised: it may be undamaged.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        match self {
            Self::RecordTooLong { .. } | Self::TooPacked { .. } => true,
            Self::File { source, .. } => source.is_limit(),
            _ => false,
        }
    }

    /// Whether the machine is to blame rather than the snapshot or the types.
    #[must_use]
    pub fn is_io(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::File { source, .. } => source.is_io(),
            _ => false,
        }
    }

    /// The path of the file, where one was given.
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

    /// Notes which file it was about.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            // They stay what they are, so that a caller can match on them.
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
        self.path.display().fmt(f)
    }
}

impl Error for AtPath {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// "entry 3 (key "a")", or without the key where that is not known.
struct Which<'e>(u64, &'e Option<String>);

impl fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(key) => write!(f, "entry {} (key {key})", self.0),
            None => write!(f, "entry {}", self.0),
        }
    }
}

/// The serializers that carry what the one of this name cannot.
fn instead(serializer: &str) -> &'static str {
    if serializer == "json" { "use `bincode` or `postcard`" } else { "use `json`" }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("reading or writing failed"),
            Self::File { path, .. } => path.display().fmt(f),
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
                "limit reached, which is no damage: a record of {given} bytes; allowed are {limit}, \
                 raise `max_record_bytes`"
            ),
            Self::TooPacked { limit } => write!(
                f,
                "limit reached, which is no damage: it unpacks to more than {limit} times its size; \
                 raise `max_expansion` if you trust it"
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
                write!(f, "record {record} is no entry of the types asked for")
            }
        }
    }
}

impl Error for SnapshotError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::File { source, .. } => Some(source),
            // Displayed as it is.
            Self::Serializer(source) => source.source(),
            Self::Serialize(source)
            | Self::Unreadable { source, .. }
            | Self::Deserialize { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What is displayed and what lies below it, on one line.
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
