//! A database file as the second tier.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use larder::Cache;
use larder_store::{
    Backoff, Durability, ErrorKind, Record, RedbError, RedbStore, RowError, Store, StoredCache,
    Write, WriteBehind,
};
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u32,
}

fn ada() -> User {
    User { name: "Ada".to_owned(), age: 36 }
}

/// The error of a store of users, with the types that a test means.
fn get(
    store: &RedbStore,
    key: u64,
) -> Result<Option<Record<User>>, RedbError<larder_store::PostcardError>> {
    Store::<u64, User>::get(store, &key)
}

fn kind(store: &RedbStore, error: &RedbError<larder_store::PostcardError>) -> ErrorKind {
    Store::<u64, User>::kind(store, error)
}

/// A wall clock that a test moves.
fn clock() -> (Arc<AtomicU64>, impl Fn() -> SystemTime + Send + Sync + 'static) {
    let seconds = Arc::new(AtomicU64::new(1_700_000_000));
    let now = Arc::clone(&seconds);
    let clock = move || SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    (seconds, clock)
}

#[test]
fn records_survive_a_restart_with_tags_and_lifetime() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.redb");
    let (seconds, now) = clock();
    let store = RedbStore::create(&path, "users").unwrap().wall_clock(now);
    let record = Record::new(ada()).ttl(Duration::from_secs(60)).tags(["admins", "1815"]);
    store.insert(&1_u64, &record.value, record.meta()).unwrap();
    store.insert(&2_u64, &ada(), Default::default()).unwrap();
    drop(store);
    let (_, now) = clock();
    let store = RedbStore::create(&path, "users").unwrap().wall_clock(now);
    assert_eq!(get(&store, 1).unwrap(), Some(record));
    assert_eq!(get(&store, 2).unwrap(), Some(Record::new(ada())));
    assert_eq!(get(&store, 3).unwrap(), None);
    drop((store, seconds));
}

#[test]
fn rows_expire_by_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (seconds, now) = clock();
    let store = RedbStore::create(folder.path().join("a.redb"), "users").unwrap().wall_clock(now);
    for (key, ttl) in [(1_u64, 10), (2, 20), (3, u64::MAX)] {
        let record = Record::new(ada()).ttl(Duration::from_secs(ttl));
        store.insert(&key, &record.value, record.meta()).unwrap();
    }
    seconds.fetch_add(9, Ordering::Relaxed);
    assert_eq!(get(&store, 1).unwrap().unwrap().ttl, Some(Duration::from_secs(1)));
    assert_eq!(store.remove_expired().unwrap(), 0);
    seconds.fetch_add(1, Ordering::Relaxed);
    assert_eq!(get(&store, 1).unwrap(), None);
    assert_eq!(Store::<u64, User>::get_many(&store, &[1, 2, 3]).unwrap().len(), 2);
    assert_eq!((store.rows().unwrap(), store.remove_expired().unwrap()), (3, 1));
    assert_eq!(store.rows().unwrap(), 2);
}

#[test]
fn a_batch_is_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::create(folder.path().join("a.redb"), "users").unwrap();
    let (users, keys): (Vec<_>, Vec<_>) =
        (0..10_u64).map(|age| (User { age: age as u32, ..ada() }, age)).unzip();
    let insert = |key: &u64| -> Write<'_, u64, User> {
        Write::Insert {
            key: &keys[*key as usize],
            value: &users[*key as usize],
            meta: Default::default(),
        }
    };
    let batch: Vec<_> = keys.iter().map(insert).collect();
    for durability in [Durability::Memory, Durability::Durable] {
        store.write(&batch, durability).unwrap();
    }
    Store::<u64, User>::flush(&store).unwrap();
    assert_eq!(store.rows().unwrap(), 10);
    // One write of the batch cannot be encoded, so none is carried out.
    let many: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    let meta = larder_store::Meta { ttl: None, tags: &many };
    let batch =
        [Write::Remove { key: &keys[0] }, Write::Insert { key: &keys[1], value: &users[1], meta }];
    let error = store.write(&batch, Durability::Durable).unwrap_err();
    assert!(matches!(error, RedbError::TooMuch(RowError::TooMuch { given: 300, .. })));
    assert_eq!(kind(&store, &error), ErrorKind::Permanent);
    assert!(get(&store, 0).unwrap().is_some());
}

#[test]
fn what_cannot_be_read_is_a_miss_and_counted() {
    const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("users");
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(Database::create(folder.path().join("a.redb")).unwrap());
    let store = RedbStore::in_database(Arc::clone(&database), "users").unwrap();
    for key in 0..5_u64 {
        store.insert(&key, &ada(), Default::default()).unwrap();
    }
    // A row of another type, with a right checksum.
    Store::<u64, u64>::insert(&store, &4, &7, Default::default()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TABLE).unwrap();
        let row = table.get(&[1_u8][..]).unwrap().unwrap().value().to_vec();
        let mut other_version = row.clone();
        other_version[0] = 9;
        let mut changed = row.clone();
        *changed.last_mut().unwrap() ^= 1;
        table.insert(&[1_u8][..], &other_version[..]).unwrap();
        table.insert(&[2_u8][..], &changed[..]).unwrap();
        table.insert(&[3_u8][..], &b""[..]).unwrap();
    }
    transaction.commit().unwrap();
    let errors: Vec<_> = (1..5).map(|key| get(&store, key).unwrap_err()).collect();
    assert!(matches!(errors[0], RedbError::Row(RowError::UnknownVersion { found: 9 })));
    assert!(matches!(errors[1], RedbError::Row(RowError::BadChecksum)));
    assert!(matches!(errors[2], RedbError::Row(RowError::Truncated { bytes: 0 })));
    assert!(matches!(errors[3], RedbError::Decode(_)));
    for error in &errors {
        assert_eq!(kind(&store, error), ErrorKind::Corrupt, "{error}");
        assert!(std::error::Error::source(error).is_some());
    }
    let tier = StoredCache::write_through(Cache::<u64, User>::new(100), store);
    assert_eq!(tier.get(&0).unwrap(), Some(ada()));
    for key in 1..5 {
        assert_eq!(tier.get(&key).unwrap(), None);
    }
    assert_eq!(tier.stats().corrupt, 4);
    let found = tier.get_many(&[0, 1, 2, 3, 4]).unwrap();
    assert_eq!(found, [Some(ada()), None, None, None, None]);
    for key in 1..5 {
        tier.insert(key, ada()).unwrap();
        tier.cache().clear();
        assert_eq!(tier.get(&key).unwrap(), Some(ada()));
    }
}

#[test]
fn a_file_that_is_open_or_not_a_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    let store = RedbStore::create(&path, "users").unwrap();
    match RedbStore::create(&path, "users") {
        Err(RedbError::Open { path: named, source }) => {
            assert!(matches!(*source, redb::Error::DatabaseAlreadyOpen));
            assert_eq!(named, path);
        }
        other => panic!("{other:?}"),
    }
    // Another table of the same database is open to another store.
    let other = RedbStore::in_database(store.database().unwrap(), "other").unwrap();
    other.insert(&1_u64, &ada(), Default::default()).unwrap();
    assert_eq!((store.rows().unwrap(), other.rows().unwrap()), (0, 1));
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, vec![7_u8; 10_000]).unwrap();
    let missing = folder.path().join("none/a.redb");
    for path in [&garbage, &missing] {
        let error = RedbStore::create(path, "users").unwrap_err();
        assert!(matches!(error, RedbError::Open { .. }));
        assert_eq!(error.to_string(), format!("cannot open the database {}", path.display()));
    }
    let unnamed = [
        RedbStore::create(folder.path().join("b.redb"), ""),
        RedbStore::in_database(other.database().unwrap(), ""),
    ];
    assert!(unnamed.into_iter().all(|opened| matches!(opened, Err(RedbError::NoTableName))));
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    let tier =
        StoredCache::write_through(Cache::new(10), RedbStore::create(&path, "users").unwrap());
    for key in 0..50_u64 {
        tier.insert(key, ada()).unwrap();
    }
    drop(tier);
    let sound = std::fs::read(&path).unwrap();
    // It is cut off, or the size of its pages and the places of its trees are wrong.
    let cut = [1, 100, sound.len() / 2, sound.len() - 1].map(|len| sound[..len].to_vec());
    // Of the rest, nothing that makes redb ask for more memory than there is.
    let changed = (0..320).step_by(7).chain((4096..20_000).step_by(400)).map(|at| {
        let mut changed = sound.clone();
        changed[at] ^= 0x10;
        changed
    });
    let mut refused = 0;
    for damaged in cut.into_iter().chain(changed) {
        std::fs::write(&path, damaged).unwrap();
        match RedbStore::create(&path, "users") {
            // Some bytes say nothing, are repaired, or are of rows.
            Ok(store) => drop(Store::<u64, User>::get_many(&store, &(0..50).collect::<Vec<_>>())),
            Err(error) => {
                assert!(matches!(error, RedbError::Open { .. }), "{error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 4, "{refused}");
}

#[test]
fn the_file_is_free_when_the_last_handle_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    for round in 0..20_u64 {
        let store = RedbStore::create(&path, "numbers").unwrap();
        let tier = StoredCache::write_behind(Cache::new(10), store, WriteBehind::new()).unwrap();
        assert_eq!(tier.get(&0_u64).unwrap(), round.checked_sub(1));
        tier.insert(0, round).unwrap();
    }
}

/// A disk in memory, which stays when the database is closed, and which can fail.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let offset = offset as usize;
        Ok(self.bytes.lock().unwrap()[offset..offset + len].to_vec())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let offset = offset as usize;
        self.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn nothing_is_lost_while_the_disk_is_full() {
    let disk = Disk::default();
    let (opened, is_full) = (disk.clone(), Arc::clone(&disk.is_full));
    let open = move || Database::builder().create_with_backend(opened.clone());
    let store = RedbStore::opened_by(open, "numbers").unwrap();
    let settings = WriteBehind::new().backoff(Backoff::custom(|_| Duration::ZERO));
    let tier = StoredCache::write_behind(Cache::new(100), store, settings).unwrap();
    for round in 0..3_u64 {
        for key in 0..10_u64 {
            tier.insert(key, round).unwrap();
        }
        tier.flush().unwrap();
        is_full.store(true, Ordering::SeqCst);
        let failed = tier.stats().failed_batches;
        for key in 0..10 {
            tier.insert(key, round + 100).unwrap();
        }
        while tier.stats().failed_batches < failed + 5 {
            std::thread::yield_now();
        }
        tier.cache().clear();
        assert_eq!(tier.get(&3).unwrap(), Some(round + 100), "it is queued");
        is_full.store(false, Ordering::SeqCst);
        tier.flush().unwrap();
        tier.cache().clear();
        for key in 0..10 {
            assert_eq!(tier.get(&key).unwrap(), Some(round + 100));
        }
    }
}
