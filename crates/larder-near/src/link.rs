//! The connection to one server: opened, watched, given up, opened again.
//!
//! One task owns the way of a connection. Everything else asks for the connection of the moment.
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | opening | live | the task | the guide has opened a connection; generations begin |
//! | opening | down | the task | the attempt failed, or took too long; calls fail at once from here on |
//! | down | opening | the task | a pause has passed, which doubles with each failure |
//! | live | suspended | the task | in a cluster: the lease has ended, and the latest beat is not answered |
//! | suspended | live | the task | the beat was answered; generations begin |
//! | live, suspended | opening | the transport, or the task | the connection has ended, a beat was not answered in time, or the guide says that the server is the wrong one; the generations end |
//! | any | closed | the topology | the last handle of the cache was dropped, or the server is of no use any more |
//!
//! While the task is opening after a loss, calls wait for it, within their timeout. Once an attempt has failed,
//! they fail at once until one succeeds, so a server that is away costs its callers nothing: the state is the
//! circuit breaker, and the task's attempts are its trials. A suspended connection carries calls, but nothing that
//! they fetch is held; it keeps a silent node from holding up the hits of all others.
//!
//! # What proves
//! With tracking of single keys, a server puts an invalidation into the stream before it executes the next
//! command. So each reply proves the time at which its command was sent. With broadcasts it collects the changed
//! keys until it has executed all commands that it has read at once, and a reply may stand before an
//! invalidation from before it. Those are in the stream before the server reads anew; so a reply proves the time
//! at which the command before it was sent, if it was itself sent after the reply to that.
//!
//! A server that may be replaced by another one, as those of clusters and of sentinels may, must say besides that
//! it still has the keys. So there only the replies to beats prove, which the guide judges.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::{NearError, TransportError};
use crate::lease::{Lease, NodeId, now_ns};
use crate::stats::{BreakerState, Counters, add, count};
use crate::transport::{
    Command, NearConnection, Opened, PushSink, Reply, Tracking, TransportFuture, Unheard,
};

/// The first pause after a failed attempt, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What holds values in memory.
pub(crate) trait Holder: Send + Sync {
    /// Forgets these keys. Returns how many of them are not keys of the cache.
    fn forget(&self, keys: &[Vec<u8>]) -> usize;
    /// Forgets everything whose generation is no longer present in `lease`, because it may have changed.
    fn forget_past(&self, lease: &Arc<Lease>);
    /// Nothing is known any more of what is of a generation that is no longer present.
    fn lose_past(&self, lease: &Arc<Lease>);
}

/// The settings of all links of a near cache.
#[derive(Debug)]
pub(crate) struct LinkSettings {
    pub(crate) tracking: Tracking,
    pub(crate) max_stale: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_in_flight: usize,
    /// The most keys that are sent to one server at once.
    pub(crate) keys_per_call: usize,
}

/// What the links of one near cache share.
pub(crate) struct Common {
    pub(crate) settings: LinkSettings,
    pub(crate) lease: Arc<Lease>,
    pub(crate) counters: Counters,
    pub(crate) holder: Arc<dyn Holder>,
    permits: Semaphore,
}

/// What a topology knows of the server of a link.
pub(crate) trait Guide: Send + Sync {
    /// Opens a connection to the server that is the right one at the moment.
    fn open<'g>(
        &'g self,
        tracking: &'g Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'g, Opened>;
    /// The commands of a beat.
    fn beat(&self) -> Vec<Command>;
    /// What the replies to a beat say. It may move slots.
    fn judge(&self, replies: &[Reply]) -> Verdict;
    /// Whether the keys may become those of another server, so that only beats prove.
    fn may_lose_keys(&self) -> bool;
    /// A connection was lost, or not opened.
    fn is_away(&self);
}

/// What the replies to a beat say of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is alive, and has the keys that it is thought to have.
    Proven,
    /// It is alive, and cannot say that it has the keys.
    Unproven,
    /// It is not the server that it was.
    Wrong,
}

/// The connection of a near cache to one server.
pub(crate) struct Link {
    node: NodeId,
    common: Arc<Common>,
    guide: Box<dyn Guide>,
    state: Mutex<LinkState>,
    /// The state has changed.
    changed: Notify,
    /// The task is to send a beat now, or to notice that the link was closed.
    wake: Notify,
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
    /// Its number in the lease, which changes when it was suspended.
    proof: u64,
}

/// What is known of a link for statistics.
pub(crate) struct Condition {
    pub(crate) is_connected: bool,
    pub(crate) is_tracked: bool,
    pub(crate) refusal: Option<String>,
    pub(crate) breaker: BreakerState,
}

/// What a call over the connection has returned.
pub(crate) struct Exchange {
    pub(crate) replies: Vec<Reply>,
    /// When the call was made, before anything was sent.
    pub(crate) sent_ns: u64,
    /// The generation of each slot in which it was made.
    pub(crate) generations: Vec<u64>,
    pub(crate) is_tracked: bool,
}

impl Common {
    pub(crate) fn new(settings: LinkSettings, lease: Lease, holder: Arc<dyn Holder>) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            settings,
            lease: Arc::new(lease),
            counters: Counters::default(),
            holder,
        })
    }

    pub(crate) fn is_opt_in(&self) -> bool {
        self.settings.tracking == Tracking::OptIn
    }

    /// Waits until one more call may be under way, and lets it be until the permit is dropped.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, NearError> {
        // The semaphore is never closed.
        self.permits.acquire().await.map_err(|_| NearError::Closed)
    }

    /// How often a beat is sent: often enough that one may be late without a lapse of the lease.
    pub(crate) fn beat_period(&self) -> Duration {
        if self.settings.max_stale.is_zero() {
            // There is no lease; it only finds out whether the connection is alive.
            return Duration::from_secs(1);
        }
        (self.settings.max_stale / 4).clamp(Duration::from_millis(2), Duration::from_secs(1))
    }
}

impl Link {
    pub(crate) fn new(node: NodeId, common: Arc<Common>, guide: Box<dyn Guide>) -> Arc<Self> {
        Arc::new(Self {
            node,
            common,
            guide,
            state: Mutex::default(),
            changed: Notify::new(),
            wake: Notify::new(),
        })
    }

    /// No user code runs under this lock.
    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `commands` over the connection of the moment, and waits for it if it is being opened.
    ///
    /// The generations of `slots` are read after this call begins. So a fill that was begun before it, and
    /// that is stored with its generation, is refused or never served if anything was missed since.
    pub(crate) async fn call(
        &self,
        commands: Vec<Command>,
        slots: impl Iterator<Item = u16>,
    ) -> Result<Exchange, NearError> {
        let _permit = self.common.permit().await?;
        let (live, generations) = self.connection(slots).await?;
        let sent_ns = now_ns();
        let called = live.connection.call(commands).await;
        let replies = called.map_err(NearError::Lost).inspect_err(|_| self.wake.notify_one())?;
        let is_broadcast = self.common.settings.tracking == Tracking::Broadcast;
        if live.is_tracked && !is_broadcast && !self.guide.may_lose_keys() {
            self.common.lease.prove(self.node, live.proof, sent_ns);
        }
        if replies.iter().any(is_of_the_wrong_server) {
            self.wake.notify_one();
        }
        Ok(Exchange { replies, sent_ns, generations, is_tracked: live.is_tracked })
    }

    /// A call was not answered in time: the task finds out whether the connection is still good.
    pub(crate) fn doubt(&self) {
        self.wake.notify_one();
    }

    async fn connection(
        &self,
        slots: impl Iterator<Item = u16>,
    ) -> Result<(Live, Vec<u64>), NearError> {
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
                    // Generations begin and end under the same lock, so they are those of the connection.
                    let generations = self.common.lease.generations(self.node, slots);
                    return Ok((live.clone(), generations));
                }
                if let Some(failure) = &state.failure {
                    return Err(NearError::Down(failure.clone()));
                }
            }
            changed.await;
        }
    }

    /// Waits until an attempt to open a connection has succeeded or failed.
    pub(crate) async fn first_connection(&self) -> Result<(), NearError> {
        self.connection(std::iter::empty()).await.map(|_| ())
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Opens another connection to the same server, over which nothing is tracked.
    pub(crate) async fn open_exclusive(&self) -> Result<Arc<dyn NearConnection>, TransportError> {
        let opened = self.guide.open(&Tracking::Off, Arc::new(Unheard)).await?;
        Ok(opened.connection)
    }

    /// A connection that is live, for a beat of the topology's own.
    pub(crate) fn live_connection(&self) -> Option<Arc<dyn NearConnection>> {
        self.state().live.as_ref().map(|live| Arc::clone(&live.connection))
    }

    /// Ends the link: the task returns, and the connection is closed when no call is under way.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let live = state.live.take();
        self.common.lease.end(self.node);
        drop(state);
        drop(live);
        self.changed.notify_waiters();
        self.wake.notify_one();
    }

    pub(crate) fn condition(&self) -> Condition {
        let state = self.state();
        Condition {
            is_connected: state.live.is_some(),
            is_tracked: state.live.as_ref().is_some_and(|live| live.is_tracked),
            refusal: state.refusal.clone(),
            breaker: match (&state.live, &state.failure) {
                (Some(_), _) => BreakerState::Closed,
                (None, None) => BreakerState::Trying,
                (None, Some(_)) => BreakerState::Open,
            },
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Opens connections and watches them until the link is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut number = 0;
        let call_timeout = self.common.settings.call_timeout;
        while !self.is_closed() {
            number += 1;
            let sink = Arc::new(Sink {
                link: Arc::clone(&self),
                number,
                is_lost: AtomicBool::new(false),
                lost: Notify::new(),
            });
            let pushes: Arc<dyn PushSink> = Arc::clone(&sink) as _;
            let opening = self.guide.open(&self.common.settings.tracking, pushes);
            let opened = match timeout(call_timeout, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(TransportError::new(NearError::TimedOut { waited: call_timeout })),
            };
            match opened {
                Ok(opened) => {
                    self.install(number, opened);
                    self.watch(&sink).await;
                    self.retire(number);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    count(&self.common.counters.failed_connects);
                    self.state().failure = Some(error);
                    self.changed.notify_waiters();
                    self.guide.is_away();
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
            // Nobody has the connection yet.
            let proof = self.common.lease.begin(self.node, is_tracked, now_ns());
            state.live = Some(Live { connection, is_tracked, proof });
        }
        count(&self.common.counters.connects);
        self.changed.notify_waiters();
    }

    /// Proves that the connection is alive, again and again. Returns when it is not, or the link was closed.
    async fn watch(&self, sink: &Sink) {
        let is_broadcast = self.common.settings.tracking == Tracking::Broadcast;
        let mut before: Option<u64> = None;
        loop {
            let Some(live) = self.live(sink.number) else { return };
            // Acquire: pairs with the store in `Sink::lost`. A connection that was lost before it was
            // installed was not retired by that.
            if sink.is_lost.load(Ordering::Acquire) {
                return;
            }
            let sent_ns = now_ns();
            let beat = self.beat(sink.number, live.connection.call(self.guide.beat()));
            let replies = match timeout(self.common.settings.call_timeout, beat).await {
                Ok(Ok(replies)) if !replies.is_empty() => replies,
                _ => return,
            };
            let verdict = self.guide.judge(&replies);
            if verdict == Verdict::Wrong {
                return;
            }
            let is_first = before.is_none();
            let proven = if is_broadcast { before } else { Some(sent_ns) };
            if verdict == Verdict::Proven {
                self.resume(sink.number);
                before = Some(sent_ns);
                if let Some(sent_ns) = proven {
                    self.common.lease.prove(self.node, live.proof, sent_ns);
                }
                if is_first && is_broadcast {
                    continue;
                }
            } else {
                self.suspend_if_lapsed(sink.number);
            }
            tokio::select! {
                () = sink.lost.notified() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.common.beat_period()) => {}
            }
        }
    }

    /// Awaits the replies to a beat, and suspends the connection when its lease ends before they come.
    async fn beat(
        &self,
        number: u64,
        beat: TransportFuture<'_, Vec<Reply>>,
    ) -> Result<Vec<Reply>, TransportError> {
        let mut beat = beat;
        if self.common.lease.is_of_cluster()
            && let Some(until_ns) = self.common.lease.until_ns(self.node)
        {
            let left = Duration::from_nanos(until_ns.saturating_sub(now_ns()));
            match timeout(left, &mut beat).await {
                Ok(replies) => return replies,
                Err(_) => self.suspend_if_lapsed(number),
            }
        }
        beat.await
    }

    /// Lets the hits of other nodes go on when the lease of this one has ended.
    fn suspend_if_lapsed(&self, number: u64) {
        if !self.common.lease.is_of_cluster() {
            return;
        }
        let state = self.state();
        let until_ns = self.common.lease.until_ns(self.node);
        if state.number != number || state.live.is_none() || until_ns.is_none_or(|it| it > now_ns())
        {
            return;
        }
        self.common.lease.end(self.node);
        drop(state);
        self.common.holder.lose_past(&self.common.lease);
    }

    /// Begins generations again on a connection that was suspended.
    fn resume(&self, number: u64) {
        let mut state = self.state();
        if state.number != number || self.common.lease.is_begun(self.node) {
            return;
        }
        if let Some(live) = &mut state.live {
            live.proof = self.common.lease.begin(self.node, live.is_tracked, now_ns());
        }
    }

    fn live(&self, number: u64) -> Option<Live> {
        let state = self.state();
        state.live.as_ref().filter(|_| state.number == number).cloned()
    }

    /// Gives a connection up, unless that was done: its generations end.
    fn retire(&self, number: u64) {
        let mut state = self.state();
        if state.number != number {
            return;
        }
        let Some(live) = state.live.take() else { return };
        self.common.lease.end(self.node);
        drop(state);
        drop(live);
        count(&self.common.counters.losses);
        self.common.holder.lose_past(&self.common.lease);
        self.guide.is_away();
    }

    /// The server is not the right one any more: its connection is given up, and another is opened.
    pub(crate) fn give_up(&self) {
        let number = self.state().number;
        self.retire(number);
        self.wake.notify_one();
    }

    fn forget_all(&self) {
        self.common.lease.turn(self.node);
        self.common.holder.forget_past(&self.common.lease);
        count(&self.common.counters.flushes);
    }
}

/// Whether a refusal says that the server is not the one to ask, for now or for good.
fn is_of_the_wrong_server(reply: &Reply) -> bool {
    let Reply::Refused(refusal) = reply else { return false };
    ["READONLY", "MASTERDOWN", "CLUSTERDOWN", "LOADING"].iter().any(|it| refusal.starts_with(it))
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
        add(&self.link.common.counters.invalidations, keys.len() as u64);
        // The keys' own code may panic. Then it is not known which keys were forgotten.
        match catch_unwind(AssertUnwindSafe(|| self.link.common.holder.forget(keys))) {
            Ok(0) => {}
            Ok(foreign) => {
                add(&self.link.common.counters.foreign_keys, foreign as u64);
                // Broadcasts name keys of other programs too. A key that was read, and that cannot be
                // decoded, is one of ours: it is not known which value in memory is its own.
                if self.link.common.settings.tracking != Tracking::Broadcast {
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
