//! The versions that the server reports.
#![forbid(unsafe_code)]

/// The version of Redis to whose commands ours conform. Some clients use features only from a certain version on.
pub(crate) const REDIS_VERSION: &str = "7.4.0";

/// The version of this server.
pub(crate) const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");
