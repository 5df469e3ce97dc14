//! The bulk verbs: each does what a loop of the verb for one key does, whatever is set, and also if user
//! code panics. `verbs` checks what each of them returns.

mod loops;
mod panics;
mod races;

/// The entries for which a table has so many buckets that keys are read ahead.
const LARGE: usize = 16_500;
