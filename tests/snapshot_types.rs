//! Keys and values of every kind that serde knows come back from a snapshot as they were, by every
//! serializer, and so through the bounds that deserializing runs within.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt;

use larder::snapshot::{LoadOptions, SaveOptions, Serializers, SnapshotError};
use larder::{Cache, Maintenance};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tuple(u8, String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Choice {
    Nothing,
    One(i64),
    Two(i8, char),
    Named { wide: bool, text: String },
}

/// A list within a list within a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

/// Bytes as such, not as a list of numbers.
#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taken;
        impl<'de> Visitor<'de> for Taken {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            // JSON has no bytes.
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut numbers: A,
            ) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = numbers.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Taken)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    truth: bool,
    signed: (i8, i16, i32, i64, i128),
    unsigned: (u8, u16, u32, u64, u128),
    real: (f32, f64),
    letter: char,
    text: String,
    bytes: Bytes,
    none: Option<u8>,
    some: Option<Option<String>>,
    nothing: (),
    unit: Unit,
    newtype: Newtype,
    tuple: Tuple,
    choices: Vec<Choice>,
    by_choice: BTreeMap<String, Vec<Choice>>,
    array: [u16; 3],
    boxed: Box<str>,
    nested: Nested,
}

fn everything() -> Everything {
    let named = Choice::Named { wide: true, text: "\u{1f980} \n".to_owned() };
    let choices = vec![Choice::Nothing, Choice::One(i64::MIN), Choice::Two(-1, 'ß'), named];
    Everything {
        truth: true,
        signed: (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN),
        unsigned: (u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX),
        real: (0.1, -f64::MIN_POSITIVE),
        letter: '\u{10ffff}',
        text: "a\"b\\c".to_owned(),
        bytes: Bytes((0..=255).collect()),
        none: None,
        some: Some(Some(String::new())),
        nothing: (),
        unit: Unit,
        newtype: Newtype(7),
        tuple: Tuple(8, "nine".to_owned()),
        by_choice: BTreeMap::from([("all".to_owned(), choices.clone()), (String::new(), vec![])]),
        choices,
        array: [1, 2, 3],
        boxed: "boxed".into(),
        nested: Nested(vec![Nested(vec![]), Nested(vec![Nested(vec![])])]),
    }
}

fn inline<K, V>() -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    Cache::builder().capacity(100).maintenance(Maintenance::Inline).build().unwrap()
}

#[test]
fn values_of_every_kind_come_back_by_every_serializer() {
    let serializers = Serializers::standard();
    for name in serializers.names() {
        let cache = inline();
        cache.insert("key".to_owned(), everything());
        let mut bytes = Vec::new();
        let options = SaveOptions::new(serializers.get(&name).unwrap());
        cache.save_to(&mut bytes, &options).unwrap();
        let restored: Cache<String, Everything> = inline();
        restored.load_from(&*bytes, &LoadOptions::new()).unwrap();
        assert_eq!(restored.get("key"), Some(everything()), "{name}");
    }
}

#[test]
fn keys_of_every_kind_of_choice_come_back() {
    let serializers = Serializers::standard();
    for name in serializers.names() {
        let cache = inline();
        for (number, key) in everything().choices.into_iter().enumerate() {
            cache.insert(key, Some(number));
        }
        let mut bytes = Vec::new();
        let options = SaveOptions::new(serializers.get(&name).unwrap());
        cache.save_to(&mut bytes, &options).unwrap();
        let restored: Cache<Choice, Option<usize>> = inline();
        restored.load_from(&*bytes, &LoadOptions::new()).unwrap();
        for (number, key) in everything().choices.iter().enumerate() {
            assert_eq!(restored.get(key), Some(Some(number)), "{name}");
        }
    }
}

#[test]
fn what_is_cut_off_in_any_of_its_parts_is_a_typed_error() {
    let serializers = Serializers::standard();
    for name in serializers.names() {
        let serializer = serializers.get(&name).unwrap();
        let mut payload = Vec::new();
        serializer.serialize(&("key", everything()), &mut payload).unwrap();
        for length in 0..payload.len() {
            let cut = serializer.deserialize(&payload[..length], &mut |deserializer| {
                <(String, Everything)>::deserialize(deserializer).map(|_| ())
            });
            assert!(cut.is_err(), "{name} took {length} of {} bytes", payload.len());
        }
    }
}

#[test]
fn a_value_of_another_type_is_a_typed_error() {
    let cache = inline();
    cache.insert("key".to_owned(), everything());
    for name in ["bincode", "json"] {
        let options = SaveOptions::new(Serializers::standard().get(name).unwrap());
        let mut bytes = Vec::new();
        cache.save_to(&mut bytes, &options).unwrap();
        let other: Cache<String, Nested> = inline();
        let error = other.load_from(&*bytes, &LoadOptions::new()).unwrap_err();
        assert!(matches!(error, SnapshotError::Deserialize { record: 0, .. }), "{error:?}");
        assert!(other.is_empty());
    }
}
