//! A hierarchical timer wheel over node ids: which entry to check, and when.
//!
//! The wheel has levels of 64 slots. A slot of the lowest level is one tick, a slot of each further
//! level is the whole level below it. A timer is in the slot of the highest digit, in base 64,
//! in which its tick differs from the wheel's; when the wheel reaches a slot of an upper level,
//! its timers move to levels below. So setting, moving and stopping a timer take constant time, and
//! firing one takes at most one move for each level. This is the hierarchy (scheme 7) of Varghese and
//! Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), with two differences: a word of bits for
//! each level marks the slots in use, so that the wheel jumps over empty ones, and the work can be
//! interrupted after any timer.
//!
//! Timers are stored in an array by node id and linked by index. A node that leaves stops its timer, so
//! timers need no generation, and there are no pointers.
//!
//! What must always hold:
//! - A timer that is set is in the slot that its tick has relative to the wheel's, or at a higher level; no
//!   timer is in a slot whose whole time has passed.
//! - A slot's bit is set if and only if it has a timer.
#![forbid(unsafe_code)]

/// Bits of a tick that choose a slot of one level.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough levels for 64 bits.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;

/// No timer follows.
const END: u32 = u32::MAX;
/// In `previous`: the timer is the first of its slot, whose index is in the other bits.
const FIRST: u32 = 1 << 31;
/// In `previous`: the timer is not set.
const UNSET: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Timer {
    /// The tick from which it may fire.
    due: u64,
    next: u32,
    previous: u32,
}

const NO_TIMER: Timer = Timer { due: 0, next: END, previous: UNSET };

/// The timers of one partition.
pub(crate) struct TimerWheel {
    /// A tick takes 2^`tick_bits` nanoseconds.
    tick_bits: u32,
    /// The tick that the wheel has reached.
    now: u64,
    /// The first timer of each slot, level by level.
    slots: Box<[u32]>,
    /// The slots in use, by level.
    occupied: [u64; LEVELS],
    timers: Vec<Timer>,
}

impl TimerWheel {
    /// A wheel with ticks of 2^`tick_bits` nanoseconds, at time zero.
    pub(crate) fn new(tick_bits: u32) -> Self {
        Self {
            tick_bits: tick_bits.min(u64::BITS - 1),
            now: 0,
            slots: vec![END; LEVELS * SLOTS].into_boxed_slice(),
            occupied: [0; LEVELS],
            timers: Vec::new(),
        }
    }

    /// Sets or moves the timer of `node`, to fire in the tick that begins after `deadline_ns`.
    #[inline]
    pub(crate) fn set(&mut self, node: usize, deadline_ns: u64) {
        if node >= self.timers.len() {
            self.timers.resize(node + 1, NO_TIMER);
        }
        // The tick after that of the deadline: only then is the deadline surely past.
        let due = (deadline_ns >> self.tick_bits).saturating_add(1);
        let timer = self.timers[node];
        if timer.previous != UNSET {
            if timer.due == due {
                return;
            }
            self.unlink(timer);
        }
        self.link(node, due);
    }

    /// Stops the timer of `node`, if it is set.
    #[inline]
    pub(crate) fn stop(&mut self, node: usize) {
        if let Some(timer) = self.timers.get_mut(node) {
            let stopped = std::mem::replace(timer, NO_TIMER);
            if stopped.previous != UNSET {
                self.unlink(stopped);
            }
        }
    }

    /// Stops a timer that is due at `now_ns` and returns its node. Each timer that is stopped or moved
    /// to another slot costs one of `budget`; `None` if nothing is due or the budget is spent.
    pub(crate) fn fire(&mut self, now_ns: u64, budget: &mut u32) -> Option<usize> {
        let now = now_ns >> self.tick_bits;
        loop {
            let Some((level, slot, start)) = self.first_slot().filter(|(.., start)| *start <= now)
            else {
                // No slot in use begins before `now`, so no timer belongs to another slot afterwards.
                self.now = self.now.max(now);
                return None;
            };
            if *budget == 0 {
                return None;
            }
            *budget -= 1;
            self.now = self.now.max(start);
            let node = self.slots[level * SLOTS + slot] as usize;
            let timer = std::mem::replace(&mut self.timers[node], NO_TIMER);
            self.unlink(timer);
            if level == 0 || timer.due <= self.now {
                return Some(node);
            }
            self.link(node, timer.due);
        }
    }

    /// The time from which [`fire`](Self::fire) has something to do.
    #[inline]
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let (.., start) = self.first_slot()?;
        // A timer beyond the end of time is due at the end.
        Some(start.checked_mul(1 << self.tick_bits).unwrap_or(u64::MAX - 1))
    }

    /// The slot in use that begins first, its level, and the tick at which it begins.
    #[inline]
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let mut first: Option<(usize, usize, u64)> = None;
        for (level, occupied) in self.occupied.iter().enumerate() {
            if *occupied == 0 {
                continue;
            }
            let slot = occupied.trailing_zeros();
            let shift = DIGIT_BITS * u32::try_from(level).expect("there are few levels");
            let above = self.now.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
            let above = above.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
            let start = above | u64::from(slot) << shift;
            // At equal times the upper level first, since its timers are to be moved down.
            if first.is_none_or(|(.., earliest)| start <= earliest) {
                first = Some((level, slot as usize, start));
            }
        }
        first
    }

    /// The level and slot of a timer.
    #[inline]
    fn slot_of(&self, due: u64) -> (usize, usize) {
        let due = due.max(self.now);
        let highest = (u64::BITS - 1) - ((due ^ self.now) | 1).leading_zeros();
        let level = highest / DIGIT_BITS;
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        let slot = (due >> (level * DIGIT_BITS)) as usize % SLOTS;
        (level as usize, slot)
    }

    fn link(&mut self, node: usize, due: u64) {
        let (level, slot) = self.slot_of(due);
        let at = level * SLOTS + slot;
        let id = u32::try_from(node).expect("node ids have 31 bits");
        let first = u32::try_from(at).expect("there are few slots") | FIRST;
        let next = std::mem::replace(&mut self.slots[at], id);
        if next != END {
            self.timers[next as usize].previous = id;
        }
        self.timers[node] = Timer { due, next, previous: first };
        self.occupied[level] |= 1 << slot;
    }

    /// Removes a timer from its slot. The caller changes the timer itself.
    fn unlink(&mut self, timer: Timer) {
        if timer.next != END {
            self.timers[timer.next as usize].previous = timer.previous;
        }
        if timer.previous & FIRST == 0 {
            self.timers[timer.previous as usize].next = timer.next;
            return;
        }
        let at = (timer.previous & !FIRST) as usize;
        self.slots[at] = timer.next;
        if timer.next == END {
            self.occupied[at / SLOTS] &= !(1 << (at % SLOTS));
        }
    }

    /// Panics unless the structure of the wheel holds, only `nodes` have timers, and all of them that are
    /// `true` have one.
    pub(crate) fn validate(&self, nodes: impl Iterator<Item = (usize, bool)>) {
        let mut set = vec![false; self.timers.len()];
        for at in 0..self.slots.len() {
            let (level, slot) = (at / SLOTS, at % SLOTS);
            let is_occupied = self.occupied[level] >> slot & 1 == 1;
            assert_eq!(is_occupied, self.slots[at] != END, "a slot's bit is wrong");
            let (mut node, mut previous) = (self.slots[at], FIRST | u32::try_from(at).unwrap_or(0));
            while node != END {
                let timer = self.timers[node as usize];
                assert_eq!(timer.previous, previous, "a timer's links do not agree");
                let (own_level, own_slot) = self.slot_of(timer.due);
                assert!(
                    (own_level, own_slot) == (level, slot) || own_level < level,
                    "a timer is in a wrong slot"
                );
                assert!(!set[node as usize], "a timer is in two slots");
                set[node as usize] = true;
                (node, previous) = (timer.next, node);
            }
        }
        for (node, has_deadline) in nodes {
            let is_set = set.get_mut(node).is_some_and(std::mem::take);
            assert!(is_set || !has_deadline, "a node with a deadline has no timer");
        }
        assert!(!set.contains(&true), "a timer has no node");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// All nodes whose timers fire at `now_ns`, sorted.
    fn fired(wheel: &mut TimerWheel, now_ns: u64) -> Vec<usize> {
        let mut nodes: Vec<_> =
            std::iter::from_fn(|| wheel.fire(now_ns, &mut { u32::MAX })).collect();
        nodes.sort_unstable();
        nodes
    }

    #[test]
    fn timer_fires_in_the_tick_after_its_deadline() {
        for tick_bits in [0, 4, 24, 40] {
            let tick = 1_u64 << tick_bits;
            for deadline in [0, 1, 15, 16, 17, 1000, 64 * tick, 4096 * tick + 5, 1 << 40] {
                let mut wheel = TimerWheel::new(tick_bits);
                wheel.set(3, deadline);
                let due = (deadline / tick + 1).saturating_mul(tick);
                assert_eq!(fired(&mut wheel, due - 1), [] as [usize; 0], "{tick_bits} {deadline}");
                wheel.validate([(3, true)].into_iter());
                assert_eq!(fired(&mut wheel, due), [3], "{tick_bits} {deadline}");
                wheel.validate([].into_iter());
                assert_eq!(wheel.next_ns(), None);
            }
        }
    }

    #[test]
    fn latest_deadline_fires_at_the_end_of_time_and_not_before() {
        for tick_bits in [0, 1, 24] {
            let mut wheel = TimerWheel::new(tick_bits);
            wheel.set(0, u64::MAX - 1);
            assert!(wheel.next_ns().is_some());
            assert_eq!(fired(&mut wheel, u64::MAX / 2), [] as [usize; 0]);
            wheel.validate([(0, true)].into_iter());
            wheel.stop(0);
            wheel.validate([].into_iter());
        }
    }

    #[test]
    fn many_due_timers_fire_in_bounded_steps_while_others_are_set() {
        let mut wheel = TimerWheel::new(4);
        (0..1000).for_each(|node| wheel.set(node, 1 << 20));
        let now = (1 << 20) + 16;
        let mut fired = Vec::new();
        let mut runs = 0;
        while wheel.next_ns().is_some_and(|next| next <= now) {
            let mut budget = 7;
            while let Some(node) = wheel.fire(now, &mut budget) {
                fired.push(node);
            }
            runs += 1;
            // Two more timers: one for a time that the wheel has passed, one for a later time.
            if runs == 20 {
                wheel.set(1000, 5);
                wheel.set(1001, now + 1000);
            }
        }
        fired.sort_unstable();
        assert_eq!(fired, (0..=1000).collect::<Vec<_>>());
        wheel.validate([(1001, true)].into_iter());
        assert!(runs >= 1000 / 7);
    }

    #[test]
    fn a_clock_that_goes_back_fires_no_timer_early_and_loses_none() {
        let mut wheel = TimerWheel::new(4);
        assert_eq!(fired(&mut wheel, 10_000), [] as [usize; 0]);
        wheel.set(1, 500);
        assert_eq!(fired(&mut wheel, 600), [] as [usize; 0], "the wheel has passed that time");
        assert_eq!(fired(&mut wheel, 10_000), [1]);
    }

    /// Random calls have the same effect as on a map from nodes to ticks.
    #[test]
    fn a_wheel_agrees_with_a_map() {
        for seed in 1..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) % below
            };
            let tick_bits = random(12) as u32;
            let mut wheel = TimerWheel::new(tick_bits);
            let mut model: BTreeMap<usize, u64> = BTreeMap::new();
            let mut now = 0_u64;
            for _ in 0..300 {
                match random(8) {
                    0..4 => {
                        let node = random(40) as usize;
                        let range = random(40);
                        let deadline = now.saturating_add(random(1 << range));
                        wheel.set(node, deadline);
                        model.insert(node, (deadline >> tick_bits) + 1);
                    }
                    4 => {
                        let node = random(50) as usize;
                        wheel.stop(node);
                        model.remove(&node);
                    }
                    _ => {
                        let range = random(38);
                        now += random(1 << range);
                        let is_due = |due: &u64| *due <= now >> tick_bits;
                        let mut budget = if random(2) == 0 { u32::MAX } else { random(9) as u32 };
                        while let Some(node) = wheel.fire(now, &mut budget) {
                            let due = model.remove(&node);
                            assert!(
                                due.as_ref().is_some_and(is_due),
                                "seed {seed}: {node} {due:?}"
                            );
                        }
                        if budget > 0 {
                            assert!(!model.values().any(is_due), "seed {seed}: one did not fire");
                        }
                    }
                }
                wheel.validate(model.keys().map(|node| (*node, true)));
                let next = wheel.next_ns().map(|next| next >> tick_bits);
                let first = model.values().min().copied();
                assert_eq!(next.is_some(), first.is_some(), "seed {seed}");
                assert!(next <= first, "seed {seed}: would sleep past a deadline");
            }
        }
    }
}
