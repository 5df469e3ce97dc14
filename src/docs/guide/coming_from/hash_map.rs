//! For users of `std::collections::HashMap`, alone or as `Mutex<HashMap<K, V>>`.
//!
//! A cache is a map that forgets: whatever you insert may be gone at the next call, because it was evicted or has
//! expired. So do not keep the only copy of anything in it. In return it is bounded, all its calls take `&self`,
//! and its clones are handles of the same cache, so neither a mutex nor an `Arc` is needed around it.
//!
//! ```
//! use std::collections::HashMap;
//! use larder::Cache;
//!
//! let text = "a rose is a rose";
//! let mut map: HashMap<String, u32> = HashMap::new();
//! for word in text.split(' ') {
//!     *map.entry(word.to_owned()).or_insert(0) += 1;
//! }
//!
//! let cache: Cache<String, u32> = Cache::new(1_000);
//! for word in text.split(' ') {
//!     cache.fetch_add(word, 1); // for other values: entry(…).and_modify(…).or_insert(…)
//! }
//! assert_eq!((map["rose"], cache.get("rose")), (2, Some(2)));
//! ```
//!
//! # What differs
//! - There are no references into the cache that block others: calls return clones, or run a closure
//!   ([`read`](Cache::read)), or borrow under a [`pin`](Cache::pin). No `&mut V` at all: a new value takes the
//!   place of the old one.
//! - An [entry](Cache::entry) holds nothing. Its methods act on what is there when they run, each in one atomic
//!   step.
//! - Iteration sees a cache that others may be changing.
//!
//! | there | here |
//! |---|---|
//! | `HashMap::new()`, `with_capacity(n)` | [`Cache::new(n)`](Cache::new), where `n` is a bound; [`initial_capacity`](crate::Builder::initial_capacity), [`reserve`](Cache::reserve) |
//! | `with_hasher(s)` | [`Cache::builder().hasher(s)`](crate::Builder::hasher) |
//! | `insert(k, v)`, which returns the old value | [`swap(k, v)`](Cache::swap); [`insert(k, v)`](Cache::insert) says what became of the value |
//! | `get(&k)`, `get_key_value(&k)`, `map[&k]` | [`get(&k)`](Cache::get), a clone; [`get_key_value`](Cache::get_key_value), [`read(&k, f)`](Cache::read), [`pin()`](Cache::pin) |
//! | `get_mut(&k)` | [`update(&k, f)`](Cache::update) |
//! | `contains_key(&k)` | the same, which counts as no use |
//! | `remove(&k)`, `remove_entry(&k)` | the same names |
//! | `entry(k).or_insert(v)`, `or_insert_with(f)`, `or_insert_with_key(f)`, `or_default()` | [the same names](crate::CacheEntry::or_insert), which return the value; one `f` runs for all threads that find the key absent, as with [`get_or_insert_with(&k, f)`](Cache::get_or_insert_with) |
//! | `entry(k).and_modify(f)` | [`and_modify(f)`](crate::CacheEntry::and_modify), where `f` takes `&V` and returns the new value; `or_insert(v)` or [`apply()`](crate::ModifyEntry::apply) then does it |
//! | `Entry::{Occupied, Vacant}` | [`CacheEntry::{Occupied, Vacant}`](crate::CacheEntry), as it was when `entry` looked |
//! | `OccupiedEntry`: `key()`, `get()`, `insert(v)`, `remove()` | [the same names](crate::OccupiedEntry); `get` returns what was seen |
//! | `OccupiedEntry`: `get_mut()`, `into_mut()` | [`and_compute_with`](crate::CacheEntry::and_compute_with), [`into_value()`](crate::OccupiedEntry::into_value) for the value seen |
//! | `VacantEntry`: `key()`, `into_key()`, `insert(v)` | [the same names](crate::VacantEntry) |
//! | `insert_entry(v)` | [`and_upsert_with(\|_\| v)`](crate::CacheEntry::and_upsert_with) |
//! | `len`, `is_empty`, `clear`, `retain`, `drain`, `extract_if` | the same names |
//! | `iter`, `keys`, `values`, `into_iter` | [`iter`](Cache::iter), [`keys`](Cache::keys), [`values`](Cache::values), which yield clones |
//! | `iter_mut`, `values_mut` | no counterpart: [`update`](Cache::update) each key |
//! | `extend`, `from`, `collect` | `extend` and `collect` work as well; a collected cache is as large as what it was collected from |
//! | `get_disjoint_mut(keys)` | no counterpart; [`get_many(keys)`](Cache::get_many) for clones |
//! | `capacity()`, `shrink_to_fit()` | [`capacity()`](Cache::capacity) is the bound; memory comes and goes with the entries |

#[cfg(doc)]
use crate::Cache;
