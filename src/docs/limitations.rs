//! What it does not do, and what that means in use.
//!
//! - A bound is kept by each partition for its share; keys are spread by hash, so a small
//!   partition may be full while another has room.
//! - An entry heavier than a partition's share is stored with weight that the other partitions
//!   lend, which takes a visit to each of them; while it stays, they hold less. Where the loans of
//!   several such entries would pass seven eighths of the bound, those of one partition after the
//!   other are called back, and their entries leave, however often they are used.
//! - In background mode a partition is over its share by up to a sixteenth of it, at least one
//!   entry and at most 64, and one for each thread within an insertion, until maintenance has
//!   run.
//! - With `lru` and `lfu` in background mode, the hits of an entry between two runs of maintenance count
//!   as one, and some are not recorded because a buffer is full
//!   ([`Stats::dropped_accesses`](crate::Stats::dropped_accesses)).
//! - The default policy pays for its hit ratios on insertion, which takes 1.5 to 1.8 times as long as
//!   with `lru` or `sieve` (`compare --workload insert` among the benches).
//! - A writer that finds its partition's write buffer full runs maintenance itself, or waits
//!   for the thread that runs it.
//! - A thread that is suspended within a call is pinned: what is removed meanwhile, by all
//!   caches of the process, is freed only when it goes on.
//! - A first lookup in a bucket that growth has just added opens it, which writes. In
//!   background mode the maintenance thread opens buckets ahead of use, and `Cache::reserve` does
//!   at once.
//! - A `fork` copies a process with only the calling thread. The maintenance thread is waited
//!   for before, and started anew in the child when needed; pins of other threads end in the
//!   child where they are marks (Linux); threads that only read are held off meanwhile. But if
//!   another thread of yours is inside a call at that moment that writes to a cache, the child
//!   may wait without end for what it was about to report. A fork from within a listener, or the
//!   drop of a value, waits for others for a second at most.
//! - Where pins are marks (Linux), a process that takes the system call `membarrier` from itself
//!   (by seccomp, say) after its first use of a cache frees nothing more that was removed.
//! - A slot that a thread keeps at hand for its next entries (512 at most) keeps the slab that it
//!   lies in, up to 4 MiB, from going back to the allocator. `Cache::flush` gives back what the
//!   calling thread keeps, as does the drop of a cache.
//! - A snapshot is of the moment at which each entry was written. An invalidation, a removal or a
//!   replacement that comes later does not reach the file, and what it was about comes back when
//!   the snapshot is loaded.
//! - A snapshot keeps unevictable entries as ordinary ones, and says how many they are.
//! - Of records of one shape only the first is read back while it is saved: values whose
//!   `Deserialize` refuses some of what their `Serialize` writes are found only when they are
//!   loaded.
//! - At most 2^32 buckets, and 2^32 entries a partition.
