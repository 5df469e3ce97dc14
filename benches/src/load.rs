//! A load client for servers that speak RESP or memcached's protocols.
//!
//! It needs as few system calls as a client can: for each batch of pipelined requests one write and
//! one read, and one `epoll_wait` for all connections that have something to read. All that it
//! sends follows from fixed seeds, and every reply is verified.

// Servers that are started for a measurement, and stopped after it.
pub mod server;
// Connections that keep one batch each on its way, and the clock.
pub mod driver;
// The bytes of requests, and what a reply to them has to be.
pub mod requests;
// Processor time, memory and processors of a process, as Linux reports them.
pub mod process;
