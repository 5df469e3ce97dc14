//! A cluster: which of its servers has which slots, and the links to those.
//!
//! The lease says which node has a slot ([`crate::lease::Lease::owner`]); this module decides when that changes.
//!
//! | who says so | what | is believed |
//! |---|---|---|
//! | a node, with each beat | that another has one of its slots | yes, if it finds the cluster in order |
//! | a node, with each beat | that it has a slot | the same, if its epoch is not before that of the one thought to have it |
//! | a node, with each beat | which of two others has a slot | if the one thought to have it cannot be reached |
//! | a node or a seed, when something is amiss | which node has a slot | the same |
//! | `MOVED`, for a command | which node has the slot | yes |
//! | `ASK`, for a command | which node to ask this once | for this command, whose value is not held |
//!
//! The epoch is what servers go by among themselves: a master that was cut off, and comes back after another one has
//! taken over, claims its slots until it learns of that.
//!
//! A node's lease is extended only by its own word that it still has its slots: a server that was demoted, or that
//! was cut off from the majority, keeps answering `PING`. When a slot gets another owner, its generation ends, and
//! with it all that memory has of the slot.
//!
//! While a slot is being moved, its owner still answers for the keys that it has, and for those that it has given
//! away it says `ASK`. It does not notify anyone of a key that is created at the new place. So that a key is absent
//! is believed for `max_stale` at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::view::View;
use crate::error::{NearError, TransportError};
use crate::key::SLOTS;
use crate::lease::{NOBODY, NodeId};
use crate::link::{Common, Guide, Link, Verdict};
use crate::stats::{add, count};
use crate::transport::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Redirect, Reply, Tracking, Transport,
    TransportFuture, Unheard,
};

/// The pauses between attempts to find out who has the slots, when something is amiss.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often that is asked for when all is well, in addition to the beats.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// A server that is asked when no node is known, or none answers.
pub(crate) struct Seed {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) host: String,
}

/// The nodes of one cluster.
pub(crate) struct Cluster {
    common: Arc<Common>,
    /// The first one's transport opens the connections to all nodes.
    seeds: Vec<Seed>,
    nodes: Mutex<Nodes>,
    /// The nodes have changed, or an attempt to find them has failed.
    changed: Notify,
    /// Something is amiss.
    wake: Notify,
    itself: Weak<Self>,
}

#[derive(Default)]
struct Nodes {
    /// By their numbers in the lease.
    known: Vec<Option<Node>>,
    is_loaded: bool,
    /// Why the latest attempt to learn of the nodes has failed, as long as none has succeeded.
    failure: Option<TransportError>,
    is_closed: bool,
}

#[derive(Clone)]
struct Node {
    address: NodeAddress,
    link: Arc<Link>,
    /// The epoch of its claim to slots, as it has said last.
    epoch: u64,
}

/// Leads a link to one node.
struct ToNode {
    cluster: Weak<Cluster>,
    node: NodeId,
    address: NodeAddress,
}

impl Cluster {
    pub(crate) fn new(common: Arc<Common>, seeds: Vec<Seed>) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            common,
            seeds,
            nodes: Mutex::default(),
            changed: Notify::new(),
            wake: Notify::new(),
            itself: Weak::clone(itself),
        })
    }

    /// No user code runs under this lock. The lock of the lease is taken within it, and that of a link.
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link to the node that has `slot`.
    pub(crate) async fn link(&self, slot: u16) -> Result<(NodeId, Arc<Link>), NearError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on, a change is not missed.
            changed.as_mut().enable();
            {
                let nodes = self.nodes();
                if nodes.is_closed {
                    return Err(NearError::Closed);
                }
                let owner = self.common.lease.owner(slot);
                if let Some(node) = nodes.node(owner) {
                    return Ok((owner, Arc::clone(&node.link)));
                }
                if nodes.is_loaded {
                    return Err(NearError::Unserved { slot });
                }
                if let Some(failure) = &nodes.failure {
                    return Err(NearError::Down(failure.clone()));
                }
            }
            changed.await;
        }
    }

    /// A call for `slot` was not answered in time.
    pub(crate) fn doubt(&self, slot: u16) {
        let owner = self.common.lease.owner(slot);
        if let Some(node) = self.nodes().node(owner) {
            node.link.doubt();
        }
    }

    /// The links to the nodes that have slots, in the order of their numbers.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let owners = self.common.lease.owners();
        let nodes = self.nodes();
        let mut is_owner = vec![false; nodes.known.len()];
        for owner in owners {
            if let Some(is_owner) = is_owner.get_mut(usize::from(owner)) {
                *is_owner = true;
            }
        }
        let known = nodes.known.iter().zip(is_owner).filter(|(_, is_owner)| *is_owner);
        known.filter_map(|(node, _)| node.as_ref()).map(|node| Arc::clone(&node.link)).collect()
    }

    /// Waits until the nodes are known, and each was reached or not.
    pub(crate) async fn first_connection(&self) -> Result<(), NearError> {
        // Which slot is asked for does not matter.
        match self.link(0).await {
            Ok(_) | Err(NearError::Unserved { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut first_error = None;
        let mut is_any_reached = false;
        for link in self.links() {
            match link.first_connection().await {
                Ok(()) => is_any_reached = true,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) if !is_any_reached => Err(error),
            _ => Ok(()),
        }
    }

    /// `ASK` was the reply of `from` for a command. Returns the link to where it leads.
    pub(crate) fn asked(&self, redirect: &Redirect, from: NodeId) -> Result<Arc<Link>, NearError> {
        let mut nodes = self.nodes();
        let node = self.redirected(&mut nodes, redirect, from)?;
        let link = nodes.node(node).map(|node| Arc::clone(&node.link));
        link.ok_or(NearError::Closed)
    }

    /// `MOVED` was the reply of `from`: the slot is another node's from here on.
    pub(crate) fn moved(&self, redirect: &Redirect, from: NodeId) -> Result<(), NearError> {
        let mut nodes = self.nodes();
        let node = self.redirected(&mut nodes, redirect, from)?;
        // Under the lock, so that the node is not removed as one without slots.
        let moved = self.common.lease.assign(std::iter::once((redirect.slot, node)));
        drop(nodes);
        self.have_moved(moved);
        self.wake.notify_one();
        Ok(())
    }

    fn redirected(
        &self,
        nodes: &mut Nodes,
        redirect: &Redirect,
        from: NodeId,
    ) -> Result<NodeId, NearError> {
        count(&self.common.counters.redirections);
        if nodes.is_closed {
            return Err(NearError::Closed);
        }
        if usize::from(redirect.slot) >= SLOTS {
            return Err(NearError::Unexpected);
        }
        let mut to = redirect.to.clone();
        if to.host.is_empty()
            && let Some(from) = nodes.node(from)
        {
            to.host.clone_from(&from.address.host);
        }
        Ok(self.node_at(nodes, &to))
    }

    /// Slots have got other owners, so what memory has of them may be overwritten there.
    fn have_moved(&self, slots: usize) {
        if slots > 0 {
            add(&self.common.counters.slots_moved, slots as u64);
            self.common.holder.forget_past(&self.common.lease);
        }
    }

    /// Takes in what a node, or a seed, says of the cluster; see the head of the module for what is believed.
    fn learn(&self, view: &View, from: Option<NodeId>) {
        let owners = self.common.lease.owners();
        let mut nodes = self.nodes();
        if nodes.is_closed {
            return;
        }
        if let Some(from) = from
            && let Some(Some(node)) = nodes.known.get_mut(usize::from(from))
        {
            node.epoch = view.epoch;
        }
        let is_first = !nodes.is_loaded;
        let mut slots = Vec::new();
        for range in &view.ranges {
            let to = self.node_at(&mut nodes, &range.master);
            // The owner of the slots before, whether it can be reached, and the epoch of its claim.
            let mut known = (NOBODY, false, 0);
            for slot in range.first..=range.last {
                let owner = owners[usize::from(slot)];
                if owner == to {
                    continue;
                }
                if owner != known.0 {
                    let node = nodes.node(owner);
                    let is_connected = node.is_some_and(|it| it.link.condition().is_connected);
                    known = (owner, is_connected, node.map_or(0, |it| it.epoch));
                }
                let (_, is_reached, epoch) = known;
                let gives_away = from == Some(owner);
                let claims = from == Some(to) && view.epoch >= epoch;
                if is_first || !is_reached || (view.is_ok && (gives_away || claims)) {
                    slots.push((slot, to));
                }
            }
        }
        nodes.is_loaded = true;
        nodes.failure = None;
        let moved = self.common.lease.assign(slots.into_iter());
        drop(nodes);
        self.have_moved(moved);
        self.changed.notify_waiters();
    }

    /// The number of the node at `address`, to which a link is made if there is none.
    fn node_at(&self, nodes: &mut Nodes, address: &NodeAddress) -> NodeId {
        let at = |node: &Option<Node>| node.as_ref().is_some_and(|it| it.address == *address);
        if let Some(known) = nodes.known.iter().position(at) {
            return known as NodeId;
        }
        let free = nodes.known.iter().position(Option::is_none).unwrap_or(nodes.known.len());
        // A cluster has at most as many masters as slots, and nodes without slots are removed.
        let node = NodeId::try_from(free).unwrap_or(NOBODY);
        if node == NOBODY {
            return NOBODY;
        }
        if free == nodes.known.len() {
            nodes.known.push(None);
        }
        let cluster = Weak::clone(&self.itself);
        let guide = ToNode { cluster, node, address: address.clone() };
        let link = Link::new(node, Arc::clone(&self.common), Box::new(guide));
        tokio::spawn(Arc::clone(&link).run());
        nodes.known[free] = Some(Node { address: address.clone(), link, epoch: 0 });
        node
    }

    /// Closes the links to nodes that have no slots.
    fn remove_idle(&self) {
        let owners = self.common.lease.owners();
        let mut nodes = self.nodes();
        let mut idle = Vec::new();
        for (number, node) in nodes.known.iter_mut().enumerate() {
            if node.is_some() && !owners.iter().any(|owner| usize::from(*owner) == number) {
                idle.extend(node.take());
            }
        }
        // While nobody else can take the numbers.
        for node in &idle {
            node.link.close();
        }
        drop(nodes);
    }

    /// Finds out which nodes there are, whenever something is amiss, until the cluster is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        while !self.nodes().is_closed {
            let is_known = self.refresh().await;
            let is_well = is_known && self.links().iter().all(|link| link.condition().is_connected);
            if is_well {
                pause = FIRST_PAUSE;
                self.remove_idle();
                // Either is a reason to go on.
                let _ = timeout(QUIET_PERIOD, self.wake.notified()).await;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Asks the nodes that can be reached, or else the seeds, until one answers that finds the cluster in order.
    async fn refresh(&self) -> bool {
        let known: Vec<Node> = self.nodes().known.iter().flatten().cloned().collect();
        let mut second_choice = None;
        for node in known {
            let Some(connection) = node.link.live_connection() else { continue };
            match self.ask(&*connection, &node.address.host).await {
                Ok(view) if view.is_ok => {
                    self.learn(&view, Some(node.link.node()));
                    return true;
                }
                Ok(view) => second_choice = Some(view),
                Err(_) => {}
            }
        }
        let mut failure = None;
        for seed in &self.seeds {
            match self.ask_seed(seed).await {
                Ok(view) if view.is_ok => {
                    self.learn(&view, None);
                    return true;
                }
                Ok(view) => second_choice = Some(view),
                Err(error) => failure = Some(error),
            }
        }
        if let Some(view) = second_choice {
            self.learn(&view, None);
        } else {
            let mut nodes = self.nodes();
            nodes.failure = failure;
            drop(nodes);
            self.changed.notify_waiters();
        }
        false
    }

    async fn ask_seed(&self, seed: &Seed) -> Result<View, TransportError> {
        let patience = self.common.settings.call_timeout;
        let opening = seed.transport.open(None, &Tracking::Off, Arc::new(Unheard));
        let opened = timeout(patience, opening)
            .await
            .map_err(|_| TransportError::new(NearError::TimedOut { waited: patience }))??;
        self.ask(&*opened.connection, &seed.host).await
    }

    async fn ask(
        &self,
        connection: &dyn NearConnection,
        host: &str,
    ) -> Result<View, TransportError> {
        let patience = self.common.settings.call_timeout;
        let replies = timeout(patience, connection.call(View::question()))
            .await
            .map_err(|_| TransportError::new(NearError::TimedOut { waited: patience }))??;
        View::parse(&replies, host).ok_or_else(|| {
            let refusal = replies.iter().find_map(|reply| match reply {
                Reply::Refused(refusal) => Some(NearError::Refused(refusal.clone())),
                _ => None,
            });
            TransportError::new(refusal.unwrap_or(NearError::Unexpected))
        })
    }

    /// Closes all links.
    pub(crate) fn close(&self) {
        let mut nodes = self.nodes();
        nodes.is_closed = true;
        let known = std::mem::take(&mut nodes.known);
        drop(nodes);
        for node in known.into_iter().flatten() {
            node.link.close();
        }
        self.changed.notify_waiters();
        self.wake.notify_one();
    }
}

impl Nodes {
    fn node(&self, node: NodeId) -> Option<&Node> {
        self.known.get(usize::from(node))?.as_ref()
    }
}

impl Guide for ToNode {
    fn open<'g>(
        &'g self,
        tracking: &'g Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'g, Opened> {
        Box::pin(async move {
            let cluster = self.cluster.upgrade();
            let cluster = cluster.ok_or_else(|| TransportError::new(NearError::Closed))?;
            cluster.seeds[0].transport.open(Some(&self.address), tracking, pushes).await
        })
    }

    fn beat(&self) -> Vec<Command> {
        View::question()
    }

    fn judge(&self, replies: &[Reply]) -> Verdict {
        let Some(cluster) = self.cluster.upgrade() else { return Verdict::Wrong };
        match View::parse(replies, &self.address.host) {
            Some(view) if view.is_ok => {
                cluster.learn(&view, Some(self.node));
                Verdict::Proven
            }
            _ => {
                cluster.wake.notify_one();
                Verdict::Unproven
            }
        }
    }

    fn may_lose_keys(&self) -> bool {
        true
    }

    fn is_away(&self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.wake.notify_one();
        }
    }
}
