//! Updates of one key: none is lost, and each takes effect only on what it has seen.

mod counting;
mod computing;
mod entries;
mod asynchronous;
mod fills;
