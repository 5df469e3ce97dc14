//! Conditional writes.

use std::sync::atomic::Ordering;

use larder_store::Record;

use super::reads::futures;
use super::server::{Server, run, with_each, with_one};
use super::{near, until};
use crate::{NearCache, NearError};

#[tokio::test]
async fn a_conditional_write_needs_the_version_that_was_seen() {
    with_each(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        conditional_writes(server, &near).await;
        let mut client = server.client().await;
        let mut eval = redis::cmd("EVAL");
        let eval: redis::RedisResult<u64> =
            eval.arg("return 1").arg(0).query_async(&mut client).await;
        let has_no_scripts = near.shared.comparing.has_no_scripts.load(Ordering::SeqCst);
        assert_eq!(has_no_scripts, eval.is_err(), "{eval:?}");
        // The same without scripts, whether or not the server has them.
        let () = run(&mut client, &["FLUSHALL"]).await;
        let near = super::near::<u64>(&server.address()).connect().await.unwrap();
        near.shared.comparing.has_no_scripts.store(true, Ordering::SeqCst);
        conditional_writes(server, &near).await;
    })
    .await;
}

/// The connection over which keys are watched is kept, and ends with the server.
#[tokio::test]
async fn a_conditional_write_survives_a_server_that_was_started_again() {
    with_each(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        near.shared.comparing.has_no_scripts.store(true, Ordering::SeqCst);
        assert!(near.set_if(&1, None, 1).await.unwrap().is_some());
        server.kill();
        until("the loss", async || near.stats().losses == 1).await;
        server.start_again().await;
        until("it is connected", async || near.stats().connects == 2).await;
        assert!(near.set_if(&1, None, 2).await.unwrap().is_some());
        assert_eq!(near.get(&1).await.unwrap(), Some(2));
    })
    .await;
}

async fn conditional_writes(server: &Server, near: &NearCache<u64, u64>) {
    assert_eq!(near.get_with_version(&1).await.unwrap(), (None, None));
    let first = near.set_if(&1, None, 10).await.unwrap().expect("nothing was there");
    assert_eq!(near.set_if(&1, None, 11).await.unwrap(), None);
    assert_eq!(near.get(&1).await.unwrap(), Some(10));
    assert_eq!(near.get_with_version(&1).await.unwrap(), (Some(10), Some(first.clone())));
    let second = near.set_if(&1, Some(&first), 20).await.unwrap().expect("it was unchanged");
    assert_eq!(near.get(&1).await.unwrap(), Some(20));
    assert_eq!(near.set_if(&1, Some(&first), 30).await.unwrap(), None);
    // The same value again is another version.
    near.set(&1, 20).await.unwrap();
    assert_eq!(near.set_if(&1, Some(&second), 30).await.unwrap(), None);
    let record = Record::new(40).ttl(std::time::Duration::from_secs(1000));
    let (_, version) = near.get_with_version(&1).await.unwrap();
    assert!(near.set_if(&1, version.as_ref(), record).await.unwrap().is_some());
    let left: i64 = run(&mut server.client().await, &["PTTL", "n:1"]).await;
    assert!((900_000..=1_000_000).contains(&left), "{left}");
    let () = run(&mut server.client().await, &["SET", "n:2", "x"]).await;
    let (value, version) = near.get_with_version(&2).await.unwrap();
    assert!(value.is_none() && version.is_some(), "it is there, and no value");
    assert_eq!(near.set_if(&2, None, 1).await.unwrap(), None);
    assert!(near.set_if(&2, version.as_ref(), 1).await.unwrap().is_some());
    // Short values of other programs are compared as a whole.
    let () = run(&mut server.client().await, &["SET", "n:3", "12"]).await;
    let (_, version) = near.get_with_version(&3).await.unwrap();
    let () = run(&mut server.client().await, &["SET", "n:3", "13"]).await;
    assert_eq!(near.set_if(&3, version.as_ref(), 1).await.unwrap(), None);
}

/// A user who may run scripts, and not what they call, is refused; afterwards scripts are used as before.
#[tokio::test]
async fn a_refusal_of_what_a_script_does_is_none_of_scripts() {
    with_one(async |server| {
        if server.is_larder() {
            return;
        }
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        let mut client = server.client().await;
        let () = run(&mut client, &["ACL", "SETUSER", "default", "-set"]).await;
        let refused = near.set_if(&1, None, 1).await;
        assert!(
            matches!(&refused, Err(NearError::Refused(it)) if it.contains("script")),
            "{refused:?}"
        );
        let () = run(&mut client, &["ACL", "SETUSER", "default", "+set"]).await;
        assert!(near.set_if(&1, None, 1).await.unwrap().is_some());
        let has_no_scripts = near.shared.comparing.has_no_scripts.load(Ordering::SeqCst);
        assert!(!has_no_scripts, "they were taken for refused");
    })
    .await;
}

/// Each increment is one that no other has overwritten, also where the server has no scripts.
#[tokio::test]
async fn increments_by_conditional_writes_are_never_lost() {
    with_one(async |server| {
        for has_scripts in [true, false] {
            let mut client = server.client().await;
            let () = run(&mut client, &["FLUSHALL"]).await;
            if !has_scripts && !server.is_larder() {
                let () = run(&mut client, &["ACL", "SETUSER", "default", "-eval"]).await;
            }
            let (here, there) = (
                near::<u64>(&server.address()).connect().await.unwrap(),
                near::<u64>(&server.address()).connect().await.unwrap(),
            );
            let increment = async |near: &NearCache<u64, u64>| {
                for _ in 0..25 {
                    loop {
                        let (value, version) = near.get_with_version(&1).await.unwrap();
                        let next = value.unwrap_or(0) + 1;
                        if near.set_if(&1, version.as_ref(), next).await.unwrap().is_some() {
                            break;
                        }
                    }
                }
            };
            let all = [&here, &there, &here, &there];
            futures(all.iter().map(|near| increment(near))).await;
            assert_eq!(here.get(&1).await.unwrap(), Some(100), "with scripts: {has_scripts}");
        }
    })
    .await;
}
