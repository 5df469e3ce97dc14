//! What the near cache needs of a client of the shared server: a connection that answers commands in
//! their order, and that hands on what the server pushes.
//!
//! The rest of the crate knows these traits alone, and `redis_crate` implements them.

pub(crate) mod redis_crate;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::TransportError;

/// A boxed future, so that transports are objects.
pub type TransportFuture<'t, T> =
    Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send + 't>>;

/// Opens connections to the server that is the truth at the moment.
///
/// The near cache calls it again whenever it has lost a connection, so a transport may resolve the address
/// anew each time.
pub trait Transport: Send + Sync + 'static {
    /// Opens a connection, and asks the server to track what is read over it.
    ///
    /// Every push of the server goes to `pushes` **before** any reply that follows it in the stream is handed
    /// to its caller. All that the cache promises rests on that.
    fn open<'t>(
        &'t self,
        tracking: &'t Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened>;
}

/// A connection that was opened, and what the server has agreed to.
pub struct Opened {
    /// The connection. Dropping it closes it.
    pub connection: Arc<dyn NearConnection>,
    /// Whether the server tracks what is read; `Err` has its refusal.
    pub tracked: Result<(), String>,
}

/// A connection over which commands of several tasks may be under way at the same time.
pub trait NearConnection: Send + Sync + 'static {
    /// Sends `commands` one directly after the other, and returns their replies in the same order.
    ///
    /// A reply may be an error of the server. If the future is dropped, the commands may still be executed.
    fn call(&self, commands: Vec<Command>) -> TransportFuture<'_, Vec<Reply>>;
}

/// Takes what a server pushes. It is called in the order of the stream, and does not wait.
pub trait PushSink: Send + Sync + 'static {
    /// Some keys were changed.
    fn invalidated(&self, keys: &[Vec<u8>]);
    /// All keys were changed, or the server cannot say which.
    fn all_invalidated(&self);
    /// The connection has ended; nothing will be pushed any more.
    fn lost(&self);
}

/// How the server is asked to track what the cache reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// The server remembers each key that was read over the connection.
    #[default]
    Default,
    /// The same, only for those reads that ask for it: the reads of keys that the cache will hold.
    OptIn,
    /// The server remembers nothing and pushes every change of a key with the cache's prefix.
    Broadcast,
    /// No tracking: values are held for `max_stale` at most.
    Off,
}

/// One command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(Vec<Vec<u8>>);

impl Command {
    /// A command without arguments.
    pub fn new(name: &str) -> Self {
        Self(vec![name.as_bytes().to_vec()])
    }

    /// The same command with one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.0.push(argument.into());
        self
    }

    /// The name, and the arguments.
    pub fn parts(&self) -> &[Vec<u8>] {
        &self.0
    }
}

/// What a server answers to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// There is no value.
    Nil,
    /// A number.
    Integer(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A status, such as `OK`.
    Status(String),
    /// Several replies.
    Array(Vec<Reply>),
    /// The server refused the command.
    Refused(String),
}
