//! Pages about the library as a whole: [design], [orderings], [correctness], [limitations].
#![forbid(unsafe_code)]

pub mod design {
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
}

pub mod orderings {
    //! Every pairing of atomic operations that something hangs on, and the model test that fails
    //! when it is weakened. `.ci/run weakenings` weakens them one at a time, in a copy, to see that it
    //! does; what it changes stands in `loom-tests/weakenings.toml`.
    //!
    //! Models are in `loom-tests`, run with up to three preemptions.
    //!
    //! | site | weakened to | model that failed |
    //! |---|---|---|
    //! | `Link::load` acquire | relaxed | `insert_publishes_its_value` and most others |
    //! | `Link::replace` acquire-release | relaxed | the same |
    //! | `Buckets::mask` acquire | relaxed | `growth_hides_no_entry` (follows a null segment) |
    //! | `Buckets::double`, the CAS of `mask` | relaxed | the same |
    //! | `WriteBuffer::push`, store of `first`, release | relaxed | `what_comes_out_was_published` |
    //! | `WriteBuffer::pop`, load of `first`, acquire | relaxed | the same |
    //! | `WriteBuffer::pop`, store of `head`, release | relaxed | `slots_are_used_again_only_once_empty` |
    //! | `WriteBuffer::push`, load of `head`, acquire | relaxed | `two_writers_and_a_drainer_lose_nothing` |
    //! | `Reader::enter`, store of the mark, release | relaxed | `a_reader_that_comes_back_is_told_from_one_that_stayed` |
    //! | `Reader::leave`, store of `word`, release | relaxed | `a_value_is_freed_only_when_its_reader_has_left` |
    //! | `Phases::step`, load of `word`, acquire | relaxed | the same |
    //! | `barrier::light` | nothing | the same |
    //! | `barrier::heavy` | nothing | the same |
    //! | `Deadline::settle`, acquire-release | relaxed, or a load | `no_miss_is_reported_of_a_key_that_was_replaced_while_valid` |
    //! | `Deadline::expire_if_past`, acquire-release | relaxed | the same |
    //! | `Upkeep::set_moved`, `take_moved`, acquire-release | either relaxed | `report_that_is_left_out_is_not_needed` |
    //! | `EntryPtr::set_limit_ns`, store of the limit, release | relaxed | `limit_is_not_taken_for_the_time_of_writing` |
    //! | `EntryPtr::told_ns`, load of the time of writing, acquire | relaxed | the same |
    //! | `BroughtForward::note`, release | relaxed | `deadline_that_was_kept_is_none_too_late_while_none_was_brought_forward` |
    //! | `BroughtForward::times`, acquire | relaxed | the same |
    //! | `Tags::invalidate`, the swap | a store | `no_miss_is_reported_of_a_key_that_was_replaced_while_valid` (tags) |
    //! | `TagSet::settle`, acquire-release | relaxed, or a load | the same |
    //! | `TagSet::is_dead`, acquire | relaxed | `a_reader_who_is_told_of_the_mark_sees_what_came_before_it` |
    //! | `Tickets::take`, acquire-release read-modify-write | a load | `a_ticket_that_another_thread_closes_covers_what_was_taken_out_before` |
    //! | `Tickets::completed`, acquire | relaxed | `a_value_is_freed_by_a_ticket_that_its_reader_completes` |
    //! | `Cache::drop`, the count of handles, acquire-release | relaxed | `the_last_handle_frees_what_no_other_reads_any_more` |
    //! | `Visit::leave`, acquire-release | relaxed | `a_job_of_an_executor_and_the_maintenance_thread_leave_one_end` |
    //! | `Life::close`, acquire-release | relaxed | `the_last_drop_waits_for_visitors_and_all_was_dropped_then` |
    //! | `Life::close`, the load that waits, acquire | relaxed | the same |
    //! | `Life::note_ended`, release | relaxed | the same |
    //! | `WriteBuffer::push`, the CAS of `state`, before the look at the thread's state | not ordered | `an_event_that_comes_as_the_thread_lies_down_wakes_it` |
    //! | `Mark::is_awaited_again`, what it says, before the look at the cache | not ordered | the same |
    //!
    //! Checks that were dropped, likewise:
    //!
    //! | check | model that failed |
    //! |---|---|
    //! | a lookup looks at the mask again before it reports a miss | `growth_hides_no_entry` |
    //! | a lookup goes on behind an entry of its key that is being replaced | `a_key_being_replaced_is_never_absent` |
    //! | `find` does so before it ends at a head | `insert_during_growth_is_found_by_all` |
    //! | a removal searches again when its unlinking failed | `removals_of_neighbours_leave_neither_linked` |
    //! | a claimed head is pending until it is linked | `a_head_being_linked_hides_no_entry` |
    //! | an iteration decides and goes on by one load | `iteration_sees_what_stays_exactly_once` |
    //! | a claimed slot precedes the removal that it is for | `what_leaves_first_is_told_first` |
    //! | a full write buffer refuses | `a_full_buffer_refuses_and_loses_nothing` |
    //! | a step waits for readers of an earlier phase | `a_value_is_freed_only_when_its_reader_has_left` |
    //! | a grace period takes two steps while somebody is inside | the same |
    //! | a miss of an expired entry stands only while that is linked | `no_miss_is_reported_of_a_key_that_was_replaced_while_valid` |
    //! | a hit moves only the deadline that it saw | `hit_and_expiry_agree` |
    //! | a hit asks whether the time of writing has become a limit | `hit_keeps_to_the_limit_that_belongs_to_the_deadline` |
    //! | a computed deadline looks at the limit once more when it is set | `computed_deadline_keeps_to_a_limit_whose_deadline_is_the_one_before` |
    //! | who takes an entry out knows whether he was first | `timer_and_replacement_take_an_entry_out_once` |
    //! | a gate lets one in | `replacements_are_told_in_order` and three more |
    //! | maintenance looks within the gate whether its victim is still linked | `victim_that_left_before_is_not_told_again` |
    //! | a tag's generation is marked dead before the next one can be given | `what_lives_beside_an_older_generation_dies_with_it` |
    //! | a generation that ends takes out of the map only itself | `a_generation_that_ends_takes_no_other_along` |
    //! | a guard is held while a value is read | `a_value_is_freed_only_when_its_guard_is_dropped` |
    //! | an entry that is gone when maintenance hears of it gets no node | `a_replacement_that_is_removed_at_once_leaves_no_node` |
    //! | a node is not handed to an entry that is gone | the same |
    //! | a removal takes the node out | the same |
    //! | maintenance counts as evicted only what it was first to take out | most of `loom-tests/tests/cache.rs` |
    //! | the thread looks once more at a cache that it has called idle | `an_event_that_comes_as_the_thread_lies_down_wakes_it` |
    //! | a cache that comes is on the thread's list | `a_cache_that_comes_during_a_look_is_not_slept_over` |
    //! | the thread says that it sleeps | `events_of_two_writers_are_never_slept_over` |
    //! | a closed cache is visited no more | `a_job_of_an_executor_and_the_maintenance_thread_leave_one_end` |
    //! | the drop of a last handle waits for visitors | `the_last_drop_waits_for_visitors_and_all_was_dropped_then` |
    //! | a thread that is inside of a listener does not | `a_listener_that_drops_the_last_handle_does_not_wait_for_itself` |
    //!
    //! Loom takes `SeqCst` accesses for less than they are; where two of them have to be ordered,
    //! a `SeqCst` fence stands between them under loom alone (`sync::model_seq_cst`), and that fence
    //! is what was dropped.
    //!
    //! Not told apart by any model: the acquire and the release of `Phases::current`, which the full
    //! fences that stand for an asymmetric pair under loom make superfluous there; and the governor's
    //! own read-modify-write, the release of `Tickets::epoch_completed` and the release of
    //! `Tickets::completed`, which have fences of crossbeam-epoch between them and what they publish.
    //! All are argued for in their modules.
}

pub mod correctness {
    //! What is checked by what, what is not, and how to run each.
    //!
    //! | claim | checked by | run it |
    //! |---|---|---|
    //! | table, buffers, marks of readers, tickets, deadlines, tags, the gates of atomic listeners, the end of a cache and the maintenance thread's sleep are right in every interleaving of small programs; and whole caches, of which two threads insert, replace, remove and evict one entry, come to accounts that agree with the table, and are freed after their last reader | models under loom, `loom-tests`: 70 of them, 380,000 executions with three preemptions (whole caches one, tickets on the real crossbeam-epoch two); each says how many it had; orderings and checks are weakened one at a time, and a model fails ([orderings](super::orderings)) | `.ci/run loom`, more with `.ci/loom-long`; `.ci/run weakenings` |
    //! | calls that race have an order that explains their results, in which entries vanish only by eviction or expiry | `tests/linearizability.rs`: histories of 2 to 4 threads on 3 keys, in every configuration, searched by Wing and Gong's algorithm with Lowe's memory; six planted bugs are found, among them a lost update, a double insert and a stale read; 8,000 histories for each of three kinds of cache | `cargo test --test linearizability`, more with `LARDER_HISTORIES=1000000` |
    //! | any sequence of calls does what a plain model does, and leaves a valid cache; any bytes are a snapshot, a trace or a configuration, or a typed error | targets in `fuzz`, each with seeds; what was planted to see that they can fail stands in their heads | `.ci/run fuzz`, an hour each with `.ci/fuzz-long` |
    //! | no memory is read after it was freed, leaked, or raced for | the stress test under AddressSanitizer, LeakSanitizer and ThreadSanitizer | `.ci/run sanitize`, more with `.ci/sanitize-long` |
    //! | user code that panics breaks nothing | keys, values, closures, weighers: `tests/drops.rs`; policies: `custom_policies`; listeners and executors: `listeners`, `atomic_listener`; clocks and expiries: `expiry` and unit tests of `periodic`; predicates: `invalidation`; serializers, readers and writers: `faults`; sources of memory in use: `memory_pressure` | `cargo test` |
    //! | memory that is short ends the process with the allocator's message, or is done without | `tests/faults.rs`: the n-th allocation fails, in a process of its own | `cargo test --test faults` |
    //! | a maintenance thread that dies or cannot be started is started anew | unit tests of `maintainer` | `cargo test --lib maintainer` |
    //! | what a call leaves to the maintenance thread is done though nobody calls again | `tests/background.rs`, models of its sleep | `cargo test --test background` |
    //! | a forked child can go on | `tests/fork.rs` | `cargo test --test fork` |
    //! | tests run the code | 96.0 % of the 12,267 lines of `src/`, those of the documentation's examples not counted | `.ci/run coverage` |
    //! | what policies decide and inline caches show does not change unnoticed, as far as long mixed runs call for it | golden runs: `policy::simulator`, `tests/golden.rs` | `cargo test --lib golden`, `cargo test --test golden` |
    //! | tests notice a change of the code | all mutants of table, buffers, maintenance and policies were tried, see below | `LARDER_MUTANTS="FILES" .ci/run mutants` |
    //!
    //! Lines that no test runs are, by kind: what other systems do (where there is no `membarrier`,
    //! and under loom), what only dying threads and forks of many threads come to, paths that are
    //! there against a policy or a caller that breaks its promise, and `Debug` of some types.
    //!
    //! | file | mutants tried | noticed | do not compile | left |
    //! |---|---|---|---|---|
    //! | `read_buffer.rs` | 39 of 39 | 34 | 4 | 1: an exclusive or in the place of an or of bits that do not overlap |
    //! | `write_buffer.rs` | 61 of 61 | 54 | 4 | 3: two such ors; a test that leaks |
    //! | `table.rs` | 53 of 53 | 30 | 16 | 7: memory is not asked for in advance, twice; growth that is asked for what there is; one that only snapshots use, two that only models do; a test that leaks |
    //! | `table/list.rs` | 40 of 40 | 38 | 0 | 2: memory is not asked for in advance, which only costs time |
    //! | `table/list/walk.rs` | 7 of 7 | 0 | 1 | 6: how far snapshots ask for memory in advance |
    //! | `table/buckets.rs` | 58 of 58 | 45 | 6 | 7: five of the advice to use huge pages; two leak the array, which LeakSanitizer notices in the stress test |
    //! | `table/link.rs` | 57 of 57 | 43 | 10 | 4: three such ors; one that only models use |
    //! | `table/prefetch.rs` | 5 of 5 | 0 | 0 | 5: hints, which only cost time |
    //! | `evict.rs` | 161 of 161 | 138 | 13 | 10: which victims are fetched in advance, which only costs time |
    //! | `evict/members.rs` | 35 of 35 | 29 | 5 | 1: how memory for ids grows |
    //! | `maintenance.rs` | 108 of 108 | 90 | 3 | 15: seven where there is nothing to do on either side of a comparison, or the thread is told to come for nothing; two of who tells it that there is work, which others have told it by then; three of when a writer yields; two of patience that ends on the nanosecond; in what pieces a cache is torn down |
    //! | `maintenance/change.rs` | 41 of 41 | 33 | 5 | 3: whether a writer whose event is due runs maintenance itself, and whether one that found no room pauses |
    //! | `maintenance/run.rs` | 63 of 63 | 51 | 6 | 6: of which insertions the policy is told in advance; for how long an expired entry stays that another thread is at |
    //! | `maintenance/partition.rs` | 129 of 129 | 107 | 6 | 16: twelve of how many retired entries a run frees, three of fetching victims, one of how soon an entry is recorded again |
    //! | `maintenance/delivery.rs` | 43 of 43 | 37 | 3 | 3: that the thread is told of what a job has removed; whether more may be taken out while an atomic listener is being told; patience that ends on the nanosecond |
    //! | `maintenance/look.rs` | 35 of 35 | 32 | 0 | 3: how many buckets a look opens, whether it moves the epoch when it leaves garbage; one that only `QuickCache` uses |
    //! | `maintenance/order.rs` | 19 of 19 | 16 | 3 | 0 |
    //! | `maintenance/accounts.rs` | 21 of 21 | 21 | 0 | 0 |
    //! | `maintenance/shadowing.rs` | 13 of 13 | 10 | 0 | 3: which of two records a shadow gets of what takes the place of an unevictable entry, and of an eviction that an atomic listener was told of |
    //! | `maintenance/standings.rs` | 6 of 6 | 4 | 1 | 1: a hint |
    //! | `policy.rs` | 58 of 58 | 43 | 8 | 7: methods of the trait that do nothing unless a policy says so; `Debug` |
    //! | `policy/simulator.rs` | 134 of 134 | 117 | 7 | 10: how evenly its map spreads, the bytes of that map, `Debug`, three ways around a policy that breaks its promise or changes its sample |
    //! | `policy/window_tiny_lfu/segments.rs` | 170 of 170 | 155 | 7 | 8: two ors of bits that do not overlap, a hint, a comparison after an equality, three of a search among nodes that are hit all the while, one of who leaves for a newcomer that outweighs several |
    //! | `policy/window_tiny_lfu/mirrors.rs` | 114 of 114 | 100 | 9 | 5: three of how long its chains are, a tie, a factor of one |
    //! | `policy/window_tiny_lfu/restored.rs` | 36 of 36 | 31 | 1 | 4: such ors |
    //! | `policy/window_tiny_lfu.rs` | 30 of 30 | 23 | 6 | 1: a hint |
    //! | `policy/sketch.rs` | 88 of 88 | 86 | 1 | 1: a hint |
    //! | `policy/ghost.rs` | 34 of 34 | 28 | 0 | 6: a hint, and looks too many at whether it must grow |
    //! | `policy/ghost_queue.rs` | 31 of 31 | 19 | 0 | 12: how evenly its map spreads, when gaps are closed |
    //! | `policy/s3_fifo.rs` | 61 of 61 | 57 | 4 | 0 |
    //! | `policy/sieve.rs` | 27 of 27 | 24 | 3 | 0 |
    //! | `policy/lfu.rs` | 49 of 49 | 47 | 2 | 0 |
    //! | `policy/lru.rs`, `fifo.rs`, `list.rs` | 42 of 42 | 31 | 11 | 0 |
    //! | `policy/budget.rs` | 20 of 20 | 18 | 1 | 1: costs are added up anew that cannot have changed |
    //! | `policy/held.rs` | 7 of 7 | 3 | 2 | 2: hints |
    //! | `policy/registry.rs` | 7 of 7 | 7 | 0 | 0 |
    //!
    //! 1,902 in all: 1,601 are noticed, 148 do not compile, 153 are left. Some hundred and fifty are
    //! noticed by unit tests that were written for them, and most of those of policies by golden
    //! runs. They were tried with the unit tests, golden runs, and tests of behaviour that bear upon
    //! the file; others, models among them, may notice more.
    //!
    //! Not checked: maintenance of a partition by three threads at once under loom, where a model of
    //! one preemption was not done in five minutes; and mutants of other files.
}

pub mod limitations {
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
    //! - A writer that finds its partition's write buffer full runs maintenance itself, or waits
    //!   for the thread that is at it.
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
}
