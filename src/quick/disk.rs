//! Saving a [`QuickCache`] and its metrics to files, and loading it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CacheError;
use super::path::{FilePlan, Target};
use super::{QuickCache, QuickKey};
use crate::snapshot::contents::Contents;
use crate::snapshot::file::{Existing, open, write_atomically};
#[cfg(feature = "async")]
use crate::snapshot::future::on_a_thread;
use crate::snapshot::{LoadSummary, RestoreOptions, SaveOptions, SnapshotError};

/// The most names to try for a file with a timestamp.
const MAX_ATTEMPTS: u32 = 10_000;

impl<K: QuickKey, V: Send + Sync + 'static> QuickCache<V, K> {
    /// Saves all valid entries to the file of `target`, and returns its path. Missing folders are created.
    ///
    /// Other threads may use the cache meanwhile; [`Cache::save_to`](crate::Cache::save_to) says which of
    /// their changes are saved. The file appears whole or not at all, and until then an old one stays
    /// ([`Cache::save_to_path`](crate::Cache::save_to_path)).
    ///
    /// # Errors
    /// [`CacheError::CacheSave`].
    ///
    /// # Examples
    /// ```
    /// use larder::quick::{QuickCache, QuickCacheConfig, Target};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let config = QuickCacheConfig::builder().storage_dir(folder.path()).serializer("json").build()?;
    /// let cache: QuickCache<u32> = QuickCache::new(config)?;
    /// cache.set("a", 1, None)?;
    /// assert_eq!(cache.save_to_disk(Target::default())?, folder.path().join("cache_data.json"));
    /// cache.clear();
    /// cache.load_from_disk(Target::default())?;
    /// assert_eq!(cache.get("a")?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_to_disk(&self, target: impl Into<Target>) -> Result<PathBuf, CacheError>
    where
        V: Serialize + DeserializeOwned,
    {
        let target = target.into();
        let plan = self.file_plan();
        let path = plan.resolve(&target);
        let save = || {
            let serializer =
                self.inner.registry.serializers().get(&self.inner.config.serializer)?;
            let options = SaveOptions::new(serializer);
            write(&plan, &target, &path, |writer| {
                self.core().cache.save_to(writer, &options).map(|_| ())
            })
        };
        save().map_err(|source| CacheError::CacheSave { filepath: path.clone(), source })
    }

    /// Replaces all entries of the cache by the valid ones in the file of `target`, and resets all metrics.
    ///
    /// The whole file is read and checked before anything is changed. Then all old entries are removed, and
    /// the new ones are inserted the coldest first, so that the hottest remain if there are too many. Other
    /// threads may see the cache with a part of them.
    ///
    /// # Errors
    /// [`CacheError::CacheLoad`]. Entries and metrics are unchanged in that case.
    pub fn load_from_disk(&self, target: impl Into<Target>) -> Result<LoadSummary, CacheError>
    where
        V: DeserializeOwned,
    {
        let path = self.file_plan().resolve(&target.into());
        let core = self.core();
        let load = || {
            let options =
                RestoreOptions::new().serializers(self.inner.registry.serializers().clone());
            Contents::read(&core.cache, open(&path)?, &options)
        };
        let contents =
            load().map_err(|source| CacheError::CacheLoad { filepath: path.clone(), source })?;
        core.cache.clear();
        let loaded = contents.put_in();
        self.reset_metrics();
        Ok(loaded)
    }

    /// Writes [the metrics](Self::get_metrics_snapshot) to the file of `target`, whole or not at all, and
    /// returns its path. Missing folders are created.
    ///
    /// # Errors
    /// [`CacheError::CacheMetricsSave`].
    pub fn save_metrics_to_disk(&self, target: impl Into<Target>) -> Result<PathBuf, CacheError> {
        let (config, target) = (&self.inner.config, target.into());
        let serializer = self.inner.registry.serializers().get(&config.metrics_serializer);
        let extension = serializer.as_ref().map_or("", |serializer| serializer.extension());
        let plan = FilePlan {
            folder: &config.metrics_storage_dir,
            name: &config.metrics_filename,
            extension,
            is_stamped: config.cache_metrics_timestamps,
        };
        let path = plan.resolve(&target);
        let save = || {
            let serializer = serializer.as_ref().map_err(|error| error.clone())?;
            let mut bytes = Vec::new();
            let metrics = self.get_metrics_snapshot();
            serializer.serialize(&metrics, &mut bytes).map_err(SnapshotError::Serialize)?;
            write(&plan, &target, &path, |writer| Ok(writer.write_all(&bytes)?))
        };
        save().map_err(|source| CacheError::CacheMetricsSave { filepath: path.clone(), source })
    }

    /// As [`save_to_disk`](Self::save_to_disk), on a new thread, which starts with this call. Works with
    /// every runtime.
    ///
    /// # Errors
    /// As `save_to_disk`.
    #[cfg(feature = "async")]
    pub fn save_to_disk_async(
        &self,
        target: impl Into<Target>,
    ) -> impl Future<Output = Result<PathBuf, CacheError>> + Send + 'static
    where
        V: Serialize + DeserializeOwned,
    {
        let (cache, target) = (self.clone(), target.into());
        let filepath = self.file_plan().resolve(&target);
        let done = on_a_thread(move || cache.save_to_disk(target));
        async move {
            done.await.unwrap_or_else(|error| {
                Err(CacheError::CacheSave { filepath, source: error.into() })
            })
        }
    }

    /// As [`load_from_disk`](Self::load_from_disk), on a new thread, which starts with this call. Works with
    /// every runtime.
    ///
    /// # Errors
    /// As `load_from_disk`.
    #[cfg(feature = "async")]
    pub fn load_from_disk_async(
        &self,
        target: impl Into<Target>,
    ) -> impl Future<Output = Result<LoadSummary, CacheError>> + Send + 'static
    where
        V: DeserializeOwned,
    {
        let (cache, target) = (self.clone(), target.into());
        let filepath = self.file_plan().resolve(&target);
        let done = on_a_thread(move || cache.load_from_disk(target));
        async move {
            done.await.unwrap_or_else(|error| {
                Err(CacheError::CacheLoad { filepath, source: error.into() })
            })
        }
    }

    fn file_plan(&self) -> FilePlan<'_> {
        let config = &self.inner.config;
        FilePlan {
            folder: &config.storage_dir,
            name: &config.filename,
            extension: &self.inner.extension,
            is_stamped: config.cache_timestamps,
        }
    }
}

/// Writes to `path`, or to the first of its names with a timestamp that is free.
fn write(
    plan: &FilePlan<'_>,
    target: &Target,
    path: &Path,
    fill: impl Fn(&mut dyn Write) -> Result<(), SnapshotError>,
) -> Result<PathBuf, SnapshotError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    if !plan.is_stamped(target) {
        write_atomically(path, Existing::Replace, |writer| fill(writer))?;
        return Ok(path.to_owned());
    }
    for attempt in 0..MAX_ATTEMPTS {
        let stamped = plan.stamp(path, attempt);
        // Checked first, because all entries are written before the name is claimed.
        if stamped.exists() {
            continue;
        }
        match write_atomically(&stamped, Existing::Keep, |writer| fill(writer)) {
            Ok(()) => return Ok(stamped),
            Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists).into())
}
