use larder::cached;

#[cached(capacity = 100, sync_writes = true)]
fn one(n: u64) -> u64 {
    n
}

#[cached(ttl = "10 seconds")]
fn two(n: u64) -> u64 {
    n
}

#[cached(policy = "mru")]
fn three(n: u64) -> u64 {
    n
}

fn main() {
    one(two(three(1)));
}
