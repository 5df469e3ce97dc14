//! What the near cache needs of a client of the shared server: a connection that answers commands in
//! their order, and that hands on what the server pushes.
//!
//! The rest of the crate knows these traits alone, and `redis_crate` implements them.

pub(crate) mod redis_crate;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::TransportError;

/// A boxed future, so that transports are objects.
pub type TransportFuture<'t, T> =
    Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send + 't>>;

/// Opens connections to servers.
///
/// The near cache calls it again whenever it has lost a connection, so a transport may resolve the address
/// anew each time.
pub trait Transport: Send + Sync + 'static {
    /// Opens a connection, and asks the server to track what is read over it.
    ///
    /// The server is the one at `at`, which a cluster or a sentinel has named; without that, it is the one that
    /// the transport was made for.
    ///
    /// Every push of the server goes to `pushes` **before** any reply that follows it in the stream is handed
    /// to its caller. All that the cache promises rests on that.
    fn open<'t>(
        &'t self,
        at: Option<&'t NodeAddress>,
        tracking: &'t Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened>;
}

/// Where a server is that another server has named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
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

/// Takes no notice of pushes: for connections that only ask who has the keys.
pub(crate) struct Unheard;

impl PushSink for Unheard {
    fn invalidated(&self, _: &[Vec<u8>]) {}
    fn all_invalidated(&self) {}
    fn lost(&self) {}
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
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The name and the arguments, each after its length: one allocation, since a call may send thousands.
    parts: Vec<u8>,
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &str) -> Self {
        // Room for the name and for an argument of ordinary length.
        Self { parts: Vec::with_capacity(64) }.arg(name)
    }

    /// The same command with one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        let argument = argument.as_ref();
        self.parts.extend_from_slice(&argument.len().to_ne_bytes());
        self.parts.extend_from_slice(argument);
        self
    }

    /// The name, and the arguments.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.parts[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (part, after) = after.split_at_checked(usize::from_ne_bytes(*length))?;
            rest = after;
            Some(part)
        })
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        self.parts().next().unwrap_or_default()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts().map(String::from_utf8_lossy)).finish()
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
    /// The server refused the command; begins with the code of the error.
    Refused(String),
    /// Another server has the key.
    Redirected(Redirect),
}

/// Where a server of a cluster sends a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// For how long.
    pub kind: RedirectKind,
    /// The slot of the key.
    pub slot: u16,
    /// The server that has it. An empty host is that of the server that says so.
    pub to: NodeAddress,
}

/// For how long a redirection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectKind {
    /// `MOVED`: from now on.
    Moved,
    /// `ASK`: for this command, because the slot is being moved.
    Ask,
}

impl Redirect {
    /// Understands what follows `MOVED` or `ASK`: a slot and an address.
    pub fn parse(kind: RedirectKind, text: &str) -> Option<Self> {
        let (slot, address) = text.trim().split_once(' ')?;
        let (host, port) = address.trim().rsplit_once(':')?;
        let to = NodeAddress { host: host.to_owned(), port: port.parse().ok()? };
        Some(Self { kind, slot: slot.parse().ok()?, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_parts_that_it_was_given() {
        let long = vec![b'x'; 1000];
        let command = Command::new("SET").arg("key").arg("").arg(&long);
        let parts: Vec<&[u8]> = command.parts().collect();
        assert_eq!(parts, [&b"SET"[..], b"key", b"", &long]);
        assert_eq!(command.name(), b"SET");
        assert_eq!(format!("{:?}", Command::new("GET").arg("k")), r#"["GET", "k"]"#);
        assert_ne!(Command::new("A").arg("b"), Command::new("Ab"));
    }

    #[test]
    fn redirections_are_understood() {
        let parsed = |text| {
            let it = Redirect::parse(RedirectKind::Moved, text)?;
            Some((it.slot, it.to.host, it.to.port))
        };
        assert_eq!(parsed("3999 127.0.0.1:6381"), Some((3999, "127.0.0.1".to_owned(), 6381)));
        assert_eq!(parsed("1 ::1:6381"), Some((1, "::1".to_owned(), 6381)));
        assert_eq!(parsed("1 :6381"), Some((1, String::new(), 6381)));
        for wrong in ["", "1", "1 host", "1 host:x", "x host:1", "70000 host:1", "1 host:70000"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
