//! fred: commands in both protocols, pipelines, transactions, scripts, publish and subscribe, pools and tracking.
//!
//! usage: fred HOST:PORT, where nothing else uses the server

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fred::prelude::*;
use fred::types::client::ClientKillFilter;
use fred::types::scripts::Script;
use fred::types::{ExpireOptions, RespVersion};
use futures_util::TryStreamExt;
use larder_client_tests::{Outcome, PATIENCE, Report, address, wait_until};
use tokio::sync::broadcast::Receiver;

const ROUNDS: usize = 2_000;

fn builder(version: RespVersion) -> Builder {
    let config = Config::from_url(&format!("redis://{}", address())).expect("a valid address");
    let mut builder = Builder::from_config(config);
    builder
        .with_config(|config| config.version = version)
        .with_performance_config(|config| config.broadcast_channel_capacity = 4 * ROUNDS)
        .set_policy(ReconnectPolicy::new_constant(0, 10));
    builder
}

/// A connected client; the server holds nothing and has no subscribers of the scenario before.
async fn emptied(version: RespVersion) -> Result<Client, Error> {
    let client = builder(version).build()?;
    client.init().await?;
    client.flushall::<()>(false).await?;
    wait_until("earlier subscribers are gone", async || {
        let channels: Vec<String> = client.pubsub_channels("*").await.expect("an answer");
        let patterns: i64 = client.pubsub_numpat().await.expect("an answer");
        channels.is_empty() && patterns == 0
    })
    .await;
    Ok(client)
}

/// What a channel brings next, within the patience.
async fn next<T: Clone>(receiver: &mut Receiver<T>) -> T {
    let waiting = tokio::time::timeout(PATIENCE, receiver.recv());
    waiting.await.expect("it arrives in time").expect("the sender lives")
}

async fn kill(other: &Client, victim: &Client) -> Outcome {
    let ident: i64 = victim.client_id().await?;
    let killed: i64 = other.client_kill(vec![ClientKillFilter::ID(ident.to_string())]).await?;
    assert_eq!(killed, 1);
    Ok(())
}

async fn commands(version: RespVersion) -> Outcome {
    let c = emptied(version.clone()).await?;
    assert_eq!(c.ping::<String>(None).await?, "PONG");
    assert_eq!(
        c.set::<String, _, _>("k", "v", Some(Expiration::EX(100)), None, false).await?,
        "OK"
    );
    assert_eq!(c.get::<Option<String>, _>("k").await?.as_deref(), Some("v"));
    assert!([99, 100].contains(&c.ttl::<i64, _>("k").await?));
    assert_eq!(
        c.set::<Option<String>, _, _>("k", "w", None, Some(SetOptions::NX), false).await?,
        None
    );
    assert_eq!(c.set::<String, _, _>("k", "w", Some(Expiration::KEEPTTL), None, true).await?, "v");
    assert!(c.persist::<bool, _>("k").await?);
    assert_eq!(c.get::<Option<String>, _>("none").await?, None);
    c.mset(vec![("a", 1), ("b", 2)]).await?;
    assert_eq!(
        c.mget::<Vec<Option<i64>>, _>(vec!["a", "none", "b"]).await?,
        [Some(1), None, Some(2)]
    );
    assert_eq!(c.incr_by::<i64, _>("a", 41).await?, 42);
    assert_eq!(c.incr_by_float::<f64, _>("a", 0.5).await?, 42.5);
    assert_eq!(c.append::<i64, _, _>("b", "34").await?, 3);
    assert_eq!(c.getrange::<String, _>("b", 1, 2).await?, "34");
    assert_eq!(c.setrange::<i64, _, _>("b", 0, "9").await?, 3);
    assert_eq!(c.exists::<i64, _>(vec!["a", "b", "none"]).await?, 2);
    assert_eq!(c.hset::<i64, _, _>("h", vec![("x", 1), ("y", 2)]).await?, 2);
    let all: HashMap<String, i64> = c.hgetall("h").await?;
    assert_eq!(all, HashMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
    assert_eq!(c.hmget::<Vec<Option<i64>>, _, _>("h", vec!["y", "none"]).await?, [Some(2), None]);
    assert_eq!(c.hdel::<i64, _, _>("h", "x").await?, 1);
    assert_eq!(c.hlen::<i64, _>("h").await?, 1);
    assert_eq!(c.r#type::<String, _>("h").await?, "hash");
    c.rename::<(), _, _>("a", "c").await?;
    assert_eq!(c.getdel::<Option<f64>, _>("c").await?, Some(42.5));
    assert!(!c.expire::<bool, _>("none", 100, None).await?);
    assert!(!c.expire::<bool, _>("b", 100, Some(ExpireOptions::XX)).await?);
    assert!(c.pexpire::<bool, _>("b", 30, None).await?);
    wait_until("the key expires", || async {
        c.exists::<i64, _>("b").await.expect("an answer") == 0
    })
    .await;
    let wrong = c.incr::<i64, _>("h").await.expect_err("a hash is not a number");
    assert!(wrong.details().contains("WRONGTYPE"), "{wrong}");
    assert_eq!(c.get::<String, _>("k").await?, "w");
    let info: String = c.client_info().await?;
    let wanted = if version == RespVersion::RESP2 { "resp=2" } else { "resp=3" };
    assert!(info.contains(wanted), "{info}");
    c.quit().await?;
    Ok(())
}

async fn pipelines_and_transactions() -> Outcome {
    let c = emptied(RespVersion::RESP3).await?;
    let pipeline = c.pipeline();
    for n in 0..ROUNDS {
        () = pipeline.set(format!("k{n}"), n as i64, None, None, false).await?;
        () = pipeline.get(format!("k{n}")).await?;
    }
    let answers: Vec<Value> = pipeline.all().await?;
    for (n, answer) in answers.into_iter().enumerate() {
        let wanted = if n % 2 == 0 { "OK".to_owned() } else { (n / 2).to_string() };
        assert_eq!(answer.as_string().as_deref(), Some(wanted.as_str()));
    }
    let transaction = c.multi();
    () = transaction.set("a", 1, None, None, false).await?;
    () = transaction.incr("a").await?;
    () = transaction.get("a").await?;
    let (set, incremented, got): (String, i64, i64) = transaction.exec(true).await?;
    assert_eq!((set.as_str(), incremented, got), ("OK", 2, 2));
    Ok(())
}

async fn many_at_once() -> Outcome {
    emptied(RespVersion::RESP3).await?.quit().await?;
    let pool = builder(RespVersion::RESP3).build_pool(4)?;
    pool.init().await?;
    let tasks: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.incr::<i64, _>("n").await })
        })
        .collect();
    let mut seen = HashSet::new();
    for task in tasks {
        assert!(seen.insert(task.await??), "an increment came twice");
    }
    assert_eq!(pool.get::<usize, _>("n").await?, ROUNDS);
    Ok(())
}

async fn scripts() -> Outcome {
    let c = emptied(RespVersion::RESP3).await?;
    c.script_flush(false).await?;
    let script = Script::from_lua(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
    );
    () = c.set("lock", "mine", None, None, false).await?;
    assert_eq!(script.evalsha_with_reload::<i64, _, _>(&c, "lock", "theirs").await?, 0);
    assert_eq!(script.evalsha_with_reload::<i64, _, _>(&c, "lock", "mine").await?, 1);
    assert_eq!(c.exists::<i64, _>("lock").await?, 0);
    Ok(())
}

async fn scans() -> Outcome {
    let c = emptied(RespVersion::RESP3).await?;
    c.mset((0..ROUNDS).map(|n| (format!("key:{n}"), n as i64)).collect::<Vec<_>>()).await?;
    () = c.set("other", 1, None, None, false).await?;
    let found: HashSet<Key> = c.scan_buffered("key:*", Some(100), None).try_collect().await?;
    assert_eq!(found.len(), ROUNDS);
    Ok(())
}

async fn publish_and_subscribe(version: RespVersion) -> Outcome {
    let publisher = emptied(version.clone()).await?;
    let subscriber = builder(version).build_subscriber_client()?;
    subscriber.init().await?;
    let _resubscribing = subscriber.manage_subscriptions();
    let mut messages = subscriber.message_rx();
    subscriber.subscribe("news").await?;
    subscriber.psubscribe("n*").await?;
    wait_until("subscribed", || async {
        let channels: HashMap<String, i64> =
            publisher.pubsub_numsub("news").await.expect("an answer");
        let patterns: i64 = publisher.pubsub_numpat().await.expect("an answer");
        (channels["news"], patterns) == (1, 1)
    })
    .await;
    assert_eq!(publisher.publish::<i64, _, _>("news", "hello").await?, 2);
    for _ in 0..2 {
        let message = next(&mut messages).await;
        assert_eq!(
            (&*message.channel, message.value.as_string().as_deref()),
            ("news", Some("hello"))
        );
    }
    // A subscriber whose connection is lost subscribes again.
    let ids = subscriber.connection_ids();
    let ident = *ids.values().next().expect("it is connected");
    let killed: i64 = publisher.client_kill(vec![ClientKillFilter::ID(ident.to_string())]).await?;
    assert_eq!(killed, 1);
    wait_until("a message after the loss", async || {
        () = publisher.publish("news", "again").await.expect("an answer");
        let mut waiting = std::iter::from_fn(|| messages.try_recv().ok());
        waiting.any(|message| message.value.as_string().as_deref() == Some("again"))
    })
    .await;
    // A client that is only dropped stays connected.
    subscriber.quit().await?;
    Ok(())
}

async fn tracking_rounds() -> Outcome {
    let writer = emptied(RespVersion::RESP3).await?;
    let reader = builder(RespVersion::RESP3).build()?;
    reader.init().await?;
    let mut invalidations = reader.invalidation_rx();
    reader.start_tracking(None, false, false, false, false).await?;
    for n in 0..ROUNDS {
        let key = format!("k{}", n % 89);
        let _: Option<i64> = reader.get(&key).await?;
        () = writer.set(&key, n as i64, None, None, false).await?;
        assert_eq!(next(&mut invalidations).await.keys, [Key::from(key)]);
    }
    // After a lost connection, tracking has to be started again, and then works as before.
    kill(&writer, &reader).await?;
    wait_until("it is connected again", || async {
        reader.ping::<String>(None).await.is_ok_and(|pong| pong == "PONG")
    })
    .await;
    reader.start_tracking(None, false, false, false, false).await?;
    let _: Option<i64> = reader.get("again").await?;
    () = writer.set("again", 1, None, None, false).await?;
    assert_eq!(next(&mut invalidations).await.keys, [Key::from("again")]);
    Ok(())
}

async fn broadcast_rounds() -> Outcome {
    let writer = emptied(RespVersion::RESP3).await?;
    let reader = builder(RespVersion::RESP3).build()?;
    reader.init().await?;
    let mut invalidations = reader.invalidation_rx();
    reader.start_tracking("user:", true, false, false, false).await?;
    for n in 0..ROUNDS {
        () = writer.set(format!("other:{n}"), 1, None, None, false).await?;
        () = writer.set(format!("user:{n}"), 1, None, None, false).await?;
        assert_eq!(next(&mut invalidations).await.keys, [Key::from(format!("user:{n}"))]);
    }
    reader.stop_tracking().await?;
    () = writer.set("user:x", 1, None, None, false).await?;
    reader.ping::<()>(None).await?;
    let quiet = tokio::time::timeout(Duration::from_millis(1), invalidations.recv()).await;
    assert!(quiet.is_err(), "an invalidation after tracking was switched off");
    Ok(())
}

async fn a_killed_client_comes_back() -> Outcome {
    let other = emptied(RespVersion::RESP3).await?;
    let mut builder = builder(RespVersion::RESP3);
    builder.with_config(|config| config.database = Some(3));
    let client = builder.build()?;
    client.init().await?;
    () = client.set("k", "in three", None, None, false).await?;
    kill(&other, &client).await?;
    wait_until("it is connected again", || async {
        client
            .get::<Option<String>, _>("k")
            .await
            .is_ok_and(|value| value.as_deref() == Some("in three"))
    })
    .await;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut report = Report::default();
    report.run("commands in RESP2", commands(RespVersion::RESP2)).await;
    report.run("commands in RESP3", commands(RespVersion::RESP3)).await;
    report.run("pipelines and transactions", pipelines_and_transactions()).await;
    report.run("many requests at once from a pool", many_at_once()).await;
    report.run("scripts", scripts()).await;
    report.run("scans", scans()).await;
    report.run("publish and subscribe in RESP2", publish_and_subscribe(RespVersion::RESP2)).await;
    report.run("publish and subscribe in RESP3", publish_and_subscribe(RespVersion::RESP3)).await;
    report.run("every invalidation arrives", tracking_rounds()).await;
    report.run("every broadcast invalidation arrives", broadcast_rounds()).await;
    report.run("a killed client comes back to its database", a_killed_client_comes_back()).await;
    report.close()
}
