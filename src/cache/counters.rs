//! Numbers that many threads add to, without losing an addition.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::compute::{Compute, Effect};
use super::options::UpdateOptions;
use crate::base::equivalent::ToKey;
use crate::base::error::{CounterError, Rejection};

/// The integers of the standard library, which [`Cache::fetch_add`] and similar methods count in.
///
/// This trait is sealed: no other type can implement it.
pub trait CounterValue: sealed::Integer {}

mod sealed {
    /// What a counter can do.
    pub trait Integer: Copy + Ord {
        const ZERO: Self;
        fn wrapping_sum(self, other: Self) -> Self;
        fn wrapping_difference(self, other: Self) -> Self;
        fn checked_sum(self, other: Self) -> Option<Self>;
    }
}

macro_rules! count_in {
    ($($integer:ty)*) => {$(
        impl CounterValue for $integer {}

        impl sealed::Integer for $integer {
            const ZERO: Self = 0;

            fn wrapping_sum(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn wrapping_difference(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            fn checked_sum(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
        }
    )*};
}

count_in!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: CounterValue,
    S: BuildHasher,
{
    /// Adds `amount` to the number of `key`, which begins at 0 if the key is absent, and returns the number
    /// before. Wraps around on overflow, like the atomics of the standard library.
    ///
    /// No addition is lost while the key stays in the cache. A counter that was evicted or has expired begins
    /// anew at 0, and what it had counted is gone; a [listener](crate::Builder::listener) is given its last
    /// value. [`insert_unevictable`](Self::insert_unevictable), or
    /// [`UpdateOptions::unevictable`], keeps a counter from being evicted. An addition that is rejected, which
    /// happens in a cache of capacity 0 and within [atomic listeners](crate::Builder::atomic_listener),
    /// returns 0 and counts in [`Stats::rejections`](crate::Stats::rejections);
    /// [`fetch_add_with`](Self::fetch_add_with) returns the reason.
    ///
    /// The key is cloned from `key` only if it is absent. Otherwise as [`update`](Self::update).
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// # Complexity
    /// As [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// let visits: larder::Cache<String, u64> = larder::Cache::new(100);
    /// assert_eq!(visits.fetch_add("/index", 1), 0);
    /// assert_eq!(visits.fetch_add("/index", 1), 1);
    /// assert_eq!(visits.get("/index"), Some(2));
    /// ```
    pub fn fetch_add<Q>(&self, key: &Q, amount: V) -> V
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.fetch_add_with(key, amount, UpdateOptions::new()).unwrap_or(V::ZERO)
    }

    /// As [`fetch_add`](Self::fetch_add), with `options`; [`UpdateOptions`] has an example.
    ///
    /// # Errors
    /// The [`Rejection`] says why nothing was added.
    pub fn fetch_add_with<Q>(
        &self,
        key: &Q,
        amount: V,
        options: UpdateOptions<'_>,
    ) -> Result<V, Rejection>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.fetch_update(key, options, |number| Ok(number.wrapping_sum(amount)))
            .unwrap_or_else(|never: Infallible| match never {})
    }

    /// Subtracts `amount` from the number of `key`; otherwise as [`fetch_add`](Self::fetch_add). Wraps around
    /// below the least value of the type.
    ///
    /// # Examples
    /// ```
    /// let stock = larder::Cache::new(100);
    /// stock.insert("apples", 10_i32);
    /// assert_eq!(stock.fetch_sub(&"apples", 3), 10);
    /// assert_eq!(stock.get("apples"), Some(7));
    /// ```
    pub fn fetch_sub<Q>(&self, key: &Q, amount: V) -> V
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let subtract = |number: V| Ok::<_, Infallible>(number.wrapping_difference(amount));
        let Ok(before) = self.fetch_update(key, UpdateOptions::new(), subtract);
        before.unwrap_or(V::ZERO)
    }

    /// Raises the number of `key` to `value` if it is lower, or stores `value` if the key is absent. Returns the
    /// number before; `None` if the key was absent, or if the value was rejected. If nothing changes, nothing is
    /// stored. Otherwise as [`fetch_add`](Self::fetch_add).
    ///
    /// # Examples
    /// ```
    /// let highest = larder::Cache::new(100);
    /// assert_eq!(highest.fetch_max(&"score", 3), None);
    /// assert_eq!(highest.fetch_max(&"score", 7), Some(3));
    /// assert_eq!(highest.fetch_max(&"score", 5), Some(7));
    /// assert_eq!(highest.get("score"), Some(7));
    /// ```
    pub fn fetch_max<Q>(&self, key: &Q, value: V) -> Option<V>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.fetch_toward(key, value, |number| number < value)
    }

    /// Lowers the number of `key` to `value` if it is higher; otherwise as [`fetch_max`](Self::fetch_max).
    pub fn fetch_min<Q>(&self, key: &Q, value: V) -> Option<V>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.fetch_toward(key, value, |number| number > value)
    }

    /// As [`fetch_add`](Self::fetch_add), but refuses an addition that would overflow.
    ///
    /// # Errors
    /// [`CounterError::Overflow`] if the sum is not in the range of the type, and
    /// [`CounterError::Rejected`] if the sum was not stored. Nothing was added.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, CounterError};
    ///
    /// let cache: Cache<&str, u8> = Cache::new(100);
    /// assert_eq!(cache.checked_fetch_add(&"n", 200), Ok(0));
    /// assert_eq!(cache.checked_fetch_add(&"n", 100), Err(CounterError::Overflow));
    /// assert_eq!(cache.get("n"), Some(200));
    /// ```
    pub fn checked_fetch_add<Q>(&self, key: &Q, amount: V) -> Result<V, CounterError>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let add = |number: V| number.checked_sum(amount).ok_or(CounterError::Overflow);
        Ok(self.fetch_update(key, UpdateOptions::new(), add)??)
    }

    fn fetch_update<Q, E>(
        &self,
        key: &Q,
        options: UpdateOptions<'_>,
        change: impl Fn(V) -> Result<V, E>,
    ) -> Result<Result<V, Rejection>, E>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let wanted = match self.computation(key, || key.to_key(), options) {
            Ok(wanted) => wanted,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let mut decide =
            |number: Option<&V>| change(number.copied().unwrap_or(V::ZERO)).map(Compute::Put);
        self.compute(&wanted, &mut decide, &mut |effect| match effect {
            Effect::Replaced { old, .. } => *old,
            _ => V::ZERO,
        })
    }

    fn fetch_toward<Q>(&self, key: &Q, value: V, is_behind: impl Fn(V) -> bool) -> Option<V>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let wanted = self.computation(key, || key.to_key(), UpdateOptions::new()).ok()?;
        let mut decide = |number: Option<&V>| {
            let changes = number.is_none_or(|number| is_behind(*number));
            Ok(if changes { Compute::Put(value) } else { Compute::Keep })
        };
        let mut see = |effect: Effect<'_, V>| match effect {
            Effect::Replaced { old, .. } | Effect::Unchanged(old) => Some(*old),
            Effect::Inserted(_) | Effect::Removed(_) | Effect::StillAbsent => None,
        };
        let Ok(before) = self.compute::<_, _, Infallible, _>(&wanted, &mut decide, &mut see);
        before.unwrap_or_default()
    }
}
