//! The policies and serializers of quick caches, by name.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::policy::Policy;
use crate::snapshot::serializer::check_name;
use crate::snapshot::{RegistryError, Serializer, Serializers};

const WHAT: &str = "eviction policy";

/// The policies and serializers that a configuration can name. A clone is an independent registry.
///
/// # Examples
/// ```
/// use larder::policy::{Fifo, Policy};
/// use larder::quick::{QuickCache, QuickCacheConfig, Registry};
///
/// let mut registry = Registry::standard();
/// registry.register_policy(Policy::custom("mine", |config| Box::new(Fifo::new(config))))?;
/// let config = QuickCacheConfig::builder().eviction_policy("Mine").build_with(&registry)?;
/// let cache: QuickCache<u32> = QuickCache::builder(config).registry(registry).build()?;
/// cache.set("a", 1, None)?;
///
/// let error = Registry::standard().policy("mine").unwrap_err();
/// assert!(error.to_string().starts_with("unknown eviction policy `mine`; available: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    own: Vec<(String, Policy)>,
    serializers: Serializers,
}

impl Registry {
    /// The policies and serializers of the library, and the policies that the process has
    /// [registered](crate::register_policy).
    #[must_use]
    pub fn standard() -> Self {
        Self { own: Vec::new(), serializers: Serializers::standard() }
    }

    /// Adds a policy under its name.
    ///
    /// # Errors
    /// If the name is taken or not valid.
    pub fn register_policy(&mut self, policy: Policy) -> Result<(), RegistryError> {
        let name = check_name(WHAT, policy.name(), self.policy_names().collect())?;
        self.own.push((name, policy));
        Ok(())
    }

    /// Adds a serializer under its name.
    ///
    /// # Errors
    /// If the name is taken or not valid.
    pub fn register_serializer(
        &mut self,
        serializer: Arc<dyn Serializer>,
    ) -> Result<(), RegistryError> {
        self.serializers.register(serializer)
    }

    /// The policy of that name, in any case.
    ///
    /// # Errors
    /// If there is none; the error lists the names of all policies.
    pub fn policy(&self, name: &str) -> Result<Policy, RegistryError> {
        if let Some((_, policy)) = self.own.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            return Ok(policy.clone());
        }
        if Policy::names().any(|known| known.eq_ignore_ascii_case(name)) {
            return Ok(Policy::named(name));
        }
        let known = self.policy_names().collect();
        Err(RegistryError::Unknown { what: WHAT, given: name.to_owned(), known })
    }

    /// The names of all policies.
    pub fn policy_names(&self) -> impl Iterator<Item = String> {
        Policy::names().chain(self.own.iter().map(|(name, _)| name.clone()))
    }

    /// All serializers.
    #[must_use]
    pub fn serializers(&self) -> &Serializers {
        &self.serializers
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::standard()
    }
}
