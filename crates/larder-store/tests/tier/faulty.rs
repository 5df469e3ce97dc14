//! The store of the tests, and what they need besides.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use larder::{Cache, Maintenance};
use larder_store::{
    AsyncStore, Backoff, Durability, ErrorKind, Meta, Record, Store, StoredCache, Write,
    WriteBehind,
};

/// How a call of the store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Transient,
    Permanent,
    Corrupt,
    Panic,
    /// Carries out half of the batch, and fails.
    Half,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreFailed(pub(crate) Fault);

impl fmt::Display for StoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Error for StoreFailed {}

/// One batch as the store has received it: `None` for a removal.
pub(crate) type Batch = Vec<(u64, Option<u64>)>;

#[derive(Default)]
struct FaultyState {
    rows: BTreeMap<u64, Record<u64>>,
    /// All attempts to write, those that failed too.
    attempts: Vec<Batch>,
    metas: Vec<(Option<Duration>, Vec<String>)>,
    durabilities: Vec<Durability>,
    reads: u64,
    bulk_reads: Vec<Vec<u64>>,
    flushes: u64,
    read_faults: Vec<Fault>,
    write_faults: Vec<Fault>,
    flush_faults: Vec<Fault>,
    /// Fails all writes as long as it is set.
    down: Option<Fault>,
    /// Fails each batch that has such a key.
    poison: BTreeMap<u64, Fault>,
    corrupt: BTreeSet<u64>,
    foreign: Vec<u64>,
    /// Calls that read or write wait as long as it is set.
    blocks_reads: bool,
    blocks_writes: bool,
    blocked: usize,
}

/// A store in memory whose calls end as a test wants.
#[derive(Default)]
pub(crate) struct Faulty {
    state: Mutex<FaultyState>,
    changed: Condvar,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, FaultyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut FaultyState)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// The next calls that read end so, the first fault first.
    pub(crate) fn fail_reads(&self, faults: &[Fault]) {
        self.change(|state| state.read_faults = faults.iter().rev().copied().collect());
    }

    pub(crate) fn fail_writes(&self, faults: &[Fault]) {
        self.change(|state| state.write_faults = faults.iter().rev().copied().collect());
    }

    pub(crate) fn fail_flushes(&self, faults: &[Fault]) {
        self.change(|state| state.flush_faults = faults.iter().rev().copied().collect());
    }

    pub(crate) fn go_down(&self, fault: Fault) {
        self.change(|state| state.down = Some(fault));
    }

    pub(crate) fn come_back(&self) {
        self.change(|state| state.down = None);
    }

    pub(crate) fn poison(&self, key: u64, fault: Fault) {
        self.change(|state| state.poison.extend([(key, fault)]));
    }

    pub(crate) fn cure(&self) {
        self.change(|state| state.poison.clear());
    }

    pub(crate) fn corrupt(&self, key: u64) {
        self.change(|state| state.corrupt.extend([key]));
    }

    pub(crate) fn return_foreign(&self, keys: &[u64]) {
        self.change(|state| state.foreign = keys.to_vec());
    }

    pub(crate) fn block_reads(&self) {
        self.change(|state| state.blocks_reads = true);
    }

    pub(crate) fn block_writes(&self) {
        self.change(|state| state.blocks_writes = true);
    }

    pub(crate) fn release(&self) {
        self.change(|state| (state.blocks_reads, state.blocks_writes) = (false, false));
    }

    /// Waits until so many calls are blocked.
    pub(crate) fn wait_for_blocked(&self, calls: usize) {
        self.wait_until(|state| state.blocked == calls);
    }

    /// Waits until there were so many attempts to write.
    pub(crate) fn wait_for_attempts(&self, attempts: usize) {
        self.wait_until(|state| state.attempts.len() >= attempts);
    }

    #[track_caller]
    fn wait_until(&self, is_so: impl Fn(&FaultyState) -> bool) {
        let mut state = self.state();
        while !is_so(&state) {
            let waited = self.changed.wait_timeout(state, Duration::from_secs(60));
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "it never happens");
            state = again;
        }
    }

    pub(crate) fn put(&self, key: u64, record: impl Into<Record<u64>>) {
        let record = record.into();
        self.change(|state| drop(state.rows.insert(key, record)));
    }

    pub(crate) fn row(&self, key: u64) -> Option<u64> {
        self.state().rows.get(&key).map(|record| record.value)
    }

    pub(crate) fn rows(&self) -> BTreeMap<u64, u64> {
        self.state().rows.iter().map(|(key, record)| (*key, record.value)).collect()
    }

    pub(crate) fn attempts(&self) -> Vec<Batch> {
        self.state().attempts.clone()
    }

    pub(crate) fn metas(&self) -> Vec<(Option<Duration>, Vec<String>)> {
        self.state().metas.clone()
    }

    pub(crate) fn durabilities(&self) -> Vec<Durability> {
        self.state().durabilities.clone()
    }

    pub(crate) fn reads(&self) -> u64 {
        self.state().reads
    }

    pub(crate) fn bulk_reads(&self) -> Vec<Vec<u64>> {
        self.state().bulk_reads.clone()
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.state().flushes
    }

    fn wait_while<'s>(
        &'s self,
        mut state: MutexGuard<'s, FaultyState>,
        blocks: impl Fn(&FaultyState) -> bool,
    ) -> MutexGuard<'s, FaultyState> {
        if blocks(&state) {
            state.blocked += 1;
            self.changed.notify_all();
            while blocks(&state) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.blocked -= 1;
        }
        state
    }

    fn read<R>(
        &self,
        note: impl FnOnce(&mut FaultyState),
        find: impl FnOnce(&FaultyState) -> R,
    ) -> Result<R, StoreFailed> {
        let mut state = self.state();
        note(&mut state);
        let fault = state.read_faults.pop();
        // What it finds is what was there when the call began.
        let found = find(&state);
        self.changed.notify_all();
        drop(self.wait_while(state, |state| state.blocks_reads));
        match fault {
            None => Ok(found),
            Some(Fault::Panic) => panic!("the store panics on request"),
            Some(fault) => Err(StoreFailed(fault)),
        }
    }
}

impl Store<u64, u64> for Faulty {
    type Error = StoreFailed;

    fn get(&self, key: &u64) -> Result<Option<Record<u64>>, StoreFailed> {
        if self.state().corrupt.contains(key) {
            self.change(|state| state.reads += 1);
            return Err(StoreFailed(Fault::Corrupt));
        }
        self.read(|state| state.reads += 1, |state| state.rows.get(key).cloned())
    }

    fn get_many(&self, keys: &[u64]) -> Result<Vec<(u64, Record<u64>)>, StoreFailed> {
        self.change(|state| state.bulk_reads.push(keys.to_vec()));
        if keys.iter().any(|key| self.state().corrupt.contains(key)) {
            return Err(StoreFailed(Fault::Corrupt));
        }
        self.read(
            |_| (),
            |state| {
                let wanted = keys.iter().chain(&state.foreign);
                let found = wanted.filter_map(|key| Some((*key, state.rows.get(key)?.clone())));
                found.collect()
            },
        )
    }

    fn write(
        &self,
        batch: &[Write<'_, u64, u64>],
        durability: Durability,
    ) -> Result<(), StoreFailed> {
        let mut state = self.state();
        let value = |write: &Write<'_, u64, u64>| match write {
            Write::Insert { key, value, .. } => (**key, Some(**value)),
            Write::Remove { key } => (**key, None),
        };
        state.attempts.push(batch.iter().map(value).collect());
        state.durabilities.push(durability);
        self.changed.notify_all();
        state = self.wait_while(state, |state| state.blocks_writes);
        let poisoned = batch.iter().find_map(|write| state.poison.get(write.key()).copied());
        let fault = state.down.or_else(|| state.write_faults.pop()).or(poisoned);
        let carried_out = match fault {
            None => batch.len(),
            Some(Fault::Half) => batch.len() / 2,
            Some(_) => 0,
        };
        for write in &batch[..carried_out] {
            match write {
                Write::Insert { key, value, meta } => {
                    let Meta { ttl, tags } = *meta;
                    state.metas.push((ttl, tags.to_vec()));
                    state.rows.insert(**key, Record { value: **value, ttl, tags: tags.to_vec() });
                }
                Write::Remove { key } => drop(state.rows.remove(key)),
            }
        }
        drop(state);
        self.changed.notify_all();
        match fault {
            None => Ok(()),
            Some(Fault::Panic) => panic!("the store panics on request"),
            Some(fault) => Err(StoreFailed(fault)),
        }
    }

    fn flush(&self) -> Result<(), StoreFailed> {
        let fault = {
            let mut state = self.state();
            state.flushes += 1;
            state.flush_faults.pop()
        };
        match fault {
            None => Ok(()),
            Some(Fault::Panic) => panic!("the store panics on request"),
            Some(fault) => Err(StoreFailed(fault)),
        }
    }

    fn kind(&self, error: &StoreFailed) -> ErrorKind {
        match error.0 {
            Fault::Permanent => ErrorKind::Permanent,
            Fault::Corrupt => ErrorKind::Corrupt,
            Fault::Transient | Fault::Half | Fault::Panic => ErrorKind::Transient,
        }
    }
}

/// The same as a store of futures, whose calls are ready at once unless they are told to wait.
pub(crate) struct AsyncFaulty(pub(crate) Arc<Faulty>);

impl AsyncStore<u64, u64> for AsyncFaulty {
    type Error = StoreFailed;

    async fn get(&self, key: &u64) -> Result<Option<Record<u64>>, StoreFailed> {
        self.pause(|state| state.blocks_reads).await;
        self.0.get(key)
    }

    async fn get_many(&self, keys: &[u64]) -> Result<Vec<(u64, Record<u64>)>, StoreFailed> {
        self.0.get_many(keys)
    }

    async fn write(
        &self,
        batch: &[Write<'_, u64, u64>],
        durability: Durability,
    ) -> Result<(), StoreFailed> {
        self.pause(|state| state.blocks_writes).await;
        self.0.write(batch, durability)
    }

    async fn flush(&self) -> Result<(), StoreFailed> {
        self.0.flush()
    }

    fn kind(&self, error: &StoreFailed) -> ErrorKind {
        self.0.kind(error)
    }
}

impl AsyncFaulty {
    /// Gives way to other tasks as long as the store blocks.
    async fn pause(&self, blocks: impl Fn(&FaultyState) -> bool) {
        std::future::poll_fn(|context| {
            if !blocks(&self.0.state()) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

pub(crate) type TestTier = StoredCache<u64, u64, Arc<Faulty>>;
pub(crate) type Settings = WriteBehind<u64, u64, StoreFailed>;

pub(crate) fn cache(capacity: usize) -> Cache<u64, u64> {
    Cache::builder().capacity(capacity).maintenance(Maintenance::Inline).build().unwrap()
}

/// The settings of most tests: no pauses, and patience beyond the watchdog's.
pub(crate) fn settings() -> Settings {
    WriteBehind::new()
        .backoff(Backoff::custom(|_| Duration::ZERO))
        .patience(Duration::from_secs(3600))
}

pub(crate) fn behind(store: &Arc<Faulty>, settings: Settings) -> TestTier {
    StoredCache::write_behind(cache(1_000), Arc::clone(store), settings).unwrap()
}

/// Runs a test on a thread of its own, and fails if it does not end.
#[track_caller]
pub(crate) fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let (send, ended) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(test));
        // The receiver is gone if the test took too long.
        let _ = send.send(result);
    });
    match ended.recv_timeout(Duration::from_secs(60)) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => panic!("it hangs"),
    }
}

/// Polls a future on this thread until it is ready.
pub(crate) fn block_on<R>(future: impl Future<Output = R>) -> R {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once, with a waker that does nothing.
pub(crate) fn poll_once<R>(future: Pin<&mut impl Future<Output = R>>) -> Poll<R> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Ends at once, unless it is long.
pub(crate) async fn sleep(time: Duration) {
    if time >= Duration::from_secs(3600) {
        std::future::pending::<()>().await;
    }
}
