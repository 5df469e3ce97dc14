//! Servers that answer anything at all: every call returns, and none panics, whatever comes back.
//!
//! `LARDER_NEAR_GARBAGE` is how many rounds there are, 40 by default; each has a seed of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_store::Record;

use crate::error::TransportError;
use crate::transport::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Redirect, RedirectKind, Reply,
    Tracking, Transport, TransportFuture,
};
use crate::{NearCache, NearError, WriteMode};

fn rounds() -> u64 {
    std::env::var("LARDER_NEAR_GARBAGE").ok().map_or(40, |rounds| rounds.parse().unwrap())
}

/// Answers by a generator of random numbers.
struct Garbage {
    state: AtomicU64,
    sink: Mutex<Option<Arc<dyn PushSink>>>,
}

#[derive(Clone)]
struct GarbageTransport(Arc<Garbage>);

impl Garbage {
    fn next(&self, below: u64) -> u64 {
        let step = |state: u64| {
            Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963))
        };
        let state = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        (state.unwrap_or_default() >> 33) % below
    }

    fn bytes(&self) -> Vec<u8> {
        let words: [&[u8]; 8] = [
            b"",
            b"1",
            b"\x01\x00stamp 12\x08postcard\x07",
            b"\x01\x02stamp 12\x01\x01tstamp 34\x08postcard\x07",
            b"master",
            b"127.0.0.1",
            b"cluster_state:ok\r\ncluster_my_epoch:18446744073709551615\r\n",
            b"18446744073709551615",
        ];
        words[self.next(words.len() as u64) as usize].to_vec()
    }

    fn reply(&self, depth: u64) -> Reply {
        let node = NodeAddress { host: "127.0.0.1".to_owned(), port: self.next(4) as u16 };
        match self.next(if depth > 3 { 7 } else { 9 }) {
            0 => Reply::Nil,
            1 => Reply::Integer(self.next(16_384) as i64 - 2),
            2 | 3 => Reply::Bytes(self.bytes()),
            4 => Reply::Status("OK".to_owned()),
            5 => Reply::Refused(
                ["ERR unknown command", "TRYAGAIN", "CLUSTERDOWN", "NOPERM no"]
                    [self.next(4) as usize]
                    .to_owned(),
            ),
            6 => Reply::Redirected(Redirect {
                kind: if self.next(2) == 0 { RedirectKind::Moved } else { RedirectKind::Ask },
                slot: self.next(65_536) as u16,
                to: node,
            }),
            _ => Reply::Array((0..self.next(5)).map(|_| self.reply(depth + 1)).collect()),
        }
    }

    /// Slots as a cluster would say them, most of the time.
    fn reply_to(&self, command: &Command) -> Reply {
        let is_slots = command.parts().nth(1) == Some(&b"SLOTS"[..]);
        if !is_slots || self.next(4) == 0 {
            return self.reply(0);
        }
        let range = |_| {
            let (one, other) = (self.next(16_384) as i64, self.next(16_384) as i64);
            let port = Reply::Integer(self.next(4) as i64);
            let master = Reply::Array(vec![Reply::Bytes(b"127.0.0.1".to_vec()), port]);
            let ends = [one.min(other), one.max(other)].map(Reply::Integer);
            Reply::Array(ends.into_iter().chain([master]).collect())
        };
        Reply::Array((0..self.next(6)).map(range).collect())
    }
}

impl Transport for GarbageTransport {
    fn open<'t>(
        &'t self,
        _: Option<&'t NodeAddress>,
        _: &'t Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened> {
        if self.0.next(8) == 0 {
            return Box::pin(async { Err(TransportError::new(std::fmt::Error)) });
        }
        let before = self.0.sink.lock().unwrap().replace(pushes);
        drop(before);
        let tracked = if self.0.next(3) == 0 { Err("no".to_owned()) } else { Ok(()) };
        let connection = Arc::new(self.clone());
        Box::pin(async { Ok(Opened { connection: connection as _, tracked }) })
    }
}

impl NearConnection for GarbageTransport {
    fn call(&self, commands: Vec<Command>) -> TransportFuture<'_, Vec<Reply>> {
        let garbage = &self.0;
        let sink = garbage.sink.lock().unwrap().clone();
        match (garbage.next(40), sink) {
            (0, _) => return Box::pin(async { Err(TransportError::new(std::fmt::Error)) }),
            (1, Some(sink)) => sink.all_invalidated(),
            (2, Some(sink)) => sink.invalidated(&[garbage.bytes(), b"n:1".to_vec()]),
            (3, Some(sink)) => sink.lost(),
            _ => {}
        }
        let mut replies: Vec<Reply> = commands.iter().map(|it| garbage.reply_to(it)).collect();
        match garbage.next(20) {
            0 => drop(replies.pop()),
            1 => replies.push(garbage.reply(0)),
            _ => {}
        }
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(replies)
        })
    }
}

/// Makes each call once. Returns how many of them have failed.
async fn all_calls(near: &NearCache<u64, u64>) -> usize {
    let tagged = || Record::new(1).tags(["t"]);
    let keys: Vec<u64> = (0..10).collect();
    let with_version = near.get_with_version(&1).await;
    let version = with_version.as_ref().ok().and_then(|(_, version)| version.clone());
    let failed = [
        with_version.is_err(),
        near.get(&1).await.is_err(),
        near.set(&1, 1).await.is_err(),
        near.set_record(&1, tagged()).await.is_err(),
        near.get_many(&keys).await.is_err(),
        near.set_many(keys.iter().map(|key| (*key, *key))).await.is_err(),
        near.get_or_load(&2, async || Ok::<_, NearError>(Some(tagged()))).await.is_err(),
        near.get_or_load(&3, async || Ok::<_, NearError>(None)).await.is_err(),
        near.set_if(&1, version.as_ref(), tagged()).await.is_err(),
        near.invalidate_tag("t").await.is_err(),
        near.remove(&1).await.is_err(),
        near.remove_many(&keys).await.is_err(),
    ];
    near.clear_memory();
    failed.into_iter().filter(|has_failed| *has_failed).count()
}

#[tokio::test]
async fn every_call_returns_whatever_the_server_answers() {
    for seed in 0..rounds() {
        println!("seed {seed}");
        let state = AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let garbage = GarbageTransport(Arc::new(Garbage { state, sink: Mutex::default() }));
        let builder = NearCache::<u64, u64>::builder();
        let builder = match seed % 2 {
            0 => builder.server("redis://127.0.0.1:1"),
            _ => builder.cluster(["redis://127.0.0.1:1"]),
        };
        let modes = [WriteMode::Through, WriteMode::Around, WriteMode::Behind];
        let trackings = [Tracking::Default, Tracking::OptIn, Tracking::Broadcast];
        let near = builder
            .transport(garbage)
            .prefix("n:")
            .write_mode(modes[seed as usize % 3])
            .tracking(trackings[seed as usize / 3 % 3].clone())
            // So long is waited at most, in each of the calls.
            .call_timeout(Duration::from_millis(50))
            .load_patience(Duration::from_millis(50))
            .one_load_in_fleet(Duration::from_millis(50))
            .stale_if_error(Duration::from_secs(1))
            .missing_time_to_live(Duration::from_secs(1))
            .connect_lazily()
            .unwrap();
        let mut failed = 0;
        for _ in 0..3 {
            let calls = tokio::time::timeout(Duration::from_secs(60), all_calls(&near)).await;
            failed += calls.expect("all calls return");
        }
        assert!(failed > 0, "some of the answers make no sense");
    }
}
