//! Golden runs: all decisions and reports of every policy of the library, step by step, in one number
//! for each run.
//!
//! `tests/it/eviction/exact_order.rs` compares every policy but the default one with a plain model or a
//! reference of its own; for the default policy the golden runs are the only such check. They notice every
//! change of a decision, intended or not. If a change is intended, measure hit ratios anew and take over the
//! rows that the failed test prints. For a new policy, begin with rows of zeros.
#![forbid(unsafe_code)]

use super::tests::random;
use super::*;
use crate::policy::node_table::node;

/// Steps for which a bound holds.
const STEPS: u64 = 3_000;

struct GoldenRun {
    name: &'static str,
    /// The bounds that hold one after the other, for `STEPS` steps each.
    bounds: &'static [(Option<usize>, Option<u64>)],
    /// The number of different keys, in hundreds.
    spread: u64,
    /// Steps after which other keys are requested.
    phase: u64,
}

/// Steps of a short phase.
const SHORT: u64 = STEPS / 8;

const RUNS: [GoldenRun; 10] = [
    GoldenRun { name: "one entry", bounds: &[(Some(1), None)], spread: 1, phase: SHORT },
    GoldenRun { name: "ten", bounds: &[(Some(10), None)], spread: 1, phase: SHORT },
    GoldenRun {
        name: "a hundred",
        bounds: &[(Some(100), None), (Some(100), None)],
        spread: 4,
        phase: SHORT,
    },
    GoldenRun {
        name: "up and down",
        bounds: &[(Some(40), None), (Some(100), None), (Some(20), None)],
        spread: 3,
        phase: SHORT,
    },
    GoldenRun {
        name: "more than mirrors hold",
        bounds: &[(Some(700), None); 3],
        spread: 20,
        phase: SHORT,
    },
    GoldenRun {
        name: "weight",
        bounds: &[(None, Some(300)), (None, Some(150))],
        spread: 3,
        phase: SHORT,
    },
    GoldenRun {
        name: "much weight",
        bounds: &[(None, Some(6_000)), (None, Some(9_000))],
        spread: 30,
        phase: SHORT,
    },
    GoldenRun {
        name: "both",
        bounds: &[(Some(60), Some(250)), (Some(90), Some(200)), (Some(40), Some(400))],
        spread: 3,
        phase: SHORT,
    },
    // Long enough for the default policy to change its window.
    GoldenRun { name: "long phases", bounds: &[(Some(120), None); 4], spread: 4, phase: STEPS },
    GoldenRun {
        name: "long phases of many",
        bounds: &[(Some(400), None); 5],
        spread: 16,
        phase: 3_750,
    },
];

/// FNV-1a, by words.
struct Digest(u64);

impl Digest {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    fn add_all(&mut self, words: impl IntoIterator<Item = u64>) {
        words.into_iter().for_each(|word| self.add(word));
    }
}

/// Hashes have 48 bits, as in a cache.
fn hash_of(key: u64) -> u64 {
    (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// Popular keys, a loop, a scan among popular keys, and keys that were recent: one after the other.
fn key_at(step: u64, run: &GoldenRun, state: &mut u64) -> u64 {
    let keys = run.spread * 100;
    let popular = random(state) % keys * (random(state) % keys) / keys;
    match step / run.phase % 4 {
        0 => popular,
        1 => step % (keys / 3),
        2 if step.is_multiple_of(3) => popular,
        2 => keys + step,
        _ => keys + step - random(state) % (keys / 5),
    }
}

/// Adds all reports of the policy about itself and its nodes.
fn add_reports(digest: &mut Digest, simulator: &Simulator) {
    let Simulator { policy, nodes, .. } = simulator;
    let hints = policy.hints();
    let mut named = Vec::new();
    hints.upcoming(7, &mut |id| named.push(id));
    named.push(node(77_777));
    hints.coldest(20, nodes, &mut |id| named.push(id));
    named.push(node(77_777));
    hints.hottest(20, nodes, &mut |id| named.push(id));
    digest.add_all(named.into_iter().map(|id| u64::from(id.to_raw())));
    for Segment { name, entries, cost, target } in hints.segments() {
        digest.add_all([name.len() as u64, entries as u64, cost, target.unwrap_or(7)]);
    }
    policy.to_restore(nodes, &mut |id, word| {
        let segment = hints.segment_of(id, nodes).map_or(0, |name| name.len() as u64);
        digest.add_all([nodes.hash(id), word.into(), segment, hints.frequency(id, nodes)]);
    });
}

/// Another simulator, whose policy is restored from the words that the policy of `old` has named.
fn restored(policy: &Policy, config: PolicyConfig, old: &Simulator) -> Simulator {
    let mut new = Simulator::new(policy, config).unwrap();
    let mut named = Vec::new();
    old.policy.to_restore(&old.nodes, &mut |id, word| named.push((id, word)));
    assert!(named.len() == old.len() || named.is_empty(), "each node is named once, or none is");
    for (old_id, word) in named {
        let (hash, weight) = (old.nodes.hash(old_id), old.nodes.weight(old_id));
        let cost = LoadTime::of(Duration::from_nanos(old.nodes.cost_ns(old_id)));
        let id = new.nodes.add(hash, weight, cost);
        new.nodes.set_frequency(id, old.nodes.frequency(old_id));
        new.policy.on_restore(id, word, &new.nodes);
    }
    new
}

fn play(policy: &Policy, run: &GoldenRun) -> (u64, u64) {
    let (mut digest, mut state, mut hits) = (Digest(0xcbf2_9ce4_8422_2325), 1, 0);
    let configs = run.bounds.iter().map(|(entries, weight)| PolicyConfig::new(*entries, *weight));
    let mut simulator = None;
    for (at, config) in (0..).zip(configs) {
        let simulator = simulator.get_or_insert_with(|| Simulator::new(policy, config).unwrap());
        simulator.resize(config).unwrap();
        for step in at * STEPS..(at + 1) * STEPS {
            let key = key_at(step, run, &mut state);
            let hash = hash_of(key);
            let weight = (key % 7 + if key.is_multiple_of(41) { 60 } else { 0 }) as u32;
            // Some costs are unknown, and few are high. Only `cost_aware` asks for them.
            let cost = Duration::from_micros((key % 11).pow(4));
            match random(&mut state) % 64 {
                0 => digest.add(u64::from(simulator.remove(hash))),
                1 | 2 => {
                    let _ = simulator.insert_costing(hash, weight + (step % 5) as u32, cost);
                }
                _ => {
                    let is_hit = simulator.request_costing(hash, weight, cost);
                    hits += u64::from(is_hit);
                    digest.add(u64::from(is_hit));
                }
            }
            digest.add(simulator.evictions());
            digest.add(simulator.weight());
            if step.is_multiple_of(if run.phase == SHORT { 250 } else { 1_000 }) {
                add_reports(&mut digest, simulator);
            }
            // Not in a long run before its last bound: the restored policy has empty mirrors.
            let is_last = (at + 1) as usize == run.bounds.len();
            if step % STEPS == STEPS / 2 && (is_last || run.phase == SHORT) {
                *simulator = restored(policy, config, simulator);
                add_reports(&mut digest, simulator);
            }
        }
        digest.add_all(simulator.nodes.iter().map(|(_, hash)| hash));
        assert_eq!(simulator.faults(), 0, "{policy:?}, {}", run.name);
    }
    (hits, digest.0)
}

/// `golden` has the hits and the digest of each run.
#[track_caller]
fn assert_golden(policy: &Policy, golden: [(u64, u64); RUNS.len()]) {
    for (run, expected) in RUNS.iter().zip(golden) {
        if play(policy, run) != expected {
            for run in &RUNS {
                let (hits, digest) = play(policy, run);
                println!("            ({hits}, 0x{digest:016x}),");
            }
            panic!("{policy:?}, {}: decisions have changed; the new rows are above", run.name);
        }
    }
}

#[rustfmt::skip]
mod goldens {
    use super::*;

    #[test]
    fn lru() {
        assert_golden(&Policy::lru(), [
            (60, 0x21dab9d14ae8f811),
            (375, 0x8227d901ed1396b8),
            (1254, 0x58cdeebecab52056),
            (1975, 0xa7fed4c6b64f9a3a),
            (2699, 0xf9ec529e7278260c),
            (915, 0xd35648fd5ebb6916),
            (2097, 0xea1da6228e21d05c),
            (1389, 0xb65211bc19e5af1b),
            (2630, 0x9bdb6498f279fc02),
            (3163, 0x20486de68de65534),
        ]);
    }

    #[test]
    fn lfu() {
        assert_golden(&Policy::lfu(), [
            (60, 0x6c322f983824fe01),
            (469, 0xbbd24ef544c49bfa),
            (1450, 0xb4d063539508ce13),
            (1622, 0x74fde6bbea084154),
            (2486, 0x0d2be3e5bde759f8),
            (1110, 0x592ce372bdcc3b72),
            (2179, 0x4ac5163b0b5768d3),
            (1434, 0x96af09aa154b2608),
            (3777, 0x0243e2f565ba3faa),
            (4050, 0x2719cc986a12c982),
        ]);
    }

    #[test]
    fn fifo() {
        assert_golden(&Policy::fifo(), [
            (60, 0x21dab9d14ae8f811),
            (368, 0xad3db704d6959593),
            (1728, 0x4e2e3bac6f782833),
            (1865, 0xd40be2db5ba3305b),
            (2535, 0x09ec1fdeb9bcb86d),
            (914, 0xe242db1306674c42),
            (2031, 0xcaa1d1dad0e3f77e),
            (1372, 0xde5a64fd0cfa2bf5),
            (3874, 0x76d7513448bbd149),
            (3102, 0xcdb12054889c912d),
        ]);
    }

    #[test]
    fn sieve() {
        assert_golden(&Policy::sieve(), [
            (60, 0x994ebf1d189c77c9),
            (475, 0x10806c63f52a41a6),
            (1629, 0xf8390abea3ebbfd4),
            (1586, 0xe5a0e03958fcb74a),
            (2486, 0xc42c38066510be97),
            (1080, 0xa73920e9d8f3ac27),
            (2179, 0x12db8635269a91ba),
            (1557, 0x176529b83fa0b3fe),
            (4342, 0xdf869e39754ca76d),
            (4427, 0x36c5a06a37e383cc),
        ]);
    }

    #[test]
    fn s3_fifo() {
        assert_golden(&Policy::s3_fifo(), [
            (60, 0x994ebf1d189c77c9),
            (477, 0xf1b48a3a16d7638f),
            (1623, 0x31291fbd47bd9222),
            (1999, 0xb06641a2772e8462),
            (2974, 0x883a83c0d97a9925),
            (954, 0xf8eeb46ae510b7a8),
            (1999, 0xd6680d4308f091fb),
            (1611, 0xc68f970f9919ba0f),
            (4472, 0xc58e49c16aef1aa4),
            (4365, 0x6fc55f8d0ac42824),
        ]);
    }

    #[test]
    fn window_tiny_lfu() {
        assert_golden(&Policy::window_tiny_lfu(), [
            (60, 0xa37b0778128cb320),
            (574, 0xe4138b2a021cf05d),
            (1671, 0x546e2bf475c49d0a),
            (2037, 0x37ab59f669fd1b7b),
            (2975, 0x33404f195b33e3a6),
            (1153, 0x511baa0d71911725),
            (2153, 0x2e03da27603e1645),
            (1773, 0x89ee6735f569b7a5),
            (5604, 0x4889ea0cd23df4b8),
            (5669, 0x00446dd8e121a376),
        ]);
    }
    #[test]
    fn cost_aware() {
        assert_golden(&Policy::cost_aware(), [
            (60, 0xa37b0778128cb320),
            (513, 0xc38733a9f28e6ed6),
            (1737, 0x65baafdba2ef6e09),
            (1824, 0xf9567b6fdab5555a),
            (3215, 0x14d3fb9124eba024),
            (1387, 0x96e2e5f42fc4fa1b),
            (2218, 0x224513a42804f059),
            (1766, 0x09f124ff296fd8c6),
            (4983, 0xbd8f38307ded1f69),
            (4568, 0x9d39244359071bd9),
        ]);
    }
}
