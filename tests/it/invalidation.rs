//! The removal of many entries at once, by a predicate and by a tag.

mod predicates;
mod tags;
