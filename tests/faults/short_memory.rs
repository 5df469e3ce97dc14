//! Memory that is short: the process ends with the allocator's message, or goes on without that
//! memory.

use std::process::Command;

use larder::{Cache, Maintenance};

use crate::allocator::{FAIL_AFTER, FAIL_FROM};

/// Uses every verb on a cache that it makes and drops.
fn use_a_cache() {
    let cache: Cache<u64, Vec<u8>> =
        Cache::builder().capacity(64).maintenance(Maintenance::Inline).build().unwrap();
    for key in 0..200 {
        cache.insert(key, vec![1; 8]);
        cache.insert(key, vec![2; 8]);
        let _ = cache.get(&(key / 2));
        let _ = cache.remove(&(key / 3));
    }
    assert!(cache.len() <= 64);
    cache.validate();
}

/// Runs a test of this file in a process of its own.
fn child(test: &str, variable: &str, value: u64) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("short_memory::{test}"),
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    command.env(variable, value.to_string()).output().unwrap()
}

fn variable_of_child(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

#[test]
fn child_runs_out_of_memory() {
    let Some(nth) = variable_of_child("LARDER_CHILD_NTH") else { return };
    FAIL_AFTER.set(nth);
    use_a_cache();
    let has_failed = FAIL_AFTER.replace(u64::MAX) == u64::MAX;
    println!("{}", if has_failed { "went on" } else { "had enough" });
}

#[cfg(unix)]
#[test]
fn a_failed_allocation_ends_the_process_with_a_message() {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    let (mut aborted, mut nth) = (0, 0);
    loop {
        let output = child("child_runs_out_of_memory", "LARDER_CHILD_NTH", nth);
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if out.contains("had enough") {
            break;
        }
        // Some memory is optional: without a slab, for example, entries are allocated one by one.
        let has_gone_on = output.status.success() && out.contains("went on");
        let has_said_so =
            output.status.signal() == Some(SIGABRT) && error.contains("memory allocation of");
        assert!(has_gone_on || has_said_so, "allocation {nth}: {output:?}");
        aborted += u32::from(has_said_so);
        // Tries each of the first allocations, which build the cache, then some of the later ones,
        // which are all alike.
        nth += 1 + nth / 16;
    }
    println!("{aborted} failures up to allocation {nth} ended the process");
    assert!(aborted > 20);
}

#[test]
fn child_gets_no_large_memory() {
    let Some(largest) = variable_of_child("LARDER_CHILD_LARGEST") else { return };
    FAIL_FROM.set(usize::try_from(largest).unwrap());
    use_a_cache();
    FAIL_FROM.set(usize::MAX);
    println!("went on");
}

#[test]
fn entries_are_allocated_one_by_one_if_memory_for_a_slab_is_short() {
    let output = child("child_gets_no_large_memory", "LARDER_CHILD_LARGEST", 30 * 1024);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("went on"), "{output:?}");
}
