//! Finding values that a serializer cannot carry while it writes them.
//!
//! A serializer may write, without an error, a value that cannot be read, or that is read as another one. Two
//! checks prevent that. [`WatchedValue`] wraps every value on its way to the serializer and refuses what the format
//! is known to lose ([`Loss`]). It also notes which kind of value is in which place of a record, such as "a string
//! in the second field of the third variant". A record with a kind in a place where no record before it had one is
//! read back before it is written. Whether a value can be read nearly always depends on its type, so this finds
//! the values that cannot, and reads few records back.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::{self, Display};
use std::hash::{BuildHasherDefault, Hasher};

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// What a serializer would lose without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum Loss {
    /// A floating-point number that is infinite or NaN, which JSON cannot represent.
    NotFinite,
    /// `Some` of a value that JSON writes as `null`, such as `Some(None)`: it would be read as `None`.
    SomeOfNothing,
    /// A list or map whose length is known only at its end, such as that of a flattened structure,
    /// which binary serializers cannot write.
    UnknownLength,
    /// A field that is left out, as by `skip_serializing_if`: binary serializers write no names of fields, and
    /// would read the next field in its place.
    SkippedField,
}

impl Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "a floating-point number that is infinite or NaN",
            Self::SomeOfNothing => "`Some` of nothing, which would be read as `None`",
            Self::UnknownLength => "a list or map of unknown length, such as a flattened structure",
            Self::SkippedField => "a field that is left out where fields have no names",
        })
    }
}

/// A class of formats, by what they are known to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    /// Bincode and postcard.
    Binary,
    /// The format of a user's serializer, of which nothing is known.
    Other,
}

/// The most places and kinds that are noted. Beyond them only a new depth counts as new.
const MAX_PLACES: usize = 1 << 14;

/// The number of fields of a structure or tuple that have places of their own; the others share one.
const MAX_FIELDS: u64 = 256;

/// What was noted of a snapshot's records so far, and of the current one.
pub(super) struct Watch {
    format: Format,
    places: RefCell<HashSet<u64, BuildHasherDefault<PlaceHasher>>>,
    /// The place and kind that was noted last: the elements of a list are mostly of one kind.
    last: Cell<u64>,
    deepest: Cell<u32>,
    depth: Cell<u32>,
    elements: Cell<u64>,
    is_new: Cell<bool>,
    loss: Cell<Option<Loss>>,
}

/// What was noted of a record that was just serialized.
pub(super) struct Noted {
    /// Whether it has a kind of value in a place where no record before it had one.
    pub(super) is_new: bool,
    /// The number of its elements and fields, and one more for each value that contains others.
    pub(super) elements: u64,
}

impl Watch {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            places: RefCell::default(),
            last: Cell::new(0),
            deepest: Cell::new(0),
            depth: Cell::new(0),
            elements: Cell::new(0),
            is_new: Cell::new(true),
            loss: Cell::new(None),
        }
    }

    /// Wraps the next record's value.
    pub(super) fn over<'w, T: ?Sized>(&'w self, value: &'w T) -> WatchedValue<'w, T> {
        self.depth.set(0);
        self.elements.set(0);
        self.loss.set(None);
        WatchedValue { value, watch: self, place: ROOT, is_some: false }
    }

    /// What was noted of the record, if it was serialized.
    pub(super) fn noted(&self) -> Noted {
        Noted { is_new: self.is_new.replace(false), elements: self.elements.get() }
    }

    /// Why serializing failed, if this module refused a value.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.loss.take()
    }

    #[inline]
    fn note(&self, place: u64, kind: ValueKind) {
        let id = child(place, kind as u64);
        if self.last.replace(id) != id {
            self.note_new(id);
        }
    }

    fn note_new(&self, id: u64) {
        let mut places = self.places.borrow_mut();
        if places.len() < MAX_PLACES && places.insert(id) {
            self.is_new.set(true);
        }
    }

    fn enter(&self, place: u64, kind: ValueKind) {
        self.note(place, kind);
        self.depth.set(self.depth.get() + 1);
        self.elements.set(self.elements.get() + 1);
        if self.depth.get() > self.deepest.get() {
            self.deepest.set(self.depth.get());
            self.is_new.set(true);
        }
    }

    fn leave(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }

    fn refuse<E: Error>(&self, loss: Loss) -> E {
        self.loss.set(Some(loss));
        E::custom(loss)
    }
}

/// Places are well-mixed words already.
#[derive(Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = child(self.0, u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

const ROOT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A place within another one: the step of SplitMix64.
#[inline]
fn child(place: u64, which: u64) -> u64 {
    let word = place.wrapping_add(which.wrapping_add(1).wrapping_mul(ROOT));
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ word >> 31
}

/// The kind of a value in a place.
#[derive(Clone, Copy)]
enum ValueKind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    Newtype,
    Seq,
    Tuple,
    Map,
    Struct,
    Variant,
    Skipped,
}

/// Steps from the place of a value to the places within it, which differ from the numbers of fields and variants.
const ELEMENT: u64 = 1 << 32;
const KEY: u64 = 2 << 32;
const INNER: u64 = 3 << 32;

/// A value on its way to a serializer.
pub(super) struct WatchedValue<'w, T: ?Sized> {
    value: &'w T,
    watch: &'w Watch,
    place: u64,
    /// Whether it is inside of a `Some`.
    is_some: bool,
}

impl<T: Serialize + ?Sized> Serialize for WatchedValue<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        let Self { watch, place, is_some, .. } = *self;
        self.value.serialize(Watching { inner, watch, place, is_some })
    }
}

/// A serializer that notes and checks what passes through it.
struct Watching<'w, S> {
    inner: S,
    watch: &'w Watch,
    place: u64,
    is_some: bool,
}

impl<S: Serializer> Watching<'_, S> {
    /// Checks a value that JSON writes as `null`.
    fn check_nothing(&self) -> Result<(), S::Error> {
        if self.is_some && self.watch.format == Format::Json {
            return Err(self.watch.refuse(Loss::SomeOfNothing));
        }
        Ok(())
    }

    fn check_number(&self, is_finite: bool) -> Result<(), S::Error> {
        if !is_finite && self.watch.format == Format::Json {
            return Err(self.watch.refuse(Loss::NotFinite));
        }
        Ok(())
    }

    fn check_length(&self, length: Option<usize>) -> Result<(), S::Error> {
        if length.is_none() && self.watch.format == Format::Binary {
            return Err(self.watch.refuse(Loss::UnknownLength));
        }
        Ok(())
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty, $kind:ident;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.watch.note(self.place, ValueKind::$kind);
            self.inner.$method(value)
        }
    )*};
}

impl<'w, S: Serializer> Serializer for Watching<'w, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Within<'w, S::SerializeSeq>;
    type SerializeTuple = Within<'w, S::SerializeTuple>;
    type SerializeTupleStruct = Within<'w, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Within<'w, S::SerializeTupleVariant>;
    type SerializeMap = Within<'w, S::SerializeMap>;
    type SerializeStruct = Within<'w, S::SerializeStruct>;
    type SerializeStructVariant = Within<'w, S::SerializeStructVariant>;

    plain! {
        serialize_bool: bool, Bool;
        serialize_i8: i8, I8;
        serialize_i16: i16, I16;
        serialize_i32: i32, I32;
        serialize_i64: i64, I64;
        serialize_i128: i128, I128;
        serialize_u8: u8, U8;
        serialize_u16: u16, U16;
        serialize_u32: u32, U32;
        serialize_u64: u64, U64;
        serialize_u128: u128, U128;
        serialize_char: char, Char;
        serialize_str: &str, Str;
        serialize_bytes: &[u8], Bytes;
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.watch.note(self.place, ValueKind::F32);
        self.check_number(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.watch.note(self.place, ValueKind::F64);
        self.check_number(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.watch.note(self.place, ValueKind::None);
        self.check_nothing()?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.enter(self.place, ValueKind::Some);
        let Self { watch, place, .. } = self;
        let inner_value = WatchedValue { value, watch, place: child(place, INNER), is_some: true };
        let done = self.inner.serialize_some(&inner_value);
        watch.leave();
        done
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.watch.note(self.place, ValueKind::Unit);
        self.check_nothing()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.watch.note(self.place, ValueKind::Unit);
        self.check_nothing()?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.watch.note(child(self.place, u64::from(index)), ValueKind::Variant);
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.watch.enter(self.place, ValueKind::Newtype);
        let Self { watch, place, is_some, .. } = self;
        // JSON writes only the inner value.
        let inner_value = WatchedValue { value, watch, place: child(place, INNER), is_some };
        let done = self.inner.serialize_newtype_struct(name, &inner_value);
        watch.leave();
        done
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let (watch, place) = (self.watch, child(self.place, u64::from(index)));
        watch.enter(place, ValueKind::Variant);
        let inner_value = WatchedValue { value, watch, place: child(place, INNER), is_some: false };
        let done = self.inner.serialize_newtype_variant(name, index, variant, &inner_value);
        watch.leave();
        done
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.check_length(length)?;
        let Self { inner, watch, place, .. } = self;
        watch.enter(place, ValueKind::Seq);
        Ok(Within::new(inner.serialize_seq(length)?, watch, place))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        let Self { inner, watch, place, .. } = self;
        watch.enter(place, ValueKind::Tuple);
        Ok(Within::new(inner.serialize_tuple(length)?, watch, place))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let Self { inner, watch, place, .. } = self;
        watch.enter(place, ValueKind::Tuple);
        Ok(Within::new(inner.serialize_tuple_struct(name, length)?, watch, place))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let (watch, place) = (self.watch, child(self.place, u64::from(index)));
        watch.enter(place, ValueKind::Variant);
        let inner = self.inner.serialize_tuple_variant(name, index, variant, length)?;
        Ok(Within::new(inner, watch, place))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.check_length(length)?;
        let Self { inner, watch, place, .. } = self;
        watch.enter(place, ValueKind::Map);
        Ok(Within::new(inner.serialize_map(length)?, watch, place))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let Self { inner, watch, place, .. } = self;
        watch.enter(place, ValueKind::Struct);
        Ok(Within::new(inner.serialize_struct(name, length)?, watch, place))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let (watch, place) = (self.watch, child(self.place, u64::from(index)));
        watch.enter(place, ValueKind::Variant);
        let inner = self.inner.serialize_struct_variant(name, index, variant, length)?;
        Ok(Within::new(inner, watch, place))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.note(self.place, ValueKind::Str);
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A list, map, tuple or structure that is being written.
struct Within<'w, C> {
    inner: C,
    watch: &'w Watch,
    place: u64,
    /// The number of the next field.
    field: u64,
}

impl<'w, C> Within<'w, C> {
    fn new(inner: C, watch: &'w Watch, place: u64) -> Self {
        Self { inner, watch, place, field: 0 }
    }

    /// `value`, in a place that it shares with all elements or all keys.
    #[inline]
    fn shared_place<'v, T: ?Sized>(&self, value: &'v T, which: u64) -> WatchedValue<'v, T>
    where
        'w: 'v,
    {
        self.watch.elements.set(self.watch.elements.get() + 1);
        WatchedValue { value, watch: self.watch, place: child(self.place, which), is_some: false }
    }

    /// `value`, in a place of its own.
    #[inline]
    fn own_place<'v, T: ?Sized>(&mut self, value: &'v T) -> WatchedValue<'v, T>
    where
        'w: 'v,
    {
        // Long arrays are tuples too.
        self.field = (self.field + 1).min(MAX_FIELDS);
        self.shared_place(value, self.field)
    }
}

impl<C: SerializeSeq> SerializeSeq for Within<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let value = self.shared_place(value, ELEMENT);
        self.inner.serialize_element(&value)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.watch.leave();
        self.inner.end()
    }
}

impl<C: SerializeMap> SerializeMap for Within<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        let key = self.shared_place(key, KEY);
        self.inner.serialize_key(&key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let value = self.shared_place(value, ELEMENT);
        self.inner.serialize_value(&value)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.watch.leave();
        self.inner.end()
    }
}

macro_rules! fields {
    ($($trait:ident: $method:ident;)*) => {$(
        impl<C: $trait> $trait for Within<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let value = self.own_place(value);
                self.inner.$method(&value)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.watch.leave();
                self.inner.end()
            }
        }
    )*};
}

fields! {
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! named_fields {
    ($($trait:ident;)*) => {$(
        impl<C: $trait> $trait for Within<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let value = self.own_place(value);
                self.inner.serialize_field(name, &value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                if self.watch.format == Format::Binary {
                    return Err(self.watch.refuse(Loss::SkippedField));
                }
                self.field = (self.field + 1).min(MAX_FIELDS);
                self.watch.note(child(self.place, self.field), ValueKind::Skipped);
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.watch.leave();
                self.inner.end()
            }
        }
    )*};
}

named_fields! {
    SerializeStruct;
    SerializeStructVariant;
}
