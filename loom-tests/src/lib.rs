//! Model tests of larder, one file a mechanism.
//!
//! They run under loom, which executes a small program in every order that the memory model
//! allows, up to a number of preemptions:
//!
//! ```text
//! LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg larder_loom" \
//!     cargo test --release -p loom-tests --target-dir target/loom
//! ```
//!
//! Without that flag the tests are empty. Loom takes `SeqCst` accesses for acquire-release ones;
//! where two of them have to be ordered, the library puts a fence between them under loom.
