//! How each claim is tested, what is not tested, and how to run the tests yourself.
//!
//! Several claims have more than one proof. The commands are run in the repository; `CONTRIBUTING.md`
//! there says what each step needs and how long it takes.
//!
//! | claim | how it is tested | command |
//! |---|---|---|
//! | The lock-free parts are right in every interleaving. | 80 small programs run under the model checker [loom], in about 260,000 executions with up to three preemptions, and with one where they use a whole cache. Each atomic ordering and each check that matters is weakened in turn, and a program has to fail then. | `.ci/run loom`, `.ci/run weakenings` |
//! | Calls that race have an order that explains their results. In it entries vanish only by eviction or expiry. | Histories of two to four threads on three keys are searched for such an order by Wing and Gong's algorithm with Lowe's memory: 8,000 for each of four kinds of cache, in all configurations. The search finds six planted bugs, among them a lost update, a double insertion and a stale read. | `cargo test linearizab`, more with `LARDER_HISTORIES=1000000` |
//! | Any sequence of calls gives the answers of a plain map, and leaves a valid cache. Any bytes are a snapshot, a trace or a configuration, or a typed error. | Fuzz targets, some of which compare the cache with a model. | `.ci/run fuzz` |
//! | No memory is read after it was freed, leaked, or accessed by two threads in a data race. | A stress test runs under AddressSanitizer, LeakSanitizer and ThreadSanitizer. | `.ci/run sanitize` |
//! | Every key and value is dropped exactly once. | Tests count the drops of each object, also where user code panics. | `cargo test` |
//! | User code that panics breaks nothing. | Tests let each kind of user code panic at each of its calls: keys, values, closures, weighers, policies, listeners, executors, clocks, expiries, predicates, serializers, readers and writers. | `cargo test` |
//! | If memory is short, the process ends with the allocator's message, or the cache does without. | A test lets the n-th allocation fail, for each n, in a process of its own. | `cargo test` |
//! | The maintenance thread does what calls leave to it, though nobody calls again; if it dies or cannot be started, it is started anew. | Tests and models of its sleep. | `cargo test`, `.ci/run loom` |
//! | A forked child can go on. | A test forks a process whose threads are using caches. | `cargo test` |
//! | The decisions of policies do not change unnoticed. | Golden runs: long mixed runs are reduced to one number each. The exact policies are compared with references, call by call. | `cargo test golden` |
//! | The tests run the code. | At least 95 % of the lines in `src/`, not counting examples in the documentation. | `.ci/run coverage` |
//! | The tests notice changes of the code. | All 1,902 mutants of the table, the buffers, maintenance and the policies were tried. 1,601 were noticed, 148 did not compile, and `tests/MUTANTS.md` says what the other 153 change. | `.ci/run mutants` |
//!
//! The lines that no test runs are those for other systems, those for threads that die or fork at rare
//! moments, those that guard against a policy or a caller that breaks its contract, and some `Debug`
//! implementations.
//!
//! # Not tested
//! - Systems other than Linux on x86-64: the compiler checks the code, and no test runs.
//! - Maintenance of one partition by three threads at once, under loom: the model takes too long.
//! - Mutants of the other files. The code of those that were tried has changed since.
//!
//! [loom]: https://docs.rs/loom
