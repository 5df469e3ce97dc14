//! The executor of caches that were given none: a few threads for the whole process.
//!
//! It drives synchronous and asynchronous loads alike. A thread polls a task; a task that has to wait stays in
//! the table of tasks, without a thread, until its waker puts it into a queue again. So a few threads drive
//! thousands of asynchronous loads. A synchronous one blocks its thread, and at most all threads except one
//! run such loads at a time, so those that block for ever do not stop the asynchronous ones. While one of them
//! waits for the load of another key, which may be in the queue behind it, another thread may
//! [stand in](super::stand_in) for its own; their number is bounded too.
//!
//! The number of tasks is bounded. A task that does not fit, or for which no thread can be started, goes back
//! to the caller, which can do without it. Threads start with the first task and end when they were idle for
//! some time.
//!
//! # States of a task
//! | state | meaning | next state, and by which thread |
//! |---|---|---|
//! | `Queued` | it is in a queue, with its waker | `Running`: a thread of the pool |
//! | `Running` | a thread of the pool polls it, and has the task | `Waiting`, or gone if it is done or has panicked: that thread; `Woken`: a waker |
//! | `Woken` | as `Running`, and a waker was woken meanwhile | `Queued` or gone: the thread that polls |
//! | `Waiting` | it is woken when it can go on | `Queued`: a waker; gone: the drop of its last waker |
//!
//! One lock protects all of this. It is never held while user code runs: loaders and their drops run in the
//! threads of the pool, outside of all [scopes](crate::base::reentrancy) of caches, and panics end there. If
//! the last waker of a waiting task is dropped, the task can never go on; a thread of the pool drops it, because
//! the thread that dropped the waker may hold locks of the user's.
//!
//! # Forks
//! A child has the tasks that no thread was polling, and no thread; the next task or waking starts one.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::executor::LoadTask;
use super::stand_in::{StandInPool, set_polling};
#[cfg(unix)]
use crate::base::at_fork::{self, HeldAcrossFork, Hook};
use crate::base::panics::contain;
use crate::base::sync::thread::{self, Thread};
use crate::base::sync::{self, Mutex, MutexGuard};

static POOL: LoadPool = LoadPool::new(PoolLimits {
    threads: 17,
    stand_ins: 32,
    waiting_blocking: 1 << 10,
    tasks: 1 << 14,
    idle: IDLE,
});

/// How long a thread waits for another task before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Gives a task to the pool of the process. An error brings it back: the pool has no room or no thread.
pub(super) fn spawn(task: LoadTask) -> Result<(), LoadTask> {
    POOL.spawn(task)
}

/// How many tasks of the pool of the process wait.
#[cfg(test)]
pub(super) fn waiting() -> usize {
    let state = sync::lock(&POOL.state);
    state.tasks.values().filter(|task| matches!(task, LoadState::Waiting(_))).count()
}

struct PoolLimits {
    /// The most threads, at least 2: one is kept for asynchronous tasks. Independent of the number of cores, since
    /// loaders mostly wait for a source.
    threads: usize,
    /// The most threads above that number, while as many threads wait for other loads.
    stand_ins: usize,
    /// The most synchronous tasks that wait for a thread.
    waiting_blocking: usize,
    /// The most tasks.
    tasks: usize,
    idle: Duration,
}

/// Threads and their tasks. There is one pool for the process, and more in tests.
struct LoadPool {
    limits: PoolLimits,
    state: Mutex<PoolState>,
    #[cfg(test)]
    refuses_threads: sync::AtomicBool,
}

struct PoolState {
    /// 0 until the first task.
    max_threads: usize,
    threads: usize,
    /// How many threads poll a synchronous task.
    blocked: usize,
    /// How many of them wait for another load, and are stood in for.
    stood_in: usize,
    /// The idle threads by their numbers, the one that is to be woken next last.
    sleepers: Vec<(u64, Thread)>,
    /// Counts forks. A thread that forks goes on in the child, where it ends by this, because the state has
    /// forgotten it.
    generation: u64,
    tasks: BTreeMap<u64, LoadState>,
    /// The last number that was given to a task or a thread.
    last_id: u64,
    queued: TaskQueue,
    queued_blocking: TaskQueue,
    /// Tasks that can never go on, to be dropped.
    discarded: Vec<LoadTask>,
}

type TaskQueue = VecDeque<(Arc<TaskWaker>, LoadTask)>;

/// See the module's table.
enum LoadState {
    Queued,
    Running,
    Woken,
    Waiting(LoadTask),
}

/// Puts its task into a queue when it is woken. It is in the queue while the task is `Queued`, with the thread
/// that polls it while it is `Running` or `Woken`, and otherwise only with whatever is to wake the task.
struct TaskWaker {
    pool: &'static LoadPool,
    id: u64,
    is_blocking: bool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let pool = self.pool;
        // Dropped after the lock is released, because that may take the lock again.
        let unused = pool.wake(self);
        drop(unused);
    }
}

impl Drop for TaskWaker {
    fn drop(&mut self) {
        let mut state = sync::lock(&self.pool.state);
        // A task in another state has another waker, or is gone.
        if let Some(LoadState::Waiting(_)) = state.tasks.get(&self.id)
            && let Some(LoadState::Waiting(task)) = state.tasks.remove(&self.id)
        {
            state.discarded.push(task);
            self.pool.wake_thread(&mut state);
        }
    }
}

/// What a thread does next.
enum PoolJob {
    Poll(Arc<TaskWaker>, LoadTask),
    Discard(Vec<LoadTask>),
}

impl LoadPool {
    const fn new(limits: PoolLimits) -> Self {
        let state = PoolState {
            max_threads: 0,
            threads: 0,
            blocked: 0,
            stood_in: 0,
            sleepers: Vec::new(),
            generation: 0,
            tasks: BTreeMap::new(),
            last_id: 0,
            queued: VecDeque::new(),
            queued_blocking: VecDeque::new(),
            discarded: Vec::new(),
        };
        Self {
            limits,
            state: Mutex::new(state),
            #[cfg(test)]
            refuses_threads: sync::AtomicBool::new(false),
        }
    }

    fn spawn(&'static self, task: LoadTask) -> Result<(), LoadTask> {
        let mut state = self.lock_prepared();
        let is_blocking = task.is_blocking();
        let has_room = state.tasks.len() + state.discarded.len() < self.limits.tasks
            && (!is_blocking || state.queued_blocking.len() < self.limits.waiting_blocking);
        // The thread waits for the lock, and then finds the task.
        if !has_room || !self.wake_thread(&mut state) {
            drop(state);
            return Err(task);
        }
        let id = state.next_id();
        state.tasks.insert(id, LoadState::Queued);
        let waker = Arc::new(TaskWaker { pool: self, id, is_blocking });
        state.queue(is_blocking).push_back((waker, task));
        Ok(())
    }

    /// Takes the lock, once forks are known to take it too and the number of threads is known.
    fn lock_prepared(&'static self) -> MutexGuard<'static, PoolState> {
        let state = sync::lock(&self.state);
        if state.max_threads > 0 {
            return state;
        }
        drop(state);
        #[cfg(unix)]
        at_fork::register(&HOOK);
        let mut state = sync::lock(&self.state);
        state.max_threads = self.limits.threads;
        state
    }

    /// Puts a waiting task into its queue. Returns the waker, if the queue does not need it.
    fn wake(&'static self, waker: Arc<TaskWaker>) -> Option<Arc<TaskWaker>> {
        let mut state = sync::lock(&self.state);
        let Some(task) = state.tasks.get_mut(&waker.id) else { return Some(waker) };
        match task {
            LoadState::Queued | LoadState::Woken => Some(waker),
            LoadState::Running => {
                *task = LoadState::Woken;
                Some(waker)
            }
            LoadState::Waiting(_) => {
                if let LoadState::Waiting(task) = std::mem::replace(task, LoadState::Queued) {
                    state.queue(waker.is_blocking).push_back((waker, task));
                }
                // If no thread can be started, the next task or waking tries again.
                self.wake_thread(&mut state);
                None
            }
        }
    }

    /// Wakes an idle thread, or starts one if there may be more. False if there is no thread.
    fn wake_thread(&'static self, state: &mut PoolState) -> bool {
        if let Some((_, thread)) = state.sleepers.pop() {
            thread.unpark();
        } else if state.threads < state.max_threads + state.stood_in && !self.refuses_threads() {
            let (id, generation) = (state.next_id(), state.generation);
            let builder = thread::Builder::new().name("larder-load".to_owned());
            if builder.spawn(move || self.work(id, generation)).is_ok() {
                state.threads += 1;
            }
        }
        state.threads > 0
    }

    fn work(&'static self, id: u64, generation: u64) {
        loop {
            let job = {
                let mut state = sync::lock(&self.state);
                if state.generation != generation {
                    return;
                }
                if state.threads > state.max_threads + state.stood_in {
                    // It has stood in for a thread that goes on. What has woken this one is left to another.
                    state.threads -= 1;
                    self.wake_thread(&mut state);
                    return;
                }
                let job = state.next_job();
                if job.is_none() {
                    // Under the lock, so that a task that comes later wakes the thread.
                    state.sleepers.push((id, thread::current()));
                }
                job
            };
            match job {
                Some(PoolJob::Poll(waker, task)) => self.poll(waker, task, generation),
                Some(PoolJob::Discard(tasks)) => {
                    for task in tasks {
                        contain(|| drop(task));
                    }
                }
                None if self.sleep(id, generation) => (),
                None => return,
            }
        }
    }

    /// Polls a task, and notes what becomes of it.
    fn poll(&'static self, waker: Arc<TaskWaker>, mut task: LoadTask, generation: u64) {
        let (id, is_blocking) = (waker.id, waker.is_blocking);
        let own = Waker::from(Arc::clone(&waker));
        set_polling(if is_blocking { Some((self, generation)) } else { None });
        let polled = contain(|| Pin::new(&mut task).poll(&mut Context::from_waker(&own)));
        set_polling(None);
        drop(own);
        let waiting = match polled {
            Some(Poll::Pending) => Some(task),
            // Done, or ended by a panic.
            _ => {
                contain(|| drop(task));
                None
            }
        };
        let unused = {
            let mut state = sync::lock(&self.state);
            if is_blocking && state.generation == generation {
                state.blocked -= 1;
            }
            match (state.tasks.get_mut(&id), waiting) {
                (Some(state @ LoadState::Running), Some(task)) => {
                    *state = LoadState::Waiting(task);
                    // If this is the last reference, the task has kept no waker, and can never go on.
                    (Some(waker), None)
                }
                (Some(woken), Some(task)) => {
                    *woken = LoadState::Queued;
                    state.queue(is_blocking).push_back((waker, task));
                    (None, None)
                }
                (_, None) => {
                    state.tasks.remove(&id);
                    (Some(waker), None)
                }
                // In a child that the task has forked, which does not know the task.
                (None, task) => (Some(waker), task),
            }
        };
        contain(|| drop(unused));
    }

    /// Waits for a job; false if the thread is to end.
    fn sleep(&'static self, id: u64, generation: u64) -> bool {
        let end = Instant::now() + self.limits.idle;
        loop {
            sync::park_timeout(end.saturating_duration_since(Instant::now()));
            let mut state = sync::lock(&self.state);
            if state.generation != generation {
                return false;
            }
            let Some(at) = state.sleepers.iter().position(|(sleeper, _)| *sleeper == id) else {
                return true;
            };
            if end <= Instant::now() {
                // Under the lock, so that a task that comes later starts another thread.
                state.sleepers.remove(at);
                state.threads -= 1;
                return false;
            }
        }
    }

    fn refuses_threads(&self) -> bool {
        #[cfg(test)]
        return self.refuses_threads.load(sync::Ordering::SeqCst);
        #[cfg(not(test))]
        false
    }
}

impl PoolState {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn queue(&mut self, is_blocking: bool) -> &mut TaskQueue {
        if is_blocking { &mut self.queued_blocking } else { &mut self.queued }
    }

    /// What the calling thread is to do. Synchronous tasks come first, since a thread is kept for the others.
    fn next_job(&mut self) -> Option<PoolJob> {
        if !self.discarded.is_empty() {
            return Some(PoolJob::Discard(std::mem::take(&mut self.discarded)));
        }
        let may_block = self.blocked + 1 < self.max_threads + self.stood_in;
        let blocking = if may_block { self.queued_blocking.pop_front() } else { None };
        let (waker, task) = blocking.or_else(|| self.queued.pop_front())?;
        self.blocked += usize::from(waker.is_blocking);
        self.tasks.insert(waker.id, LoadState::Running);
        Some(PoolJob::Poll(waker, task))
    }

    /// Notes, in a forked child, that the threads are gone, and what they were polling with them.
    #[cfg(unix)]
    fn forget_threads(&mut self) {
        self.threads = 0;
        self.blocked = 0;
        self.stood_in = 0;
        self.sleepers.clear();
        self.generation += 1;
        self.tasks.retain(|_, task| matches!(task, LoadState::Queued | LoadState::Waiting(_)));
    }
}

impl StandInPool for LoadPool {
    fn begin_stand_in(&'static self, generation: u64) -> bool {
        let mut state = sync::lock(&self.state);
        if state.generation != generation || state.stood_in == self.limits.stand_ins {
            return false;
        }
        state.stood_in += 1;
        if !state.queued_blocking.is_empty() {
            self.wake_thread(&mut state);
        }
        true
    }

    fn end_stand_in(&self, generation: u64) {
        let mut state = sync::lock(&self.state);
        if state.generation == generation {
            state.stood_in -= 1;
        }
    }
}

/// Keeps the state from being changed during a fork.
#[cfg(unix)]
struct HeldPool(MutexGuard<'static, PoolState>);

/// No other lock is taken while this one is held.
#[cfg(unix)]
static HOOK: Hook = Hook { rank: 3, hold: || Box::new(HeldPool(sync::lock(&POOL.state))) };

#[cfg(unix)]
impl HeldAcrossFork for HeldPool {
    fn forget_other_threads(&mut self) {
        self.0.forget_threads();
    }
}

#[cfg(test)]
mod tests;
