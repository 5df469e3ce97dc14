//! The options of `larder serve`: the same names on the command line, in the environment and in a file.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use larder::{Cache, Policy, ShadowConfig};
use larder_server::{Bytes, Hub, Persistence, ServerConfig, Value};
use serde::Deserialize;

use super::units::{ByteSize, Time};
use crate::error::ServeError;

/// The port of Redis.
const DEFAULT_PORT: u16 = 6379;
/// The memory that a cache takes if nothing is said.
const DEFAULT_MEMORY: ByteSize = ByteSize(1 << 30);
/// What an entry takes besides the bytes of its key and value that are on the heap.
const ENTRY_BYTES: usize = larder_server::ENTRY_BYTES;
/// The sizes at which the hit ratio is estimated, as multiples of the cache's.
const SHADOW_MULTIPLES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// How many removals are remembered for `LARDER.EXPLAIN`.
const EXPLAINED: usize = 65_536;

/// Declares the options once: for clap, for serde, and for laying one set over another.
macro_rules! options {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)*) => {
        /// Every setting, where it is given.
        #[derive(Clone, Debug, Default, Args, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct Options {
            $($(#[$meta])* pub(crate) $name: Option<$type>,)*
        }

        impl Options {
            /// These options, and where they are not given, those of `below`.
            fn over(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name),)* }
            }
        }
    };
}

options! {
    /// The address to listen at [default: 127.0.0.1]
    #[arg(long, env = "LARDER_BIND", value_name = "ADDRESS")]
    bind: IpAddr,
    /// The port for clients of Redis; 0 takes a free one [default: 6379]
    #[arg(long, env = "LARDER_PORT")]
    port: u16,
    /// The port for clients of memcached [default: none]
    #[arg(long, env = "LARDER_MEMCACHED_PORT", value_name = "PORT")]
    memcached_port: u16,
    /// The port for metrics and the page [default: none]
    #[arg(long, env = "LARDER_HTTP_PORT", value_name = "PORT")]
    http_port: u16,
    /// A socket in the file system for clients of Redis
    #[arg(long, env = "LARDER_UNIXSOCKET", value_name = "FILE")]
    unixsocket: PathBuf,
    /// The port for clients of Redis within TLS
    #[arg(long, env = "LARDER_TLS_PORT", value_name = "PORT")]
    tls_port: u16,
    /// The certificate and those that vouch for it, in PEM
    #[arg(long, env = "LARDER_TLS_CERTIFICATE", value_name = "FILE")]
    tls_certificate: PathBuf,
    /// The private key, in PEM
    #[arg(long, env = "LARDER_TLS_KEY", value_name = "FILE")]
    tls_key: PathBuf,
    /// How many threads serve [default: one for each core]
    #[arg(long, env = "LARDER_THREADS")]
    threads: usize,
    /// The most entries [default: as many as fit into the memory]
    #[arg(long, env = "LARDER_CAPACITY", value_name = "ENTRIES")]
    capacity: usize,
    /// The most memory for keys and values, such as 512mb [default: 1gb, unless there is a capacity]
    #[arg(long, env = "LARDER_MAX_MEMORY", value_name = "SIZE")]
    max_memory: ByteSize,
    /// Which entry is evicted: window_tiny_lfu, s3_fifo, sieve, lru, lfu, fifo or
    /// cost_aware, which keeps small values rather than large ones [default: window_tiny_lfu]
    #[arg(long, env = "LARDER_POLICY", value_parser = parse_policy)]
    #[serde(deserialize_with = "policy_from_text")]
    policy: Policy,
    /// How long an entry lives for which a client gives no time, such as 1h [default: for ever]
    #[arg(long, env = "LARDER_TIME_TO_LIVE", value_name = "TIME")]
    time_to_live: Time,
    /// Whether to estimate the hit ratio at other sizes, by shadow caches [default: true]
    #[arg(long, env = "LARDER_SHADOWS", value_name = "true|false")]
    shadows: bool,
    /// How many databases there are [default: 16]
    #[arg(long, env = "LARDER_DATABASES", value_parser = clap::value_parser!(u16).range(1..=256))]
    databases: u16,
    /// The password that clients must give; better in a file
    #[arg(long, env = "LARDER_PASSWORD", hide_env_values = true)]
    password: String,
    /// A file with the password in its first line
    #[arg(long, env = "LARDER_PASSWORD_FILE", value_name = "FILE")]
    password_file: PathBuf,
    /// Whether to refuse clients of other machines as long as there is no password [default: true]
    #[arg(long, env = "LARDER_PROTECTED_MODE", value_name = "true|false")]
    protected_mode: bool,
    /// The most clients at one time [default: 10000]
    #[arg(long, env = "LARDER_MAX_CLIENTS", value_name = "CLIENTS")]
    max_clients: usize,
    /// Disconnects a client that sends nothing for so long [default: never]
    #[arg(long, env = "LARDER_IDLE_TIMEOUT", value_name = "TIME")]
    idle_timeout: Time,
    /// Disconnects a client that reads none of its replies for so long [default: 1min]
    #[arg(long, env = "LARDER_WRITE_TIMEOUT", value_name = "TIME")]
    write_timeout: Time,
    /// The longest argument of a command [default: 512mb]
    #[arg(long, env = "LARDER_MAX_ARGUMENT", value_name = "SIZE")]
    max_argument: ByteSize,
    /// The longest replies to one batch of commands [default: 256mb]
    #[arg(long, env = "LARDER_MAX_OUTPUT", value_name = "SIZE")]
    max_output: ByteSize,
    /// The most messages that may wait for one client [default: 32mb]
    #[arg(long, env = "LARDER_MAX_MAIL", value_name = "SIZE")]
    max_mail: ByteSize,
    /// The most memory for what all clients have under way [default: 1gb]
    #[arg(long, env = "LARDER_MAX_BUFFERS", value_name = "SIZE")]
    max_buffers: ByteSize,
    /// The file to which SAVE, BGSAVE and the end of the server save the cache
    #[arg(long, env = "LARDER_SAVE", value_name = "FILE")]
    save: PathBuf,
    /// Saves each time after so long, such as 5min [default: never]
    #[arg(long, env = "LARDER_SAVE_EVERY", value_name = "TIME")]
    save_every: Time,
    /// A saved cache to load at the start; it may be missing
    #[arg(long, env = "LARDER_LOAD", value_name = "FILE")]
    load: PathBuf,
    /// Whether to load what can be read of a damaged file [default: false]
    #[arg(long, env = "LARDER_SALVAGE", value_name = "true|false")]
    salvage: bool,
}

fn parse_policy(text: &str) -> Result<Policy, larder::ParsePolicyError> {
    text.parse()
}

fn policy_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Policy>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Finds out whether files can be created in a folder. There is no other way than to create one.
fn check_folder(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".larder-check-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => fs::remove_file(probe),
        // Of a process of the same number in another container, say, which can create files there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a file of options.
fn read_file(path: &Path) -> Result<(Options, String), ServeError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ServeError::ReadConfig { path: path.to_owned(), source })?;
    let options = toml::from_str(&text)
        .map_err(|source| ServeError::Config { path: path.to_owned(), source })?;
    Ok((options, text))
}

/// All settings, from all places.
pub(crate) struct Settings {
    options: Options,
    /// The file, for the places of what is wrong together.
    file: Option<(PathBuf, String)>,
}

impl Settings {
    /// The options of the command line and the environment, over those of the file.
    pub(crate) fn gather(given: Options, file: Option<&Path>) -> Result<Self, ServeError> {
        let settings = match file {
            None => Self { options: given, file: None },
            Some(path) => {
                let (below, text) = read_file(path)?;
                Self { options: given.over(below), file: Some((path.to_owned(), text)) }
            }
        };
        settings.check_zeros()?;
        settings.check_places()?;
        Ok(settings)
    }

    /// Refuses a zero where a server with it would serve nobody or store nothing. Others take it for no limit,
    /// which there is none of here.
    fn check_zeros(&self) -> Result<(), ServeError> {
        let Options { threads, capacity, max_memory, max_clients, max_argument, .. } = self.options;
        let size = |size: Option<ByteSize>| size == Some(ByteSize(0));
        let time = |time: Option<Time>| time.is_some_and(|Time(time)| time.is_zero());
        for (field, is_zero, problem) in [
            ("threads", threads == Some(0), "0 threads serve nobody; use 1 or more"),
            (
                "capacity",
                capacity == Some(0),
                "0 entries are no cache; use 1 or more, or leave it out",
            ),
            ("max-memory", size(max_memory), "0 bytes store nothing; use more, such as 1gb"),
            ("max-clients", max_clients == Some(0), "0 clients are nobody; use 1 or more"),
            ("max-argument", size(max_argument), "0 bytes are no command; use more, such as 1mb"),
            (
                "time-to-live",
                time(self.options.time_to_live),
                "0 keeps nothing; use more, or leave it out",
            ),
        ] {
            if is_zero {
                return Err(self.wrong(field, problem.to_owned()));
            }
        }
        Ok(())
    }

    /// Refuses places at which no server can listen.
    fn check_places(&self) -> Result<(), ServeError> {
        let options = &self.options;
        let ports = [
            ("port", Some(options.port.unwrap_or(DEFAULT_PORT))),
            ("memcached-port", options.memcached_port),
            ("http-port", options.http_port),
            ("tls-port", options.tls_port),
        ];
        for (index, (field, port)) in ports.iter().enumerate() {
            let same = |(_, other): &&(&str, Option<u16>)| other == port && *other != Some(0);
            if let (Some(port), Some((other, _))) = (port, ports[..index].iter().find(same)) {
                return Err(self.wrong(field, format!("{port} is {other} too; use another one")));
            }
        }
        let Some(path) = &options.unixsocket else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let problem = format!("there is no folder {}", folder.display());
            return Err(self.wrong("unixsocket", problem));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt;
            if let Err(error) = std::os::unix::net::SocketAddr::from_pathname(path) {
                return Err(self.wrong("unixsocket", format!("{}: {error}", path.display())));
            }
            // A socket may be left from a server that was killed; another file belongs to somebody.
            if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
                let problem = format!("{} is there, and no socket", path.display());
                return Err(self.wrong("unixsocket", problem));
            }
        }
        Ok(())
    }

    /// An error about a setting, with its place in the file if it is there.
    fn wrong(&self, field: &'static str, problem: String) -> ServeError {
        ServeError::Setting { field, place: self.place(field), problem }
    }

    /// An error about the file that a setting names.
    fn failed(
        &self,
        field: &'static str,
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> ServeError {
        let (place, path) = (self.place(field), path.to_owned());
        move |source| ServeError::File { field, place, what, path, source }
    }

    /// Where the setting stands in the file, or nothing.
    fn place(&self, field: &str) -> String {
        let place = self.file.as_ref().and_then(|(path, text)| {
            let is_field = |line: &str| {
                line.split('=').next().is_some_and(|name| name.trim().trim_matches('"') == field)
            };
            let line = text.lines().position(is_field)?;
            Some(format!(" ({}, line {})", path.display(), line + 1))
        });
        place.unwrap_or_default()
    }

    fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.options.bind.unwrap_or(Ipv4Addr::LOCALHOST.into()), port)
    }

    /// The cache that they describe.
    pub(crate) fn cache(&self, hub: &Hub) -> Result<Cache<Bytes, Value>, ServeError> {
        let options = &self.options;
        let mut builder = Cache::builder()
            .name("larder")
            .policy(options.policy.clone().unwrap_or_default())
            .explain_misses(EXPLAINED)
            .listener(hub.listener());
        if let Some(capacity) = options.capacity {
            builder = builder.capacity(capacity);
        }
        let memory = options.max_memory.or(options.capacity.is_none().then_some(DEFAULT_MEMORY));
        if let Some(ByteSize(bytes)) = memory {
            builder = builder.max_weight(bytes).weigher(|key: &Bytes, value: &Value| {
                let bytes = key.heap_bytes() + value.heap_bytes() + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            });
        }
        if let Some(Time(time)) = options.time_to_live {
            builder = builder.time_to_live(time);
        }
        if options.shadows.unwrap_or(true) {
            builder = builder.shadow(ShadowConfig::new().multiples(SHADOW_MULTIPLES));
        }
        let field = if options.capacity.is_some() { "capacity" } else { "max-memory" };
        builder.build().map_err(|error| self.wrong(field, error.to_string()))
    }

    /// The server that they describe.
    pub(crate) fn server(&self) -> Result<ServerConfig, ServeError> {
        let options = &self.options;
        let mut config = ServerConfig::default();
        config.address = self.address(options.port.unwrap_or(DEFAULT_PORT));
        config.memcached_address = options.memcached_port.map(|port| self.address(port));
        config.http_address = options.http_port.map(|port| self.address(port));
        config.unix_socket.clone_from(&options.unixsocket);
        config.tls = self.tls()?;
        config.password = self.password()?;
        config.threads = options.threads.unwrap_or(config.threads);
        config.databases = options.databases.unwrap_or(config.databases);
        if !(1..=256).contains(&config.databases) {
            let problem = format!("{} is not from 1 to 256", config.databases);
            return Err(self.wrong("databases", problem));
        }
        config.protected_mode = options.protected_mode.unwrap_or(config.protected_mode);
        config.max_clients = options.max_clients.unwrap_or(config.max_clients);
        config.idle_timeout =
            options.idle_timeout.map(|Time(time)| time).filter(|time| !time.is_zero());
        if let Some(Time(time)) = options.write_timeout {
            config.write_timeout = time;
        }
        let bytes = |size: Option<ByteSize>, default: usize| {
            size.map_or(default, |ByteSize(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        let limits = &mut config.request_limits;
        limits.argument_bytes = bytes(options.max_argument, limits.argument_bytes);
        limits.request_bytes = limits.request_bytes.max(limits.argument_bytes.saturating_mul(2));
        config.max_output_bytes = bytes(options.max_output, config.max_output_bytes);
        config.max_mail_bytes = bytes(options.max_mail, config.max_mail_bytes);
        config.max_buffer_bytes = bytes(options.max_buffers, config.max_buffer_bytes);
        config.persistence = self.persistence()?;
        Ok(config)
    }

    fn tls(&self) -> Result<Option<larder_server::TlsConfig>, ServeError> {
        let Options { tls_port, tls_certificate, tls_key, .. } = &self.options;
        let missing = |given: &'static str, wanted: &str| {
            self.wrong(given, format!("is given without {wanted}"))
        };
        match (tls_port, tls_certificate, tls_key) {
            (None, None, None) => Ok(None),
            (Some(port), Some(certificate), Some(key)) => Ok(Some(larder_server::TlsConfig {
                address: self.address(*port),
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (None, _, _) => {
                let given = if tls_certificate.is_some() { "tls-certificate" } else { "tls-key" };
                Err(missing(given, "tls-port"))
            }
            (Some(_), None, _) => Err(missing("tls-port", "tls-certificate")),
            (Some(_), _, None) => Err(missing("tls-port", "tls-key")),
        }
    }

    fn password(&self) -> Result<Option<String>, ServeError> {
        let password = match (&self.options.password, &self.options.password_file) {
            (Some(_), Some(_)) => {
                let problem = "is given beside password-file; leave one out".to_owned();
                return Err(self.wrong("password", problem));
            }
            (Some(password), None) => Some(password.clone()),
            (None, None) => None,
            (None, Some(path)) => {
                let text =
                    fs::read_to_string(path).map_err(self.failed("password-file", "read", path))?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        if password.as_deref() == Some("") {
            let field = if self.options.password.is_some() { "password" } else { "password-file" };
            return Err(self.wrong(field, "the password is empty".to_owned()));
        }
        Ok(password)
    }

    fn persistence(&self) -> Result<Persistence, ServeError> {
        let mut persistence = Persistence::default();
        if let Some(path) = &self.options.save {
            // Found out at the end, it would cost what the cache holds.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !folder.is_dir() {
                let problem = format!("there is no folder {}", folder.display());
                return Err(self.wrong("save", problem));
            }
            if path.is_dir() {
                return Err(self.wrong("save", format!("{} is a folder", path.display())));
            }
            if path.exists() && !path.is_file() {
                return Err(self.wrong("save", format!("{} is no regular file", path.display())));
            }
            check_folder(folder).map_err(self.failed("save", "write a file in", folder))?;
            persistence.path = Some(path.clone());
        }
        persistence.every = self.options.save_every.map(|Time(time)| time);
        if persistence.every.is_some() && persistence.path.is_none() {
            return Err(self.wrong("save-every", "is given without save".to_owned()));
        }
        Ok(persistence)
    }

    /// The file to load, and whether to take what can be read of it.
    pub(crate) fn load(&self) -> Option<(&Path, bool)> {
        let path = self.options.load.as_deref()?;
        Some((path, self.options.salvage.unwrap_or_default()))
    }
}
