//! Why a load gave its caller no value.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a call that loads a missing value returned none.
///
/// # Examples
/// ```
/// use larder::{Cache, LoadError};
///
/// let cache: Cache<u64, u64> = Cache::new(100);
/// let failed = cache.try_get_or_insert_with(&1, || "1x".parse::<u64>());
/// match failed {
///     Err(LoadError::Failed(error)) => assert!(error.to_string().contains("invalid digit")),
///     _ => unreachable!("the loader has failed"),
/// }
/// // Nothing was stored, so the next call loads.
/// assert_eq!(cache.try_get_or_insert_with(&1, || "1".parse::<u64>()), Ok(1));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E = Infallible> {
    /// The loader has returned this error. All callers that waited for that loader share it.
    Failed(Arc<E>),
    /// The call came from within the loader of the same key, on the same thread or in the same task, and
    /// would have waited for itself.
    Reentrant,
    /// The [deadline](crate::LoadOptions::load_deadline) of this call has passed. The load goes on if
    /// another caller leads it.
    DeadlineExceeded,
    /// The cache's [hard timeout](crate::Builder::hard_timeout) has passed. The load goes on.
    TimedOut,
    /// There is no value for the key: the loader of a [`LoadingCache`](crate::LoadingCache) has said so, a loader
    /// of several keys has returned none for this one, or a loader has answered that a stale value is still right
    /// though there was none.
    NotLoaded,
}

impl<E> LoadError<E> {
    /// The error that the loader has returned, if it has returned one.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, LoadError};
    ///
    /// let cache: Cache<u64, u64> = Cache::new(100);
    /// let error = cache.try_get_or_insert_with(&1, || Err("no connection")).unwrap_err();
    /// assert_eq!(error.loader_error(), Some(&"no connection"));
    /// ```
    #[must_use]
    pub fn loader_error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The error that the loader has returned, to be passed on as the caller's own, and otherwise this error.
    /// Callers that waited for the same loader share it, hence the `Arc`.
    ///
    /// # Errors
    /// Itself, if it is not [`Failed`](Self::Failed).
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use larder::{Cache, LoadError};
    ///
    /// let cache: Cache<u64, u64> = Cache::new(100);
    /// let failed = cache.try_get_or_insert_with(&1, || "1x".parse::<u64>()).unwrap_err();
    /// let error: Arc<std::num::ParseIntError> = failed.into_loader_error().unwrap();
    /// assert_eq!(error.kind(), &std::num::IntErrorKind::InvalidDigit);
    /// ```
    pub fn into_loader_error(self) -> Result<Arc<E>, Self> {
        match self {
            Self::Failed(error) => Ok(error),
            other => Err(other),
        }
    }
}

/// An `Arc` is cloned, not the error.
impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Reentrant => Self::Reentrant,
            Self::DeadlineExceeded => Self::DeadlineExceeded,
            Self::TimedOut => Self::TimedOut,
            Self::NotLoaded => Self::NotLoaded,
        }
    }
}

impl<E: PartialEq> PartialEq for LoadError<E> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(error), Self::Failed(other)) => error == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl<E: Eq> Eq for LoadError<E> {}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the loader failed: {error}"),
            Self::Reentrant => f.write_str("the loader of a key asked for the same key"),
            Self::DeadlineExceeded => {
                f.write_str("the deadline of the call passed during the load")
            }
            Self::TimedOut => f.write_str("the load took longer than the cache's hard timeout"),
            Self::NotLoaded => f.write_str("the loader returned no value for the key"),
        }
    }
}

/// The displayed message includes that of the loader's error, so the [`source`](Error::source) is the source of that
/// error. [`loader_error`](LoadError::loader_error) returns the error itself.
impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{CounterError, Rejection};

    #[test]
    fn a_chain_of_errors_names_each_of_them_once() {
        // An error with a cause of its own.
        let failed = LoadError::Failed(Arc::new(CounterError::Rejected(Rejection::Stale)));
        let mut chain = vec![failed.to_string()];
        let mut cause = failed.source();
        while let Some(error) = cause {
            chain.push(error.to_string());
            cause = error.source();
        }
        let own = CounterError::Rejected(Rejection::Stale).to_string();
        assert_eq!(chain, [format!("the loader failed: {own}"), Rejection::Stale.to_string()]);
        assert!(failed.into_loader_error().is_ok());
        let timed_out = LoadError::<CounterError>::TimedOut;
        assert!(timed_out.source().is_none());
        assert_eq!(timed_out.into_loader_error(), Err(LoadError::TimedOut));
    }
}
