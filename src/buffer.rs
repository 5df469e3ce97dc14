//! The buffers in which threads leave accesses, which may be lost, and writes, which may not, for
//! maintenance to apply.

pub(crate) mod read_buffer;
pub(crate) mod write_buffer;
