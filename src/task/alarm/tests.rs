use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Wake;

use super::*;
use crate::base::sync::Ordering;
use crate::expiry::ClockKind;
use crate::test::FakeClock;

const SECOND: u64 = 1_000_000_000;

/// Reports when it is woken, and when it is dropped.
struct Probe {
    name: u32,
    events: Mutex<Sender<(u32, &'static str)>>,
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        let _ = sync::lock(&self.events).send((self.name, "woken"));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = sync::lock(&self.events).send((self.name, "dropped"));
    }
}

struct Probes {
    sender: Sender<(u32, &'static str)>,
    events: Receiver<(u32, &'static str)>,
}

impl Probes {
    fn new() -> Self {
        let (sender, events) = channel();
        Self { sender, events }
    }

    fn waker(&self, name: u32) -> Waker {
        Waker::from(Arc::new(Probe { name, events: Mutex::new(self.sender.clone()) }))
    }

    fn next(&self) -> (u32, &'static str) {
        self.events.recv_timeout(Duration::from_secs(60)).expect("no alarm goes off")
    }

    /// Of the next waker that is woken and dropped.
    fn next_woken(&self) -> u32 {
        let (name, event) = self.next();
        assert_eq!(event, "woken");
        assert_eq!(self.next(), (name, "dropped"));
        name
    }
}

/// Alarms of one test, which are leaked because their thread may outlive it, and referenced from a static,
/// so that the leak checker does not report them.
fn alarms(idle: Duration) -> &'static Alarms {
    static LEAKED: Mutex<Vec<&'static Alarms>> = Mutex::new(Vec::new());
    let alarms: &_ = Box::leak(Box::new(Alarms::new(idle)));
    sync::lock(&LEAKED).push(alarms);
    alarms
}

fn by(clock: &FakeClock, seconds: u64) -> AlarmTime {
    AlarmTime::at(&CacheTime::new(ClockKind::of(clock.clone())), 1 + seconds * SECOND)
}

#[test]
fn alarms_by_the_system_clock_go_off_in_their_order_and_not_early() {
    let (alarms, probes) = (alarms(Duration::ZERO), Probes::new());
    let began_ns = system_time::now_ns();
    let due = |ahead_ns: u64| AlarmTime::System(began_ns + ahead_ns);
    let mut registered = vec![
        alarms.register(due(3600 * SECOND), probes.waker(9)),
        alarms.register(due(40_000_000), probes.waker(3)),
        alarms.register(due(20_000_000), probes.waker(2)),
        alarms.register(due(0), probes.waker(1)),
    ];
    assert_eq!(probes.next_woken(), 1);
    assert_eq!(probes.next_woken(), 2);
    assert!(system_time::now_ns() >= began_ns + 20_000_000);
    assert_eq!(probes.next_woken(), 3);
    assert!(system_time::now_ns() >= began_ns + 40_000_000);
    registered.truncate(1);
    assert!(sync::lock(&alarms.table).thread.is_some(), "an alarm is still to come");
    drop(registered);
    assert_eq!(probes.next(), (9, "dropped"));
}

#[test]
fn alarms_by_a_clock_of_a_user_go_off_when_it_is_moved() {
    let (alarms, probes) = (alarms(IDLE), Probes::new());
    let (first, second) = (FakeClock::new(), FakeClock::new());
    let one = alarms.register(by(&first, 10), probes.waker(1));
    let two = alarms.register(by(&first, 20), probes.waker(2));
    let three = alarms.register(by(&second, 10), probes.waker(3));
    first.advance(Duration::from_secs(10));
    assert_eq!(probes.next_woken(), 1);
    second.advance(Duration::from_secs(100));
    assert_eq!(probes.next_woken(), 3);
    first.advance(Duration::from_secs(10));
    assert_eq!(probes.next_woken(), 2);
    assert!(sync::lock(&alarms.table).custom.is_empty());
    drop((one, two, three));
}

#[test]
fn an_alarm_that_is_dropped_does_not_go_off() {
    let (alarms, probes) = (alarms(IDLE), Probes::new());
    let clock = FakeClock::new();
    let cancelled = alarms.register(by(&clock, 1), probes.waker(1));
    let system = alarms.register(AlarmTime::System(u64::MAX - 1), probes.waker(2));
    let other = alarms.register(by(&clock, 1), probes.waker(3));
    drop(cancelled);
    assert_eq!(probes.next(), (1, "dropped"));
    drop(system);
    assert_eq!(probes.next(), (2, "dropped"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(probes.next_woken(), 3);
    drop(other);
    let table = sync::lock(&alarms.table);
    assert!(table.system.is_empty() && table.custom.is_empty());
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (alarms, probes) = (alarms(IDLE), Probes::new());
    let clock = FakeClock::new();
    let time = CacheTime::new(ClockKind::of(clock.clone()));
    let alarm = alarms.register(AlarmTime::at(&time, 1 + SECOND), probes.waker(1));
    let second = probes.waker(2);
    assert!(alarm.set_waker(&second) && alarm.set_waker(&second));
    assert_eq!(probes.next(), (1, "dropped"));
    drop(second);
    clock.advance(Duration::from_secs(1));
    assert_eq!(probes.next_woken(), 2);
    assert!(!alarm.set_waker(&probes.waker(3)), "it goes off once");
    assert_eq!(probes.next(), (3, "dropped"));
}

#[test]
fn the_thread_ends_when_it_is_idle_and_is_started_again() {
    let (alarms, probes) = (alarms(Duration::ZERO), Probes::new());
    for round in 0..3 {
        let alarm = alarms.register(AlarmTime::System(0), probes.waker(round));
        assert_eq!(probes.next_woken(), round);
        while sync::lock(&alarms.table).thread.is_some() {
            thread::yield_now();
        }
        drop(alarm);
    }
}

#[test]
fn without_a_thread_each_waker_is_woken_at_once() {
    let (alarms, probes) = (alarms(IDLE), Probes::new());
    alarms.refuses_threads.store(true, Ordering::SeqCst);
    let clock = FakeClock::new();
    let alarm = alarms.register(by(&clock, 1), probes.waker(1));
    assert_eq!(probes.next(), (1, "woken"));
    let second = probes.waker(2);
    assert!(alarm.set_waker(&second));
    assert_eq!(probes.next(), (1, "dropped"));
    assert_eq!(probes.next(), (2, "woken"));
    assert!(alarm.set_waker(&second));
    assert_eq!(probes.next(), (2, "woken"));
    drop(second);
    alarms.refuses_threads.store(false, Ordering::SeqCst);
    assert!(alarm.set_waker(&probes.waker(3)));
    assert_eq!(probes.next(), (2, "dropped"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(probes.next_woken(), 3);
}

#[test]
fn panics_of_clocks_and_wakers_stop_no_other_alarm() {
    struct PanickingClock;
    impl Clock for PanickingClock {
        fn now_ns(&self) -> u64 {
            panic!("a clock");
        }
    }
    struct PanickingWaker;
    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    let (alarms, probes) = (alarms(IDLE), Probes::new());
    let clock: Arc<dyn Clock> = Arc::new(PanickingClock);
    let one = alarms.register(AlarmTime::System(0), Waker::from(Arc::new(PanickingWaker)));
    let two = alarms.register(AlarmTime::Custom(Arc::clone(&clock), u64::MAX), probes.waker(2));
    assert_eq!(probes.next_woken(), 2);
    let three = alarms.register(AlarmTime::System(0), probes.waker(3));
    assert_eq!(probes.next_woken(), 3);
    drop((one, two, three));
}

#[test]
fn wakers_may_use_alarms() {
    /// Registers and cancels alarms as it is woken and dropped.
    struct Nested {
        alarms: &'static Alarms,
        kept: Mutex<Option<Alarm>>,
        waker: Waker,
    }
    impl Wake for Nested {
        fn wake(self: Arc<Self>) {
            let alarm = self.alarms.register(AlarmTime::System(0), self.waker.clone());
            *sync::lock(&self.kept) = Some(alarm);
        }
    }
    let (alarms, probes) = (alarms(IDLE), Probes::new());
    let kept = Mutex::new(None);
    let nested = Arc::new(Nested { alarms, kept, waker: probes.waker(1) });
    let alarm = alarms.register(AlarmTime::System(0), Waker::from(Arc::clone(&nested)));
    assert_eq!(probes.next(), (1, "woken"));
    // Cancels a waker whose drop cancels another alarm.
    let other = alarms.register(AlarmTime::System(u64::MAX), Waker::from(nested));
    drop((alarm, other));
}

#[test]
fn a_table_that_was_forked_starts_a_thread_for_what_it_has() {
    let probes = Probes::new();
    let clock = FakeClock::new();
    let alarms = alarms(IDLE);
    let before = alarms.register(by(&clock, 1), probes.waker(1));
    // The state in which a child begins. Here the thread lives on, but it finds that it is not the one.
    #[cfg(unix)]
    HeldAlarms(sync::lock(&alarms.table)).forget_other_threads();
    let after = alarms.register(by(&clock, 2), probes.waker(2));
    clock.advance(Duration::from_secs(2));
    let mut woken = [probes.next_woken(), probes.next_woken()];
    woken.sort_unstable();
    assert_eq!(woken, [1, 2]);
    drop((before, after));
}

#[test]
fn a_clock_that_lags_gives_alarms_that_are_a_slice_away() {
    let time = CacheTime::new(ClockKind::Coarse);
    let now_ns = system_time::now_ns();
    let AlarmTime::System(due_ns) = AlarmTime::at(&time, 1) else { panic!("not the system's") };
    assert!(due_ns >= now_ns + nanoseconds(SLICE));
}
