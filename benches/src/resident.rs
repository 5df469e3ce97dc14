//! The resident memory of a process, as Linux reports it.

use std::fs;
use std::io;

/// The resident memory of this process in KiB.
///
/// # Errors
/// If `/proc/self/status` cannot be read or has no line `VmRSS`: then this is not Linux.
pub fn resident_kib() -> io::Result<u64> {
    read_resident_kib("/proc/self/status")
}

/// The resident memory of the process `pid` in KiB.
///
/// # Errors
/// As for [`resident_kib`], and if there is no such process.
pub fn resident_kib_of(pid: u32) -> io::Result<u64> {
    read_resident_kib(&format!("/proc/{pid}/status"))
}

fn read_resident_kib(path: &str) -> io::Result<u64> {
    let status = fs::read_to_string(path)?;
    parse_resident_kib(&status)
        .ok_or_else(|| io::Error::other(format!("no line `VmRSS: … kB` in {path}")))
}

fn parse_resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_and_its_unit_checked() {
        assert_eq!(parse_resident_kib("Name:\tx\nVmRSS:\t  1234 kB\nThreads: 1\n"), Some(1_234));
        assert_eq!(parse_resident_kib("VmRSS:\t 1234 MB\n"), None);
        assert_eq!(parse_resident_kib("Name:\tx\n"), None);
    }
}
