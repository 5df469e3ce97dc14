use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::base::reentrancy;
use crate::base::sync::Ordering;

const WAIT: Duration = Duration::from_secs(60);

/// A pool of one test, which is leaked because its threads may outlive it, and referenced from a static, so
/// that the leak checker does not report it.
fn pool(waiting_blocking: usize, tasks: usize, idle: Duration) -> &'static LoadPool {
    static LEAKED: Mutex<Vec<&'static LoadPool>> = Mutex::new(Vec::new());
    let limits = PoolLimits { threads: 2, stand_ins: 2, waiting_blocking, tasks, idle };
    let pool: &_ = Box::leak(Box::new(LoadPool::new(limits)));
    sync::lock(&LEAKED).push(pool);
    pool
}

/// Waits until the pool is in a certain state.
fn await_that(pool: &LoadPool, is_so: impl Fn(&PoolState) -> bool) {
    let end = Instant::now() + WAIT;
    while !is_so(&sync::lock(&pool.state)) {
        assert!(Instant::now() < end, "the pool does not get there");
        thread::yield_now();
    }
}

/// Sends a message when it is dropped.
struct SendAtDrop(Sender<()>);

impl Drop for SendAtDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A task that blocks its thread until the sender is dropped, and says when it begins.
fn blocker(began: &Sender<()>) -> (LoadTask, Sender<()>) {
    let (release, released) = channel::<()>();
    let began = began.clone();
    let task = LoadTask::blocking(move || {
        let _ = began.send(());
        let _ = released.recv();
    });
    (task, release)
}

/// Wakers that futures leave here.
type Left = Arc<Mutex<Vec<Waker>>>;

/// A future that leaves its waker, and is done with the second poll.
fn twice(left: &Left) -> impl Future<Output = ()> + Send + 'static {
    let left = Arc::clone(left);
    let mut is_first = true;
    poll_fn(move |context| {
        if std::mem::take(&mut is_first) {
            sync::lock(&left).push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

#[test]
fn tasks_run_in_named_threads_outside_of_every_scope() {
    let pool = pool(100, 100, IDLE);
    let (sender, results) = channel();
    let report = move || {
        let name = thread::current().name().map(str::to_owned);
        let _ = sender.send((name, reentrancy::may_wait()));
    };
    let other = report.clone();
    let _inside = reentrancy::enter(reentrancy::Scope::Listener, &0_u64);
    pool.spawn(LoadTask::blocking(report)).unwrap();
    pool.spawn(LoadTask::of(async move { other() })).unwrap();
    for _ in 0..2 {
        assert_eq!(results.recv_timeout(WAIT), Ok((Some("larder-load".to_owned()), true)));
    }
}

#[test]
fn a_few_threads_drive_thousands_of_waiting_tasks() {
    const TASKS: usize = 5_000;
    let pool = pool(10, TASKS, IDLE);
    let left = Left::default();
    let (sender, done) = channel();
    for index in 0..TASKS {
        let (future, sender) = (twice(&left), sender.clone());
        pool.spawn(LoadTask::of(async move {
            future.await;
            sender.send(index).unwrap();
        }))
        .unwrap();
    }
    await_that(pool, |state| {
        state.tasks.values().all(|task| matches!(task, LoadState::Waiting(_)))
    });
    assert_eq!(sync::lock(&left).len(), TASKS);
    assert!(done.try_recv().is_err());
    let wakers = std::mem::take(&mut *sync::lock(&left));
    // Half of them twice, and from several threads.
    thread::scope(|scope| {
        for part in wakers.chunks(TASKS / 4) {
            scope.spawn(move || part.iter().for_each(Waker::wake_by_ref));
        }
        wakers.iter().step_by(2).for_each(Waker::wake_by_ref);
    });
    let all: BTreeSet<usize> =
        (0..TASKS).map(|_| done.recv_timeout(WAIT).expect("a task is not woken")).collect();
    assert_eq!(all.len(), TASKS);
    drop(wakers);
    await_that(pool, |state| state.tasks.is_empty());
    assert!(sync::lock(&pool.state).threads <= 2);
}

#[test]
fn a_task_that_is_woken_while_it_is_polled_is_polled_again() {
    let pool = pool(10, 10, IDLE);
    let (sender, polls) = channel();
    let mut left = 3;
    pool.spawn(LoadTask::of(poll_fn(move |context| {
        sender.send(left).unwrap();
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        context.waker().wake_by_ref();
        Poll::Pending
    })))
    .unwrap();
    let seen: Vec<i32> = polls.into_iter().collect();
    assert_eq!(seen, [3, 2, 1, 0]);
}

#[test]
fn blocked_threads_leave_one_for_asynchronous_tasks() {
    let pool = pool(100, 100, IDLE);
    let (began, has_begun) = channel();
    let (tasks, releases): (Vec<_>, Vec<_>) = (0..4).map(|_| blocker(&began)).unzip();
    for task in tasks {
        pool.spawn(task).unwrap();
    }
    has_begun.recv_timeout(WAIT).unwrap();
    let (sender, done) = channel();
    for index in 0..10 {
        let sender = sender.clone();
        pool.spawn(LoadTask::of(async move { sender.send(index).unwrap() })).unwrap();
    }
    for index in 0..10 {
        assert_eq!(done.recv_timeout(WAIT), Ok(index), "asynchronous tasks wait for the others");
    }
    assert!(has_begun.try_recv().is_err(), "both threads block");
    drop(releases);
    for _ in 1..4 {
        has_begun.recv_timeout(WAIT).unwrap();
    }
    await_that(pool, |state| state.tasks.is_empty() && state.blocked == 0);
}

#[test]
fn a_task_that_does_not_fit_comes_back() {
    let pool = pool(2, 5, IDLE);
    let (began, has_begun) = channel();
    let (task, release) = blocker(&began);
    pool.spawn(task).unwrap();
    has_begun.recv_timeout(WAIT).unwrap();
    let (sender, done) = channel();
    let task = || {
        let sender = sender.clone();
        LoadTask::blocking(move || sender.send(()).unwrap())
    };
    assert!(pool.spawn(task()).is_ok() && pool.spawn(task()).is_ok());
    let refused = pool.spawn(task()).expect_err("two wait already");
    refused.run();
    assert_eq!(done.recv_timeout(WAIT), Ok(()));
    let left = Left::default();
    let waiting = || LoadTask::of(twice(&left));
    assert!(pool.spawn(waiting()).is_ok() && pool.spawn(waiting()).is_ok());
    assert!(pool.spawn(waiting()).is_err(), "there are five");
    drop(release);
    for _ in 0..2 {
        assert_eq!(done.recv_timeout(WAIT), Ok(()));
    }
    await_that(pool, |state| state.tasks.len() == 2);
    assert!(pool.spawn(task()).is_ok());
    assert_eq!(done.recv_timeout(WAIT), Ok(()));
}

#[test]
fn a_panic_ends_the_task_and_not_the_thread() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("a drop");
        }
    }
    let pool = pool(100, 100, IDLE);
    let (sender, dropped) = channel();
    for _ in 0..4 {
        let guard = SendAtDrop(sender.clone());
        pool.spawn(LoadTask::blocking(move || {
            let _guard = guard;
            panic!("a loader");
        }))
        .unwrap();
        let guard = SendAtDrop(sender.clone());
        pool.spawn(LoadTask::of(async move {
            let _guard = guard;
            panic!("an asynchronous loader");
        }))
        .unwrap();
        // Is dropped when it waits without a waker.
        let kept = (PanicsWhenDropped, SendAtDrop(sender.clone()));
        pool.spawn(LoadTask::of(async move {
            let _kept = kept;
            pending::<()>().await;
        }))
        .unwrap();
    }
    for _ in 0..12 {
        dropped.recv_timeout(WAIT).unwrap();
    }
    await_that(pool, |state| state.tasks.is_empty() && state.blocked == 0);
    pool.spawn(LoadTask::blocking(move || sender.send(()).unwrap())).unwrap();
    dropped.recv_timeout(WAIT).unwrap();
}

#[test]
fn a_task_that_can_never_go_on_is_dropped_by_a_thread_of_the_pool() {
    /// Reports the thread that drops it.
    struct Named(Sender<Option<String>>);
    impl Drop for Named {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }
    let pool = pool(10, 10, IDLE);
    let (sender, dropped) = channel();
    let left = Left::default();
    let (future, named) = (twice(&left), Named(sender.clone()));
    pool.spawn(LoadTask::of(async move {
        let _named = named;
        future.await;
    }))
    .unwrap();
    await_that(pool, |state| {
        state.tasks.values().all(|task| matches!(task, LoadState::Waiting(_)))
    });
    assert!(dropped.try_recv().is_err());
    // Under a lock that the drop might take.
    sync::lock(&left).clear();
    assert_eq!(dropped.recv_timeout(WAIT), Ok(Some("larder-load".to_owned())));
    let named = Named(sender);
    pool.spawn(LoadTask::of(async move {
        let _named = named;
        pending::<()>().await;
    }))
    .unwrap();
    assert_eq!(dropped.recv_timeout(WAIT), Ok(Some("larder-load".to_owned())));
    await_that(pool, |state| state.tasks.is_empty() && state.discarded.is_empty());
}

#[test]
fn idle_threads_end_and_are_started_again_also_by_a_waking() {
    let pool = pool(10, 10, Duration::ZERO);
    let left = Left::default();
    let (sender, done) = channel();
    for _ in 0..3 {
        let (future, sender) = (twice(&left), sender.clone());
        pool.spawn(LoadTask::of(async move {
            future.await;
            sender.send(()).unwrap();
        }))
        .unwrap();
        await_that(pool, |state| state.threads == 0);
        sync::lock(&left).drain(..).for_each(Waker::wake);
        done.recv_timeout(WAIT).unwrap();
        await_that(pool, |state| state.threads == 0 && state.tasks.is_empty());
    }
    let state = sync::lock(&pool.state);
    assert!(state.sleepers.is_empty());
}

#[test]
fn without_a_thread_a_task_comes_back_and_a_woken_one_waits() {
    let pool = pool(10, 10, Duration::ZERO);
    let left = Left::default();
    let (sender, done) = channel();
    let (future, finished) = (twice(&left), sender.clone());
    pool.spawn(LoadTask::of(async move {
        future.await;
        finished.send("woken").unwrap();
    }))
    .unwrap();
    await_that(pool, |state| state.threads == 0);
    pool.refuses_threads.store(true, Ordering::SeqCst);
    assert!(pool.spawn(LoadTask::of(async {})).is_err());
    sync::lock(&left).drain(..).for_each(Waker::wake);
    assert!(done.try_recv().is_err());
    pool.refuses_threads.store(false, Ordering::SeqCst);
    pool.spawn(LoadTask::of(async move { sender.send("new").unwrap() })).unwrap();
    let mut results = [done.recv_timeout(WAIT).unwrap(), done.recv_timeout(WAIT).unwrap()];
    results.sort_unstable();
    assert_eq!(results, ["new", "woken"]);
}

#[test]
fn tasks_may_spawn_tasks_and_wake_others() {
    let pool = pool(100, 100, IDLE);
    let (sender, done): (_, Receiver<u32>) = channel();
    pool.spawn(LoadTask::blocking(move || {
        let inner = sender.clone();
        let _ = pool.spawn(LoadTask::of(async move {
            let innermost = inner.clone();
            let _ = pool.spawn(LoadTask::blocking(move || innermost.send(3).unwrap()));
            inner.send(2).unwrap();
        }));
        sender.send(1).unwrap();
    }))
    .unwrap();
    let seen: BTreeSet<u32> = done.into_iter().collect();
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

/// Of the threads here, which a fork would end, one polls on and finds that it is not known.
#[cfg(unix)]
#[test]
fn a_state_that_was_forked_has_the_tasks_that_no_thread_was_polling() {
    let pool = pool(10, 10, IDLE);
    let left = Left::default();
    let (sender, done) = channel();
    let (future, waiting) = (twice(&left), sender.clone());
    pool.spawn(LoadTask::of(async move {
        future.await;
        waiting.send("waiting").unwrap();
    }))
    .unwrap();
    await_that(pool, |state| {
        state.tasks.values().all(|task| matches!(task, LoadState::Waiting(_)))
    });
    let (began, has_begun) = channel();
    let (task, release) = blocker(&began);
    pool.spawn(task).unwrap();
    has_begun.recv_timeout(WAIT).unwrap();
    let queued = sender.clone();
    pool.spawn(LoadTask::blocking(move || queued.send("queued").unwrap())).unwrap();
    assert!(done.try_recv().is_err());

    sync::lock(&pool.state).forget_threads();
    assert_eq!(sync::lock(&pool.state).tasks.len(), 2);
    // The thread that was forgotten ends, and changes nothing.
    drop(release);
    sync::lock(&left).drain(..).for_each(Waker::wake);
    let mut results = [done.recv_timeout(WAIT).unwrap(), done.recv_timeout(WAIT).unwrap()];
    results.sort_unstable();
    assert_eq!(results, ["queued", "waiting"]);
    await_that(pool, |state| state.tasks.is_empty() && state.blocked == 0);
}

#[test]
fn the_pool_of_the_process_runs_tasks() {
    let (sender, done) = channel();
    let barrier = Arc::new(Barrier::new(2));
    let met = Arc::clone(&barrier);
    spawn(LoadTask::blocking(move || {
        met.wait();
        sender.send(1).unwrap();
    }))
    .unwrap();
    barrier.wait();
    assert_eq!(done.recv_timeout(WAIT), Ok(1));
}
