//! What a forked child does with alarms and background loads, which no test from outside can make wait.
//!
//! Other tests run while this one forks, so a child uses only what is tested here, and ends by `_exit`.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use super::*;
use crate::base::sync::{AtomicBool, Ordering};
use crate::base::system_time;
use crate::task::{Alarm, AlarmTime, Background, LoadTask, Parker};
use crate::test::FakeClock;

const WAIT: Duration = Duration::from_secs(30);
const ROUNDS: usize = 20;

/// Sends a message when it is woken.
struct SendAtWaking(Mutex<Sender<()>>);

impl Wake for SendAtWaking {
    fn wake(self: Arc<Self>) {
        let _ = sync::lock(&self.0).send(());
    }
}

fn waker() -> (Waker, Receiver<()>) {
    let (sender, woken) = channel();
    (Waker::from(Arc::new(SendAtWaking(Mutex::new(sender)))), woken)
}

/// Whether an alarm goes off, and a new task runs.
fn alarms_and_tasks_work() -> bool {
    let parker = Parker::new();
    let alarm = Alarm::register(AlarmTime::System(system_time::now_ns()), parker.waker());
    parker.park();
    drop(alarm);
    let (sender, done) = channel();
    let task = LoadTask::of(async move { sender.send(()).unwrap() });
    Background::Pool.spawn(task).is_ok() && done.recv_timeout(WAIT).is_ok()
}

/// A task that waits for the waker that it sends, and then sends a message.
fn waiting_task(sender: Sender<()>) -> (LoadTask, Receiver<Waker>) {
    let (leave, left) = channel();
    let mut is_first = true;
    let task = LoadTask::of(poll_fn(move |context| {
        if std::mem::take(&mut is_first) {
            leave.send(context.waker().clone()).unwrap();
            return Poll::Pending;
        }
        let _ = sender.send(());
        Poll::Ready(())
    }));
    (task, left)
}

#[test]
fn a_child_goes_on_with_alarms_and_tasks_that_wait() {
    assert!(alarms_and_tasks_work());
    let clock = FakeClock::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The fork meets other threads in the middle of the same.
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    assert!(alarms_and_tasks_work());
                }
            });
        }
        for round in 0..ROUNDS {
            let (waker, woken) = waker();
            let alarm =
                Alarm::register(AlarmTime::Custom(Arc::new(clock.clone()), u64::MAX), waker);
            let (sender, done) = channel();
            let (task, left) = waiting_task(sender);
            Background::Pool.spawn(task).unwrap();
            let left = left.recv_timeout(WAIT).unwrap();
            // A task that a thread is polling would be lost in the child.
            while Background::waiting_in_pool() == 0 {
                std::thread::yield_now();
            }
            let child = child::fork_child(|| {
                // It wakes while no thread of the child is known.
                left.wake_by_ref();
                let has_run = done.recv_timeout(WAIT).is_ok();
                let works = alarms_and_tasks_work();
                clock.set(Duration::MAX);
                has_run && works && woken.recv_timeout(WAIT).is_ok()
            });
            let status = child::wait_for(child, 4 * WAIT);
            if status != 0 {
                is_over.store(true, Ordering::SeqCst);
            }
            assert_eq!(status, 0, "the child of round {round} failed, or hung (9)");
            // What the child did is not seen here.
            assert!(woken.try_recv().is_err() && done.try_recv().is_err());
            left.wake();
            assert!(done.recv_timeout(WAIT).is_ok());
            drop(alarm);
        }
        is_over.store(true, Ordering::SeqCst);
    });
}
