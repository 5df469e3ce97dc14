//! A serializer together with its kind, which decides how values reach the serializer, what they are checked
//! for, and which limits hold when they are read.
#![forbid(unsafe_code)]

use std::any::Any;
#[cfg(feature = "bincode")]
use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limits::{Limited, PayloadBudget};
#[cfg(feature = "bincode")]
use super::serializer::Bincode;
#[cfg(feature = "json")]
use super::serializer::Json;
#[cfg(feature = "postcard")]
use super::serializer::Postcard;
use super::serializer::{Serializer, SerializerError};
use super::watch::Format;

/// A serializer with its kind, which is determined once.
#[derive(Clone)]
pub(super) struct Codec {
    serializer: Arc<dyn Serializer>,
    kind: CodecKind,
}

#[derive(Clone, Copy)]
enum CodecKind {
    /// Called with the types of key and value: a call through a trait object for each part of a value would
    /// take as long as everything else.
    #[cfg(feature = "bincode")]
    Bincode,
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "postcard")]
    Postcard,
    /// A serializer of the user's.
    Custom,
}

impl Codec {
    pub(super) fn new(serializer: Arc<dyn Serializer>) -> Self {
        let kind = match &*serializer as &dyn Any {
            #[cfg(feature = "bincode")]
            own if own.is::<Bincode>() => CodecKind::Bincode,
            #[cfg(feature = "json")]
            own if own.is::<Json>() => CodecKind::Json,
            #[cfg(feature = "postcard")]
            own if own.is::<Postcard>() => CodecKind::Postcard,
            _ => CodecKind::Custom,
        };
        Self { serializer, kind }
    }

    pub(super) fn name(&self) -> &str {
        self.serializer.name()
    }

    pub(super) fn is_binary(&self) -> bool {
        self.serializer.is_binary()
    }

    pub(super) fn format(&self) -> Format {
        match self.kind {
            #[cfg(feature = "json")]
            CodecKind::Json => Format::Json,
            #[cfg(feature = "bincode")]
            CodecKind::Bincode => Format::Binary,
            #[cfg(feature = "postcard")]
            CodecKind::Postcard => Format::Binary,
            CodecKind::Custom => Format::Other,
        }
    }

    /// Appends `value` to `out`.
    #[inline]
    pub(super) fn serialize<T: Serialize>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError> {
        match self.kind {
            #[cfg(feature = "bincode")]
            CodecKind::Bincode => Bincode::write(value, out),
            _ => self.serializer.serialize(value, out),
        }
    }

    /// The value in `payload`, read within limits. The bytes in `payload` mean nothing afterwards.
    #[cfg_attr(
        not(feature = "bincode"),
        expect(clippy::ptr_arg, reason = "for bincode, which takes it")
    )]
    pub(super) fn deserialize<T: for<'de> Deserialize<'de>>(
        &self,
        payload: &mut Vec<u8>,
    ) -> Result<T, SerializerError> {
        let budget = match self.kind {
            #[cfg(feature = "bincode")]
            CodecKind::Bincode => {
                let budget = PayloadBudget::for_payload(payload.len());
                let mut bytes = Cow::Owned(std::mem::take(payload));
                let value =
                    Bincode::read(&mut bytes, |it| T::deserialize(Limited::new(it, &budget)));
                *payload = bytes.into_owned();
                return value;
            }
            #[cfg(feature = "json")]
            CodecKind::Json => PayloadBudget::for_json(payload),
            _ => PayloadBudget::for_payload(payload.len()),
        };
        let mut value = None;
        self.serializer.deserialize(payload, &mut |deserializer| {
            value = Some(T::deserialize(Limited::new(deserializer, &budget))?);
            Ok(())
        })?;
        value.ok_or_else(|| SerializerError::new(NothingTaken))
    }
}

/// A serializer did not call `take` with a deserializer.
#[derive(Debug)]
struct NothingTaken;

impl std::fmt::Display for NothingTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the serializer has passed on no deserializer")
    }
}

impl std::error::Error for NothingTaken {}
