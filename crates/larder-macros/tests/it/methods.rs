//! Methods and associated functions.

use std::sync::{Arc, LazyLock};

use larder::{Cache, cached};

use crate::support::Runs;

struct Shop {
    id: u64,
    name: String,
    runs: Runs,
    prices: Cache<String, u64>,
}

impl Shop {
    fn new(id: u64) -> Self {
        let (name, runs) = (format!("shop {id}"), Runs::default());
        Self { id, name, runs, prices: Cache::new(100) }
    }

    /// The key says which shop it is.
    #[cached(key = (self.id, item), key_type = (u64, String))]
    fn label(&self, item: &str) -> String {
        self.runs.add();
        format!("{item} of {}", self.name)
    }

    /// Each shop has a cache of its own, so the arguments suffice.
    #[cached(cache = self.prices)]
    fn price(&self, item: &str) -> u64 {
        self.runs.add();
        self.id + item.len() as u64
    }

    /// The shop makes no difference.
    #[cached(key = item)]
    fn tax(&self, item: &str) -> usize {
        self.runs.add();
        item.len()
    }

    #[cached(key = self.name, key_type = String)]
    fn sign(&self) -> String {
        self.runs.add();
        Self::frame(&self.name)
    }

    /// Recognized as an associated function, since it names `Self`.
    #[cached]
    fn longest(a: &str, b: &str) -> String {
        if Self::is_longer(a, b) { a.to_owned() } else { b.to_owned() }
    }

    /// The same, within the tokens of a macro.
    #[cached]
    fn longer(a: &str, b: &str) -> String {
        format!("{a} is longer than {b}: {}", Self::is_longer(a, b))
    }

    /// Not recognized, since it does not.
    #[cached(in_impl)]
    fn frame(text: &str) -> String {
        format!("[{text}]")
    }

    fn signs() -> &'static Cache<u8, String> {
        static SIGNS: LazyLock<Cache<u8, String>> = LazyLock::new(|| Cache::new(10));
        &SIGNS
    }

    #[cached(cache = Self::signs())]
    fn stars(count: u8) -> String {
        "*".repeat(count.into())
    }

    fn is_longer(a: &str, b: &str) -> bool {
        a.len() > b.len()
    }

    #[cached(key = self.id, key_type = u64)]
    fn shared(self: &Arc<Self>) -> usize {
        Arc::strong_count(self)
    }

    #[cached(key = self.id, key_type = u64)]
    fn owned(self: Arc<Self>, _unused: &str) -> String {
        self.name.clone()
    }
}

#[test]
fn a_key_tells_instances_apart() {
    let (one, two) = (Shop::new(1), Shop::new(2));
    for _ in 0..2 {
        assert_eq!(one.label("tea"), "tea of shop 1");
        assert_eq!(two.label("tea"), "tea of shop 2");
    }
    assert_eq!((one.runs.count(), two.runs.count()), (1, 1));
    assert!(Shop::label_cache().contains_key(&(2, "tea".to_owned())));
    assert_eq!(one.label_uncached("tea"), "tea of shop 1");
    assert_eq!(one.runs.count(), 2);
}

#[test]
fn instances_share_the_cache_if_the_key_leaves_them_out() {
    let (one, two) = (Shop::new(1), Shop::new(2));
    assert_eq!((one.tax("tea"), two.tax("tea")), (3, 3));
    assert_eq!((one.runs.count(), two.runs.count()), (1, 0));
}

#[test]
fn a_cache_may_belong_to_the_instance() {
    let (one, two) = (Shop::new(1), Shop::new(2));
    for _ in 0..2 {
        assert_eq!((one.price("tea"), two.price("tea")), (4, 5));
    }
    assert_eq!((one.runs.count(), two.runs.count()), (1, 1));
    assert_eq!(two.prices.peek("tea"), Some(5));
}

#[test]
fn fields_and_associated_functions_are_found() {
    let shop = Shop::new(3);
    assert_eq!((shop.sign(), shop.sign()), ("[shop 3]".into(), "[shop 3]".into()));
    assert_eq!(shop.runs.count(), 1);
    assert_eq!(Shop::longest("ab", "c"), "ab");
    assert_eq!((Shop::stars(2), Shop::stars_uncached(3)), ("**".into(), "***".into()));
    assert_eq!(Shop::signs().len(), 1);
    assert_eq!(Shop::longest_cache().len(), 1);
    assert_eq!(Shop::longer("ab", "c"), "ab is longer than c: true");
    assert_eq!(Shop::frame_cache().peek("shop 3").as_deref(), Some("[shop 3]"));
}

#[test]
fn self_may_be_a_pointer() {
    let shop = Arc::new(Shop::new(4));
    assert_eq!((shop.shared(), shop.clone().shared()), (1, 1));
    assert_eq!(shop.clone().owned(""), "shop 4");
    assert_eq!(Shop::owned_cache().peek(&4).as_deref(), Some("shop 4"));
}

/// Small enough to be the key itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Color {
    Red,
    Green,
}

impl Color {
    #[cached(key = self, key_type = Color)]
    fn by_value(self) -> String {
        format!("{self:?}")
    }

    #[cached(key = self, key_type = Color)]
    fn by_reference(&self) -> String {
        format!("{self:?}")
    }

    #[cached(key = (self, n), key_type = (Color, u32))]
    fn with_another(mut self, n: u32) -> String {
        if n > 1 {
            self = Color::Red;
        }
        format!("{self:?}")
    }
}

#[test]
fn self_may_be_the_key() {
    assert_eq!((Color::Red.by_value(), Color::Green.by_value()), ("Red".into(), "Green".into()));
    assert_eq!(Color::Red.by_reference(), "Red");
    assert_eq!(
        (Color::Green.with_another(1), Color::Green.with_another(2)),
        ("Green".into(), "Red".into())
    );
    assert_eq!(Color::by_value_cache().len(), 2);
}

/// A generic type: each of its instances has its cache.
struct Table<T: Clone + Send + Sync + 'static> {
    rows: Vec<T>,
    cache: Cache<usize, T>,
}

impl<T: Clone + Send + Sync + 'static> Table<T> {
    #[cached(cache = self.cache)]
    fn row(&self, index: usize) -> T {
        self.rows[index].clone()
    }
}

#[test]
fn a_generic_type_has_a_cache_of_its_own() {
    let words = Table { rows: vec!["a", "b"], cache: Cache::new(10) };
    let numbers = Table { rows: vec![1, 2], cache: Cache::new(10) };
    assert_eq!((words.row(1), numbers.row(1), words.row(1)), ("b", 2, "b"));
    assert_eq!((words.cache.len(), numbers.cache.len()), (1, 1));
}
