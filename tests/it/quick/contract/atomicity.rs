//! Calls of many threads at once.

use std::sync::Barrier;

use super::{Fixture, code};

cases! {
    one_of_many_adds_succeeds {
        for _ in 0..50 {
            let it = Fixture::missing();
            let barrier = Barrier::new(4);
            let added: usize = std::thread::scope(|scope| {
                let adders: Vec<_> = (0..4)
                    .map(|n| {
                        let (cache, barrier) = (&it.cache, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            usize::from(cache.add("k", n, None).is_ok())
                        })
                    })
                    .collect();
                adders.into_iter().map(|adder| adder.join().unwrap()).sum()
            });
            assert_eq!((added, it.counts()[4]), (1, 3));
        }
    }
    one_of_many_deletes_succeeds {
        for _ in 0..50 {
            let it = Fixture::valid();
            let barrier = Barrier::new(4);
            let deleted: usize = std::thread::scope(|scope| {
                let deleters: Vec<_> = (0..4)
                    .map(|_| {
                        let (cache, barrier) = (&it.cache, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            usize::from(cache.delete("k").is_ok())
                        })
                    })
                    .collect();
                deleters.into_iter().map(|deleter| deleter.join().unwrap()).sum()
            });
            assert_eq!(deleted, 1);
        }
    }
    one_of_many_gets_reports_the_expiry {
        for _ in 0..50 {
            let it = Fixture::expired();
            let barrier = Barrier::new(4);
            let expired: usize = std::thread::scope(|scope| {
                let getters: Vec<_> = (0..4)
                    .map(|_| {
                        let (cache, barrier) = (&it.cache, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            usize::from(code(cache.get("k")) == "KEY_EXPIRED")
                        })
                    })
                    .collect();
                getters.into_iter().map(|getter| getter.join().unwrap()).sum()
            });
            assert_eq!((expired, it.counts()[6]), (1, 1));
        }
    }
    an_update_never_revives_a_deleted_key {
        for _ in 0..50 {
            let it = Fixture::valid();
            let barrier = Barrier::new(2);
            let is_updated = std::thread::scope(|scope| {
                let updater = scope.spawn(|| {
                    barrier.wait();
                    it.cache.update("k", 2, None).is_ok()
                });
                barrier.wait();
                // The key is valid until this call deletes it, whatever the update does.
                it.cache.delete("k").unwrap();
                updater.join().unwrap()
            });
            assert_eq!(code(it.cache.get("k")), "KEY_NOT_FOUND", "updated: {is_updated}");
        }
    }
}
