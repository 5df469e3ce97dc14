//! Lookups by a query that is equivalent to a key without being a borrowed form of it.

use std::time::Duration;

use larder::{Cache, Equivalent, Explanation, Maintenance};

use crate::support::configs::for_each_config;

type Pair = (String, String);

#[derive(Hash)]
struct PairRef<'q>(&'q str, &'q str);

impl Equivalent<Pair> for PairRef<'_> {
    fn equivalent(&self, key: &Pair) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owned {
    Page(String),
    Image(String, u32),
}

#[derive(Hash)]
enum Borrowed<'q> {
    Page(&'q str),
    Image(&'q str, u32),
}

impl Equivalent<Owned> for Borrowed<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        match (self, key) {
            (Self::Page(name), Owned::Page(stored)) => name == stored,
            (Self::Image(name, width), Owned::Image(stored, stored_width)) => {
                name == stored && width == stored_width
            }
            _ => false,
        }
    }
}

fn pair(host: &str, page: &str) -> Pair {
    (host.to_owned(), page.to_owned())
}

#[test]
fn every_lookup_accepts_a_query_equivalent_to_the_key() {
    for_each_config(|config| {
        let cache: Cache<Pair, u32, _> = config.cache(1024);
        cache.insert_with_ttl(pair("host", "page"), 7, Duration::from_secs(3600));
        let (there, absent) = (PairRef("host", "page"), PairRef("hostp", "age"));
        assert_eq!(cache.get(&there), Some(7));
        assert_eq!(cache.peek(&there), Some(7));
        assert_eq!(cache.read(&there, |value| *value), Some(7));
        assert!(cache.contains_key(&there));
        assert!(cache.inspect(&there).is_some());
        assert!(!cache.has_expired(&there));
        assert!(matches!(cache.explain(&there), Explanation::Present(_)));
        assert_eq!(cache.tags_of(&there), Some(Vec::new()));
        assert_eq!(cache.is_unevictable(&there), Some(false));
        assert!(cache.expire_after(&there, Some(Duration::from_secs(7200))));
        cache.run_pending();
        assert!(cache.frequency(&there).is_some());
        let pinned = cache.pin();
        assert_eq!((pinned.get(&there), pinned.peek(&there)), (Some(&7), Some(&7)));
        assert!(pinned.contains_key(&there) && !pinned.contains_key(&absent));
        drop(pinned);
        assert_eq!((cache.get(&absent), cache.remove(&absent)), (None, None));
        assert!(!cache.remove_if(&there, |_, value| *value == 8));
        assert!(cache.remove_if(&there, |_, value| *value == 7));
        assert!(!cache.contains_key(&there));
    });
}

#[test]
fn a_borrowed_enum_finds_an_owned_one() {
    let cache: Cache<Owned, u32> =
        Cache::builder().capacity(10).maintenance(Maintenance::Inline).build().unwrap();
    cache.insert(Owned::Page("a".to_owned()), 1);
    cache.insert(Owned::Image("a".to_owned(), 640), 2);
    assert_eq!(cache.get(&Borrowed::Page("a")), Some(1));
    assert_eq!(cache.get(&Borrowed::Image("a", 640)), Some(2));
    assert_eq!(cache.get(&Borrowed::Image("a", 320)), None);
    assert_eq!(cache.remove(&Borrowed::Page("a")), Some(1));
    assert_eq!(cache.len(), 1);
}

#[test]
fn borrowed_forms_of_usual_keys_need_no_annotation() {
    let strings: Cache<String, u32> = [("a".to_owned(), 1)].into_iter().collect();
    let owned = "a".to_owned();
    assert_eq!([strings.get("a"), strings.get(&owned), strings.get(&*owned)], [Some(1); 3]);
    let bytes: Cache<Vec<u8>, u32> = [(vec![1, 2], 3)].into_iter().collect();
    assert_eq!([bytes.get(&[1, 2][..]), bytes.get(&vec![1, 2])], [Some(3); 2]);
    let boxes: Cache<Box<str>, u32> = [("b".into(), 4)].into_iter().collect();
    assert_eq!(boxes.get("b"), Some(4));
    let references: Cache<&str, u32> = [("c", 5)].into_iter().collect();
    assert_eq!([references.get("c"), references.get(&"c")], [Some(5); 2]);
}
