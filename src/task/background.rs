//! Where the background loads of a cache run: in the pool of the process, or on the user's executor.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::executor::{LoadExecutor, LoadTask};
use super::pool;
use crate::base::panics::contain;

/// Where a cache has its tasks run.
#[derive(Clone, Default)]
pub(crate) enum Background {
    /// In the pool of the process.
    #[default]
    Pool,
    User(Arc<dyn LoadExecutor>),
}

impl Background {
    /// How many tasks wait in the pool.
    #[cfg(all(test, not(larder_loom)))]
    pub(crate) fn waiting_in_pool() -> usize {
        pool::waiting()
    }

    /// Gives the task away. An error brings it back, if the pool has no room for it.
    ///
    /// With a user's executor, this may run or drop the loader before it returns, so the caller must hold no
    /// lock and no pin, and must have noted the load before.
    pub(crate) fn spawn(&self, task: LoadTask) -> Result<(), LoadTask> {
        match self {
            Self::Pool => pool::spawn(task),
            Self::User(executor) => {
                // A panic has dropped the task, or it runs elsewhere.
                contain(|| executor.spawn(task));
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "Pool",
            Self::User(_) => "User(..)",
        })
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::future;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::base::sync::{self, AtomicUsize, Mutex, Ordering};
    use crate::task::ThreadPerTask;

    /// Counts its drops.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn closures_arcs_and_threads_are_executors() {
        let kept = Mutex::new(Vec::new());
        let keep = move |task: LoadTask| sync::lock(&kept).push(task);
        let inline = Background::User(Arc::new(LoadTask::run));
        let shared: Arc<dyn LoadExecutor> = Arc::new(ThreadPerTask);
        let executors =
            [Background::User(Arc::new(keep)), inline, Background::User(Arc::new(shared))];
        let (sender, done) = channel();
        for (index, executor) in executors.iter().enumerate() {
            let sender = sender.clone();
            executor.spawn(LoadTask::blocking(move || sender.send(index).unwrap())).unwrap();
        }
        assert_eq!([done.recv(), done.recv()], [Ok(1), Ok(2)]);
        drop(sender);
        assert!(done.try_recv().is_err());
        drop(executors);
        assert_eq!(done.recv(), Err(std::sync::mpsc::RecvError), "a kept task was not dropped");
    }

    #[test]
    fn a_panic_of_an_executor_drops_the_task_and_goes_no_further() {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        let executor = Background::User(Arc::new(|_: LoadTask| panic!("an executor")));
        assert!(executor.spawn(LoadTask::blocking(move || drop(counted))).is_ok());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn tokio_runs_both_kinds_of_tasks_and_drops_them_after_its_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let executor = Background::User(Arc::new(runtime.handle().clone()));
        let (sender, done) = channel();
        // Would never end if it kept the only worker from polling the other.
        let (release, released) = channel::<()>();
        let finished = sender.clone();
        let blocking = LoadTask::blocking(move || {
            released.recv().unwrap();
            finished.send("blocking").unwrap();
        });
        executor.spawn(blocking).unwrap();
        let finished = sender.clone();
        let asynchronous = LoadTask::of(async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            release.send(()).unwrap();
            finished.send("asynchronous").unwrap();
        });
        executor.spawn(asynchronous).unwrap();
        let mut results = [done.recv().unwrap(), done.recv().unwrap()];
        results.sort_unstable();
        assert_eq!(results, ["asynchronous", "blocking"]);

        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        executor
            .spawn(LoadTask::of(async move {
                let _counted = counted;
                future::pending::<()>().await;
            }))
            .unwrap();
        drop(runtime);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        for is_blocking in [false, true] {
            let counted = Counted(Arc::clone(&drops));
            let task = match is_blocking {
                true => LoadTask::blocking(move || drop(counted)),
                false => LoadTask::of(async move { drop(counted) }),
            };
            executor.spawn(task).unwrap();
        }
        assert_eq!(drops.load(Ordering::SeqCst), 3);
    }
}
