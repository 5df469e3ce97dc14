//! Expiry by timers.

use super::*;
use crate::maintainer::STRANGE_CLOCK_PAUSE;

#[test]
fn a_visit_removes_expired_entries_even_if_no_event_waits() {
    let clock = FakeClock::new();
    let test = TestEngine::timed(Maintenance::Background, &clock, false);
    for key in 0..300 {
        test.insert_for(key, 10);
    }
    test.insert_for(300, 100);
    while test.engine.tick() {}
    assert_eq!(test.engine.len(), 301);
    clock.advance(Duration::from_secs(20));
    test.engine.tick();
    assert_eq!(test.engine.len(), 1, "one visit makes more than one run");
    assert_eq!(test.engine.stats().expirations, 300);
}

#[test]
fn a_run_reports_whether_a_timer_is_due_earlier_than_before() {
    let test = TestEngine::timed(Maintenance::Inline, &FakeClock::new(), false);
    let partition = &test.engine.partitions[0];
    for (key, (seconds, is_earlier)) in
        (0..).zip([(200, true), (300, false), (200, false), (100, true), (150, false)])
    {
        let event = Event::Inserted(test.put_for(key, seconds));
        let after = {
            let mut core = partition.core.lock();
            partition.run(&mut core, &test.engine, Some(event), Freeing::Later, None)
        };
        assert_eq!(after.is_due_earlier, is_earlier, "{seconds} s");
    }
}

#[test]
fn panics_of_the_clock_are_counted() {
    struct Broken;
    impl Clock for Broken {
        fn now_ns(&self) -> u64 {
            panic!("as planned")
        }
    }
    let expiry_config = ExpiryConfig { clock: ClockKind::of(Broken), ..ExpiryConfig::default() };
    let test = TestEngine::with_expiry(Maintenance::Inline, 320, &expiry_config);
    test.engine.timing.time.now_ns();
    assert_eq!(
        test.engine.stats().maintenance_panics,
        2,
        "one here, and one when the engine was built"
    );
}

#[test]
fn the_next_timer_is_reported_unless_expiry_is_lazy() {
    let clock = FakeClock::new();
    for (is_expiry_lazy, pause) in [(false, Some(STRANGE_CLOCK_PAUSE)), (true, None)] {
        let test = TestEngine::timed(Maintenance::Inline, &clock, is_expiry_lazy);
        let partition = &test.engine.partitions[0];
        assert_eq!(test.engine.next_timer(), None, "nothing expires");
        test.insert_for(1, 100);
        assert_eq!(test.engine.next_timer(), pause);
        assert_eq!(test.engine.due_even_if_lazy(partition), None);
        clock.advance(Duration::from_secs(200));
        assert_eq!(test.engine.next_timer(), pause.map(|_| Duration::ZERO));
        assert!(test.engine.due_even_if_lazy(partition).is_some());
        assert_eq!(test.engine.due_now(partition).is_some(), !is_expiry_lazy);
        assert_eq!(test.engine.due_about_now(partition).is_some(), !is_expiry_lazy);
    }
}

#[test]
fn a_deadline_moved_earlier_is_work_for_the_maintenance_thread() {
    let clock = FakeClock::new();
    let test = TestEngine::timed(Maintenance::Background, &clock, false);
    let entry = test.put_for(1, 1_000);
    test.engine.submit(&Event::Inserted(entry), entry.hash());
    test.engine.run_pending();
    let partition = &test.engine.partitions[0];
    assert!(!partition.wants_visit() && !test.engine.has_work());
    assert!(test.engine.set_remaining(entry, Some(Duration::from_secs(2_000))));
    assert!(!partition.wants_visit(), "its timer will find the new deadline");
    assert!(test.engine.set_remaining(entry, Some(Duration::from_secs(10))));
    assert!(partition.wants_visit() && test.engine.has_work());
    while test.engine.tick() {}
    assert!(!partition.wants_visit());
    clock.advance(Duration::from_secs(20));
    test.engine.tick();
    assert_eq!(test.engine.len(), 0);
}
