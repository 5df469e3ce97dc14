//! Where it is read how much memory is in use.
#![forbid(unsafe_code)]

use std::io;

/// One reading, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// How much is in use.
    pub used: u64,
    /// How much may be in use at most, if that is known.
    pub limit: Option<u64>,
}

impl Usage {
    /// A reading of `used` bytes, of at most `limit` where that is known.
    #[must_use]
    pub const fn new(used: u64, limit: Option<u64>) -> Self {
        Self { used, limit }
    }
}

/// Tells how much memory is in use. Closures that return a [`Usage`] are sources.
pub trait MemorySource: Send + Sync + 'static {
    /// A reading. Called under no lock; may block, but then holds up the maintenance thread. A panic
    /// is contained and counted.
    ///
    /// # Errors
    /// If it cannot be told now.
    fn read(&self) -> io::Result<Usage>;
}

impl<F: Fn() -> io::Result<Usage> + Send + Sync + 'static> MemorySource for F {
    fn read(&self) -> io::Result<Usage> {
        self()
    }
}

/// What the system has given to this process: its resident memory. There is no limit. On Linux
/// only; elsewhere reading it is an error of the kind [`Unsupported`](io::ErrorKind::Unsupported).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMemory;

/// What all processes in this one's cgroup use, without file pages that can be dropped at any time,
/// and the least limit on the way to the root. For version 2 and version 1, as containers and
/// services have them. On Linux only, as [`ProcessMemory`]; without a memory controller an error of
/// the kind [`NotFound`](io::ErrorKind::NotFound).
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupMemory;

/// The cgroup if it has a limit, else the process.
pub(super) fn standard() -> Box<dyn MemorySource> {
    match CgroupMemory.read() {
        Ok(Usage { limit: Some(_), .. }) => Box::new(CgroupMemory),
        _ => Box::new(ProcessMemory),
    }
}

impl MemorySource for ProcessMemory {
    #[cfg(target_os = "linux")]
    fn read(&self) -> io::Result<Usage> {
        let pages = linux::process()?.statm().map_err(linux::io_error)?.resident;
        Ok(Usage { used: pages.saturating_mul(procfs::page_size()), limit: None })
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&self) -> io::Result<Usage> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl MemorySource for CgroupMemory {
    #[cfg(target_os = "linux")]
    fn read(&self) -> io::Result<Usage> {
        linux::Cgroup::of_process()?.usage()
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&self) -> io::Result<Usage> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::path::{Path, PathBuf};
    use std::{fmt, fs};

    use procfs::process::Process;
    use procfs::{ProcError, process::MountInfo};

    use super::{Usage, io};

    /// Version 1 says so where there is no limit: the most pages that a counter holds.
    const NO_LIMIT: u64 = 1 << 62;

    pub(super) fn process() -> io::Result<Process> {
        Process::myself().map_err(io_error)
    }

    pub(super) fn io_error(error: ProcError) -> io::Error {
        match error {
            ProcError::Io(error, Some(path)) => at(&path, error),
            ProcError::Io(error, None) => error,
            ProcError::NotFound(_) => io::Error::new(io::ErrorKind::NotFound, error),
            ProcError::PermissionDenied(_) => {
                io::Error::new(io::ErrorKind::PermissionDenied, error)
            }
            error => io::Error::other(error),
        }
    }

    /// What could not be read; why, says its source.
    #[derive(Debug)]
    struct Unread {
        path: PathBuf,
        source: io::Error,
    }

    impl fmt::Display for Unread {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "cannot read {}", self.path.display())
        }
    }

    impl Error for Unread {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.source)
        }
    }

    /// The same error, of that file.
    fn at(path: &Path, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Unread { path: path.to_owned(), source })
    }

    /// The names of a version's files.
    struct Files {
        used: &'static str,
        limit: &'static str,
        /// The line of `memory.stat` for file pages that nobody has used lately.
        inactive: &'static str,
    }

    const V1: Files = Files {
        used: "memory.usage_in_bytes",
        limit: "memory.limit_in_bytes",
        inactive: "total_inactive_file",
    };

    const V2: Files =
        Files { used: "memory.current", limit: "memory.max", inactive: "inactive_file" };

    /// A folder of the memory controller, below the one where its hierarchy is mounted.
    pub(super) struct Cgroup {
        mount: PathBuf,
        folder: PathBuf,
        files: &'static Files,
    }

    impl Cgroup {
        /// That of this process; version 1's if its memory controller is in use.
        pub(super) fn of_process() -> io::Result<Self> {
            let process = process()?;
            let cgroups = process.cgroups().map_err(io_error)?;
            let mounts = process.mountinfo().map_err(io_error)?;
            let is_v1 = |mount: &MountInfo| {
                mount.fs_type == "cgroup" && mount.super_options.contains_key("memory")
            };
            let v1 = cgroups.0.iter().find(|group| group.controllers.iter().any(|c| c == "memory"));
            let v2 = cgroups.0.iter().find(|group| group.hierarchy == 0);
            let v1 = v1.and_then(|group| {
                let mount = mounts.0.iter().find(|mount| is_v1(mount))?;
                Some(Self::below(mount, &group.pathname, &V1))
            });
            let found = v1.or_else(|| {
                let mount = mounts.0.iter().find(|mount| mount.fs_type == "cgroup2")?;
                Some(Self::below(mount, &v2?.pathname, &V2))
            });
            found.filter(|group| group.folder.join(group.files.used).exists()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "no cgroup with a memory controller")
            })
        }

        fn below(mount: &MountInfo, path: &str, files: &'static Files) -> Self {
            Self::new(&mount.mount_point, Path::new(&mount.root), Path::new(path), files)
        }

        /// `root` is what of the hierarchy is mounted: of a container often only its own part, or
        /// not even that, if its paths are told from within.
        fn new(mount: &Path, root: &Path, path: &Path, files: &'static Files) -> Self {
            let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/"));
            let folder = below.map_or_else(|_| mount.to_owned(), |below| mount.join(below));
            // In a container with the host's paths but a mount of its own, it is the mount itself.
            let folder = if folder.exists() { folder } else { mount.to_owned() };
            Self { mount: mount.to_owned(), folder, files }
        }

        pub(super) fn usage(&self) -> io::Result<Usage> {
            let used = number(&self.folder.join(self.files.used))?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the cgroup's use is no number")
            })?;
            let inactive = self.inactive_bytes().unwrap_or(0);
            let above = self.folder.ancestors().take_while(|f| f.starts_with(&self.mount));
            // The root has no limit, nor perhaps the file.
            let limits = above.filter_map(|f| number(&f.join(self.files.limit)).ok().flatten());
            let limit = limits.min().filter(|limit| *limit < NO_LIMIT);
            Ok(Usage { used: used.saturating_sub(inactive), limit })
        }

        fn inactive_bytes(&self) -> Option<u64> {
            let stat = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
            stat.lines().find_map(|line| {
                let (name, value) = line.split_once(' ')?;
                (name == self.files.inactive).then(|| value.trim().parse().ok())?
            })
        }
    }

    /// The number in a file; `None` for `max`.
    fn number(file: &Path) -> io::Result<Option<u64>> {
        let text = fs::read_to_string(file).map_err(|error| at(file, error))?;
        match text.trim() {
            "max" => Ok(None),
            text => text.parse().map(Some).map_err(|error| {
                at(file, io::Error::new(io::ErrorKind::InvalidData, format!("`{text}`: {error}")))
            }),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn write(folder: &Path, file: &str, text: &str) {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        }

        #[test]
        fn version_2_has_the_least_limit_on_the_way_up_and_no_inactive_file_pages() {
            let mount = tempfile::tempdir().unwrap();
            let (outer, inner) = (mount.path().join("a"), mount.path().join("a/b"));
            write(&outer, "memory.max", "5000\n");
            write(&inner, "memory.max", "max\n");
            write(&inner, "memory.current", "3000\n");
            write(&inner, "memory.stat", "anon 1000\ninactive_file 500\nactive_file 7\n");
            let group = Cgroup::new(mount.path(), Path::new("/"), Path::new("/a/b"), &V2);
            assert_eq!(group.usage().unwrap(), Usage { used: 2500, limit: Some(5000) });
        }

        #[test]
        fn version_1_without_a_limit_has_none() {
            let mount = tempfile::tempdir().unwrap();
            write(mount.path(), "memory.limit_in_bytes", "9223372036854771712\n");
            write(mount.path(), "memory.usage_in_bytes", "3000\n");
            write(mount.path(), "memory.stat", "inactive_file 1\ntotal_inactive_file 4000\n");
            let group = Cgroup::new(mount.path(), Path::new("/"), Path::new("/"), &V1);
            assert_eq!(group.usage().unwrap(), Usage { used: 0, limit: None });
        }

        #[test]
        fn a_mount_of_a_part_of_the_hierarchy_is_looked_into_from_there() {
            let mount = tempfile::tempdir().unwrap();
            write(&mount.path().join("leaf"), "memory.current", "1");
            let of = |root, path| {
                Cgroup::new(mount.path(), Path::new(root), Path::new(path), &V2).folder
            };
            assert_eq!(of("/pod", "/pod/leaf"), mount.path().join("leaf"));
            assert_eq!(of("/pod", "/pod"), mount.path());
            assert_eq!(of("/", "/on/the/host/alone"), mount.path());
        }

        #[test]
        fn nonsense_in_its_files_is_an_error() {
            let mount = tempfile::tempdir().unwrap();
            let group = Cgroup::new(mount.path(), Path::new("/"), Path::new("/"), &V2);
            let missing = group.usage().unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            assert!(missing.to_string().ends_with("/memory.current"), "{missing}");
            let cause = missing.source().expect("why it could not be read").to_string();
            assert!(!missing.to_string().contains(&cause), "{missing}: {cause}");
            for text in ["", "-1", "max", "12 bytes", "99999999999999999999999"] {
                write(mount.path(), "memory.current", text);
                assert_eq!(group.usage().unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_some_memory_and_more_after_taking_more() {
        let before = ProcessMemory.read().unwrap();
        assert!(before.used > 100_000 && before.limit.is_none(), "{before:?}");
        let taken = vec![1_u8; 64 << 20];
        let after = ProcessMemory.read().unwrap();
        assert!(after.used > 64 << 20, "{after:?} with {}", taken.len());
    }

    #[test]
    fn the_cgroup_is_read_or_said_to_be_missing() {
        match CgroupMemory.read() {
            Ok(usage) => assert!(usage.limit.is_none_or(|limit| limit > 0)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
        assert!(standard().read().is_ok());
    }
}
