//! The loop of one connection: read, execute, write.
//!
//! # Who waits for whom
//! A connection is a task of one thread. It executes what has arrived in batches, between which other
//! connections of the thread have their turn, and writes the replies of a batch before it reads on: a client
//! that does not read its replies is not read from, so what it has under way is bounded. What other threads
//! send it waits in its [`Mailbox`], and goes out before and after the replies of a batch.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::buffers::{self, BufferShare};
use crate::conversation::{BatchEnd, Conversation};
use crate::mailbox::Mailbox;
use crate::shared::Shared;
use crate::stats::ThreadStats;

/// What a connection waited for.
enum Event {
    Read(usize),
    Mail,
    Closed,
}

/// How often a paused client checks whether it still has to wait.
const PAUSE_CHECK: Duration = Duration::from_millis(10);

/// The most by which a buffer grows for what was announced and has not arrived.
const MAX_RESERVED_BYTES: usize = 1 << 20;

/// Runs a connection until the client leaves or is disconnected.
///
/// # Errors
/// Those of the stream; they mean that the client has gone.
pub(crate) async fn run<S>(
    stream: &mut S,
    conversation: &mut impl Conversation,
    shared: &Shared,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let client = Arc::clone(conversation.client());
    let mailbox = &client.mailbox;
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut share = BufferShare::new(&shared.buffers);
    loop {
        buffers::borrow(&mut output);
        // What was posted before the requests arrived goes out before their replies: a client that has seen a change
        // elsewhere, and then asks here, gets the invalidation first.
        if mailbox.has_mail() {
            mailbox.take_into(&mut output);
        }
        let (consumed, end) = conversation.run_batch(&input, &mut output);
        if consumed == input.len() {
            input.clear();
            buffers::give_back(&mut input);
        } else if consumed > 0 {
            input.drain(..consumed);
        }
        if mailbox.has_mail() {
            mailbox.take_into(&mut output);
        }
        let held = conversation.held_bytes();
        let is_within_budget = share.set(input.capacity() + output.capacity() + held);
        if output.len() > shared.settings().max_output_bytes() || !is_within_budget {
            return Ok(());
        }
        if !output.is_empty() {
            ThreadStats::add(&conversation.stats().bytes_out, output.len() as u64);
            write_all(stream, &output, mailbox, shared).await?;
            output.clear();
        }
        buffers::give_back(&mut output);
        if mailbox.is_closed() {
            // Otherwise a client that sends without a pause would never be disconnected.
            return Ok(());
        }
        match end {
            BatchEnd::Close => {
                // Input that is not read any more could keep the replies from the client otherwise.
                let _ = stream.shutdown().await;
                return Ok(());
            }
            BatchEnd::HasMore => {
                tokio::task::yield_now().await;
                continue;
            }
            BatchEnd::Deferred(job) => {
                let reply = tokio::task::spawn_blocking(job).await;
                output = reply.map_err(io::Error::other)?;
                continue;
            }
            BatchEnd::Paused(left) => {
                // A pause may end early, and the client may be disconnected meanwhile.
                tokio::time::sleep(left.min(PAUSE_CHECK)).await;
                continue;
            }
            BatchEnd::NeedsInput => {}
        }
        let missing = conversation.missing_bytes(&input);
        let event = match shared.idle_timeout() {
            None => next_event(stream, &mut input, missing, mailbox).await?,
            Some(bound) => {
                let event = timeout(bound, next_event(stream, &mut input, missing, mailbox));
                event.await.unwrap_or(Ok(Event::Closed))?
            }
        };
        match event {
            Event::Read(0) | Event::Closed => return Ok(()),
            Event::Read(bytes) => ThreadStats::add(&conversation.stats().bytes_in, bytes as u64),
            Event::Mail => {}
        }
        if !share.set(input.capacity() + held) {
            return Ok(());
        }
    }
}

/// Waits until the client sends something, which is added to `input`, or until another thread has a message for
/// it or disconnects it.
async fn next_event<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut Vec<u8>,
    missing: usize,
    mailbox: &Mailbox,
) -> io::Result<Event> {
    if !input.is_empty() && input.capacity() - input.len() < missing.min(MAX_RESERVED_BYTES) {
        input.reserve(missing.min(MAX_RESERVED_BYTES));
    }
    let event = poll_fn(|context| {
        mailbox.register(context.waker());
        if mailbox.is_closed() {
            return Poll::Ready(Ok(Event::Closed));
        }
        match poll_read(stream, input, context) {
            Poll::Ready(read) => Poll::Ready(read.map(Event::Read)),
            Poll::Pending if mailbox.has_mail() => Poll::Ready(Ok(Event::Mail)),
            Poll::Pending => Poll::Pending,
        }
    });
    event.await
}

/// Reads to the end of `input`, which has no more memory than it needs while nothing arrives.
#[inline]
fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    buffers::expand(input);
    if input.capacity() - input.len() < 1024 {
        input.reserve(input.capacity());
    }
    let read = pin!(stream.read_buf(input)).poll(context);
    if read.is_pending() {
        buffers::give_back(input);
        buffers::condense(input);
    }
    read
}

/// A client that reads this many bytes within the time for writing is not too slow.
const PROGRESS_BYTES: usize = 64 * 1024;

/// Writes all of `output`. Ends if the client is disconnected meanwhile, or reads too little for too long.
async fn write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    output: &[u8],
    mailbox: &Mailbox,
    shared: &Shared,
) -> io::Result<()> {
    let mut written = 0;
    // Writes until the client reads no more, all is written, or `up_to` bytes are.
    let mut write_some = |context: &mut Context<'_>, up_to: usize| {
        while written < output.len() && written < up_to {
            match Pin::new(&mut *stream).poll_write(context, &output[written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => written += bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match written < output.len() {
            true => Poll::Ready(Ok(Some(written))),
            false => Pin::new(&mut *stream).poll_flush(context).map_ok(|()| None),
        }
    };
    // Most replies go out at once, and need no bound.
    let at_once = poll_fn(|context| {
        Poll::Ready(match write_some(context, usize::MAX) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    });
    if let Some(done) = at_once.await {
        return done.map(drop);
    }
    let bound = shared.config.write_timeout;
    let mut up_to = usize::MAX;
    if bound > Duration::ZERO {
        up_to = PROGRESS_BYTES;
    }
    loop {
        let part = poll_fn(|context| {
            mailbox.register(context.waker());
            if mailbox.is_closed() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            write_some(context, up_to)
        });
        let done = match bound {
            Duration::ZERO => part.await?,
            bound => timeout(bound, part)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
        };
        match done {
            Some(written) => up_to = written.saturating_add(PROGRESS_BYTES),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_client_that_waits_within_a_request_keeps_its_bytes_and_no_more() {
        let (mut client, mut server) = tokio::io::duplex(1 << 20);
        let mut context = Context::from_waker(Waker::noop());
        let mut send = |bytes: &[u8], context: &mut Context<'_>| {
            assert!(Pin::new(&mut client).poll_write(context, bytes).is_ready());
        };
        let mut input = Vec::new();
        assert!(poll_read(&mut server, &mut input, &mut context).is_pending());
        assert_eq!(input.capacity(), 0);
        send(b"*2\r\n$3\r\nGET\r\n$1\r\n", &mut context);
        assert!(poll_read(&mut server, &mut input, &mut context).is_ready());
        for _ in 0..2 {
            assert!(poll_read(&mut server, &mut input, &mut context).is_pending());
            assert!(input.capacity() < 100, "{} bytes", input.capacity());
        }
        send(b"k\r\n", &mut context);
        assert!(poll_read(&mut server, &mut input, &mut context).is_ready());
        assert_eq!(input, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
        // A buffer that is full to a good part stays.
        send(&[b'x'; 30_000], &mut context);
        assert!(poll_read(&mut server, &mut input, &mut context).is_ready());
        assert!(poll_read(&mut server, &mut input, &mut context).is_pending());
        assert_eq!(input.capacity(), buffers::POOLED_BYTES);
    }
}
