//! Snapshots that are cut off or damaged, loaded whole or with salvage.

use larder::Cache;
use larder::snapshot::{Info, Part, RestoreOptions, SnapshotError, convert};

use super::{Small, contents, inline, load, options, small_snapshots, snapshot_of, whole};

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
            assert!(Info::read(&bytes[..length], &RestoreOptions::new()).is_err());
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
fn bytes_behind_the_end_are_refused() {
    for (name, bytes) in small_snapshots() {
        for rest in [&b"\0"[..], b"\n", b"%larder\n"] {
            let longer = [&bytes[..], rest].concat();
            let error = load(&longer).expect_err(name);
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{name}: {error:?}");
        }
    }
}

#[test]
fn missing_doubled_or_moved_records_are_refused() {
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

#[test]
fn damaged_filler_is_detected_and_salvage_skips_it() {
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
        found += u32::from(target.load_from(&*damaged, &RestoreOptions::new()).is_err());
        let salvaged = target.load_from(&*damaged, &RestoreOptions::new().salvage());
        assert!(salvaged.is_ok_and(|loaded| loaded.entries <= 4));
    }
    assert_eq!(found as usize, (200..bytes.len()).step_by(397).len());
}

#[test]
fn salvage_skips_a_damaged_record_and_reports_it() {
    for (name, mut bytes) in small_snapshots().into_iter().take(2) {
        let at = bytes.windows(5).position(|it| it == b"key 1").unwrap();
        bytes[at + 4] = b'9';
        let cache: Small = inline(10);
        let loaded = cache.load_from(&*bytes, &RestoreOptions::new().salvage()).unwrap();
        assert_eq!((loaded.entries, loaded.damaged, loaded.missing), (2, 1, 0), "{name}");
        assert!(!loaded.is_whole());
        assert_eq!(contents(&cache), [("key 0".to_owned(), 0), ("key 2".to_owned(), 2)]);
        assert!(Info::read(&*bytes, &RestoreOptions::new()).is_err());
    }
}

#[test]
fn salvage_loads_records_before_the_cut_and_counts_the_missing_ones() {
    for (name, bytes) in small_snapshots().into_iter().take(2) {
        for length in 0..bytes.len() {
            let cache: Small = inline(10);
            let Ok(loaded) = cache.load_from(&bytes[..length], &RestoreOptions::new().salvage())
            else {
                continue; // the cut is within the header
            };
            assert!(loaded.broken_at.is_some() && !loaded.is_whole(), "{name} at {length}");
            assert_eq!(loaded.entries + loaded.missing, 3, "{name} at {length}");
            assert_eq!(cache.len() as u64, loaded.entries);
        }
    }
}

#[test]
fn salvage_after_any_flipped_bit_loads_only_saved_entries() {
    for (name, bytes) in small_snapshots() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let cache: Small = inline(10);
            let _ = cache.load_from(&*flipped, &RestoreOptions::new().salvage());
            for found in contents(&cache) {
                assert!(whole().contains(&found), "{name}: bit {bit} made {found:?}");
            }
        }
    }
}

#[test]
fn a_conversion_of_a_damaged_snapshot_fails() {
    let mut bytes = snapshot_of(3, &options("json"));
    let at = bytes.windows(5).position(|it| it == b"key 1").unwrap();
    bytes[at] ^= 1;
    let to = options("bincode");
    assert!(convert::<String, u32>(&*bytes, Vec::new(), &RestoreOptions::new(), &to).is_err());
}
