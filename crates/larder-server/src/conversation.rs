//! The interface between a connection and what executes its requests.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::stats::ThreadStats;

/// How a batch ended.
pub(crate) enum BatchEnd {
    /// All requests that have arrived were executed.
    NeedsInput,
    /// There may be more.
    HasMore,
    /// The last command takes long: it runs on a thread of its own, and what it returns is its reply.
    Deferred(Box<dyn FnOnce() -> Vec<u8> + Send>),
    /// The next command has to wait, at most for this long.
    Paused(Duration),
    /// Close the connection after the replies.
    Close,
}

/// Whether the first word of a request shows that it is HTTP: a web page may have a browser on this machine send
/// commands, in the body of a request, to a server that serves only this machine. The connection is then closed, before
/// the body is executed. Redis does so too.
pub(crate) fn is_web_request(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:")
}

/// One side of a protocol: executes the requests of a client.
pub(crate) trait Conversation {
    /// Executes the requests at the beginning of `input` and writes the replies to `output`. Returns how many
    /// bytes of the input are done with, and how the batch ended. It must not take more of the input than a
    /// bounded number of requests.
    fn run_batch(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, BatchEnd);

    /// At least how many bytes are missing, by which the buffer should grow.
    fn missing_bytes(&self, input: &[u8]) -> usize;

    /// How many bytes it keeps for the client between batches, such as commands of a transaction.
    fn held_bytes(&self) -> usize;

    fn client(&self) -> &Arc<Client>;

    fn stats(&self) -> &ThreadStats;
}
