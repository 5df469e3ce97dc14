//! Which configurations are refused, and the defaults.

use std::path::PathBuf;

use larder::quick::{ConfigError, QuickCache, QuickCacheConfig};

use super::Fixture;

fn refused(change: impl FnOnce(&mut QuickCacheConfig)) -> String {
    let mut config = QuickCacheConfig::default();
    change(&mut config);
    let error = QuickCache::<i64>::new(config).unwrap_err();
    assert!(matches!(error, ConfigError::BadValue { .. } | ConfigError::Name { .. }));
    error.to_string()
}

cases! {
    config_defaults_are_those_of_the_contract {
        let json = serde_json::to_value(QuickCacheConfig::default()).unwrap();
        assert_eq!(json, serde_json::json!({
            "max_size": 50, "default_ttl": 500.0, "cleanup_interval": 50.0,
            "eviction_policy": "lru", "serializer": "bincode", "storage_dir": "cache_storage",
            "filename": "cache_data", "cache_timestamps": false, "enable_metrics": true,
            "metrics_serializer": "json", "metrics_storage_dir": "cache_metrics",
            "metrics_filename": "metrics", "cache_metrics_timestamps": false,
        }));
    }
    config_is_read_from_toml {
        let text = "max_size = 7\ndefault_ttl = 1.5\neviction_policy = \"LFU\"\n";
        let config: QuickCacheConfig = toml::from_str(text).unwrap();
        assert_eq!((config.max_size, config.default_ttl), (7, 1.5));
        let cache: QuickCache<i64> = QuickCache::new(config).unwrap();
        assert_eq!(cache.to_string(), "<QuickCache(size=0, max_size=7, policy='lfu')>");
    }
    config_is_read_from_json_without_cleanup {
        let config: QuickCacheConfig = serde_json::from_str(r#"{"cleanup_interval": null}"#).unwrap();
        assert_eq!(config.cleanup_interval, None);
    }
    config_refuses_an_unknown_field {
        assert!(serde_json::from_str::<QuickCacheConfig>(r#"{"maximum": 1}"#).is_err());
    }
    config_refuses_max_size_zero {
        assert_eq!(refused(|it| it.max_size = 0), "max_size is 0; use a whole number from 1 up to 2147482623");
    }
    config_refuses_default_ttl_zero { assert!(refused(|it| it.default_ttl = 0.0).starts_with("default_ttl is 0; ")); }
    config_refuses_default_ttl_negative { assert!(refused(|it| it.default_ttl = -1.0).starts_with("default_ttl is -1; ")); }
    config_refuses_default_ttl_nan { assert!(refused(|it| it.default_ttl = f64::NAN).starts_with("default_ttl is NaN; ")); }
    config_refuses_default_ttl_infinite { assert!(refused(|it| it.default_ttl = f64::INFINITY).starts_with("default_ttl is inf; ")); }
    config_refuses_cleanup_interval_zero {
        assert!(refused(|it| it.cleanup_interval = Some(0.0)).starts_with("cleanup_interval is 0; "));
    }
    config_refuses_cleanup_interval_negative {
        assert!(refused(|it| it.cleanup_interval = Some(-1.0)).starts_with("cleanup_interval is -1; "));
    }
    config_refuses_an_unknown_metrics_serializer {
        let error = refused(|it| it.metrics_serializer = "x".to_owned());
        assert!(error.starts_with("metrics_serializer: unknown serializer `x`"), "{error}");
    }
    config_refuses_a_filename_with_a_folder {
        assert!(refused(|it| it.filename = "a/b".to_owned()).starts_with("filename is `a/b`; "));
    }
    config_refuses_an_empty_metrics_filename {
        assert!(refused(|it| it.metrics_filename = String::new()).starts_with("metrics_filename is ``; "));
    }
    config_refuses_an_empty_storage_dir {
        assert!(refused(|it| it.storage_dir = PathBuf::new()).starts_with("storage_dir is ``; "));
    }
    config_stays_readable_from_the_cache {
        assert_eq!(Fixture::new(9, "fifo").cache.config().max_size, 9);
    }
}
