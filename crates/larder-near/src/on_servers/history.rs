//! With `max_stale` 0, the history of each key is linearizable, also of keys that several processes write while their
//! connections are cut.
//!
//! Each write has a value of its own, so the check of Gibbons and Korach ("Testing shared memories", SIAM Journal on
//! Computing 26, 1997) decides in polynomial time. The operations of one value are its cluster; between the first
//! end and the last start in a cluster is its zone. A zone is forward if that end comes before that start: the
//! register has the value during all of it. A history is linearizable if and only if no read ends before its write
//! begins, no two forward zones overlap, and no other zone lies within a forward one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::proxy::{Network, Proxy};
use super::reads::futures;
use super::server::with_each;
use super::{near, until};

/// A read or a write of the value, from its call to its return.
#[derive(Clone, Copy, Debug)]
struct Operation {
    value: u64,
    is_write: bool,
    start: u64,
    /// The largest number if the call has failed: it may take effect at any time, or never.
    end: u64,
}

/// Why a history, which begins with the value 0, is not linearizable.
fn check(history: &[Operation]) -> Result<(), String> {
    let first = Operation { value: 0, is_write: true, start: 0, end: 0 };
    let mut all = vec![first];
    all.extend_from_slice(history);
    let mut zones = Vec::new();
    for write in all.iter().filter(|it| it.is_write) {
        let cluster: Vec<_> = all.iter().filter(|it| it.value == write.value).collect();
        if write.end == u64::MAX && cluster.len() == 1 {
            // Nobody has seen it.
            continue;
        }
        if let Some(early) = cluster.iter().find(|it| it.end < write.start) {
            return Err(format!("{early:?} ended before {write:?} began"));
        }
        let first_end = cluster.iter().map(|it| it.end).min().unwrap();
        let last_start = cluster.iter().map(|it| it.start).max().unwrap();
        zones.push((first_end, last_start, write.value));
    }
    if let Some(unwritten) = all.iter().find(|it| zones.iter().all(|zone| zone.2 != it.value))
        && !unwritten.is_write
    {
        return Err(format!("{unwritten:?} found what nobody has written"));
    }
    for (at, one) in zones.iter().enumerate() {
        if one.0 >= one.1 {
            continue;
        }
        for (other_at, other) in zones.iter().enumerate() {
            let (low, high) = (other.0.min(other.1), other.0.max(other.1));
            let is_forward = other.0 < other.1;
            let overlaps = low < one.1 && one.0 < high;
            let is_within = one.0 < low && high < one.1;
            if other_at != at && ((is_forward && overlaps) || (!is_forward && is_within)) {
                return Err(format!("the zones {one:?} and {other:?} conflict"));
            }
        }
    }
    Ok(())
}

#[test]
fn histories_are_judged_rightly() {
    let write = |value, start, end| Operation { value, is_write: true, start, end };
    let read = |value, start, end| Operation { value, is_write: false, start, end };
    for right in [
        vec![write(1, 1, 4), read(0, 2, 3), read(1, 3, 6)],
        vec![write(1, 1, 9), write(2, 2, 8), read(2, 3, 4), read(1, 5, 6)],
        vec![write(1, 1, u64::MAX), read(0, 5, 6)],
        vec![write(1, 1, u64::MAX), read(0, 5, 6), read(1, 7, 8)],
    ] {
        assert_eq!(check(&right), Ok(()), "{right:?}");
    }
    for wrong in [
        // A value that was overwritten.
        vec![write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)],
        // Back and forth.
        vec![write(1, 1, 9), write(2, 2, 8), read(2, 3, 4), read(1, 5, 6), read(2, 7, 8)],
        // From the future.
        vec![read(1, 1, 2), write(1, 3, 4)],
        vec![read(7, 1, 2)],
        vec![write(1, 1, u64::MAX), read(1, 5, 6), read(0, 7, 8)],
    ] {
        assert!(check(&wrong).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn with_max_stale_0_the_history_of_each_key_is_linearizable() {
    with_each(async |server| {
        let (keys, members, operations) = (3_u64, 3, 150);
        let time = AtomicU64::new(1);
        let values = AtomicU64::new(1);
        let history: Vec<Mutex<Vec<Operation>>> = (0..keys).map(|_| Mutex::default()).collect();
        let mut nears = Vec::new();
        let mut proxies = Vec::new();
        for _ in 0..members {
            let proxy = Proxy::before(server.port()).await;
            let near = near::<u64>(&proxy.address())
                .max_stale(Duration::ZERO)
                .call_timeout(Duration::from_secs(5))
                .connect();
            nears.push(near.await.unwrap());
            proxies.push(proxy);
        }
        let member = async |number: usize, task: u64| {
            let (near, proxy) = (&nears[number], &proxies[number]);
            let mut random = task.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            for at in 0..operations {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (random >> 33) % keys;
                let is_write = (random >> 40).is_multiple_of(3);
                if at == operations / 2 && task.is_multiple_of(2) {
                    // Some calls fail, and it is unknown whether the server has carried them out.
                    proxy.set(Network::Closing);
                    until("the loss", async || !near.stats().is_connected).await;
                    proxy.set(Network::Up);
                }
                let start = time.fetch_add(1, Ordering::SeqCst);
                let (value, is_done) = if is_write {
                    let value = values.fetch_add(1, Ordering::SeqCst);
                    (value, near.set(&key, value).await.is_ok())
                } else {
                    match near.get(&key).await {
                        Ok(value) => (value.unwrap_or(0), true),
                        Err(_) => continue,
                    }
                };
                let end = time.fetch_add(1, Ordering::SeqCst);
                let end = if is_done { end } else { u64::MAX };
                history[key as usize].lock().unwrap().push(Operation {
                    value,
                    is_write,
                    start,
                    end,
                });
            }
        };
        futures((0..members * 2).map(|task| member(task % members, task as u64))).await;
        for (key, history) in history.iter().enumerate() {
            let history = history.lock().unwrap();
            assert!(history.len() > operations / 2, "only {} operations", history.len());
            assert_eq!(check(&history), Ok(()), "key {key}: {history:?}");
        }
    })
    .await;
}
