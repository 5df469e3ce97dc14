//! Wakers that are woken at a given time, by one thread for the process.
//!
//! A future that waits with a deadline registers its waker here, because no runtime is known that would
//! measure time. The thread starts with the first [`Alarm`], and ends once there was none for some time. It
//! sleeps until the earliest alarm by the system's clock is due. While there are alarms by users' clocks,
//! which may be moved at any time, it reads these clocks each millisecond.
//!
//! An alarm goes off once. It is in the table from its registration until it goes off or its handle is
//! dropped; whichever comes first takes the waker out, under the lock. Wakers and clocks are user code: they
//! are called and dropped after the lock is released.
//!
//! If the system starts no thread, each waker is woken as soon as it is given to an alarm. So the future that
//! waits is polled again and again, and reads the time itself, until a thread can be started.
//!
//! After a fork, the child has the alarms but no thread; the next registration starts one.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

#[cfg(unix)]
use crate::base::at_fork::{self, HeldAcrossFork, Hook};
use crate::base::panics::contain;
use crate::base::sync::thread::{self, Thread};
use crate::base::sync::{self, Mutex, MutexGuard};
use crate::base::system_time;
use crate::expiry::clock::nanoseconds;
use crate::expiry::{CacheTime, Clock, ClockReading, SLICE};

/// How long the thread waits for another alarm before it ends.
const IDLE: Duration = Duration::from_secs(10);

static ALARMS: Alarms = Alarms::new(IDLE);

/// When an alarm is due: once a clock shows at least a certain time.
pub(crate) enum AlarmTime {
    /// The system's monotonic clock, in nanoseconds ([`system_time`]).
    System(u64),
    /// A user's clock, in nanoseconds.
    Custom(Arc<dyn Clock>, u64),
}

impl AlarmTime {
    /// Once the time of a cache is at least `time_ns`. By a clock that lags behind the system's, the alarm
    /// may be some milliseconds early; but it is at least one [`SLICE`] from now, so that a future that
    /// registers an alarm again and again, until the time has come, does not do so without a pause.
    pub(crate) fn at(time: &CacheTime, time_ns: u64) -> Self {
        match time.reading_at(time_ns) {
            ClockReading::System(due_ns) => Self::System(due_ns),
            ClockReading::LaggingSystem(due_ns) => {
                let soon_ns = system_time::now_ns().saturating_add(nanoseconds(SLICE));
                Self::System(due_ns.max(soon_ns))
            }
            ClockReading::Custom(clock, due_ns) => Self::Custom(clock, due_ns),
        }
    }
}

/// A registered alarm. Dropping it cancels it.
#[must_use = "an alarm is cancelled when it is dropped"]
pub(crate) struct Alarm {
    alarms: &'static Alarms,
    /// The address of the user's clock, unless the alarm is by the system's.
    clock: Option<usize>,
    key: Key,
}

/// When an alarm is due, and its number, which no other alarm has.
type Key = (u64, u64);

impl Alarm {
    /// Has `waker` woken at `time`, or soon after; soon if that has passed already, and at once if the system
    /// starts no thread. O(log n) for n alarms; waits for no user code.
    pub(crate) fn register(time: AlarmTime, waker: Waker) -> Self {
        ALARMS.register(time, waker)
    }

    /// Whether the alarm is still to come. Lets it wake `waker` then, in place of the one before. O(log n).
    /// After `false`, the waker that the alarm had has been woken, or will be at any moment.
    pub(crate) fn set_waker(&self, waker: &Waker) -> bool {
        self.alarms.set_waker(self, waker)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let cancelled = sync::lock(&self.alarms.table).remove(self.clock, self.key);
        // After the lock is released, because these may be user code.
        drop(cancelled);
    }
}

/// All alarms, and the thread. There is one for the process, and more in tests.
struct Alarms {
    table: Mutex<AlarmTable>,
    /// How long the thread waits for another alarm before it ends.
    idle: Duration,
    #[cfg(test)]
    refuses_threads: sync::AtomicBool,
}

struct AlarmTable {
    /// The alarms by the system's clock.
    system: BTreeMap<Key, Waker>,
    /// The alarms by users' clocks, by the addresses of the clocks. No group is empty.
    custom: BTreeMap<usize, ClockAlarms>,
    last_id: u64,
    thread: Option<Thread>,
    /// The number of the thread. One that wakes a waker that forks goes on in the child, where it ends by
    /// this, because the table has forgotten it.
    generation: u64,
    /// Until when the thread sleeps, in nanoseconds; `None` while it is awake.
    asleep_until_ns: Option<u64>,
}

/// The alarms by one user's clock.
struct ClockAlarms {
    // Keeps the address from being used for another clock.
    clock: Arc<dyn Clock>,
    alarms: BTreeMap<Key, Waker>,
}

/// What is taken out of the table, to be dropped after its lock is released.
#[derive(Default)]
struct Taken {
    wakers: Vec<Waker>,
    groups: Vec<ClockAlarms>,
}

impl Alarms {
    const fn new(idle: Duration) -> Self {
        let table = AlarmTable {
            system: BTreeMap::new(),
            custom: BTreeMap::new(),
            last_id: 0,
            thread: None,
            generation: 0,
            asleep_until_ns: None,
        };
        Self {
            table: Mutex::new(table),
            idle,
            #[cfg(test)]
            refuses_threads: sync::AtomicBool::new(false),
        }
    }

    fn register(&'static self, time: AlarmTime, waker: Waker) -> Alarm {
        // In case there is no thread; dropped after the lock is released.
        let spare = waker.clone();
        let (alarm, has_thread, unused) = {
            let mut table = self.lock_hooked();
            table.last_id += 1;
            let id = table.last_id;
            let (alarm, unused) = match time {
                AlarmTime::System(due_ns) => {
                    table.system.insert((due_ns, id), waker);
                    (Alarm { alarms: self, clock: None, key: (due_ns, id) }, None)
                }
                AlarmTime::Custom(clock, due_ns) => {
                    let address = Arc::as_ptr(&clock).cast::<()>().addr();
                    let mut clock = Some(clock);
                    let group = table.custom.entry(address);
                    let group = group.or_insert_with(|| ClockAlarms {
                        clock: clock.take().expect("it was put there just now"),
                        alarms: BTreeMap::new(),
                    });
                    group.alarms.insert((due_ns, id), waker);
                    (Alarm { alarms: self, clock: Some(address), key: (due_ns, id) }, clock)
                }
            };
            let has_thread = self.wake_thread(&mut table);
            (alarm, has_thread, unused)
        };
        drop(unused);
        if !has_thread {
            spare.wake();
        }
        alarm
    }

    /// Takes the lock, once forks are known to take it too.
    fn lock_hooked(&'static self) -> MutexGuard<'static, AlarmTable> {
        let table = sync::lock(&self.table);
        if table.thread.is_some() {
            return table;
        }
        drop(table);
        #[cfg(unix)]
        at_fork::register(&HOOK);
        sync::lock(&self.table)
    }

    fn set_waker(&'static self, alarm: &Alarm, waker: &Waker) -> bool {
        let has_thread = {
            let mut table = sync::lock(&self.table);
            let Some(present) = table.waker(alarm.clock, alarm.key) else { return false };
            // Compares pointers and runs none of the user's code, as cloning does.
            present.will_wake(waker).then(|| self.wake_thread(&mut table))
        };
        let has_thread = match has_thread {
            Some(has_thread) => has_thread,
            None => {
                let waker = waker.clone();
                let (_before, has_thread) = {
                    let mut table = sync::lock(&self.table);
                    let Some(present) = table.waker(alarm.clock, alarm.key) else { return false };
                    (std::mem::replace(present, waker), self.wake_thread(&mut table))
                };
                has_thread
            }
        };
        if !has_thread {
            waker.wake_by_ref();
        }
        true
    }

    /// Makes sure that there is a thread, and that it wakes for the earliest alarm. False if there is no
    /// thread.
    fn wake_thread(&'static self, table: &mut AlarmTable) -> bool {
        if let Some(thread) = &table.thread {
            if let (Some(until_ns), Some(next_ns)) = (table.asleep_until_ns, table.next_ns())
                && next_ns < until_ns
            {
                table.asleep_until_ns = None;
                thread.unpark();
            }
            return true;
        }
        #[cfg(test)]
        if self.refuses_threads.load(sync::Ordering::SeqCst) {
            return false;
        }
        table.generation += 1;
        let generation = table.generation;
        let builder = thread::Builder::new().name("larder-alarm".to_owned());
        let Ok(handle) = builder.spawn(move || self.run(generation)) else { return false };
        table.thread = Some(handle.thread().clone());
        table.asleep_until_ns = None;
        true
    }

    fn run(&'static self, generation: u64) {
        let mut idle_from_ns = None;
        loop {
            // Kept until the readings were used: an address means the same clock until then.
            let clocks = sync::lock(&self.table).clocks();
            let readings: Vec<(usize, Option<u64>)> = clocks
                .iter()
                .map(|(address, clock)| (*address, contain(|| clock.now_ns())))
                .collect();
            let now_ns = system_time::now_ns();
            let mut taken = Taken::default();
            let sleep = {
                let mut table = sync::lock(&self.table);
                if table.generation != generation {
                    return;
                }
                table.take_due(now_ns, &readings, &mut taken);
                let until_ns = match table.next_ns() {
                    _ if !taken.wakers.is_empty() => None,
                    Some(next_ns) => {
                        idle_from_ns = None;
                        Some(next_ns)
                    }
                    None => {
                        let idle_from_ns = *idle_from_ns.get_or_insert(now_ns);
                        let end_ns = nanoseconds(self.idle).saturating_add(idle_from_ns);
                        if end_ns <= now_ns {
                            // Under the lock, so that the next registration starts another thread.
                            table.thread = None;
                            return;
                        }
                        Some(end_ns)
                    }
                };
                table.asleep_until_ns = until_ns;
                until_ns
            };
            for waker in taken.wakers {
                contain(|| waker.wake());
            }
            for clock in clocks.into_iter().map(|(_, clock)| clock) {
                contain(|| drop(clock));
            }
            for group in taken.groups {
                contain(|| drop(group));
            }
            if let Some(until_ns) = sleep {
                let left = until_ns.saturating_sub(system_time::now_ns());
                sync::park_timeout(Duration::from_nanos(left));
                // Under the lock, because a registration that finds the thread awake does not wake it.
                sync::lock(&self.table).asleep_until_ns = None;
            }
        }
    }
}

impl AlarmTable {
    /// The users' clocks, with their addresses.
    fn clocks(&self) -> Vec<(usize, Arc<dyn Clock>)> {
        self.custom.iter().map(|(address, group)| (*address, Arc::clone(&group.clock))).collect()
    }

    /// When the thread has to check the alarms again, by the system's clock.
    fn next_ns(&self) -> Option<u64> {
        let system = self.system.first_key_value().map(|((due_ns, _), _)| *due_ns);
        if self.custom.is_empty() {
            return system;
        }
        let slice_ns = system_time::now_ns().saturating_add(nanoseconds(SLICE));
        Some(system.unwrap_or(u64::MAX).min(slice_ns))
    }

    /// Takes the alarms out that are due by those readings. An alarm whose clock panics is due too: the
    /// future that waits has to decide what the time is then.
    fn take_due(&mut self, now_ns: u64, readings: &[(usize, Option<u64>)], taken: &mut Taken) {
        take_until(&mut self.system, now_ns, &mut taken.wakers);
        for (address, reading) in readings {
            let Some(group) = self.custom.get_mut(address) else { continue };
            take_until(&mut group.alarms, reading.unwrap_or(u64::MAX), &mut taken.wakers);
            if group.alarms.is_empty() {
                taken.groups.extend(self.custom.remove(address));
            }
        }
    }

    fn waker(&mut self, clock: Option<usize>, key: Key) -> Option<&mut Waker> {
        match clock {
            None => self.system.get_mut(&key),
            Some(address) => self.custom.get_mut(&address)?.alarms.get_mut(&key),
        }
    }

    /// Takes an alarm out, and what is of no use without it.
    fn remove(&mut self, clock: Option<usize>, key: Key) -> (Option<Waker>, Option<ClockAlarms>) {
        let Some(address) = clock else { return (self.system.remove(&key), None) };
        // The alarm may have gone off, and its group with it.
        let Some(group) = self.custom.get_mut(&address) else { return (None, None) };
        let waker = group.alarms.remove(&key);
        let is_unused = group.alarms.is_empty();
        (waker, if is_unused { self.custom.remove(&address) } else { None })
    }
}

fn take_until(alarms: &mut BTreeMap<Key, Waker>, now_ns: u64, wakers: &mut Vec<Waker>) {
    while let Some(first) = alarms.first_entry()
        && first.key().0 <= now_ns
    {
        wakers.push(first.remove());
    }
}

/// Keeps the table from being changed during a fork.
#[cfg(unix)]
struct HeldAlarms(MutexGuard<'static, AlarmTable>);

/// No other lock is taken while this one is held.
#[cfg(unix)]
static HOOK: Hook = Hook { rank: 2, hold: || Box::new(HeldAlarms(sync::lock(&ALARMS.table))) };

#[cfg(unix)]
impl HeldAcrossFork for HeldAlarms {
    /// The thread does not exist in the child, unless a waker that it wakes forks. The number lets that
    /// one end.
    fn forget_other_threads(&mut self) {
        self.0.thread = None;
        self.0.generation += 1;
        self.0.asleep_until_ns = None;
    }
}

#[cfg(test)]
mod tests;
