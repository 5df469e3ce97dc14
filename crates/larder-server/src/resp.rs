//! The protocol of Redis: requests are parsed without copying, replies are written into a buffer.
#![forbid(unsafe_code)]

mod reply;
mod request;

pub use reply::{Protocol, Reply};
pub use request::{ProtocolError, RequestLimits, RequestParser};
