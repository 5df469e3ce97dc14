//! Which error is returned, with which message and code.

use larder::quick::Target;

use super::Fixture;

cases! {
    key_not_found_has_message_and_key {
        let error = Fixture::missing().cache.get("k").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.key()), ("Key 'k' not found", Some("k")));
    }
    key_expired_has_message_and_key {
        let error = Fixture::expired().cache.get("k").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.key()), ("Key 'k' has expired", Some("k")));
    }
    key_already_exists_has_message_and_key {
        let error = Fixture::valid().cache.add("k", 1, None).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.key()), ("Key 'k' already exists", Some("k")));
    }
    cache_load_error_has_message_path_and_cause {
        let it = Fixture::missing();
        let error = it.cache.load_from_disk(Target::default()).unwrap_err();
        let path = it.folder.path().join("storage/cache_data.bincode");
        assert_eq!((error.code(), error.filepath()), ("CACHE_LOAD_ERROR", Some(path.as_path())));
        let start = format!("Failed to load cache from disk: {} | ", path.display());
        assert!(error.to_string().starts_with(&start), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    cache_save_error_has_message_path_and_cause {
        let it = Fixture::missing();
        let path = it.folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = it.cache.save_to_disk(path.join("below/x")).unwrap_err();
        assert_eq!(error.code(), "CACHE_SAVE_ERROR");
        assert_eq!(error.filepath(), Some(path.join("below/x.bincode").as_path()));
        assert!(error.to_string().starts_with("Failed to save cache to disk: "), "{error}");
    }
    cache_metrics_save_error_has_message_path_and_cause {
        let it = Fixture::missing();
        let path = it.folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = it.cache.save_metrics_to_disk(path.join("below/x")).unwrap_err();
        let shown = path.join("below/x.json");
        assert_eq!(error.code(), "CACHE_METRICS_SAVE_ERROR");
        assert_eq!(
            error.to_string(),
            format!("Failed to save cache metrics to disk: {}", shown.display())
        );
        assert!(std::error::Error::source(&error).is_some());
    }
    the_display_names_size_bound_and_policy {
        let it = Fixture::valid();
        assert_eq!(it.cache.to_string(), "<QuickCache(size=1, max_size=50, policy='lru')>");
    }
}
