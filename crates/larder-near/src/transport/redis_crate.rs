//! The transport by the crate `redis`: one multiplexed connection, whose pushes come in the order of the
//! stream.
//!
//! Another version of that crate is a change of this file alone.

use std::fmt;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, ServerErrorKind, Value,
};

use super::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Redirect, RedirectKind, Reply,
    Tracking, Transport, TransportFuture,
};
use crate::error::TransportError;

/// Servers by an address: `redis://[user:password@]host[:port][/database]`, or `unix://path`.
///
/// Servers that are named by others are opened with the same user, password and database.
pub struct RedisTransport {
    info: ConnectionInfo,
    /// What keys begin with, for [`Tracking::Broadcast`].
    prefix: Vec<u8>,
}

impl RedisTransport {
    /// The server at `address`.
    ///
    /// # Errors
    /// If `address` cannot be understood.
    pub fn new(address: &str, prefix: &[u8]) -> Result<Self, TransportError> {
        let info = address.into_connection_info().map_err(TransportError::new)?;
        Ok(Self { info, prefix: prefix.to_vec() })
    }

    /// The host of the address; `None` if it is a path.
    pub(crate) fn host(&self) -> Option<&str> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host),
            _ => None,
        }
    }

    fn info(&self, at: Option<&NodeAddress>) -> ConnectionInfo {
        let Some(at) = at else { return self.info.clone() };
        let mut address = self.info.addr().clone();
        match &mut address {
            ConnectionAddr::TcpTls { host, port, .. } => {
                (*host, *port) = (at.host.clone(), at.port)
            }
            other => *other = ConnectionAddr::Tcp(at.host.clone(), at.port),
        }
        self.info.clone().set_addr(address)
    }

    async fn connect(
        &self,
        at: Option<&NodeAddress>,
        protocol: ProtocolVersion,
        pushes: Option<Arc<dyn PushSink>>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let info = self.info(at);
        let settings = info.redis_settings().clone().set_protocol(protocol);
        let client = Client::open(info.set_redis_settings(settings))?;
        // The near cache has timeouts of its own, around all that it awaits.
        let mut config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        if let Some(pushes) = pushes {
            // The connection's task calls this as it reads, before it reads on. So no reply overtakes a push.
            config = config.set_push_sender(move |push: PushInfo| {
                hand_on(&push, &*pushes);
                Ok::<(), std::convert::Infallible>(())
            });
        }
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn open_tracked(
        &self,
        at: Option<&NodeAddress>,
        tracking: &Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> Result<Opened, RedisError> {
        let command = Command::new("CLIENT").arg("TRACKING").arg("ON");
        let command = match tracking {
            Tracking::Default => command,
            Tracking::OptIn => command.arg("OPTIN"),
            // Without a prefix, all keys are broadcast.
            Tracking::Broadcast if self.prefix.is_empty() => command.arg("BCAST"),
            Tracking::Broadcast => command.arg("BCAST").arg("PREFIX").arg(self.prefix.clone()),
            Tracking::Off => return self.open_untracked(at, "tracking is off".to_owned()).await,
        };
        let connection = match self.connect(at, ProtocolVersion::RESP3, Some(pushes)).await {
            Ok(connection) => connection,
            Err(error) if error.kind() == ErrorKind::RESP3NotSupported => {
                return self.open_untracked(at, error.to_string()).await;
            }
            Err(error) => return Err(error),
        };
        let connection = Multiplexed(connection);
        let tracked = match connection.pipeline(&[command]).await?.pop() {
            Some(Reply::Refused(refusal)) => Err(refusal),
            _ => Ok(()),
        };
        Ok(Opened { connection: Arc::new(connection), tracked })
    }

    async fn open_untracked(
        &self,
        at: Option<&NodeAddress>,
        refusal: String,
    ) -> Result<Opened, RedisError> {
        let connection = self.connect(at, ProtocolVersion::RESP2, None).await?;
        Ok(Opened { connection: Arc::new(Multiplexed(connection)), tracked: Err(refusal) })
    }
}

impl fmt::Debug for RedisTransport {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTransport")
            .field("server", &self.info.addr().to_string())
            .finish_non_exhaustive()
    }
}

impl Transport for RedisTransport {
    fn open<'t>(
        &'t self,
        at: Option<&'t NodeAddress>,
        tracking: &'t Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened> {
        Box::pin(async move {
            self.open_tracked(at, tracking, pushes).await.map_err(TransportError::new)
        })
    }
}

struct Multiplexed(MultiplexedConnection);

impl Multiplexed {
    async fn pipeline(&self, commands: &[Command]) -> Result<Vec<Reply>, RedisError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            let (mut number, mut bytes) = (0, 0);
            for part in command.parts() {
                number += 1;
                bytes += part.len();
            }
            let mut packed = redis::Cmd::with_capacity(number, bytes);
            for part in command.parts() {
                packed.arg(part);
            }
            pipeline.add_command(packed);
        }
        let count = pipeline.len();
        let replies = self.0.clone().send_packed_commands(&pipeline, 0, count).await?;
        Ok(replies.into_iter().map(reply).collect())
    }
}

impl NearConnection for Multiplexed {
    fn call(&self, commands: Vec<Command>) -> TransportFuture<'_, Vec<Reply>> {
        Box::pin(async move { self.pipeline(&commands).await.map_err(TransportError::new) })
    }
}

fn hand_on(push: &PushInfo, pushes: &dyn PushSink) {
    match push.kind {
        PushKind::Disconnection => pushes.lost(),
        PushKind::Invalidate => match push.data.first() {
            Some(Value::Array(keys)) => {
                let bytes: Option<Vec<Vec<u8>>> = keys
                    .iter()
                    .map(|key| match key {
                        Value::BulkString(bytes) => Some(bytes.clone()),
                        _ => None,
                    })
                    .collect();
                match bytes {
                    Some(keys) => pushes.invalidated(&keys),
                    None => pushes.all_invalidated(),
                }
            }
            // Null after FLUSHALL. Whatever else it may be, it names no keys.
            _ => pushes.all_invalidated(),
        },
        // Pushes of other kinds concern no key.
        _ => {}
    }
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Integer(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(status) => Reply::Status(status),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::Array(values) | Value::Set(values) => {
            Reply::Array(values.into_iter().map(reply).collect())
        }
        Value::ServerError(error) => {
            let details = error.details().unwrap_or_default();
            let kind = match error.kind() {
                Some(ServerErrorKind::Moved) => Some(RedirectKind::Moved),
                Some(ServerErrorKind::Ask) => Some(RedirectKind::Ask),
                _ => None,
            };
            match kind.and_then(|kind| Redirect::parse(kind, details)) {
                Some(redirect) => Reply::Redirected(redirect),
                None => Reply::Refused(format!("{} {details}", error.code())),
            }
        }
        Value::Attribute { data, .. } => reply(*data),
        Value::VerbatimString { text, .. } => Reply::Bytes(text.into_bytes()),
        // No command of the near cache is answered by these.
        Value::Map(_)
        | Value::Double(_)
        | Value::Boolean(_)
        | Value::BigNumber(_)
        | Value::Push { .. } => Reply::Refused(format!("unexpected reply {value:?}")),
        _ => Reply::Refused("unexpected reply".to_owned()),
    }
}
