//! Namespaces keep what they are guaranteed.

mod guarantee;
mod life;
mod shadows;
