//! The fence of loads in turns: what a loader has found is not stored if another lease of the key was given, or the key
//! was changed, since it began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_store::Record;
use tokio::sync::Notify;

use super::server::{Server, run, with_each};
use super::{LONG, near, until};
use crate::lease::Defect;
use crate::{NearCache, NearError, Tracking, WriteMode};

/// A lease that is over at once.
const SHORT: Duration = Duration::from_millis(1);

/// A process whose leases are so long. Nothing but the fence says to it that a key was changed.
async fn member(server: &Server, lease: Duration) -> NearCache<u64, u64> {
    near(&server.address())
        .tracking(Tracking::Off)
        .load_patience(LONG)
        .one_load_in_fleet(lease)
        .connect()
        .await
        .unwrap()
}

/// The text of a turn: the generation, and when the lease ends.
async fn text(server: &Server, key: u64) -> Option<(u64, u64)> {
    let name = format!("{{n:{key}}}:larder-turn");
    let text: Option<String> = run(&mut server.client().await, &["GET", &name]).await;
    text.map(|text| {
        let (generation, end_us) = text.split_once(' ').unwrap();
        (generation.parse().unwrap(), end_us.parse().unwrap())
    })
}

/// Waits until the lease of a key is over by the server's clock.
async fn is_over(server: &Server, key: u64) {
    until("the lease is over", async || {
        let (seconds, micros): (u64, u64) = run(&mut server.client().await, &["TIME"]).await;
        text(server, key).await.is_some_and(|(_, end_us)| end_us < seconds * 1_000_000 + micros)
    })
    .await;
}

/// What the server has under a key.
async fn stored(server: &Server, key: u64) -> Option<u64> {
    let other = near::<u64>(&server.address()).connect().await.unwrap();
    other.get(&key).await.unwrap()
}

fn refuse_scripts(near: &NearCache<u64, u64>) {
    near.shared.comparing.has_no_scripts.store(true, Ordering::SeqCst);
}

#[tokio::test]
async fn each_lease_of_a_key_has_a_higher_generation() {
    with_each(async |server| {
        let server = &*server;
        let last = AtomicU64::new(0);
        let rises = async || {
            let (generation, _) = text(server, 1).await.expect("the lease is under way");
            let before = last.swap(generation, Ordering::SeqCst);
            assert!(generation > before, "{generation} after {before}");
        };
        for has_scripts in [true, false] {
            let (short, long) = (member(server, SHORT).await, member(server, LONG).await);
            if !has_scripts {
                refuse_scripts(&short);
                refuse_scripts(&long);
            }
            for round in 0..3 {
                // Nobody notifies these two.
                short.clear_memory();
                long.clear_memory();
                let failed = long.get_or_load(&1, async || {
                    rises().await;
                    Err::<Option<Record<u64>>, _>(std::fmt::Error)
                });
                assert!(matches!(failed.await, Err(NearError::Loader(_))));
                let loaded = long.get_or_load(&1, async || {
                    rises().await;
                    Ok::<_, NearError>(Some(Record::new(round)))
                });
                assert_eq!(loaded.await.unwrap(), Some(round));
                assert_eq!(text(server, 1).await, None, "the turn ends with the load");
                assert!(long.remove(&1).await.unwrap());
                // One whose lease is over leaves the text to the next.
                let late = short.get_or_load(&1, async || {
                    rises().await;
                    let newer = long.get_or_load(&1, async || {
                        rises().await;
                        Ok::<_, NearError>(Some(Record::new(round + 100)))
                    });
                    assert_eq!(newer.await.unwrap(), Some(round + 100));
                    Ok::<_, NearError>(Some(Record::new(0)))
                });
                assert_eq!(late.await.unwrap(), Some(round + 100));
                assert_eq!(short.stats().late_loads, round + 1);
                assert!(long.remove(&1).await.unwrap());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_late_value_is_stored_if_nobody_has_loaded_or_changed_the_key_since() {
    with_each(async |server| {
        for has_scripts in [true, false] {
            let key = u64::from(has_scripts);
            let near = member(server, SHORT).await;
            if !has_scripts {
                refuse_scripts(&near);
            }
            let loaded = near.get_or_load(&key, async || {
                is_over(server, key).await;
                Ok::<_, NearError>(Some(Record::new(7)))
            });
            assert_eq!(loaded.await.unwrap(), Some(7));
            assert_eq!((stored(server, key).await, near.stats().late_loads), (Some(7), 0));
        }
    })
    .await;
}

/// A loader comes late, while that of a newer lease still runs. Returns what the server has when the first has ended.
async fn an_older_lease(server: &Server, key: u64, defect: Option<Defect>) -> Option<u64> {
    let (old, new) = (member(server, SHORT).await, member(server, LONG).await);
    if let Some(defect) = defect {
        old.shared.link.lease.planted.set(defect).unwrap();
    }
    let (began, newer_began, has_ended) = (Notify::new(), Notify::new(), Notify::new());
    let mut after = None;
    let late = async {
        let loaded = old.get_or_load(&key, async || {
            began.notify_one();
            newer_began.notified().await;
            Ok::<_, NearError>(Some(Record::new(1)))
        });
        assert_eq!(loaded.await.unwrap(), Some(1), "its caller gets it");
        after = stored(server, key).await;
        has_ended.notify_one();
    };
    let newer = async {
        began.notified().await;
        let loaded = new.get_or_load(&key, async || {
            newer_began.notify_one();
            has_ended.notified().await;
            Ok::<_, NearError>(Some(Record::new(2)))
        });
        loaded.await.unwrap()
    };
    let ((), newer) = tokio::join!(late, newer);
    if defect.is_none() {
        assert_eq!((newer, stored(server, key).await), (Some(2), Some(2)));
        assert_eq!((old.stats().late_loads, new.stats().late_loads), (1, 0));
    }
    after
}

#[tokio::test]
async fn the_value_of_an_older_lease_is_refused() {
    with_each(async |server| {
        assert_eq!(an_older_lease(server, 1, None).await, None);
        let stored = an_older_lease(server, 2, Some(Defect::Unfenced)).await;
        assert_eq!(stored, Some(1), "the defect is not found");
    })
    .await;
}

/// One that has no more patience loads beside the holder, in the holder's generation.
#[tokio::test]
async fn of_two_loaders_in_one_generation_the_first_stores_its_value() {
    with_each(async |server| {
        for has_scripts in [true, false] {
            let key = u64::from(has_scripts);
            let holder = member(server, LONG).await;
            let hasty = near::<u64>(&server.address())
                .load_patience(SHORT)
                .one_load_in_fleet(LONG)
                .connect()
                .await
                .unwrap();
            if !has_scripts {
                refuse_scripts(&holder);
                refuse_scripts(&hasty);
            }
            let held = holder.get_or_load(&key, async || {
                // A failure of one that does not hold the turn leaves it alone.
                let failed = hasty.get_or_load(&key, async || Err(std::fmt::Error)).await;
                assert!(matches!(failed, Err(NearError::Loader(_))), "{failed:?}");
                assert!(text(server, key).await.is_some());
                let load = async || Ok::<_, NearError>(Some(Record::new(2)));
                assert_eq!(hasty.get_or_load(&key, load).await.unwrap(), Some(2));
                assert_eq!(stored(server, key).await, Some(2));
                Ok::<_, NearError>(Some(Record::new(1)))
            });
            assert_eq!(held.await.unwrap(), Some(2), "what is there wins");
            assert_eq!((holder.stats().late_loads, hasty.stats().late_loads), (1, 0));
        }
    })
    .await;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Set(WriteMode),
    SetMany,
    SetIf,
    Remove,
    RemoveMany,
}

const CHANGES: [Change; 7] = [
    Change::Set(WriteMode::Through),
    Change::Set(WriteMode::Around),
    Change::Set(WriteMode::Behind),
    Change::SetMany,
    Change::SetIf,
    Change::Remove,
    Change::RemoveMany,
];

/// A loader has read an old value, another process changes the key, and the server loses that again: it has expired,
/// or was evicted. Returns what the server has when the loader has ended.
async fn a_change(server: &Server, change: Change, defect: Option<Defect>) -> Option<u64> {
    let () = run(&mut server.client().await, &["FLUSHALL"]).await;
    let mode = match change {
        Change::Set(mode) => mode,
        _ => WriteMode::Through,
    };
    let loading = member(server, LONG).await;
    let changing = near::<u64>(&server.address()).one_load_in_fleet(LONG).write_mode(mode);
    let changing = changing.connect().await.unwrap();
    if let Some(defect) = defect {
        changing.shared.link.lease.planted.set(defect).unwrap();
    }
    let loaded = loading.get_or_load(&1, async || {
        match change {
            Change::Set(_) => changing.set(&1, 2).await.unwrap(),
            Change::SetMany => changing.set_many([(1, 2), (3, 4)]).await.unwrap(),
            Change::SetIf => assert!(changing.set_if(&1, None, 2).await.unwrap().is_some()),
            Change::Remove => assert!(!changing.remove(&1).await.unwrap()),
            Change::RemoveMany => assert_eq!(changing.remove_many(&[1, 3]).await.unwrap(), 0),
        }
        changing.flush(LONG).await.unwrap();
        let removed: u64 = run(&mut server.client().await, &["DEL", "n:1"]).await;
        assert_eq!(removed, u64::from(!matches!(change, Change::Remove | Change::RemoveMany)));
        Ok::<_, NearError>(Some(Record::new(1)))
    });
    assert_eq!(loaded.await.unwrap(), Some(1), "its caller gets it");
    stored(server, 1).await
}

#[tokio::test]
async fn each_change_of_a_key_refuses_what_was_being_loaded() {
    with_each(async |server| {
        for change in CHANGES {
            assert_eq!(a_change(server, change, None).await, None, "{change:?}");
            let stored = a_change(server, change, Some(Defect::TurnSurvivesWrite)).await;
            assert_eq!(stored, Some(1), "the defect is not found with {change:?}");
        }
    })
    .await;
}

/// What cannot be read is replaced by what a loader finds, and a write that came meanwhile is not.
#[tokio::test]
async fn a_value_that_was_written_during_a_load_is_not_replaced_by_an_older_one() {
    with_each(async |server| {
        let (loading, writing) = (member(server, LONG).await, member(server, LONG).await);
        let () = run(&mut server.client().await, &["SET", "n:1", "not a value"]).await;
        let loaded = loading.get_or_load(&1, async || {
            writing.set(&1, 2).await.unwrap();
            Ok::<_, NearError>(Some(Record::new(1)))
        });
        assert_eq!(loaded.await.unwrap(), Some(2), "what is there wins");
        assert_eq!(stored(server, 1).await, Some(2));
    })
    .await;
}
