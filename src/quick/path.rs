//! The paths of a quick cache's files.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use chrono::Local;

/// A file to save to or to load from, and whether its name gets a timestamp.
///
/// - The default, or an empty path, means the configuration's file in the configuration's folder.
/// - The path of an existing folder means the configuration's file in that folder.
/// - A bare name means a file in the configuration's folder.
/// - Every other path is taken as it is.
///
/// The serializer's extension replaces that of the name. Only a suffix that begins with a letter and has up
/// to eight letters and digits counts as an extension, so `x.dat` becomes `x.bincode`, but `v1.2` becomes
/// `v1.2.bincode`. A relative path is relative to the current folder.
///
/// # Examples
/// ```
/// use larder::quick::Target;
///
/// let here = Target::from("backup.dat");
/// let stamped = Target::from("backup").with_timestamp();
/// let default = Target::default();
/// # let _ = (here, stamped, default);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    path: Option<PathBuf>,
    is_stamped: Option<bool>,
}

impl Target {
    /// Adds the local date and time to the name, as in `name_YYYYmmdd_HHMMSS_srr`. No file is overwritten
    /// then: if the name is taken, it gets a number too.
    #[must_use]
    pub fn with_timestamp(mut self) -> Self {
        self.is_stamped = Some(true);
        self
    }

    /// Adds no timestamp, even if the configuration does.
    #[must_use]
    pub fn without_timestamp(mut self) -> Self {
        self.is_stamped = Some(false);
        self
    }
}

impl From<&str> for Target {
    fn from(path: &str) -> Self {
        Self::from(Path::new(path))
    }
}

impl From<&Path> for Target {
    fn from(path: &Path) -> Self {
        Self::from(path.to_owned())
    }
}

impl From<PathBuf> for Target {
    fn from(path: PathBuf) -> Self {
        Self { path: Some(path).filter(|path| !path.as_os_str().is_empty()), is_stamped: None }
    }
}

impl From<&PathBuf> for Target {
    fn from(path: &PathBuf) -> Self {
        Self::from(path.clone())
    }
}

impl From<Option<&str>> for Target {
    fn from(path: Option<&str>) -> Self {
        path.map_or_else(Self::default, Self::from)
    }
}

/// The settings of the configuration for files of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilePlan<'c> {
    pub(super) folder: &'c Path,
    pub(super) name: &'c str,
    pub(super) extension: &'c str,
    pub(super) is_stamped: bool,
}

impl FilePlan<'_> {
    /// The file of `target`, without a timestamp.
    pub(super) fn resolve(&self, target: &Target) -> PathBuf {
        let path = match &target.path {
            None => self.folder.join(self.name),
            Some(path) if path.is_dir() => path.join(self.name),
            Some(path) => match path.file_name() {
                Some(name) if path.as_path() == Path::new(name) => self.folder.join(name),
                _ => path.clone(),
            },
        };
        let default = || OsString::from(self.name);
        let name = path.file_name().map_or_else(default, OsString::from);
        // The configuration's name has no extension to replace.
        let is_own = target.path.as_ref().is_none_or(|given| given.is_dir());
        let mut stem = match Path::new(&name).extension().and_then(|it| it.to_str()) {
            Some(extension) if !is_own && is_extension(extension) => {
                Path::new(&name).file_stem().map_or(name.clone(), OsString::from)
            }
            _ => name,
        };
        stem.push(".");
        stem.push(self.extension);
        path.with_file_name(stem)
    }

    /// Whether `target` gets a timestamp.
    pub(super) fn is_stamped(&self, target: &Target) -> bool {
        target.is_stamped.unwrap_or(self.is_stamped)
    }

    /// `path` with a timestamp in its name, and with a number from the second attempt on.
    pub(super) fn stamp(&self, path: &Path, attempt: u32) -> PathBuf {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(&format!(".{}", self.extension)).unwrap_or(&name);
        let time = Local::now().format("%Y%m%d_%H%M%S");
        let number = if attempt == 0 { String::new() } else { format!("-{}", attempt + 1) };
        path.with_file_name(format!("{stem}_{time}_srr{number}.{}", self.extension))
    }
}

fn is_extension(suffix: &str) -> bool {
    suffix.len() <= 8
        && suffix.starts_with(|first: char| first.is_ascii_alphabetic())
        && suffix.chars().all(|other| other.is_ascii_alphanumeric())
}
