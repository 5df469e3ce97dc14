//! Sources of the memory in use: the process, its cgroup, or the user's own.
#![forbid(unsafe_code)]

use std::io;

/// One reading, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The bytes in use.
    pub used: u64,
    /// The most bytes that may be in use, if that is known.
    pub limit: Option<u64>,
}

impl Usage {
    /// A reading of `used` bytes, with the `limit` on them if it is known.
    #[must_use]
    pub const fn new(used: u64, limit: Option<u64>) -> Self {
        Self { used, limit }
    }
}

/// Reports how much memory is in use. Closures that return an [`io::Result`] of a [`Usage`] are sources.
pub trait MemorySource: Send + Sync + 'static {
    /// Reads how much is in use. It is called under no lock. It may block, but then delays the maintenance
    /// thread. A panic is caught and counted.
    ///
    /// # Errors
    /// If the memory in use cannot be determined now.
    fn read(&self) -> io::Result<Usage>;

    /// Reads how much is in use, for a follower with a [`target`](super::FollowerBuilder::target) of its own,
    /// and returns the target to compare it with. It is called instead of [`read`](Self::read), under the
    /// same conditions. Default: the reading of `read`, and `target`.
    ///
    /// A source that watches several limits overrides it: `target` bounds the use of the process or of its own
    /// group, but an ancestor of the group may reach its limit first.
    ///
    /// # Errors
    /// If the memory in use cannot be determined now.
    fn read_with_target(&self, target: u64) -> io::Result<(Usage, u64)> {
        Ok((self.read()?, target))
    }
}

/// The default target with a limit of `limit` bytes: nine tenths.
pub(super) fn target_below(limit: u64) -> u64 {
    limit - limit / 10
}

impl<F: Fn() -> io::Result<Usage> + Send + Sync + 'static> MemorySource for F {
    fn read(&self) -> io::Result<Usage> {
        self()
    }
}

/// The resident memory of this process, without a limit. On Linux only; on other systems reading it is an
/// error of the kind [`Unsupported`](io::ErrorKind::Unsupported).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMemory;

/// The cgroup with the least memory left: the group of this process, or one of its ancestors.
///
/// The reading is that of the group with the fewest bytes between its use and its limit, so siblings that
/// fill an ancestor are noticed. If no group has a limit, it is the use of this process's own group. The use
/// of a group is that of all processes in it, without inactive file pages, which the kernel can drop at any
/// time. In version 2 the limit is the lower one of `memory.max` and `memory.high`, above which the kernel
/// throttles a group.
///
/// A follower's own target bounds the use of this process's group; an ancestor that has less memory left
/// counts too, with nine tenths of its limit as its target.
///
/// Works with cgroups of version 2 and version 1, in containers and services. On Linux only, like [`ProcessMemory`];
/// without a memory controller, reading is an error of the kind [`NotFound`](io::ErrorKind::NotFound).
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupMemory;

/// The default source: the cgroup if it has a limit, else the process.
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
        linux::Cgroup::of_process()?.tightest()
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&self) -> io::Result<Usage> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn read_with_target(&self, target: u64) -> io::Result<(Usage, u64)> {
        linux::Cgroup::of_process()?.tightest_with_target(target)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::path::{Path, PathBuf};
    use std::{fmt, fs};

    use procfs::process::Process;
    use procfs::{ProcError, process::MountInfo};

    use super::{Usage, io, target_below};

    /// Version 1 shows the greatest value of its counter if there is no limit, which is more than this.
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

    /// The file that could not be read; the source of the error says why.
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

    /// The same error, with the file that it is about.
    fn at(path: &Path, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Unread { path: path.to_owned(), source })
    }

    /// Version 1: whether a group includes the use of its descendants.
    const HIERARCHY: &str = "memory.use_hierarchy";

    /// The names of a version's files.
    struct Files {
        used: &'static str,
        limit: &'static str,
        /// The file of the limit above which the kernel throttles the group rather than killing a process.
        throttle: Option<&'static str>,
        /// The line of `memory.stat` for file pages that were not used lately.
        inactive: &'static str,
    }

    const V1: Files = Files {
        used: "memory.usage_in_bytes",
        limit: "memory.limit_in_bytes",
        throttle: None,
        inactive: "total_inactive_file",
    };

    const V2: Files = Files {
        used: "memory.current",
        limit: "memory.max",
        throttle: Some("memory.high"),
        inactive: "inactive_file",
    };

    /// A group of the memory controller: its folder, at or below the mount point of the hierarchy.
    pub(super) struct Cgroup {
        mount: PathBuf,
        folder: PathBuf,
        files: &'static Files,
    }

    impl Cgroup {
        /// The group of this process; that of version 1 if its memory controller is in use.
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

        /// `root` is the part of the hierarchy that is mounted. In a container it is often only the
        /// container's own part, and `path` may not even lie below it if it is relative to the container.
        fn new(mount: &Path, root: &Path, path: &Path, files: &'static Files) -> Self {
            let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/"));
            let folder = below.map_or_else(|_| mount.to_owned(), |below| mount.join(below));
            // In a container with the host's paths but a mount of its own, the mount is the group.
            let folder = if folder.exists() { folder } else { mount.to_owned() };
            Self { mount: mount.to_owned(), folder, files }
        }

        /// The use of the group with the least memory left, among this one and its ancestors that have a
        /// limit; of this one if none has.
        pub(super) fn tightest(&self) -> io::Result<Usage> {
            let own = self.own()?;
            let limited = own.limit.map(|limit| (limit, own));
            let above = self.above()?.into_iter();
            let least = limited.into_iter().chain(above).min_by_key(|(limit, usage)| {
                // Negative if the kernel is about to reclaim memory or to kill a process.
                i128::from(*limit) - i128::from(usage.used)
            });
            Ok(least.map_or(own, |(_, usage)| usage))
        }

        /// As `tightest`, with `target` for this group: the use with the fewest bytes left below its target, and that
        /// target.
        pub(super) fn tightest_with_target(&self, target: u64) -> io::Result<(Usage, u64)> {
            let above = self.above()?.into_iter();
            let above = above.map(|(limit, usage)| (usage, target_below(limit)));
            let all = std::iter::once((self.own()?, target)).chain(above);
            let room =
                |&(usage, target): &(Usage, u64)| i128::from(target) - i128::from(usage.used);
            all.min_by_key(room).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        /// The use and the limit of this group itself.
        fn own(&self) -> io::Result<Usage> {
            let used = self.used_bytes(&self.folder)?;
            Ok(Usage { used, limit: self.limit_of(&self.folder) })
        }

        /// The limit and the use of each ancestor that has a limit.
        fn above(&self) -> io::Result<Vec<(u64, Usage)>> {
            let mut found = Vec::new();
            let within = |folder: &&Path| folder.starts_with(&self.mount);
            for folder in self.folder.ancestors().skip(1).take_while(within) {
                if matches!(number(&folder.join(HIERARCHY)), Ok(Some(0))) {
                    // Version 1 without a hierarchy: limits from here up do not bind descendants.
                    break;
                }
                let Some(limit) = self.limit_of(folder) else { continue };
                match self.used_bytes(folder) {
                    Ok(used) => found.push((limit, Usage { used, limit: Some(limit) })),
                    // The root group of version 2 counts no use.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        }

        fn limit_of(&self, folder: &Path) -> Option<u64> {
            // The root group has no limit, and may not have the files.
            let of = |file: &str| number(&folder.join(file)).ok().flatten();
            let throttle = self.files.throttle.and_then(of);
            let least = of(self.files.limit).into_iter().chain(throttle).min();
            least.filter(|limit| *limit < NO_LIMIT)
        }

        fn used_bytes(&self, folder: &Path) -> io::Result<u64> {
            let used = number(&folder.join(self.files.used))?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the cgroup's use is not a number")
            })?;
            Ok(used.saturating_sub(self.inactive_bytes(folder).unwrap_or(0)))
        }

        fn inactive_bytes(&self, folder: &Path) -> Option<u64> {
            let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
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

        /// Writes a group's files as the kernel shows them; `limit` and `used` are in bytes.
        fn group(folder: &Path, files: &Files, limit: &str, used: u64, inactive: u64) {
            write(folder, files.limit, &format!("{limit}\n"));
            write(folder, files.used, &format!("{used}\n"));
            write(folder, "memory.stat", &format!("anon 1\n{} {inactive}\n", files.inactive));
        }

        #[test]
        fn siblings_that_fill_an_ancestor_are_noticed_in_both_versions() {
            for (files, none) in [(&V2, "max"), (&V1, "9223372036854771712")] {
                let mount = tempfile::tempdir().unwrap();
                let (outer, inner) = (mount.path().join("a"), mount.path().join("a/b"));
                group(&outer, files, "5000", 5400, 500);
                group(&inner, files, none, 1000, 100);
                let own = Cgroup::new(mount.path(), Path::new("/"), Path::new("/a/b"), files);
                let expected = Usage { used: 4900, limit: Some(5000) };
                assert_eq!(own.tightest().unwrap(), expected);
                // A limit of its own does not hide the ancestor, which has less memory left.
                group(&inner, files, "1200", 1000, 100);
                assert_eq!(own.tightest().unwrap(), expected);
                // Nor does an ancestor with more left hide it, and the use may exceed a limit.
                group(&outer, files, "9000", 5400, 500);
                assert_eq!(own.tightest().unwrap(), Usage { used: 900, limit: Some(1200) });
                group(&outer, files, "4000", 5400, 500);
                assert_eq!(own.tightest().unwrap(), Usage { used: 4900, limit: Some(4000) });
            }
        }

        #[test]
        fn the_tightest_of_many_groups_is_found_wherever_it_is() {
            let mount = tempfile::tempdir().unwrap();
            let folders = ["", "a", "a/b", "a/b/c"].map(|name| mount.path().join(name));
            for tightest in 0..folders.len() {
                for (level, folder) in folders.iter().enumerate() {
                    let room = if level == tightest { 10 } else { 20 };
                    let limit = 1000 * (4 - level as u64);
                    group(folder, &V2, &limit.to_string(), limit - room, 0);
                }
                let own = Cgroup::new(mount.path(), Path::new("/"), Path::new("/a/b/c"), &V2);
                let limit = 1000 * (4 - tightest as u64);
                assert_eq!(own.tightest().unwrap(), Usage { used: limit - 10, limit: Some(limit) });
            }
        }

        #[test]
        fn a_target_bounds_the_own_group_and_a_full_ancestor_counts_too() {
            let mount = tempfile::tempdir().unwrap();
            let (outer, inner) = (mount.path().join("a"), mount.path().join("a/b"));
            group(&inner, &V2, "2000", 1000, 0);
            let own = Cgroup::new(mount.path(), Path::new("/"), Path::new("/a/b"), &V2);
            // The ancestor has much in use and much left, so it does not count.
            group(&outer, &V2, "100000", 80_000, 0);
            let inner_use = Usage { used: 1000, limit: Some(2000) };
            assert_eq!(own.tightest_with_target(1100).unwrap(), (inner_use, 1100));
            group(&outer, &V2, "100000", 99_000, 0);
            let outer_use = Usage { used: 99_000, limit: Some(100_000) };
            assert_eq!(own.tightest_with_target(1100).unwrap(), (outer_use, 90_000));
        }

        #[test]
        fn version_2_is_bound_by_the_limit_at_which_it_is_throttled() {
            let mount = tempfile::tempdir().unwrap();
            let inner = mount.path().join("a");
            group(&inner, &V2, "5000", 1000, 0);
            let own = Cgroup::new(mount.path(), Path::new("/"), Path::new("/a"), &V2);
            for (high, limit) in [("max", 5000), ("3000", 3000), ("9000", 5000)] {
                write(&inner, "memory.high", high);
                assert_eq!(own.tightest().unwrap(), Usage { used: 1000, limit: Some(limit) });
            }
        }

        #[test]
        fn an_ancestor_without_hierarchy_binds_no_descendant() {
            let mount = tempfile::tempdir().unwrap();
            let (outer, inner) = (mount.path().join("a"), mount.path().join("a/b"));
            group(&outer, &V1, "5000", 4999, 0);
            group(&inner, &V1, "3000", 1000, 0);
            write(&outer, HIERARCHY, "0\n");
            let own = Cgroup::new(mount.path(), Path::new("/"), Path::new("/a/b"), &V1);
            assert_eq!(own.tightest().unwrap(), Usage { used: 1000, limit: Some(3000) });
            write(&outer, HIERARCHY, "1\n");
            assert_eq!(own.tightest().unwrap(), Usage { used: 4999, limit: Some(5000) });
        }

        #[test]
        fn an_ancestor_that_counts_no_use_is_skipped() {
            let mount = tempfile::tempdir().unwrap();
            let inner = mount.path().join("b");
            write(mount.path(), "memory.max", "10\n");
            group(&inner, &V2, "max", 1000, 100);
            let own = Cgroup::new(mount.path(), Path::new("/"), Path::new("/b"), &V2);
            assert_eq!(own.tightest().unwrap(), Usage { used: 900, limit: None });
        }

        #[test]
        fn version_1_without_a_limit_has_none() {
            let mount = tempfile::tempdir().unwrap();
            write(mount.path(), "memory.limit_in_bytes", "9223372036854771712\n");
            write(mount.path(), "memory.usage_in_bytes", "3000\n");
            write(mount.path(), "memory.stat", "inactive_file 1\ntotal_inactive_file 4000\n");
            let group = Cgroup::new(mount.path(), Path::new("/"), Path::new("/"), &V1);
            assert_eq!(group.tightest().unwrap(), Usage { used: 0, limit: None });
        }

        #[test]
        fn a_mount_of_a_part_of_the_hierarchy_is_the_root_of_paths() {
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
        fn malformed_files_are_an_error() {
            let mount = tempfile::tempdir().unwrap();
            let group = Cgroup::new(mount.path(), Path::new("/"), Path::new("/"), &V2);
            let missing = group.tightest().unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            assert!(missing.to_string().contains("/memory."), "{missing}");
            let cause = missing.source().expect("why it could not be read").to_string();
            assert!(!missing.to_string().contains(&cause), "{missing}: {cause}");
            for text in ["", "-1", "max", "12 bytes", "99999999999999999999999"] {
                write(mount.path(), "memory.current", text);
                assert_eq!(
                    group.tightest().unwrap_err().kind(),
                    io::ErrorKind::InvalidData,
                    "{text}"
                );
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_more_memory_after_an_allocation() {
        let before = ProcessMemory.read().unwrap();
        assert!(before.used > 100_000 && before.limit.is_none(), "{before:?}");
        let taken = vec![1_u8; 64 << 20];
        let after = ProcessMemory.read().unwrap();
        assert!(after.used > 64 << 20, "{after:?} with {}", taken.len());
    }

    #[test]
    fn the_cgroup_is_read_or_reported_missing() {
        match CgroupMemory.read() {
            Ok(usage) => assert!(usage.limit.is_none_or(|limit| limit > 0)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
        assert!(standard().read().is_ok());
    }
}
