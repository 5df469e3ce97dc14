//! Files that are not regular files, must not be read or written, or whose writing is interrupted.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use larder::snapshot::{Info, Records, RestoreOptions, SnapshotError, convert_path};

use super::{Small, contents, inline, options};

#[test]
fn a_folder_and_a_missing_file_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let cache: Small = inline(10);
    for path in [folder.path().to_owned(), folder.path().join("none")] {
        let error = cache.load_from_path(&path, &RestoreOptions::new()).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    }
    let error = cache.save_to_path(folder.path(), &options("json")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a file was left");
}

/// The cause below the error that names a file.
fn below(error: SnapshotError) -> SnapshotError {
    match error {
        SnapshotError::File { source, .. } => *source,
        other => other,
    }
}

#[test]
fn errors_name_the_file_and_say_each_thing_once() {
    let folder = tempfile::tempdir().unwrap();
    let (none, other) = (folder.path().join("none"), folder.path().join("other"));
    fs::write(&other, "hello").unwrap();
    for path in [&none, &other] {
        let error =
            inline::<String, u32>(10).load_from_path(path, &RestoreOptions::new()).unwrap_err();
        assert_eq!(error.path(), Some(path.as_path()));
        let mut line = vec![error.to_string()];
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            line.push(error.to_string());
            cause = error.source();
        }
        let name = path.display().to_string();
        let all = line.join(": ");
        assert_eq!(all.matches(&name).count(), 1, "{all}");
        assert!(line.windows(2).all(|pair| !pair[0].contains(&pair[1])), "{all}");
        assert_eq!(error.is_io(), path == &none);
    }
}

/// One path for each kind of special file that this user can make. The socket lives as long as the
/// second value that is returned.
#[cfg(unix)]
fn special_files(folder: &Path) -> (Vec<(&'static str, std::path::PathBuf)>, impl Drop) {
    let (fifo, socket) = (folder.join("fifo"), folder.join("socket"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut all = vec![("FIFO", fifo), ("socket", socket)];
    let null = folder.join("null");
    let made =
        Command::new("mknod").arg(&null).args(["c", "1", "3"]).stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        all.push(("character device", null));
    }
    for (kind, path) in all.clone() {
        let (link, far) = (path.with_extension("link"), path.with_extension("far"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::os::unix::fs::symlink("fifo.link", &far).unwrap();
        all.push((kind, link));
    }
    struct Bound(std::os::unix::net::UnixListener);
    impl Drop for Bound {
        fn drop(&mut self) {
            let _ = self.0.set_nonblocking(true);
        }
    }
    (all, Bound(listener))
}

#[cfg(unix)]
#[test]
fn special_files_are_refused_at_once_and_stay_unchanged() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let (specials, _bound) = special_files(folder.path());
    let cache: Small = inline(10);
    cache.insert("a".to_owned(), 1);
    let good = folder.path().join("good");
    cache.save_to_path(&good, &options("json")).unwrap();
    let (load, save) = (RestoreOptions::new(), options("json"));
    for (expected, path) in &specials {
        let identity = |path: &Path| {
            let (own, through) = (fs::symlink_metadata(path).unwrap(), fs::metadata(path).unwrap());
            (own.ino(), own.mode(), through.ino(), through.mode())
        };
        let before = identity(path);
        let errors = [
            cache.save_to_path(path, &save).unwrap_err(),
            cache.load_from_path(path, &load).unwrap_err(),
            Info::read_path(path, &load).unwrap_err(),
            Records::<String, u32>::read_path(path, &load).unwrap_err(),
            convert_path::<String, u32>(&good, path, &load, &save).unwrap_err(),
            convert_path::<String, u32>(path, folder.path().join("to"), &load, &save).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.path(), Some(path.as_path()));
            let error = below(error);
            let SnapshotError::NotAFile { kind } = error else { panic!("{path:?}: {error:?}") };
            assert_eq!(kind, *expected);
        }
        assert_eq!(identity(path), before, "{expected}");
    }
    assert!(!folder.path().join("to").exists());
    let left = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".larder-")));
}

#[cfg(unix)]
#[test]
fn a_save_through_links_makes_or_replaces_their_targets_and_keeps_the_links() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("below")).unwrap();
    // The target of the second link is relative to the link's own folder.
    symlink("below/second", at("first")).unwrap();
    symlink("third", at("below/second")).unwrap();
    let cache: Small = inline(10);
    cache.insert("a".to_owned(), 1);
    for round in 0..2 {
        cache.save_to_path(at("first"), &options("json")).unwrap();
        assert!(fs::symlink_metadata(at("first")).unwrap().is_symlink(), "round {round}");
        assert!(fs::symlink_metadata(at("below/second")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(at("below/third")).unwrap().is_file());
        let other: Small = inline(10);
        other.load_from_path(at("first"), &RestoreOptions::new()).unwrap();
        assert_eq!(contents(&other), contents(&cache));
    }
    assert_eq!(fs::read_dir(at("below")).unwrap().count(), 2, "a file was left");
    symlink("nowhere/at/all", at("lost")).unwrap();
    symlink("circle", at("circle")).unwrap();
    symlink("below", at("folder")).unwrap();
    for name in ["lost", "circle", "folder"] {
        let error = cache.save_to_path(at(name), &options("json")).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{name}: {error:?}");
        assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink());
    }
}

#[cfg(unix)]
fn assert_unreadable(path: &Path) {
    let cache: Small = inline(10);
    cache.insert("there".to_owned(), 1);
    let error = cache.load_from_path(path, &RestoreOptions::new()).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    let error = cache.save_to_path(path, &options("json")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    assert_eq!(contents(&cache), [("there".to_owned(), 1)]);
}

#[cfg(unix)]
#[test]
fn child_opens_a_file_that_it_must_not_read() {
    let Some(path) = std::env::var_os("LARDER_CHILD") else { return };
    assert_unreadable(Path::new(&path));
    println!("refused");
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_a_typed_error() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    /// The id of a user who owns nothing.
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let cache: Small = inline(10);
    cache.save_to_path(&path, &options("json")).unwrap();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&path, 0);
    if fs::File::open(&path).is_err() {
        set_mode(folder.path(), 0o500);
        assert_unreadable(&path);
        set_mode(folder.path(), 0o700);
        return;
    }
    // This user may read everything, so the test goes on as another user, who must be able to read
    // the program.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o555);
    set_mode(folder.path(), 0o555);
    let mut child = Command::new(&program);
    child.args([
        "--exact",
        "hostile_snapshots::files::child_opens_a_file_that_it_must_not_read",
        "--nocapture",
    ]);
    child.env("LARDER_CHILD", &path).current_dir(folder.path()).uid(NOBODY).gid(NOBODY);
    // A process that another test starts meanwhile has the copy open for writing until it runs its
    // own program.
    let output = loop {
        match child.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("refused"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn a_saved_file_keeps_the_old_permissions_or_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let cache: Small = inline(10);
    cache.save_to_path(&path, &options("json")).unwrap();
    assert_eq!(mode(), 0o600);
    for old in [0o640, 0o400, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(old)).unwrap();
        cache.save_to_path(&path, &options("json")).unwrap();
        assert_eq!(mode(), old);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_typed_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let cache: Small = inline(10);
    cache.insert("a".to_owned(), 1);
    let error = cache.save_to(full, &options("bincode")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
}

/// Runs one of the helper tests below in a process of its own.
fn child(test: &str, path: &Path, through: &str) -> Command {
    let mut command = Command::new("sh");
    let run = format!(
        "{through} exec \"$0\" --exact hostile_snapshots::files::{test} --nocapture --test-threads 1"
    );
    command.arg("-c").arg(run).arg(std::env::current_exe().unwrap());
    command.env("LARDER_CHILD", path);
    command
}

/// Two contents, such that a mixture of them differs from both.
fn version(which: u32) -> Small {
    let cache = Small::new(10_000);
    for n in 0..2000 + which * 500 {
        cache.insert(format!("key {n}"), which);
    }
    cache
}

fn assert_is_a_version(path: &Path) {
    let cache: Small = inline(10_000);
    cache.load_from_path(path, &RestoreOptions::new()).unwrap();
    let which = cache.peek("key 0").unwrap();
    assert_eq!(cache.len() as u32, 2000 + which * 500);
    assert!(cache.values().all(|value| value == which));
}

#[cfg(unix)]
#[test]
fn child_saves_without_end() {
    let Some(path) = std::env::var_os("LARDER_CHILD") else { return };
    let versions = [version(0), version(1)];
    for n in 0.. {
        versions[n % 2].save_to_path(&path, &options("bincode")).unwrap();
        println!("saved");
    }
}

#[cfg(unix)]
#[test]
fn a_process_killed_at_any_moment_of_a_save_leaves_the_old_or_the_new_file() {
    const KILLS: u32 = 60;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    version(0).save_to_path(&path, &options("bincode")).unwrap();
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let mut saving = child("child_saves_without_end", &path, "");
        let mut saving = saving.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(saving.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("saved") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        }
        // Lets the next save begin, and kills it a bit later each time.
        for _ in 0..kill * 160 {
            std::hint::spin_loop();
        }
        saving.kill().unwrap();
        saving.wait().unwrap();
        assert_is_a_version(&path);
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().path();
            if file != path {
                interrupted += 1;
                fs::remove_file(file).unwrap();
            }
        }
    }
    println!("{interrupted} of {KILLS} kills came between the beginning and the end of a file");
    assert!(interrupted > 0, "no kill interrupted the writing of a file");
}

#[cfg(unix)]
#[test]
fn child_saves_to_a_full_disk() {
    let Some(path) = std::env::var_os("LARDER_CHILD") else { return };
    let error = version(1).save_to_path(&path, &options("bincode")).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error:?}");
    println!("refused");
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    version(0).save_to_path(&path, &options("bincode")).unwrap();
    // The size of files is limited and the limit's signal is ignored, so writes fail.
    let mut saving = child("child_saves_to_a_full_disk", &path, "trap '' XFSZ; ulimit -f 16;");
    let mut saving = saving.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    saving.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(saving.wait().unwrap().success() && said.contains("refused"), "{said}");
    assert_is_a_version(&path);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
