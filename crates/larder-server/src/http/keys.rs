//! Keys: the hottest, why one is present or missing, and the tags of many.
//!
//! A key is any bytes. In JSON it is a text to be shown, in which bytes that are not text are escaped, and beside it
//! the same key percent-encoded, as in an address, from which the bytes can be restored.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use larder::{Absence, Explanation};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};

use super::Site;
use super::answer::Refusal;
use crate::shared::Shared;
use crate::store::Store;

/// How many of the hottest keys are named.
const HOTTEST_KEYS: usize = 20;
/// For this long, the last answer is given again: with some policies, ranking visits all entries.
const HOTTEST_TIME: Duration = Duration::from_secs(3);
/// Of a longer key only the beginning is shown.
const SHOWN_BYTES: usize = 512;
/// The longest key that is explained. More does not fit into the head of a request.
const MAX_KEY_BYTES: usize = 4096;

/// The hottest keys, and when they were ranked.
pub(super) struct Hottest {
    ranked: Instant,
    keys: Vec<HotKey>,
}

#[derive(Debug, Serialize)]
pub(super) struct HottestKeys {
    keys: Vec<HotKey>,
}

#[derive(Clone, Debug, Serialize)]
struct HotKey {
    #[serde(flatten)]
    name: KeyName,
    /// Its share of all reads in the last one or two minutes, estimated from a sample; `None` if there were none.
    share: Option<f64>,
    present: bool,
    /// How often it was used lately, in the policy's own measure; `None` if that is unknown.
    uses: Option<u64>,
    segment: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct KeyName {
    /// The text to be shown.
    key: String,
    /// The key in an address; `None` if it is too long for one.
    encoded: Option<String>,
    database: u16,
    key_bytes: usize,
}

/// The hottest keys, the hottest first.
pub(super) fn hottest(site: &Site) -> HottestKeys {
    let mut last = site.hottest.lock().unwrap_or_else(PoisonError::into_inner);
    let recent = last.as_ref().filter(|last| last.ranked.elapsed() < HOTTEST_TIME);
    if let Some(recent) = recent {
        return HottestKeys { keys: recent.keys.clone() };
    }
    let keys = rank(&site.shared.store);
    *last = Some(Hottest { ranked: Instant::now(), keys: keys.clone() });
    HottestKeys { keys }
}

/// The keys that are read most, if reads were counted lately; otherwise those that the policy ranks first.
fn rank(store: &Store) -> Vec<HotKey> {
    let cache = store.cache();
    let hot_keys = store.hot_keys().map(|it| it.top(HOTTEST_KEYS, Instant::now()));
    let read_most = hot_keys.unwrap_or_default();
    if !read_most.is_empty() {
        return read_most
            .iter()
            .map(|(key, share)| HotKey::new(store, key, Some(*share)))
            .collect();
    }
    let ranked = cache.hottest(HOTTEST_KEYS);
    ranked.iter().map(|key| HotKey::new(store, key.as_slice(), None)).collect()
}

impl HotKey {
    fn new(store: &Store, stored: &[u8], share: Option<f64>) -> Self {
        let presence = match store.cache().explain(stored) {
            Explanation::Present(presence) => Some(presence),
            Explanation::Missing(_) => None,
        };
        let (namespace, key) = Store::split_key(stored);
        Self {
            name: KeyName::new(store.database_of(namespace), key),
            share,
            present: presence.is_some(),
            uses: presence.and_then(|it| it.uses),
            segment: presence.and_then(|it| it.segment),
        }
    }
}

/// What is known of a key.
#[derive(Debug, Serialize)]
pub(super) struct KeyExplanation {
    #[serde(flatten)]
    name: KeyName,
    /// In one line.
    summary: String,
    entry: Option<EntryFacts>,
    /// Why there is no entry, in a word.
    absence: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct EntryFacts {
    kind: &'static str,
    bytes: usize,
    weight: u32,
    /// How long ago it was written, by the system's clock.
    age_ms: u64,
    expires_in_ms: Option<u64>,
    uses: Option<u64>,
    segment: Option<&'static str>,
    tags: Vec<String>,
}

/// Explains the key of a query `key=…`, with an optional `db=…`.
pub(super) fn explain(shared: &Shared, query: Option<&str>) -> Result<KeyExplanation, Refusal> {
    let (mut key, mut database) = (None, 0);
    for field in query.unwrap_or_default().split('&') {
        match field.split_once('=') {
            Some(("key", text)) => key = Some(percent_decode_str(text).collect::<Vec<u8>>()),
            Some(("db", text)) => {
                let number = text.parse().ok().filter(|it| *it < shared.store.databases());
                database =
                    number.ok_or(Refusal::Malformed("there is no database of that number"))?;
            }
            _ => {}
        }
    }
    let key = key.ok_or(Refusal::Malformed("name the key, as in /api/explain?key=user%3A1"))?;
    if key.len() > MAX_KEY_BYTES {
        return Err(Refusal::Malformed("the key is longer than 4096 bytes"));
    }
    let db = shared.store.db(database, None);
    let explanation = db.explain(&key);
    let (entry, absence) = match explanation {
        Explanation::Present(presence) => {
            let value = db.peek(&key);
            let kind = match &value {
                Some(value) if value.as_hash().is_some() => "hash",
                _ => "string",
            };
            let facts = EntryFacts {
                kind,
                bytes: value.as_ref().map_or(0, |value| {
                    value.as_bytes().map_or_else(|| value.heap_bytes(), <[u8]>::len)
                }),
                weight: presence.info.weight,
                age_ms: value.map_or(0, |value| ms(value.version().age())),
                expires_in_ms: presence.info.expires_in.map(ms),
                uses: presence.uses,
                segment: presence.segment,
                tags: db.tags(&key).unwrap_or_default(),
            };
            (Some(facts), None)
        }
        Explanation::Missing(absence) => (None, Some(absence_name(absence))),
    };
    let summary = explanation.to_string();
    Ok(KeyExplanation { name: KeyName::new(database, &key), summary, entry, absence })
}

fn absence_name(absence: Absence) -> &'static str {
    match absence {
        Absence::NeverSeen => "never_seen",
        Absence::Evicted => "evicted",
        Absence::Expired => "expired",
        Absence::Removed | Absence::RemovedByPredicate => "removed",
        Absence::Cleared => "cleared",
        Absence::Invalidated => "invalidated",
        Absence::Rejected => "rejected",
        _ => "unknown",
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TagToInvalidate {
    tag: String,
}

#[derive(Debug, Serialize)]
pub(super) struct TagInvalidation {
    tag: String,
    /// Whether an entry may have carried it.
    was_known: bool,
}

/// Invalidates the tag that the JSON of `body` names.
pub(super) fn invalidate(shared: &Shared, body: &[u8]) -> Result<TagInvalidation, Refusal> {
    let parsed: Result<TagToInvalidate, _> = serde_json::from_slice(body);
    let Ok(TagToInvalidate { tag }) = parsed else {
        return Err(Refusal::Malformed("send a tag, as in {\"tag\": \"users\"}"));
    };
    if tag.is_empty() {
        return Err(Refusal::Malformed("the tag is empty"));
    }
    let was_known = {
        // As a command does: no transaction sees only some of its keys gone.
        let _shared = shared.store.shared();
        shared.store.invalidate_tags(std::iter::once(tag.as_str())) > 0
    };
    Ok(TagInvalidation { tag, was_known })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl KeyName {
    fn new(database: u16, key: &[u8]) -> Self {
        let encoded = || percent_encode(key, NON_ALPHANUMERIC).to_string();
        Self {
            key: shown(key),
            encoded: (key.len() <= MAX_KEY_BYTES / 3).then(encoded),
            database,
            key_bytes: key.len(),
        }
    }
}

/// The beginning of a key as text. Bytes that are not text, and characters that show nothing or change how
/// others are shown, are escaped.
fn shown(key: &[u8]) -> String {
    let mut text = String::new();
    for chunk in key[..key.len().min(SHOWN_BYTES)].utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if is_plain(character) => text.push(character),
                _ => {
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(text, "\\x{byte:02x}");
                    }
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if key.len() > SHOWN_BYTES {
        text.push('…');
    }
    text
}

fn is_plain(character: char) -> bool {
    let is_invisible = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !character.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_text_without_surprises() {
        for (key, expected) in [
            (b"user:1".as_slice(), "user:1"),
            ("größe 🦀".as_bytes(), "größe 🦀"),
            (b"a\0b\n\xff\\", "a\\x00b\\x0a\\xff\\\\"),
            ("\u{202e}abc".as_bytes(), "\\xe2\\x80\\xaeabc"),
            (b"<img src=x>", "<img src=x>"),
            (b"", ""),
        ] {
            assert_eq!(shown(key), expected);
            let name = KeyName::new(0, key);
            let decoded: Vec<u8> = percent_decode_str(&name.encoded.unwrap()).collect();
            assert_eq!(decoded, key);
        }
        let long = vec![b'x'; 5000];
        let name = KeyName::new(3, &long);
        assert!(name.key.ends_with("x…") && name.key.len() == SHOWN_BYTES + 3);
        assert_eq!((name.encoded, name.key_bytes), (None, 5000));
    }
}
