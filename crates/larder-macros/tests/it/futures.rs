//! Functions that are `async`.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use larder::{Cache, cached};

use crate::support::{Gate, Runs, poll, ready};

#[derive(Clone, Debug, PartialEq)]
struct Failure(u64);

#[test]
fn every_kind_of_function_can_be_async() {
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn plain(text: &str, n: usize) -> String {
        RUNS.add();
        text.repeat(n)
    }

    #[cached(result)]
    async fn fallible(n: u64) -> Result<u64, Failure> {
        RUNS.add();
        if n == 0 { Err(Failure(n)) } else { Ok(n) }
    }

    #[cached(option)]
    async fn optional(n: u64) -> Option<u64> {
        RUNS.add();
        n.checked_sub(1)
    }

    #[cached(result, option)]
    async fn both(n: u64) -> Result<Option<u64>, Failure> {
        RUNS.add();
        if n == 0 { Err(Failure(0)) } else { Ok((n > 1).then_some(n)) }
    }

    fn assert_send<T: Send>(future: T) -> T {
        future
    }

    for _ in 0..2 {
        assert_eq!(ready(assert_send(plain("ab", 2))), "abab");
        assert_eq!((ready(fallible(0)), ready(fallible(1))), (Err(Failure(0)), Ok(1)));
        assert_eq!((ready(optional(0)), ready(optional(1))), (None, Some(0)));
        assert_eq!(
            (ready(both(0)), ready(both(1)), ready(both(2))),
            (Err(Failure(0)), Ok(None), Ok(Some(2)))
        );
    }
    assert_eq!(RUNS.count(), 1 + 3 + 3 + 5);
    assert_eq!(ready(plain_uncached("a", 1)), "a");
    assert_eq!(plain_cache().len(), 1);
}

struct Service {
    runs: Runs,
    rows: Cache<u64, Arc<str>>,
}

impl Service {
    #[cached(cache = self.rows)]
    async fn row(&self, id: u64) -> Arc<str> {
        self.runs.add();
        Self::format(id).await.into()
    }

    #[cached(in_impl)]
    async fn format(id: u64) -> String {
        format!("row {id}")
    }
}

#[test]
fn methods_can_be_async() {
    let service = Service { runs: Runs::default(), rows: Cache::new(10) };
    assert_eq!((&*ready(service.row(1)), &*ready(service.row(1))), ("row 1", "row 1"));
    assert_eq!(service.runs.count(), 1);
}

trait Fetch {
    async fn fetch(&self, id: u64) -> Result<u64, Failure>;
}

impl Fetch for Service {
    // `?` and `return` mean what they mean without the attribute.
    #[cached(helpers = false, result, key = id)]
    async fn fetch(&self, mut id: u64) -> Result<u64, Failure> {
        self.runs.add();
        let checked = async { if id > 9 { Err(Failure(id)) } else { Ok(id) } }.await?;
        if checked == 0 {
            return Ok(100);
        }
        id += checked;
        Ok(id)
    }
}

#[test]
fn without_helpers_the_body_is_within_the_future() {
    let service = Service { runs: Runs::default(), rows: Cache::new(10) };
    for _ in 0..2 {
        assert_eq!(ready(service.fetch(0)), Ok(100));
        assert_eq!(ready(service.fetch(4)), Ok(8));
        assert_eq!(ready(service.fetch(10)), Err(Failure(10)));
    }
    assert_eq!(service.runs.count(), 4);
}

#[test]
fn calls_that_miss_at_once_run_one_body() {
    static RUNS: Runs = Runs::new();

    #[cached(key = n)]
    async fn wait(n: u64, gate: &Gate) -> u64 {
        RUNS.add();
        gate.wait().await;
        n * n
    }

    let gate = Gate::default();
    let (mut first, mut second) = (pin!(wait(3, &gate)), pin!(wait(3, &gate)));
    assert_eq!((poll(first.as_mut()), poll(second.as_mut())), (Poll::Pending, Poll::Pending));
    gate.open();
    assert_eq!(poll(second.as_mut()), Poll::Pending, "it waits for the first");
    assert_eq!(poll(first.as_mut()), Poll::Ready(9));
    assert_eq!(poll(second.as_mut()), Poll::Ready(9));
    assert_eq!(RUNS.count(), 1);
}

#[test]
fn a_call_that_is_dropped_leaves_the_body_to_another() {
    static RUNS: Runs = Runs::new();

    #[cached(key = n)]
    async fn wait(n: u64, gate: &Gate) -> u64 {
        RUNS.add();
        gate.wait().await;
        n * n
    }

    let gate = Gate::default();
    let mut first = Box::pin(wait(3, &gate));
    let mut second = pin!(wait(3, &gate));
    assert_eq!((poll(first.as_mut()), poll(second.as_mut())), (Poll::Pending, Poll::Pending));
    drop(first);
    assert_eq!(poll(second.as_mut()), Poll::Pending, "it runs the body itself");
    assert_eq!(RUNS.count(), 2);
    gate.open();
    assert_eq!(poll(second.as_mut()), Poll::Ready(9));
}

#[test]
fn tasks_of_a_runtime_run_one_body() {
    static RUNS: Runs = Runs::new();

    #[cached(result)]
    async fn fetch(id: u64) -> Result<String, Failure> {
        RUNS.add();
        tokio::task::yield_now().await;
        if id == 13 { Err(Failure(id)) } else { Ok(format!("row {id}")) }
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..400_u64).map(|task| tokio::spawn(fetch(task % 4))).collect();
        for (id, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), Ok(format!("row {}", id % 4)));
        }
        assert_eq!(fetch(13).await, Err(Failure(13)));
    });
    assert_eq!(RUNS.count(), 5);
}

#[test]
fn a_recursion_goes_through_a_boxed_future() {
    use std::future::Future;
    use std::pin::Pin;

    #[cached]
    async fn fibonacci(n: u64) -> u64 {
        if n < 2 { n } else { again(n - 1).await + again(n - 2).await }
    }

    // A future cannot contain itself, and whether it is `Send` cannot depend on itself.
    fn again(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(fibonacci(n))
    }

    assert_eq!(ready(fibonacci(50)), 12_586_269_025);
    assert_eq!(fibonacci_cache().len(), 51);
}
