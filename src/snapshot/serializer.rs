//! Serializers, which turn a key and its value into the payload of a record, and their registry.
#![forbid(unsafe_code)]

use std::any::Any;
#[cfg(feature = "bincode")]
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

pub use erased_serde;

/// Turns values into bytes and back.
///
/// The bytes that it reads may be malformed in any way, but are no longer than the
/// [limit on records](super::RestoreOptions::max_record_bytes), and the deserializer that it passes on is kept
/// within limits on depth and on the number of elements. It must read all bytes or fail if some are left, and
/// must not trust a length that it reads. It may be called while the calling thread is pinned, so it must not
/// wait.
///
/// # Examples
/// A serializer of your own, from registration to a file:
/// ```
/// use std::sync::Arc;
/// use larder::Cache;
/// use larder::snapshot::{SaveOptions, RestoreOptions, Serializer, SerializerError, Serializers};
/// use larder::snapshot::erased_serde::{self, Deserializer, Serialize};
///
/// /// JSON with every bit inverted.
/// struct Inverted;
///
/// impl Serializer for Inverted {
///     fn name(&self) -> &str { "inverted" }
///     fn is_binary(&self) -> bool { true }
///     fn serialize(&self, value: &dyn Serialize, out: &mut Vec<u8>) -> Result<(), SerializerError> {
///         let start = out.len();
///         serde_json::to_writer(&mut *out, value).map_err(SerializerError::new)?;
///         out[start..].iter_mut().for_each(|byte| *byte = !*byte);
///         Ok(())
///     }
///     fn deserialize(
///         &self,
///         bytes: &[u8],
///         take: &mut dyn FnMut(&mut dyn Deserializer<'_>) -> Result<(), erased_serde::Error>,
///     ) -> Result<(), SerializerError> {
///         let bytes: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
///         let mut json = serde_json::Deserializer::from_slice(&bytes);
///         take(&mut <dyn Deserializer<'_>>::erase(&mut json)).map_err(SerializerError::new)?;
///         json.end().map_err(SerializerError::new)
///     }
/// }
///
/// let mut serializers = Serializers::standard();
/// serializers.register(Arc::new(Inverted))?;
///
/// let cache: Cache<String, u32> = Cache::new(10);
/// cache.insert("seven".to_owned(), 7);
/// let mut file = Vec::new();
/// cache.save_to(&mut file, &SaveOptions::new(serializers.get("Inverted")?))?;
///
/// let loaded: Cache<String, u32> = Cache::new(10);
/// loaded.load_from(file.as_slice(), &RestoreOptions::new().serializers(serializers))?;
/// assert_eq!(loaded.get("seven"), Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Serializer: Any + Send + Sync {
    /// The name, which every snapshot contains: 1 to 64 ASCII letters, digits, `_` or `-`.
    fn name(&self) -> &str;

    /// The extension of file names, without the dot. Default: the name.
    fn extension(&self) -> &str {
        self.name()
    }

    /// Whether payloads are binary. If not, each payload must be text without a line feed; the whole snapshot is
    /// text then, with one line for each record.
    fn is_binary(&self) -> bool;

    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// If `value` cannot be serialized. The save fails then, and appended bytes are dropped.
    fn serialize(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError>;

    /// Calls `take` once, with a deserializer of `bytes`.
    ///
    /// # Errors
    /// If `bytes` are malformed, or some are left.
    fn deserialize(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), SerializerError>;
}

/// Why a serializer failed: wraps its own error of any type.
#[derive(Debug)]
pub struct SerializerError {
    // Boxed, because only the serializer knows its type.
    cause: Box<dyn Error + Send + Sync>,
}

impl SerializerError {
    /// Wraps the serializer's own error.
    pub fn new(cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Box::new(cause) }
    }
}

impl fmt::Display for SerializerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for SerializerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

#[cfg(any(feature = "bincode", feature = "postcard"))]
#[derive(Debug)]
struct TrailingBytes(usize);

#[cfg(any(feature = "bincode", feature = "postcard"))]
impl fmt::Display for TrailingBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes are left over", self.0)
    }
}

#[cfg(any(feature = "bincode", feature = "postcard"))]
impl Error for TrailingBytes {}

/// Why a name was not found in a registry, or cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name is not registered.
    Unknown {
        /// The kind of registry: `serializer`, `eviction policy`.
        what: &'static str,
        /// The name that was requested.
        given: String,
        /// The names that are registered.
        known: Vec<String>,
    },
    /// The name is taken.
    AlreadyRegistered {
        /// The kind of registry.
        what: &'static str,
        /// The name, in lower case.
        given: String,
        /// The names that are registered.
        known: Vec<String>,
    },
    /// The name is empty, longer than 64 characters, or has characters other than ASCII letters, digits, `_` and
    /// `-`.
    BadName {
        /// The kind of registry.
        what: &'static str,
        /// The name that was given.
        given: String,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { what, given, known } if known.is_empty() => {
                write!(
                    f,
                    "unknown {what} `{given}`; none is registered, see the features of the crate"
                )
            }
            Self::Unknown { what, given, known } => {
                write!(f, "unknown {what} `{given}`; available: {}", known.join(", "))
            }
            Self::AlreadyRegistered { what, given, known } => {
                write!(f, "{what} `{given}` is already registered; taken: {}", known.join(", "))
            }
            Self::BadName { what, given } => write!(
                f,
                "{what} name `{}`; use 1 to 64 ASCII letters, digits, `_` or `-`",
                given.escape_debug()
            ),
        }
    }
}

impl Error for RegistryError {}

/// Checks a new name for a registry that has the names `known`, and returns it in lower case.
pub(crate) fn check_name(
    what: &'static str,
    given: &str,
    known: Vec<String>,
) -> Result<String, RegistryError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if given.is_empty() || given.len() > 64 || !given.bytes().all(is_allowed) {
        return Err(RegistryError::BadName { what, given: given.to_owned() });
    }
    let given = given.to_ascii_lowercase();
    if known.iter().any(|known| known.eq_ignore_ascii_case(&given)) {
        return Err(RegistryError::AlreadyRegistered { what, given, known });
    }
    Ok(given)
}

/// Serializers by name, without regard to case. A clone is an independent registry.
#[derive(Clone)]
pub struct Serializers {
    all: Vec<Arc<dyn Serializer>>,
}

const WHAT: &str = "serializer";

impl Serializers {
    /// The serializers of the library: `bincode`, `json` and `postcard`, each with the feature of its name.
    #[must_use]
    pub fn standard() -> Self {
        let all: Vec<Arc<dyn Serializer>> = vec![
            #[cfg(feature = "bincode")]
            Arc::new(Bincode),
            #[cfg(feature = "json")]
            Arc::new(Json),
            #[cfg(feature = "postcard")]
            Arc::new(Postcard),
        ];
        Self { all }
    }

    /// Adds a serializer.
    ///
    /// # Errors
    /// If its name is taken or not valid.
    pub fn register(&mut self, serializer: Arc<dyn Serializer>) -> Result<(), RegistryError> {
        check_name(WHAT, serializer.name(), self.names().collect())?;
        self.all.push(serializer);
        Ok(())
    }

    /// The serializer of that name.
    ///
    /// # Errors
    /// If there is none; the error lists the names of all.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Serializer>, RegistryError> {
        let named = self.all.iter().find(|known| known.name().eq_ignore_ascii_case(name));
        named.cloned().ok_or_else(|| RegistryError::Unknown {
            what: WHAT,
            given: name.to_owned(),
            known: self.names().collect(),
        })
    }

    /// The names of all, in lower case.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|serializer| serializer.name().to_ascii_lowercase())
    }
}

impl Default for Serializers {
    fn default() -> Self {
        Self::standard()
    }
}

impl fmt::Debug for Serializers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// `bincode` 1.3 with fixed-width integers: binary and fast; reading needs the types that were saved.
#[cfg(feature = "bincode")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Bincode;

#[cfg(feature = "bincode")]
impl Serializer for Bincode {
    fn name(&self) -> &str {
        "bincode"
    }

    fn is_binary(&self) -> bool {
        true
    }

    fn serialize(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError> {
        Self::write(value, out)
    }

    fn deserialize(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), SerializerError> {
        Self::read(&mut Cow::Borrowed(bytes), |deserializer| {
            take(&mut <dyn erased_serde::Deserializer<'_>>::erase(deserializer))
        })
    }
}

/// The same for callers that know the type of the value, without a dynamic call for each of its parts.
#[cfg(feature = "bincode")]
impl Bincode {
    #[inline]
    pub(super) fn write<T: serde::Serialize + ?Sized>(
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError> {
        use bincode::Options;
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        // Not `serialize_into`, which counts the bytes first and so serializes twice.
        let mut serializer = bincode::Serializer::new(out, options);
        value.serialize(&mut serializer).map_err(SerializerError::new)
    }

    /// If the value ends in a large buffer, it may take over the memory of `bytes`, which is empty afterwards.
    #[inline]
    pub(super) fn read<T, E: Error + Send + Sync + 'static>(
        bytes: &mut Cow<'_, [u8]>,
        take: impl FnOnce(&mut BincodeDeserializer<'_, '_>) -> Result<T, E>,
    ) -> Result<T, SerializerError> {
        use bincode::Options;
        let options = bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .with_limit(bytes.len() as u64)
            .allow_trailing_bytes();
        // Read once the deserializer is done.
        let mut at = 0;
        let reader = PayloadReader { bytes, at: &mut at };
        let mut deserializer = bincode::Deserializer::with_bincode_read(reader, options);
        let taken = take(&mut deserializer).map_err(SerializerError::new)?;
        match bytes.len() - at {
            0 => Ok(taken),
            left => Err(SerializerError::new(TrailingBytes(left))),
        }
    }
}

/// Integers of fixed width; a limit at the bytes that there are; and left-over bytes allowed, because `read`
/// checks for them itself.
#[cfg(feature = "bincode")]
type BincodeOptions = bincode::config::WithOtherTrailing<
    bincode::config::WithOtherLimit<
        bincode::config::WithOtherIntEncoding<
            bincode::DefaultOptions,
            bincode::config::FixintEncoding,
        >,
        bincode::config::Bounded,
    >,
    bincode::config::AllowTrailing,
>;

#[cfg(feature = "bincode")]
pub(super) type BincodeDeserializer<'r, 'b> =
    bincode::Deserializer<PayloadReader<'r, 'b>, BincodeOptions>;

/// Reads a payload, and stores its progress where the owner of the payload sees it.
#[cfg(feature = "bincode")]
pub(super) struct PayloadReader<'r, 'b> {
    bytes: &'r mut Cow<'b, [u8]>,
    /// At most the length of `bytes`.
    at: &'r mut usize,
}

#[cfg(feature = "bincode")]
impl PayloadReader<'_, '_> {
    /// From this size on, a buffer takes over the payload's memory instead of a copy, and the next payload needs
    /// new memory.
    const LARGE: usize = 64 * 1024;

    fn take(&mut self, len: usize) -> bincode::Result<&[u8]> {
        let Some(taken) = self.bytes[*self.at..].get(..len) else {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        };
        *self.at += len;
        Ok(taken)
    }
}

#[cfg(feature = "bincode")]
impl std::io::Read for PayloadReader<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = (&self.bytes[*self.at..]).read(into)?;
        *self.at += read;
        Ok(read)
    }

    fn read_exact(&mut self, into: &mut [u8]) -> std::io::Result<()> {
        (&self.bytes[*self.at..]).read_exact(into)?;
        *self.at += into.len();
        Ok(())
    }
}

#[cfg(feature = "bincode")]
impl<'de> bincode::BincodeRead<'de> for PayloadReader<'_, '_> {
    fn forward_read_str<V>(&mut self, length: usize, visitor: V) -> bincode::Result<V::Value>
    where
        V: serde::de::Visitor<'de>,
    {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|error| {
            bincode::Error::from(bincode::ErrorKind::InvalidUtf8Encoding(error))
        })?;
        visitor.visit_str(text)
    }

    fn get_byte_buffer(&mut self, length: usize) -> bincode::Result<Vec<u8>> {
        let is_rest = self.bytes.len() - *self.at == length;
        // The bytes before the buffer become its unused capacity, so they should be few.
        if let Cow::Owned(bytes) = &mut *self.bytes
            && is_rest
            && length >= Self::LARGE
            && *self.at <= length / 64
        {
            let mut bytes = std::mem::take(bytes);
            bytes.drain(..std::mem::take(self.at));
            return Ok(bytes);
        }
        self.take(length).map(<[u8]>::to_vec)
    }

    fn forward_read_bytes<V>(&mut self, length: usize, visitor: V) -> bincode::Result<V::Value>
    where
        V: serde::de::Visitor<'de>,
    {
        visitor.visit_bytes(self.take(length)?)
    }
}

/// JSON: readable by people, and by programs that do not know the types.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Json;

#[cfg(feature = "json")]
impl Serializer for Json {
    fn name(&self) -> &str {
        "json"
    }

    fn is_binary(&self) -> bool {
        false
    }

    fn serialize(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError> {
        serde_json::to_writer(out, value).map_err(SerializerError::new)
    }

    fn deserialize(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), SerializerError> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        take(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer))
            .map_err(SerializerError::new)?;
        deserializer.end().map_err(SerializerError::new)
    }
}

/// `postcard`: binary and small.
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl Serializer for Postcard {
    fn name(&self) -> &str {
        "postcard"
    }

    fn is_binary(&self) -> bool {
        true
    }

    fn serialize(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError> {
        let start = std::mem::take(out);
        *out = postcard::to_extend(value, start).map_err(SerializerError::new)?;
        Ok(())
    }

    fn deserialize(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), SerializerError> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        take(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer))
            .map_err(SerializerError::new)?;
        match deserializer.finalize().map_err(SerializerError::new)?.len() {
            0 => Ok(()),
            left => Err(SerializerError::new(TrailingBytes(left))),
        }
    }
}
