//! Model tests of larder, one file for each mechanism.
//!
//! They run under loom, which executes a small program in every interleaving that the memory model
//! allows, up to a bound on preemptions:
//!
//! ```text
//! LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg larder_loom --cfg crossbeam_loom" \
//!     cargo test --release -p loom-tests --target-dir target/loom
//! ```
//!
//! Without those flags the tests are empty. Loom treats `SeqCst` accesses as acquire-release; where
//! two of them have to be ordered, the library adds a fence between them under loom.

#[cfg(all(larder_loom, not(crossbeam_loom)))]
compile_error!("the models of epochs need crossbeam's own build for loom: --cfg crossbeam_loom");

/// Runs `program` in every interleaving and prints their number.
#[cfg(larder_loom)]
pub fn model(program: impl Fn() + Send + Sync + 'static) {
    check(&loom::model::Builder::new(), program);
}

/// Like the function above, with other limits.
#[cfg(larder_loom)]
pub fn check(limits: &loom::model::Builder, program: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    limits.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        program();
    });
    let thread = std::thread::current();
    println!("{}: {} executions", thread.name().unwrap_or("?"), executions.load(Ordering::Relaxed));
}

/// The limits of a model that has very many executions: one preemption less than the others have.
#[cfg(larder_loom)]
pub fn one_preemption_less() -> loom::model::Builder {
    let mut limits = loom::model::Builder::new();
    limits.preemption_bound = limits.preemption_bound.map(|bound| bound.saturating_sub(1));
    limits
}

/// Runs `first` and `second` on two threads over a `T` that `prepare` has filled, then `check`.
///
/// Both are spawned: loom does not interleave what happens before the first spawn, so neither may
/// run on the model's own thread.
#[cfg(larder_loom)]
pub fn two<T, A, B>(prepare: fn(&T), first: fn(&T) -> A, second: fn(&T) -> B, check: fn(&T, A, B))
where
    T: Default + Send + Sync + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    two_within(&loom::model::Builder::new(), prepare, first, second, check);
}

/// Like the function above, with other limits.
#[cfg(larder_loom)]
pub fn two_within<T, A, B>(
    limits: &loom::model::Builder,
    prepare: fn(&T),
    first: fn(&T) -> A,
    second: fn(&T) -> B,
    check: fn(&T, A, B),
) where
    T: Default + Send + Sync + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    use loom::sync::Arc;
    use loom::thread;

    self::check(limits, move || {
        let shared = Arc::new(T::default());
        prepare(&shared);
        let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
        let one = thread::spawn(move || first(&one));
        let other = thread::spawn(move || second(&other));
        let a = one.join().expect("the model's thread panicked");
        let b = other.join().expect("the model's thread panicked");
        check(&shared, a, b);
    });
}
