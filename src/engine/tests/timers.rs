//! Expiry by timers.

use super::*;

#[test]
fn a_look_takes_out_what_has_expired_though_nothing_waits() {
    let clock = FakeClock::new();
    let bench = Bench::timed(Maintenance::Background, &clock, false);
    (0..300).for_each(|key| bench.insert_for(key, 10));
    bench.insert_for(300, 100);
    while bench.engine.tick() {}
    assert_eq!(bench.engine.len(), 301);
    clock.advance(Duration::from_secs(20));
    bench.engine.tick();
    assert_eq!(bench.engine.len(), 1, "more than one run fires");
    assert_eq!(bench.engine.stats().expirations, 300);
}

#[test]
fn a_run_says_whether_the_thread_has_to_come_earlier_than_it_knows() {
    let bench = Bench::timed(Maintenance::Inline, &FakeClock::new(), false);
    let partition = &bench.engine.partitions[0];
    for (key, (seconds, is_earlier)) in
        (0..).zip([(200, true), (300, false), (200, false), (100, true), (150, false)])
    {
        let event = Event::Inserted(bench.link_for(key, seconds));
        let after = {
            let mut core = sync::lock(&partition.core);
            partition.run(&mut core, &bench.engine, Some(event), Freeing::Later, None)
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
    let bench = Bench::with_expiry(Maintenance::Inline, 320, &expiry_config);
    bench.engine.timing.time.now_ns();
    assert_eq!(bench.engine.stats().maintenance_panics, 2, "the other one as it was built");
}

#[test]
fn the_thread_comes_for_the_next_timer_unless_expiry_is_lazy() {
    let clock = FakeClock::new();
    for (is_expiry_lazy, pause) in [(false, Some(background::STRANGE_CLOCK_PAUSE)), (true, None)] {
        let bench = Bench::timed(Maintenance::Inline, &clock, is_expiry_lazy);
        let partition = &bench.engine.partitions[0];
        assert_eq!(bench.engine.next_timer(), None, "nothing expires");
        bench.insert_for(1, 100);
        assert_eq!(bench.engine.next_timer(), pause);
        assert_eq!(bench.engine.due_even_if_lazy(partition), None);
        clock.advance(Duration::from_secs(200));
        assert_eq!(bench.engine.next_timer(), pause.map(|_| Duration::ZERO));
        assert!(bench.engine.due_even_if_lazy(partition).is_some());
        assert_eq!(bench.engine.due_now(partition).is_some(), !is_expiry_lazy);
        assert_eq!(bench.engine.due_about_now(partition).is_some(), !is_expiry_lazy);
    }
}

#[test]
fn a_deadline_that_comes_earlier_is_work_for_the_thread() {
    let clock = FakeClock::new();
    let bench = Bench::timed(Maintenance::Background, &clock, false);
    let entry = bench.link_for(1, 1_000);
    bench.engine.submit(&Event::Inserted(entry), entry.hash());
    bench.engine.run_pending();
    let partition = &bench.engine.partitions[0];
    assert!(!partition.wants_visit() && !bench.engine.has_work());
    assert!(bench.engine.set_remaining(entry, Some(Duration::from_secs(2_000))));
    assert!(!partition.wants_visit(), "its timer will find that out");
    assert!(bench.engine.set_remaining(entry, Some(Duration::from_secs(10))));
    assert!(partition.wants_visit() && bench.engine.has_work());
    while bench.engine.tick() {}
    assert!(!partition.wants_visit());
    clock.advance(Duration::from_secs(20));
    bench.engine.tick();
    assert_eq!(bench.engine.len(), 0);
}
