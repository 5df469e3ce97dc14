//! Nothing that was acknowledged in durable mode is lost when the process is killed.
//!
//! The test starts itself again as a child, which writes to a database file through a tier and reports each
//! acknowledged write on a pipe. The parent kills the child at a random moment, opens the file, and compares.
//! Each key has one writer, so its last state must be that of its last acknowledged write, or of the one that
//! the writer had begun after that.
//!
//! A killed process leaves its writes with the operating system. That a commit also survives a loss of power
//! is what the database promises, and is not tested here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use larder::Cache;
use larder_store::{Durability, Record, RedbStore, StoredCache, WriteBehind};

const KILLS: u64 = 100;
const WRITERS: u64 = 4;
const KEYS_OF_A_WRITER: u64 = 5;
/// Set in the child: the path of the file, and the number of its first operation.
const CHILD: &str = "LARDER_STORE_CRASH_CHILD";

type Tier = StoredCache<u64, u64, RedbStore>;

fn open(path: &Path) -> Tier {
    let settings = WriteBehind::new()
        .durability(Durability::Durable)
        .batch_entries(3)
        .patience(Duration::from_secs(600));
    let store = RedbStore::create(path, "numbers").unwrap();
    // So small that most reads find nothing in the cache.
    StoredCache::write_behind(Cache::new(4), store, settings).unwrap()
}

/// The operation of that number on its key: the value to store, or `None` to remove the key.
fn operation(number: u64) -> Option<u64> {
    (!number.is_multiple_of(5)).then_some(number)
}

fn key_of(writer: u64, number: u64) -> u64 {
    writer * KEYS_OF_A_WRITER + number % KEYS_OF_A_WRITER
}

/// Writes until it is killed.
fn child(path: &Path, first: u64) {
    let tier = open(path);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let tier = &tier;
            scope.spawn(move || {
                for number in first.. {
                    let key = key_of(writer, number);
                    match operation(number) {
                        Some(value) => tier.insert(key, Record::new(value)).unwrap(),
                        None => tier.remove(&key).unwrap(),
                    }
                    // One call, so that a line is whole or the last.
                    let line = format!("\nack {writer} {number}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn start(path: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_writes_survive_the_death_of_the_process", "--nocapture"])
        .env(CHILD, format!("{first} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn acknowledged_writes_survive_the_death_of_the_process() {
    if let Ok(child_of) = std::env::var(CHILD) {
        let (first, path) = child_of.split_once(' ').unwrap();
        return child(Path::new(path), first.parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.redb");
    let mut seed = std::env::var("LARDER_TEST_SEED").map_or(19, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let (mut first, mut acknowledged_in_all) = (1, 0);
    // The state of each key after the rounds before.
    let mut settled = BTreeMap::new();
    for round in 0..KILLS {
        let mut child = start(&path, first);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = BTreeMap::new();
        let mut note = |line: &str| {
            let mut words = line.strip_prefix("ack ")?.split(' ');
            let writer: u64 = words.next()?.parse().ok()?;
            let number: u64 = words.next()?.parse().ok()?;
            last.insert(writer, number);
            Some(())
        };
        let mut left = random(&mut seed) % 60;
        while left > 0 {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            left -= u64::from(note(&line).is_some());
        }
        // Somewhere within the next commit.
        for _ in 0..random(&mut seed) % 200_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had acknowledged when it was killed; the last line may be cut, and then counts for less.
        for line in lines.map_while(Result::ok) {
            let _ = note(&line);
        }

        let tier = open(&path);
        for writer in 0..WRITERS {
            let done = last.get(&writer).copied();
            acknowledged_in_all += done.map_or(0, |done| done - first + 1);
            // The operation that the writer was in when it was killed; it may be carried out or not.
            let begun = done.map_or(first, |done| done + 1);
            for slot in 0..KEYS_OF_A_WRITER {
                let key = key_of(writer, slot);
                let of_key = |number: &u64| key_of(writer, *number) == key;
                let newest = done.and_then(|done| (first..=done).rev().find(of_key));
                let certain = match newest {
                    Some(number) => operation(number),
                    None => settled.get(&key).copied().flatten(),
                };
                let mut allowed = vec![certain];
                if of_key(&begun) {
                    allowed.push(operation(begun));
                }
                let found = tier.get(&key).unwrap();
                assert!(
                    allowed.contains(&found),
                    "round {round}, key {key}: {found:?} of {allowed:?}"
                );
                settled.insert(key, found);
            }
        }
        drop(tier);
        first = last.values().max().copied().unwrap_or(first) + 10;
    }
    println!("{acknowledged_in_all} writes were acknowledged before {KILLS} kills");
    assert!(acknowledged_in_all > KILLS);
}
