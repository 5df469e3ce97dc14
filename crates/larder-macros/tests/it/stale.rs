//! Values that are renewed before they expire, and values that are used afterwards.

use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Maintenance, cached};

use crate::support::{Gate, Runs, poll, ready};

const SECOND: Duration = Duration::from_secs(1);

/// A cache whose time is `clock`.
fn on<K, V>(builder: Builder<K, V>, clock: &FakeClock) -> Builder<K, V> {
    builder.capacity(100).clock(clock.clone()).maintenance(Maintenance::Inline)
}

#[test]
fn a_value_is_renewed_at_its_age_or_a_share_of_its_lifetime() {
    static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    static RUNS: Runs = Runs::new();

    #[cached(ttl = "100s", refresh_after = "10s", builder = |builder| on(builder, &CLOCK))]
    fn by_age(_a: &str, _b: &str) -> usize {
        RUNS.add();
        RUNS.count()
    }

    assert_eq!(by_age("a", "b"), 1);
    CLOCK.advance(9 * SECOND);
    assert_eq!(by_age("a", "b"), 1);
    CLOCK.advance(2 * SECOND);
    assert_eq!((by_age("a", "b"), by_age("a", "b")), (2, 2));
    assert_eq!(by_age_cache().stats().refreshes, 1);

    static SHARED: Runs = Runs::new();

    #[cached(ttl = "100s", eager_refresh = 0.5, load_timeout = 30, builder = |builder| on(builder, &CLOCK))]
    fn by_share(_n: u64) -> usize {
        SHARED.add();
        SHARED.count()
    }

    assert_eq!(by_share(1), 1);
    CLOCK.advance(49 * SECOND);
    assert_eq!(by_share(1), 1);
    CLOCK.advance(2 * SECOND);
    assert_eq!((by_share(1), by_share(1)), (2, 2));
}

#[test]
fn an_expired_value_is_returned_if_the_body_fails() {
    static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    static RUNS: Runs = Runs::new();
    static IS_DOWN: AtomicBool = AtomicBool::new(false);

    #[cached(result, ttl = "10s", stale_if_error = "50s", builder = |builder| on(builder, &CLOCK))]
    fn fetch(id: u64) -> Result<u64, &'static str> {
        RUNS.add();
        if IS_DOWN.load(Ordering::Relaxed) { Err("down") } else { Ok(id) }
    }

    assert_eq!(fetch(7), Ok(7));
    IS_DOWN.store(true, Ordering::Relaxed);
    CLOCK.advance(11 * SECOND);
    assert_eq!((fetch(7), fetch(8)), (Ok(7), Err("down")));
    assert_eq!(RUNS.count(), 3);
    CLOCK.advance(50 * SECOND);
    assert_eq!(fetch(7), Err("down"));
    IS_DOWN.store(false, Ordering::Relaxed);
    assert_eq!(fetch(7), Ok(7));
}

#[test]
fn an_expired_value_is_returned_while_one_call_computes_it_anew() {
    static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    static RUNS: Runs = Runs::new();

    #[cached(
        key = id,
        ttl = "10s",
        stale_while_revalidate = "50s",
        builder = |builder| on(builder, &CLOCK),
    )]
    async fn fetch(id: u64, gate: &Gate) -> usize {
        assert_eq!(id, 1);
        RUNS.add();
        gate.wait().await;
        RUNS.count()
    }

    let (open, closed) = (Gate::default(), Gate::default());
    open.open();
    assert_eq!(ready(fetch(1, &open)), 1);
    CLOCK.advance(11 * SECOND);
    let mut first = pin!(fetch(1, &closed));
    assert_eq!(poll(first.as_mut()), Poll::Pending, "it computes the value anew");
    assert_eq!(ready(fetch(1, &closed)), 1);
    closed.open();
    assert_eq!(poll(first.as_mut()), Poll::Ready(2));
    assert_eq!(ready(fetch(1, &closed)), 2);
    assert_eq!(RUNS.count(), 2);
}
