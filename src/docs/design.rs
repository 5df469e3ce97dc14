//! Why it is built the way it is.
//!
//! ```text
//!            get(key)                                   insert(key, value)
//!               │                                            │
//!             hash ───────────────┐              ┌───────── hash, weight
//!               │ pin (reclaim)   ▼              ▼           │
//!               │            ┌───────── table ─────────┐     │
//!               └──────────▶ │ one lock-free list in   │ ◀───┘  one CAS: visible before
//!                            │ split order, bucket     │        insert returns
//!                            │ heads inline            │
//!                            └───────────┬─────────────┘
//!                              entry { hash, frequency, stamp, weight, key, value }
//!               ┌────────────────────────┴──────────────────────────┐
//!     hit: frequency +1 until saturated,                    write event (never lost)
//!     or, for policies that need order,                             │
//!     a node id in a striped lossy read buffer                      │
//!               └───────────────┬───────────────────────────────────┘
//!                               ▼
//!                    maintenance of one partition (a caller or the maintenance thread)
//!                               │  applies events to the policy, asks it for victims
//!                               ▼
//!                  policy: safe single-threaded code over dense node ids
//!                               │ victim
//!                               ▼
//!                 unlink from the table → retire (reclaim) → freed once no reader is left
//! ```
//!
//! The list of modules in the source follows this drawing from the top.
//!
//! **One table, many partitions.** Keys live in one lock-free hash table, so a lookup has one
//! way to go and iteration one list to walk. What has to be done one step after the other,
//! the order of entries and the keeping of bounds, is split by hash into partitions, each
//! behind a lock that is only tried: writers of different partitions do not meet, and readers
//! meet none of it.
//!
//! **The table decides, events report.** Each change of the cache is one compare-and-swap of
//! the table, visible to all at once. The policy hears of it afterwards through the
//! partition's write buffer, and never has a say in whether a key is there. So policies are
//! plain sequential code, and a policy that misbehaves costs hit ratio, not correctness.
//!
//! **Split-ordered list.** Growing adds bucket heads and moves no entry, so there is no
//! rehash, no pause, and no moment at which a lookup would have to look in two places. The
//! heads are the bucket words themselves, so a hit touches a bucket word and an entry and
//! nothing else. (Shalev and Shavit 2006; Michael 2002.)
//!
//! **Reclamation by tickets.** Readers pin an epoch. What is removed is stamped with a ticket
//! and freed by maintenance once the ticket is completed, outside of locks and pins: user
//! code, which drops keys and values, never runs inside the machinery. One participant that
//! is always pinned, the governor, decides when the epoch moves, which spares all others the
//! look at each other. (Fraser 2004.) Where the system has asymmetric fences, readers pin by a
//! plain store, and whoever moves the epoch pays for both sides. (Desnoyers et al. 2012.)
//!
//! **Deadlines in front.** What only entries with a deadline need stands in front of the header,
//! in the same allocation, and the header says whether it is there: an entry without one pays
//! nothing. Readers judge the deadline, most of them by the time of the kernel's last timer
//! interrupt; timers, which take entries out, ask again when they fire, so hits do not touch
//! them. (Varghese and Lauck 1987.)
//!
//! **Entries side by side.** Small entries come from slabs rather than one by one from the
//! allocator: a get of a random one of many is a wait for two cache lines, so what counts is how
//! many of them fit the processor's caches. What a hit reads of an entry stands together: the
//! link, the hash, the mark, the key, the value. Where that is 32 bytes, as with keys and values
//! of a word each, it has a slot of its own, so that two share a cache line and none lies across
//! two; what hits seldom read is beside it, at the end of the same page of memory. Gets
//! took 9 to 19 % less time for it where entries do not all fit a cache, insertions up to 5 %.
//!
//! **The default policy** is mirrored window-TinyLFU
//! ([`WindowTinyLfu`](crate::policy::WindowTinyLfu)). A new key enters a small *window*. What
//! leaves the window unused is a *candidate* for the main part, *probation* and *protected*,
//! where it duels with the *victim* that would have to leave for it. All three lists are first
//! in, first out, but give what was used a second chance, so a hit only sets a mark.
//! - Window, frequency sketch and segmented main part are those of W-TinyLFU (Einziger,
//!   Friedman, Manes, ACM ToS 2017; Einziger, Eytan, Friedman, Manes, Middleware 2018, as in
//!   Caffeine). The sketch (Cormode and Muthukrishnan 2005, updated conservatively: Estan and
//!   Varghese 2002) is touched by misses only: an insertion counts, and so does a look at an
//!   entry that was used since the last look.
//! - Second chances are those of CLOCK (Corbató 1968), which S3-FIFO (Yang et al., SOSP 2023)
//!   and SIEVE (Zhang et al., NSDI 2024) have shown to cost no hits.
//! - The duel goes by frequency. A lead of one, which may be no more than the insertion just
//!   counted, decides only if the candidate comes back at shorter distances than the victim has
//!   lain unused: the test of LIRS (Jiang and Zhang, SIGMETRICS 2002). Distances outlive an
//!   eviction in a ghost of four bytes an entry. So loops larger than the cache keep what they
//!   have instead of replacing it round by round.
//! - How large the window should be depends on the requests: from a hundredth, where popularity
//!   lasts, to everything, where only recency counts. Four miniatures of the policy, each with
//!   another window, play the accesses to a sample of at most about 256 of the cached keys
//!   (Waldspurger et al., ATC 2017 and FAST 2015); the window that is better than the present
//!   one by two standard deviations of the accesses in which the two differ is taken over. They
//!   hear of misses with the insertions, and of hits only by the first mark of a sampled key.
//!
//! Newcomers cannot be locked out for long: counters halve after twenty increments an entry,
//! what is not used leaves the main part whenever it is looked at, and hashes are seeded.
//!
//! **Recording.** Policies of the CLOCK family need a mark or a small counter in the entry,
//! which a hot entry soon has: its hits write nothing. Policies that need the order of
//! accesses are fed through lossy striped buffers, at most one record for an entry between
//! two runs of maintenance.
