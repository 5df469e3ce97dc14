//! Tables of simulations: hits, bytes of hits, or waiting, by policy and capacity, and their summary.

use comfy_table::Table;

use crate::report::simulation::{Simulation, TraceSimulation};
use crate::report::table::{align_numbers, table};
use crate::simulate::PolicyKind;

/// What a table shows of each simulation, as a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Hits, of all requests.
    Hits,
    /// The bytes of hits, of those of all requests.
    Bytes,
    /// The time that callers wait for misses, of what they would wait without a cache.
    Waiting,
}

impl Measure {
    pub(crate) const ALL: [Self; 3] = [Self::Hits, Self::Bytes, Self::Waiting];

    fn heading(self) -> &'static str {
        match self {
            Self::Hits => "hits",
            Self::Bytes => "bytes",
            Self::Waiting => "waiting",
        }
    }

    fn of(self, cell: &Simulation) -> Option<f64> {
        match self {
            Self::Hits => Some(cell.hit_ratio),
            Self::Bytes => cell.byte_hit_ratio,
            Self::Waiting => cell.waiting_share,
        }
    }

    fn better(self, one: f64, other: f64) -> f64 {
        if self == Self::Waiting { one.min(other) } else { one.max(other) }
    }

    /// By how much `own` is better than `other`, in per cent: points of hits, or the part of the waiting that is
    /// saved.
    fn lead(self, own: f64, other: f64) -> f64 {
        match self {
            Self::Hits | Self::Bytes => 100.0 * (own - other),
            Self::Waiting if other > 0.0 => 100.0 * (1.0 - own / other),
            Self::Waiting => 0.0,
        }
    }
}

/// A table with a row per policy and a column per capacity. `None` if nothing of the kind is known.
pub(crate) fn measure_table(simulations: &[Simulation], measure: Measure) -> Option<Table> {
    let known = || simulations.iter().filter(|cell| measure.of(cell).is_some());
    let mut header = vec![measure.heading().to_owned()];
    let mut policies: Vec<&str> = Vec::new();
    let mut capacities: Vec<u64> = Vec::new();
    for cell in known() {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
        if !capacities.contains(&cell.capacity.absolute()) {
            capacities.push(cell.capacity.absolute());
            header.push(format!("{}  ", cell.capacity.human()));
        }
    }
    if policies.is_empty() {
        return None;
    }
    let has_rates = measure == Measure::Hits;
    if has_rates {
        header.push("Mreq/s".to_owned());
    }
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for policy in policies {
        let mut row = vec![policy.to_owned()];
        let own = || known().filter(|cell| cell.policy == policy);
        for &capacity in &capacities {
            let rivals = known().filter(|other| {
                other.capacity.absolute() == capacity && other.kind != PolicyKind::Bound
            });
            let ratios = rivals.filter_map(|other| measure.of(other));
            let best = ratios.reduce(|one, other| measure.better(one, other));
            let cell = own().find(|cell| cell.capacity.absolute() == capacity);
            row.push(match cell.and_then(|cell| Some((cell, measure.of(cell)?))) {
                // A mark or a blank, so that the digits stay aligned.
                Some((cell, ratio)) => {
                    let is_best = best == Some(ratio) && cell.kind != PolicyKind::Bound;
                    format!("{:.2} {}", 100.0 * ratio, if is_best { '*' } else { ' ' })
                }
                None => "-  ".to_owned(),
            });
        }
        if has_rates {
            let requests: u64 = own().map(|cell| cell.requests).sum();
            let seconds: f64 = own().map(|cell| cell.elapsed_seconds).sum();
            row.push(format!("{:.1}", requests as f64 / seconds.max(1e-9) / 1e6));
        }
        table.add_row(row);
    }
    Some(align_numbers(table))
}

/// A table with a row per policy: its mean over all traces and capacities, and by how much it is better than the best
/// of the policies `against`, or of all others if there are none; in the mean, and in the worst cell. `None` if each
/// policy has only one cell, or nothing of the kind is known.
pub(crate) fn summary_table(
    traces: &[TraceSimulation],
    measure: Measure,
    against: &[String],
) -> Option<Table> {
    let all = || {
        let cells = traces
            .iter()
            .flat_map(|of| of.simulations.iter().map(|cell| (of.trace.name.as_str(), cell)));
        cells.filter_map(move |(name, cell)| Some((name, cell, measure.of(cell)?)))
    };
    let mut policies: Vec<&str> = Vec::new();
    for (_, cell, _) in all() {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
    }
    if all().count() <= policies.len() {
        return None;
    }
    let over = match against {
        [] => "lead over the best other".to_owned(),
        names => format!("lead over {}", names.join(", ")),
    };
    let mut table = table(&[measure.heading(), "mean", &over, "worst", "of"]);
    for policy in policies {
        let own: Vec<_> = all().filter(|(_, cell, _)| cell.policy == policy).collect();
        let mean = own.iter().map(|(.., ratio)| ratio).sum::<f64>() / own.len() as f64;
        let is_bound = own.iter().all(|(_, cell, _)| cell.kind == PolicyKind::Bound);
        let lead = |name: &str, cell: &Simulation, ratio: f64| {
            let is_rival = |other: &Simulation| {
                let is_asked = against.is_empty() || against.contains(&other.policy);
                is_asked && other.policy != policy && other.kind != PolicyKind::Bound
            };
            let rivals = all().filter(|(other_name, other, _)| {
                *other_name == name
                    && other.capacity.absolute() == cell.capacity.absolute()
                    && is_rival(other)
            });
            let best =
                rivals.map(|(.., ratio)| ratio).reduce(|one, other| measure.better(one, other));
            best.map(|best| measure.lead(ratio, best))
        };
        let leads: Vec<_> = own
            .iter()
            .filter(|_| !is_bound)
            .filter_map(|(name, cell, ratio)| Some((lead(name, cell, *ratio)?, name, cell)))
            .collect();
        let worst = leads.iter().min_by(|one, other| one.0.total_cmp(&other.0));
        let (mean_lead, worst, place) = match worst {
            Some((worst, name, cell)) => (
                format!(
                    "{:+.2}",
                    leads.iter().map(|lead| lead.0).sum::<f64>() / leads.len() as f64
                ),
                format!("{worst:+.2}"),
                format!("{name}, {}", cell.capacity.human()),
            ),
            None => ["-"; 3].map(str::to_owned).into(),
        };
        table.add_row([policy.to_owned(), format!("{:.2}", 100.0 * mean), mean_lead, worst, place]);
    }
    Some(align_numbers(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::simulation::tests::cell;
    use crate::report::trace_info::TraceInfo;
    use crate::trace::Trace;

    fn rows(table: Option<Table>) -> Vec<String> {
        let table = table.expect("it is known");
        let words = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        words.collect()
    }

    #[test]
    fn the_table_has_policies_down_and_capacities_across() {
        let simulations = [
            cell("lru", PolicyKind::Larder, 10, 500),
            cell("opt", PolicyKind::Bound, 10, 900),
            cell("lru", PolicyKind::Larder, 2000, 600),
            cell("ref-arc", PolicyKind::Reference, 2000, 650),
        ];
        let hits = rows(measure_table(&simulations, Measure::Hits));
        assert_eq!(hits[1], "hits 10 2,000 Mreq/s");
        assert_eq!(hits[3], "lru 50.00 * 60.00 1.0");
        assert_eq!(hits[4], "opt 90.00 - 1.0");
        assert_eq!(hits[5], "ref-arc - 65.00 * 1.0");
        let bytes = rows(measure_table(&simulations, Measure::Bytes));
        assert_eq!(bytes[1], "bytes 10 2,000");
        assert_eq!(bytes[3], "lru 25.00 * 30.00");
    }

    #[test]
    fn the_table_of_waiting_marks_who_waits_least_and_leaves_bounds_out() {
        let simulations = [
            cell("lru", PolicyKind::Larder, 10, 500),
            cell("cost_aware", PolicyKind::Larder, 10, 700),
            cell("opt", PolicyKind::Bound, 10, 900),
            cell("lru", PolicyKind::Larder, 20, 600),
        ];
        let rows = rows(measure_table(&simulations, Measure::Waiting));
        assert_eq!(rows[1], "waiting 10 20");
        assert_eq!(rows[3..5], ["lru 50.00 40.00 *", "cost_aware 30.00 * -"]);
        assert!(!rows.iter().any(|row| row.contains("opt")));
        let bare = Simulation { waiting_share: None, ..cell("lru", PolicyKind::Larder, 10, 5) };
        assert!(measure_table(&[bare], Measure::Waiting).is_none());
    }

    #[test]
    fn the_summary_compares_with_the_policies_that_are_asked_for() {
        let trace = TraceInfo::of(&Trace::of_ids(&[0], None));
        let simulations = vec![
            cell("lru", PolicyKind::Larder, 10, 500),
            cell("sieve", PolicyKind::Larder, 10, 600),
            cell("ref-arc", PolicyKind::Reference, 10, 550),
            cell("lru", PolicyKind::Larder, 20, 700),
            cell("sieve", PolicyKind::Larder, 20, 680),
            cell("ref-arc", PolicyKind::Reference, 20, 720),
        ];
        let traces = [TraceSimulation { trace, simulations }];
        let of = |measure, against: &[&str]| {
            let against: Vec<String> = against.iter().map(|name| (*name).to_owned()).collect();
            rows(summary_table(&traces, measure, &against))
        };
        let all = of(Measure::Hits, &[]);
        assert_eq!(all[1], "hits mean lead over the best other worst of");
        assert_eq!(all[3], "lru 60.00 -6.00 -10.00 t, 10");
        assert_eq!(all[4], "sieve 64.00 +0.50 -4.00 t, 20");
        let lru = of(Measure::Hits, &["lru"]);
        assert_eq!(lru[3..5], ["lru 60.00 - - -", "sieve 64.00 +4.00 -2.00 t, 20"]);
        assert_eq!(of(Measure::Bytes, &["lru"])[4], "sieve 32.00 +2.00 -1.00 t, 20");
        // Of 500 and 300 ms, 400 and 320 are waited.
        assert_eq!(of(Measure::Waiting, &["lru"])[4], "sieve 36.00 +6.67 -6.67 t, 20");
        let single = [TraceSimulation { simulations: vec![], ..traces[0].clone() }];
        assert!(summary_table(&single, Measure::Hits, &[]).is_none());
    }
}
