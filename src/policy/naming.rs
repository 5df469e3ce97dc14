//! A policy as a value in a configuration: how it is read, written and compared.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::{Policy, registry};
use crate::base::error::ParsePolicyError;

/// Shows the name.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads a name, as [`Policy::named`] does, but refuses an unknown one.
impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(name: &str) -> Result<Self, ParsePolicyError> {
        registry::find(name).ok_or_else(|| ParsePolicyError::Unknown {
            given: name.to_owned(),
            known: Self::names().collect(),
        })
    }
}

/// A policy of the library, or one that was [registered](super::register_policy), is the same each
/// time it is chosen. Other custom policies equal their clones only: two calls of [`Policy::custom`] make
/// policies that differ, even if they have the same name.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.factory, &other.factory) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            _ => false,
        };
        is_same && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal policies may differ in the case of their names.
        self.name.bytes().for_each(|byte| state.write_u8(byte.to_ascii_lowercase()));
        state.write_u8(0xff);
    }
}

/// Writes the name. A policy that is not registered under its name is refused, because it could not be
/// read back.
#[cfg(feature = "serde")]
impl serde::Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if registry::find(self.name()).as_ref() != Some(self) {
            return Err(serde::ser::Error::custom(format_args!(
                "policy `{self}` is not registered under its name; use `register_policy`"
            )));
        }
        serializer.serialize_str(self.name())
    }
}

/// Reads the name of a policy of the library, or of one that was
/// [registered](super::register_policy) before.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
