use larder::cached;

struct Shop {
    id: u64,
}

impl Shop {
    #[cached]
    fn price(&self, item: &str) -> u64 {
        self.id + item.len() as u64
    }
}

fn main() {
    Shop { id: 1 }.price("tea");
}
