//! Files that appear whole or not at all.
//!
//! Only regular files are read and replaced. A rename over a FIFO, a socket or a device destroys it, and
//! opening a FIFO waits for another process. So the kind of a file is checked before it is opened, it is opened
//! without blocking, and its kind is checked again once it is open.
#![forbid(unsafe_code)]

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::SnapshotError;

/// What to do with an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    /// Fails with [`io::ErrorKind::AlreadyExists`].
    #[allow(dead_code, reason = "only names with a timestamp, which not every build has, need it")]
    Keep,
}

/// The most symbolic links that are followed from one name, as on Linux.
const MAX_LINKS: u32 = 40;

/// Lets `write` fill a new file, which then takes the name `path` in one step.
///
/// The file is written beside `path` under another name, flushed to the disk and renamed, and the folder is
/// flushed, too: after a crash at any moment the old file or the new one exists. The new file gets the
/// permissions of the old one; without an old one, only its owner can use it. If `path` is a symbolic link,
/// the link stays, and its target is replaced or created.
pub(crate) fn write_atomically<R>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<R, SnapshotError>,
) -> Result<R, SnapshotError> {
    let path = behind_links(path)?;
    let folder = folder_of(&path);
    let old = match fs::metadata(&path) {
        Ok(old) => {
            check_regular(old.file_type())?;
            Some(old.permissions())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let mut file = NamedTempFile::with_prefix_in(".larder-", &folder)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let result = write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    if let Some(permissions) = old {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    // Meanwhile another process may have created a file of another kind there.
    if let Ok(old) = fs::symlink_metadata(&path) {
        check_regular(old.file_type())?;
    }
    match existing {
        Existing::Replace => file.persist(&path).map_err(|error| error.error)?,
        Existing::Keep => file.persist_noclobber(&path).map_err(|error| error.error)?,
    };
    sync_folder(&folder)?;
    Ok(result)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes a rename durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// On other systems a folder cannot be opened to flush it.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The path behind all symbolic links of `path`, also if the last one leads to a file that does not exist yet.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                path = folder_of(&path).join(fs::read_link(&path)?);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Opens a regular file for reading, without ever waiting for another process.
pub(crate) fn open(path: &Path) -> Result<File, SnapshotError> {
    // Checked before the file is opened, because opening a device can have effects.
    check_regular(fs::metadata(path)?.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, NONBLOCK);
    let file = options.open(path)?;
    // The file may have been replaced since the check above.
    check_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// `O_NONBLOCK`, with which opening a FIFO returns at once, and which has no effect on a regular file; 0 for
/// systems whose value is not listed here.
#[cfg(unix)]
const NONBLOCK: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        0x80
    } else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        0x4000
    } else {
        0x800
    }
} else if cfg!(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)) {
    0x4
} else {
    0
};

/// Refuses everything but a regular file.
fn check_regular(kind: FileType) -> Result<(), SnapshotError> {
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    Err(SnapshotError::NotAFile { kind: special(kind) })
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if kind.is_fifo() => "FIFO",
        () if kind.is_socket() => "socket",
        () if kind.is_char_device() => "character device",
        () if kind.is_block_device() => "block device",
        () if kind.is_symlink() => "symbolic link",
        () => "special file",
    }
}

#[cfg(not(unix))]
fn special(_kind: FileType) -> &'static str {
    "special file"
}
