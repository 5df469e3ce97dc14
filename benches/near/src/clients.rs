//! The clients that are compared, each behind the same two calls.

use std::time::Duration;

use fred::interfaces::{ClientLike, KeysInterface};
use larder_near::{NearCache, WriteMode};
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::{AsyncCommands, AsyncConnectionConfig, ProtocolVersion};

use crate::own_servers::Failure;
use crate::{KEYS, RACES};

/// The length of a value.
const BYTES: usize = 200;
/// A busy machine must not make a call fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that is measured.
#[derive(Clone)]
pub(crate) enum Reader {
    Near(NearCache<u64, Vec<u8>>),
    Redis(MultiplexedConnection),
    Fred(fred::clients::Client),
}

/// Writes over another connection than that of the reader.
#[derive(Clone)]
pub(crate) enum Writer {
    Near(NearCache<u64, Vec<u8>>),
    Redis(MultiplexedConnection),
}

impl Reader {
    pub(crate) async fn connect(name: &str, address: &str) -> Result<Self, Failure> {
        Ok(match name {
            "larder-near" => Self::Near(near(address, WriteMode::Through, false).await?),
            "redis, cache-aio" => {
                let mut info: redis::ConnectionInfo = address.parse()?;
                let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                info = info.set_redis_settings(settings);
                let size = (KEYS + RACES).try_into()?;
                let config = AsyncConnectionConfig::new()
                    .set_cache_config(CacheConfig::new().set_size(size))
                    .set_response_timeout(Some(PATIENCE));
                let client = redis::Client::open(info)?;
                Self::Redis(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            _ => {
                let config = fred::types::config::Config::from_url(address)?;
                let client = fred::types::Builder::from_config(config).build()?;
                client.init().await?;
                Self::Fred(client)
            }
        })
    }

    /// The version under the key; 0 if there is none.
    pub(crate) async fn get(&self, key: u64) -> Result<u64, Failure> {
        let found = match self {
            Self::Near(near) => near.get(&key).await?,
            Self::Redis(connection) => connection.clone().get(name(key)).await?,
            Self::Fred(client) => client.get::<Option<Vec<u8>>, _>(name(key)).await?,
        };
        let Some(value) = found else { return Ok(0) };
        let version = value.first_chunk().ok_or("a value without a version")?;
        Ok(u64::from_le_bytes(*version))
    }
}

impl Writer {
    pub(crate) async fn connect(name: &str, address: &str) -> Result<Self, Failure> {
        Ok(match name {
            // Values of the near cache have heads of their own.
            "larder-near" => Self::Near(near(address, WriteMode::Around, true).await?),
            _ => {
                let client = redis::Client::open(address)?;
                Self::Redis(client.get_multiplexed_async_connection().await?)
            }
        })
    }

    pub(crate) async fn set(&self, key: u64, version: u64) -> Result<(), Failure> {
        let mut value = vec![0; BYTES];
        value[..8].copy_from_slice(&version.to_le_bytes());
        match self {
            Self::Near(near) => near.set(&key, value).await?,
            Self::Redis(connection) => connection.clone().set(name(key), value).await?,
        }
        Ok(())
    }
}

fn name(key: u64) -> String {
    format!("peers:{key}")
}

async fn near(
    address: &str,
    mode: WriteMode,
    is_writer: bool,
) -> Result<NearCache<u64, Vec<u8>>, Failure> {
    let mut builder = NearCache::builder()
        .server(address)
        .prefix("peers:")
        .capacity(KEYS + RACES)
        .write_mode(mode)
        .call_timeout(PATIENCE);
    if is_writer {
        // It reads nothing.
        builder = builder.max_stale(Duration::ZERO);
    }
    Ok(builder.connect().await?)
}
