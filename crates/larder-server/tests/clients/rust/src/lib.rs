//! What the programs share: the server's address, waiting with a bound, and the closing line.

use std::future::Future;
use std::time::{Duration, Instant};

/// The result of a scenario; any error fails it.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A bound for waits that end as soon as the server has done its part.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The address of the server, the first argument of the program: `HOST:PORT`.
pub fn address() -> String {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: PROGRAM HOST:PORT");
        std::process::exit(2);
    };
    address
}

/// Counts scenarios and what came of them.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Runs one scenario, in a task of its own so that a failed assertion ends only this one.
    pub async fn run<F>(&mut self, name: &str, scenario: F)
    where
        F: Future<Output = Outcome> + 'static,
    {
        let tasks = tokio::task::LocalSet::new();
        let task = tasks.spawn_local(tokio::time::timeout(6 * PATIENCE, scenario));
        tasks.run_until(async { tokio::task::yield_now().await }).await;
        let outcome = match tasks.run_until(task).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(late)) => Err(late.to_string()),
            Err(panic) => Err(panic.to_string()),
        };
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {name}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {name}: {error}");
            }
        }
    }

    /// Prints the counts as the last line and ends the program.
    pub fn close(self) -> ! {
        println!("{} passed, {} failed, 0 skipped", self.passed, self.failed);
        std::process::exit(i32::from(self.failed > 0 || self.passed == 0));
    }
}

/// Waits until the condition holds; panics once the patience is over.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
