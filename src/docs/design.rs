//! How it works inside, and why it is built this way.
//!
//! ```text
//!            get(key)                                   insert(key, value)
//!               │                                            │
//!             hash ───────────────┐              ┌───────── hash, weight
//!               │ pin             ▼              ▼           │
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
//!                 unlink from the table → retire → freed once no reader is left
//! ```
//!
//! **One table, many partitions.** All keys are in one lock-free hash table, so a lookup searches one
//! place and an iteration walks one list. The work that has to be done in sequence, which is to keep the
//! order of entries and the bounds, is split by hash into partitions. Each has a lock that callers only
//! try. Writers of different partitions do not contend, and readers take no part in it.
//!
//! **The table decides, events report.** Each change of the cache is one compare-and-swap of the table,
//! visible to all threads at once. The policy learns of it afterwards through the partition's write
//! buffer, and has no say in whether a key is present. So policies are plain sequential code, and a
//! policy with a bug costs hit ratio, not correctness.
//!
//! **A split-ordered list.** Growth adds bucket heads and moves no entry. So there is no rehash, no
//! pause, and no moment at which a lookup would have to search two places. The bucket words are the heads
//! themselves, so a hit touches one bucket word and one entry and nothing else. (Shalev and Shavit 2006;
//! Michael 2002.)
//!
//! **Short runs.** Callers do what a change leaves to maintenance: in a plain cache each applies its own event as
//! soon as it has written, if the lock is free; elsewhere they apply a few events at a time, since eight are
//! enough to share the cost of the lock, and take about as long as a few insertions. So no caller pays for many others,
//! and few threads lose their processor within a run. If one does, the others go on writing into a buffer
//! that is long compared with a run, and then yield until the lock is free. It is a word of our own, because nobody
//! sleeps in it: releasing it is a plain store. What a run frees, expires and
//! evicts for lowered limits is bounded too. With more threads than processors, grace periods last until
//! each of the threads had its turn; so a thread that finds much garbage gives way once for each grace period.
//!
//! **Reclamation by tickets.** Readers pin an epoch. A removed entry is stamped with a ticket, and
//! maintenance frees it once the ticket is completed, outside of locks and pins: the `Drop` of keys and
//! values, which is user code, never runs inside the machinery. One participant that is always pinned,
//! the governor, decides when the epoch advances, so the others need not watch each other. (Fraser 2004.)
//! Where the system has asymmetric fences, readers pin by a plain store, and the thread that advances the
//! epoch pays for both sides. (Desnoyers et al. 2012.)
//!
//! **Deadlines in front.** What only entries with a deadline need stands in front of the header, in the
//! same allocation, and the header says whether it is there. An entry without a deadline pays nothing.
//! Readers check the deadline, mostly against the time of the kernel's last timer interrupt. Timers,
//! which remove entries, read the deadline again when they fire, so hits do not touch them. (Varghese and
//! Lauck 1987.)
//!
//! **Entries side by side.** Small entries come from slabs, not one by one from the allocator. A get of
//! a random entry among many waits for two cache lines, so what counts is how many entries fit into the
//! processor's caches. Everything that a hit reads of an entry is together: the link, the hash, the mark,
//! the key, the value. If that is 32 bytes, as with keys and values of one word each, it has a slot of
//! its own, so two entries share a cache line and none crosses from one line to the next. What hits
//! seldom read stands at the end of the same page of memory. Against entries whose parts all lie
//! together, gets took 9 to 19 % less time where the entries do not all fit into a cache, and insertions
//! up to 5 % less, measured when nothing else differed.
//!
//! **Flights.** A call that misses a key registers itself and then runs its loader; another that wants the key finds
//! the registration and waits. The registry is the one of fills: a value that was fetched is stored only if the key
//! was not changed since the fetch began, and the question of whether it was is answered under the lock under which
//! changes announce themselves. So a value never becomes visible and then invalid; an entry is linked unseen, and
//! confirmed if it may stay. The registry exists from the first miss on, holds only loads that are under way, and
//! hits never look at it. No lock is held while a loader runs, so a leader is bound to nothing: if it panics or its
//! future is dropped, its waiters register anew, and one of them loads with its own loader, which needs no thread to
//! take over and no state to repair. The same steps serve threads and futures; they differ in how they wait. (The
//! idea that callers of one key share a call is as old as memcached's leases, Nishtala et al., NSDI 2013, and Go's
//! singleflight.)
//!
//! **Grace.** To use a value after its deadline, it has to be there. The deadline of an entry stays what it was, so
//! every lookup treats the entry as expired; only the timer that removes it is set later, by the *grace*, and only
//! loads ask for entries within it. A cache without such a setting pays nothing. When a value is to be renewed
//! follows from its age, its lifetime, or the time of its last load, which stands in a byte of its metadata.
//!
//! **Negative entries.** That a key has no value is kept in a cache of its own, by hash, since an entry has room for
//! no answer but a value. It is asked only when the lookup of a value has missed, and a change of the key empties
//! its place by the same rule that makes a load stale.
//!
//! **The default policy** is mirrored window-TinyLFU
//! ([`WindowTinyLfu`](crate::policy::WindowTinyLfu)). A new key enters a small *window*. An entry that
//! leaves the window without a hit is a *candidate* for the main part, which consists of *probation* and
//! *protected*. It competes there with the *victim* that would have to be evicted for it. All three lists
//! are first in, first out, but give an entry that was used a second chance. So a hit only sets a mark.
//! - Window, frequency sketch and segmented main part are those of W-TinyLFU (Einziger, Friedman, Manes,
//!   ACM ToS 2017; Einziger, Eytan, Friedman, Manes, Middleware 2018, as in Caffeine). The sketch
//!   (Cormode and Muthukrishnan 2005, updated conservatively: Estan and Varghese 2002) is updated by
//!   misses only: an insertion counts, and so does each time that the policy finds an entry to have been
//!   used since it last examined it.
//! - Second chances are those of CLOCK (Corbató 1968), which S3-FIFO (Yang et al., SOSP 2023) and SIEVE
//!   (Zhang et al., NSDI 2024) have shown to cost no hits.
//! - Candidate and victim are compared by frequency. A lead of one, which may be no more than the
//!   insertion just counted, decides only if the candidate comes back at shorter distances than the
//!   victim has been unused: the test of LIRS (Jiang and Zhang, SIGMETRICS 2002). Distances outlive an
//!   eviction in a ghost list of seven bytes for each entry, which remembers twice as many evictions as there are
//!   entries. So a loop that is larger than the cache keeps what it has instead of replacing it in every round.
//! - The victim is the unused entry at the tail of probation, or one of the next three if that was counted less
//!   often. Their counts are those of their last uses, which stand beside their marks: asking the sketch would take a
//!   cache line for each, and gains 0.03 points.
//! - A key that comes back in less than half of the time that the next victim has been unused for enters probation
//!   at once, without a duel, as a key of low inter-reference recency does in LIRS.
//! - What is best depends on the requests: a window of a hundredth, where popularity lasts, or of everything, where
//!   only recency counts; a larger or smaller protected segment; or, where most keys are requested just twice, a
//!   large window whose used entries are protected, and no duel for any key that the ghost knows. These are six
//!   *variants* of the policy. Six miniatures of it, each of another variant, are fed the accesses to a sample of the
//!   keys (Waldspurger et al., FAST 2015 and ATC 2017), and the cache takes over a variant that is better than the
//!   present one by two standard deviations of the accesses in which the two differ (McNemar 1947). That a sample
//!   decides for all is set dueling (Qureshi et al., ISCA 2007).
//! - Where entries have weights, the segments divide weight. A new entry that is heavier than the window makes room for
//!   itself without a duel, and has its own duel once half of a window has come after it (with
//!   [`Policy::cost_aware`](crate::policy::Policy::cost_aware), after the next insertion). Most such entries leave then.
//!   In the variants with the smallest window, an entry that is also four times as heavy as the mean of at least 64
//!   others has its duel at once.
//!   Candidates that come into that room, and would lose a duel, go to the end of probation at which entries leave.
//!   Otherwise heavy entries would replace the whole main part with time: a loop of entries that differ in weight had no
//!   hits. Of a hit in a miniature, one quarter counts the request, and three its weight. A single heavy hit may then
//!   outweigh many others, so it takes longer to find the best variant, and the policy begins with a window of a tenth,
//!   which is nowhere much worse than the best.
//! - The miniatures see misses as insertions, and hits only as the first mark of a sampled key. The sample has all keys
//!   of a cache of up to 64 entries, at most one key in eight of one of more than 256, and no more than 256 of the
//!   cached keys. All miniatures share one table of keys, one sketch, one ghost and one clock, so that an access to a
//!   key which all of them hold costs one lookup, and one that all of them miss some 2,000 instructions, spread over
//!   the insertions of eight keys or more.
//! - Nothing is moved at once when the variant changes: each insertion moves up to four entries out of the window and
//!   up to sixteen out of the protected segment, until both are as large as they should be.
//!
//! New keys cannot be locked out for long: counters are halved after twenty increments for each entry, an
//! unused entry leaves the main part when the policy examines it, and hashes are seeded.
//!
//! **Costs.** [`Policy::cost_aware`](crate::Policy::cost_aware) is the default policy with other comparisons. An
//! entry is worth the number of its uses, times what a miss costs, divided by its weight, as in
//! GreedyDual-Size-Frequency (Cherkasova 1998). The sketch halves its counts from time to time, so that they age; the
//! policy therefore needs neither priorities that rise with each eviction nor an order by worth. The victim is the
//! entry that is worth least among eight at the tail of probation. If one use more of the victim would undo the
//! candidate's lead, the test of LIRS decides, as it does without costs; the two times that it compares are first
//! divided by what one use of their entry is worth. Costs stand in the byte of an entry's metadata that has the time of
//! its load. The variant whose window is everything has no duels, and so is never taken. Without this rule, where all
//! keys are equally popular and all variants hit as often, callers wait up to five times as long, depending on the
//! seed. It did not help to let costs decide in the miniatures too, nor to choose the victim among four entries or
//! sixteen.
//!
//! **Recording.** Policies of the CLOCK family need a mark or a small counter in the entry. The counter
//! of a hot entry is soon saturated, and then its hits write nothing. Policies that need the order of
//! accesses are fed through lossy striped buffers, with at most one record for an entry between two runs
//! of maintenance.
//!
//! # Namespaces
//! A cache with [namespaces](crate::Builder::namespaces) has one table, one bound and one policy for all tenants. The
//! guarantee is a rule about evictions: the policy chooses as ever, and the entry leaves only if its namespace can
//! lose it, which one compare-and-swap on the account of the namespace decides. Otherwise the entry is *kept*: it
//! goes from the policy's order into a list of its namespace, from which it leaves when the namespace has a newer
//! entry, or returns to the policy if it was used since. So a namespace at its minimum works as a clock of its own,
//! and one above it competes by the policy.
//! - An entry's first tag is a generation of its namespace. That makes the invalidation of a namespace O(1), as that
//!   of a tag is, and leads from an entry to its account without a table.
//! - A minimum holds for all partitions together, so no namespace loses to the hash. The price is that the bound
//!   has to be one for all partitions too, and its count one word that all writers change: a partition in which
//!   all is protected must be able to take room that another one has.
//! - A partition has a list only for namespaces of which it keeps entries, so thousands of namespaces cost little.
//!   Which of them have more than their minimums is noted whenever one crosses its own, so the few that can lose an
//!   entry are found at once where the whole bound is guaranteed.
//! - A [maximum](crate::Namespaces::guarantee_up_to) is kept by the namespace itself: its excess is taken from a clock
//!   of its own entries, and never from another namespace. Only namespaces with a maximum have that clock.
//! - A [curve of one namespace](crate::Cache::shadow_namespace) is simulated only if it is asked for. A lookup that
//!   finds nothing has no namespace, so the insertion that follows stands for it; the namespace's own hits and
//!   insertions are all counted, and sampled keys only have to say what share of them other sizes would miss.
//!
//! Three synthetic traces in one cache of 6,000 entries, where `scanmix` makes four times as many requests as each
//! of the others; hit ratios in percent (the benchmark `namespaces`, which always gives the same figures):
//!
//! | | `zipf-0.99` | `scanmix` | `shift` | mean |
//! |---|---|---|---|---|
//! | a cache for each, of 2,000 entries | 62.9 | 38.6 | 56.5 | 52.7 |
//! | one cache, nothing guaranteed | 58.2 | 43.2 | 54.0 | 51.8 |
//! | one cache, a quarter guaranteed | 58.3 | 43.1 | 54.1 | 51.8 |
//! | one cache, three quarters guaranteed | 58.7 | 41.1 | 53.4 | 51.1 |
//! | one cache, all guaranteed | 58.6 | 38.3 | 55.4 | 50.8 |
//!
//! The busy tenant gains from sharing what the others lose, and guarantees give only a part of that back: a
//! namespace at its minimum evicts like a clock, without the policy. Guarantees protect a tenant from being
//! driven out. If you want the best hit ratio in the mean of all tenants, give each a cache of its own.
