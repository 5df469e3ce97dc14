//! What a history of loads and changes must keep to.
//!
//! | rule | of |
//! |---|---|
//! | the value was returned by a run of a loader, or stored by a change, that had happened by then | each call that returns a value |
//! | it is not older than the version of a change that had returned when the call began | the same |
//! | the error is that of a run that had not ended when the call began | each call that returns an error |
//! | it returns a value, an error, or its own panic | each load |
//! | no other run of the key is under way, or has stored its value, unless a change explains it | each run of a loader |
//!
//! A change explains two runs if it may have come between the beginnings of their flights, whichever began
//! first: after one of the calls had begun, and before the later run did.

use std::fmt;

/// How a call or a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Value(u64),
    /// With the error that the run has made, which is unique.
    Failed(u64),
    /// Without a value: right for a lookup only.
    Nothing,
    /// By a panic of its own loader, or because its future was dropped.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Load,
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "a violation shows all fields")]
pub(super) struct Call {
    pub(super) thread: u64,
    pub(super) key: u64,
    pub(super) verb: Verb,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) result: Ended,
}

/// A write of a version to the row of a key, and the change of the cache that follows.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "a violation shows all fields")]
pub(super) struct Change {
    pub(super) thread: u64,
    pub(super) key: u64,
    pub(super) verb: &'static str,
    pub(super) version: u64,
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// A run of a loader.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "a violation shows all fields")]
pub(super) struct Run {
    pub(super) thread: u64,
    pub(super) key: u64,
    /// When the call began in which it runs.
    pub(super) call_began: u64,
    pub(super) began: u64,
    pub(super) ended: u64,
    /// `None` if it was abandoned.
    pub(super) result: Option<Ended>,
}

/// What a cache may do beyond what a map may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Licence {
    None,
    /// Any value may vanish at any time.
    Vanish,
}

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    pub(super) changes: Vec<Change>,
    pub(super) runs: Vec<Run>,
    /// All keys have the same hash: then a change of one makes the loads of all stale.
    pub(super) is_colliding: bool,
}

/// A broken rule, and what happened to the key.
pub(super) struct Violation {
    rule: &'static str,
    culprit: String,
    all: Vec<(u64, String)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\namong all of that key:", self.rule, self.culprit)?;
        self.all.iter().try_for_each(|(_, event)| writeln!(f, "  {event}"))
    }
}

impl History {
    /// How many calls have returned a value without a run of their own, by a run that was under way when they
    /// began.
    pub(super) fn shared_loads(&self) -> usize {
        let shares = |call: &&Call| {
            let own = |run: &&Run| run.call_began == call.began;
            let during = |run: &&Run| {
                run.key == call.key
                    && run.began < call.began
                    && call.began < run.ended
                    && run.result == Some(call.result)
            };
            call.verb == Verb::Load
                && !self.runs.iter().any(|run| own(&run))
                && self.runs.iter().any(|run| during(&run))
        };
        self.calls.iter().filter(shares).count()
    }

    /// Whether the change may make loads of the key stale.
    fn affects(&self, change: &Change, key: u64) -> bool {
        let is_of_all = matches!(change.verb, "clear" | "invalidate_tag" | "invalidate_if");
        change.key == key || is_of_all || self.is_colliding
    }

    fn violation(&self, rule: &'static str, key: u64, culprit: String) -> Violation {
        let calls = self.calls.iter().filter(|it| it.key == key);
        let mut all: Vec<_> = calls.map(|it| (it.began, format!("{it:?}"))).collect();
        let changes = self.changes.iter().filter(|it| self.affects(it, key));
        all.extend(changes.map(|it| (it.began, format!("{it:?}"))));
        let runs = self.runs.iter().filter(|it| it.key == key);
        all.extend(runs.map(|it| (it.began, format!("{it:?}"))));
        all.sort();
        Violation { rule, culprit, all }
    }
}

pub(super) fn check(history: &History, licence: Licence) -> Result<(), Violation> {
    let History { calls, changes, runs, .. } = history;
    for call in calls {
        let fails = |rule| Err(history.violation(rule, call.key, format!("{call:?}")));
        match call.result {
            Ended::Value(value) => {
                let is_loaded = runs.iter().any(|run| {
                    run.key == call.key
                        && run.result == Some(Ended::Value(value))
                        && run.ended < call.ended
                });
                let is_stored = changes.iter().any(|change| {
                    change.key == call.key
                        && change.version == value
                        && change.began < call.ended
                        && matches!(change.verb, "insert" | "replace")
                });
                if !is_loaded && !is_stored {
                    return fails("a value that no finished loader has loaded");
                }
                let is_old = |change: &Change| {
                    change.key == call.key && change.ended < call.began && change.version > value
                };
                if changes.iter().any(is_old) {
                    return fails("a value from before a change that had returned");
                }
            }
            Ended::Failed(error) => {
                // Callers may join a flight until the call that leads it has ended it.
                let flight_ended = |run: &Run| {
                    let leads =
                        |call: &&Call| call.thread == run.thread && call.began == run.call_began;
                    calls.iter().find(leads).map_or(run.ended, |leader| leader.ended)
                };
                let is_its = |run: &Run| {
                    run.key == call.key
                        && run.result == Some(Ended::Failed(error))
                        && call.began < flight_ended(run)
                        && run.ended < call.ended
                };
                if !runs.iter().any(is_its) {
                    return fails("an error of a loader that the call cannot have waited for");
                }
            }
            Ended::Nothing if call.verb == Verb::Load => return fails("a load of nothing"),
            Ended::Nothing | Ended::Abandoned => {}
        }
    }
    for run in runs {
        for other in runs.iter().filter(|other| other.key == run.key && other.began < run.began) {
            let is_under_way = run.began < other.ended;
            let has_stored =
                matches!(other.result, Some(Ended::Value(_))) && licence == Licence::None;
            let explains = |change: &&Change| {
                history.affects(change, run.key)
                    && change.began < run.began
                    && other.call_began.min(run.call_began) < change.ended
            };
            if (is_under_way || has_stored) && !changes.iter().any(|change| explains(&change)) {
                let culprit = format!("{run:?} besides {other:?}");
                let rule = "a loader that ran though there was a load or a value";
                return Err(history.violation(rule, run.key, culprit));
            }
        }
    }
    Ok(())
}
