//! Makes all pages of a customer invalid at once, without knowing their addresses.
//!
//! `cargo run --example tags`

use std::time::Duration;

use larder::{Cache, InsertOptions};

fn main() {
    let pages: Cache<String, String> = Cache::new(10_000);
    for customer in 0..10 {
        for order in 0..100 {
            let tag = format!("customer:{customer}");
            pages.insert_with(
                format!("/orders/{customer}-{order}"),
                format!("order {order} of customer {customer}"),
                InsertOptions::new().tags(&["orders", &tag]).ttl(Duration::from_secs(600)),
            );
        }
    }
    pages.insert("/about".to_owned(), "about us".to_owned());
    assert_eq!(pages.census().valid_len, 1_001);

    // The customer has moved. Every page of theirs is gone for all threads before the call returns.
    assert!(pages.invalidate_tag("customer:7"));
    assert_eq!(pages.get("/orders/7-42"), None);
    assert!(pages.contains_key("/orders/8-42"));
    let census = pages.census();
    assert_eq!((census.valid_len, census.invalidated_len), (901, 100));

    // Entries that are stored from now on are valid.
    pages.insert_with_tags("/orders/7-42".to_owned(), "new".to_owned(), ["orders", "customer:7"]);
    assert_eq!(pages.get("/orders/7-42").as_deref(), Some("new"));

    // The template of all orders has changed.
    assert!(pages.invalidate_tag("orders"));
    assert_eq!(pages.get("/orders/7-42"), None);
    assert_eq!(pages.get("/about").as_deref(), Some("about us"));

    // Invalid entries take up space until they are evicted or replaced. A sweep frees it at once.
    pages.retain(|_, _| true);
    assert_eq!(pages.len(), 1);
    println!("two invalidations, one page left: {:?}", pages.keys().collect::<Vec<_>>());
}
