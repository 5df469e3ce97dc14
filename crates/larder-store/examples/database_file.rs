//! A cache in front of a database file: read-through, write-behind in durable mode, and a restart.
//!
//! `cargo run --package larder-store --features redb --example database_file`

use std::time::Duration;

use larder::Cache;
use larder_store::{Durability, Record, RedbStore, StoredCache, WriteBehind};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    logins: u32,
}

type Users = StoredCache<u64, User, RedbStore>;

fn open(path: &std::path::Path) -> Result<Users, Box<dyn std::error::Error>> {
    // At most 1,000 users in memory; the file has them all.
    let cache = Cache::builder()
        .capacity(1_000)
        .time_to_live(Duration::from_secs(600))
        .negative_time_to_live(Duration::from_secs(10))
        .build()?;
    let settings = WriteBehind::new()
        // `insert` returns when the file has the user; threads that wait share one commit.
        .durability(Durability::Durable)
        .on_give_up(|letter| eprintln!("user {} was not saved: {:?}", letter.key, letter.error));
    Ok(StoredCache::write_behind(cache, RedbStore::create(path, "users")?, settings)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("users.redb");

    let users = open(&path)?;
    assert_eq!(users.get(&7)?, None);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let users = &users;
            scope.spawn(move || {
                for id in (thread..400).step_by(8) {
                    let user = User { name: format!("user {id}"), logins: 1 };
                    users.insert(id, user).expect("the disk has room");
                }
            });
        }
    });
    let stats = users.stats();
    println!("{} users in {} commits", stats.written, stats.batches);
    assert!(stats.batches < stats.written, "threads share commits");

    // A session expires, in memory and in the file.
    let session = User { name: "a guest".to_owned(), logins: 0 };
    users.insert(9_999, Record::new(session).ttl(Duration::from_secs(1_800)).tags(["guests"]))?;
    // Closes the file, after the queue was written.
    drop(users);

    let users = open(&path)?;
    let some = users.get_many(&[0, 399, 5_000])?;
    assert_eq!(some.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    assert!(users.get(&9_999)?.is_some());
    println!("after a restart: {some:?}");
    Ok(())
}
