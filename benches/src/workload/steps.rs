//! One batch of each workload.
//!
//! Every result goes through `black_box`. Values are made before the operation that stores them
//! begins.

use std::hint::black_box;

use crate::contender::{CacheKey, Contender, Value};
use crate::keys::scramble;
use crate::measure::{BATCH, Done};
use crate::stopwatch::{Observer, Verb};

/// One of so many operations of `Mixed` inserts.
const INSERT_EACH: usize = 4;

/// Looks up each of `keys` by itself.
#[inline]
pub(super) fn get<C: Contender, O: Observer>(
    contender: &C,
    keys: &[C::Key],
    watch: &mut O,
) -> Done {
    let mut hits = 0;
    for key in keys {
        if let Some(value) = watch.watch(Verb::Get, || contender.get(key)) {
            black_box(value.number());
            hits += 1;
        }
    }
    Done::lookups(hits)
}

/// Does one lookup again and again.
#[inline]
pub(super) fn repeat<O: Observer>(watch: &mut O, mut get: impl FnMut() -> Option<u64>) -> Done {
    let mut hits = 0;
    for _ in 0..BATCH {
        hits += u64::from(black_box(watch.watch(Verb::Get, &mut get)).is_some());
    }
    Done::lookups(hits)
}

/// Looks up each of `keys`, and inserts it if it is missing.
#[inline]
pub(super) fn read_through<C: Contender, O: Observer>(
    contender: &C,
    keys: &[C::Key],
    watch: &mut O,
) -> Done {
    let mut hits = 0;
    for (key, number) in keys.iter().zip(0..) {
        if let Some(value) = watch.watch(Verb::Get, || contender.get(key)) {
            black_box(value.number());
            hits += 1;
        } else {
            insert_one(contender, key.clone(), number, watch);
        }
    }
    Done::lookups(hits)
}

/// Looks up or loads each of `keys`.
#[inline]
pub(super) fn load<C: Contender, O: Observer>(
    contender: &C,
    keys: &[C::Key],
    watch: &mut O,
) -> Done {
    let mut loads = 0;
    for (key, number) in keys.iter().zip(0..) {
        let value = watch.watch(Verb::Load, || {
            contender.get_or_load(key, || {
                loads += 1;
                C::Value::new(number)
            })
        });
        black_box(value.number());
    }
    Done::lookups(keys.len() as u64 - loads)
}

/// Looks up three of four `keys` and inserts the fourth, whether it is present or not.
#[inline]
pub(super) fn mixed<C: Contender, O: Observer>(
    contender: &C,
    keys: &[C::Key],
    watch: &mut O,
) -> Done {
    let mut hits = 0;
    for four in keys.chunks_exact(INSERT_EACH) {
        let (last, first) = four.split_last().expect("there are four");
        hits += get(contender, first, watch).hits;
        insert_one(contender, last.clone(), hits, watch);
    }
    let operations = keys.len() as u64;
    Done { operations, lookups: operations - operations / INSERT_EACH as u64, hits }
}

/// Gives each of `keys` another value.
#[inline]
pub(super) fn update<C: Contender, O: Observer>(
    contender: &C,
    keys: &[C::Key],
    watch: &mut O,
) -> Done {
    for (key, number) in keys.iter().zip(0..) {
        insert_one(contender, key.clone(), number, watch);
    }
    Done::others(keys.len() as u64)
}

/// Removes each of `keys` and inserts it again.
#[inline]
pub(super) fn churn<C: Contender, O: Observer>(
    contender: &C,
    keys: &[C::Key],
    watch: &mut O,
) -> Done {
    for (key, number) in keys.iter().zip(0..) {
        watch.watch(Verb::Remove, || contender.remove(key));
        insert_one(contender, key.clone(), number, watch);
    }
    Done::others(2 * keys.len() as u64)
}

/// Inserts the keys of a batch of numbers from `first` on.
#[inline]
pub(super) fn insert<C: Contender, O: Observer>(contender: &C, first: u64, watch: &mut O) -> Done {
    for number in first..first + BATCH as u64 {
        insert_one(contender, C::Key::new(scramble(number)), number, watch);
    }
    Done::others(BATCH as u64)
}

#[inline]
fn insert_one<C: Contender, O: Observer>(contender: &C, key: C::Key, number: u64, watch: &mut O) {
    let value = C::Value::new(number);
    watch.watch(Verb::Insert, || contender.insert(key, value));
}

/// Visits all entries.
#[inline]
pub(super) fn walk<C: Contender, O: Observer>(contender: &C, watch: &mut O) -> Done {
    let entries = watch.watch(Verb::Walk, || contender.iterate());
    Done::others(black_box(entries).map_or(0, |entries| entries as u64))
}
