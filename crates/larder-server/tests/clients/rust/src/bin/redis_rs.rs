//! redis-rs: commands in both protocols, transactions, scripts, publish and subscribe, its own cache, and a
//! near cache of the right kind on top of it, which must be free of stale values.
//!
//! usage: redis_rs HOST:PORT, where nothing else uses the server

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use larder_client_tests::{Outcome, Report, address, wait_until};
use redis::aio::{ConnectionManagerConfig, MultiplexedConnection};
use redis::caching::CacheConfig;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, Commands, ErrorKind, PushInfo, PushKind,
    RedisResult, Script, ServerErrorKind, Value,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const ROUNDS: usize = 2_000;

fn client(protocol: u8) -> Client {
    Client::open(format!("redis://{}/?protocol={protocol}", address())).expect("a valid address")
}

/// A connection to a server that holds nothing and has no subscribers: the server notices only after a while
/// that the connections of the scenario before are closed.
async fn emptied(protocol: u8) -> RedisResult<MultiplexedConnection> {
    let mut connection = client(protocol).get_multiplexed_async_connection().await?;
    redis::cmd("FLUSHALL").exec_async(&mut connection).await?;
    let asking = connection.clone();
    wait_until("earlier subscribers are gone", || {
        let mut asking = asking.clone();
        async move {
            let (channels, patterns): (Vec<String>, usize) = redis::pipe()
                .cmd("PUBSUB")
                .arg("CHANNELS")
                .cmd("PUBSUB")
                .arg("NUMPAT")
                .query_async(&mut asking)
                .await
                .expect("an answer");
            channels.is_empty() && patterns == 0
        }
    })
    .await;
    Ok(connection)
}

// ---------------------------------------------------------------- commands

async fn commands(protocol: u8) -> Outcome {
    let mut c = emptied(protocol).await?;
    assert_eq!(redis::cmd("PING").query_async::<String>(&mut c).await?, "PONG");
    let options = redis::SetOptions::default().with_expiration(redis::SetExpiry::EX(100));
    assert_eq!(c.set_options::<_, _, String>("k", "v", options).await?, "OK");
    assert_eq!(c.get::<_, Option<String>>("k").await?.as_deref(), Some("v"));
    assert!([99, 100].contains(&c.ttl::<_, i64>("k").await?));
    assert_eq!(c.get::<_, Option<String>>("none").await?, None);
    let binary: Vec<u8> = (0..=255).collect();
    () = c.set(&binary, &binary).await?;
    assert_eq!(c.get::<_, Vec<u8>>(&binary).await?, binary);
    () = c.mset(&[("a", 1), ("b", 2)]).await?;
    assert_eq!(c.mget::<_, Vec<Option<i64>>>(&["a", "none", "b"]).await?, [Some(1), None, Some(2)]);
    assert_eq!(c.incr::<_, _, i64>("a", 41).await?, 42);
    assert_eq!(c.incr::<_, _, f64>("a", 0.5).await?, 42.5);
    assert_eq!(c.append::<_, _, usize>("b", "34").await?, 3);
    assert_eq!(c.getrange::<_, String>("b", 1, -1).await?, "34");
    assert_eq!(c.exists::<_, usize>(&["a", "b", "none"]).await?, 2);
    assert_eq!(c.hset_multiple::<_, _, _, String>("h", &[("x", 1), ("y", 2)]).await?, "OK");
    assert_eq!(c.hget::<_, _, Option<i64>>("h", "x").await?, Some(1));
    let all: HashMap<String, i64> = c.hgetall("h").await?;
    assert_eq!(all, HashMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
    assert_eq!(c.hlen::<_, usize>("h").await?, 2);
    assert_eq!(c.hdel::<_, _, usize>("h", &["x", "none"]).await?, 1);
    assert_eq!(c.rename::<_, _, String>("a", "c").await?, "OK");
    assert_eq!(c.get_del::<_, Option<f64>>("c").await?, Some(42.5));
    assert!(c.pexpire::<_, bool>("b", 30).await?);
    let other = c.clone();
    wait_until("the key expires", || {
        let mut c = other.clone();
        async move { !c.exists::<_, bool>("b").await.expect("an answer") }
    })
    .await;
    let wrong = c.incr::<_, _, i64>("h", 1).await.expect_err("a hash is not a number");
    assert_eq!(wrong.code(), Some("WRONGTYPE"), "{wrong}");
    let unknown =
        redis::cmd("NOSUCH").query_async::<Value>(&mut c).await.expect_err("no such command");
    assert_eq!(unknown.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    assert_eq!(c.get::<_, String>("k").await?, "v");
    let info: String = redis::cmd("CLIENT").arg("INFO").query_async(&mut c).await?;
    assert!(info.contains(&format!("resp={protocol}")), "{info}");
    Ok(())
}

async fn many_at_once() -> Outcome {
    let connection = emptied(3).await?;
    let tasks: Vec<_> = (0..ROUNDS)
        .map(|n| {
            let mut connection = connection.clone();
            tokio::spawn(async move {
                () = connection.set(format!("k{n}"), n).await?;
                connection.get::<_, usize>(format!("k{n}")).await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await??, n);
    }
    Ok(())
}

async fn pipelines_and_transactions() -> Outcome {
    let mut c = emptied(3).await?;
    let mut pipeline = redis::pipe();
    for n in 0..ROUNDS {
        pipeline.set(format!("k{n}"), n).ignore().get(format!("k{n}"));
    }
    let values: Vec<usize> = pipeline.query_async(&mut c).await?;
    assert_eq!(values, (0..ROUNDS).collect::<Vec<_>>());
    let (set, incremented, got): (String, i64, i64) =
        redis::pipe().atomic().set("a", 1).incr("a", 1).get("a").query_async(&mut c).await?;
    assert_eq!((set.as_str(), incremented, got), ("OK", 2, 2));
    Ok(())
}

async fn watched_counters() -> Outcome {
    drop(emptied(3).await?);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| -> RedisResult<()> {
                let mut connection = client(2).get_connection()?;
                for _ in 0..50 {
                    let _: Vec<Value> =
                        redis::transaction(&mut connection, &["n"], |connection, pipeline| {
                            let value: i64 = connection.get::<_, Option<i64>>("n")?.unwrap_or(0);
                            pipeline.set("n", value + 1).query(connection)
                        })?;
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic")?;
    }
    assert_eq!(client(2).get_connection()?.get::<_, i64>("n")?, 200);
    Ok(())
}

async fn scripts() -> Outcome {
    let mut c = emptied(3).await?;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut c).await?;
    let script = Script::new(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
    );
    () = c.set("lock", "mine").await?;
    assert_eq!(script.key("lock").arg("theirs").invoke_async::<i64>(&mut c).await?, 0);
    assert_eq!(script.key("lock").arg("mine").invoke_async::<i64>(&mut c).await?, 1);
    assert!(!c.exists::<_, bool>("lock").await?);
    Ok(())
}

async fn scans() -> Outcome {
    let mut c = emptied(3).await?;
    let pairs: Vec<_> = (0..ROUNDS).map(|n| (format!("key:{n}"), n)).collect();
    () = c.mset(&pairs).await?;
    () = c.set("other", 1).await?;
    let found: Vec<String> =
        c.scan_match::<_, String>("key:*").await?.map(|key| key.expect("a key")).collect().await;
    assert_eq!(found.into_iter().collect::<HashSet<_>>().len(), ROUNDS);
    Ok(())
}

// ---------------------------------------------------------------- publish and subscribe

async fn subscribe_in_resp2() -> Outcome {
    let mut publisher = emptied(2).await?;
    let mut subscriber = client(2).get_async_pubsub().await?;
    subscriber.subscribe("news").await?;
    subscriber.psubscribe("n*").await?;
    assert_eq!(publisher.publish::<_, _, usize>("news", "hello").await?, 2);
    let mut messages = subscriber.on_message();
    for pattern in [None, Some("n*")] {
        let message = messages.next().await.expect("a message");
        assert_eq!(
            (message.get_channel_name(), message.get_payload::<String>()?.as_str()),
            ("news", "hello")
        );
        assert_eq!(message.get_pattern::<Option<String>>()?.as_deref(), pattern);
    }
    Ok(())
}

async fn subscribe_in_resp3_and_again_after_a_loss() -> Outcome {
    let mut publisher = emptied(3).await?;
    let (sender, mut pushes) = unbounded_channel();
    let config = ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(5))
        .set_push_sender(sender)
        .set_automatic_resubscription();
    let mut manager = client(3).get_connection_manager_with_config(config).await?;
    let ident: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut manager).await?;
    manager.subscribe("news").await?;
    assert_eq!(publisher.publish::<_, _, usize>("news", "one").await?, 1);
    message(&mut pushes, "one").await;
    let killed: usize =
        redis::cmd("CLIENT").arg("KILL").arg("ID").arg(ident).query_async(&mut publisher).await?;
    assert_eq!(killed, 1);
    wait_until("a message after the loss", async || {
        // The manager notices the loss when it is used.
        let _ = redis::cmd("PING").query_async::<Value>(&mut manager).await;
        () = publisher.publish("news", "two").await.expect("an answer");
        let mut waiting = std::iter::from_fn(|| pushes.try_recv().ok());
        waiting.any(|push| push.kind == PushKind::Message && push.data.last() == Some(&bulk("two")))
    })
    .await;
    Ok(())
}

/// Waits for the message among other pushes.
async fn message(pushes: &mut UnboundedReceiver<PushInfo>, text: &str) {
    loop {
        let push = pushes.recv().await.expect("the sender lives");
        if push.kind == PushKind::Message {
            assert_eq!(push.data, [bulk("news"), bulk(text)]);
            return;
        }
    }
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

// ---------------------------------------------------------------- near caches

async fn own_cache() -> Outcome {
    let mut writer = emptied(3).await?;
    let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::default());
    let mut reader = client(3).get_multiplexed_async_connection_with_config(&config).await?;
    () = writer.set("k", "1").await?;
    for _ in 0..10 {
        assert_eq!(reader.get::<_, String>("k").await?, "1");
    }
    let statistics = reader.get_cache_statistics().expect("a cache is configured");
    assert_eq!((statistics.hit, statistics.miss), (9, 1));
    for n in 0..ROUNDS {
        () = writer.set("k", n).await?;
        let cached = reader.clone();
        wait_until("the change is seen", || {
            let mut reader = cached.clone();
            async move { reader.get::<_, usize>("k").await.expect("an answer") == n }
        })
        .await;
    }
    redis::cmd("FLUSHALL").exec_async(&mut writer).await?;
    wait_until("the flush is seen", || {
        let mut reader = reader.clone();
        async move { reader.get::<_, Option<usize>>("k").await.expect("an answer").is_none() }
    })
    .await;
    Ok(())
}

async fn tracking_rounds() -> Outcome {
    let mut writer = emptied(3).await?;
    let (sender, mut pushes) = unbounded_channel();
    let config = AsyncConnectionConfig::new().set_push_sender(sender);
    let mut reader = client(3).get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut reader).await?;
    for n in 0..ROUNDS {
        let key = format!("k{}", n % 89);
        let _: Option<usize> = reader.get(&key).await?;
        () = writer.set(&key, n).await?;
        let push = pushes.recv().await.expect("an invalidation");
        assert_eq!(
            (push.kind, push.data),
            (PushKind::Invalidate, vec![Value::Array(vec![bulk(&key)])])
        );
    }
    let _: Option<usize> = reader.get("k0").await?;
    redis::cmd("FLUSHALL").exec_async(&mut writer).await?;
    let push = pushes.recv().await.expect("a flush");
    assert_eq!((push.kind, push.data), (PushKind::Invalidate, vec![Value::Nil]));
    Ok(())
}

/// What a near cache knows of a key.
enum Near {
    /// A reader has asked the server and may fill the entry, as long as it is still this one.
    Reserved(u64),
    Filled(usize),
}

/// A near cache that cannot keep a stale value: an invalidation removes values and reservations alike, and a
/// reader whose reservation is gone does not fill.
#[derive(Default)]
struct NearCache {
    entries: Mutex<HashMap<String, Near>>,
    next: AtomicU64,
    refused: AtomicU64,
    invalidations: AtomicU64,
}

impl NearCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Near>> {
        self.entries.lock().expect("no panic while it is held")
    }

    fn handle(&self, push: &PushInfo) {
        match (&push.kind, push.data.first()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                self.invalidations.fetch_add(keys.len() as u64, Ordering::Relaxed);
                for key in keys {
                    let key: String = redis::from_redis_value_ref(key).expect("keys are text here");
                    self.lock().remove(&key);
                }
            }
            (PushKind::Invalidate | PushKind::Disconnection, _) => self.lock().clear(),
            _ => {}
        }
    }

    /// The value of a key: the copy, or what the server says.
    async fn get(&self, connection: &mut MultiplexedConnection, key: &str) -> RedisResult<usize> {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        match self.lock().entry(key.to_owned()).or_insert(Near::Reserved(token)) {
            Near::Filled(value) => return Ok(*value),
            Near::Reserved(_) => {}
        }
        let value: usize = connection.get(key).await?;
        match self.lock().get_mut(key) {
            Some(entry) if matches!(*entry, Near::Reserved(kept) if kept == token) => {
                *entry = Near::Filled(value)
            }
            _ => _ = self.refused.fetch_add(1, Ordering::Relaxed),
        }
        Ok(value)
    }
}

/// A connection whose pushes change the cache. What an earlier connection brought is dropped.
async fn tracked(cache: &Arc<NearCache>) -> RedisResult<MultiplexedConnection> {
    let listening = Arc::clone(cache);
    let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| {
        listening.handle(&push);
        Ok::<_, redis::aio::SendError>(())
    });
    let mut connection = client(3).get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut connection).await?;
    cache.lock().clear();
    Ok(connection)
}

async fn nothing_is_stale_after_a_quiet_period() -> Outcome {
    let mut writer = emptied(3).await?;
    let pairs: Vec<_> = (0..ROUNDS).map(|n| (format!("key:{n}"), 0)).collect();
    () = writer.mset(&pairs).await?;
    let cache = Arc::new(NearCache::default());
    let mut generation = 0;
    let mut connection = tracked(&cache).await?;
    for round in 1..=5_usize {
        let writing = tokio::spawn({
            let mut writer = writer.clone();
            async move {
                for n in 0..ROUNDS {
                    // Keys are visited in an order that readers do not share.
                    () = writer.set(format!("key:{}", n * 7 % ROUNDS), round * ROUNDS + n).await?;
                }
                RedisResult::Ok(())
            }
        });
        let readers: Vec<_> = (0..4_usize)
            .map(|reader| {
                let (cache, mut connection) = (Arc::clone(&cache), connection.clone());
                tokio::spawn(async move {
                    for n in 0..ROUNDS {
                        // Once the connection is killed, the rest of the round fails; that is what is tried.
                        let _ = cache
                            .get(&mut connection, &format!("key:{}", (n * 7 + reader) % ROUNDS))
                            .await;
                    }
                })
            })
            .collect();
        if round % 2 == 0 {
            let ident: Option<i64> = redis::cmd("CLIENT")
                .arg("ID")
                .query_async(&mut connection)
                .await
                .unwrap_or_default();
            if let Some(ident) = ident {
                redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("ID")
                    .arg(ident)
                    .exec_async(&mut writer)
                    .await?;
                generation += 1;
            }
        }
        for reader in readers {
            reader.await?;
        }
        if round % 2 == 0 {
            connection = tracked(&cache).await?;
        }
        writing.await??;
    }
    assert_eq!(generation, 2, "the connection was lost twice");
    // Every key is read once more, so that the cache is full, while the last writes are over.
    for n in 0..ROUNDS {
        cache.get(&mut connection, &format!("key:{n}")).await?;
    }
    redis::cmd("PING").exec_async(&mut connection).await?;
    let names: Vec<_> = pairs.into_iter().map(|(name, _)| name).collect();
    let truth: Vec<usize> = writer.mget(&names).await?;
    let mut stale = Vec::new();
    for (name, truth) in names.iter().zip(truth) {
        if cache.get(&mut connection, name).await? != truth {
            stale.push(name);
        }
    }
    let told = cache.invalidations.load(Ordering::Relaxed);
    println!(
        "near cache: {told} invalidations, {} late fills refused",
        cache.refused.load(Ordering::Relaxed)
    );
    assert!(stale.is_empty(), "{} stale values: {stale:?}", stale.len());
    assert!(told > 0, "no invalidation arrived");
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut report = Report::default();
    report.run("commands in RESP2", commands(2)).await;
    report.run("commands in RESP3", commands(3)).await;
    report.run("many requests at once on one connection", many_at_once()).await;
    report.run("pipelines and transactions", pipelines_and_transactions()).await;
    report.run("watched counters lose no increment", watched_counters()).await;
    report.run("scripts", scripts()).await;
    report.run("scans", scans()).await;
    report.run("publish and subscribe in RESP2", subscribe_in_resp2()).await;
    report
        .run(
            "publish and subscribe in RESP3, over a lost connection",
            subscribe_in_resp3_and_again_after_a_loss(),
        )
        .await;
    report.run("its own cache sees every change", own_cache()).await;
    report.run("every invalidation arrives", tracking_rounds()).await;
    report
        .run(
            "nothing is stale after a quiet period, with reconnects",
            nothing_is_stale_after_a_quiet_period(),
        )
        .await;
    report.close()
}
