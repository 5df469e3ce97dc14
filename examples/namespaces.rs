//! Shares one cache among tenants, each of which is guaranteed a part of it.
//!
//! `cargo run --example namespaces`

use larder::{Cache, Maintenance, Namespaces};

fn main() -> Result<(), larder::BuildError> {
    // Keys are such as "acme:/orders/7". A third of the cache belongs to nobody: all compete for it.
    let tenants = Namespaces::by_name(|key: &String| key.split(':').next().unwrap_or(""))
        .guarantee("acme", 1_000)
        .guarantee("umbra", 1_000);
    let pages: Cache<String, String> = Cache::builder()
        .capacity(3_000)
        .count_lookups()
        // So that this program prints the same each time.
        .maintenance(Maintenance::Inline)
        .namespaces(tenants)
        .build()?;
    let visit = |tenant: &str, page: u32| {
        let key = format!("{tenant}:/pages/{page}");
        pages.get_in(tenant, &key).unwrap_or_else(|| {
            let page = format!("page {page} of {tenant}");
            pages.insert(key, page.clone());
            page
        })
    };

    // One tenant asks for its thousand pages now and then.
    (0..1_000).for_each(|page| drop(visit("acme", page)));
    // A crawler visits a hundred thousand pages of the other one.
    (0..100_000).for_each(|page| drop(visit("umbra", page)));
    (0..1_000).for_each(|page| drop(visit("acme", page)));

    for tenant in pages.all_namespace_stats() {
        println!(
            "{:5} holds {:4} entries, hits {:?}, misses {:?}, evictions {}",
            tenant.name, tenant.entries, tenant.hits, tenant.misses, tenant.evictions
        );
    }
    let acme = pages.namespace_stats("acme").expect("it was given");
    assert_eq!((acme.hits, acme.misses, acme.evictions), (Some(1_000), Some(1_000), 0));

    // A tenant leaves. All of its entries are gone for all threads before the call returns.
    assert!(pages.invalidate_namespace("umbra"));
    assert_eq!(pages.get("umbra:/pages/99999"), None);
    assert!(pages.contains_key("acme:/pages/7"));
    Ok(())
}
