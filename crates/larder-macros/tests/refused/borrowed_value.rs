use larder::cached;

#[cached]
fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn main() {
    first_word("two words");
}
