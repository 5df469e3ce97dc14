//! All schedules of a small world: one key, two reads of it one after the other, a change by others, and a
//! connection that is cut once. The code of the cache is the real one; its transport and its time are modelled.
//! `LARDER_NEAR_CHANGES` is how many changes there are: 1 by default, and none in the worlds with a flush, which
//! changes the value too. With more, it takes several times as long.
//!
//! # The world
//! | step | who | when it can happen | what it does |
//! |---|---|---|---|
//! | `Begin` | the reader | no read is under way, and not all have begun | reserves the key, sends `GET` |
//! | `Execute` | the server | a command waits on a connection that is up | puts the reply into the stream; `GET` tracks the key |
//! | `Change` | the server | not all changes have happened | changes the value; if it tracks the key, puts an invalidation into the stream |
//! | `Flush` | the server | once, in some worlds | loses the value; puts the push for all keys into the stream |
//! | `Deliver` | the connection | the stream is not empty | hands its first message on |
//! | `Resume` | the reader | its reply was handed on, or its connection has ended | stores the value: the fill |
//! | `Cut` | the network | once, if the connection is up | the stream and what waits for the server are gone |
//! | `Notice` | the connection | it was cut | says that it has ended; the link opens another one |
//! | `Wait` | time | twice | more than half of `max_stale` passes |
//!
//! The other steps take no time to speak of. Whatever a task of the link can do, it does at once.
//!
//! # What holds after each step
//! Memory is asked for the key, and takes effect at that moment (`memory` has the moments of all calls):
//! 1. what it says was not overwritten more than `max_stale` ago;
//! 2. once an invalidation was handed on, nothing from before it is served;
//! 3. once the end of a connection was handed on, nothing of it is served.
//!
//! A read that is answered by the server says what the server had when it executed it. Worlds that agree in
//! all that decides their future are followed once.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::NearCache;
use crate::envelope::Envelopes;
use crate::error::{NearError, TransportError};
use crate::lease::{Defect, modelled_time, now_ns};
use crate::memory::Held;
use crate::transport::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Reply, Tracking, Transport,
    TransportFuture,
};

const SECOND: u64 = 1_000_000_000;
const MAX_STALE: u64 = 10 * SECOND;
const WAIT: u64 = 6 * SECOND;
const WAITS: u64 = 2;
const READS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Begin,
    Execute,
    Change,
    Flush,
    Deliver,
    Resume,
    Cut,
    Notice,
    Wait,
}

const STEPS: [Step; 9] = [
    Step::Begin,
    Step::Execute,
    Step::Change,
    Step::Flush,
    Step::Deliver,
    Step::Resume,
    Step::Cut,
    Step::Notice,
    Step::Wait,
];

/// A message of the server. The number is that of the change that it tells of, or of the value that it has.
enum Message {
    Reply(bool, u64, oneshot::Sender<Vec<Reply>>, Vec<Reply>),
    Invalidation(u64),
    All(u64),
}

/// The server, and the connection to it.
#[derive(Default)]
struct World {
    /// The number of the last change, which is also the value.
    present: u64,
    is_tracked: bool,
    is_up: bool,
    waiting: VecDeque<(Vec<Command>, oneshot::Sender<Vec<Reply>>)>,
    /// The callers of commands that the cut has swallowed.
    unanswered: Vec<oneshot::Sender<Vec<Reply>>>,
    stream: VecDeque<Message>,
    sink: Option<Arc<dyn PushSink>>,
    /// Nothing older may be served.
    floor: u64,
}

#[derive(Clone, Default)]
struct Modelled(Arc<Mutex<World>>);

impl Transport for Modelled {
    fn open<'t>(
        &'t self,
        _: Option<&'t NodeAddress>,
        _: &'t Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened> {
        let mut world = self.0.lock().unwrap();
        world.is_up = true;
        world.sink = Some(pushes);
        // What is read over the new connection is read from now on.
        world.floor = world.present;
        let connection = Arc::new(self.clone());
        Box::pin(async { Ok(Opened { connection: connection as _, tracked: Ok(()) }) })
    }
}

impl NearConnection for Modelled {
    fn call(&self, commands: Vec<Command>) -> TransportFuture<'_, Vec<Reply>> {
        let (reply, replied) = oneshot::channel();
        let mut world = self.0.lock().unwrap();
        match world.is_up {
            true => world.waiting.push_back((commands, reply)),
            false => world.unanswered.push(reply),
        }
        Box::pin(async { replied.await.map_err(TransportError::new) })
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Option<u64>, NearError>>>>;

fn changes(has_flush: bool) -> u64 {
    let chosen = std::env::var("LARDER_NEAR_CHANGES").ok();
    chosen.map_or(u64::from(!has_flush), |changes| changes.parse().unwrap())
}

/// One schedule, as far as it was followed.
struct Run {
    /// How many changes are still to happen.
    changes: u64,
    model: Modelled,
    near: NearCache<u64, u64>,
    link: Pin<Box<dyn Future<Output = ()>>>,
    reading: Option<Reading>,
    /// What the server had when it executed the read that is under way.
    executed: Option<u64>,
    /// Whether the read can go on.
    can_resume: bool,
    /// Whether the key was forgotten since the read has reserved it.
    was_forgotten: bool,
    begun: usize,
    has_flush: bool,
    was_cut: bool,
    must_notice: bool,
    waits: u64,
    /// When each change happened.
    changed_ns: Vec<u64>,
}

/// All that decides what can happen from here on.
#[derive(PartialEq, Eq, Hash)]
struct State {
    numbers: [u64; 8],
    flags: [bool; 9],
    stream: Vec<(u8, u64)>,
    waiting: Vec<bool>,
    slot: Option<(Option<u64>, bool)>,
    ages: Vec<u64>,
}

impl Run {
    fn new(has_flush: bool, defect: Option<Defect>) -> Self {
        modelled_time::set(SECOND);
        let model = Modelled::default();
        let near = NearCache::builder()
            .transport(model.clone())
            .capacity(16)
            .max_stale(Duration::from_nanos(MAX_STALE))
            // No timeout of the real time comes between.
            .call_timeout(Duration::from_secs(3600))
            // What was lost stays in memory, so that it could be served.
            .stale_if_error(Duration::from_nanos(1));
        let near: NearCache<u64, u64> = near.build().unwrap();
        if let Some(defect) = defect {
            near.shared.link.lease.planted.set(defect).unwrap();
        }
        let link = Box::pin(Arc::clone(&near.shared.link).run());
        let mut run = Self {
            changes: changes(has_flush),
            model,
            near,
            link,
            reading: None,
            executed: None,
            can_resume: false,
            was_forgotten: false,
            begun: 0,
            has_flush,
            was_cut: false,
            must_notice: false,
            waits: 0,
            changed_ns: vec![SECOND],
        };
        run.poll_link();
        // The first `PING`.
        run.step(Step::Execute).unwrap();
        run.step(Step::Deliver).unwrap();
        run
    }

    fn poll_link(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(self.link.as_mut().poll(&mut context).is_pending());
    }

    fn can(&self, step: Step) -> bool {
        let world = self.model.0.lock().unwrap();
        match step {
            Step::Begin => self.reading.is_none() && self.begun < READS,
            Step::Execute => !world.waiting.is_empty(),
            Step::Change => self.changes > 0,
            Step::Flush => self.has_flush,
            Step::Deliver => !world.stream.is_empty(),
            Step::Resume => self.reading.is_some() && self.can_resume,
            Step::Cut => world.is_up && !self.was_cut,
            Step::Notice => self.must_notice,
            Step::Wait => self.waits < WAITS,
        }
    }

    /// Carries out a step that can happen, and checks what has to hold after it.
    fn step(&mut self, step: Step) -> Result<(), String> {
        modelled_time::set(now_ns() + 1);
        match step {
            Step::Begin => {
                self.begun += 1;
                self.was_forgotten = false;
                self.executed = None;
                let near = self.near.clone();
                self.reading = Some(Box::pin(async move { near.get(&1).await }));
                self.can_resume = false;
                self.poll_reading()?;
            }
            Step::Execute => self.execute(),
            Step::Change => {
                self.changes -= 1;
                self.change(false);
            }
            Step::Flush => {
                self.has_flush = false;
                self.change(true);
            }
            Step::Deliver => self.deliver(),
            Step::Resume => self.poll_reading()?,
            Step::Cut => {
                let mut world = self.model.0.lock().unwrap();
                world.is_up = false;
                world.is_tracked = false;
                let World { waiting, stream, unanswered, .. } = &mut *world;
                unanswered.extend(waiting.drain(..).map(|(_, reply)| reply));
                unanswered.extend(stream.drain(..).filter_map(|message| match message {
                    Message::Reply(_, _, reply, _) => Some(reply),
                    _ => None,
                }));
                self.was_cut = true;
                self.must_notice = true;
            }
            Step::Notice => {
                self.must_notice = false;
                let (sink, unanswered) = {
                    let mut world = self.model.0.lock().unwrap();
                    (world.sink.take(), std::mem::take(&mut world.unanswered))
                };
                sink.expect("it was opened").lost();
                drop(unanswered);
                self.can_resume = true;
                self.was_forgotten = true;
                if let Some(served) = self.near.get_in_memory(&1) {
                    return Err(format!("{served:?} is served without a connection"));
                }
            }
            Step::Wait => {
                self.waits += 1;
                modelled_time::set(now_ns() + WAIT);
            }
        }
        self.poll_link();
        self.check()
    }

    fn execute(&mut self) {
        let mut world = self.model.0.lock().unwrap();
        let (commands, reply) = world.waiting.pop_front().expect("a command waits");
        let is_read = commands[0].name() == b"GET";
        let replies = if is_read {
            world.is_tracked = true;
            self.executed = Some(world.present);
            let envelopes = Envelopes::new("postcard", Default::default()).unwrap();
            let bytes = envelopes.write(&world.present).unwrap();
            vec![Reply::Bytes(bytes), Reply::Integer(-1)]
        } else {
            vec![Reply::Status("PONG".to_owned())]
        };
        let present = world.present;
        world.stream.push_back(Message::Reply(is_read, present, reply, replies));
    }

    fn change(&mut self, is_flush: bool) {
        let mut world = self.model.0.lock().unwrap();
        world.present += 1;
        let present = world.present;
        self.changed_ns.push(now_ns());
        if is_flush && world.is_up {
            world.is_tracked = false;
            world.stream.push_back(Message::All(present));
        } else if std::mem::take(&mut world.is_tracked) {
            world.stream.push_back(Message::Invalidation(present));
        }
    }

    fn deliver(&mut self) {
        let (message, sink) = {
            let mut world = self.model.0.lock().unwrap();
            (world.stream.pop_front().expect("there is one"), world.sink.clone())
        };
        let sink = sink.expect("it was opened");
        match message {
            Message::Reply(is_read, _, reply, replies) => {
                self.can_resume |= is_read;
                // The reader may have been dropped.
                let _ = reply.send(replies);
            }
            Message::Invalidation(change) => {
                sink.invalidated(&[b"1".to_vec()]);
                self.was_forgotten = true;
                self.raise_floor(change);
            }
            Message::All(change) => {
                sink.all_invalidated();
                self.was_forgotten = true;
                self.raise_floor(change);
            }
        }
    }

    fn raise_floor(&self, change: u64) {
        let mut world = self.model.0.lock().unwrap();
        world.floor = world.floor.max(change);
    }

    fn poll_reading(&mut self) -> Result<(), String> {
        let Some(reading) = self.reading.as_mut() else { return Ok(()) };
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(result) = reading.as_mut().poll(&mut context) else { return Ok(()) };
        self.reading = None;
        self.can_resume = false;
        match (result, self.executed) {
            // Without an execution, memory has answered, which `check` judges.
            (Ok(value), Some(executed)) if value != Some(executed) => {
                Err(format!("the read found {value:?}, and the server had {executed}"))
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), String> {
        let Some(served) = self.near.get_in_memory(&1) else { return Ok(()) };
        let served = served.ok_or("it is served that there is no value")?;
        let floor = self.model.0.lock().unwrap().floor;
        if served < floor {
            return Err(format!("{served} is served after the notification of {floor}"));
        }
        match self.changed_ns.get(served as usize + 1) {
            Some(changed) if now_ns() - changed > MAX_STALE => Err(format!(
                "{served} is served {} s after its change",
                (now_ns() - changed) / SECOND
            )),
            _ => Ok(()),
        }
    }

    fn state(&self) -> State {
        let world = self.model.0.lock().unwrap();
        let now = now_ns();
        let lease = &self.near.shared.link.lease;
        let slot = self.near.shared.memory.cache.peek(&1);
        let none = u64::MAX;
        State {
            numbers: [
                world.present,
                self.changes,
                world.floor,
                self.begun as u64,
                self.executed.unwrap_or(none),
                self.changed_ns.len() as u64,
                lease.remaining_ns(now) / SECOND,
                self.waits,
            ],
            flags: [
                world.is_tracked,
                world.is_up,
                self.reading.is_some(),
                self.can_resume,
                self.was_forgotten,
                self.has_flush,
                self.was_cut,
                self.must_notice,
                lease.time_of_hit().is_some(),
            ],
            stream: (world.stream.iter())
                .map(|message| match message {
                    Message::Reply(is_read, value, ..) => (u8::from(*is_read), *value),
                    Message::Invalidation(change) => (2, *change),
                    Message::All(change) => (3, *change),
                })
                .collect(),
            waiting: (world.waiting.iter())
                .map(|(commands, _)| commands[0].name() == b"GET")
                .collect(),
            slot: slot.map(|slot| {
                let value = match slot.held {
                    Held::Value(value) => Some(value),
                    _ => None,
                };
                (value, lease.is_present(slot.generation()))
            }),
            // What is older than this is too old for ever.
            ages: (self.changed_ns.iter())
                .map(|at| ((now - at) / SECOND).min(MAX_STALE / SECOND + 1))
                .collect(),
        }
    }
}

/// Follows all schedules. Returns how many worlds there were, or the schedule after which something was wrong.
fn explore(has_flush: bool, defect: Option<Defect>) -> Result<usize, (Vec<Step>, String)> {
    // Timers are created within it, and none of them fires.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _within = runtime.enter();
    let mut seen = HashSet::new();
    let mut schedules: Vec<Vec<Step>> = vec![Vec::new()];
    while let Some(mut schedule) = schedules.pop() {
        let mut run = Run::new(has_flush, defect);
        for (at, step) in schedule.iter().enumerate() {
            assert!(run.can(*step), "{schedule:?}");
            if let Err(wrong) = run.step(*step) {
                return Err((schedule[..=at].to_vec(), wrong));
            }
        }
        // Goes on by one step of each new world, and leaves the others for later.
        while seen.insert(run.state()) {
            let mut steps: Vec<Step> = STEPS.into_iter().filter(|step| run.can(*step)).collect();
            let Some(next) = steps.pop() else { break };
            schedules.extend(steps.into_iter().map(|step| [&schedule[..], &[step]].concat()));
            schedule.push(next);
            if let Err(wrong) = run.step(next) {
                return Err((schedule, wrong));
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn in_no_schedule_is_anything_served_that_is_too_old() {
    for has_flush in [false, true] {
        match explore(has_flush, None) {
            Ok(worlds) => {
                println!("{worlds} worlds, flush: {has_flush}");
                assert!(worlds > 500, "only {worlds} worlds were found");
            }
            Err((schedule, wrong)) => panic!("{wrong}, after {schedule:?}"),
        }
    }
}

#[test]
fn each_planted_defect_is_found_in_some_schedule() {
    for defect in [Defect::LateFill, Defect::KeptAcrossGap, Defect::EndlessLease] {
        let found = explore(false, Some(defect));
        let Err((schedule, wrong)) = found else { panic!("{defect:?} is not found") };
        println!("{defect:?}: {wrong}, after {schedule:?}");
    }
}
