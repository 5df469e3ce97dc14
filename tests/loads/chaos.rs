//! Eight callers of one cold key, by blocking calls and futures, thousands of times.
//!
//! In every other round all of them are well-behaved, and one loader runs. In the others they fail, panic, are
//! cancelled, have deadlines, are polled once and kept, and change the key. The time passes only if nothing
//! else happens, so that callers of a kept future reach the bound of its load; if nothing happens although
//! the time passes, the test has found a caller that hangs.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread::{park_timeout, yield_now};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, LoadError, LoadOptions, Loaded, Maintenance};

use crate::Task;
use crate::support::RaiseOnDrop;
use crate::support::rng::{Rng, seeds};
use crate::support::rounds::in_rounds_of;

const CALLERS: usize = 8;
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// What the time advances by if nothing happens: less than a load may take, so that a round which begins at
/// that moment is not disturbed.
const STEP: Duration = Duration::from_secs(2);

fn rounds() -> u64 {
    // The sanitizers are slow, and look at each access rather than for a rare order of them.
    if cfg!(larder_malloc) { 400 } else { 10_000 }
}

/// What the test knows of the calls.
#[derive(Default)]
struct Counts {
    /// All that has happened, for the watchdog.
    steps: AtomicU64,
    calls: AtomicU64,
    runs: AtomicU64,
    errors: AtomicU64,
    round: AtomicU64,
    /// The runs of this round, and what they and the changes have made.
    runs_now: AtomicU64,
    made: Mutex<Vec<u64>>,
}

impl Counts {
    /// Notes that a loader begins to run.
    fn begin(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.runs_now.fetch_add(1, Ordering::Relaxed);
    }

    /// A value, or an error, that a loader or a change makes.
    fn make(&self, rng: &mut Rng) -> u64 {
        let made = rng.next_u64();
        self.made.lock().unwrap().push(made);
        made
    }

    fn check(&self, value: u64) {
        assert!(self.made.lock().unwrap().contains(&value), "a value that no loader has returned");
    }

    fn is_calm(&self) -> bool {
        self.round.load(Ordering::SeqCst).is_multiple_of(2)
    }
}

type Kept<'c> = Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send + 'c>>>>;

struct Caller<'c, 'k> {
    cache: &'c Cache<u64, u64>,
    counts: &'c Counts,
    clock: &'c FakeClock,
    kept: &'k Kept<'c>,
    key: &'c u64,
    rng: Rng,
}

impl<'c> Caller<'c, '_> {
    fn call(mut self, is_calm: bool) {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        match if is_calm { self.rng.below(2) } else { self.rng.below(10) } {
            0 => self.call_blocking(),
            1 => self.call_async(u64::MAX),
            2 => self.fail_blocking(),
            3 => self.panic(),
            4 => self.call_with_deadline(),
            5 => {
                let polls = self.rng.below(4);
                self.call_async(polls);
            }
            6 => self.fail_async(),
            // Rarely, because such a round takes milliseconds.
            7 if self.rng.below(8) == 0 => self.keep(),
            7 | 8 => self.call_blocking(),
            _ => self.change(),
        }
        self.counts.steps.fetch_add(1, Ordering::Relaxed);
    }

    fn load(&mut self) -> u64 {
        self.counts.begin();
        (0..self.rng.below(4)).for_each(|_| yield_now());
        self.counts.make(&mut self.rng)
    }

    fn call_blocking(&mut self) {
        let value = self.cache.get_or_insert_with(self.key, || self.load());
        self.counts.check(value);
    }

    fn fail_blocking(&mut self) {
        let result = self.cache.try_get_or_insert_with(self.key, || {
            let error = self.load();
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
            Err::<u64, u64>(error)
        });
        self.check(result);
    }

    fn check(&self, result: Result<u64, LoadError<u64>>) {
        match result {
            Ok(value) => self.counts.check(value),
            Err(LoadError::Failed(error)) => self.counts.check(*error),
            Err(error) => panic!("{error}"),
        }
    }

    fn panic(&mut self) {
        let call = AssertUnwindSafe(|| {
            self.cache.get_or_insert_with(self.key, || {
                self.counts.begin();
                // Without the message that the hook would print.
                resume_unwind(Box::new("a planned panic"))
            })
        });
        if let Ok(value) = catch_unwind(call) {
            self.counts.check(value);
        }
    }

    fn call_with_deadline(&mut self) {
        let deadlines = [Duration::ZERO, Duration::from_secs(1), Duration::MAX];
        let deadline = deadlines[self.rng.below(3) as usize];
        let options = LoadOptions::new().load_deadline(deadline);
        // An error of another type than that of the others, who do not understand it.
        let result = self
            .cache
            .get_or_load(self.key, options, |_| Ok::<_, String>(Loaded::Store(self.load())));
        match result {
            Ok(value) => self.counts.check(value.unwrap()),
            Err(error) => assert_eq!(error, LoadError::DeadlineExceeded),
        }
    }

    /// A future that loads, and is pending for some polls meanwhile.
    fn loader(&mut self) -> impl Future<Output = u64> + Send + use<'c> {
        let (counts, mut rng) = (self.counts, Rng::new(self.rng.next_u64()));
        async move {
            counts.begin();
            let mut polls = rng.below(4);
            std::future::poll_fn(|context| {
                if polls == 0 {
                    return Poll::Ready(());
                }
                polls -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            counts.make(&mut rng)
        }
    }

    /// Polls a future until it is done, but only so many times.
    fn call_async(&mut self, polls: u64) {
        let load = self.loader();
        let mut task = Task::new(self.cache.get_or_insert_with_async(self.key, load));
        let mut polled = 0;
        while polled < polls {
            if let Poll::Ready(value) = task.poll() {
                return self.counts.check(value);
            }
            polled += 1;
            yield_now();
        }
    }

    fn fail_async(&mut self) {
        let (load, counts) = (self.loader(), self.counts);
        let mut task = Task::new(self.cache.try_get_or_insert_with_async(self.key, async {
            let error = load.await;
            counts.errors.fetch_add(1, Ordering::Relaxed);
            Err::<u64, u64>(error)
        }));
        loop {
            if let Poll::Ready(result) = task.poll() {
                return self.check(result);
            }
            yield_now();
        }
    }

    /// Polls a future whose loader never ends once, and keeps it.
    fn keep(&mut self) {
        let counts = self.counts;
        let call = self.cache.get_or_insert_with_async(self.key, async {
            counts.begin();
            std::future::pending().await
        });
        let mut task = Task::new(async {
            call.await;
        });
        if task.poll().is_pending() {
            self.kept.lock().unwrap().push(task.future);
        }
    }

    fn change(&mut self) {
        match self.rng.below(5) {
            0 => {
                let value = self.counts.make(&mut self.rng);
                self.cache.insert(*self.key, value);
            }
            1 => {
                self.cache.remove(self.key);
            }
            2 => self.cache.clear(),
            3 => {
                self.cache.invalidate_tag("any");
            }
            _ => self.clock.advance(STEP / 2),
        }
    }
}

/// Lets the time pass while nothing happens, and ends the process if that does not help.
fn keep_time(counts: &Counts, clock: &FakeClock, is_over: &AtomicBool) {
    let mut idle = 0;
    let mut steps = 0;
    while !is_over.load(Ordering::Acquire) {
        park_timeout(Duration::from_millis(2));
        let now = counts.steps.load(Ordering::Relaxed);
        if now != steps {
            (idle, steps) = (0, now);
            continue;
        }
        idle += 1;
        if !counts.is_calm() {
            clock.advance(STEP);
        }
        if idle > 30_000 {
            // Joining the threads would hang too.
            eprintln!("a caller hangs in round {}", counts.round.load(Ordering::SeqCst));
            std::process::abort();
        }
    }
}

fn check_rounds(maintenance: Maintenance, rounds: u64, seed: u64) {
    let clock = FakeClock::new();
    let cache = Cache::builder()
        .capacity(1_000)
        .maintenance(maintenance)
        .load_timeout(LOAD_TIMEOUT)
        .clock(clock.clone())
        .build()
        .unwrap();
    let counts = Counts::default();
    let keys: Vec<u64> = (0..rounds).collect();
    let kept = Kept::default();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (cache, counts, clock, kept) = (&cache, &counts, &clock, &kept);
        scope.spawn(|| keep_time(counts, clock, &is_over));
        let _is_over = RaiseOnDrop(&is_over);
        in_rounds_of(
            CALLERS,
            rounds,
            |round, thread| {
                let rng = Rng::new(seed ^ round << 16 ^ thread);
                let key = &keys[round as usize];
                Caller { cache, counts, clock, kept, key, rng }.call(counts.is_calm());
            },
            |round| {
                if counts.is_calm() {
                    let runs = counts.runs_now.load(Ordering::Relaxed);
                    assert_eq!(runs, 1, "seed {seed}, round {round}: so many loaders ran");
                }
                if let Some(value) = cache.get(&round) {
                    counts.check(value);
                }
                // Their flights end, if they have not been given up.
                kept.lock().unwrap().clear();
                counts.runs_now.store(0, Ordering::Relaxed);
                counts.made.lock().unwrap().clear();
                counts.steps.fetch_add(1, Ordering::Relaxed);
                counts.round.store(round + 1, Ordering::SeqCst);
            },
        );
    });
    cache.run_pending();
    cache.validate();
    let stats = cache.stats();
    assert_eq!(stats.loads, counts.runs.load(Ordering::Relaxed));
    assert_eq!(stats.load_failures, counts.errors.load(Ordering::Relaxed));
    assert!(stats.load_handovers <= stats.loads - rounds / 2);
    assert!(stats.loads_discarded + stats.load_failures <= stats.loads);
    assert!(stats.load_waits <= counts.calls.load(Ordering::Relaxed) - rounds / 2);
    assert!(rounds < 400 || (stats.load_waits > 0 && stats.load_handovers > 0));
}

#[test]
fn whatever_callers_do_one_loader_runs_at_a_time_and_nobody_hangs() {
    for seed in seeds(0xca05, 1) {
        check_rounds(Maintenance::Background, rounds(), seed);
        check_rounds(Maintenance::Inline, rounds() / 4, seed);
    }
}
