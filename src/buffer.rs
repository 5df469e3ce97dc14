//! Where threads leave what they did for maintenance to apply: accesses, which may be lost, and writes,
//! which may not.

pub(crate) mod read_buffer;
pub(crate) mod write_buffer;
