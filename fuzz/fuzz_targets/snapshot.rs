//! Snapshots. Whatever the bytes are, a reader loads them or returns an error: it never panics, and
//! a cache that refuses a snapshot is unchanged. A saved cache loads with the same entries.
//!
//! The first byte of an input gives the meaning of the others:
//! - 0: a snapshot as a whole.
//! - 1: an input of `arbitrary` for payloads within a valid frame, which reach the serializers past
//!   the checksums.
//! - 2: an input of `arbitrary` for a cache that is saved and loaded, and then damaged in one
//!   place.
//!
//! A bug that was planted and found by the seeds: the checksum of a record is not compared.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arbitrary::{Arbitrary, Unstructured};
use larder::snapshot::erased_serde::{self, Deserializer};
use larder::snapshot::{
    Info, RestoreOptions, SaveOptions, Serializer, SerializerError, Serializers,
};
use larder::test::FakeClock;
use larder::{Cache, Maintenance};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

/// A value of each kind that a deserializer handles.
#[derive(Arbitrary, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
enum Value {
    #[default]
    Nothing,
    Number(i64),
    Wide(u128),
    Letter(char),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Maybe(Option<Box<Value>>),
    Fields {
        bytes: Vec<u8>,
        pair: (bool, u16),
    },
}

impl Value {
    fn depth(&self) -> u32 {
        let inner = match self {
            Self::List(values) => values.iter().map(Self::depth).max(),
            Self::Map(values) => values.values().map(Self::depth).max(),
            Self::Maybe(value) => value.as_deref().map(Self::depth),
            _ => None,
        };
        1 + inner.unwrap_or(0)
    }
}

const NAMES: [&str; 3] = ["bincode", "json", "postcard"];
/// The capacity of the caches.
const CAPACITY: usize = 32;

fn builder<V>(clock: &FakeClock) -> Cache<String, V>
where
    V: Send + Sync + 'static,
{
    Cache::builder()
        .capacity(CAPACITY)
        .maintenance(Maintenance::Inline)
        .clock(clock.clone())
        .build()
        .expect("a valid configuration")
}

fn saved_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

fn load_options(is_salvage: bool) -> RestoreOptions {
    let options = RestoreOptions::new().at(saved_at()).max_record_bytes(1 << 20);
    if is_salvage { options.salvage() } else { options }
}

fn save_options(serializer: Arc<dyn Serializer>, is_packed: bool) -> SaveOptions {
    let options = SaveOptions::new(serializer).at(saved_at());
    if is_packed { options.zstd(1) } else { options }
}

fn standard(name: &str) -> Arc<dyn Serializer> {
    Serializers::standard().get(name).expect("a standard serializer")
}

/// The entries with their remaining times to live.
fn contents<V: Clone + Send + Sync + 'static>(
    cache: &Cache<String, V>,
) -> BTreeMap<String, (V, Option<Duration>)> {
    let lifetime = |key: &String| cache.inspect(key).and_then(|info| info.expires_in);
    cache.iter().map(|(key, value)| (key.clone(), (value, lifetime(&key)))).collect()
}

/// Loads `bytes` into a cache that has entries, with and without salvaging.
fn load_into_a_cache_in_use<V>(bytes: &[u8])
where
    V: Clone + Default + std::fmt::Debug + PartialEq + Send + Sync + 'static,
    V: for<'de> Deserialize<'de>,
{
    for is_salvage in [false, true] {
        let cache = builder::<V>(&FakeClock::new());
        for key in ["a", "b"] {
            cache.insert(key.to_owned(), V::default());
        }
        cache.insert_with_ttl("c".to_owned(), V::default(), Duration::from_secs(9));
        let before = contents(&cache);
        match cache.load_from(bytes, &load_options(is_salvage)) {
            Ok(loaded) => {
                assert!(is_salvage || loaded.is_whole(), "{loaded:?}");
                assert!(cache.len() <= CAPACITY);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(contents(&cache), before, "{error}");
            }
        }
        cache.validate();
    }
}

/// Claims to be another serializer and writes arbitrary payloads.
struct Forger {
    name: &'static str,
}

impl Serializer for Forger {
    fn name(&self) -> &str {
        self.name
    }

    fn is_binary(&self) -> bool {
        self.name != "json"
    }

    fn serialize(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializerError> {
        // Of the key and the value, the value is the payload.
        let json = serde_json::to_vec(value).map_err(SerializerError::new)?;
        let (_, payload): (u64, Vec<u8>) =
            serde_json::from_slice(&json).map_err(SerializerError::new)?;
        out.extend(payload.iter().filter(|byte| self.is_binary() || **byte != b'\n'));
        Ok(())
    }

    fn deserialize(
        &self,
        _bytes: &[u8],
        _take: &mut dyn FnMut(&mut dyn Deserializer<'_>) -> Result<(), erased_serde::Error>,
    ) -> Result<(), SerializerError> {
        unreachable!("it only writes")
    }
}

#[derive(Arbitrary, Debug)]
struct Forged {
    serializer: u8,
    is_packed: bool,
    payloads: Vec<Vec<u8>>,
}

fn load_forged(forged: Forged) {
    let name = NAMES[usize::from(forged.serializer) % NAMES.len()];
    let source: Cache<u64, Vec<u8>> = Cache::new(64);
    for (key, payload) in (0..64).zip(forged.payloads) {
        source.insert(key, payload);
    }
    let mut bytes = Vec::new();
    let options = save_options(Arc::new(Forger { name }), forged.is_packed).unchecked();
    let saved = source.save_to(&mut bytes, &options).expect("a forger writes anything");
    let info = Info::read(&*bytes, &load_options(false)).expect("the frame holds");
    assert_eq!(info.entries, saved.entries);
    load_into_a_cache_in_use::<Value>(&bytes);
    load_into_a_cache_in_use::<Vec<()>>(&bytes);
    load_into_a_cache_in_use::<u64>(&bytes);
}

#[derive(Arbitrary, Debug)]
struct RoundTrip {
    serializer: u8,
    is_packed: bool,
    entries: Vec<(String, Value, Option<u16>)>,
    /// The position of the damage, and its kind.
    at: u32,
    flip: u8,
    is_cut: bool,
}

fn there_and_back(input: RoundTrip) {
    let name = NAMES[usize::from(input.serializer) % NAMES.len()];
    let clock = FakeClock::new();
    let source = builder::<Value>(&clock);
    for (key, value, seconds) in input.entries {
        // Deeper values are refused; the forged payloads test that.
        if value.depth() > 24 {
            continue;
        }
        match seconds {
            Some(seconds) => {
                source.insert_with_ttl(key, value, Duration::from_secs(u64::from(seconds) + 1));
            }
            None => {
                source.insert(key, value);
            }
        }
    }
    source.run_pending();
    let mut bytes = Vec::new();
    let saved = source.save_to(&mut bytes, &save_options(standard(name), input.is_packed));
    assert_eq!(saved.expect("memory takes all").entries, source.len() as u64);
    for is_salvage in [false, true] {
        let target = builder::<Value>(&clock);
        let loaded = target.load_from(&*bytes, &load_options(is_salvage)).expect("just saved");
        assert!(loaded.is_whole(), "{loaded:?}");
        assert_eq!(loaded.entries, source.len() as u64);
        assert_eq!(contents(&target), contents(&source));
        target.validate();
    }

    let at = input.at as usize % bytes.len();
    if input.is_cut {
        bytes.truncate(at);
    } else {
        bytes[at] ^= input.flip.max(1);
    }
    let target = builder::<Value>(&clock);
    match target.load_from(&*bytes, &load_options(false)) {
        // A bit of the packed data without effect, such as one of the window size.
        Ok(_) if input.is_packed && !input.is_cut => {
            assert_eq!(contents(&target), contents(&source));
        }
        Ok(loaded) => panic!("damage at {at} went unnoticed: {loaded:?}"),
        Err(_) => assert!(target.is_empty()),
    }
    load_into_a_cache_in_use::<Value>(&bytes);
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let mut unstructured = Unstructured::new(rest);
    match kind % 3 {
        0 => {
            load_into_a_cache_in_use::<Value>(rest);
            load_into_a_cache_in_use::<u64>(rest);
            if let Err(error) = Info::read(rest, &load_options(true)) {
                assert!(!error.to_string().is_empty());
            }
        }
        1 => {
            if let Ok(forged) = Forged::arbitrary(&mut unstructured) {
                load_forged(forged);
            }
        }
        _ => {
            if let Ok(round_trip) = RoundTrip::arbitrary(&mut unstructured) {
                there_and_back(round_trip);
            }
        }
    }
});
