//! What a command can fail with.
#![forbid(unsafe_code)]

use larder::Rejection;
use thiserror::Error;

/// Why a command failed, with the text that clients of Redis know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    #[error("ERR unknown command '{name}', with args beginning with: {arguments}")]
    UnknownCommand { name: String, arguments: String },
    #[error("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")]
    UnknownSubcommand { command: &'static str, subcommand: String },
    #[error("ERR wrong number of arguments for '{name}' command")]
    WrongArity { name: String },
    #[error("ERR syntax error")]
    Syntax,
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    #[error("ERR invalid expire time in '{command}' command")]
    InvalidExpireTime { command: &'static str },
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR the reply is longer than a request may be; ask for less at once")]
    ReplyTooLong,
    #[error("ERR DB index is out of range")]
    DatabaseOutOfRange,
    #[error("NOAUTH Authentication required.")]
    AuthenticationRequired,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    #[error("NOPROTO unsupported protocol version")]
    UnsupportedProtocol,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    NothingFits,
    #[error("OOM command not allowed when used memory > 'maxmemory': {0}")]
    NotStored(Rejection),
    #[error("ERR {0}")]
    HashTooLarge(#[from] crate::hash_map::HashTooLarge),
    #[error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
         <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
         the same time"
    )]
    HelloNotAuthenticated,
    #[error("ERR Command not allowed inside a transaction")]
    NotInTransaction,
    #[error("ERR the queued commands take too much memory; the transaction will fail")]
    TransactionTooLarge,
    #[error(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
         in this context"
    )]
    NotForSubscriber { name: &'static str },
    /// Any other error, with its code.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// An error with a text of its own, which begins with its code.
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}
