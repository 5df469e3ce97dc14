//! Snapshots that are not what was written: cut off, damaged, forged, foreign, unreadable, or in the
//! middle of being written when the process is killed or the disk is full. A load always ends with a
//! typed error or the right content, takes little memory, and leaves the cache as it was.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use larder::snapshot::{
    Info, LoadOptions, Part, Records, SaveOptions, Serializers, SnapshotError, convert,
    convert_path,
};
use larder::{Cache, Maintenance};
use serde::{Deserialize, Serialize};

use crate::allocator::peak_of;

type Small = Cache<String, u32>;

fn inline<K, V>(capacity: usize) -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    Cache::builder().capacity(capacity).maintenance(Maintenance::Inline).build().unwrap()
}

fn options(serializer: &str) -> SaveOptions {
    SaveOptions::new(Serializers::standard().get(serializer).unwrap())
}

/// A snapshot of three entries in each form there is.
fn small_snapshots() -> Vec<(&'static str, Vec<u8>)> {
    let forms = [
        ("bincode", options("bincode")),
        ("json", options("json")),
        ("bincode, packed", options("bincode").zstd(3)),
        ("json, packed", options("json").zstd(3)),
    ];
    forms.map(|(name, options)| (name, snapshot_of(3, &options))).into()
}

fn snapshot_of(entries: u32, options: &SaveOptions) -> Vec<u8> {
    let cache = Small::new(100_000);
    for n in 0..entries {
        match n {
            1 if entries < 10 => cache.insert_with_tags(format!("key {n}"), n, ["odd", "\u{e4}"]),
            _ => cache.insert(format!("key {n}"), n),
        };
    }
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, options).unwrap();
    bytes
}

fn contents(cache: &Small) -> Vec<(String, u32)> {
    let mut all: Vec<_> = cache.iter().collect();
    all.sort();
    all
}

/// Loads into a cache with an entry of its own, which must be there alone if that fails.
fn load(bytes: &[u8]) -> Result<Vec<(String, u32)>, SnapshotError> {
    let cache: Small = inline(1000);
    cache.insert("own".to_owned(), 7);
    let loaded = cache.load_from(bytes, &LoadOptions::new());
    cache.validate();
    match loaded {
        Ok(_) => Ok(contents(&cache)),
        Err(error) => {
            assert_eq!(contents(&cache), [("own".to_owned(), 7)], "changed in spite of {error}");
            assert!(!error.to_string().is_empty());
            Err(error)
        }
    }
}

fn whole() -> Vec<(String, u32)> {
    let keys = (0..3).map(|n| (format!("key {n}"), n));
    keys.chain([("own".to_owned(), 7)]).collect()
}

#[test]
fn an_undamaged_snapshot_is_loaded() {
    for (name, bytes) in small_snapshots() {
        assert_eq!(load(&bytes).unwrap(), whole(), "{name}");
    }
}

#[test]
fn a_snapshot_cut_off_at_any_length_is_refused() {
    for (name, bytes) in small_snapshots() {
        for length in 0..bytes.len() {
            let error = load(&bytes[..length]).expect_err(name);
            let is_right =
                matches!(error, SnapshotError::CutOff { .. } | SnapshotError::NotASnapshot);
            assert!(is_right, "{name} cut off at {length}: {error:?}");
            assert!(Info::read(&bytes[..length], &LoadOptions::new()).is_err());
        }
    }
}

#[test]
fn any_flipped_bit_is_an_error_or_harmless() {
    for (name, bytes) in small_snapshots() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match load(&flipped) {
                Err(_) => {}
                // Zstandard's frame has bits that change nothing.
                Ok(content) if name.ends_with("packed") => assert_eq!(content, whole()),
                Ok(_) => panic!("{name}: bit {bit} was not missed"),
            }
        }
    }
}

#[test]
fn anything_behind_the_end_is_refused() {
    for (name, bytes) in small_snapshots() {
        for rest in [&b"\0"[..], b"\n", b"%larder\n"] {
            let longer = [&bytes[..], rest].concat();
            let error = load(&longer).expect_err(name);
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{name}: {error:?}");
        }
    }
}

#[test]
fn records_that_are_missing_doubled_or_moved_are_refused() {
    let bytes = snapshot_of(3, &options("json"));
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 6, "magic, header, three records, end: {text}");
    for order in [&[0, 1, 2, 3, 5][..], &[0, 1, 2, 3, 4, 4, 5], &[0, 1, 3, 2, 4, 5], &[0, 1, 5]] {
        let changed: String = order.iter().map(|line| lines[*line]).collect();
        let error = load(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { part: Part::End, .. }), "{error:?}");
    }
}

/// A binary snapshot whose checksums hold, around payloads of any kind.
struct Forge {
    bytes: Vec<u8>,
    records: crc32fast::Hasher,
    count: u64,
}

impl Forge {
    fn new(serializer: &str, version: u32, flags: u32) -> Self {
        let mut bytes = b"\x89LARDER\n".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for text in [serializer, "lru", "types"] {
            bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(u64::MAX.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        Self { bytes, records: crc32fast::Hasher::new(), count: 0 }
    }

    fn record(mut self, length: u32, payload: &[u8]) -> Self {
        let mut fields = length.to_le_bytes().to_vec();
        fields.extend(u64::MAX.to_le_bytes());
        fields.extend([1_u32, 0, 1, 0].iter().flat_map(|field| field.to_le_bytes()));
        let crc = crc32fast::hash(&[&fields[..], payload].concat()).to_le_bytes();
        self.bytes.extend(fields);
        self.bytes.extend(crc);
        self.bytes.extend(payload);
        self.records.update(&crc);
        self.count += 1;
        self
    }

    /// A record with tags as `coded` has them, which say that they are so many bytes.
    fn tagged(mut self, tags_bytes: u32, coded: &[u8], payload: &[u8]) -> Self {
        let mut fields = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        fields.extend(u64::MAX.to_le_bytes());
        fields.extend([1_u32, 0, 1, 0, tags_bytes].iter().flat_map(|field| field.to_le_bytes()));
        let crc = crc32fast::hash(&[&fields[..], coded, payload].concat()).to_le_bytes();
        for part in [&fields[..], &crc, coded, payload] {
            self.bytes.extend(part);
        }
        self.records.update(&crc);
        self.count += 1;
        self
    }

    fn payload(self, payload: &[u8]) -> Self {
        self.record(u32::try_from(payload.len()).unwrap(), payload)
    }

    fn end(self, count: u64) -> Vec<u8> {
        let Self { mut bytes, mut records, .. } = self;
        let mut fields = u32::MAX.to_le_bytes().to_vec();
        fields.extend(count.to_le_bytes());
        records.update(&fields);
        bytes.extend(fields);
        bytes.extend(records.finalize().to_le_bytes());
        bytes
    }
}

fn entry(key: &str, value: u32) -> Vec<u8> {
    let mut payload = (key.len() as u64).to_le_bytes().to_vec();
    payload.extend(key.as_bytes());
    payload.extend(value.to_le_bytes());
    payload
}

#[test]
fn a_well_made_forgery_is_loaded_so_the_others_fail_for_what_they_forge() {
    let bytes = Forge::new("bincode", 1, 0).payload(&entry("a", 1)).end(1);
    assert_eq!(load(&bytes).unwrap(), [("a".to_owned(), 1), ("own".to_owned(), 7)]);
}

/// Tags as a record has them.
fn coded(tags: &[&[u8]]) -> Vec<u8> {
    let coded = tags.iter().map(|tag| [&(tag.len() as u32).to_le_bytes()[..], tag].concat());
    coded.collect::<Vec<_>>().concat()
}

#[test]
fn forged_tags_are_damage_and_allocate_nothing() {
    const TAGS: u32 = 2;
    let forge = |bytes: u32, coded: &[u8]| {
        Forge::new("bincode", 1, TAGS).tagged(bytes, coded, &entry("a", 1)).end(1)
    };
    let good = coded(&[b"a", b"", b"a", "\u{e4}".as_bytes()]);
    let loaded = load(&forge(good.len() as u32, &good)).unwrap();
    assert_eq!(loaded, [("a".to_owned(), 1), ("own".to_owned(), 7)]);
    let bad = [
        coded(&[b"a", b"b", b"c", b"d", b"e"]),
        coded(&vec![&b""[..]; 300_000]),
        coded(&[b"\xff"]),
        coded(&[b"a"])[..4].to_vec(),
        [coded(&[b"a"]), vec![0; 3]].concat(),
        [&u32::MAX.to_le_bytes()[..], b"a"].concat(),
        [&(1_u32 << 31).to_le_bytes()[..], b"a"].concat(),
    ];
    for coded in bad {
        let bytes = forge(coded.len() as u32, &coded);
        let (peak, error) = peak_of(|| load(&bytes).unwrap_err());
        assert!(matches!(error, SnapshotError::Damaged { part: Part::Record, .. }), "{error:?}");
        assert!(peak < bytes.len() * 2 + 512 * 1024, "{peak} bytes");
        // The others are none the worse for it.
        let cache: Small = inline(10);
        let salvaged = cache.load_from(&*bytes, &LoadOptions::new().salvage()).unwrap();
        assert_eq!((salvaged.entries, salvaged.damaged), (0, 1));
    }
    for length in [u32::MAX, u32::MAX - 7, 1 << 30, 1 << 29, 60 << 20] {
        let bytes = forge(length, &good);
        let (peak, error) = peak_of(|| load(&bytes).unwrap_err());
        assert!(peak < 512 * 1024, "{peak} bytes for a length of {length}");
        let is_right =
            matches!(error, SnapshotError::CutOff { .. } | SnapshotError::RecordTooLong { .. });
        assert!(is_right, "{error:?}");
    }
}

#[test]
fn filler_of_any_length_allocates_nothing() {
    const FILLER: u32 = u32::MAX - 1;
    for (length, has_letters) in [(5_u32, true), (5, false), (u32::MAX, false), (1 << 30, false)] {
        let mut forge = Forge::new("bincode", 1, 8);
        let fields = [FILLER, length, 0].map(u32::to_le_bytes).concat();
        let letters = if has_letters { vec![b'x'; length as usize] } else { Vec::new() };
        let crc = crc32fast::hash(&[&fields[..], &letters].concat()).to_le_bytes();
        for part in [&fields[..], &crc, &letters] {
            forge.bytes.extend(part);
        }
        forge.records.update(&crc);
        let bytes = forge.payload(&entry("a", 1)).end(1);
        let (peak, loaded) = peak_of(|| load(&bytes));
        assert!(peak < 512 * 1024, "{peak} bytes for a length of {length}");
        assert_eq!(loaded.is_ok(), has_letters, "{loaded:?}");
    }
}

#[test]
fn forged_counts_are_refused() {
    for count in [0, 2, u64::MAX] {
        let bytes = Forge::new("bincode", 1, 0).payload(&entry("a", 1)).end(count);
        let error = load(&bytes).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { part: Part::End, .. }), "{error:?}");
    }
}

#[test]
fn a_forged_record_length_allocates_nothing_and_is_refused() {
    for (length, is_too_long) in [(u32::MAX - 1, true), (64 << 20, false), (60 << 20, false)] {
        let bytes = Forge::new("bincode", 1, 0).record(length, &entry("a", 1)).end(1);
        let (peak, error) = peak_of(|| load(&bytes).unwrap_err());
        assert!(peak < 512 * 1024, "{peak} bytes for a length of {length}");
        match error {
            SnapshotError::RecordTooLong { .. } => assert!(is_too_long),
            SnapshotError::CutOff { .. } => assert!(!is_too_long),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_forged_length_within_a_payload_allocates_nothing_and_is_refused() {
    for length in [1_u64 << 62, u64::MAX, 1 << 33, 100] {
        let mut payload = entry("a", 1);
        payload[..8].copy_from_slice(&length.to_le_bytes());
        let bytes = Forge::new("bincode", 1, 0).payload(&payload).end(1);
        let (peak, error) = peak_of(|| load(&bytes).unwrap_err());
        assert!(peak < 512 * 1024, "{peak} bytes for a length of {length}");
        assert!(matches!(error, SnapshotError::Deserialize { record: 0, .. }), "{error:?}");
    }
}

#[test]
fn a_list_of_billions_of_empty_elements_is_refused_soon() {
    let mut payload = entry("a", 0);
    payload.truncate(9);
    payload.extend((1_u64 << 33).to_le_bytes());
    let bytes = Forge::new("bincode", 1, 0).payload(&payload).end(1);
    let cache: Cache<String, Vec<()>> = inline(10);
    let error = cache.load_from(&*bytes, &LoadOptions::new()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("more elements than its bytes can hold"), "{cause}");
}

#[derive(Debug, Serialize, Deserialize)]
enum Nested {
    Leaf,
    Deeper(Box<Nested>),
}

#[test]
fn values_nested_a_million_deep_are_refused_before_the_stack_ends() {
    let mut payload = entry("a", 0);
    payload.truncate(9);
    payload.extend([1, 0, 0, 0].repeat(2_000_000));
    payload.extend([0; 4]);
    let bytes = Forge::new("bincode", 1, 0).payload(&payload).end(1);
    let cache: Cache<String, Nested> = inline(10);
    let error = cache.load_from(&*bytes, &LoadOptions::new()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("values within each other"), "{cause}");
    let mut json = br#"["a","#.to_vec();
    json.extend("[".repeat(2_000_000).as_bytes());
    let bytes = Forge::new("bincode", 1, 0).payload(&json).end(1);
    let cache: Cache<String, serde_json::Value> = inline(10);
    assert!(cache.load_from(&*bytes, &LoadOptions::new()).is_err());
}

#[test]
fn bytes_left_over_in_a_payload_are_refused() {
    let mut payload = entry("a", 1);
    payload.push(0);
    let bytes = Forge::new("bincode", 1, 0).payload(&payload).end(1);
    assert!(matches!(load(&bytes), Err(SnapshotError::Deserialize { .. })));
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let bytes = Forge::new("bincode", 2, 0).end(0);
    let error = load(&bytes).unwrap_err();
    assert!(matches!(error, SnapshotError::NewerVersion { given: 2, newest: 1 }), "{error:?}");
}

#[test]
fn unknown_flags_are_refused() {
    let bytes = Forge::new("bincode", 1, 4).end(0);
    assert!(matches!(load(&bytes), Err(SnapshotError::Unsupported { flags: 4 })));
}

#[test]
fn another_serializers_snapshot_is_refused() {
    let unknown = Forge::new("pickle", 1, 0).payload(&entry("a", 1)).end(1);
    let error = load(&unknown).unwrap_err();
    assert!(error.to_string().starts_with("unknown serializer `pickle`; available: "), "{error}");
    // Text in a binary frame.
    let mixed = Forge::new("json", 1, 0).payload(br#"["a",1]"#).end(1);
    assert!(matches!(load(&mixed), Err(SnapshotError::Damaged { part: Part::Header, .. })));
    let renamed = Forge::new("bincode", 1, 0).payload(br#"["a",1]"#).end(1);
    assert!(matches!(load(&renamed), Err(SnapshotError::Deserialize { .. })));
}

#[test]
fn other_types_are_refused() {
    let cache: Cache<String, String> = inline(10);
    let bytes = snapshot_of(3, &options("json"));
    let error = cache.load_from(&*bytes, &LoadOptions::new()).unwrap_err();
    assert!(matches!(error, SnapshotError::Deserialize { .. }), "{error:?}");
    assert!(cache.is_empty());
}

#[test]
fn what_is_no_snapshot_is_refused() {
    for bytes in [&b""[..], b"\n", b"{}", b"\x80\x04pickle", &[0; 4096], &[0xff; 4096]] {
        assert!(matches!(load(bytes), Err(SnapshotError::NotASnapshot)));
    }
}

/// One byte over and over, packed by hand as no packer of ours would: `blocks` of 128 KiB, after
/// `bytes` as they are.
fn packed_bomb(bytes: &[u8], blocks: u32) -> Vec<u8> {
    // The frame's magic number, no options, a window of 1 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    frame.extend_from_slice(&(u32::try_from(bytes.len()).unwrap() << 3).to_le_bytes()[..3]);
    frame.extend_from_slice(bytes);
    for block in 1..=blocks {
        const REPEATED: u32 = 1 << 1;
        let header = (128 << 10) << 3 | REPEATED | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame
}

#[test]
fn a_packed_bomb_is_refused_in_little_memory_as_beyond_a_limit() {
    const LENGTH: u32 = 512 << 20;
    let head = Forge::new("bincode", 1, 1);
    let header = head.bytes.clone();
    let all = head.record(LENGTH, &[]).bytes;
    let bytes = [&header[..], &packed_bomb(&all[header.len()..], LENGTH >> 17)].concat();
    assert!(bytes.len() < 17 << 10);
    let target: Cache<String, String> = inline(10_000);
    let (peak, error) = peak_of(|| target.load_from(&*bytes, &LoadOptions::new()).unwrap_err());
    assert!(matches!(error, SnapshotError::TooPacked { limit: 256 }), "{error:?}");
    assert!(error.is_limit() && error.to_string().contains("no damage"), "{error}");
    assert!(peak < 12 << 20, "{peak} bytes");
    // Without the limit it is found to be damaged.
    let lifted = LoadOptions::new().max_expansion(u32::MAX).max_record_bytes(1 << 20);
    let error = target.load_from(&*bytes, &lifted).unwrap_err();
    assert!(matches!(error, SnapshotError::RecordTooLong { .. }) && error.is_limit(), "{error:?}");
}

#[test]
fn what_is_saved_by_default_is_loaded_by_default_however_well_it_packs() {
    for name in ["bincode", "json"] {
        for (pages, bytes) in [(20, 100_000), (1, 3 << 20), (400, 5_000), (5, 10)] {
            let cache: Cache<u32, String> = Cache::new(10_000);
            for n in 0..pages {
                cache.insert(n, " ".repeat(bytes));
            }
            for level in [1, 19] {
                let mut file = Vec::new();
                let saved = cache.save_to(&mut file, &options(name).zstd(level)).unwrap();
                assert!(file.len() as u64 <= saved.bytes / 64 + 8192, "{} bytes", file.len());
                let target: Cache<u32, String> = Cache::new(10_000);
                let loaded = target.load_from(&*file, &LoadOptions::new()).unwrap();
                assert_eq!((loaded.entries, loaded.left_out()), (u64::from(pages), 0));
                assert_eq!(target.get(&0).map(|page| page.len()), Some(bytes));
                let info = Info::read(&*file, &LoadOptions::new()).unwrap();
                assert_eq!((info.entries, info.bytes), (u64::from(pages), saved.bytes));
                let error = target.load_from(&*file, &LoadOptions::new().max_expansion(1));
                assert!(error.is_ok() == (bytes == 10), "a limit of one's own holds");
            }
        }
    }
}

#[test]
fn damage_of_filler_is_found_and_salvage_passes_over_it() {
    let cache: Cache<u32, String> = Cache::new(100);
    for n in 0..4 {
        cache.insert(n, " ".repeat(300_000));
    }
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("bincode").zstd(1)).unwrap();
    let target: Cache<u32, String> = inline(100);
    let mut found = 0;
    for at in (200..bytes.len()).step_by(397) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        found += u32::from(target.load_from(&*damaged, &LoadOptions::new()).is_err());
        let salvaged = target.load_from(&*damaged, &LoadOptions::new().salvage());
        assert!(salvaged.is_ok_and(|loaded| loaded.entries <= 4));
    }
    assert_eq!(found as usize, (200..bytes.len()).step_by(397).len());
}

#[test]
fn loading_takes_less_than_twice_the_files_size_until_it_is_found_good() {
    for serializer in ["bincode", "json"] {
        let mut bytes = snapshot_of(50_000, &options(serializer));
        // The last bit: all was read and decoded before it is found wrong.
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        let (peak, error) = peak_of(|| load(&bytes).unwrap_err());
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
        assert!(peak < 2 * bytes.len() + 256 * 1024, "{peak} for {} bytes", bytes.len());
    }
}

#[test]
fn one_huge_record_takes_less_than_twice_its_size() {
    let cache: Cache<String, String> = Cache::new(10);
    cache.insert("a".to_owned(), "x".repeat(16 << 20));
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("bincode")).unwrap();
    let target: Cache<String, String> = inline(10);
    let (peak, _) = peak_of(|| target.load_from(&*bytes, &LoadOptions::new()).unwrap());
    assert!(peak < 2 * bytes.len(), "{peak} for {} bytes", bytes.len());
    assert_eq!(target.get("a"), Some("x".repeat(16 << 20)));
}

#[test]
fn salvage_passes_over_a_damaged_record_and_says_so() {
    for (name, mut bytes) in small_snapshots().into_iter().take(2) {
        let at = bytes.windows(5).position(|it| it == b"key 1").unwrap();
        bytes[at + 4] = b'9';
        let cache: Small = inline(10);
        let loaded = cache.load_from(&*bytes, &LoadOptions::new().salvage()).unwrap();
        assert_eq!((loaded.entries, loaded.damaged, loaded.missing), (2, 1, 0), "{name}");
        assert!(!loaded.is_whole());
        assert_eq!(contents(&cache), [("key 0".to_owned(), 0), ("key 2".to_owned(), 2)]);
        assert!(Info::read(&*bytes, &LoadOptions::new()).is_err());
    }
}

#[test]
fn salvage_takes_what_comes_before_the_cut_and_counts_what_is_missing() {
    for (name, bytes) in small_snapshots().into_iter().take(2) {
        for length in 0..bytes.len() {
            let cache: Small = inline(10);
            let Ok(loaded) = cache.load_from(&bytes[..length], &LoadOptions::new().salvage())
            else {
                continue; // within the header
            };
            assert!(loaded.broken_at.is_some() && !loaded.is_whole(), "{name} at {length}");
            assert_eq!(loaded.entries + loaded.missing, 3, "{name} at {length}");
            assert_eq!(cache.len() as u64, loaded.entries);
        }
    }
}

#[test]
fn salvage_of_any_flipped_bit_brings_only_what_was_saved() {
    for (name, bytes) in small_snapshots() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let cache: Small = inline(10);
            let _ = cache.load_from(&*flipped, &LoadOptions::new().salvage());
            for found in contents(&cache) {
                assert!(whole().contains(&found), "{name}: bit {bit} made {found:?}");
            }
        }
    }
}

#[test]
fn a_folder_and_a_missing_file_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let cache: Small = inline(10);
    for path in [folder.path().to_owned(), folder.path().join("none")] {
        let error = cache.load_from_path(&path, &LoadOptions::new()).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    }
    let error = cache.save_to_path(folder.path(), &options("json")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left");
}

/// What lies below the file that an error names.
fn below(error: SnapshotError) -> SnapshotError {
    match error {
        SnapshotError::File { source, .. } => *source,
        other => other,
    }
}

#[test]
fn errors_name_the_file_and_say_each_thing_once() {
    let folder = tempfile::tempdir().unwrap();
    let (none, other) = (folder.path().join("none"), folder.path().join("other"));
    fs::write(&other, "hello").unwrap();
    for path in [&none, &other] {
        let error =
            inline::<String, u32>(10).load_from_path(path, &LoadOptions::new()).unwrap_err();
        assert_eq!(error.path(), Some(path.as_path()));
        let mut line = vec![error.to_string()];
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            line.push(error.to_string());
            cause = error.source();
        }
        let name = path.display().to_string();
        let all = line.join(": ");
        assert_eq!(all.matches(&name).count(), 1, "{all}");
        assert!(line.windows(2).all(|pair| !pair[0].contains(&pair[1])), "{all}");
        assert_eq!(error.is_io(), path == &none);
    }
}

/// A name for each kind of what is no file, as far as this user can make it; the socket lives as long
/// as what is returned with them.
#[cfg(unix)]
fn special_files(folder: &Path) -> (Vec<(&'static str, std::path::PathBuf)>, impl Drop) {
    let (fifo, socket) = (folder.join("fifo"), folder.join("socket"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut all = vec![("FIFO", fifo), ("socket", socket)];
    let null = folder.join("null");
    let made =
        Command::new("mknod").arg(&null).args(["c", "1", "3"]).stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        all.push(("character device", null));
    }
    for (kind, path) in all.clone() {
        let (link, far) = (path.with_extension("link"), path.with_extension("far"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::os::unix::fs::symlink("fifo.link", &far).unwrap();
        all.push((kind, link));
    }
    struct Bound(std::os::unix::net::UnixListener);
    impl Drop for Bound {
        fn drop(&mut self) {
            let _ = self.0.set_nonblocking(true);
        }
    }
    (all, Bound(listener))
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_at_once_and_stays_what_it_is() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let (specials, _bound) = special_files(folder.path());
    let cache: Small = inline(10);
    cache.insert("a".to_owned(), 1);
    let good = folder.path().join("good");
    cache.save_to_path(&good, &options("json")).unwrap();
    let (load, save) = (LoadOptions::new(), options("json"));
    for (expected, path) in &specials {
        let identity = |path: &Path| {
            let (own, through) = (fs::symlink_metadata(path).unwrap(), fs::metadata(path).unwrap());
            (own.ino(), own.mode(), through.ino(), through.mode())
        };
        let before = identity(path);
        let errors = [
            cache.save_to_path(path, &save).unwrap_err(),
            cache.load_from_path(path, &load).unwrap_err(),
            Info::read_path(path, &load).unwrap_err(),
            Records::<String, u32>::read_path(path, &load).unwrap_err(),
            convert_path::<String, u32>(&good, path, &load, &save).unwrap_err(),
            convert_path::<String, u32>(path, folder.path().join("to"), &load, &save).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.path(), Some(path.as_path()));
            let error = below(error);
            let SnapshotError::NotAFile { kind } = error else { panic!("{path:?}: {error:?}") };
            assert_eq!(kind, *expected);
        }
        assert_eq!(identity(path), before, "{expected}");
    }
    assert!(!folder.path().join("to").exists());
    let left = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".larder-")));
}

#[cfg(unix)]
#[test]
fn a_save_through_links_makes_or_replaces_what_they_name_and_leaves_them_links() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("below")).unwrap();
    // The second is relative to its own folder.
    symlink("below/second", at("first")).unwrap();
    symlink("third", at("below/second")).unwrap();
    let cache: Small = inline(10);
    cache.insert("a".to_owned(), 1);
    for round in 0..2 {
        cache.save_to_path(at("first"), &options("json")).unwrap();
        assert!(fs::symlink_metadata(at("first")).unwrap().is_symlink(), "round {round}");
        assert!(fs::symlink_metadata(at("below/second")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(at("below/third")).unwrap().is_file());
        let other: Small = inline(10);
        other.load_from_path(at("first"), &LoadOptions::new()).unwrap();
        assert_eq!(contents(&other), contents(&cache));
    }
    assert_eq!(fs::read_dir(at("below")).unwrap().count(), 2, "a file was left");
    symlink("nowhere/at/all", at("lost")).unwrap();
    symlink("circle", at("circle")).unwrap();
    symlink("below", at("folder")).unwrap();
    for name in ["lost", "circle", "folder"] {
        let error = cache.save_to_path(at(name), &options("json")).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{name}: {error:?}");
        assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink());
    }
}

#[cfg(unix)]
fn assert_unreadable(path: &Path) {
    let cache: Small = inline(10);
    cache.insert("there".to_owned(), 1);
    let error = cache.load_from_path(path, &LoadOptions::new()).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    let error = cache.save_to_path(path, &options("json")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    assert_eq!(contents(&cache), [("there".to_owned(), 1)]);
}

#[cfg(unix)]
#[test]
fn child_meets_what_it_may_not_read() {
    let Some(path) = std::env::var_os("LARDER_CHILD") else { return };
    assert_unreadable(Path::new(&path));
    println!("refused");
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_a_typed_error() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    /// A user who owns nothing.
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let cache: Small = inline(10);
    cache.save_to_path(&path, &options("json")).unwrap();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&path, 0);
    if fs::File::open(&path).is_err() {
        set_mode(folder.path(), 0o500);
        assert_unreadable(&path);
        set_mode(folder.path(), 0o700);
        return;
    }
    // This user may read everything, and so becomes another, who must be able to read the program.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o555);
    set_mode(folder.path(), 0o555);
    let mut child = Command::new(&program);
    child.args(["--exact", "hostile_snapshots::child_meets_what_it_may_not_read", "--nocapture"]);
    child.env("LARDER_CHILD", &path).current_dir(folder.path()).uid(NOBODY).gid(NOBODY);
    // What another test starts meanwhile has the copy open for writing until it becomes its program.
    let output = loop {
        match child.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("refused"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_the_old_file_or_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let cache: Small = inline(10);
    cache.save_to_path(&path, &options("json")).unwrap();
    assert_eq!(mode(), 0o600);
    for old in [0o640, 0o400, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(old)).unwrap();
        cache.save_to_path(&path, &options("json")).unwrap();
        assert_eq!(mode(), old);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_typed_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let cache: Small = inline(10);
    cache.insert("a".to_owned(), 1);
    let error = cache.save_to(full, &options("bincode")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
}

#[test]
fn a_conversion_of_a_damaged_snapshot_fails() {
    let mut bytes = snapshot_of(3, &options("json"));
    let at = bytes.windows(5).position(|it| it == b"key 1").unwrap();
    bytes[at] ^= 1;
    let to = options("bincode");
    assert!(convert::<String, u32>(&*bytes, Vec::new(), &LoadOptions::new(), &to).is_err());
}

/// Runs one of the tests below in a process of its own, which does what it is for.
fn child(test: &str, path: &Path, through: &str) -> Command {
    let mut command = Command::new("sh");
    let run = format!(
        "{through} exec \"$0\" --exact hostile_snapshots::{test} --nocapture --test-threads 1"
    );
    command.arg("-c").arg(run).arg(std::env::current_exe().unwrap());
    command.env("LARDER_CHILD", path);
    command
}

/// Two contents that no mixture of them looks like.
fn version(which: u32) -> Small {
    let cache = Small::new(10_000);
    for n in 0..2000 + which * 500 {
        cache.insert(format!("key {n}"), which);
    }
    cache
}

fn assert_is_a_version(path: &Path) {
    let cache: Small = inline(10_000);
    cache.load_from_path(path, &LoadOptions::new()).unwrap();
    let which = cache.peek("key 0").unwrap();
    assert_eq!(cache.len() as u32, 2000 + which * 500);
    assert!(cache.values().all(|value| value == which));
}

#[cfg(unix)]
#[test]
fn child_saves_without_end() {
    let Some(path) = std::env::var_os("LARDER_CHILD") else { return };
    let versions = [version(0), version(1)];
    for n in 0.. {
        versions[n % 2].save_to_path(&path, &options("bincode")).unwrap();
        println!("saved");
    }
}

#[cfg(unix)]
#[test]
fn a_process_killed_at_any_moment_of_a_save_leaves_the_old_or_the_new_file() {
    const KILLS: u32 = 60;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    version(0).save_to_path(&path, &options("bincode")).unwrap();
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let mut saving = child("child_saves_without_end", &path, "");
        let mut saving = saving.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(saving.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("saved") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the child has ended by itself");
        }
        // A save later, and a bit more each time.
        for _ in 0..kill * 160 {
            std::hint::spin_loop();
        }
        saving.kill().unwrap();
        saving.wait().unwrap();
        assert_is_a_version(&path);
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().path();
            if file != path {
                interrupted += 1;
                fs::remove_file(file).unwrap();
            }
        }
    }
    println!("{interrupted} of {KILLS} kills came between the beginning and the end of a file");
    assert!(interrupted > 0, "no kill came at a bad moment");
}

#[cfg(unix)]
#[test]
fn child_saves_to_a_full_disk() {
    let Some(path) = std::env::var_os("LARDER_CHILD") else { return };
    let error = version(1).save_to_path(&path, &options("bincode")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    println!("refused");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    version(0).save_to_path(&path, &options("bincode")).unwrap();
    // A limit on the size of files, whose signal is ignored: writes fail.
    let mut saving = child("child_saves_to_a_full_disk", &path, "trap '' XFSZ; ulimit -f 16;");
    let mut saving = saving.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    saving.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(saving.wait().unwrap().success() && said.contains("refused"), "{said}");
    assert_is_a_version(&path);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
