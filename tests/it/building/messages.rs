//! The messages of errors: each says what was given and what is allowed, so that a reader of a log
//! knows what to change.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use larder::{
    BuildError, Cache, FlushError, RegisterError, Rejection, RemovalCause, ResizeError, policy,
    register_policy,
};

/// Asserts that each message is one line and contains the expected parts, and that no two are the
/// same.
fn assert_messages(messages: &[(&dyn Display, &[&str])]) {
    let mut seen = BTreeSet::new();
    for (error, wanted) in messages {
        let message = error.to_string();
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        for wanted in *wanted {
            assert!(message.contains(wanted), "`{message}` does not contain `{wanted}`");
        }
        assert!(seen.insert(message.clone()), "two errors say `{message}`");
    }
}

#[test]
fn build_errors_name_the_setting_the_given_value_and_the_allowed_values() {
    use BuildError as E;
    let known = vec!["lru".to_owned(), "lfu".to_owned()];
    assert_messages(&[
        (&E::Unbounded, &["capacity", "max_weight"]),
        (&E::ZeroCapacity, &["capacity 0", "at least 1"]),
        (&E::ZeroWeight, &["max_weight 0", "at least 1"]),
        (&E::BadPartitions { given: 3 }, &["3 partitions", "power of two", "4096"]),
        (&E::TooManyPartitions { given: 64, bound: 10 }, &["64", "10"]),
        (
            &E::BadInitialCapacity { given: 200, limit: 100 },
            &["initial_capacity 200", "at most 100"],
        ),
        (&E::ZeroListenerQueue, &["queue", "at least 1"]),
        (&E::ZeroTimeToLive, &["time_to_live 0"]),
        (&E::ZeroTimeToIdle, &["time_to_idle 0"]),
        (&E::BadJitter { given: 1.5 }, &["jitter 1.5", "0 to 1"]),
        (&E::ZeroDuration { setting: "load_timeout" }, &["load_timeout 0", "more than zero"]),
        (
            &E::NotShorter {
                setting: "soft_timeout",
                given: Duration::from_secs(5),
                than: "hard_timeout",
                limit: Duration::from_secs(3),
            },
            &["soft_timeout 5s", "less than", "3s", "hard_timeout"],
        ),
        (&E::NeedsStaleValues { setting: "soft_timeout" }, &["soft_timeout", "stale_if_error"]),
        (&E::NeedsLoader { setting: "hard_timeout" }, &["hard_timeout", "build_with_loader"]),
        (&E::BadEarlyRefresh { given: -1.5 }, &["early_refresh -1.5", "above 0"]),
        (&E::BadEagerRefresh { given: 2.5 }, &["eager_refresh 2.5", "below 1"]),
        (&E::BadMultiple { given: -1.0 }, &["-1", "above 0"]),
        (&E::BadShadows { given: 99, limit: 16 }, &["99", "1 to 16"]),
        (&E::FewSampleEntries { given: 1, least: 8 }, &["1 entries", "at least 8"]),
        (
            &E::TooLarge { setting: "explain_misses", given: 99, limit: 10 },
            &["explain_misses 99", "at most 10"],
        ),
        (
            &E::OutOfMemory { setting: "explain_misses", bytes: 800 },
            &["explain_misses", "800 bytes"],
        ),
        (&E::UnknownPolicy { given: "lifo".to_owned(), known }, &["`lifo`", "lru, lfu"]),
    ]);
}

#[test]
fn a_build_error_names_the_value_that_the_builder_was_given() {
    let refused = |builder: larder::Builder<u64, u64>| builder.build().unwrap_err().to_string();
    let builder = || Cache::builder().capacity(10);
    assert!(refused(builder().partitions(3)).contains('3'));
    assert!(refused(builder().jitter(f64::NAN)).contains("NaN"));
    assert!(refused(builder().policy(larder::Policy::named("lifo"))).contains("lifo"));
}

#[test]
fn errors_of_registering_and_resizing_name_the_conflict() {
    let known = vec!["lru".to_owned()];
    assert_messages(&[
        (&RegisterError::EmptyName, &["name"]),
        (&RegisterError::Taken { given: "lru".to_owned(), known }, &["`lru`", "other than lru"]),
        (&ResizeError::Unbounded, &["builder"]),
        (&ResizeError::TooFew { given: 3, partitions: 8 }, &["3", "8 partitions"]),
    ]);
    let taken = register_policy("LRU", |limits| Box::new(policy::Lru::new(limits))).unwrap_err();
    assert!(taken.to_string().to_lowercase().contains("lru"), "{taken}");
}

#[test]
fn rejections_name_their_reason() {
    assert_messages(&[
        (&Rejection::TooHeavy { weight: 9, limit: 5 }, &["9", "5"]),
        (&Rejection::StoresNothing, &["0", "higher"]),
        (&Rejection::TooManyTags { limit: 4 }, &["4"]),
        (&Rejection::ReservedTag, &["zero byte"]),
        (&Rejection::WithinListener, &["listener"]),
        (&Rejection::Present, &["there already"]),
        (&Rejection::Absent, &["not there"]),
    ]);
}

#[test]
fn flush_errors_name_their_reason() {
    let waited = Duration::from_millis(1500);
    assert_messages(&[
        (&FlushError::PinnedHere, &["pin"]),
        (&FlushError::PinnedElsewhere { waited }, &["1.5"]),
        (&FlushError::WithinListener, &["listener"]),
        (&FlushError::ListenerBusy { waited }, &["1.5"]),
        (&FlushError::WithinDrop, &["drop"]),
    ]);
}

#[test]
fn removal_causes_have_names() {
    assert_messages(&[
        (&RemovalCause::Evicted, &["evicted"]),
        (&RemovalCause::Expired, &["expired"]),
        (&RemovalCause::Explicit, &["removed"]),
        (&RemovalCause::Replaced, &["replaced"]),
        (&RemovalCause::Invalidated, &["invalidated"]),
    ]);
}

#[cfg(feature = "memory_pressure")]
#[test]
fn errors_of_following_memory_name_the_given_value() {
    use larder::pressure::{Bound, FollowError as E};
    let unreadable = std::io::Error::other("no such file");
    assert_messages(&[
        (&E::Unbounded { bound: Bound::Entries }, &["`capacity`", "builder"]),
        (&E::Unbounded { bound: Bound::Weight }, &["`max_weight`", "builder"]),
        (&E::NoTarget, &["`target`"]),
        (&E::ZeroTarget, &["0 bytes"]),
        (&E::BadBand { given: 1.5 }, &["1.5", "below 1"]),
        (&E::BadRange { least: 9, most: 3, partitions: 4 }, &["9", "3", "4"]),
        (&E::ZeroInterval, &["0"]),
        (&E::Unreadable(unreadable), &["memory in use", "cannot be read"]),
        (&E::Panicked, &["panicked"]),
        (&E::Resize(ResizeError::Unbounded), &["cannot be set"]),
    ]);
}

#[cfg(feature = "snapshot")]
#[test]
fn snapshot_errors_name_the_place_and_the_amount() {
    use std::error::Error;

    use larder::snapshot::{Loss, Part, RegistryError, SerializerError, SnapshotError as E};
    let known = vec!["json".to_owned()];
    let unknown = RegistryError::Unknown { what: "serializer", given: "xml".to_owned(), known };
    let taken = RegistryError::AlreadyRegistered {
        what: "serializer",
        given: "json".to_owned(),
        known: vec!["json".to_owned()],
    };
    let bad = RegistryError::BadName { what: "serializer", given: "a b".to_owned() };
    let cause = || SerializerError::new(std::io::Error::other("odd"));
    let damaged = |part| E::Damaged { part, at: 17 };
    let io = E::from(std::io::Error::other("gone"));
    let by_name = E::from(unknown.clone());
    let serializer = |name: &str| name.to_owned();
    let inexact = E::Inexact {
        record: 3,
        key: Some("\"a\"".to_owned()),
        serializer: serializer("json"),
        loss: Loss::NotFinite,
    };
    let unreadable =
        E::Unreadable { record: 4, key: None, serializer: serializer("bincode"), source: cause() };
    let in_file = E::File { path: "a/b".into(), source: Box::new(damaged(Part::Rest)) };
    assert_messages(&[
        (&io, &["read or written"]),
        (&E::NotASnapshot, &["snapshot"]),
        (&E::NewerVersion { given: 9, newest: 1 }, &["9", "1"]),
        (&E::CutOff { at: 12 }, &["12 bytes"]),
        (&damaged(Part::Header), &["header", "17"]),
        (&damaged(Part::Record), &["record", "17"]),
        (&damaged(Part::End), &["end", "17"]),
        (&damaged(Part::Rest), &["after the end", "17"]),
        (&damaged(Part::Packing), &["packing", "17"]),
        (&E::Unsupported { flags: 2 }, &["0x2", "zstd"]),
        (&by_name, &["`xml`", "json"]),
        (&taken, &["`json`", "already"]),
        (&bad, &["`a b`", "64 ASCII"]),
        (
            &E::RecordTooLong { given: 99, limit: 64 },
            &["limit", "no damage", "99", "64", "max_record_bytes"],
        ),
        (&E::TooPacked { limit: 256 }, &["limit", "no damage", "256", "max_expansion"]),
        (&E::NotAFile { kind: "FIFO" }, &["FIFO", "regular file"]),
        (&E::Serialize(cause()), &["cannot be serialized"]),
        (&inexact, &["entry 3 (key \"a\")", "infinite or NaN", "`json`", "use `bincode`"]),
        (&unreadable, &["entry 4", "cannot be read back", "`bincode`", "use `json`"]),
        (&E::Deserialize { record: 7, source: cause() }, &["record 7"]),
        (&in_file, &["a/b"]),
    ]);
    for error in [io, E::Serialize(cause()), unreadable, in_file] {
        let source = error.source().expect("all of these errors have a source").to_string();
        assert!(!error.to_string().contains(&source), "`{error}` repeats `{source}`");
    }
    for error in [by_name, E::NotASnapshot] {
        assert!(error.source().is_none(), "`{error}` has a source");
    }
}

/// An error that is printed with its causes must say nothing twice.
#[track_caller]
#[cfg(any(feature = "memory_pressure", feature = "quick"))]
fn assert_no_cause_is_repeated(error: &dyn std::error::Error) {
    let mut outer = error;
    while let Some(cause) = outer.source() {
        assert!(!outer.to_string().contains(&cause.to_string()), "`{outer}` repeats `{cause}`");
        outer = cause;
    }
}

#[cfg(feature = "memory_pressure")]
#[test]
fn a_follower_leaves_the_cause_to_its_source() {
    use std::error::Error;

    use larder::pressure::FollowError as E;
    for error in [E::Unreadable(std::io::Error::other("gone")), E::Resize(ResizeError::Unbounded)] {
        assert!(error.source().is_some(), "{error}");
        assert_no_cause_is_repeated(&error);
    }
}

#[cfg(feature = "quick")]
#[test]
fn a_quick_cache_error_repeats_no_cause() {
    use larder::quick::{CacheError as E, ConfigError};
    use larder::snapshot::{RegistryError, SnapshotError};

    let filepath = || std::path::PathBuf::from("some/file");
    let io = || SnapshotError::NotASnapshot;
    for error in [
        E::CacheSave { filepath: filepath(), source: io() },
        E::CacheLoad { filepath: filepath(), source: io() },
        E::CacheMetricsSave { filepath: filepath(), source: io() },
    ] {
        assert!(error.to_string().contains("some/file"), "{error}");
        assert_no_cause_is_repeated(&error);
    }
    let source = RegistryError::Unknown { what: "policy", given: "x".into(), known: Vec::new() };
    for error in
        [ConfigError::Name { field: "policy", source }, ConfigError::Build(BuildError::Unbounded)]
    {
        assert_no_cause_is_repeated(&error);
    }
}
