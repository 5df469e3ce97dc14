//! Limits on what bytes from outside can make a deserializer do.
//!
//! A few bytes can claim a list of billions of empty elements, or lists nested so deeply that the stack
//! overflows, and no format of payloads guards against both. So every deserializer is wrapped in one that counts
//! elements and depth, and announces no more elements than there are bytes.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// The most levels of nested values. The JSON serializer has the same limit.
pub(super) const MAX_DEPTH: u32 = 128;

/// The most elements in a payload of `bytes` bytes. Most elements take a byte or more, but some are empty.
pub(super) fn max_elements(bytes: usize) -> u64 {
    1024 + 4 * bytes as u64
}

/// How many more elements and levels may be deserialized.
pub(super) struct PayloadBudget<'p> {
    depth: Cell<u32>,
    elements: Cell<u64>,
    bytes: usize,
    /// The payload, if it is JSON.
    json: Option<&'p [u8]>,
}

impl<'p> PayloadBudget<'p> {
    /// The budget for a payload of `bytes` bytes.
    pub(super) fn for_payload(bytes: usize) -> Self {
        let elements = Cell::new(max_elements(bytes));
        Self { depth: Cell::new(MAX_DEPTH), elements, bytes, json: None }
    }

    /// The budget for a payload of JSON, whose numbers have no types.
    #[cfg(feature = "json")]
    pub(super) fn for_json(payload: &'p [u8]) -> Self {
        Self { json: Some(payload), ..Self::for_payload(payload.len()) }
    }

    /// Refuses a float that may differ from the integer that it was read from: JSON's integers of more than 64
    /// bits are read as floats if any type of number is accepted, and every integer is if a float is requested.
    fn check_float<E: Error>(&self, value: f64) -> Result<(), E> {
        /// Integers below this are read as integers.
        const LEAST: f64 = 9_223_372_036_854_775_808.0;
        match self.json {
            Some(payload) if value.abs() >= LEAST && has_integer(payload, value) => {
                Err(E::custom("an integer of more than 64 bits would become a float"))
            }
            _ => Ok(()),
        }
    }

    fn enter<E: Error>(&self) -> Result<Level<'_, 'p>, E> {
        let depth = self.depth.get();
        if depth == 0 {
            return Err(E::custom(format_args!("more than {MAX_DEPTH} values within each other")));
        }
        self.depth.set(depth - 1);
        Ok(Level(self))
    }

    fn take_element<E: Error>(&self) -> Result<(), E> {
        match self.elements.get().checked_sub(1) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => Err(E::custom("more elements than its bytes can hold")),
        }
    }
}

/// One level of nesting, while its value is read.
struct Level<'b, 'p>(&'b PayloadBudget<'p>);

impl Drop for Level<'_, '_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() + 1);
    }
}

/// Whether an integer in the JSON text becomes `value` as a float. Scans the whole text, but is called only for
/// numbers of more than 64 bits.
fn has_integer(json: &[u8], value: f64) -> bool {
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' => {
                let mut is_escaped = false;
                let end = after.iter().position(|byte| {
                    let is_end = *byte == b'"' && !is_escaped;
                    is_escaped = *byte == b'\\' && !is_escaped;
                    is_end
                });
                rest = after.get(end.map_or(after.len(), |end| end + 1)..).unwrap_or_default();
            }
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let length = after.iter().position(|byte| !is_part(byte)).unwrap_or(after.len());
                let text = &json[json.len() - after.len() - 1..json.len() - after.len() + length];
                rest = &after[length..];
                let is_integer = !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
                let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                if is_integer && parsed == Some(value) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Wraps a deserializer, visitor, seed or access, and keeps it within a budget.
pub(super) struct Limited<'b, T> {
    inner: T,
    budget: &'b PayloadBudget<'b>,
    /// Whether a float was requested.
    is_float: bool,
}

impl<'b, T> Limited<'b, T> {
    pub(super) fn new(inner: T, budget: &'b PayloadBudget<'_>) -> Self {
        Self { inner, budget, is_float: false }
    }

    fn float(inner: T, budget: &'b PayloadBudget<'_>) -> Self {
        Self { inner, budget, is_float: true }
    }

    /// Refuses an integer that would become a float and lose digits.
    fn check_integer<E: Error>(&self, is_exact: bool) -> Result<(), E> {
        if self.is_float && self.budget.json.is_some() && !is_exact {
            return Err(E::custom("an integer of more than 53 bits would become a float"));
        }
        Ok(())
    }
}

macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method(Limited::new(visitor, self.budget))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Limited<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_f32(Limited::float(visitor, self.budget))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_f64(Limited::float(visitor, self.budget))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_unit_struct(name, Limited::new(visitor, self.budget))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_newtype_struct(name, Limited::new(visitor, self.budget))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_tuple(len, Limited::new(visitor, self.budget))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_tuple_struct(name, len, Limited::new(visitor, self.budget))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_struct(name, fields, Limited::new(visitor, self.budget))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_enum(name, variants, Limited::new(visitor, self.budget))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $value:ty)*) => {$(
        fn $method<E: Error>(self, value: $value) -> Result<Self::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Limited<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool visit_i8: i8 visit_i16: i16 visit_i32: i32
        visit_i128: i128 visit_u8: u8 visit_u16: u16 visit_u32: u32
        visit_u128: u128 visit_f32: f32 visit_char: char visit_str: &str
        visit_borrowed_str: &'de str visit_string: String visit_bytes: &[u8]
        visit_borrowed_bytes: &'de [u8] visit_byte_buf: Vec<u8>
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.check_integer(u128::from(value) == value as f64 as u128)?;
        self.inner.visit_u64(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.check_integer(i128::from(value) == value as f64 as i128)?;
        self.inner.visit_i64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.budget.check_float(value)?;
        self.inner.visit_f64(value)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        let _level = self.budget.enter()?;
        self.inner.visit_some(Limited::new(inner, self.budget))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        let _level = self.budget.enter()?;
        self.inner.visit_newtype_struct(Limited::new(inner, self.budget))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        let _level = self.budget.enter()?;
        self.inner.visit_seq(Limited::new(access, self.budget))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        let _level = self.budget.enter()?;
        self.inner.visit_map(Limited::new(access, self.budget))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        let _level = self.budget.enter()?;
        self.inner.visit_enum(Limited::new(access, self.budget))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.budget.take_element()?;
        self.inner.next_element_seed(Limited::new(seed, self.budget))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(self.budget.bytes))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.budget.take_element()?;
        self.inner.next_key_seed(Limited::new(seed, self.budget))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Limited::new(seed, self.budget))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(self.budget.bytes))
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Limited<'b, A> {
    type Error = A::Error;
    type Variant = Limited<'b, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(Limited::new(seed, self.budget))?;
        Ok((value, Limited::new(variant, self.budget)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Limited::new(seed, self.budget))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Limited::new(visitor, self.budget))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Limited::new(visitor, self.budget))
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Limited<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(Limited::new(inner, self.budget))
    }
}
