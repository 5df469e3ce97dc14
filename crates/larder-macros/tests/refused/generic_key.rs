use larder::cached;

#[cached]
fn size<T: AsRef<[u8]>>(bytes: T, factor: usize) -> usize {
    bytes.as_ref().len() * factor
}

fn main() {
    size("bytes", 2);
}
