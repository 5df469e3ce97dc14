//! What a cache can be built from, what is refused, and in which words.

mod configurations;
mod messages;
mod settings;
