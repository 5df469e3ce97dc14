//! Tests on real servers, which they start themselves: `redis-server`, `valkey-server`, `larder-server` in this
//! process, and `larder serve` if `LARDER_SERVER` names that program. What is not there is skipped, and said so.

mod behind;
mod cluster_faults;
mod slot_moves;
mod sentinel_faults;
mod turns;
mod fences;
mod in_flight;
mod cluster_tags;
mod cluster;
mod watched;
mod checker;
mod compares;
mod defects;
mod fail_safe;
mod faults;
mod clock;
mod history;
mod loads;
mod proxy;
mod reads;
mod server;
mod tags;
mod writes;

use std::time::Duration;

use crate::{NearBuilder, NearCache};

/// Longer than anything that a test waits for.
const LONG: Duration = Duration::from_secs(60);

fn near<V>(address: &str) -> NearBuilder<u64, V>
where
    V: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    // A busy machine must not look like a server that does not answer.
    NearCache::builder().server(address).prefix("n:").max_stale(LONG).call_timeout(LONG)
}

/// Asks again and again until the answer is yes, as long as it may be expected to take.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, asked).await.unwrap_or_else(|_| panic!("it never happened: {what}"));
}
