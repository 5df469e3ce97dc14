//! Which servers there are, and which of them has which key: one server, the master that sentinels name, or the
//! masters of a cluster.
//!
//! The caches above know [`Servers`] alone: they give it the name of a key and commands for it, and get the replies
//! of the server that has the key, with the generation in which they were asked for.

mod cluster;
mod sentinel;
mod single;
mod view;
mod join;

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::error::NearError;
use crate::key::hash_slot;
use crate::lease::{Lease, NO_GENERATION, NodeId};
use crate::link::{Common, Exchange, Holder, Link, LinkSettings};
use crate::stats::{BreakerState, NearStats, count};
use crate::transport::{Command, NearConnection, Redirect, RedirectKind, Reply, Transport};

use cluster::Cluster;
pub(crate) use cluster::Seed;
use join::join;
use sentinel::Sentinels;
use single::Single;

/// The least time that the first connections may take.
const LEAST_FIRST_WAIT: Duration = Duration::from_secs(5);

/// How many groups are sent in one pipeline: so many that the server's work on one outweighs what it costs to send it,
/// and so few that it works on the first while the next are being made, and the first replies are stored meanwhile.
const GROUPS_PER_PIPELINE: usize = 96;

/// How many redirections are followed for one command. A cluster in order needs one, or two while a slot moves.
const MOST_REDIRECTIONS: usize = 8;

/// The servers of one near cache.
pub(crate) struct Servers {
    common: Arc<Common>,
    kind: Kind,
}

enum Kind {
    One { link: Arc<Link>, sentinels: Option<Arc<Sentinels>> },
    Cluster(Arc<Cluster>),
}

/// How the servers are to be found.
pub(crate) enum Topology {
    Single(Box<dyn Transport>),
    Sentinel {
        name: String,
        sentinels: Vec<Box<dyn Transport>>,
        masters: Box<dyn Transport>,
    },
    /// There is at least one seed.
    Cluster(Vec<Seed>),
}

/// What the server that has a key has answered.
pub(crate) struct Answer {
    pub(crate) replies: Vec<Reply>,
    /// When the call was made, before anything was sent.
    pub(crate) sent_ns: u64,
    /// The generation in which it was made.
    pub(crate) generation: u64,
    pub(crate) is_tracked: bool,
    /// Whether it is notified of a key that was absent when it appears.
    pub(crate) is_absence_tracked: bool,
}

/// What the settings and the counters are to the layers above.
impl Deref for Servers {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Servers {
    pub(crate) fn new(
        topology: Topology,
        settings: LinkSettings,
        holder: Arc<dyn Holder>,
    ) -> Arc<Self> {
        let max_stale = settings.max_stale;
        let lease = match &topology {
            Topology::Cluster(_) => Lease::of_cluster(max_stale),
            _ => Lease::of_one(max_stale),
        };
        let common = Common::new(settings, lease, holder);
        let kind = match topology {
            Topology::Single(transport) => {
                let link = Link::new(0, Arc::clone(&common), Box::new(Single(transport)));
                Kind::One { link, sentinels: None }
            }
            Topology::Sentinel { name, sentinels, masters } => {
                let sentinels = Sentinels::new(Arc::clone(&common), name, sentinels, masters);
                Kind::One { link: sentinels.link(), sentinels: Some(sentinels) }
            }
            Topology::Cluster(seeds) => Kind::Cluster(Cluster::new(Arc::clone(&common), seeds)),
        };
        Arc::new(Self { common, kind })
    }

    /// Finds the servers, and opens and watches connections, until this is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        match &self.kind {
            Kind::One { link, sentinels: None } => Arc::clone(link).run().await,
            Kind::One { link, sentinels: Some(sentinels) } => {
                tokio::join!(Arc::clone(link).run(), Arc::clone(sentinels).run());
            }
            Kind::Cluster(cluster) => Arc::clone(cluster).run().await,
        }
    }

    /// The slot of the key called `name`.
    pub(crate) fn slot(&self, name: &[u8]) -> u16 {
        match &self.kind {
            Kind::One { .. } => 0,
            Kind::Cluster(_) => hash_slot(name),
        }
    }

    /// Sends `commands`, all of which concern the key called `name`, to the server that has it.
    ///
    /// The generation of the answer is read after this call begins. So a fill that was begun before it, and
    /// that is stored with that generation, is refused or never served if anything was missed since.
    pub(crate) async fn call(
        &self,
        name: &[u8],
        commands: Vec<Command>,
    ) -> Result<Answer, NearError> {
        let slot = self.slot(name);
        self.bounded(&[slot], self.call_slot(slot, commands)).await
    }

    /// Bounds a call, and counts it if it fails.
    async fn bounded<T>(
        &self,
        slots: &[u16],
        call: impl Future<Output = Result<T, NearError>>,
    ) -> Result<T, NearError> {
        let waited = self.common.settings.call_timeout;
        let result = timeout(waited, call).await.unwrap_or_else(|_| {
            count(&self.common.counters.timeouts);
            self.doubt(slots);
            Err(NearError::TimedOut { waited })
        });
        if result.is_err() {
            count(&self.common.counters.errors);
        }
        result
    }

    /// Lets the links of `slots` find out whether their connections are still good.
    fn doubt(&self, slots: &[u16]) {
        match &self.kind {
            Kind::One { link, .. } => link.doubt(),
            Kind::Cluster(cluster) => {
                for slot in slots {
                    cluster.doubt(*slot);
                }
            }
        }
    }

    async fn call_slot(&self, slot: u16, commands: Vec<Command>) -> Result<Answer, NearError> {
        let cluster = match &self.kind {
            Kind::One { link, .. } => {
                let sent = link.call(commands, std::iter::once(slot)).await?;
                return Ok(answer(sent));
            }
            Kind::Cluster(cluster) => cluster,
        };
        for _ in 0..=MOST_REDIRECTIONS {
            let (node, link) = cluster.link(slot).await?;
            let sent = match link.call(commands.clone(), std::iter::once(slot)).await {
                // The node was left out since, and another one has the slot.
                Err(NearError::Closed) => continue,
                sent => sent?,
            };
            match redirect(&sent.replies) {
                None => return Ok(Answer { is_absence_tracked: false, ..answer(sent) }),
                Some(redirect) if redirect.kind == RedirectKind::Moved => {
                    cluster.moved(redirect, node)?;
                }
                Some(redirect) => match ask(cluster, redirect, node, &commands).await {
                    Ok(Some(answer)) => return Ok(answer),
                    // It leads on, or the node was left out since, because it has no slots yet.
                    Ok(None) | Err(NearError::Closed) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Err(NearError::Redirected { slot, times: MOST_REDIRECTIONS + 1 })
    }

    /// Sends several groups of commands, each for keys of one slot, in pipelines: to all servers at the same time,
    /// and to each so many at once that they have `keys_per_call` keys. Returns the answers in the order of the
    /// groups.
    ///
    /// `commands` appends those of a group, again if they have to be sent to another server.
    pub(crate) async fn call_each(
        &self,
        groups: &[Group],
        commands: impl Fn(usize, &mut Vec<Command>),
    ) -> Vec<Result<Answer, NearError>> {
        let mut answers: Vec<Option<Result<Answer, NearError>>> = Vec::new();
        answers.resize_with(groups.len(), || None);
        self.call_each_into(groups, commands, |at, answer| answers[at] = Some(answer)).await;
        // Each group has ended once.
        answers.into_iter().map(|answer| answer.unwrap_or(Err(NearError::Unexpected))).collect()
    }

    /// The same, and hands each answer to `ended` when its server has answered, while others may still be at work.
    pub(crate) async fn call_each_into(
        &self,
        groups: &[Group],
        commands: impl Fn(usize, &mut Vec<Command>),
        mut ended: impl FnMut(usize, Result<Answer, NearError>),
    ) {
        let mut open: Vec<usize> = (0..groups.len()).collect();
        for _ in 0..=MOST_REDIRECTIONS {
            if open.is_empty() {
                return;
            }
            let batches = self.batches(groups, std::mem::take(&mut open)).await;
            // `ended` may run code of the user's, so it is called outside of this lock.
            let ends: Mutex<Vec<(usize, GroupEnd)>> = Mutex::default();
            let note = |some: Vec<(usize, GroupEnd)>| {
                ends.lock().unwrap_or_else(PoisonError::into_inner).extend(some);
            };
            let called = batches.iter().map(|batch| async {
                match &batch.to {
                    Ok((node, link)) => {
                        self.call_node(groups, &batch.members, *node, link, &commands, &note).await;
                    }
                    Err(error) => {
                        let failed = |at: &usize| (*at, GroupEnd::Ended(Err(error.clone())));
                        note(batch.members.iter().map(failed).collect());
                    }
                }
            });
            join(called, || {
                let some =
                    std::mem::take(&mut *ends.lock().unwrap_or_else(PoisonError::into_inner));
                for (at, end) in some {
                    match end {
                        GroupEnd::Ended(answer) => ended(at, answer),
                        GroupEnd::Again => open.push(at),
                    }
                }
            })
            .await;
        }
        for at in open {
            let (slot, times) = (groups[at].slot, MOST_REDIRECTIONS + 1);
            ended(at, Err(NearError::Redirected { slot, times }));
        }
    }

    /// Sorts groups by the servers that have them.
    async fn batches(&self, groups: &[Group], open: Vec<usize>) -> Vec<Batch> {
        let cluster = match &self.kind {
            Kind::One { link, .. } => {
                return vec![Batch { to: Ok((0, Arc::clone(link))), members: open }];
            }
            Kind::Cluster(cluster) => cluster,
        };
        let mut batches: Vec<Batch> = Vec::new();
        let owners = self.common.lease.owners_of(open.iter().map(|at| groups[*at].slot));
        for (at, owner) in open.into_iter().zip(owners) {
            // Groups come in the order of their slots, so most go where the one before them goes.
            let known = |batch: &&mut Batch| matches!(&batch.to, Ok((node, _)) if *node == owner);
            if let Some(batch) = batches.iter_mut().rev().find(known) {
                batch.members.push(at);
                continue;
            }
            let slot = groups[at].slot;
            let to = self.bounded(&[slot], cluster.link(slot)).await;
            let same = |batch: &&mut Batch| match (&batch.to, &to) {
                (Ok((known, _)), Ok((node, _))) => known == node,
                _ => false,
            };
            match batches.iter_mut().find(same) {
                Some(batch) => batch.members.push(at),
                None => batches.push(Batch { to, members: vec![at] }),
            }
        }
        batches
    }

    /// Sends groups to one server: so many at once that they have `keys_per_call` keys, in several pipelines.
    async fn call_node(
        &self,
        groups: &[Group],
        members: &[usize],
        node: NodeId,
        link: &Link,
        commands: &impl Fn(usize, &mut Vec<Command>),
        note: &impl Fn(Vec<(usize, GroupEnd)>),
    ) {
        let mut rest = members;
        while !rest.is_empty() {
            let mut keys = 0;
            let fits = |at: &&usize| {
                keys += groups[**at].keys;
                keys <= self.common.settings.keys_per_call
            };
            // At least one group, however many keys it has.
            let count = rest.iter().take_while(fits).count().max(1);
            let (at_once, others) = rest.split_at(count);
            rest = others;
            let pipelines = at_once.chunks(GROUPS_PER_PIPELINE).map(|part| async move {
                note(self.call_part(groups, part, node, link, commands).await);
            });
            join(pipelines, || ()).await;
        }
    }

    async fn call_part(
        &self,
        groups: &[Group],
        part: &[usize],
        node: NodeId,
        link: &Link,
        commands: &impl Fn(usize, &mut Vec<Command>),
    ) -> Vec<(usize, GroupEnd)> {
        let mut all = Vec::with_capacity(part.len() * 2);
        let mut counts = Vec::with_capacity(part.len());
        for at in part {
            let before = all.len();
            commands(*at, &mut all);
            counts.push(all.len() - before);
        }
        let slots: Vec<u16> = part.iter().map(|at| groups[*at].slot).collect();
        let expected = all.len();
        let called = self.bounded(&slots[..1], link.call(all, slots.iter().copied())).await;
        let mut sent = match called {
            Ok(sent) if sent.replies.len() == expected => sent,
            Err(NearError::Closed) if self.is_of_cluster() => {
                return part.iter().map(|at| (*at, GroupEnd::Again)).collect();
            }
            other => {
                let error = other.err().unwrap_or(NearError::Unexpected);
                let failed = |at: &usize| (*at, GroupEnd::Ended(Err(error.clone())));
                return part.iter().map(failed).collect();
            }
        };
        let mut ends = Vec::with_capacity(part.len());
        let mut replies = std::mem::take(&mut sent.replies).into_iter();
        for ((at, count), generation) in part.iter().zip(counts).zip(&sent.generations) {
            let answer = Answer {
                replies: replies.by_ref().take(count).collect(),
                sent_ns: sent.sent_ns,
                generation: *generation,
                is_tracked: sent.is_tracked,
                is_absence_tracked: !self.is_of_cluster(),
            };
            let end = match redirect(&answer.replies) {
                None => GroupEnd::Ended(Ok(answer)),
                Some(_) => {
                    let mut of_group = Vec::new();
                    commands(*at, &mut of_group);
                    self.sort_out(answer, node, &of_group).await
                }
            };
            ends.push((*at, end));
        }
        ends
    }

    /// Follows a redirection, if the answer is one.
    async fn sort_out(&self, answer: Answer, node: NodeId, commands: &[Command]) -> GroupEnd {
        let (Kind::Cluster(cluster), Some(redirect)) = (&self.kind, redirect(&answer.replies))
        else {
            return GroupEnd::Ended(Ok(answer));
        };
        if redirect.kind == RedirectKind::Moved {
            return match cluster.moved(redirect, node) {
                Ok(()) => GroupEnd::Again,
                Err(error) => GroupEnd::Ended(Err(error)),
            };
        }
        let slot = redirect.slot;
        match self.bounded(&[slot], ask(cluster, redirect, node, commands)).await {
            Ok(Some(answer)) => GroupEnd::Ended(Ok(answer)),
            // It leads on, or the node was left out since, because it has no slots yet.
            Ok(None) | Err(NearError::Closed) => GroupEnd::Again,
            Err(error) => GroupEnd::Ended(Err(error)),
        }
    }

    /// Opens another connection to the server that has the key called `name`, for commands that must not be mixed
    /// with those of others. Nothing that is read over it is tracked.
    pub(crate) async fn open_exclusive(
        &self,
        name: &[u8],
    ) -> Result<Arc<dyn NearConnection>, NearError> {
        let slot = self.slot(name);
        self.bounded(&[slot], async {
            let link = match &self.kind {
                Kind::One { link, .. } => Arc::clone(link),
                Kind::Cluster(cluster) => cluster.link(slot).await?.1,
            };
            link.open_exclusive().await.map_err(NearError::Down)
        })
        .await
    }

    /// Sends commands over such a connection.
    pub(crate) async fn call_over(
        &self,
        connection: &Arc<dyn NearConnection>,
        commands: Vec<Command>,
    ) -> Result<Vec<Reply>, NearError> {
        self.bounded(&[], async {
            let _permit = self.common.permit().await?;
            connection.call(commands).await.map_err(NearError::Lost)
        })
        .await
    }

    pub(crate) fn is_of_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Whether there is one server, which no other can replace.
    pub(crate) fn is_of_one_server(&self) -> bool {
        matches!(self.kind, Kind::One { sentinels: None, .. })
    }

    /// Waits until the first attempt to open a connection has succeeded or failed: for the time of two calls, and
    /// for at least five seconds, since a program starts once.
    pub(crate) async fn first_connection(&self) -> Result<(), NearError> {
        let waited = self.common.settings.call_timeout.saturating_mul(2).max(LEAST_FIRST_WAIT);
        let connected = async {
            match &self.kind {
                Kind::One { link, .. } => link.first_connection().await,
                Kind::Cluster(cluster) => cluster.first_connection().await,
            }
        };
        timeout(waited, connected).await.unwrap_or(Err(NearError::TimedOut { waited }))
    }

    /// Ends all tasks, and closes all connections when no call is under way.
    pub(crate) fn close(&self) {
        match &self.kind {
            Kind::One { link, .. } => link.close(),
            Kind::Cluster(cluster) => cluster.close(),
        }
    }

    pub(crate) fn stats(&self) -> NearStats {
        let mut stats = self.common.counters.read();
        let links = match &self.kind {
            Kind::One { link, .. } => vec![Arc::clone(link)],
            Kind::Cluster(cluster) => cluster.links(),
        };
        let conditions: Vec<_> = links.iter().map(|link| link.condition()).collect();
        let is_any = !conditions.is_empty();
        stats.servers = conditions.len();
        stats.is_connected = is_any && conditions.iter().all(|it| it.is_connected);
        stats.is_tracked = is_any && conditions.iter().all(|it| it.is_tracked);
        // Whatever is worst.
        stats.breaker = conditions
            .iter()
            .map(|it| it.breaker)
            .max_by_key(|state| match state {
                BreakerState::Closed => 0,
                BreakerState::Trying => 1,
                BreakerState::Open => 2,
            })
            .unwrap_or(BreakerState::Trying);
        stats.refusal = conditions.into_iter().find_map(|it| it.refusal);
        stats
    }
}

/// Keys of one slot that are sent together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) slot: u16,
    pub(crate) keys: usize,
}

/// Groups for one server, or why there is none.
struct Batch {
    to: Result<(NodeId, Arc<Link>), NearError>,
    members: Vec<usize>,
}

/// What has become of a group that was sent.
enum GroupEnd {
    Ended(Result<Answer, NearError>),
    /// It is to be sent again, to the server that has its slot now.
    Again,
}

fn answer(sent: Exchange) -> Answer {
    let Exchange { replies, sent_ns, generations, is_tracked } = sent;
    let generation = generations.first().copied().unwrap_or(NO_GENERATION);
    Answer { replies, sent_ns, generation, is_tracked, is_absence_tracked: true }
}

/// The first redirection among replies, all of which are for one slot.
fn redirect(replies: &[Reply]) -> Option<&Redirect> {
    replies.iter().find_map(|reply| match reply {
        Reply::Redirected(redirect) => Some(redirect),
        _ => None,
    })
}

/// Sends `commands` to where an `ASK` of `from` leads. `None` if it leads on from there.
///
/// What comes back has no generation: the node is not the owner of the slot yet.
async fn ask(
    cluster: &Cluster,
    to: &Redirect,
    from: NodeId,
    commands: &[Command],
) -> Result<Option<Answer>, NearError> {
    let link = cluster.asked(to, from)?;
    let (asking, is_reply) = with_asking(commands);
    let mut sent = link.call(asking, std::iter::empty()).await?;
    let replies = std::mem::take(&mut sent.replies).into_iter().zip(is_reply);
    sent.replies = replies.filter(|(_, is_reply)| *is_reply).map(|(reply, _)| reply).collect();
    if redirect(&sent.replies).is_some() {
        return Ok(None);
    }
    Ok(Some(Answer { is_absence_tracked: false, ..answer(sent) }))
}

/// The same commands, each after an `ASKING`, which holds for one command or for one transaction; and which of the
/// replies are those of `commands`.
fn with_asking(commands: &[Command]) -> (Vec<Command>, Vec<bool>) {
    let mut all = Vec::with_capacity(commands.len() * 2);
    let mut is_reply = Vec::with_capacity(commands.len() * 2);
    let mut is_in_transaction = false;
    for command in commands {
        let name = command.name();
        // It would take the place of the command for which `ASKING` was sent.
        let is_for_connection = name == b"CLIENT";
        if !is_in_transaction && !is_for_connection {
            all.push(Command::new("ASKING"));
            is_reply.push(false);
        }
        is_in_transaction = match name {
            b"MULTI" => true,
            b"EXEC" => false,
            _ => is_in_transaction,
        };
        all.push(command.clone());
        is_reply.push(true);
    }
    (all, is_reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_is_said_once_for_a_command_and_once_for_a_transaction() {
        let named =
            |names: &[&str]| names.iter().map(|name| Command::new(name)).collect::<Vec<_>>();
        let (all, is_reply) =
            with_asking(&named(&["CLIENT", "MULTI", "SET", "PTTL", "EXEC", "GET", "PTTL"]));
        let expected = named(&[
            "CLIENT", "ASKING", "MULTI", "SET", "PTTL", "EXEC", "ASKING", "GET", "ASKING", "PTTL",
        ]);
        assert_eq!(all, expected);
        let own = all.iter().zip(is_reply).filter(|(_, is_reply)| *is_reply).count();
        assert_eq!(own, 7);
    }
}
