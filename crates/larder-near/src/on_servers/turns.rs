//! One load in the whole fleet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_store::Record;

use super::cluster::with_cluster;
use super::reads::futures;
use super::server::{Server, run, with_each, with_one};
use super::{LONG, near, until};
use crate::{NearBuilder, NearCache, NearError, Tracking};

async fn fleet(builder: impl Fn() -> NearBuilder<u64, u64>) -> Vec<NearCache<u64, u64>> {
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(builder().connect().await.unwrap());
    }
    members
}

async fn one_load_is_run(builder: impl Fn() -> NearBuilder<u64, u64>) {
    let members = fleet(|| builder().one_load_in_fleet(LONG).load_patience(LONG)).await;
    for key in 0..5 {
        let loads = AtomicU64::new(0);
        let load = async || {
            loads.fetch_add(1, Ordering::SeqCst);
            // Long enough that all others have asked.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, NearError>(Some(Record::new(key + 100)))
        };
        let all = members.iter().flat_map(|member| [member, member]);
        for value in futures(all.map(|member| member.get_or_load(&key, load))).await {
            assert_eq!(value.unwrap(), Some(key + 100));
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        for member in &members {
            until("all have it", async || member.get(&key).await.unwrap() == Some(key + 100)).await;
        }
    }
    // What the server says of turns makes nobody forget everything.
    assert!(members.iter().all(|member| member.stats().flushes == 0));
}

#[tokio::test]
async fn one_loader_runs_in_the_whole_fleet() {
    with_each(async |server| {
        one_load_is_run(|| near(&server.address())).await;
    })
    .await;
    with_cluster(2, 0, async |cluster| one_load_is_run(|| cluster.near()).await).await;
}

/// The holder takes longer than its turn: another one loads, and the late value is refused.
async fn a_late_load(server: &Server) {
    let builder = || near::<u64>(&server.address()).load_patience(LONG);
    // Nothing but the fence says to the one that is late that the key was changed.
    let slow = builder()
        .tracking(Tracking::Off)
        .one_load_in_fleet(Duration::from_millis(100))
        .connect()
        .await
        .unwrap();
    let fast = builder().one_load_in_fleet(LONG).connect().await.unwrap();
    let (release, released) = tokio::sync::oneshot::channel();
    let began = tokio::sync::Notify::new();
    let late = slow.get_or_load(&9, || {
        began.notify_one();
        async {
            released.await.unwrap();
            Ok::<_, NearError>(Some(Record::new(1)))
        }
    });
    let other = async {
        began.notified().await;
        let load = async || Ok::<_, NearError>(Some(Record::new(2)));
        assert_eq!(fast.get_or_load(&9, load).await.unwrap(), Some(2));
        // The value is gone again, and nobody's turn is under way.
        assert!(fast.remove(&9).await.unwrap());
        release.send(()).unwrap();
    };
    let (late, ()) = tokio::join!(late, other);
    assert_eq!(late.unwrap(), Some(1), "its caller gets it");
    assert_eq!(slow.stats().late_loads, 1);
    assert_eq!(fast.get(&9).await.unwrap(), None, "and the server does not");
}

#[tokio::test]
async fn the_value_of_a_late_holder_is_refused() {
    with_one(async |server| a_late_load(server).await).await;
}

#[tokio::test]
async fn turns_work_where_scripts_are_refused() {
    with_each(async |server| {
        let mut client = server.client().await;
        if !server.is_larder() {
            let user = ["ACL", "SETUSER", "default", "-eval", "-evalsha"];
            let () = run(&mut client, &user).await;
        }
        let members = fleet(|| near(&server.address()).one_load_in_fleet(LONG)).await;
        for (key, member) in (0..).zip(&members) {
            let load = async || Ok::<_, NearError>(Some(Record::new(key)));
            assert_eq!(member.get_or_load(&key, load).await.unwrap(), Some(key));
            assert_eq!(members[0].get(&key).await.unwrap(), Some(key));
            assert_eq!(member.stats().late_loads, 0);
        }
        // A loader that fails gives its turn back, long before its time is over.
        let failed = members[0].get_or_load(&50, async || Err(std::fmt::Error)).await;
        assert!(matches!(failed, Err(NearError::Loader(_))), "{failed:?}");
        let turns: u64 = run(&mut client, &["EXISTS", "{n:50}:larder-turn"]).await;
        assert_eq!(turns, 0);
        a_late_load(server).await;
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_fails_or_dies_leaves_its_turn_to_another_process() {
    with_one(async |server| {
        let builder = || near::<u64>(&server.address()).load_patience(LONG);
        let (here, there) = (
            builder().one_load_in_fleet(Duration::from_millis(200)).connect().await.unwrap(),
            builder().one_load_in_fleet(LONG).connect().await.unwrap(),
        );
        let failed = here.get_or_load(&1, async || Err(std::fmt::Error)).await;
        assert!(matches!(failed, Err(NearError::Loader(_))), "{failed:?}");
        let load = async || Ok::<_, NearError>(Some(Record::new(1)));
        assert_eq!(there.get_or_load(&1, load).await.unwrap(), Some(1));
        // A process that dies with the turn: its loader never ends.
        {
            let never = async || {
                std::future::pending::<()>().await;
                Ok::<_, NearError>(None)
            };
            let loads = here.stats().loads;
            let mut dead = std::pin::pin!(here.get_or_load(&2, never));
            until("the loader runs", async || {
                std::future::poll_fn(|cx| {
                    let _ = dead.as_mut().poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
                here.stats().loads > loads
            })
            .await;
        }
        let load = async || Ok::<_, NearError>(Some(Record::new(2)));
        assert_eq!(there.get_or_load(&2, load).await.unwrap(), Some(2));
        // A loader without a value, which is not remembered, leaves the turn too.
        assert_eq!(there.get_or_load(&3, async || Ok::<_, NearError>(None)).await.unwrap(), None);
        let load = async || Ok::<_, NearError>(Some(Record::new(3)));
        assert_eq!(here.get_or_load(&3, load).await.unwrap(), Some(3));
    })
    .await;
}

/// Loads, removals and writes of all processes race, and turns end before their loaders do. Each value is the number of
/// the last change of what loaders read, so one that is stored too late is found.
async fn loads_race(builder: impl Fn() -> NearBuilder<u64, u64>) {
    const KEYS: u64 = 4;
    const CALLS: u64 = 120;
    // Shorter than some of the loads.
    let turn = Duration::from_millis(4);
    let members = fleet(|| builder().one_load_in_fleet(turn).load_patience(LONG)).await;
    let truth: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(1)).collect();
    // What each process has removed older values than.
    let removed: Vec<Vec<AtomicU64>> =
        members.iter().map(|_| (0..KEYS).map(|_| AtomicU64::default()).collect()).collect();
    let call = async |number: usize, task: u64| {
        let (near, removed) = (&members[number], &removed[number]);
        let mut random = task.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for _ in 0..CALLS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (random >> 33) % KEYS;
            let (truth, removed) = (&truth[key as usize], &removed[key as usize]);
            let changes = || truth.fetch_add(1, Ordering::SeqCst) + 1;
            match (random >> 40) % 8 {
                0 => {
                    let value = changes();
                    near.remove(&key).await.unwrap();
                    removed.fetch_max(value, Ordering::SeqCst);
                }
                1 => {
                    let value = changes();
                    near.remove_many(&[key]).await.unwrap();
                    removed.fetch_max(value, Ordering::SeqCst);
                }
                _ => {
                    let floor = removed.load(Ordering::SeqCst);
                    let pause = Duration::from_micros((random >> 50) % 8_000);
                    let load = async || {
                        let value = truth.load(Ordering::SeqCst);
                        tokio::time::sleep(pause).await;
                        Ok::<_, NearError>(Some(Record::new(value)))
                    };
                    let value = near.get_or_load(&key, load).await.unwrap().unwrap();
                    assert!(value >= floor, "{value} was removed by the change {floor}");
                }
            }
        }
    };
    futures((0..members.len() * 3).map(|task| call(task % members.len(), task as u64))).await;
    let late: u64 = members.iter().map(|member| member.stats().late_loads).sum();
    assert!(late > 0, "no load was late");
    for key in 0..KEYS {
        let last = truth[key as usize].load(Ordering::SeqCst);
        for member in &members {
            until("nothing old is left", async || {
                member.get(&key).await.unwrap().is_none_or(|value| value == last)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn loads_that_race_with_removals_leave_nothing_old() {
    with_each(async |server| loads_race(|| near(&server.address())).await).await;
    with_cluster(2, 0, async |cluster| loads_race(|| cluster.near()).await).await;
}

/// The server has nothing to remove, so it notifies nobody, and the loader of another process has an old value.
#[tokio::test]
async fn a_removal_of_nothing_ends_the_turn_of_another_process() {
    with_each(async |server| {
        let builder = || near::<u64>(&server.address()).one_load_in_fleet(LONG).connect();
        let (here, there) = (builder().await.unwrap(), builder().await.unwrap());
        for has_many in [false, true] {
            let load = async || {
                let removed = if has_many {
                    there.remove_many(&[1]).await.unwrap() > 0
                } else {
                    there.remove(&1).await.unwrap()
                };
                assert!(!removed, "the turn of a key is no value");
                Ok::<_, NearError>(Some(Record::new(7)))
            };
            assert_eq!(here.get_or_load(&1, load).await.unwrap(), Some(7), "its caller gets it");
            assert_eq!(there.get(&1).await.unwrap(), None, "and the server does not");
        }
        assert_eq!(here.stats().late_loads, 2);
    })
    .await;
}

/// A loader that will never end is as good as one that has failed: its turn is given back, long before its end.
#[tokio::test]
async fn a_loader_that_is_dropped_or_panics_gives_its_turn_back() {
    with_each(async |server| {
        let member = || near::<u64>(&server.address()).one_load_in_fleet(LONG).load_patience(LONG);
        let (one, other) = (member().connect().await.unwrap(), member().connect().await.unwrap());
        let began = std::time::Instant::now();
        let load = async || Ok::<_, NearError>(Some(Record::new(7)));
        for key in 0..2 {
            let runs = std::sync::Arc::new(tokio::sync::Notify::new());
            let (near, running) = (one.clone(), std::sync::Arc::clone(&runs));
            let task = tokio::spawn(async move {
                let load = async || {
                    running.notify_one();
                    assert_eq!(key, 0, "a panic of the loader's own");
                    std::future::pending::<Result<_, NearError>>().await
                };
                near.get_or_load(&key, load).await
            });
            runs.notified().await;
            task.abort();
            assert!(task.await.is_err());
            assert_eq!(other.get_or_load(&key, load).await.unwrap(), Some(7));
        }
        assert!(began.elapsed() < LONG, "they have waited for the ends of the turns");
    })
    .await;
}
