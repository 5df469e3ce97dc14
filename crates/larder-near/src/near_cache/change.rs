//! Changes of keys on their way to the servers, which end the turns of these keys.
//!
//! A process that loads a key may have read what the change replaces. So where processes load in turns, the turn ends
//! before the change takes effect: whoever takes it afterwards loads what is there after the change. The turn's key is
//! named in a request of its own, directly before the one for the value. While their slot is being moved, each of the two
//! is in one of two places, and one request for both would find neither.

use crate::error::NearError;
use crate::key::turn_name;
use crate::stats::count;
use crate::topology::{Answer, Group, Servers};
use crate::transport::{Command, Reply};

/// Whether changes end turns: whether the processes of a fleet load one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turns {
    End,
    /// There are none, or the change is itself that of a loader.
    Stay,
}

/// Sends changes of the keys called `names`, to all servers at the same time. `commands` appends those of the change of
/// that number. Returns the answers to these.
pub(super) async fn call_changes(
    link: &Servers,
    names: &[&[u8]],
    turns: Turns,
    commands: impl Fn(usize, &mut Vec<Command>),
) -> Vec<Result<Answer, NearError>> {
    #[cfg(test)]
    let turns = match link.lease.has(crate::lease::Defect::TurnSurvivesWrite) {
        true => Turns::Stay,
        false => turns,
    };
    // The number of the change, and its turn in a request that ends that.
    let mut requests: Vec<(usize, Option<Vec<u8>>)> = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if turns == Turns::End
            && let Some(turn) = turn_name(name)
        {
            requests.push((at, Some(turn)));
        }
        requests.push((at, None));
    }
    let groups: Vec<Group> = requests
        .iter()
        .map(|(at, turn)| Group { slot: link.slot(names[*at]), keys: usize::from(turn.is_none()) })
        .collect();
    let append = |request: usize, all: &mut Vec<Command>| match &requests[request] {
        (_, Some(turn)) => all.push(Command::new("DEL").arg(turn)),
        (at, None) => commands(*at, all),
    };
    let answers = link.call_each(&groups, append).await;
    let mut changed = Vec::with_capacity(names.len());
    let mut unended = None;
    for ((_, turn), answer) in requests.iter().zip(answers) {
        match (turn, answer) {
            // A server that refuses this lets no loader end its turn either, so none stores anything.
            (Some(_), ended) => unended = ended.err(),
            (None, answer) => changed.push(match unended.take() {
                // It is not known whether a loader stores an older value later.
                Some(error) if answer.is_ok() => Err(error),
                _ => answer,
            }),
        }
    }
    changed
}

/// Ends the turn of a key alone, before a change of it.
pub(super) async fn end_turn(link: &Servers, name: &[u8]) -> Result<(), NearError> {
    #[cfg(test)]
    if link.lease.has(crate::lease::Defect::TurnSurvivesWrite) {
        return Ok(());
    }
    if let Some(turn) = turn_name(name) {
        link.call(name, vec![Command::new("DEL").arg(turn)]).await?;
    }
    Ok(())
}

/// What the last reply to a removal says: whether the key was there.
pub(super) fn removed(
    link: &Servers,
    answer: Result<Answer, NearError>,
) -> Result<bool, NearError> {
    match answer?.replies.pop() {
        Some(Reply::Integer(number)) => {
            count(&link.counters.writes);
            Ok(number > 0)
        }
        Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
        _ => Err(NearError::Unexpected),
    }
}
