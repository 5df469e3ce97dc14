//! The connection to the server: opened, watched, given up, opened again.
//!
//! One task owns the way of a connection. Everything else asks for the connection of the moment.
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | opening | live | the task | the transport has opened a connection; a generation begins |
//! | opening | down | the task | the attempt failed, or took too long; calls fail at once from here on |
//! | down | opening | the task | a pause has passed, which doubles with each failure |
//! | live | opening | the transport, or the task | the connection has ended, or a `PING` was not answered; the generation ends |
//! | any | closed | the last handle of the cache | it was dropped |
//!
//! While the task is opening after a loss, calls wait for it, within their timeout. Once an attempt has failed,
//! they fail at once until one succeeds, so a server that is away costs its callers nothing: the state is the
//! circuit breaker, and the task's attempts are its trials.
//!
//! # What proves
//! With tracking of single keys, the server puts an invalidation into the stream before it executes the next
//! command. So each reply proves the time at which its command was sent. With broadcasts it collects the changed
//! keys until it has executed all commands that it has read at once, and a reply may stand before an
//! invalidation from before it. Those are in the stream before the server reads anew; so a reply proves the time
//! at which the command before it was sent, if it was itself sent after the reply to that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::error::{NearError, TransportError};
use crate::lease::{Lease, now_ns};
use crate::stats::{Counters, NearStats, add, count};
use crate::transport::{Command, NearConnection, Opened, PushSink, Reply, Tracking, Transport};

/// The first pause after a failed attempt, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What holds values in memory.
pub(crate) trait Holder: Send + Sync {
    /// Forgets these keys. Returns how many of them are not keys of the cache.
    fn forget(&self, keys: &[Vec<u8>]) -> usize;
    /// Forgets everything that is older than `generation`, because it may have changed.
    fn forget_all(&self, generation: u64);
    /// Nothing is known any more of what is older than `generation`.
    fn lose(&self, generation: u64);
}

/// The settings of a link.
#[derive(Debug)]
pub(crate) struct LinkSettings {
    pub(crate) tracking: Tracking,
    pub(crate) max_stale: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_in_flight: usize,
}

/// The connection of a near cache, and its lease.
pub(crate) struct Link {
    transport: Box<dyn Transport>,
    settings: LinkSettings,
    pub(crate) lease: Lease,
    pub(crate) counters: Counters,
    holder: Arc<dyn Holder>,
    state: Mutex<LinkState>,
    /// The state has changed.
    changed: Notify,
    /// The task is to send a `PING` now, or to notice that the link was closed.
    wake: Notify,
    permits: Semaphore,
}

#[derive(Default)]
struct LinkState {
    /// The number of the connection that is live, or was last.
    number: u64,
    live: Option<Live>,
    /// Why the last attempt failed, while there is no connection.
    failure: Option<TransportError>,
    refusal: Option<String>,
    is_closed: bool,
}

#[derive(Clone)]
struct Live {
    connection: Arc<dyn NearConnection>,
    is_tracked: bool,
}

/// What a call over the connection has returned.
pub(crate) struct Answer {
    pub(crate) replies: Vec<Reply>,
    /// When the call was made, before anything was sent.
    pub(crate) sent_ns: u64,
    /// The generation in which it was made.
    pub(crate) generation: u64,
    pub(crate) is_tracked: bool,
}

impl Link {
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        settings: LinkSettings,
        holder: Arc<dyn Holder>,
    ) -> Arc<Self> {
        Arc::new(Self {
            lease: Lease::new(settings.max_stale),
            permits: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            transport,
            settings,
            counters: Counters::default(),
            holder,
            state: Mutex::default(),
            changed: Notify::new(),
            wake: Notify::new(),
        })
    }

    /// No user code runs under this lock.
    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_opt_in(&self) -> bool {
        self.settings.tracking == Tracking::OptIn
    }

    /// Sends `commands` over the connection of the moment, and waits for it if it is being opened.
    ///
    /// The generation of the answer is read after this call begins. So a fill that was begun before it, and
    /// that is stored with that generation, is refused or never served if anything was missed since.
    pub(crate) async fn call(&self, commands: Vec<Command>) -> Result<Answer, NearError> {
        let called = async {
            // The semaphore is never closed.
            let _permit = self.permits.acquire().await.map_err(|_| NearError::Closed)?;
            let (live, generation) = self.connection().await?;
            let sent_ns = now_ns();
            let replies = live.connection.call(commands).await.map_err(NearError::Lost)?;
            if live.is_tracked && self.settings.tracking != Tracking::Broadcast {
                self.lease.prove(generation, sent_ns);
            }
            Ok(Answer { replies, sent_ns, generation, is_tracked: live.is_tracked })
        };
        let result = match timeout(self.settings.call_timeout, called).await {
            Ok(result) => result,
            Err(_) => {
                count(&self.counters.timeouts);
                Err(NearError::TimedOut { waited: self.settings.call_timeout })
            }
        };
        if result.is_err() {
            count(&self.counters.errors);
            // The task finds out whether the connection is still good.
            self.wake.notify_one();
        }
        result
    }

    async fn connection(&self) -> Result<(Live, u64), NearError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on, a change is not missed.
            changed.as_mut().enable();
            {
                let state = self.state();
                if state.is_closed {
                    return Err(NearError::Closed);
                }
                if let Some(live) = &state.live {
                    // The generation ends under the same lock, so it is that of the connection.
                    return Ok((live.clone(), self.lease.generation()));
                }
                if let Some(failure) = &state.failure {
                    return Err(NearError::Down(failure.clone()));
                }
            }
            changed.await;
        }
    }

    /// Waits until the first attempt to open a connection has succeeded or failed.
    pub(crate) async fn first_connection(&self) -> Result<(), NearError> {
        match timeout(self.settings.call_timeout * 2, self.connection()).await {
            Ok(opened) => opened.map(|_| ()),
            Err(_) => Err(NearError::TimedOut { waited: self.settings.call_timeout * 2 }),
        }
    }

    /// Ends the link: the task returns, and the connection is closed when no call is under way.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let live = state.live.take();
        self.lease.end();
        drop(state);
        drop(live);
        self.changed.notify_waiters();
        self.wake.notify_one();
    }

    pub(crate) fn stats(&self) -> NearStats {
        let mut stats = self.counters.read();
        let state = self.state();
        stats.is_connected = state.live.is_some();
        stats.is_tracked = state.live.as_ref().is_some_and(|live| live.is_tracked);
        stats.refusal.clone_from(&state.refusal);
        stats
    }

    fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Opens connections and watches them until the link is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut number = 0;
        while !self.is_closed() {
            number += 1;
            let sink = Arc::new(Sink {
                link: Arc::clone(&self),
                number,
                is_lost: AtomicBool::new(false),
                lost: Notify::new(),
            });
            let pushes: Arc<dyn PushSink> = Arc::clone(&sink) as _;
            let opening = self.transport.open(&self.settings.tracking, pushes);
            let opened = match timeout(self.settings.call_timeout, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(TransportError::new(NearError::TimedOut {
                    waited: self.settings.call_timeout,
                })),
            };
            match opened {
                Ok(opened) => {
                    self.install(number, opened);
                    self.watch(&sink).await;
                    self.retire(number);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    count(&self.counters.failed_connects);
                    self.state().failure = Some(error);
                    self.changed.notify_waiters();
                    self.pause(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits for between half of `pause` and all of it, so that a fleet does not come back at one moment.
    async fn pause(&self, pause: Duration) {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), pause);
        let part = pause.mul_f64(0.5 + (random % 1024) as f64 / 2048.0);
        let deadline = tokio::time::Instant::now() + part;
        // Failed calls wake the task too, and do not shorten the pause.
        while !self.is_closed() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                () = self.wake.notified() => {}
            }
        }
    }

    fn install(&self, number: u64, opened: Opened) {
        let Opened { connection, tracked } = opened;
        let is_tracked = tracked.is_ok();
        {
            let mut state = self.state();
            if state.is_closed {
                return;
            }
            state.number = number;
            state.failure = None;
            state.refusal = tracked.err();
            self.lease.begin(is_tracked);
            state.live = Some(Live { connection, is_tracked });
        }
        count(&self.counters.connects);
        self.changed.notify_waiters();
    }

    /// Proves that the connection is alive, again and again. Returns when it is not, or the link was closed.
    async fn watch(&self, sink: &Sink) {
        let is_broadcast = self.settings.tracking == Tracking::Broadcast;
        let mut before: Option<(u64, u64)> = None;
        loop {
            let Some((connection, generation)) = self.live(sink.number) else { return };
            // Acquire: pairs with the store in `Sink::lost`. A connection that was lost before it was
            // installed was not retired by that.
            if sink.is_lost.load(Ordering::Acquire) {
                return;
            }
            let sent_ns = now_ns();
            let ping = connection.call(vec![Command::new("PING")]);
            match timeout(self.settings.call_timeout, ping).await {
                Ok(Ok(replies)) if !matches!(replies.first(), Some(Reply::Refused(_)) | None) => {}
                _ => return,
            }
            let is_first = before.is_none();
            let proven = if is_broadcast { before } else { Some((generation, sent_ns)) };
            before = Some((generation, sent_ns));
            if let Some((generation, sent_ns)) = proven {
                self.lease.prove(generation, sent_ns);
            }
            if is_first && is_broadcast {
                continue;
            }
            tokio::select! {
                () = sink.lost.notified() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.beat()) => {}
            }
        }
    }

    /// How often a `PING` is sent: often enough that one may be late without a lapse of the lease.
    fn beat(&self) -> Duration {
        if self.settings.max_stale.is_zero() {
            // There is no lease; it only finds out whether the connection is alive.
            return Duration::from_secs(1);
        }
        (self.settings.max_stale / 4).clamp(Duration::from_millis(2), Duration::from_secs(1))
    }

    fn live(&self, number: u64) -> Option<(Arc<dyn NearConnection>, u64)> {
        let state = self.state();
        let live = state.live.as_ref().filter(|_| state.number == number)?;
        Some((Arc::clone(&live.connection), self.lease.generation()))
    }

    /// Gives a connection up, unless that was done: its generation ends.
    fn retire(&self, number: u64) {
        let mut state = self.state();
        if state.number != number {
            return;
        }
        let Some(live) = state.live.take() else { return };
        self.lease.end();
        drop(state);
        drop(live);
        count(&self.counters.losses);
        self.holder.lose(self.lease.generation());
    }

    fn forget_all(&self) {
        self.lease.turn();
        self.holder.forget_all(self.lease.generation());
        count(&self.counters.flushes);
    }
}

/// Takes the pushes of one connection.
struct Sink {
    link: Arc<Link>,
    number: u64,
    is_lost: AtomicBool,
    lost: Notify,
}

impl PushSink for Sink {
    fn invalidated(&self, keys: &[Vec<u8>]) {
        add(&self.link.counters.invalidations, keys.len() as u64);
        // The keys' own code may panic. Then it is not known which keys were forgotten.
        match catch_unwind(AssertUnwindSafe(|| self.link.holder.forget(keys))) {
            Ok(0) => {}
            Ok(foreign) => {
                add(&self.link.counters.foreign_keys, foreign as u64);
                // Broadcasts name keys of other programs too. A key that was read, and that cannot be
                // decoded, is one of ours: it is not known which value in memory is its own.
                if self.link.settings.tracking != Tracking::Broadcast {
                    self.link.forget_all();
                }
            }
            Err(_) => self.link.forget_all(),
        }
    }

    fn all_invalidated(&self) {
        self.link.forget_all();
    }

    fn lost(&self) {
        // Release: pairs with the load in `watch`.
        self.is_lost.store(true, Ordering::Release);
        self.link.retire(self.number);
        self.lost.notify_one();
    }
}
