//! Why a server could not start.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why a server could not start. What the system said is the [source](std::error::Error::source) of the error,
/// and not in its text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen at the address.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot make a socket at the path.
    #[error("cannot listen at {}", .path.display())]
    ListenAtPath {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// A thread or its runtime could not be made.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}
