//! What a server of a cluster says of it: its state, and which servers have which slots.

use crate::key::SLOTS;
use crate::transport::{Command, NodeAddress, Reply};

/// The cluster as one of its servers sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Whether the server thinks that the cluster works, and so knows which servers have which slots.
    pub(crate) is_ok: bool,
    /// The epoch of the server's own claim to its slots: of two claims, the one of the later epoch holds.
    pub(crate) epoch: u64,
    pub(crate) ranges: Vec<Range>,
}

/// Slots that follow each other and have the same master.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) master: NodeAddress,
}

impl View {
    /// The commands that ask for it. The state comes first: slots that change in between are newer than it.
    pub(crate) fn question() -> Vec<Command> {
        vec![Command::new("CLUSTER").arg("INFO"), Command::new("CLUSTER").arg("SLOTS")]
    }

    /// Understands the replies; `host` is that of the server that has answered, which may leave out its own.
    /// `None` if the server is none of a cluster, or says what cannot be understood.
    pub(crate) fn parse(replies: &[Reply], host: &str) -> Option<Self> {
        let [info, Reply::Array(ranges)] = replies else { return None };
        let (is_ok, epoch) = match info {
            Reply::Bytes(bytes) => {
                let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                let is_ok = lines.clone().any(|line| line == b"cluster_state:ok");
                let epoch = lines.find_map(|line| line.strip_prefix(b"cluster_my_epoch:"));
                let epoch = epoch.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
                (is_ok, epoch.unwrap_or(0))
            }
            // A server that keeps its state to itself is believed.
            Reply::Refused(_) => (true, 0),
            _ => return None,
        };
        let ranges = ranges.iter().map(|range| Range::parse(range, host)).collect::<Option<_>>()?;
        Some(Self { is_ok, epoch, ranges })
    }
}

impl Range {
    fn parse(reply: &Reply, host: &str) -> Option<Self> {
        let Reply::Array(parts) = reply else { return None };
        let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] = &parts[..]
        else {
            return None;
        };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        let [named, Reply::Integer(port), ..] = &master[..] else { return None };
        let named = match named {
            // `?` stands for a host whose name the server was not given.
            Reply::Bytes(bytes) if !bytes.is_empty() && bytes != b"?" => {
                std::str::from_utf8(bytes).ok()?
            }
            Reply::Bytes(_) | Reply::Nil => host,
            _ => return None,
        };
        let master = NodeAddress { host: named.to_owned(), port: u16::try_from(*port).ok()? };
        let is_right = first <= last && usize::from(last) < SLOTS;
        is_right.then_some(Self { first, last, master })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Reply, port: i64) -> Reply {
        let master =
            Reply::Array(vec![host, Reply::Integer(port), bytes("id"), Reply::Array(vec![])]);
        Reply::Array(vec![Reply::Integer(first), Reply::Integer(last), master])
    }

    #[test]
    fn a_view_is_understood_and_hosts_that_are_left_out_are_known() {
        let slots = [
            (bytes("10.0.0.1"), "10.0.0.1"),
            (bytes(""), "here"),
            (Reply::Nil, "here"),
            (bytes("?"), "here"),
        ];
        for (named, host) in slots {
            let replies = [
                bytes("cluster_state:ok\r\ncluster_my_epoch:7\r\n"),
                Reply::Array(vec![range(0, 16_383, named, 7000)]),
            ];
            let view = View::parse(&replies, "here").unwrap();
            let master = NodeAddress { host: host.to_owned(), port: 7000 };
            let ranges = vec![Range { first: 0, last: 16_383, master }];
            assert_eq!(view, View { is_ok: true, epoch: 7, ranges });
        }
        let down = [bytes("cluster_state:fail\r\n"), Reply::Array(vec![])];
        assert_eq!(
            View::parse(&down, "here"),
            Some(View { is_ok: false, epoch: 0, ranges: vec![] })
        );
    }

    #[test]
    fn what_is_no_view_is_refused() {
        let ok = || bytes("cluster_state:ok\r\n");
        for ranges in [
            Reply::Refused("ERR This instance has cluster support disabled".to_owned()),
            Reply::Nil,
            Reply::Array(vec![Reply::Nil]),
            Reply::Array(vec![range(5, 4, bytes("a"), 1)]),
            Reply::Array(vec![range(0, 16_384, bytes("a"), 1)]),
            Reply::Array(vec![range(-1, 4, bytes("a"), 1)]),
            Reply::Array(vec![range(0, 4, bytes("a"), 70_000)]),
            Reply::Array(vec![range(0, 4, Reply::Integer(1), 1)]),
            Reply::Array(vec![Reply::Array(vec![Reply::Integer(0), Reply::Integer(1)])]),
        ] {
            assert_eq!(View::parse(&[ok(), ranges], "here"), None);
        }
        assert_eq!(View::parse(&[], "here"), None);
    }
}
