//! What a connection and the one who executes its requests say to each other.
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
    /// The next command has to wait, at most for so long.
    Paused(Duration),
    /// The connection is to be closed after the replies.
    Close,
}

/// Whether the first word of a request says that it comes by HTTP: from a web page that has a browser on this
/// machine send commands to a server which only serves this machine, in the body of the request. The connection is
/// then closed, before the body is executed. Redis does so too.
pub(crate) fn is_web_request(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:")
}

/// One side of a protocol: executes the requests of a client.
pub(crate) trait Conversation {
    /// Executes the requests at the beginning of `input` and writes the replies to `output`. Returns how many
    /// bytes of the input are done with, and how the batch ended. It must not take more of the input than a
    /// bounded number of requests.
    fn run_batch(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, BatchEnd);

    /// How many bytes are missing at least, for the buffer to grow by.
    fn missing_bytes(&self, input: &[u8]) -> usize;

    /// How many bytes it keeps for the client between batches, such as commands of a transaction.
    fn held_bytes(&self) -> usize;

    fn client(&self) -> &Arc<Client>;

    fn stats(&self) -> &ThreadStats;
}
