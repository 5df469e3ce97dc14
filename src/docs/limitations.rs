//! What it does not do, and what that means in use.
//!
//! # Bounds
//! - Each partition keeps its share of a bound. Keys are spread over the partitions by hash, so a small
//!   partition may be full while another has room.
//! - An entry that is heavier than a partition's share is stored with weight that the other partitions
//!   lend. Its insertion visits all of them, and while the entry stays, they hold less. If the loans of
//!   several such entries would exceed seven eighths of the bound, those of one partition after another
//!   are called back, and their entries are evicted, however often they are used.
//! - In background mode a partition may exceed its share by an eighth of it, at least one entry and at
//!   most 2,048, and by one entry for each thread within an insertion, until maintenance has run.
//! - Entries whose tag was invalidated take room until they are replaced, evicted or swept out.
//! - A cache has at most 2^32 buckets, and a partition at most 2^32 entries.
//!
//! # Cost
//! - The closure of an [update](crate::Cache::update) may be called several times, because no other thread
//!   waits for it. A counter that is evicted begins anew; unevictable ones do not.
//! - With `lru` and `lfu` in background mode, the hits of an entry between two runs of maintenance count
//!   as one, and some are not recorded because a buffer is full
//!   ([`Stats::dropped_accesses`](crate::Stats::dropped_accesses)).
//! - The default policy pays for its hit ratios on insertion, which takes 1.5 to 1.8 times as long as
//!   with `lru` or `sieve` (the benchmark `compare --workload insert` measures it).
//! - A writer that finds its partition's write buffer full runs maintenance itself, or waits for the
//!   thread that runs it.
//! - The first lookup in a bucket that growth has just added initializes it, which writes. In background
//!   mode the maintenance thread initializes buckets before they are used, and
//!   [`Cache::reserve`](crate::Cache::reserve) does so at once.
//!
//! # Loading
//! - A loader that runs cannot be stopped, except for a future that is dropped. When the
//!   [load timeout](crate::Builder::load_timeout) has passed, other callers load the key, so two loaders of one
//!   key may run at the same time then, as they may after a change of the key has made the first load stale.
//! - Two loaders that wait for each other's keys wait until the load timeout.
//! - A call for a key from within its own loader is detected on the same thread, and in the same task while the loader
//!   polls it. In another thread or task that the loader waits for, it waits until the load timeout.
//! - A deadline of a call does not end a loader that runs in the calling thread.
//! - A refresh begins with a call. A value that is not asked for expires.
//! - A key that was loaded by a call from within a listener, or from the `Drop` of a value, may be loaded by
//!   another call at the same time.
//! - A call with a type of error, or of answer, that does not suit the flight it has waited for loads for itself.
//! - That a key has no value is not saved in a snapshot.
//! - The early refresh knows the time of a load to an eighth, and no time for a value that was inserted.
//!
//! # Memory
//! - A thread that is suspended within a call stays pinned. What all caches of the process remove
//!   meanwhile is freed only when it goes on.
//! - If a process forbids itself the system call `membarrier` (by seccomp, say) after its first use of a
//!   cache, nothing that is removed is freed any more, on Linux.
//!   [`Stats::is_reclamation_refused`](crate::Stats::is_reclamation_refused) says so.
//! - A thread keeps memory for its next entries, 512 at most. That keeps the block of up to 4 MiB in which an entry's
//!   memory lies from going back to the allocator. [`Cache::flush`](crate::Cache::flush) gives back what the calling
//!   thread keeps, and so does the drop of a cache.
//!
//! # Snapshots
//! - A snapshot shows each entry as it was when it was written. A later invalidation, removal or
//!   replacement does not reach the file, so the old entry comes back when the snapshot is loaded.
//! - A snapshot keeps unevictable entries as ordinary ones, and reports their number.
//! - While saving, only the first record of each shape is read back. If the `Deserialize` of a type refuses some of
//!   what its `Serialize` writes, such values are found only when they are loaded.
//!
//! # Namespaces
//! - [Namespaces](crate::Builder::namespaces), their minimums and their maximums are fixed when the cache is built.
//!   The [shadow caches](crate::ShadowConfig) of the whole cache know nothing of them; those of
//!   [one namespace](crate::Cache::shadow_namespace) simulate it in a cache of its own, and see no lookup that found
//!   nothing unless the key is stored after it. Neither they nor the
//!   [statistics of namespaces](crate::Cache::namespace_stats) are among the metrics.
//! - A maximum counts the entries that are valid. Those that were
//!   [invalidated](crate::Cache::invalidate_namespace) take room until they leave, and the policy does not prefer them
//!   as victims. So a tenant that fills its namespace and invalidates it again and again takes room from others.
//!
//! # Values that hold their own cache
//! A removed value is dropped by a later call or by the maintenance thread. With
//! [`Maintenance::Inline`](crate::Maintenance) there is no such thread: if the value holds the last handle of its own
//! cache, no later call can come, and neither is ever dropped.
//!
//! # User code that changes its own cache
//! - A key whose `Eq` changes the same cache in every comparison can keep calls from ever ending: each change makes
//!   the walk that compares start again.
//!
//! # Forks
//! A fork copies a process with only the calling thread. The fork waits for the maintenance thread and for
//! threads that only read, and the child starts a maintenance thread of its own when it needs one. But if another
//! thread is inside a call that writes to a cache at that moment, the child may wait for ever for what that
//! thread was about to report, or keep an entry that it neither counts nor evicts. If an executor is running a job of a
//! listener or a load at that moment, the child waits when it drops the last handle of that cache, or writes while the
//! listener's queue is full. A background load that another
//! thread was running at that moment is lost in the child; loads that wait go on there. A fork from within a
//! listener, or from the drop of a value, waits for other threads for at most a second.
//!
//! A load that another thread was running does not go on in the child, and callers there load anew. A future
//! that was waiting for that load notices it when it is polled, and is woken at the load timeout at the latest.
