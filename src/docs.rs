//! Pages about the library as a whole: [design], [orderings], [correctness], [limitations].
#![forbid(unsafe_code)]

pub mod design;
pub mod orderings;
pub mod correctness;
pub mod limitations;
