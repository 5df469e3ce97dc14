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

/// How often a client that has to wait looks whether it still has to.
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
        // What was posted before the requests arrived goes out before their replies: who has seen a change
        // elsewhere, and then asks here, is sent the invalidation first.
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
        let is_within_budget = share.set(input.capacity() + output.capacity());
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
            // Otherwise a client that sends without a pause would not notice.
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
        if !share.set(input.capacity()) {
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

/// Reads to the end of `input`, which has no memory while nothing arrives.
#[inline]
fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    buffers::borrow(input);
    if input.capacity() - input.len() < 1024 {
        input.reserve(input.capacity());
    }
    let read = pin!(stream.read_buf(input)).poll(context);
    if read.is_pending() {
        buffers::give_back(input);
    }
    read
}

/// Writes all of `output`. Ends if the client is disconnected meanwhile, or does not read for too long.
async fn write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    output: &[u8],
    mailbox: &Mailbox,
    shared: &Shared,
) -> io::Result<()> {
    let mut written = 0;
    let mut write_some = |context: &mut Context<'_>| {
        while written < output.len() {
            match Pin::new(&mut *stream).poll_write(context, &output[written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => written += bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut *stream).poll_flush(context)
    };
    let mut is_first = true;
    let written = poll_fn(|context| {
        // Most replies go out at once, and need no bound.
        if let Poll::Ready(written) = write_some(context) {
            return Poll::Ready(Some(written));
        }
        if std::mem::take(&mut is_first) {
            return Poll::Ready(None);
        }
        Poll::Pending
    });
    if let Some(written) = written.await {
        return written;
    }
    let rest = poll_fn(|context| {
        mailbox.register(context.waker());
        if mailbox.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        write_some(context)
    });
    let bound = shared.config.write_timeout;
    if bound == Duration::ZERO {
        return rest.await;
    }
    timeout(bound, rest).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
