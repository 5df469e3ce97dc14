//! Snapshots that are forged or foreign, and the limits that stop them: loading them takes little
//! memory, and snapshots that are saved with the defaults stay within those limits.

use larder::Cache;
use larder::snapshot::{Info, Part, RestoreOptions, SnapshotError};
use serde::{Deserialize, Serialize};

use crate::allocator::peak_of;

use super::{Small, inline, load, options, snapshot_of};

/// A binary snapshot with valid checksums around payloads of any kind.
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

    /// A record with the encoded tags `coded`, whose length it states as `tags_bytes`.
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
fn a_forgery_without_a_fault_is_loaded_so_the_others_fail_for_their_faults() {
    let bytes = Forge::new("bincode", 1, 0).payload(&entry("a", 1)).end(1);
    assert_eq!(load(&bytes).unwrap(), [("a".to_owned(), 1), ("own".to_owned(), 7)]);
}

/// The encoding of tags in a record.
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
        // The other records are not affected.
        let cache: Small = inline(10);
        let salvaged = cache.load_from(&*bytes, &RestoreOptions::new().salvage()).unwrap();
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

/// Salvage loads what comes before a length that hardly any record has, and inspection says so beforehand. Another
/// record that is longer than allowed may be undamaged: salvage would lose it, and all that comes after it, so both
/// refuse it.
#[test]
fn a_length_is_damage_to_whoever_salvages_only_beyond_the_default_limit() {
    let salvage = || RestoreOptions::new().salvage();
    let cache: Cache<String, u32> = inline(10);
    for length in [(1 << 30) + 1, u32::MAX - 1] {
        let head = Forge::new("bincode", 1, 0).payload(&entry("a", 1));
        let at = head.bytes.len() as u64;
        let bytes = head.record(length, &entry("b", 2)).end(2);
        let info = Info::read(&*bytes, &salvage()).unwrap();
        assert_eq!((info.entries, info.damaged_at), (1, Some(at)));
        assert_eq!(cache.load_from(&*bytes, &salvage()).unwrap().entries, 1);
        let whole = Info::read(&*bytes, &RestoreOptions::new()).unwrap_err();
        assert!(matches!(whole, SnapshotError::RecordTooLong { .. }), "{whole:?}");
        cache.clear();
    }
    let (short, long) = (entry("a", 1), entry(&"b".repeat(1_000), 2));
    let bytes = Forge::new("bincode", 1, 0).payload(&short).payload(&long).payload(&short).end(3);
    let limited = salvage().max_record_bytes(500);
    for error in [
        Info::read(&*bytes, &limited).unwrap_err(),
        cache.load_from(&*bytes, &limited).unwrap_err(),
    ] {
        assert!(matches!(error, SnapshotError::RecordTooLong { limit: 500, .. }), "{error:?}");
    }
    assert!(cache.is_empty());
    assert_eq!(Info::read(&*bytes, &salvage()).unwrap().entries, 3);
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
fn a_list_of_billions_of_empty_elements_is_refused_early() {
    let mut payload = entry("a", 0);
    payload.truncate(9);
    payload.extend((1_u64 << 33).to_le_bytes());
    let bytes = Forge::new("bincode", 1, 0).payload(&payload).end(1);
    let cache: Cache<String, Vec<()>> = inline(10);
    let error = cache.load_from(&*bytes, &RestoreOptions::new()).unwrap_err();
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
    let error = cache.load_from(&*bytes, &RestoreOptions::new()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("values within each other"), "{cause}");
    let mut json = br#"["a","#.to_vec();
    json.extend("[".repeat(2_000_000).as_bytes());
    let bytes = Forge::new("bincode", 1, 0).payload(&json).end(1);
    let cache: Cache<String, serde_json::Value> = inline(10);
    assert!(cache.load_from(&*bytes, &RestoreOptions::new()).is_err());
}

#[test]
fn surplus_bytes_in_a_payload_are_refused() {
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
    // A text serializer in a binary frame.
    let mixed = Forge::new("json", 1, 0).payload(br#"["a",1]"#).end(1);
    assert!(matches!(load(&mixed), Err(SnapshotError::Damaged { part: Part::Header, .. })));
    let renamed = Forge::new("bincode", 1, 0).payload(br#"["a",1]"#).end(1);
    assert!(matches!(load(&renamed), Err(SnapshotError::Deserialize { .. })));
}

#[test]
fn other_types_are_refused() {
    let cache: Cache<String, String> = inline(10);
    let bytes = snapshot_of(3, &options("json"));
    let error = cache.load_from(&*bytes, &RestoreOptions::new()).unwrap_err();
    assert!(matches!(error, SnapshotError::Deserialize { .. }), "{error:?}");
    assert!(cache.is_empty());
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"\n", b"{}", b"\x80\x04pickle", &[0; 4096], &[0xff; 4096]] {
        assert!(matches!(load(bytes), Err(SnapshotError::NotASnapshot)));
    }
}

/// The same byte over and over: `blocks` blocks of 128 KiB, behind `bytes`, which are not
/// compressed. The frame is made by hand, because no real compressor packs so tightly.
fn packed_bomb(bytes: &[u8], blocks: u32) -> Vec<u8> {
    // The frame's magic number, no options, and a window of 1 MiB.
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
fn a_decompression_bomb_is_refused_by_a_limit_in_little_memory() {
    const LENGTH: u32 = 512 << 20;
    let head = Forge::new("bincode", 1, 1);
    let header = head.bytes.clone();
    let all = head.record(LENGTH, &[]).bytes;
    let bytes = [&header[..], &packed_bomb(&all[header.len()..], LENGTH >> 17)].concat();
    assert!(bytes.len() < 17 << 10);
    let target: Cache<String, String> = inline(10_000);
    let (peak, error) = peak_of(|| target.load_from(&*bytes, &RestoreOptions::new()).unwrap_err());
    assert!(matches!(error, SnapshotError::TooPacked { limit: 256 }), "{error:?}");
    assert!(error.is_limit() && error.to_string().contains("no damage"), "{error}");
    assert!(peak < 12 << 20, "{peak} bytes");
    // Without the limit, the damage is found.
    let lifted = RestoreOptions::new().max_expansion(u32::MAX).max_record_bytes(1 << 20);
    let error = target.load_from(&*bytes, &lifted).unwrap_err();
    assert!(matches!(error, SnapshotError::RecordTooLong { .. }) && error.is_limit(), "{error:?}");
}

#[test]
fn snapshots_saved_by_default_are_loaded_by_default_however_well_they_compress() {
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
                let loaded = target.load_from(&*file, &RestoreOptions::new()).unwrap();
                assert_eq!((loaded.entries, loaded.left_out()), (u64::from(pages), 0));
                assert_eq!(target.get(&0).map(|page| page.len()), Some(bytes));
                let info = Info::read(&*file, &RestoreOptions::new()).unwrap();
                assert_eq!((info.entries, info.bytes), (u64::from(pages), saved.bytes));
                let error = target.load_from(&*file, &RestoreOptions::new().max_expansion(1));
                assert!(error.is_ok() == (bytes == 10), "the limit that was set holds");
            }
        }
    }
}

#[test]
fn loading_takes_less_than_twice_the_files_size_until_it_is_verified() {
    for serializer in ["bincode", "json"] {
        let mut bytes = snapshot_of(50_000, &options(serializer));
        // The last bit is flipped, so everything has been read and decoded before the damage is
        // found.
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
    let (peak, _) = peak_of(|| target.load_from(&*bytes, &RestoreOptions::new()).unwrap());
    assert!(peak < 2 * bytes.len(), "{peak} for {} bytes", bytes.len());
    assert_eq!(target.get("a"), Some("x".repeat(16 << 20)));
}
