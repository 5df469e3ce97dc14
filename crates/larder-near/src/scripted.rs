//! Servers whose answers a test decides, one call at a time: what becomes of writes that wait when a server takes some,
//! and refuses others or does not answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::TransportError;
use crate::transport::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Reply, Tracking, Transport,
    TransportFuture,
};
use crate::{NearBuilder, NearCache, NearError, WriteMode};

/// Longer than anything that a test waits for.
const LONG: Duration = Duration::from_secs(60);
/// So long a call waits that is never answered.
const SHORT: Duration = Duration::from_millis(50);

/// What becomes of a call.
enum Fate {
    Answered,
    Unanswered,
    Failed,
}

type Rule = dyn Fn(&[Command]) -> Fate + Send + Sync;

#[derive(Clone)]
struct Scripted {
    values: Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>,
    rule: Arc<Rule>,
}

impl Scripted {
    fn new(rule: impl Fn(&[Command]) -> Fate + Send + Sync + 'static) -> Self {
        Self { values: Arc::default(), rule: Arc::new(rule) }
    }

    /// A near cache that writes behind.
    fn behind(&self) -> NearBuilder<u64, u64> {
        NearCache::builder()
            .transport(self.clone())
            .write_mode(WriteMode::Behind)
            .max_stale(LONG)
            .call_timeout(SHORT)
    }

    fn has(&self, key: &str) -> bool {
        self.values.lock().unwrap().contains_key(key.as_bytes())
    }

    fn reply(&self, command: &Command) -> Reply {
        let mut values = self.values.lock().unwrap();
        let parts: Vec<&[u8]> = command.parts().collect();
        match parts[..] {
            [b"SET", name, value, ..] => {
                values.insert(name.to_vec(), value.to_vec());
                Reply::Status("OK".to_owned())
            }
            [b"GET", name] => value(&values, name),
            [b"MGET", ref names @ ..] => {
                Reply::Array(names.iter().map(|name| value(&values, name)).collect())
            }
            [b"PTTL", name] => Reply::Integer(if values.contains_key(name) { -1 } else { -2 }),
            [b"DEL", name] => Reply::Integer(values.remove(name).is_some().into()),
            _ => Reply::Status("PONG".to_owned()),
        }
    }
}

fn value(values: &HashMap<Vec<u8>, Vec<u8>>, name: &[u8]) -> Reply {
    values.get(name).map_or(Reply::Nil, |value| Reply::Bytes(value.clone()))
}

impl Transport for Scripted {
    fn open<'t>(
        &'t self,
        _: Option<&'t NodeAddress>,
        _: &'t Tracking,
        _: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened> {
        let connection = Arc::new(self.clone());
        Box::pin(async { Ok(Opened { connection: connection as _, tracked: Ok(()) }) })
    }
}

impl NearConnection for Scripted {
    fn call(&self, commands: Vec<Command>) -> TransportFuture<'_, Vec<Reply>> {
        Box::pin(async move {
            match (self.rule)(&commands) {
                Fate::Answered => Ok(commands.iter().map(|it| self.reply(it)).collect()),
                Fate::Unanswered => std::future::pending().await,
                Fate::Failed => Err(TransportError::new(std::fmt::Error)),
            }
        })
    }
}

fn writes(commands: &[Command], key: &str) -> bool {
    commands.iter().any(|it| it.name() == b"SET" && it.parts().nth(1) == Some(key.as_bytes()))
}

/// Large values over a slow network: so many at once take longer than a call may. To send them again in the same way
/// would never end.
#[tokio::test]
async fn a_batch_that_takes_too_long_is_sent_in_parts() {
    let server = Scripted::new(|commands| match commands.len() {
        0..10 => Fate::Answered,
        _ => Fate::Unanswered,
    });
    let near = server.behind().connect().await.unwrap();
    near.set_many((0..128).map(|key| (key, key))).await.unwrap();
    near.flush(LONG).await.unwrap();
    assert!((0..128).all(|key| server.has(&key.to_string())));
    assert_eq!(near.stats().lost_writes, 0);
}

#[tokio::test]
async fn a_write_that_finds_no_room_keeps_no_other_of_its_call_from_being_accepted() {
    let server = Scripted::new(|commands| match commands[0].name() {
        b"SET" => Fate::Failed,
        _ => Fate::Answered,
    });
    let near = server.behind().max_pending_writes(2).connect().await.unwrap();
    near.set_many([(0, 0), (1, 1)]).await.unwrap();
    let began = std::time::Instant::now();
    let many = (2..1000).map(|key| (key, 7)).chain([(1, 11)]);
    let full = near.set_many(many).await;
    assert!(matches!(full, Err(NearError::TooManyPending { limit: 2 })), "{full:?}");
    assert_eq!(near.get_many(&[0, 1, 2]).await.unwrap(), [Some(0), Some(11), None]);
    // All of them wait together as long as one does.
    assert!(began.elapsed() < SHORT * 100, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_write_that_cannot_be_sent_keeps_no_other_key_from_being_removed() {
    let server = Scripted::new(|commands| match writes(commands, "1") {
        true => Fate::Failed,
        false => Fate::Answered,
    });
    let near = server.behind().connect().await.unwrap();
    near.set_many([(2, 2), (3, 3)]).await.unwrap();
    near.flush(LONG).await.unwrap();
    near.set(&1, 1).await.unwrap();
    let began = std::time::Instant::now();
    let keys: Vec<u64> =
        [2, 1].into_iter().chain(std::iter::repeat_n(1, 1000)).chain([3]).collect();
    let failed = near.remove_many(&keys).await;
    assert!(matches!(failed, Err(NearError::TimedOut { .. })), "{failed:?}");
    assert!(!server.has("2") && !server.has("3"), "they were removed");
    assert_eq!(near.get(&1).await.unwrap(), Some(1), "its write waits as before");
    assert!(began.elapsed() < SHORT * 100, "{:?}", began.elapsed());
}

/// The tasks end with the runtime, without a word.
#[test]
fn writes_that_wait_when_the_runtime_ends_are_told_and_no_more_are_accepted() {
    let server = Scripted::new(|commands| match commands[0].name() {
        b"SET" => Fate::Unanswered,
        _ => Fate::Answered,
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let builder = server.behind().on_lost_write(move |key, error| {
        assert!(matches!(error, NearError::Closed), "{error:?}");
        telling.lock().unwrap().push(*key);
    });
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let near = first.block_on(async {
        let near = builder.connect().await.unwrap();
        for key in 0..3 {
            near.set(&key, key).await.unwrap();
        }
        near
    });
    drop(first);
    told.lock().unwrap().sort_unstable();
    assert_eq!(*told.lock().unwrap(), [0, 1, 2]);
    let stats = near.stats();
    assert_eq!((stats.lost_writes, stats.pending_writes), (3, 0));
    runtime().block_on(async {
        let late = near.set(&3, 3).await;
        assert!(matches!(late, Err(NearError::Closed)), "{late:?}");
        let lost = near.flush(LONG).await;
        assert!(matches!(lost, Err(NearError::Closed)), "{lost:?}");
    });
}

/// The thread of the connection ends with the last handle.
#[test]
fn writes_that_wait_when_a_blocking_cache_is_dropped_are_told() {
    let server = Scripted::new(|commands| match commands[0].name() {
        b"SET" => Fate::Unanswered,
        _ => Fate::Answered,
    });
    let (tell, told) = std::sync::mpsc::channel();
    let builder = server.behind().call_timeout(LONG).on_lost_write(move |key, error| {
        assert!(matches!(error, NearError::Closed), "{error:?}");
        tell.send(*key).unwrap();
    });
    let near = builder.connect_blocking().unwrap();
    near.set(&7, 7).unwrap();
    drop(near);
    assert_eq!(told.recv_timeout(LONG), Ok(7));
}

#[test]
fn what_memory_knows_is_answered_within_a_runtime_too() {
    let server = Scripted::new(|_| Fate::Answered);
    let builder = server.behind().write_mode(WriteMode::Around).call_timeout(LONG).count_hits();
    let near = builder.connect_blocking().unwrap();
    near.set_many([(1, 10), (2, 20)]).unwrap();
    assert_eq!(near.get_many(&[1, 2]).unwrap(), [Some(10), Some(20)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(near.get(&1).unwrap(), Some(10));
        assert_eq!(near.get_many(&[2, 1, 2]).unwrap(), [Some(20), Some(10), Some(20)]);
        assert_eq!(near.get_many(&[]).unwrap(), []);
        let load = || Err::<Option<_>, _>(std::fmt::Error);
        assert_eq!(near.get_or_load(&1, load).unwrap(), Some(10));
        let unknown = near.get_many(&[1, 3]);
        assert!(matches!(unknown, Err(NearError::WithinRuntime)), "{unknown:?}");
    });
    assert_eq!(near.stats().hits, Some(6), "each once, and that of the call that failed");
}

#[tokio::test]
async fn each_read_is_counted_where_it_was_answered() {
    let server = Scripted::new(|_| Fate::Answered);
    let near = server.behind().write_mode(WriteMode::Around).call_timeout(LONG).count_hits();
    let near = near.connect().await.unwrap();
    // Memory knows that there is nothing, which answers the second read and not the load.
    assert_eq!(near.get(&1).await.unwrap(), None);
    assert_eq!(near.get(&1).await.unwrap(), None);
    let none = near.get_or_load(&1, async || Ok::<_, NearError>(None)).await;
    assert_eq!(none.unwrap(), None);
    let stats = near.stats();
    assert_eq!((stats.hits, stats.server_misses, stats.loads), (Some(1), 2, 1), "{stats:?}");
    // Several times the same key, as callers have it.
    near.set_many([(2, 2), (3, 3)]).await.unwrap();
    let found = near.get_many(&[2, 3, 2, 4, 2, 4]).await.unwrap();
    assert_eq!(found, [Some(2), Some(3), Some(2), None, Some(2), None]);
    let after = near.stats();
    assert_eq!(after.fills_refused, 0, "no key was changed: {after:?}");
    let answered =
        |it: &crate::NearStats| it.hits.unwrap() + it.server_hits + it.server_misses + it.shared;
    assert_eq!(answered(&after) - answered(&stats), 6, "{after:?}");
    assert_eq!(near.get_many(&[2, 3, 4]).await.unwrap(), [Some(2), Some(3), None]);
    assert_eq!(near.stats().hits, Some(4));
}
