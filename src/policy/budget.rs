//! The bound that a policy divides among its segments: entries, weight, or the scarcer of both.

use super::{NodeId, Nodes, PolicyConfig};

/// A bound in the unit that the policy should divide, and what a node costs in that unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) total: u64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Entries,
    Weight,
    /// Both are bounded: a node costs its share of the bound of which it takes the larger share. `entry` and
    /// `weight` are the costs of an entry and of a unit of weight.
    Scarcer {
        entry: u64,
        weight: f64,
    },
}

/// The total if both are bounded: fine enough for 2^31 entries.
const SCARCER_TOTAL: u64 = 1 << 40;

impl Budget {
    pub(super) fn new(config: &PolicyConfig) -> Self {
        match (config.capacity_entries, config.max_weight) {
            (None, None) => Self { total: u64::MAX, unit: Unit::Entries },
            (Some(entries), None) => Self { total: entries as u64, unit: Unit::Entries },
            (None, Some(total)) => Self { total, unit: Unit::Weight },
            (Some(entries), Some(max_weight)) => {
                let entry = (SCARCER_TOTAL / (entries as u64).max(1)).max(1);
                #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
                let weight = SCARCER_TOTAL as f64 / max_weight.max(1) as f64;
                Self { total: SCARCER_TOTAL, unit: Unit::Scarcer { entry, weight } }
            }
        }
    }

    /// A budget in the same unit, with `part` in `of` of the total, at least 1.
    pub(super) fn part(self, part: u64, of: u64) -> Self {
        Self { total: share(self.total, part, of).max(1), ..self }
    }

    pub(super) fn counts_entries(self) -> bool {
        matches!(self.unit, Unit::Entries)
    }

    /// Whether nodes cost the same in every budget of this kind.
    pub(super) fn is_fixed_unit(self) -> bool {
        !matches!(self.unit, Unit::Scarcer { .. })
    }

    /// The cost of a node of `weight`, which depends on nothing else.
    #[inline]
    pub(super) fn cost(self, weight: u32) -> u64 {
        match self.unit {
            Unit::Entries => 1,
            Unit::Weight => u64::from(weight),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, as it should"
            )]
            Unit::Scarcer { entry, weight: unit } => entry.max((f64::from(weight) * unit) as u64),
        }
    }

    /// The cost of `id`.
    #[inline]
    pub(super) fn cost_of<N: Nodes + ?Sized>(&self, id: NodeId, nodes: &N) -> u64 {
        // A weight takes a call, and a read of the entry.
        if self.counts_entries() { 1 } else { self.cost_by_weight(id, nodes) }
    }

    #[inline(never)]
    fn cost_by_weight<N: Nodes + ?Sized>(&self, id: NodeId, nodes: &N) -> u64 {
        self.cost(nodes.weight(id))
    }
}

/// `part` in `of` of `total`, rounded down.
pub(super) fn share(total: u64, part: u64, of: u64) -> u64 {
    let share = u128::from(total) * u128::from(part) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_of_two_bounds_decides() {
        let both = Budget::new(&PolicyConfig::new(Some(100), Some(1_000)));
        let fitting = |weight: u32| both.total / both.cost(weight);
        assert_eq!(fitting(0), 100);
        assert_eq!(fitting(10), 100);
        assert_eq!(fitting(100), 10);
        assert_eq!(fitting(1_000), 1);
        let huge = Budget::new(&PolicyConfig::new(Some(usize::MAX), Some(u64::MAX)));
        assert!(huge.cost(0) >= 1);
    }
}
