//! Builds caches from a TOML file.
//!
//! `cargo run --features serde --example configuration`

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use larder::{Cache, CacheConfig};

const FILE: &str = r#"
[pages]
max_weight = 67_108_864 # bytes, as the program's weigher says
time_to_live = "10m"
jitter = 0.1            # so that pages that came together do not expire together

[sessions]
capacity = 100_000
policy = "lru"
time_to_idle = "30m"
count_lookups = true
explain_misses = 10_000
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut caches: HashMap<String, CacheConfig> = toml::from_str(FILE)?;
    let mut of = |name: &str| caches.remove(name).ok_or("the file has no such cache");

    // Code adds what a file cannot express: closures, a clock, a hasher, shadows.
    let pages: Cache<String, Vec<u8>> = of("pages")?
        .into_builder()
        .weigher(|address: &String, page: &Vec<u8>| {
            u32::try_from(address.len() + page.len()).unwrap_or(u32::MAX)
        })
        .build()?;
    let sessions: Cache<u64, String> = of("sessions")?.into_builder().name("sessions").build()?;

    pages.insert("/index".to_owned(), vec![0; 1_000]);
    pages.run_pending();
    assert_eq!((pages.weight(), pages.max_weight()), (1_006, Some(64 << 20)));
    assert_eq!(sessions.policy_name(), "lru");
    assert_eq!(sessions.time_to_idle(), Some(Duration::from_secs(1_800)));

    // Mistakes lead to errors that say what is allowed.
    let misspelled = toml::from_str::<CacheConfig>("capacty = 100").err();
    let unknown = toml::from_str::<CacheConfig>("capacity = 100\npolicy = \"mru\"").err();
    let unbounded = toml::from_str::<CacheConfig>("")?.into_builder::<u32, u32>().build().err();
    println!("{}", misspelled.ok_or("a misspelled field is an error")?);
    println!("{}", unknown.ok_or("a policy that nobody knows is an error")?);
    println!("{}", unbounded.ok_or("a cache without a bound is an error")?);
    Ok(())
}
