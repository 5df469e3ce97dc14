//! What the server promises its clients, in one program for all tests that can share a process.
//!
//! Each test starts a [`client::TestServer`] of its own at a free port and talks to it over TCP. The tables of
//! commands and replies can also be run against a real server: with `LARDER_REFERENCE=127.0.0.1:7000` in the
//! environment, `client::check` sends each of them to the server at that address too, which it empties first.

#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod connection;
mod transactions;
mod pubsub;
mod tracking;
mod expiry;
mod keys;
mod larder_commands;
mod scan;
mod server;
mod strings;
mod numbers;
mod bits;
mod hashes;
mod scripting;
mod events;
mod concurrency;
mod network;
