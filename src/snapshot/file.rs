//! Files that are there whole, or not at all.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::SnapshotError;

/// What a file that is there already means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    /// Fails with [`io::ErrorKind::AlreadyExists`].
    #[cfg_attr(not(feature = "quick"), expect(dead_code, reason = "for names with a timestamp"))]
    Keep,
}

/// Lets `write` fill a new file, which then takes the name `path` at once.
///
/// The file is written beside `path` under another name, flushed to the disk, renamed, and the
/// folder flushed too: after a crash at any moment there is the old file or the new one. It gets the
/// permissions of the old one, if there was one, else such that only its owner can use it.
pub(crate) fn write_atomically<R>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<R, SnapshotError>,
) -> Result<R, SnapshotError> {
    // Through links, so that the link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(&path);
    let old = match fs::metadata(&path) {
        Ok(old) if old.is_dir() => {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        }
        Ok(old) => Some(old.permissions()),
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

/// Makes a rename last.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere folders cannot be opened for that.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Opens a file to be read; a folder is an error already here.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}
