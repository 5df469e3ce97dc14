//! Keys and values of every kind that serde knows come back from a snapshot as they were, with
//! every serializer, and so within the limits that deserializing has.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use larder::snapshot::{
    Loss, RestoreOptions, SaveOptions, SerializerError, Serializers, SnapshotError, convert,
    erased_serde,
};
use larder::{Cache, Maintenance};
use serde::de::{DeserializeOwned, Error, Visitor};
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
        restored.load_from(&*bytes, &RestoreOptions::new()).unwrap();
        assert_eq!(restored.get("key"), Some(everything()), "{name}");
    }
}

#[test]
fn keys_of_every_kind_of_enum_come_back() {
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
        restored.load_from(&*bytes, &RestoreOptions::new()).unwrap();
        for (number, key) in everything().choices.iter().enumerate() {
            assert_eq!(restored.get(key), Some(Some(number)), "{name}");
        }
    }
}

#[test]
fn a_cut_in_any_part_is_a_typed_error() {
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
        let error = other.load_from(&*bytes, &RestoreOptions::new()).unwrap_err();
        assert!(matches!(error, SnapshotError::Deserialize { record: 0, .. }), "{error:?}");
        assert!(other.is_empty());
    }
}

/// A value of any type, which serializers and limits see as a value of that type. One kind of cache
/// carries all of them, because each kind of its own would compile saving and loading anew.
#[derive(Clone, Debug)]
struct Carried(Arc<dyn Carry>);

/// What a type must offer so that its values can be carried.
trait Value: Serialize + DeserializeOwned + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + PartialEq + fmt::Debug + Send + Sync + 'static> Value for V {}

trait Carry: erased_serde::Serialize + fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
}

impl<V: Value> Carry for V {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

type Reader = fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Carried, erased_serde::Error>;

thread_local! {
    /// Reads a value of the type that this thread saves or loads.
    static READER: Cell<Option<Reader>> = const { Cell::new(None) };
}

impl Carried {
    fn new<V: Value>(value: V) -> Self {
        READER.set(Some(|from| V::deserialize(from).map(|value| Self(Arc::new(value)))));
        Self(Arc::new(value))
    }

    fn get<V: Value>(&self) -> &V {
        self.0.as_any().downcast_ref().expect("the type that was read last")
    }
}

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        erased_serde::serialize(&*self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = READER.get().expect("a value was carried before");
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(deserializer)).map_err(Error::custom)
    }
}

fn save<K, V: Value>(
    entries: impl IntoIterator<Item = (K, V)>,
    name: &str,
) -> Result<Vec<u8>, SnapshotError>
where
    K: std::hash::Hash + Eq + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let cache = inline();
    for (key, value) in entries {
        cache.insert(key, Carried::new(value));
    }
    let mut bytes = Vec::new();
    let options = SaveOptions::new(Serializers::standard().get(name).unwrap());
    cache.save_to(&mut bytes, &options)?;
    Ok(bytes)
}

/// Saves and loads a value, which must come back unchanged. Returns why it was refused, if it was.
fn through<V: Value + Clone>(value: V, name: &str) -> Result<(), SnapshotError> {
    let bytes = save([(7_u32, value.clone())], name)?;
    let back: Cache<u32, Carried> = inline();
    back.load_from(&*bytes, &RestoreOptions::new()).expect("what was saved can be loaded");
    assert_eq!(*back.get(&7).unwrap().get::<V>(), value, "changed by {name}");
    Ok(())
}

const BINARY: [&str; 2] = ["bincode", "postcard"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    own: u32,
    #[serde(flatten)]
    others: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Mixed {
    Plain(u32),
    Any(serde_json::Value),
    Maybe { a: Option<u32>, b: Option<serde_json::Value> },
}

#[test]
fn values_that_need_a_self_describing_serializer_are_refused_by_the_others() {
    let value = serde_json::json!({"a": [1, null, "x", 1.5]});
    let flattened = Flattened { own: 1, others: BTreeMap::from([("x".to_owned(), 2)]) };
    through(value.clone(), "json").unwrap();
    through(Untagged::Text("a".to_owned()), "json").unwrap();
    through(flattened.clone(), "json").unwrap();
    for name in BINARY {
        let errors = [
            through(value.clone(), name).unwrap_err(),
            through(serde_json::Value::Null, name).unwrap_err(),
            through(Untagged::Number(1), name).unwrap_err(),
            through(Untagged::Text("a".to_owned()), name).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, SnapshotError::Unreadable { record: 0, .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("use `json`") && message.contains("key 7"), "{message}");
        }
        let error = through(flattened.clone(), name).unwrap_err();
        let is_length = matches!(error, SnapshotError::Inexact { loss: Loss::UnknownLength, .. });
        assert!(is_length && error.to_string().contains("use `json`"), "{error:?}");
    }
}

#[test]
fn an_unreadable_value_is_found_wherever_it_occurs_first() {
    let plain = |n| (n, Mixed::Plain(n));
    let maybe = |n, b| (n, Mixed::Maybe { a: Some(1), b });
    for name in BINARY {
        assert!(save((0..50).map(plain), name).is_ok());
        let any = (50, Mixed::Any(serde_json::json!(1)));
        let error = save((0..50).map(plain).chain([any.clone()]), name).unwrap_err();
        assert!(matches!(error, SnapshotError::Unreadable { .. }), "{error:?}");
        assert!(save((0..50).map(|n| maybe(n, None)), name).is_ok());
        let some = maybe(50, Some(serde_json::json!(1)));
        let error = save((0..50).map(|n| maybe(n, None)).chain([some]), name).unwrap_err();
        assert!(matches!(error, SnapshotError::Unreadable { .. }), "{error:?}");
    }
    save((0..50).map(plain).chain([(50, Mixed::Any(serde_json::json!(1)))]), "json").unwrap();
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u32>,
    second: Option<u32>,
}

#[test]
fn an_omitted_field_is_found_if_fields_have_no_names() {
    let some = |n| (n, Skipping { first: Some(n), second: Some(n) });
    let none = (50, Skipping { first: None, second: Some(1) });
    for name in BINARY {
        assert!(save((0..50).map(some), name).is_ok());
        let error = save((0..50).map(some).chain([none.clone()]), name).unwrap_err();
        let is_field = matches!(error, SnapshotError::Inexact { loss: Loss::SkippedField, .. });
        assert!(is_field && error.to_string().contains("use `json`"), "{error:?}");
    }
    through(none.1, "json").unwrap();
}

#[test]
fn floats_come_back_bit_by_bit_or_are_refused() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let wide: Vec<f64> =
        (0..2000).map(|_| f64::from_bits(random())).filter(|x| x.is_finite()).collect();
    let narrow: Vec<f32> =
        wide.iter().map(|x| f32::from_bits(x.to_bits() as u32)).filter(|x| x.is_finite()).collect();
    let edges = vec![0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e20, 2_f64.powi(64), 1e300];
    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for name in ["json", "bincode", "postcard"] {
        for values in [wide.clone(), edges.clone()] {
            let back: Cache<u32, Vec<f64>> = inline();
            let file = save([(1_u32, values.clone())], name).unwrap();
            back.load_from(&*file, &RestoreOptions::new()).unwrap();
            assert_eq!(bits(&back.get(&1).unwrap()), bits(&values), "{name}");
        }
        through(narrow.clone(), name).unwrap();
        through(BTreeMap::from([("a".to_owned(), narrow.clone())]), name).unwrap();
        through(serde_json::json!(wide[0]), "json").unwrap();
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for name in BINARY {
            save([(1_u32, value)], name).unwrap();
        }
        let errors = [
            save([("a".to_owned(), value)], "json").unwrap_err(),
            save([("a".to_owned(), vec![Some(value)])], "json").unwrap_err(),
            save([("a".to_owned(), value as f32)], "json").unwrap_err(),
        ];
        for error in errors {
            let SnapshotError::Inexact { key, loss: Loss::NotFinite, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(key.as_deref(), Some("\"a\""));
            assert!(error.to_string().contains("use `bincode` or `postcard`"), "{error}");
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Option<u8>);

#[test]
fn nested_options_come_back_or_are_refused() {
    type Deep = Option<Option<Option<u8>>>;
    let values: [Deep; 4] = [None, Some(None), Some(Some(None)), Some(Some(Some(1)))];
    for name in BINARY {
        for value in values {
            through(value, name).unwrap();
        }
        through(Some(()), name).unwrap();
        through(Some(Unit), name).unwrap();
        through(Some(Wrapped(None)), name).unwrap();
    }
    for value in [values[0], values[3]] {
        through(value, "json").unwrap();
    }
    let errors = [
        through(values[1], "json").unwrap_err(),
        through(values[2], "json").unwrap_err(),
        through(Some(()), "json").unwrap_err(),
        through(Some(Unit), "json").unwrap_err(),
        through(vec![Some(Wrapped(None))], "json").unwrap_err(),
        through(Some(serde_json::Value::Null), "json").unwrap_err(),
    ];
    for error in errors {
        let is_right = matches!(error, SnapshotError::Inexact { loss: Loss::SomeOfNothing, .. });
        assert!(is_right, "{error:?}");
    }
    // In a list, nothing is lost.
    through(Some(vec![None::<u8>]), "json").unwrap();
    through(vec![Wrapped(None)], "json").unwrap();
}

#[test]
fn maps_with_any_keys_come_back_or_are_refused() {
    for name in ["json", "bincode", "postcard"] {
        through(BTreeMap::from([(u64::MAX, 1), (0, 2)]), name).unwrap();
        through(BTreeMap::from([(i128::MIN, 1)]), name).unwrap();
        through(BTreeMap::from([(true, 1), (false, 2)]), name).unwrap();
        through(BTreeMap::from([('"', 1), ('\n', 2)]), name).unwrap();
        through(BTreeMap::from([(Choice::Nothing, 1)]), name).unwrap();
        through(BTreeMap::from([(String::new(), 1)]), name).unwrap();
        through((u128::MAX, i128::MIN, vec![u128::from(u64::MAX) + 1]), name).unwrap();
    }
    for name in BINARY {
        through(BTreeMap::from([((1, 2), 1)]), name).unwrap();
        through(BTreeMap::from([(Choice::One(1), 1)]), name).unwrap();
        through(BTreeMap::from([(vec![1_u8], 1)]), name).unwrap();
        through(BTreeMap::from([(None::<u8>, 1)]), name).unwrap();
    }
    assert!(through(BTreeMap::from([((1, 2), 1)]), "json").is_err());
    assert!(through(BTreeMap::from([(Choice::One(1), 1)]), "json").is_err());
    assert!(through(BTreeMap::from([(vec![1_u8], 1)]), "json").is_err());
    assert!(through(BTreeMap::from([(None::<u8>, 1)]), "json").is_err());
}

#[test]
fn values_too_deep_or_too_large_to_load_are_refused_while_saving() {
    let deep = |depth| (1..depth).fold(Nested(vec![]), |inner, _| Nested(vec![inner]));
    for name in ["json", "bincode", "postcard"] {
        through(deep(50), name).unwrap();
        let shallow = (0..20).map(|n| (n, deep(3)));
        let error = save(shallow.chain([(20, deep(200))]), name).unwrap_err();
        assert!(matches!(error, SnapshotError::Unreadable { .. }), "{name}: {error:?}");
    }
    for name in BINARY {
        through(vec![(); 900], name).unwrap();
        let error = save([(1, vec![()]), (2, vec![(); 100_000])], name).unwrap_err();
        assert!(matches!(error, SnapshotError::Unreadable { .. }), "{name}: {error:?}");
    }
    through(vec![(); 10_000], "json").unwrap();
}

#[test]
fn integers_of_more_than_64_bits_never_become_floats() {
    let wide = u128::from(u64::MAX) + 1;
    let bytes = save([("a".to_owned(), vec![wide])], "json").unwrap();
    let (load, json) =
        (RestoreOptions::new(), SaveOptions::new(Serializers::standard().get("json").unwrap()));
    let mut copy = Vec::new();
    let error = convert::<String, serde_json::Value>(&*bytes, &mut copy, &load, &json).unwrap_err();
    assert!(matches!(error, SnapshotError::Deserialize { record: 0, .. }), "{error:?}");
    assert!(inline::<String, serde_json::Value>().load_from(&*bytes, &load).is_err());
    assert!(inline::<String, Vec<f64>>().load_from(&*bytes, &load).is_err());
    convert::<String, Vec<u128>>(&*bytes, &mut Vec::new(), &load, &json).unwrap();
    // An integer with more digits than a float holds is not read as a float either.
    let bytes = save([("a".to_owned(), (1_u64 << 53) + 1)], "json").unwrap();
    assert!(inline::<String, f64>().load_from(&*bytes, &load).is_err());
    assert!(inline::<String, serde_json::Value>().load_from(&*bytes, &load).is_ok());
    // Floats of that size stay floats, whatever else there is.
    through(serde_json::json!(["18446744073709551616 \" 1", 1e300, 1.8446744073709552e19]), "json")
        .unwrap();
}

#[test]
fn a_serializer_that_only_writes_is_used_only_on_request() {
    struct Lines;
    impl larder::snapshot::Serializer for Lines {
        fn name(&self) -> &str {
            "lines"
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
            _: &[u8],
            _: &mut dyn FnMut(
                &mut dyn erased_serde::Deserializer<'_>,
            ) -> Result<(), erased_serde::Error>,
        ) -> Result<(), SerializerError> {
            Ok(())
        }
    }
    let cache: Cache<u32, u32> = inline();
    cache.insert(1, 1);
    let options = SaveOptions::new(Arc::new(Lines));
    let error = cache.save_to(Vec::new(), &options).unwrap_err();
    assert!(matches!(error, SnapshotError::Unreadable { .. }), "{error:?}");
    assert_eq!(cache.save_to(Vec::new(), &options.unchecked()).unwrap().entries, 1);
}
