//! The loop of one connection: read, execute, write.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::mailbox::Mailbox;
use crate::resp::{Protocol, Reply};
use crate::server::Shared;
use crate::session::{BatchEnd, Session};
use crate::stats::ThreadStats;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Serves a client until it leaves, is disconnected, or the server ends.
pub(crate) async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: usize,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().map_or_else(|_| String::new(), |local| local.to_string());
    let settings = shared.settings();
    let (max_mail_bytes, max_clients) =
        (settings.max_mail_bytes(), settings.max_clients.as_usize());
    let clients = shared.hub().clients();
    let added = clients.add(address.to_string(), local, max_mail_bytes, max_clients);
    let Some(client) = added else {
        let mut refusal = Vec::new();
        Reply::new(&mut refusal, Protocol::Resp2).error("ERR max number of clients reached");
        let _ = stream.write_all(&refusal).await;
        return;
    };
    let id = client.id;
    let mut session = Session::new(Arc::clone(&shared), client, thread);
    // An error of the connection means that the client has gone.
    let _ = run(&mut stream, &mut session, stopped).await;
    shared.hub().clients().remove(id);
}

/// What a connection waited for.
enum Event {
    Read(usize),
    Mail,
    Closed,
}

async fn run(
    stream: &mut TcpStream,
    session: &mut Session,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut input = Vec::new();
    let mut output = Vec::new();
    let mut is_stopping = pin!(stopped.wait_for(|is_stopped| *is_stopped));
    loop {
        let (consumed, end) = session.run_batch(&input, &mut output);
        if consumed == input.len() {
            input.clear();
        } else if consumed > 0 {
            input.drain(..consumed);
        }
        let client = Arc::clone(&session.client);
        if client.mailbox.has_mail() {
            client.mailbox.take_into(&mut output);
        }
        if !output.is_empty() {
            ThreadStats::add(&session.stats().bytes_out, output.len() as u64);
            stream.write_all(&output).await?;
            output.clear();
        }
        match end {
            BatchEnd::Close => return Ok(()),
            BatchEnd::HasMore => {
                tokio::task::yield_now().await;
                continue;
            }
            BatchEnd::NeedsInput => {}
        }
        let event = tokio::select! {
            biased;
            event = next_event(stream, &mut input, &client.mailbox) => event?,
            _ = &mut is_stopping => Event::Closed,
        };
        match event {
            Event::Read(0) | Event::Closed => return Ok(()),
            Event::Read(bytes) => ThreadStats::add(&session.stats().bytes_in, bytes as u64),
            Event::Mail => {}
        }
    }
}

/// Waits until the client sends something, which is added to `input`, or until another thread has a message for
/// it or disconnects it.
async fn next_event(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    mailbox: &Mailbox,
) -> io::Result<Event> {
    let old_len = input.len();
    input.resize(old_len + READ_BYTES, 0);
    let event = poll_fn(|context| {
        mailbox.register(context.waker());
        if mailbox.is_closed() {
            return Poll::Ready(Ok(Event::Closed));
        }
        let mut buffer = ReadBuf::new(&mut input[old_len..]);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Event::Read(buffer.filled().len()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if mailbox.has_mail() => Poll::Ready(Ok(Event::Mail)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    input.truncate(old_len + if let Ok(Event::Read(bytes)) = event { bytes } else { 0 });
    event
}
