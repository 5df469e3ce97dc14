use larder::cached;

#[cached(ttl = "10s")]
fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.parse()
}

fn main() {
    let _ = parse("1");
}
