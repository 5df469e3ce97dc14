//! Filling the cache when a key is missing, once for all who ask.
//!
//! | you want | use |
//! |---|---|
//! | the value of a key, made by a closure if it is missing | [`get_or_insert_with`] |
//! | the same, by a loader that may fail, that may find nothing, or both | [`try_get_or_insert_with`], [`optionally_get_or_insert_with`], [`try_optionally_get_or_insert_with`] |
//! | a lifetime or tags from what was loaded, or a deadline for one call | [`get_or_load`] |
//! | the same by futures | the methods with `_async` at the end |
//! | a value computed from the one that is there | [`update`](crate::Cache::update), [`entry`](crate::Cache::entry), [`fetch_add`](crate::Cache::fetch_add) |
//! | many keys by one query | [`get_many_or_load`], [`try_get_many_or_load`], [`with_bulk_loader`](crate::LoadingCache::with_bulk_loader) |
//! | one loader for all calls, and refreshes in the background | [`build_with_loader`], [`build_with_async_loader`] |
//! | to load in any other way | [`begin_fill`] |
//!
//! ```
//! use larder::Cache;
//!
//! fn query(id: u64) -> String {
//!     format!("row {id}") // what takes long
//! }
//!
//! let rows: Cache<u64, String> = Cache::new(1_000);
//! assert_eq!(rows.get_or_insert_with(&7, || query(7)), "row 7"); // runs the query
//! assert_eq!(rows.get_or_insert_with(&7, || query(7)), "row 7"); // finds the row
//! ```
//!
//! Keys are given by reference, and copied only after a miss. With keys of type `&str` that is a reference to the
//! reference. A type of your own can stand for a key that has no borrowed form: see [`ToKey`](crate::ToKey).
//!
//! # One load at a time
//! Of all calls that miss a key at the same time, one leads: it runs its loader. The others wait and get a clone
//! of its value. Together they are a *flight*. All methods that load share flights, also those of futures and of
//! loading caches. Calls for other keys are not delayed. A hit costs what [`get`](crate::Cache::get) costs, and
//! after a flight nothing of it is left but its value.
//!
//! ```
//! use std::sync::{Barrier, atomic::{AtomicU32, Ordering}};
//! use larder::Cache;
//!
//! let cache: Cache<String, u32> = Cache::new(1_000);
//! let (runs, start) = (AtomicU32::new(0), Barrier::new(8));
//! std::thread::scope(|scope| {
//!     for _ in 0..8 {
//!         scope.spawn(|| {
//!             start.wait();
//!             let value = cache.get_or_insert_with("key", || {
//!                 runs.fetch_add(1, Ordering::Relaxed);
//!                 17
//!             });
//!             assert_eq!(value, 17);
//!         });
//!     }
//! });
//! assert_eq!(runs.into_inner(), 1);
//! ```
//!
//! # What wins
//! A change of a key by any other call wins over a load that was under way: [`insert`](crate::Cache::insert),
//! [`replace`](crate::Cache::replace), [`remove`](crate::Cache::remove), [`clear`](crate::Cache::clear),
//! [`retain`](crate::Cache::retain), [`invalidate_if`](crate::Cache::invalidate_if) and so on. So does the
//! [invalidation](crate::Cache::invalidate_tag) of any tag, because the cache cannot know which tags the value
//! will carry. The callers that wait already get the loaded value, the cache does not keep it, and calls that
//! come after the change load anew. Eviction and expiry change nothing for a load.
//!
//! So **change the database first and the cache afterwards**, and no old row can stay:
//!
//! ```
//! use std::sync::Mutex;
//! use larder::Cache;
//!
//! let (cache, database) = (Cache::new(1_000), Mutex::new("old"));
//! let seen = cache.get_or_insert_with(&7, || {
//!     let row = *database.lock().unwrap();
//!     // Another thread changes the row, after it was read and before it is stored.
//!     *database.lock().unwrap() = "new";
//!     cache.remove(&7);
//!     row
//! });
//! assert_eq!((seen, cache.get(&7)), ("old", None));
//! assert_eq!(cache.get_or_insert_with(&7, || *database.lock().unwrap()), "new");
//! assert_eq!(cache.stats().loads_discarded, 1);
//! ```
//!
//! # If a load does not end well
//! | the leader | its own call | those that wait |
//! |---|---|---|
//! | returns an error | returns [`LoadError::Failed`] | the same error, shared in an `Arc`; one with another type of error, or a method without errors, runs its own loader |
//! | finds no value | returns `None` | `None`; one with a method that has to return a value runs its own loader |
//! | panics | panics | one of them runs its own loader, the others wait for that |
//! | is a future that is dropped | | the same |
//! | is a future that is kept and not polled, or a loader that hangs | goes on | the same, once the [load timeout] of the flight has passed |
//!
//! Nothing is stored in any of these cases. The last three are a *hand-over*. The load timeout is a minute by
//! default, and counts by the cache's clock. It does not stop a loader, which cannot be stopped; it frees the key.
//! What a loader returns after that goes to its own call alone.
//!
//! A call of [`get_or_load`] may give itself a [deadline](crate::LoadOptions::load_deadline) for the time that it
//! waits for the loader of *another* call. A thread that runs its own loader runs it to the end; a future stops at its
//! deadline then too, and hands the flight over.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, LoadError, LoadOptions, Loaded};
//!
//! let cache: Cache<u64, u64> =
//!     Cache::builder().capacity(1_000).load_timeout(Duration::from_secs(10)).build()?;
//! let options = LoadOptions::new().load_deadline(Duration::from_millis(50));
//! match cache.get_or_load(&7, options, |_| Ok::<_, std::io::Error>(Loaded::Store(70))) {
//!     Ok(Some(value)) => assert_eq!(value, 70),
//!     Ok(None) => println!("there is no such row"),
//!     Err(LoadError::DeadlineExceeded) => println!("another call has been loading it for long"),
//!     Err(error) => println!("{error}"),
//! }
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # A loader that uses the cache
//! A loader runs under no lock and no pin, so it may load other keys of the same cache, and change it. (A loader
//! that is bound to its cache must not own a handle of it, or neither is ever dropped; see
//! [`LoadingCache`](crate::LoadingCache).) If it
//! asks for its own key, on the same thread or in the same task, that call returns
//! [`LoadError::Reentrant`]; a method without errors panics. Two loaders that wait for each other's keys, in two
//! threads, wait until the load timeout; then one of them or both run a loader of their own for the other's key.
//!
//! A call from within a [listener](super::listeners) or from the `Drop` of a value must not wait for another
//! thread. If another call is loading the key, it runs its own loader.
//!
//! # No value
//! With [`negative_time_to_live`](crate::Builder::negative_time_to_live) the cache remembers for a time that a
//! loader has found no value. The methods that can say so return `None` meanwhile, without a load. Any change of
//! the key forgets it; so a row that was just made is seen at once. These keys are kept apart from the entries:
//! they are not counted by [`len`](crate::Cache::len), evict no entry, and their number is bounded.
//!
//! ```
//! use std::time::Duration;
//! use larder::Cache;
//!
//! let cache: Cache<u64, String> = Cache::builder()
//!     .capacity(1_000)
//!     .negative_time_to_live(Duration::from_secs(5))
//!     .build()?;
//! assert_eq!(cache.optionally_get_or_insert_with(&404, || None), None);
//! assert_eq!(cache.optionally_get_or_insert_with(&404, || unreachable!("it is remembered")), None);
//! assert!(cache.is_known_missing(&404));
//!
//! cache.insert(404, "found".to_owned());
//! assert_eq!(cache.optionally_get_or_insert_with(&404, || None).as_deref(), Some("found"));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # The loader's context
//! [`get_or_load`] and the loaders of loading caches are given a [`Load`](crate::Load), and answer by a
//! [`Loaded`](crate::Loaded):
//!
//! | answer | the calls get | the cache |
//! |---|---|---|
//! | `Loaded::Store(value)` | the value | stores it, with what the loader has set by [`set_ttl`](crate::Load::set_ttl), [`set_tags`](crate::Load::set_tags) and [`set_unevictable`](crate::Load::set_unevictable) |
//! | `Loaded::Reject(value)` | the value | does not store it |
//! | `Loaded::NotModified` | the value that had become [stale](crate::Load::stale) | gives it a new lifetime; if there is none, the call returns [`LoadError::NotLoaded`] |
//! | `Loaded::Missing` | `None` | removes a value that was to be renewed, and remembers that there is none, with a negative time to live; [`set_ttl`](crate::Load::set_ttl) sets for how long |
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, LoadOptions, Loaded};
//!
//! struct Answer { body: String, max_age: u64, may_be_stored: bool }
//! fn fetch(url: &str) -> Result<Answer, std::io::Error> {
//!     Ok(Answer { body: url.to_owned(), max_age: 60, may_be_stored: true })
//! }
//!
//! let pages: Cache<String, String> = Cache::new(1_000);
//! let page = pages.get_or_load("/index", LoadOptions::new(), |load| {
//!     let answer = fetch(load.key())?;
//!     if !answer.may_be_stored {
//!         return Ok(Loaded::Reject(answer.body));
//!     }
//!     load.set_ttl(Duration::from_secs(answer.max_age));
//!     load.set_tags(&["pages"]);
//!     Ok::<_, std::io::Error>(Loaded::Store(answer.body))
//! });
//! assert_eq!(page.unwrap().as_deref(), Some("/index"));
//! ```
//!
//! # Stale values, on purpose
//! A value can be renewed before it expires, and used for some time after. These settings of the
//! [`Builder`](crate::Builder) hold for all calls that load, and for no other: for
//! [`get`](crate::Cache::get), [`peek`](crate::Cache::peek) and the rest, a value is valid until its deadline
//! and absent after it.
//!
//! | setting | what it does | default |
//! |---|---|---|
//! | [`refresh_after_write(d)`](crate::Builder::refresh_after_write) | a value older than `d` is renewed, while calls get the old one | off |
//! | [`eager_refresh(share)`](crate::Builder::eager_refresh) | the same after this share of its lifetime | off |
//! | [`early_refresh(beta)`](crate::Builder::early_refresh) | the same at random before its deadline, the earlier the longer its load took | off |
//! | [`stale_while_revalidate(d)`](crate::Builder::stale_while_revalidate) | until `d` after its deadline, calls get the old value while it is renewed | off |
//! | [`stale_if_error(d)`](crate::Builder::stale_if_error) | until `d` after its deadline, calls get the old value if the load fails | off |
//! | [`refresh_throttle(d)`](crate::Builder::refresh_throttle) | for `d` after a failure, calls get the old value without another try | 1 s |
//! | [`load_timeout(d)`](crate::Builder::load_timeout) | a load that takes longer than `d` no longer holds the key | 60 s |
//! | [`soft_timeout(d)`](crate::Builder::soft_timeout) | a call that has waited for `d` gets the old value, if there is one; for loading caches | off |
//! | [`hard_timeout(d)`](crate::Builder::hard_timeout) | a call that has waited for `d` gets [`LoadError::TimedOut`]; for loading caches | off |
//! | [`negative_time_to_live(d)`](crate::Builder::negative_time_to_live) | that there is no value is remembered for `d` | off |
//!
//! What a call gets then:
//!
//! | the cache has | the first call that loads | other calls that load, meanwhile | `get` |
//! |---|---|---|---|
//! | a value that need not be renewed | the value | the value | the value |
//! | a valid value that is due to be renewed | see below | the old value, at once | the old value |
//! | an expired value, within `stale_while_revalidate` | see below | the old value, at once | `None` |
//! | an expired value, within `stale_if_error` only | the new value; the old one if the load fails or takes longer than the soft timeout | they wait, and get the same | `None` |
//! | one of the last three, whose load has failed less than a throttle ago | the old value, without a load | the same | as above |
//! | nothing, or a value that has expired for longer | the new value, or the error | they wait, and get the same | `None` |
//! | nothing, and the key is known to have no value | `None`, without a load | `None` | `None` |
//!
//! The last row holds for methods that can return `None`; those that must return a value, and those for many keys,
//! load. All times, also those of deadlines and timeouts, count by the cache's [clock](crate::Builder::clock).
//!
//! The first call that finds a value due starts the one refresh. In a **loading cache** the refresh runs in the
//! background, and the call returns the old value at once. With the **other methods**, whose loaders live no longer
//! than the call, it runs within that call, which returns the new value, or the old one if the load fails. A
//! loader that asks for its own key while that is renewed gets the old value too.
//!
//! A refresh that fails leaves the old value where it is, until its own end. Neither expiry nor any other call waits
//! for a refresh. A value that is not asked for is not renewed.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, LoadOptions, Loaded, test::FakeClock};
//!
//! let clock = FakeClock::new();
//! let cache: Cache<String, u64> = Cache::builder()
//!     .capacity(1_000)
//!     .clock(clock.clone())
//!     .time_to_live(Duration::from_secs(60))
//!     .stale_if_error(Duration::from_secs(600))
//!     .build()?;
//! cache.insert("rate".to_owned(), 17);
//! clock.advance(Duration::from_secs(61));
//! assert_eq!(cache.get("rate"), None);
//!
//! let down = || cache.try_get_or_insert_with("rate", || Err("the server is down"));
//! assert_eq!(down(), Ok(17)); // the loader was tried
//! assert_eq!(down(), Ok(17)); // it was not tried again so soon
//! assert_eq!((cache.stats().loads, cache.stats().stale_hits), (1, 2));
//!
//! // After the throttle, a loader that can say whether its value has changed.
//! clock.advance(Duration::from_secs(2));
//! let rate = cache.get_or_load("rate", LoadOptions::new(), |load| {
//!     assert_eq!(load.stale(), Some(&17));
//!     Ok::<_, &str>(load.not_modified())
//! });
//! assert_eq!((rate, cache.get("rate")), (Ok(Some(17)), Some(17))); // it lives for another minute
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # A cache with its loader
//! [`build_with_loader`] binds a loader to a cache, so that a call is `cache.get(&key)`. All other methods are
//! those of the [`Cache`](crate::Cache), to which a [`LoadingCache`](crate::LoadingCache) dereferences.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, LoadError, Loaded};
//!
//! let users = Cache::builder()
//!     .capacity(10_000)
//!     .time_to_live(Duration::from_secs(300))
//!     .refresh_after_write(Duration::from_secs(60))
//!     .stale_if_error(Duration::from_secs(3_600))
//!     .hard_timeout(Duration::from_secs(2))
//!     .build_with_loader(|id: &u64, _| match id {
//!         0 => Ok(Loaded::Missing),
//!         1 => Err("the database is down"),
//!         id => Ok(Loaded::Store(format!("user {id}"))),
//!     })?;
//! assert_eq!(users.get(&7).as_deref(), Ok("user 7"));
//! assert_eq!(users.get_optional(&0), Ok(None));
//! assert_eq!(users.get(&0), Err(LoadError::NotLoaded));
//! assert_eq!(users.get(&1).unwrap_err().loader_error(), Some(&"the database is down"));
//! assert_eq!(users.peek(&8), None); // loads nothing
//! users.refresh(&8); // begins to load it in the background
//! users.remove(&7); // a method of the cache
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # Where background loads run
//! Refreshes of loading caches, and their loads if there is a soft or hard timeout, run in a small pool that all
//! caches of the process share: at most 17 threads, which start when they are needed, and more only while loaders
//! wait for other loads. One slow source can take all of them, so give caches with timeouts that matter an
//! executor of their own. The pool drives asynchronous loaders too, but not those that need the sockets or timers of
//! their runtime. For these, and to bound the loads in your own way, give an [executor](crate::Builder::load_executor):
//! tokio's `Handle` with the feature `tokio`, [`ThreadPerTask`](crate::ThreadPerTask), or a closure that takes a
//! [`LoadTask`](crate::LoadTask) and runs it, now or later, as a future or by [`run`](crate::LoadTask::run). An
//! executor may drop a task: then the [throttle](crate::Builder::refresh_throttle) holds the next refresh back, and a
//! call that waits for the load runs the loader itself. A task may outlive its cache: its loader runs, and the value is
//! dropped.
//!
//! ```
//! use larder::{Cache, LoadTask, Loaded};
//!
//! let cache = Cache::builder()
//!     .capacity(1_000)
//!     .load_executor(|task: LoadTask| drop(std::thread::spawn(|| task.run())))
//!     .build_with_loader(|key: &u64, _| Ok::<_, std::io::Error>(Loaded::Store(key * 10)))?;
//! assert_eq!(cache.get(&7).unwrap(), 70);
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # Futures
//! The methods with `_async` take a future instead of a closure and work under every runtime. They are `Send` if the
//! loader is, may be dropped at any point, and hold no lock and no pin between two polls. The loader is polled
//! within the polls of the call that leads, so it may be one that must stay on its thread; a call that finds the
//! value, or waits for another, drops its loader unpolled. Threads and futures that miss the same key share one
//! flight.
//!
//! ```
//! use larder::{Cache, LoadError};
//!
//! async fn fetch(id: u64) -> Result<String, std::io::Error> {
//!     Ok(format!("row {id}")) // from a server
//! }
//!
//! async fn row(cache: &Cache<u64, String>, id: u64) -> Result<String, LoadError<std::io::Error>> {
//!     cache.try_get_or_insert_with_async(&id, fetch(id)).await
//! }
//! # let cache = Cache::new(1_000);
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # match std::pin::pin!(row(&cache, 7)).poll(&mut context) {
//! #     std::task::Poll::Ready(row) => assert_eq!(row.unwrap(), "row 7"),
//! #     std::task::Poll::Pending => unreachable!(),
//! # }
//! ```
//!
//! Do not block in a future's loader, as everywhere in async code: hand blocking work to the runtime's threads for
//! that, as `examples/service` does with `spawn_blocking`.
//!
//! # Many keys at once
//! [`get_many_or_load`] gives the keys that are missing, and that no other call is loading, to one call of the
//! loader, and waits for the others afterwards. Each key has a result of its own.
//!
//! ```
//! use larder::{Cache, LoadError};
//!
//! let cache: Cache<u64, u64> = Cache::new(1_000);
//! cache.insert(1, 10);
//! let rows = cache.get_many_or_load(&[1, 2, 3], |missing| {
//!     assert_eq!(missing, [2, 3]); // SELECT … WHERE id IN (2, 3)
//!     Ok::<_, std::io::Error>([(2, 20)])
//! });
//! assert!(matches!(rows[..], [Ok(10), Ok(20), Err(LoadError::NotLoaded)]));
//! ```
//!
//! [`get_many_or_load_async`](crate::Cache::get_many_or_load_async) does the same with a future. A loading cache has a
//! loader of many keys beside its own, if [`with_bulk_loader`](crate::LoadingCache::with_bulk_loader) gives it one,
//! which its [`get_many`](crate::LoadingCache::get_many) calls; without one it loads one key after the other.
//!
//! Without a loader, [`get_many`](crate::Cache::get_many), [`insert_many`](crate::Cache::insert_many) and
//! [`remove_many`](crate::Cache::remove_many) do what a loop does, faster in a large cache.
//!
//! # Changing a value
//! What is computed from the value that is there needs no load, and no lock:
//! [`update`](crate::Cache::update) replaces a value, [`fetch_add`](crate::Cache::fetch_add) counts, and
//! [`entry`](crate::Cache::entry) does what the entries of a map do, each in one atomic step. A change like this
//! wins over a load of the key that is under way. To load what is missing and then change it, repeat until both
//! have met:
//!
//! ```
//! use larder::{Cache, Compute};
//!
//! let stock: Cache<String, u64> = Cache::new(1_000);
//! let query = |_: &str| 10; // from the database
//! let take_one = |name: &str| loop {
//!     stock.get_or_insert_with(name, || query(name));
//!     if let Some(left) = stock.update(name, |left| left - 1) {
//!         break left;
//!     }
//!     // It was evicted in between.
//! };
//! assert_eq!([take_one("apples"), take_one("apples")], [9, 8]);
//!
//! // Remove it at zero, in the same step.
//! stock.entry("apples".to_owned()).and_compute_with(|left| match left {
//!     Some(0) => Compute::Remove,
//!     _ => Compute::Keep,
//! });
//! assert_eq!(stock.get("apples"), Some(8));
//! ```
//!
//! The cache may evict what was changed, so write to the database first if it has to last, and remove the key.
//!
//! # What the errors mean
//! | [`LoadError`] | means | so |
//! |---|---|---|
//! | `Failed(error)` | the loader has returned this error; all who waited for it share it | treat it as an error of the source; [`loader_error`](crate::LoadError::loader_error) borrows it |
//! | `NotLoaded` | there is no value for this key: a loading cache's loader has said so, a loader of many keys left it out, or `NotModified` was answered without a stale value | as for a row that does not exist; [`get_optional`](crate::LoadingCache::get_optional) returns `None` in the first case |
//! | `DeadlineExceeded` | the deadline of this call has passed while another call was loading; a future's own load is stopped | try later, or answer without the value |
//! | `TimedOut` | the hard timeout of the loading cache has passed; the load goes on | the same; the value may be there soon |
//! | `Reentrant` | the loader has asked for its own key | mend the loader |
//!
//! A `LoadError` is an [`Error`](std::error::Error) if the loader's error is one, so `?` works with it. A boxed error
//! is not an `Error` itself; use `map_err` then:
//!
//! ```
//! use std::error::Error;
//! use larder::Cache;
//!
//! fn query(id: u64) -> Result<String, Box<dyn Error + Send + Sync>> {
//!     Ok(format!("row {id}"))
//! }
//!
//! fn row(cache: &Cache<u64, String>, id: u64) -> Result<String, Box<dyn Error + Send + Sync>> {
//!     cache.try_get_or_insert_with(&id, || query(id)).map_err(|error| error.to_string().into())
//! }
//! assert_eq!(row(&Cache::new(100), 7).unwrap(), "row 7");
//! ```
//!
//! # Statistics
//! [`stats`](crate::Cache::stats) counts `loads`, `load_failures`, `load_time`, `load_waits`, `load_handovers`,
//! `loads_discarded`, `refreshes`, `stale_hits` and `negative_hits`;
//! [the page on statistics](super::statistics) says what each is. `load_time` divided by `loads` is the mean time
//! of a load, and many `load_handovers` mean that callers give up or that loads take too long.
//!
//! # What to choose
//! - If each call site has its own way to load, use the methods; if all load alike, bind a loader.
//! - If the source says how long its answer is good, set that by [`set_ttl`](crate::Load::set_ttl). Otherwise give
//!   all values a [`time_to_live`](crate::Builder::time_to_live), and [`jitter`](crate::Builder::jitter) so that
//!   they do not expire together.
//! - If a load is slow, let values be renewed before they expire: by `refresh_after_write` where the age counts,
//!   by `early_refresh` where nothing but the wait does.
//! - If the source can fail, and an old answer is better than none, use `stale_if_error`.
//! - If clients ask for keys that do not exist, use `negative_time_to_live`.
//! - If callers must not wait, use a loading cache with a `hard_timeout`, and a `soft_timeout` for values that can
//!   be old.
//!
//! # Filling by hand
//! A *fill* stores a value that was fetched by other means: in another thread, in answer to a message, or by
//! code that must not be a closure. It is refused if the key was changed since it began. Fills of one key do not
//! exclude each other, and nobody waits for one.
//!
//! ```
//! use larder::{Cache, Inserted, Rejection};
//! use std::sync::Mutex;
//!
//! let (cache, source) = (Cache::new(1_000), Mutex::new("old"));
//!
//! // The reader begins the fill before it reads the source.
//! let fill = cache.begin_fill(&7);
//! let row = *source.lock().unwrap();
//!
//! // A writer changes the source first, and the cache afterwards.
//! *source.lock().unwrap() = "new";
//! cache.remove(&7);
//!
//! // The reader goes on. It may use the row, but the cache does not store it.
//! assert_eq!(cache.complete_fill(fill, row), Inserted::Rejected(Rejection::Stale));
//! assert_eq!(cache.get(&7), None);
//! ```
//!
//! - A fill may be completed by another thread and may be held across an `await`. Dropping it abandons it.
//! - The first of several fills of a key stores its value; the others are rejected as
//!   [`Present`](crate::Rejection::Present).
//! - [`complete_fill_replacing`](crate::Cache::complete_fill_replacing) also replaces a value that is there, for a
//!   refresh; of several fills of one key that were begun at once, it stores only one.
//! - [`complete_fill_with`](crate::Cache::complete_fill_with) takes a lifetime and tags.
//!
//! [`get_or_insert_with`]: crate::Cache::get_or_insert_with
//! [`try_get_or_insert_with`]: crate::Cache::try_get_or_insert_with
//! [`optionally_get_or_insert_with`]: crate::Cache::optionally_get_or_insert_with
//! [`try_optionally_get_or_insert_with`]: crate::Cache::try_optionally_get_or_insert_with
//! [`get_or_load`]: crate::Cache::get_or_load
//! [`get_many_or_load`]: crate::Cache::get_many_or_load
//! [`try_get_many_or_load`]: crate::Cache::try_get_many_or_load
//! [`build_with_loader`]: crate::Builder::build_with_loader
//! [`build_with_async_loader`]: crate::Builder::build_with_async_loader
//! [`begin_fill`]: crate::Cache::begin_fill
//! [load timeout]: crate::Builder::load_timeout
//! [`LoadError`]: crate::LoadError
//! [`LoadError::Failed`]: crate::LoadError::Failed
//! [`LoadError::NotLoaded`]: crate::LoadError::NotLoaded
//! [`LoadError::Reentrant`]: crate::LoadError::Reentrant
//! [`LoadError::TimedOut`]: crate::LoadError::TimedOut
