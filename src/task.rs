//! Waiting and running in the background, which loading stands on: threads that sleep until a waker wakes
//! them or a time has come, wakers that are woken at a time, and executors.
//!
//! Nothing here knows a cache. What is woken or run is user code, and never runs under a lock of these
//! modules.
#![forbid(unsafe_code)]

mod background;
#[cfg_attr(larder_loom, path = "task/pool_loom_stub.rs")]
mod pool;
mod executor;
mod block_on;
#[cfg_attr(larder_loom, path = "task/alarm_loom_stub.rs")]
mod alarm;
mod stand_in;

pub(crate) use alarm::{Alarm, AlarmTime};
pub(crate) use background::Background;
pub(crate) use block_on::{Parker, block_on};
pub use executor::{LoadExecutor, LoadTask, ThreadPerTask};
