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
            // It cannot save its data, and refuses `PING` and writes until it can. Its reply came after all that it has
            // pushed, as ever.
            Some(Reply::Refused(refusal)) if refusal.starts_with("MISCONF") => Verdict::Proven,
            Some(Reply::Refused(_)) | None => Verdict::Wrong,
            Some(_) => Verdict::Proven,
        }
    }

    fn may_lose_keys(&self) -> bool {
        false
    }

    fn is_away(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::redis_crate::RedisTransport;

    #[test]
    fn a_server_that_cannot_save_is_still_the_one() {
        let single = Single(Box::new(RedisTransport::new("redis://127.0.0.1:1", b"").unwrap()));
        let refused = |refusal: &str| single.judge(&[Reply::Refused(refusal.to_owned())]);
        assert_eq!(refused("MISCONF Redis is configured to save RDB snapshots"), Verdict::Proven);
        assert_eq!(refused("NOAUTH Authentication required."), Verdict::Wrong);
        assert_eq!(single.judge(&[Reply::Status("PONG".to_owned())]), Verdict::Proven);
        assert_eq!(single.judge(&[]), Verdict::Wrong);
    }
}
