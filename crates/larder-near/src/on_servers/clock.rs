//! A server whose clock can be set while it runs. A library of a few lines, which the C compiler makes and the server
//! is started with, adds so many seconds to the time of day as a file says. The monotonic clock goes on as ever.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::server::{Program, Server};

const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *step;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("LARDER_CLOCK_STEP"), O_RDONLY);
    void *at = mmap(0, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) step = at;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && step && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *step;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    (void)zone;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *copy) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (copy) *copy = precise.tv_sec;
    return precise.tv_sec;
}
"#;

/// The clock of one server.
pub(super) struct SteppedClock {
    step: File,
    /// The library and the file, as long as the server may be started.
    _folder: tempfile::TempDir,
}

impl SteppedClock {
    /// A server, and its clock; `None` if there is no C compiler.
    pub(super) async fn start(program: Program) -> Option<(Server, Self)> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("clock.c"), folder.path().join("clock.so"));
        std::fs::write(&source, LIBRARY).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        if !compiler.status().is_ok_and(|status| status.success()) {
            return None;
        }
        let path = folder.path().join("step");
        std::fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        let step = File::options().write(true).open(&path).unwrap();
        let variables = vec![("LD_PRELOAD", library.into()), ("LARDER_CLOCK_STEP", path.into())];
        let server = Server::start_given(program, Vec::new(), variables).await;
        Some((server, Self { step, _folder: folder }))
    }

    /// Puts the clock ahead of the true time by so many seconds.
    pub(super) fn set_ahead(&self, seconds: i64) {
        self.step.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}
