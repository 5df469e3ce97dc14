//! What a cache can be built from, and what is refused with which message.

mod configurations;
mod messages;
mod settings;
