//! Saves a cache to a file and starts another one from it, with its times to live, its tags and its
//! order of eviction.
//!
//! `cargo run --features postcard --example warm_restart`

use std::time::Duration;

use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};
use larder::{Cache, InsertOptions, Maintenance, Policy};

fn build(capacity: usize) -> Result<Cache<String, u64>, larder::BuildError> {
    // Inline maintenance and LRU, so that the example knows exactly which entries stay.
    Cache::builder()
        .capacity(capacity)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .build()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cache.snapshot");

    // At the very first start there is no file: an error like any other, and no reason to stop.
    let cache = build(1_000)?;
    let first = cache.load_from_path(&file, &RestoreOptions::new());
    assert!(first.is_err_and(|error| error.is_not_found()));

    for number in 0..1_000 {
        cache.insert(format!("key {number}"), number);
    }
    let hour = InsertOptions::new().ttl(Duration::from_secs(3_600));
    cache.insert_with("session".to_owned(), 17, hour.tags(&["sessions"]));
    cache.get("key 500");
    let postcard = SaveOptions::new(Serializers::standard().get("postcard")?);
    let saved = cache.save_to_path(&file, &postcard)?;
    assert_eq!(saved.entries, 1_000);
    drop(cache);

    // After the restart.
    let warm = build(1_000)?;
    let loaded = warm.load_from_path(&file, &RestoreOptions::new())?;
    assert!(loaded.is_whole());
    assert_eq!((loaded.entries, warm.len()), (1_000, 1_000));
    assert_eq!(warm.hottest(2), ["key 500", "session"]);
    let left = warm.inspect("session").and_then(|info| info.expires_in);
    assert!(left > Some(Duration::from_secs(3_000)));
    assert_eq!(warm.tags_of("session"), Some(vec!["sessions".to_owned()]));
    assert!(warm.invalidate_tag("sessions"));
    assert_eq!(warm.get("session"), None);

    // A smaller cache keeps the hottest.
    let small = build(2)?;
    small.load_from_path(&file, &RestoreOptions::new())?;
    assert_eq!(small.hottest(10), ["key 500", "session"]);

    // A damaged file is refused, and changes nothing.
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    assert!(small.load_from(&*bytes, &RestoreOptions::new()).is_err());
    assert_eq!(small.len(), 2);
    // Its readable entries can be salvaged.
    let rescued = build(1_000)?;
    let loaded = rescued.load_from(&*bytes, &RestoreOptions::new().salvage())?;
    assert!(!loaded.is_whole() && loaded.entries > 0);

    println!(
        "{} entries in {} bytes; {} rescued from a damaged file",
        saved.entries, saved.bytes, loaded.entries
    );
    Ok(())
}
