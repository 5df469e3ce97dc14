//! A table of a redb database as a store.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use redb::{Database, ReadOnlyTable, ReadableTableMetadata, TableDefinition};

use crate::codec::{Codec, Postcard};
use crate::row::{self, Row, RowError};
use crate::store::{Durability, ErrorKind, Record, Store, Write};

type Bytes = &'static [u8];

/// A table of a database in one file, by [redb](https://www.redb.org), as a [`Store`].
///
/// A batch is one transaction: all of it is in the file, or nothing. With [`Durability::Durable`] it has been
/// synced to the disk when the call returns. With [`Durability::Memory`] the operating system is asked to
/// write it soon, and [`flush`](Store::flush) syncs. One transaction writes at a time; readers do not wait.
///
/// A row holds the tags of a record and when it expires, by the system's wall clock; expired rows are not
/// found, and stay in the file until they are replaced, removed or
/// [purged](Self::remove_expired). Each row has a version and a checksum. Rows that cannot be read, are of another
/// version, or whose value the codec cannot decode, are [corrupt](ErrorKind::Corrupt), so a tier takes them for
/// misses. A row does not say which type its value has, and what [`Postcard`] has encoded as one type it may decode as
/// another: give a table another name when the type of its values changes.
///
/// Where the file is damaged, redb panics; the store returns that as an error of the database.
///
/// After an error of the disk, redb refuses every call until the database is opened anew. The store does so
/// with the next call, as soon as no other call uses the database, so it comes back when the disk does. A
/// database that was [given to it](Self::in_database) cannot be opened anew, and stays refused.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder_store::{RedbStore, StoredCache};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("users.redb");
/// let users = StoredCache::write_through(Cache::new(10_000), RedbStore::create(&path, "users")?);
/// users.insert(1_u64, "Ada".to_owned())?;
/// drop(users);
///
/// // After a restart, with an empty cache.
/// let users = StoredCache::write_through(Cache::new(10_000), RedbStore::create(&path, "users")?);
/// assert_eq!(users.get(&1_u64)?, Some("Ada".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedbStore<C = Postcard> {
    source: Source,
    table: String,
    codec: C,
    wall_clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

/// Where the database comes from.
enum Source {
    Given(Arc<Database>),
    Opened {
        open: Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>,
        /// `None` after an error of the disk, until the database is opened anew.
        current: RwLock<Option<Arc<Database>>>,
    },
}

impl RedbStore {
    /// Opens the file at `path`, or creates it, and in it the table of that name.
    ///
    /// # Errors
    /// [`Open`](RedbError::Open) if the file cannot be opened, is damaged or is not a database of redb, if another
    /// process or another store of this one has it open, or if the table has other types.
    /// [`NoTableName`](RedbError::NoTableName) if the name is empty.
    pub fn create(path: impl AsRef<Path>, table: &str) -> Result<Self, RedbError> {
        let path = path.as_ref().to_owned();
        let file = path.clone();
        let open = move || {
            // The newer of the two formats, which later releases of redb read too.
            let mut builder = Database::builder();
            builder.create_with_file_format_v3(true);
            let opened = contained(|| builder.create(&file));
            opened.unwrap_or_else(|panic| Err(redb::StorageError::Corrupted(panic).into()))
        };
        Self::opened_by(open, table).map_err(|error| match error {
            RedbError::Database(source) => RedbError::Open { path, source },
            other => other,
        })
    }

    /// Uses the table of that name in the database that `open` opens, and creates it if it is missing. After an
    /// error of the disk, `open` is called again. It is called under a lock of the store, so it must not use
    /// the store.
    ///
    /// # Errors
    /// If `open` fails, if the table has other types, or the database cannot be written.
    pub fn opened_by(
        open: impl Fn() -> Result<Database, redb::DatabaseError> + Send + Sync + 'static,
        table: &str,
    ) -> Result<Self, RedbError> {
        Self::over(Source::Opened { open: Box::new(open), current: RwLock::new(None) }, table)
    }

    /// Uses the table of that name in a database that is open already, and creates it if it is missing. Stores
    /// may share a database.
    ///
    /// # Errors
    /// If the table has other types, or the database cannot be written.
    pub fn in_database(database: Arc<Database>, table: &str) -> Result<Self, RedbError> {
        Self::over(Source::Given(database), table)
    }

    fn over(source: Source, table: &str) -> Result<Self, RedbError> {
        if table.is_empty() {
            return Err(RedbError::NoTableName);
        }
        let (table, wall_clock) = (table.to_owned(), Box::new(SystemTime::now));
        let store = Self { source, table, codec: Postcard, wall_clock };
        store.transact::<RedbError>(redb::Durability::Immediate, |_| Ok(()))?;
        Ok(store)
    }
}

impl<C> RedbStore<C> {
    /// Uses another codec, for keys and values.
    #[must_use]
    pub fn codec<D>(self, codec: D) -> RedbStore<D> {
        let Self { source, table, wall_clock, .. } = self;
        RedbStore { source, table, codec, wall_clock }
    }

    /// Uses another clock for the expiry of rows. Default: the system's wall clock.
    #[must_use]
    pub fn wall_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.wall_clock = Box::new(now);
        self
    }

    /// The database. As long as you keep it, the store cannot open it anew.
    ///
    /// # Errors
    /// If the database has to be opened anew, and cannot be.
    pub fn database(&self) -> Result<Arc<Database>, RedbError> {
        Ok(self.open_database()?)
    }

    fn open_database(&self) -> Result<Arc<Database>, Box<redb::Error>> {
        let (open, current) = match &self.source {
            Source::Given(database) => return Ok(Arc::clone(database)),
            Source::Opened { open, current } => (open, current),
        };
        if let Some(database) = &*current.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(database));
        }
        let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
        let database = match current.take() {
            // Another thread was faster.
            Some(database) => database,
            None => Arc::new(open().map_err(boxed)?),
        };
        Ok(Arc::clone(current.insert(database)))
    }

    /// Runs a transaction. After an error of the disk, the database is opened anew for the next.
    fn with_database<R, E: From<Box<redb::Error>>>(
        &self,
        run: impl FnOnce(&Database) -> Result<R, Transacted<E>>,
    ) -> Result<R, E> {
        let database = self.open_database()?;
        let error = match contained(|| run(&database)) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Transacted::Refused(error))) => return Err(error),
            Ok(Err(Transacted::Failed(error))) => error,
            Err(panic) => boxed(redb::StorageError::Corrupted(panic)),
        };
        if let (redb::Error::Io(_) | redb::Error::PreviousIo, Source::Opened { current, .. }) =
            (&*error, &self.source)
        {
            let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
            let is_same = |current: &Arc<Database>| Arc::ptr_eq(current, &database);
            let failed = if current.as_ref().is_some_and(is_same) { current.take() } else { None };
            drop(current);
            drop(failed);
        }
        // Before the caller sees the error, so that its next call can open the database.
        drop(database);
        Err(error.into())
    }

    /// How many rows the table has, expired ones among them.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn rows(&self) -> Result<u64, RedbError> {
        self.read(|table| Ok(table.len().map_err(boxed)?))
    }

    /// Removes all rows that have expired, and returns how many.
    ///
    /// # Errors
    /// If the database cannot be written.
    ///
    /// # Complexity
    /// O(rows), in one transaction that other writers wait for.
    pub fn remove_expired(&self) -> Result<u64, RedbError> {
        let now_ms = self.now_ms();
        let mut removed = 0;
        self.transact::<RedbError>(redb::Durability::Immediate, |table| {
            table
                .retain(|_, row| {
                    let is_expired = row::expires_ms(row).is_some_and(|expires| expires <= now_ms);
                    removed += u64::from(is_expired);
                    !is_expired
                })
                .map_err(boxed)?;
            Ok(())
        })?;
        Ok(removed)
    }

    fn definition(&self) -> TableDefinition<'_, Bytes, Bytes> {
        TableDefinition::new(&self.table)
    }

    fn now_ms(&self) -> u64 {
        let since = (self.wall_clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        milliseconds(since)
    }

    /// Runs one transaction that writes.
    fn transact<E: From<Box<redb::Error>>>(
        &self,
        durability: redb::Durability,
        write: impl FnOnce(&mut redb::Table<'_, Bytes, Bytes>) -> Result<(), Transacted<E>>,
    ) -> Result<(), E> {
        self.with_database(|database| {
            let mut transaction = database.begin_write().map_err(boxed)?;
            transaction.set_durability(durability);
            {
                let table = transaction.open_table(self.definition());
                // A transaction that is dropped is rolled back.
                write(&mut table.map_err(boxed)?)?;
            }
            Ok(transaction.commit().map_err(boxed)?)
        })
    }

    /// Runs one transaction that reads.
    fn read<R, E: From<Box<redb::Error>>>(
        &self,
        read: impl FnOnce(&ReadOnlyTable<Bytes, Bytes>) -> Result<R, Transacted<E>>,
    ) -> Result<R, E> {
        self.with_database(|database| {
            let transaction = database.begin_read().map_err(boxed)?;
            read(&transaction.open_table(self.definition()).map_err(boxed)?)
        })
    }

    fn record<V>(&self, bytes: &[u8], now_ms: u64) -> Result<Option<Record<V>>, RedbError<C::Error>>
    where
        C: Codec<V>,
    {
        let Row { expires_ms, tags, value } = row::decode(bytes).map_err(RedbError::Row)?;
        let ttl = match expires_ms {
            row::NEVER => None,
            expires if expires <= now_ms => return Ok(None),
            expires => Some(Duration::from_millis(expires - now_ms)),
        };
        let value = self.codec.decode(value).map_err(RedbError::Decode)?;
        Ok(Some(Record { value, ttl, tags }))
    }
}

impl<K, V, C, E> Store<K, V> for RedbStore<C>
where
    C: Codec<K, Error = E> + Codec<V, Error = E>,
    E: Error + Send + Sync + 'static,
{
    type Error = RedbError<E>;

    fn get(&self, key: &K) -> Result<Option<Record<V>>, Self::Error> {
        let key = self.codec.encode(key).map_err(RedbError::Encode)?;
        let now_ms = self.now_ms();
        self.read(|table| {
            let row = table.get(&*key).map_err(boxed)?;
            let Some(row) = row else { return Ok(None) };
            self.record(row.value(), now_ms).map_err(Transacted::Refused)
        })
    }

    fn get_many(&self, keys: &[K]) -> Result<Vec<(K, Record<V>)>, Self::Error>
    where
        K: Clone,
    {
        let now_ms = self.now_ms();
        let encode = |key| self.codec.encode(key).map_err(RedbError::Encode);
        let encoded = keys.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        self.read(|table| {
            let mut found = Vec::new();
            for (key, bytes) in keys.iter().zip(&encoded) {
                let row = table.get(&**bytes).map_err(boxed)?;
                let Some(row) = row else { continue };
                let record = self.record(row.value(), now_ms).map_err(Transacted::Refused)?;
                found.extend(record.map(|record| (key.clone(), record)));
            }
            Ok(found)
        })
    }

    fn write(&self, batch: &[Write<'_, K, V>], durability: Durability) -> Result<(), Self::Error> {
        let now_ms = self.now_ms();
        // Encoded before the transaction begins, which other writers wait for.
        let mut rows = Vec::with_capacity(batch.len());
        for write in batch {
            let key = self.codec.encode(write.key()).map_err(RedbError::Encode)?;
            let row = match write {
                Write::Insert { value, meta, .. } => {
                    let value = self.codec.encode(*value).map_err(RedbError::Encode)?;
                    let expires_ms =
                        meta.ttl.map_or(row::NEVER, |ttl| now_ms.saturating_add(milliseconds(ttl)));
                    Some(row::encode(expires_ms, meta.tags, &value).map_err(RedbError::TooMuch)?)
                }
                Write::Remove { .. } => None,
            };
            rows.push((key, row));
        }
        let durability = match durability {
            Durability::Memory => redb::Durability::Eventual,
            Durability::Durable => redb::Durability::Immediate,
        };
        self.transact(durability, |table| {
            for (key, row) in &rows {
                match row {
                    Some(row) => drop(table.insert(&**key, &**row).map_err(boxed)?),
                    None => drop(table.remove(&**key).map_err(boxed)?),
                }
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), Self::Error> {
        self.transact(redb::Durability::Immediate, |_| Ok(()))
    }

    fn kind(&self, error: &Self::Error) -> ErrorKind {
        match error {
            RedbError::Row(_) | RedbError::Decode(_) => ErrorKind::Corrupt,
            RedbError::Encode(_) | RedbError::TooMuch(_) | RedbError::NoTableName => {
                ErrorKind::Permanent
            }
            RedbError::Open { source: error, .. } | RedbError::Database(error) => match **error {
                redb::Error::ValueTooLarge(_) => ErrorKind::Permanent,
                _ => ErrorKind::Transient,
            },
        }
    }
}

/// Runs what redb does with a file: it panics over much of what it finds wrong there. The error is the message of the
/// panic.
fn contained<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        // The values that an assertion compares are on lines of their own.
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        format!("a panic, perhaps because the file is damaged: {}", lines.join(", "))
    })
}

/// Why a transaction ended early.
enum Transacted<E> {
    /// The database has failed.
    Failed(Box<redb::Error>),
    /// Something else is wrong.
    Refused(E),
}

impl<E> From<Box<redb::Error>> for Transacted<E> {
    fn from(error: Box<redb::Error>) -> Self {
        Self::Failed(error)
    }
}

/// The database's errors are large.
fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

/// Whole milliseconds, rounded up, and less than [`row::NEVER`].
fn milliseconds(time: Duration) -> u64 {
    let rounded = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(rounded).unwrap_or(row::NEVER).min(row::NEVER - 1)
}

impl<C> fmt::Debug for RedbStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Why a [`RedbStore`] failed. `E` is the codec's own error.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedbError<E = std::convert::Infallible> {
    /// The file could not be opened by [`RedbStore::create`].
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<redb::Error>,
    },
    /// A table has to have a name.
    NoTableName,
    /// The database failed.
    Database(Box<redb::Error>),
    /// A row cannot be read.
    Row(RowError),
    /// The value of a row cannot be decoded.
    Decode(E),
    /// A key or a value cannot be encoded.
    Encode(E),
    /// A row cannot hold the tags of a record.
    TooMuch(RowError),
}

impl<E> From<Box<redb::Error>> for RedbError<E> {
    fn from(error: Box<redb::Error>) -> Self {
        Self::Database(error)
    }
}

impl<E> fmt::Display for RedbError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open { path, .. } => {
                return write!(f, "cannot open the database {}", path.display());
            }
            Self::NoTableName => "the name of the table is empty; name it",
            Self::Database(_) => "the database failed",
            Self::Row(_) => "a row cannot be read",
            Self::Decode(_) => "the value of a row cannot be decoded",
            Self::Encode(_) => "a key or a value cannot be encoded",
            Self::TooMuch(_) => "a row cannot hold the tags of the record",
        })
    }
}

impl<E: Error + 'static> Error for RedbError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoTableName => None,
            Self::Open { source: error, .. } | Self::Database(error) => Some(&**error),
            Self::Row(error) | Self::TooMuch(error) => Some(error),
            Self::Decode(error) | Self::Encode(error) => Some(error),
        }
    }
}
