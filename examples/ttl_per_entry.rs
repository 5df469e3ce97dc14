//! Gives each entry the time to live that its value names, and changes times to live by key.
//!
//! `cargo run --example ttl_per_entry`

use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Expiry, Maintenance};

#[derive(Clone)]
struct Token {
    text: &'static str,
    valid_for: Duration,
}

/// Takes the time to live from the value.
struct AsLongAsValid;

impl Expiry<&'static str, Token> for AsLongAsValid {
    fn after_create(&self, _: &&'static str, token: &Token) -> Option<Duration> {
        Some(token.valid_for)
    }
}

fn main() -> Result<(), larder::BuildError> {
    // A clock that this program advances. Leave both lines out for the system's clock and a
    // background thread.
    let clock = FakeClock::new();
    let cache = Cache::builder()
        .capacity(1_000)
        .expiry(AsLongAsValid)
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .build()?;
    let second = Duration::from_secs(1);

    cache.insert("ada", Token { text: "short", valid_for: second });
    cache.insert("bob", Token { text: "long", valid_for: 60 * second });
    // A time to live that is given with the insertion overrides that of the value.
    let token = Token { text: "for ten seconds", valid_for: second };
    cache.insert_with_ttl("eve", token, 10 * second);

    clock.advance(2 * second);
    let text = |name| cache.read(name, |token| token.text);
    assert_eq!(
        (text("ada"), text("bob"), text("eve")),
        (None, Some("long"), Some("for ten seconds"))
    );

    // A time to live can be changed later. It counts from the call.
    assert!(cache.expire_after("eve", Some(100 * second)));
    assert!(cache.expire_after("bob", Some(second)));
    clock.advance(2 * second);
    assert_eq!((text("bob"), text("eve")), (None, Some("for ten seconds")));

    let left = cache.inspect("eve").and_then(|info| info.expires_in);
    assert_eq!(left, Some(98 * second));

    clock.advance(second);
    cache.run_pending();
    assert_eq!((cache.len(), cache.stats().expirations), (1, 2));
    println!("two tokens have expired; the third has {left:?} left");
    Ok(())
}
