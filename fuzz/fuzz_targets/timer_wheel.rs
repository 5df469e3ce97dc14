//! The timer wheel against a sorted map: timers are set, moved and stopped, the clock runs, jumps
//! and goes back, and the budget of work may run out at any point.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

// The library's own source: the wheel is not public, and depends on nothing else in the crate.
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/expiry/timer_wheel.rs"]
mod timer_wheel;

use timer_wheel::TimerWheel;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    /// A deadline `times << shift` nanoseconds ahead.
    Set {
        node: u8,
        times: u8,
        shift: u8,
    },
    /// Any deadline, including the past and the largest.
    SetAt {
        node: u8,
        deadline: u64,
    },
    Stop {
        node: u8,
    },
    Run {
        times: u8,
        shift: u8,
        budget: u8,
    },
    Jump {
        now: u64,
        budget: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    tick_bits: u8,
    steps: Vec<Step>,
}

/// A simple model of the wheel.
#[derive(Default)]
struct Model {
    /// The first tick at which each timer may fire.
    due: BTreeMap<usize, u64>,
    now: u64,
    /// The latest time so far: a wheel does not turn back.
    latest: u64,
}

fn scaled(times: u8, shift: u8) -> u64 {
    u64::from(times) << (shift % 56)
}

fuzz_target!(|input: Input| {
    let tick_bits = u32::from(input.tick_bits % 48);
    let mut wheel = TimerWheel::new(tick_bits);
    let mut model = Model::default();
    for step in input.steps {
        match step {
            Step::Set { node, times, shift } => {
                // `u64::MAX` means no deadline.
                let deadline = model.now.saturating_add(scaled(times, shift)).min(u64::MAX - 1);
                set(&mut wheel, &mut model, node, deadline, tick_bits);
            }
            Step::SetAt { node, deadline } => {
                set(&mut wheel, &mut model, node, deadline.min(u64::MAX - 1), tick_bits);
            }
            Step::Stop { node } => {
                wheel.stop(usize::from(node));
                model.due.remove(&usize::from(node));
            }
            Step::Run { times, shift, budget } => {
                model.now = model.now.saturating_add(scaled(times, shift));
                fire(&mut wheel, &mut model, budget, tick_bits);
            }
            Step::Jump { now, budget } => {
                model.now = now;
                fire(&mut wheel, &mut model, budget, tick_bits);
            }
        }
        wheel.validate(model.due.keys().map(|node| (*node, true)));
        // A thread that sleeps until the next deadline misses no timer.
        let next = wheel.next_ns();
        assert_eq!(next.is_some(), !model.due.is_empty());
        if let (Some(next), Some(first)) = (next, model.due.values().min()) {
            assert!(next >> tick_bits <= (*first).max(model.latest >> tick_bits));
        }
    }
});

fn set(wheel: &mut TimerWheel, model: &mut Model, node: u8, deadline: u64, tick_bits: u32) {
    let node = usize::from(node);
    wheel.set(node, deadline);
    model.due.insert(node, (deadline >> tick_bits) + 1);
}

fn fire(wheel: &mut TimerWheel, model: &mut Model, budget: u8, tick_bits: u32) {
    let now = model.now >> tick_bits;
    let mut budget = if budget == u8::MAX { u32::MAX } else { u32::from(budget) };
    while let Some(node) = wheel.fire(model.now, &mut budget) {
        let due = model.due.remove(&node).expect("a timer fired that was not set");
        assert!(due <= now, "a timer fired before its time");
    }
    // After the clock has gone back, the wheel fires nothing until the latest time is reached
    // again.
    let is_held_back = now < model.latest >> tick_bits;
    if budget > 0 && !is_held_back {
        assert!(!model.due.values().any(|due| *due <= now), "a timer did not fire");
    }
    model.latest = model.latest.max(model.now);
}
