//! Replaces `alarm` in models, where no time passes: no alarm goes off.
#![forbid(unsafe_code)]

use std::task::Waker;

use crate::expiry::CacheTime;

/// See the type of this name without loom.
pub(crate) struct AlarmTime;

impl AlarmTime {
    pub(crate) fn at(_: &CacheTime, _: u64) -> Self {
        Self
    }
}

/// See the type of this name without loom. Keeps the waker, as a real alarm does.
pub(crate) struct Alarm {
    _waker: Waker,
}

impl Alarm {
    pub(crate) fn register(_: AlarmTime, waker: Waker) -> Self {
        Self { _waker: waker }
    }

    pub(crate) fn set_waker(&self, _: &Waker) -> bool {
        true
    }
}
