//! What is checked by what, what is not, and how to run each.
//!
//! | claim | checked by | run it |
//! |---|---|---|
//! | table, buffers, marks of readers, tickets, deadlines, tags, the gates of atomic listeners, fills, the end of a cache and the maintenance thread's sleep are right in every interleaving of small programs; and whole caches, of which two threads insert, replace, remove and evict one entry, come to accounts that agree with the table, and are freed after their last reader | models under loom, `loom-tests`: 80 of them, 260,000 executions with three preemptions (whole caches one, tickets on the real crossbeam-epoch two); each says how many it had; orderings and checks are weakened one at a time, and a model fails ([orderings](super::orderings)) | `.ci/run loom`, more with `.ci/loom-long`; `.ci/run weakenings` |
//! | calls that race have an order that explains their results, in which entries vanish only by eviction or expiry | `tests/it/concurrency/linearizability.rs`: histories of 2 to 4 threads on 3 keys, in every configuration, searched by Wing and Gong's algorithm with Lowe's memory; six planted bugs are found, among them a lost update, a double insert and a stale read; 8,000 histories for each of three kinds of cache | `cargo test --test it linearizability`, more with `LARDER_HISTORIES=1000000` |
//! | any sequence of calls does what a plain model does, and leaves a valid cache; any bytes are a snapshot, a trace or a configuration, or a typed error | targets in `fuzz`, each with seeds; what was planted to see that they can fail stands in their heads | `.ci/run fuzz`, an hour each with `.ci/fuzz-long` |
//! | no memory is read after it was freed, leaked, or raced for | the stress test under AddressSanitizer, LeakSanitizer and ThreadSanitizer | `.ci/run sanitize`, more with `.ci/sanitize-long` |
//! | user code that panics breaks nothing | keys, values, closures, weighers: `tests/reclamation/drops.rs`; serializers, readers and writers: `tests/faults/`; in `tests/it/`, policies: `eviction::custom_policies`, listeners and executors: `listeners`, clocks and expiries: `expiry` and unit tests of `periodic`, predicates: `invalidation`, sources of memory in use: `eviction::memory_pressure` | `cargo test` |
//! | memory that is short ends the process with the allocator's message, or is done without | `tests/faults/short_memory.rs`: the n-th allocation fails, in a process of its own | `cargo test --all-features --test faults` |
//! | a maintenance thread that dies or cannot be started is started anew | unit tests of `maintainer` | `cargo test --lib maintainer` |
//! | what a call leaves to the maintenance thread is done though nobody calls again | `tests/background.rs`, models of its sleep | `cargo test --test background` |
//! | a forked child can go on | `tests/fork.rs` | `cargo test --test fork` |
//! | tests run the code | 96.0 % of the 12,267 lines of `src/`, those of the documentation's examples not counted | `.ci/run coverage` |
//! | what policies decide and inline caches show does not change unnoticed, as far as long mixed runs call for it | golden runs: `policy::simulator`, `tests/it/eviction/golden.rs` | `cargo test --lib golden`, `cargo test --test it golden` |
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
//! | `policy/window_tiny_lfu/segments.rs` | 170 of 170 | 155 | 7 | 8: two ors of bits that do not overlap, a hint, a comparison after an equality, three of a search among nodes that are hit all the while, one of which entries are evicted for a newcomer that outweighs several |
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
//! Much of these files has changed since the mutants were tried.
//!
//! Not checked: maintenance of a partition by three threads at once under loom, where a model of
//! one preemption was not done in five minutes; and mutants of other files.
