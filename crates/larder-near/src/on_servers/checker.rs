//! What the server had under each key and when, and whether a read fits to it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The states of one key in their order, each with the moment of its acknowledgement.
type States = Vec<(Option<u64>, Instant)>;

/// The states of each key in their order, each with the moment at which the server had acknowledged it.
pub(super) struct Checker {
    keys: Vec<Mutex<States>>,
    max_stale: Duration,
}

impl Checker {
    /// For keys without values.
    pub(super) fn new(keys: usize, max_stale: Duration) -> Self {
        let absent = || Mutex::new(vec![(None, Instant::now())]);
        Self { keys: std::iter::repeat_with(absent).take(keys).collect(), max_stale }
    }

    /// The server has acknowledged a write of `key`.
    pub(super) fn acknowledged(&self, key: usize, value: Option<u64>) {
        self.keys[key].lock().unwrap().push((value, Instant::now()));
    }

    /// The server has lost everything.
    pub(super) fn lost_all(&self) {
        for key in 0..self.keys.len() {
            self.acknowledged(key, None);
        }
    }

    /// What the server has.
    pub(super) fn present(&self, key: usize) -> Option<u64> {
        self.keys[key].lock().unwrap().last().unwrap().0
    }

    /// For how much longer than allowed a value that a read has found had been overwritten when the read
    /// began; `None` if the read was right.
    ///
    /// A value that the server has not acknowledged yet is right: it was read while it was being written.
    pub(super) fn excess(
        &self,
        key: usize,
        began: Instant,
        value: Option<u64>,
    ) -> Option<Duration> {
        let states = self.keys[key].lock().unwrap();
        let at = states.iter().rposition(|(state, _)| *state == value)?;
        let (_, overwritten) = states.get(at + 1)?;
        began.checked_duration_since(*overwritten + self.max_stale)
    }
}

#[test]
fn a_read_that_is_too_old_is_found() {
    let checker = Checker::new(1, Duration::from_millis(10));
    checker.acknowledged(0, Some(1));
    checker.acknowledged(0, Some(2));
    let overwritten = Instant::now();
    let within = overwritten.checked_sub(Duration::from_millis(1)).unwrap();
    let beyond = overwritten + Duration::from_millis(11);
    assert_eq!(checker.excess(0, within, Some(1)), None);
    assert!(checker.excess(0, beyond, Some(1)).is_some());
    assert!(checker.excess(0, beyond, None).is_some());
    assert_eq!(checker.excess(0, beyond, Some(2)), None);
    assert_eq!(checker.excess(0, beyond, Some(3)), None, "it is being written");
    assert_eq!(checker.present(0), Some(2));
    checker.lost_all();
    assert_eq!(checker.excess(0, overwritten, None), None);
}
