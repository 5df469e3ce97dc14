//! Waiting and running in the background, which loading stands on: threads that sleep until a waker wakes
//! them or a time has come, and wakers that go off at a time.
//!
//! Nothing here knows a cache. What is woken or run is user code, and never runs under a lock of these
//! modules.
#![forbid(unsafe_code)]

mod block_on;
#[cfg_attr(larder_loom, path = "task/alarm_loom_stub.rs")]
mod alarm;

pub(crate) use alarm::{Alarm, AlarmTime};
pub(crate) use block_on::{Parker, block_on};
