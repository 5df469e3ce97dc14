//! Loading a missing value: who loads, who waits, and what the cache keeps.

mod background;
mod flights;
mod hostile;
mod many;
mod negative;
mod renewing;
mod stale;
