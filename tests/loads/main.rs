//! Loading under attack: exact races, loaders and keys that misbehave, chaos, and recorded histories.
//!
//! This is a program of its own because CI also runs it under AddressSanitizer, where building all of `it`
//! would take long.

// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "../support/mod.rs"]
mod support;

mod chaos;
mod histories;
mod hostile;
mod races;
mod within;

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A future that the test polls by hand, and a count of its wakings.
struct Task<F> {
    future: Pin<Box<F>>,
    wakings: Arc<Wakings>,
}

#[derive(Default)]
struct Wakings(AtomicUsize);

impl Wake for Wakings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakings: Arc::default() }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakings));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakings(&self) -> usize {
        self.wakings.0.load(Ordering::SeqCst)
    }
}

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A key that runs code of the test's when it is compared or cloned for the first time. Clones of it run
/// none.
#[derive(Default)]
struct Hooked {
    id: u64,
    on_eq: Hook,
    on_clone: Hook,
}

impl Hooked {
    fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    fn on_eq(self, hook: impl FnOnce() + Send + 'static) -> Self {
        Self { on_eq: Mutex::new(Some(Box::new(hook))), ..self }
    }

    fn on_clone(self, hook: impl FnOnce() + Send + 'static) -> Self {
        Self { on_clone: Mutex::new(Some(Box::new(hook))), ..self }
    }
}

fn run_hook(hook: &Hook) {
    let hook = hook.lock().unwrap().take();
    if let Some(hook) = hook {
        hook();
    }
}

impl PartialEq for Hooked {
    fn eq(&self, other: &Self) -> bool {
        run_hook(&self.on_eq);
        run_hook(&other.on_eq);
        self.id == other.id
    }
}

impl Eq for Hooked {}

impl Hash for Hooked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Clone for Hooked {
    fn clone(&self) -> Self {
        run_hook(&self.on_clone);
        Self::new(self.id)
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.id)
    }
}
