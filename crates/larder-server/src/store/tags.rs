//! The tags of keys.
#![forbid(unsafe_code)]

use larder::UpdateOptions;

use super::{Db, Store};
use crate::error::CommandError;
use crate::value::Value;

impl Db<'_> {
    /// Gives a key these tags in place of those that it has, and says whether the key has a value. Value and
    /// lifetime stay.
    ///
    /// # Errors
    /// There are too many tags, or one is reserved. Nothing has changed.
    pub(crate) fn set_tags(&self, key: &[u8], tags: &[&str]) -> Result<bool, CommandError> {
        let options = UpdateOptions::new().keep_lifetime().tags(tags);
        let updated = self.with_stored(key, |stored| {
            let rewrite = |value: &Value| value.clone().written_by_command();
            self.store.cache().update_and_read(stored, options, rewrite, |_, _| ())
        });
        match updated {
            Ok(None) => Ok(false),
            // Copies of the value are as good as before, so nobody is notified.
            Ok(Some(())) => Ok(true),
            Err(larder::Rejection::TooManyTags { limit }) => {
                Err(CommandError::other(format!("ERR a key has at most {limit} tags")))
            }
            Err(larder::Rejection::ReservedTag) => {
                Err(CommandError::other("ERR a tag must not begin with a zero byte"))
            }
            Err(rejection) => Err(CommandError::NotStored(rejection)),
        }
    }

    /// The tags of a key; `None` if it has no value.
    pub(crate) fn tags(&self, key: &[u8]) -> Option<Vec<String>> {
        self.with_stored(key, |stored| self.store.cache().tags_of(stored))
    }
}

impl Store {
    /// Removes all entries that carry one of these tags, and says how many of the tags any entry carried.
    ///
    /// From now on no lookup finds the entries; they leave the cache later. The cache does not know which they are, so
    /// clients that keep copies have to drop all of them.
    pub(crate) fn invalidate_tags<'t>(&self, tags: impl Iterator<Item = &'t str>) -> usize {
        let carried = tags.filter(|tag| self.cache().invalidate_tag(*tag)).count();
        if carried > 0 {
            self.hub().note_flush(None);
        }
        carried
    }
}
