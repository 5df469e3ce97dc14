//! A warm restart: in the middle of a recorded trace the cache is saved, and another cache goes on
//! with what it has loaded. Its hit ratio must stay within one percentage point of that of a cache
//! that was never stopped.

use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};
use larder::{Cache, Maintenance, Policy, RandomState};

/// Loops, scans and a zipf part, as in the recorded traces; the same every time.
fn synthetic(seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut keys = Vec::new();
    for n in 0..120_000_u32 {
        let key = match n % 10 {
            0 => 1_000_000 + n,
            1 | 2 => 500_000 + (n / 10) % 3000,
            _ => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rank"
                )]
                let rank = (20_000_f64.powf(random() as f64 / (1_u64 << 31) as f64)) as u32;
                rank + (n / 30_000) * 40
            }
        };
        keys.push(key);
    }
    keys
}

/// The traces in the folder that `LARDER_TRACES` names, or synthetic ones.
fn traces() -> Vec<(String, Vec<u32>)> {
    let recorded = ["oltp", "multi2", "sprite", "web07", "gcc"].into_iter().filter_map(|name| {
        let folder = std::env::var_os("LARDER_TRACES")?;
        let file = std::path::Path::new(&folder).join(format!("{name}.u32.gz"));
        let mut bytes = Vec::new();
        let file = std::fs::File::open(file).ok()?;
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut bytes).ok()?;
        let keys = bytes.chunks_exact(4).map(|it| u32::from_le_bytes(it.try_into().unwrap()));
        Some((name.to_owned(), keys.collect()))
    });
    let recorded: Vec<_> = recorded.collect();
    if !recorded.is_empty() {
        return recorded;
    }
    println!("LARDER_TRACES names no recorded traces; two synthetic ones are used instead");
    (1..=2).map(|seed| (format!("synthetic {seed}"), synthetic(seed))).collect()
}

/// All caches have the same hasher, because sketches and samples depend on it by about a point.
fn cache(policy: &str, capacity: usize) -> Cache<u32, (), RandomState> {
    let builder = Cache::builder().capacity(capacity).policy(Policy::named(policy));
    let builder = builder.hasher(RandomState::with_seeds(1, 2, 3, 4));
    builder.maintenance(Maintenance::Inline).build().unwrap()
}

fn replay(cache: &Cache<u32, (), RandomState>, keys: &[u32]) -> f64 {
    let mut hits = 0_u32;
    for key in keys {
        match cache.read(key, |()| ()) {
            Some(()) => hits += 1,
            None => drop(cache.insert(*key, ())),
        }
    }
    100.0 * f64::from(hits) / keys.len() as f64
}

#[test]
fn a_warm_restart_keeps_the_hit_ratio_within_a_point() {
    for (name, keys) in traces() {
        let distinct = keys.iter().collect::<std::collections::HashSet<_>>().len();
        let (before, after) = keys.split_at(keys.len() / 2);
        for policy in Policy::names() {
            let whole = cache(&policy, distinct / 10);
            replay(&whole, before);
            let serializer = Serializers::standard().get("bincode").unwrap();
            let mut file = Vec::new();
            whole.save_to(&mut file, &SaveOptions::new(serializer)).unwrap();
            let restarted = cache(&policy, distinct / 10);
            let loaded = restarted.load_from(&*file, &RestoreOptions::new()).unwrap();
            assert_eq!(loaded.entries as usize, whole.len());
            restarted.validate();
            let (uninterrupted, warm) = (replay(&whole, after), replay(&restarted, after));
            let cold = replay(&cache(&policy, distinct / 10), after);
            println!(
                "{name}, {policy}: {uninterrupted:.2} %, restarted {warm:.2} %, cold {cold:.2} %"
            );
            assert!(warm >= uninterrupted - 1.0, "{name}, {policy}");
        }
    }
}
