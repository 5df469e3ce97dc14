//! Processor time, memory and processors of a process, as Linux reports them.

use std::fs;
use std::io;
use std::process::{self, Command};
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`: a hundredth of a second wherever Linux runs today.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In the process itself.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// What the process `pid` has used until now, by all of its threads.
    ///
    /// # Errors
    /// If there is no such process, or if this is not Linux.
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path)?;
        Self::parse(&stat).ok_or_else(|| io::Error::other(format!("no processor time in {path}")))
    }

    /// What this process has used until now.
    ///
    /// # Errors
    /// If this is not Linux.
    pub fn own() -> io::Result<Self> {
        Self::of(process::id())
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    /// User and system time together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name of the process comes second, in brackets, and may itself hold brackets and
        // blanks. After it, the user time is the 12th field and the system time the 13th.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut next = || Some(TICK * fields.next()?.parse().ok()?);
        Some(Self { user: next()?, system: next()? })
    }
}

/// Binds all threads of this process, and what it starts from now on, to the processors of a list
/// such as `0` or `0,2-3`.
///
/// # Errors
/// If `taskset` is not installed, or refuses.
pub fn pin_self(cpus: &str) -> io::Result<()> {
    let id = process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-c", "-p", cpus, &id]).output();
    let output = output.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot run taskset, of util-linux: {error}"))
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("taskset refuses `{cpus}`: {}", message.trim())));
    }
    Ok(())
}

/// A line that names processor, number of processors, memory and kernel of this machine.
#[must_use]
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let value = |line: &str| Some(line.split_once(':')?.1.trim().to_owned());
    let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(value);
    let model = model.unwrap_or_else(|| "unknown processor".to_owned());
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = kib.and_then(|kib| kib.trim().strip_suffix("kB")?.trim().parse().ok());
    let gib = kib.unwrap_or(0) as f64 / f64::from(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {count} processors, {gib:.1} GiB, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_after_a_name_with_brackets() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 31 0 0 20 0";
        let time = CpuTime::parse(stat).unwrap();
        assert_eq!(time.user, Duration::from_millis(2_500));
        assert_eq!(time.system, Duration::from_millis(310));
        assert_eq!(CpuTime::parse("12 (a) S 1"), None);
        assert_eq!(CpuTime::parse(""), None);
    }

    #[test]
    fn differences_never_go_below_zero() {
        let early = CpuTime { user: Duration::from_millis(20), system: Duration::from_millis(10) };
        let late = CpuTime { user: Duration::from_millis(50), system: Duration::ZERO };
        assert_eq!(late.since(early).total(), Duration::from_millis(30));
    }
}
