//! The bulk verbs beside loops of the verbs for one key, over uniform keys of one large cache.
//!
//! Each bulk verb and its loop take turns on the same cache, in one process and on one thread, and the
//! one that begins alternates. Keys are drawn anew for every call and outside of the measured time, so no
//! call finds its entries in the processor's caches because of a repeated sequence. What counts is the
//! median over the rounds of the ratio within a round.

#![forbid(unsafe_code)]

use std::error::Error;
use std::hash::Hash;
use std::hint::black_box;
use std::ops::RangeFrom;
use std::time::{Duration, Instant};

use clap::Parser;
use larder::Cache;
use larder_benches::keys::{SplitMix64, fill_uniform, scramble};
use larder_benches::report::{Table, median, median_ratio, range};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares the bulk verbs with loops.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// Entries of the cache, all of which are present
    #[arg(long, default_value_t = 10_000_000)]
    entries: u64,
    /// Keys of one call
    #[arg(long, default_value_t = 64)]
    keys: usize,
    /// How often each verb is measured
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long one measurement takes
    #[arg(long, default_value_t = 100)]
    millis: u64,
    /// Use strings as keys and values instead of numbers
    #[arg(long)]
    strings: bool,
}

/// Something that a key or a value is made of.
trait Part: Clone + Eq + Hash + Send + Sync + 'static {
    fn of(number: u64) -> Self;
    /// A number that depends on it, so that it has to be read.
    fn number(&self) -> u64;
}

impl Part for u64 {
    fn of(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

impl Part for String {
    fn of(number: u64) -> Self {
        format!("{number:020}")
    }

    fn number(&self) -> u64 {
        u64::from(self.as_bytes()[0])
    }
}

/// A verb as a loop and in bulk, in nanoseconds for each key, one value for each round.
struct Costs {
    verb: &'static str,
    single: Vec<f64>,
    bulk: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if options.strings { compare::<String>(&options) } else { compare::<u64>(&options) }
}

fn compare<T: Part>(options: &Options) -> Result<(), Box<dyn Error>> {
    let cache = &filled::<T>(options)?;
    let sum_of = |values: Vec<Option<&T>>| values.into_iter().flatten().map(T::number).sum::<u64>();
    let mut comparison = Comparison::new(options);
    for round in 0..options.rounds {
        comparison.begin(round);
        comparison.compare::<T>(
            "get into a Vec | get_many",
            &|turn| turn.each(|keys| keys.iter().map(|key| cache.get(key)).collect::<Vec<_>>()),
            &|turn| turn.each(|keys| cache.get_many(keys)),
        );
        comparison.compare::<T>(
            "read | read_many",
            &|turn| {
                let read = |key: &T| cache.read(key, T::number).unwrap_or(0);
                turn.each(|keys| keys.iter().map(read).sum::<u64>());
            },
            &|turn| {
                turn.each(|keys| {
                    let mut sum = 0;
                    cache.read_many(keys, |_, value| sum += value.map_or(0, T::number));
                    sum
                });
            },
        );
        comparison.compare::<T>(
            "Pinned::get | Pinned::get_many",
            &|turn| {
                turn.each(|keys| {
                    let pinned = cache.pin();
                    sum_of(keys.iter().map(|key| pinned.get(key)).collect())
                });
            },
            &|turn| turn.each(|keys| sum_of(cache.pin().get_many(keys))),
        );
        comparison.compare::<T>(
            "insert | insert_many, present keys",
            &|turn| turn.each_pairs(|pairs| insert_each(cache, pairs)),
            &|turn| turn.each_pairs(|pairs| cache.insert_many(pairs)),
        );
        comparison.compare::<T>(
            "insert | insert_many, new keys",
            &|turn| {
                turn.renew_keys();
                turn.each_pairs(|pairs| insert_each(cache, pairs));
                turn.take_out(cache);
            },
            &|turn| {
                turn.renew_keys();
                turn.each_pairs(|pairs| cache.insert_many(pairs));
                turn.take_out(cache);
            },
        );
        comparison.compare::<T>(
            "remove | remove_many",
            &|turn| {
                let is_removed = |key: &&T| cache.remove(*key).is_some();
                turn.each(|keys| keys.iter().filter(is_removed).count());
                turn.put_back(cache);
            },
            &|turn| {
                turn.each(|keys| cache.remove_many(keys));
                turn.put_back(cache);
            },
        );
    }
    println!("{}", render(options, &comparison.costs));
    Ok(())
}

fn filled<T: Part>(options: &Options) -> Result<Cache<T, T>, Box<dyn Error>> {
    let cache: Cache<T, T> =
        Cache::builder().capacity(usize::try_from(2 * options.entries)?).build()?;
    for number in 0..options.entries {
        let _ = cache.insert(T::of(scramble(number)), T::of(number));
    }
    cache.run_pending();
    assert_eq!(cache.len() as u64, options.entries, "nothing may be evicted here");
    // The first hit on an entry marks it, and may notify the policy.
    let is_present = |number| cache.read(&T::of(scramble(number)), |_| ()).is_some();
    assert!((0..options.entries).all(is_present), "every key is present");
    cache.run_pending();
    Ok(cache)
}

fn insert_each<T: Part>(cache: &Cache<T, T>, pairs: Vec<(T, T)>) {
    for (key, value) in pairs {
        let _ = black_box(cache.insert(key, value));
    }
}

/// What was measured so far.
struct Comparison<'o> {
    options: &'o Options,
    random: SplitMix64,
    costs: Vec<Costs>,
    round: usize,
    /// The comparison that comes next in this round.
    next: usize,
    /// The number of the next key that the cache never had.
    new_numbers: RangeFrom<u64>,
}

impl<'o> Comparison<'o> {
    fn new(options: &'o Options) -> Self {
        let new_numbers = options.entries..;
        let random = SplitMix64::new(1);
        Self { options, random, costs: Vec::new(), round: 0, next: 0, new_numbers }
    }

    fn begin(&mut self, round: usize) {
        (self.round, self.next) = (round, 0);
    }

    fn compare<T: Part>(
        &mut self,
        verb: &'static str,
        single: &dyn Fn(&mut Turn<'_, T>),
        bulk: &dyn Fn(&mut Turn<'_, T>),
    ) {
        // The order alternates, because the first finds the processor's caches as the other left them.
        let (single_cost, bulk_cost);
        if self.round.is_multiple_of(2) {
            single_cost = self.cost(single);
            bulk_cost = self.cost(bulk);
        } else {
            bulk_cost = self.cost(bulk);
            single_cost = self.cost(single);
        }
        if self.round == 0 {
            self.costs.push(Costs { verb, single: Vec::new(), bulk: Vec::new() });
        }
        let costs = &mut self.costs[self.next];
        costs.single.push(single_cost);
        costs.bulk.push(bulk_cost);
        self.next += 1;
    }

    /// Nanoseconds for each key: the median over the turns, because the system may give the processor to
    /// another program during some.
    fn cost<T: Part>(&mut self, run: &dyn Fn(&mut Turn<'_, T>)) -> f64 {
        let Options { entries, keys, millis, .. } = *self.options;
        let mut numbers = vec![0; keys];
        let (mut total, mut turns) = (Duration::ZERO, Vec::new());
        while total < Duration::from_millis(millis) {
            let mut draw = || {
                fill_uniform(&mut numbers, entries, &mut self.random);
                numbers.iter().map(|number| T::of(*number)).collect()
            };
            let calls = (0..TURN.div_ceil(keys)).map(|_| draw()).collect();
            let new_numbers = &mut self.new_numbers;
            let mut turn = Turn { calls, took: Duration::ZERO, new_numbers };
            run(&mut turn);
            total += turn.took;
            turns.push(turn.took.as_secs_f64() * 1e9 / (turn.calls.len() * keys) as f64);
        }
        median(&turns)
    }
}

/// Keys of one turn.
const TURN: usize = 8_192;

/// Calls whose time is taken together, with the keys of each.
struct Turn<'n, T> {
    calls: Vec<Vec<T>>,
    took: Duration,
    new_numbers: &'n mut RangeFrom<u64>,
}

impl<T: Part> Turn<'_, T> {
    fn each<R>(&mut self, call: impl Fn(&[T]) -> R) {
        let started = Instant::now();
        for keys in &self.calls {
            black_box(call(keys));
        }
        self.took += started.elapsed();
    }

    /// Passes the keys with values, which are made outside of the measured time.
    fn each_pairs<R>(&mut self, call: impl Fn(Vec<(T, T)>) -> R) {
        let pairs = |keys: &Vec<T>| keys.iter().map(|key| (key.clone(), key.clone())).collect();
        let calls: Vec<Vec<(T, T)>> = self.calls.iter().map(pairs).collect();
        let started = Instant::now();
        for pairs in calls {
            black_box(call(pairs));
        }
        self.took += started.elapsed();
    }

    /// Replaces the keys by some that the cache does not have.
    fn renew_keys(&mut self) {
        let keys = self.calls.iter_mut().flatten();
        keys.zip(&mut *self.new_numbers).for_each(|(key, number)| *key = T::of(scramble(number)));
    }

    fn put_back(&self, cache: &Cache<T, T>) {
        cache.insert_many(self.calls.iter().flatten().map(|key| (key.clone(), key.clone())));
        cache.run_pending();
    }

    fn take_out(&self, cache: &Cache<T, T>) {
        cache.remove_many(self.calls.iter().flatten());
        cache.run_pending();
    }
}

fn render(options: &Options, verbs: &[Costs]) -> String {
    let mut table =
        Table::new(["loop | bulk", "loop ns", "bulk ns", "loop / bulk", "least", "most"]);
    for Costs { verb, single, bulk } in verbs {
        let ratios: Vec<f64> =
            single.iter().zip(bulk).map(|(single, bulk)| single / bulk).collect();
        let (least, most) = range(&ratios);
        table.row(vec![
            (*verb).to_owned(),
            format!("{:.1}", median(single)),
            format!("{:.1}", median(bulk)),
            format!("{:.2}", median_ratio(single, bulk)),
            format!("{least:.2}"),
            format!("{most:.2}"),
        ]);
    }
    format!(
        "{} entries, {} as keys and values, {} keys in a call, {} rounds of {} ms\n\
         nanoseconds for each key; goal: loop / bulk at least 1.3 for get\n\n{}",
        options.entries,
        if options.strings { "strings" } else { "numbers" },
        options.keys,
        options.rounds,
        options.millis,
        table.render(),
    )
}
