//! One server, whose address does not change.

use std::sync::Arc;

use crate::link::{Guide, Verdict};
use crate::transport::{Command, Opened, PushSink, Reply, Tracking, Transport, TransportFuture};

/// Leads a link to the one server.
pub(crate) struct Single(pub(crate) Box<dyn Transport>);

impl Guide for Single {
    fn open<'g>(
        &'g self,
        tracking: &'g Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'g, Opened> {
        self.0.open(None, tracking, pushes)
    }

    fn beat(&self) -> Vec<Command> {
        vec![Command::new("PING")]
    }

    fn judge(&self, replies: &[Reply]) -> Verdict {
        match replies.first() {
            Some(Reply::Refused(_)) | None => Verdict::Wrong,
            Some(_) => Verdict::Proven,
        }
    }

    fn may_lose_keys(&self) -> bool {
        false
    }

    fn is_away(&self) {}
}
