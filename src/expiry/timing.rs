//! How long an entry may live, by the builder, the caller or an [`Expiry`], and how a use changes that.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::cache_time::{CacheTime, ClockKind, DeadlineBound};
use super::clock::nanoseconds;
use super::loading::LoadingConfig;
use super::timers::Timers;
use crate::base::error::BuildError;
use crate::base::hash::{KeyHash, split_mix};
use crate::base::sync::Ordering;
use crate::entry::{Deadline, DeadlineSpec, EntryPtr, Extension, Grace};

/// Computes how long each entry may live.
///
/// Every answer counts from the call: `Some(duration)` sets the deadline that far ahead, `None`
/// removes it, and `Some(Duration::ZERO)` makes the entry expire at once. If the cache also has a
/// [time to live](crate::Builder::time_to_live) or [to idle](crate::Builder::time_to_idle), the
/// earliest deadline counts, so no answer prolongs these lifetimes. A lifetime given with
/// [`insert_with_ttl`](crate::Cache::insert_with_ttl) takes the place of the answers of the first two
/// methods, and the third cannot prolong it. The module [`expiry`](crate::expiry) has all of this
/// in one table.
///
/// The methods run in the calls that they are named after, while the calling thread is pinned, and
/// may run more than once for one call if threads compete for a key: they must be quick and must
/// not wait. They may use the cache. A panic is propagated to the caller; an insertion has then changed
/// nothing.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, Expiry};
///
/// struct Token { valid_for: Duration }
///
/// struct AsLongAsValid;
/// impl Expiry<String, Token> for AsLongAsValid {
///     fn after_create(&self, _: &String, token: &Token) -> Option<Duration> {
///         Some(token.valid_for)
///     }
/// }
///
/// let cache: Cache<String, Token> =
///     Cache::builder().capacity(1000).expiry(AsLongAsValid).build()?;
/// # Ok::<(), larder::BuildError>(())
/// ```
pub trait Expiry<K, V>: Send + Sync {
    /// How long a new entry may live.
    fn after_create(&self, key: &K, value: &V) -> Option<Duration>;

    /// How long an entry that replaces another one may live; `remaining` is the time that the old entry had
    /// left, `None` if it had no deadline. Default: the answer of `after_create`.
    fn after_update(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = remaining;
        self.after_create(key, value)
    }

    /// How long an entry that a lookup has just found may live; `remaining` is the time that it had left before
    /// this use, by the earliest of its deadlines. An answer that equals `remaining` does not change the
    /// deadline that was computed last. Default: `remaining`.
    fn after_read(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = (key, value);
        remaining
    }
}

/// How long a new entry is to live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum EntryTtl {
    /// The cache's own lifetimes.
    #[default]
    Default,
    /// This duration, with jitter.
    For(Duration),
}

/// What the builder was given about time.
pub(crate) struct ExpiryConfig<K, V> {
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) expiry: Option<Arc<dyn Expiry<K, V>>>,
    pub(crate) jitter: f64,
    pub(crate) timer_tick: Option<Duration>,
    pub(crate) clock: ClockKind,
    /// See [`Timing::is_expiry_lazy`].
    pub(crate) is_expiry_lazy: bool,
    /// Whether entries that cannot expire need an age too.
    pub(crate) wants_ages: bool,
    pub(crate) loading: LoadingConfig,
}

impl<K, V> Clone for ExpiryConfig<K, V> {
    fn clone(&self) -> Self {
        Self { expiry: self.expiry.clone(), clock: self.clock.clone(), ..*self }
    }
}

impl<K, V> Default for ExpiryConfig<K, V> {
    fn default() -> Self {
        Self {
            time_to_live: None,
            time_to_idle: None,
            expiry: None,
            jitter: 0.0,
            timer_tick: None,
            clock: ClockKind::Monotonic,
            is_expiry_lazy: false,
            wants_ages: false,
            loading: LoadingConfig::default(),
        }
    }
}

impl<K, V> ExpiryConfig<K, V> {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.time_to_live == Some(Duration::ZERO) {
            return Err(BuildError::ZeroTimeToLive);
        }
        if self.time_to_idle == Some(Duration::ZERO) {
            return Err(BuildError::ZeroTimeToIdle);
        }
        // A NaN is not in the range either.
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(BuildError::BadJitter { given: self.jitter });
        }
        self.loading.check(self.time_to_live)
    }

    pub(crate) fn timers(&self) -> Timers {
        self.timer_tick.map(Timers::new).unwrap_or_default().with_grace(self.loading.grace())
    }

    pub(crate) fn timing(&self) -> Timing {
        let wants_ages = self.wants_ages || self.loading.wants_ages();
        let in_ns = |time: Option<Duration>| time.map_or(Deadline::NEVER, nanoseconds);
        let idle_ns = in_ns(self.time_to_idle);
        let idle_step_ns = (idle_ns / IDLE_STEPS).min(MAX_IDLE_STEP_NS);
        let time = CacheTime::new(self.clock.clone());
        // A hit does not move a deadline that is further ahead.
        let unchecked_ahead_ns =
            if idle_ns == Deadline::NEVER { 0 } else { idle_ns - idle_step_ns };
        Timing {
            unchecked_from: self.expiry.is_none().then(|| time.bound_ahead(unchecked_ahead_ns)),
            time,
            is_regular: self.expiry.is_none() && self.jitter == 0.0 && !wants_ages,
            is_computed: self.expiry.is_some(),
            ttl_ns: in_ns(self.time_to_live),
            idle_ns,
            idle_step_ns,
            jitter: self.jitter,
            is_expiry_lazy: self.is_expiry_lazy,
            grace: self.loading.grace(),
            applies_to_all: self.time_to_live.is_some()
                || self.time_to_idle.is_some()
                || self.expiry.is_some()
                || wants_ages,
        }
    }
}

/// A hit moves the deadline of the time to idle only if that moves it by more than a 64th of the time to idle,
/// or by more than 2^28 nanoseconds (0.27 seconds) if that is less.
const IDLE_STEPS: u64 = 64;
const MAX_IDLE_STEP_NS: u64 = 1 << 28;

/// With a time to live below this, a deadline never saturates, so the time of writing follows from it.
const MAX_INVERTIBLE_TTL_NS: u64 = 1 << 62;

/// A cache's time and the lifetimes that hold for all its entries.
pub(crate) struct Timing {
    pub(crate) time: CacheTime,
    ttl_ns: u64,
    idle_ns: u64,
    idle_step_ns: u64,
    jitter: f64,
    /// Whether expiry is lazy: an expired entry stays until an operation finds it or a sweep removes it.
    pub(crate) is_expiry_lazy: bool,
    /// For how long expired entries stay.
    pub(crate) grace: Grace,
    /// Whether every entry gets an extension.
    applies_to_all: bool,
    /// Whether all entries without a lifetime of their own have that of the cache unchanged, and entries that
    /// cannot expire need no age. Then the limit follows from the time of writing if there is a time to
    /// idle, and else the time of writing follows from the deadline.
    is_regular: bool,
    /// Whether the cache has an [`Expiry`].
    is_computed: bool,
    /// From which deadline on a hit passes unchecked; `None` if every hit has to be checked.
    unchecked_from: Option<DeadlineBound>,
}

impl Timing {
    pub(crate) fn time_to_live(&self) -> Option<Duration> {
        (self.ttl_ns != Deadline::NEVER).then(|| Duration::from_nanos(self.ttl_ns))
    }

    pub(crate) fn time_to_idle(&self) -> Option<Duration> {
        (self.idle_ns != Deadline::NEVER).then(|| Duration::from_nanos(self.idle_ns))
    }

    /// Whether each new entry has a deadline.
    pub(crate) fn applies_to_all(&self) -> bool {
        self.applies_to_all
    }

    /// The deadline specification of a new entry; `None` if it needs no extension.
    #[inline]
    pub(crate) fn spec(&self, lifetime: EntryTtl, hash: KeyHash) -> Option<DeadlineSpec> {
        let is_default = matches!(lifetime, EntryTtl::Default);
        if is_default && !self.applies_to_all {
            return None;
        }
        let spec = self.spec_always(lifetime, hash);
        Some(match is_default {
            true if self.is_regular && self.has_idle_time() => {
                DeadlineSpec { limit_ns: None, ..spec }
            }
            true if self.is_regular && self.ttl_ns < MAX_INVERTIBLE_TTL_NS => {
                DeadlineSpec { written_ns: None, ..spec }
            }
            _ => spec,
        })
    }

    /// As [`spec`](Self::spec), for an entry that gets an extension in any case.
    pub(crate) fn spec_always(&self, lifetime: EntryTtl, hash: KeyHash) -> DeadlineSpec {
        let (ttl_ns, is_own) = match lifetime {
            EntryTtl::Default => (self.ttl_ns, false),
            EntryTtl::For(ttl) => (nanoseconds(ttl), true),
        };
        let ttl_ns = self.jittered(ttl_ns, hash);
        let written_ns = match is_own && ttl_ns != Deadline::NEVER {
            true => self.time.now_ns(),
            false => self.now_for(ttl_ns.min(self.idle_ns)),
        };
        let limit_ns = self.after(written_ns, ttl_ns);
        DeadlineSpec {
            written_ns: Some(written_ns),
            deadline_ns: limit_ns.min(self.after(written_ns, self.idle_ns)),
            limit_ns: self.hits_move().then_some(limit_ns),
            has_computed: self.is_computed && self.has_idle_time(),
        }
    }

    /// The deadline that is `ttl_ns` after `now_ns`, as entries store it.
    #[inline]
    fn after(&self, now_ns: u64, ttl_ns: u64) -> u64 {
        self.grace.align(Deadline::after(now_ns, ttl_ns))
    }

    /// Gives an entry, which no other thread can see yet, the lifetime that an [`Expiry`] has computed,
    /// within the lifetime that it has already.
    pub(crate) fn set_lifetime(&self, entry: EntryPtr, ttl: Option<Duration>) {
        let Some(extension) = entry.extension() else { return };
        let ttl_ns = self.jittered(ttl.map_or(Deadline::NEVER, nanoseconds), entry.hash());
        let computed_ns = self.after(self.now_for(ttl_ns.min(self.idle_ns)), ttl_ns);
        if let Some(computed) = entry.own_computed_ns() {
            // Relaxed: published with the entry.
            computed.store(computed_ns, Ordering::Relaxed);
        }
        // Relaxed: as above.
        let written_ns = entry.written_ns().map_or(0, |written| written.load(Ordering::Relaxed));
        let idle_ns = Deadline::after(written_ns, self.idle_ns);
        let limit_ns = entry.limit_ns(self.ttl_ns).min(idle_ns);
        extension.deadline.set(self.grace.align(computed_ns.min(limit_ns)));
    }

    /// Lets the lifetime of an entry, which no other thread can see yet, begin now.
    pub(crate) fn restart(&self, entry: EntryPtr, lifetime: EntryTtl) {
        let Some(extension) = entry.extension() else { return };
        let spec = self.spec_always(lifetime, entry.hash());
        // Relaxed, all of them: published with the entry.
        if let (Some(limit), Some(limit_ns)) = (entry.own_limit_ns(), spec.limit_ns) {
            limit.store(limit_ns, Ordering::Relaxed);
        }
        if let (Some(written), Some(written_ns)) = (entry.written_ns(), spec.written_ns) {
            written.store(written_ns, Ordering::Relaxed);
        }
        extension.deadline.set(spec.deadline_ns);
    }

    /// Whether the cache gives a lifetime to every entry that is stored without one of its own.
    pub(crate) fn gives_lifetimes(&self) -> bool {
        self.ttl_ns != Deadline::NEVER || self.has_idle_time() || self.is_computed
    }

    /// Gives `new`, which no other thread can see yet, the deadline of `old` and what belongs to it. `new` was
    /// made with a specification of [`spec_always`](Self::spec_always).
    pub(crate) fn keep_lifetime(&self, old: EntryPtr, new: EntryPtr) {
        let (Some(from), Some(to)) = (old.extension(), new.extension()) else { return };
        new.set_limit_ns(old.limit_ns(self.ttl_ns), self.hits_move());
        new.set_computed_ns(old.computed_ns());
        to.deadline.set(from.deadline.get());
    }

    /// Until when an entry lives at most, whatever hits do, unless its lifetime is changed.
    pub(crate) fn lives_until_ns(&self, entry: EntryPtr) -> u64 {
        match entry.extension() {
            Some(_) if self.hits_move() => entry.limit_ns(self.ttl_ns),
            Some(extension) => extension.deadline.get(),
            None => Deadline::NEVER,
        }
    }

    /// Whether the lifetime of `old`, which the caller has just replaced by `new`, was changed after `new` had
    /// been given it, and that of `new` was not. Returns how long `new` has to live then.
    pub(crate) fn lifetime_to_carry(
        &self,
        old: EntryPtr,
        new: EntryPtr,
        kept_until: u64,
    ) -> Option<Option<Duration>> {
        // A change that comes later in the order of the deadline's changes sees that `old` has left, and changes
        // the lifetime of `new` itself.
        let deadline = old.extension()?.deadline.read_ordered();
        let until = self.lives_until_ns(old);
        let is_changed = until != kept_until && deadline != Deadline::EXPIRED;
        (is_changed && self.lives_until_ns(new) == kept_until).then(|| match until {
            Deadline::NEVER => None,
            until => Some(Duration::from_nanos(until.saturating_sub(self.time.now_ns()))),
        })
    }

    /// Whether the entry is surely valid, and a hit does not change its deadline.
    #[inline(always)]
    pub(crate) fn passes_unchecked(&self, extension: &Extension) -> bool {
        let Some(bound) = &self.unchecked_from else { return false };
        let deadline = extension.deadline.get();
        deadline == Deadline::NEVER || bound.is_surely_at_most(deadline)
    }

    /// Whether the entry is valid now. An entry that is not valid stays so, unless it is
    /// [renewed](Self::renew).
    #[inline]
    pub(crate) fn is_valid(&self, extension: &Extension) -> bool {
        match extension.deadline.get() {
            Deadline::NEVER => true,
            word if self.grace.is_expired(word) => false,
            deadline => {
                self.time.is_surely_not_past(deadline)
                    || !extension.deadline.expire_if_past(self.time.now_ns(), self.grace)
            }
        }
    }

    /// Whether an entry with this word of its deadline, which the caller has read before, is valid
    /// now if its deadline has not become earlier since.
    pub(crate) fn is_ahead(&self, word: u64) -> bool {
        word == Deadline::NEVER
            || !self.grace.is_expired(word)
                && (self.time.is_surely_not_past(word) || self.time.now_ns() <= word)
    }

    /// Whether an entry that the caller has just taken out of the table, or is about to take out for
    /// certain, had expired before. If so, it cannot be renewed any more.
    pub(crate) fn had_expired(&self, extension: &Extension) -> bool {
        if self.grace.is_some() {
            return extension.deadline.end_if_expired(self.grace, |word| !self.is_ahead(word));
        }
        match extension.deadline.read_ordered() {
            Deadline::NEVER => false,
            Deadline::EXPIRED => true,
            deadline => !self.time.is_surely_not_past(deadline) && deadline < self.time.now_ns(),
        }
    }

    /// How long ago an entry whose grace is not over expired; `None` if the entry is valid, has expired
    /// for ever, or there is no grace.
    pub(crate) fn overdue_ns(&self, extension: &Extension) -> Option<u64> {
        if !self.grace.is_some() || self.is_valid(extension) {
            return None;
        }
        let word = extension.deadline.get();
        // Otherwise it was renewed since.
        if word == Deadline::EXPIRED || !self.grace.is_expired(word) {
            return None;
        }
        let now_ns = self.time.now_ns();
        // After a clock has jumped back, the entry is still expired, and its deadline may be ahead.
        let overdue_ns = now_ns.saturating_sub(self.grace.deadline_of(word));
        (now_ns <= self.grace.end_of(word)).then_some(overdue_ns)
    }

    /// Whether there is a time to idle, so that hits move deadlines.
    fn has_idle_time(&self) -> bool {
        self.idle_ns != Deadline::NEVER
    }

    /// Whether hits move deadlines, by a time to idle or by an [`Expiry`].
    fn hits_move(&self) -> bool {
        self.has_idle_time() || self.is_computed
    }

    /// As [`is_valid`](Self::is_valid), for a hit: if the entry is valid and there is a time to idle, moves
    /// the deadline, unless that would not move it far.
    #[inline]
    pub(crate) fn is_valid_for_use(&self, entry: EntryPtr) -> bool {
        let Some(extension) = entry.extension() else { return true };
        if !self.has_idle_time() {
            return self.is_valid(extension);
        }
        let deadline = extension.deadline.get();
        let (early, late) = self.time.around_ns();
        let is_surely_valid = deadline >= late && !self.grace.is_expired(deadline);
        if !is_surely_valid && extension.deadline.expire_if_past(self.time.now_ns(), self.grace) {
            return false;
        }
        let now = if self.idle_ns > late - early { early } else { self.time.now_ns() };
        let limit_ns = entry.limit_ns(self.ttl_ns).min(entry.computed_ns());
        let moved = self.grace.align(Deadline::after(now, self.idle_ns).min(limit_ns));
        if moved.saturating_sub(deadline) > self.idle_step_ns {
            // If this fails, another hit has moved the deadline, which is as good, or the entry has expired.
            let _ = extension.deadline.move_from(deadline, moved);
        }
        true
    }

    /// Gives a valid entry `ttl` to live from now on, `None` for ever. Returns whether the deadline is
    /// earlier or later than before, or `None` if the entry has expired or cannot expire.
    pub(crate) fn set_remaining(&self, entry: EntryPtr, ttl: Option<Duration>) -> Option<Moved> {
        let extension = entry.extension()?;
        let ttl_ns = ttl.map_or(Deadline::NEVER, nanoseconds);
        let now = match ttl_ns {
            Deadline::NEVER => self.now_for(self.idle_ns),
            _ => self.time.now_ns(),
        };
        let limit_ns = self.after(now, ttl_ns);
        let moved = limit_ns.min(self.after(now, self.idle_ns));
        loop {
            let deadline = extension.deadline.get();
            if self.grace.is_expired(deadline) {
                return None;
            }
            entry.set_limit_ns(limit_ns, self.hits_move());
            entry.set_computed_ns(Deadline::NEVER);
            if extension.deadline.move_from(deadline, moved) {
                return Some(Moved::between(deadline, moved));
            }
        }
    }

    /// Gives an entry, which may have expired and be kept for the grace, a new lifetime as if it were
    /// written now. `computed` is what an [`Expiry`] has answered, if it was asked. Returns whether the
    /// deadline is earlier or later than before, or `None` if the entry has expired for ever or cannot
    /// expire.
    pub(crate) fn renew(
        &self,
        entry: EntryPtr,
        lifetime: EntryTtl,
        computed: Option<Option<Duration>>,
    ) -> Option<Moved> {
        let extension = entry.extension()?;
        let spec = self.spec_always(lifetime, entry.hash());
        let written_ns = spec.written_ns.unwrap_or(1);
        let computed_ns = computed.map_or(Deadline::NEVER, |ttl| {
            let ttl_ns = self.jittered(ttl.map_or(Deadline::NEVER, nanoseconds), entry.hash());
            self.after(written_ns, ttl_ns)
        });
        let limit_ns = spec.limit_ns.unwrap_or(spec.deadline_ns);
        let deadline_ns = spec.deadline_ns.min(computed_ns);
        let is_default = matches!(lifetime, EntryTtl::Default);
        let mut moved = Moved::Later;
        loop {
            let seen = extension.deadline.get();
            if seen == Deadline::EXPIRED {
                return None;
            }
            let is_written =
                entry.set_written_ns(written_ns, limit_ns, is_default, self.hits_move());
            entry.set_computed_ns(computed_ns);
            // If the word of the time has become a limit meanwhile, it has to be set anew.
            if extension.deadline.move_from(seen, deadline_ns) {
                if deadline_ns < seen {
                    moved = Moved::Earlier;
                }
                if !(is_written && entry.is_limit_in_place_of_time(self.hits_move())) {
                    return Some(moved);
                }
            }
        }
    }

    /// What the refresh of a valid entry depends on.
    pub(super) fn span(&self, entry: EntryPtr) -> Span {
        let Some(extension) = entry.extension() else {
            return Span { written_ns: None, end_ns: Deadline::NEVER };
        };
        let deadline_ns = extension.deadline.get();
        let end_ns = match self.has_idle_time() {
            true => entry.limit_ns(self.ttl_ns).min(entry.computed_ns()),
            false => deadline_ns,
        };
        Span { written_ns: entry.written_at_ns(deadline_ns, self.ttl_ns), end_ns }
    }

    /// Gives a valid entry that a lookup has found the lifetime that an [`Expiry`] has computed, from
    /// now on, within its other lifetimes. Returns the same as [`set_remaining`](Self::set_remaining).
    pub(crate) fn set_computed(&self, entry: EntryPtr, ttl: Option<Duration>) -> Option<Moved> {
        let ttl_ns = ttl.map_or(Deadline::NEVER, nanoseconds);
        let now = self.now_for(ttl_ns.min(self.idle_ns));
        let computed_ns = self.after(now, ttl_ns);
        let wanted_ns = computed_ns.min(self.after(now, self.idle_ns));
        let (before, after) = entry.move_within_limit(wanted_ns, computed_ns, self.grace)?;
        Some(Moved::between(before, after))
    }

    /// How long a valid entry has left; `None` if it has no deadline.
    pub(crate) fn remaining(&self, extension: &Extension) -> Option<Duration> {
        let deadline = extension.deadline.get();
        (deadline != Deadline::NEVER)
            .then(|| Duration::from_nanos(deadline.saturating_sub(self.time.now_ns())))
    }

    /// How long ago the entry was made; `None` if that is not known.
    pub(crate) fn age(&self, entry: EntryPtr) -> Option<Duration> {
        let deadline = entry.extension()?.deadline.get();
        let written_ns = entry.written_at_ns(deadline, self.ttl_ns)?;
        Some(Duration::from_nanos(self.time.now_ns().saturating_sub(written_ns)))
    }

    /// As [`age`](Self::age), by a cheap reading of the clock: exact to a few milliseconds.
    pub(crate) fn coarse_age(&self, entry: EntryPtr) -> Option<Duration> {
        let deadline = entry.extension()?.deadline.get();
        let written_ns = entry.written_at_ns(deadline, self.ttl_ns)?;
        Some(Duration::from_nanos(self.time.around_ns().0.saturating_sub(written_ns)))
    }

    /// The time from which a lifetime of `ttl_ns` counts: the present, or a cheaper reading that is earlier,
    /// with the monotonic clock by at most a hundredth of the lifetime.
    #[inline]
    fn now_for(&self, ttl_ns: u64) -> u64 {
        let (early, late) = self.time.around_ns();
        if early == late || ttl_ns > late - early { early } else { self.time.now_ns() }
    }

    /// Applies the jitter: the lifetime depends on the key and the moment, and on nothing else.
    fn jittered(&self, ttl_ns: u64, hash: KeyHash) -> u64 {
        if self.jitter == 0.0 || ttl_ns == Deadline::NEVER || ttl_ns == 0 {
            return ttl_ns;
        }
        let (early, _) = self.time.around_ns();
        let random = split_mix(hash.raw() ^ split_mix(early));
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the jitter needs no more than 52 bits, and casts of floats saturate"
        )]
        {
            let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
            let factor = (2.0 * unit - 1.0).mul_add(self.jitter, 1.0);
            (((ttl_ns as f64) * factor) as u64).clamp(1, Deadline::NEVER - 1)
        }
    }
}

/// The lifetime of an entry, as far as uses do not change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// When the entry was written, if that is known.
    pub(super) written_ns: Option<u64>,
    /// When it expires however much it is used; `NEVER` if it does not.
    pub(super) end_ns: u64,
}

/// In which direction a deadline was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Earlier,
    Later,
}

impl Moved {
    fn between(before_ns: u64, after_ns: u64) -> Self {
        if after_ns < before_ns { Self::Earlier } else { Self::Later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::{CoarseClock, MonotonicClock};

    const SECOND: u64 = 1_000_000_000;

    struct Forever;

    impl Expiry<u64, u64> for Forever {
        fn after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
            None
        }
    }

    fn expiry_config(clock: ClockKind) -> ExpiryConfig<u64, u64> {
        ExpiryConfig { clock, ..ExpiryConfig::default() }
    }

    #[test]
    fn with_a_system_clock_a_hit_far_from_its_deadline_passes_unchecked() {
        for clock in [ClockKind::of(MonotonicClock), ClockKind::of(CoarseClock)] {
            let seconds = |seconds| Some(Duration::from_secs(seconds));
            let live = ExpiryConfig { time_to_live: seconds(100), ..expiry_config(clock.clone()) }
                .timing();
            let idle = ExpiryConfig { time_to_idle: seconds(100), ..expiry_config(clock.clone()) }
                .timing();
            let short =
                ExpiryConfig { time_to_idle: seconds(1), ..expiry_config(clock.clone()) }.timing();
            let computed =
                ExpiryConfig { expiry: Some(Arc::new(Forever)), ..expiry_config(clock) }.timing();
            let passes_unchecked = |timing: &Timing, deadline_ns| {
                timing.passes_unchecked(&Extension { deadline: Deadline::new(deadline_ns) })
            };
            // On other systems every hit is checked.
            let has_coarse = crate::base::system_time::coarse_ns().is_some();
            let now = |timing: &Timing| timing.time.now_ns();
            assert_eq!(passes_unchecked(&live, now(&live) + 60 * SECOND), has_coarse);
            assert!(!passes_unchecked(&live, now(&live) - 1));
            assert_eq!(passes_unchecked(&idle, now(&idle) + 160 * SECOND), has_coarse);
            assert!(!passes_unchecked(
                &idle,
                now(&idle) + 100 * SECOND - MAX_IDLE_STEP_NS - SECOND / 10
            ));
            assert!(!passes_unchecked(&short, now(&short) + SECOND / 2));
            for timing in [&live, &idle, &short] {
                assert!(passes_unchecked(timing, Deadline::NEVER));
                assert!(!passes_unchecked(timing, Deadline::EXPIRED));
            }
            assert!(
                !passes_unchecked(&computed, Deadline::NEVER),
                "the user's `Expiry` was not called"
            );
        }
    }

    #[test]
    fn a_lifetime_of_one_entry_counts_from_the_precise_time() {
        let timing = expiry_config(ClockKind::of(MonotonicClock)).timing();
        let lifetime = EntryTtl::For(Duration::from_secs(100));
        for _ in 0..100 {
            let before = timing.time.now_ns();
            let spec = timing.spec_always(lifetime, KeyHash::from_raw(1));
            assert!(spec.deadline_ns >= before + 100 * SECOND, "it counts from the last interrupt");
        }
    }
}
