//! Where the compiler points, and with which words, if a function is refused.
//!
//! The messages are those of this crate alone, so they are the same with every compiler. `src/tests.rs` has
//! all of them.

#[test]
fn the_compiler_points_at_what_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
