#!/usr/bin/env python3
"""Tests of the checks beside this file: what is right passes, and what is wrong does not."""

import collections
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import coverage
import instructions
import metrics
import reference
import replays
import rust_versions


def fails(check, text, *arguments):
    """Whether the check, given a file with the text as its last argument, fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file"
        path.write_text(text, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            return bool(check(path, *arguments))


class MetricsOfTwoFormats(unittest.TestCase):
    Sample = collections.namedtuple("Sample", "name labels value")
    Family = collections.namedtuple("Family", "name type documentation samples")

    def family(self, name, kind, *samples):
        return self.Family(name, kind, "Help.", [self.Sample(*sample) for sample in samples])

    def found(self, one, other):
        sets = [{family.name: family for family in families} for families in (one, other)]
        return list(metrics.problems(*sets))

    def histogram(self, *counts):
        buckets = [("h_bucket", {"le": bound}, count) for bound, count in zip(("1.0", "+Inf"), counts)]
        return self.family("h", "histogram", *buckets, ("h_count", {}, 5))

    def test_equal_sets_pass(self):
        info = ("a_info", {"b": "c"}, 1)
        own = self.histogram(3, 5)
        self.assertEqual(
            self.found([self.family("a_info", "gauge", info), own], [self.family("a", "info", info), own]), []
        )

    def test_what_differs_or_falls_is_found(self):
        gauge = self.family("a", "gauge", ("a", {}, 1))
        for one, other in [
            ([gauge], []),
            ([gauge], [self.family("a", "counter", ("a", {}, 1))]),
            ([gauge], [self.family("a", "gauge", ("a", {"b": "c"}, 1))]),
            ([self.family("a", "gauge")], [self.family("a", "gauge")]),
            ([self.histogram(6, 5)], [self.histogram(6, 5)]),
            ([self.histogram(3, 4)], [self.histogram(3, 4)]),
            ([self.family("a", "gauge", ("a", {}, 1), ("a", {}, 2))], [gauge]),
        ]:
            self.assertTrue(self.found(one, other), (one, other))


class RustVersions(unittest.TestCase):
    def metadata(self, needed, kind=None):
        def package(name, rust):
            return {"id": name, "name": name, "version": "1.0.0", "rust_version": rust}

        def node(name, *below):
            kinds = [{"kind": kind}]
            return {"id": name, "deps": [{"pkg": below_it, "dep_kinds": kinds} for below_it in below]}

        return json.dumps({
            "packages": [package("ours", "1.88"), package("near", None), package("far", needed)],
            "workspace_members": ["ours"],
            "resolve": {"nodes": [node("ours", "near"), node("near", "far"), node("far")]},
        })

    def test_an_older_dependency_passes_and_a_newer_one_fails(self):
        self.assertFalse(fails(rust_versions.main, self.metadata("1.9"), ["ours"]))
        self.assertTrue(fails(rust_versions.main, self.metadata("1.88.1"), ["ours"]))
        self.assertTrue(fails(rust_versions.main, self.metadata("1.90", "build"), ["ours"]))

    def test_dependencies_of_tests_do_not_count(self):
        self.assertFalse(fails(rust_versions.main, self.metadata("1.90", "dev"), ["ours"]))


class Replays(unittest.TestCase):
    def output(self, *ratios, hits=1):
        one = [{"hit_ratio": ratio, "hits": hits, "requests": 2} for ratio in ratios]
        return json.dumps({"traces": [{"replays": one}]})

    def test_sane_replays_pass(self):
        self.assertFalse(fails(replays.main, self.output(0.5, 0.1), 2))

    def test_a_missing_replay_and_one_that_is_not_sane_fail(self):
        self.assertTrue(fails(replays.main, self.output(0.5), 2))
        self.assertTrue(fails(replays.main, self.output(0.5, 0.0), 2))
        self.assertTrue(fails(replays.main, self.output(0.5, 1.0), 2))
        self.assertTrue(fails(replays.main, self.output(0.5, hits=3), 1))


class Reference(unittest.TestCase):
    def test_rows_of_other_traces_and_capacities_are_left_out(self):
        lines = ["trace\tcapacity\tlru", "loop\t100\t1.00", "loop\t101\t2.00", "cpp\t100\t3.00"]
        self.assertEqual(list(reference.reference(lines)), [("loop", "100")])

    def test_the_ratio_is_rounded_as_in_the_reference(self):
        output = json.dumps({"traces": [{"replays": [{"hit_ratio": 0.123456}]}]})
        self.assertEqual(reference.percent(output), "12.35")

    def test_only_exact_policies_must_agree(self):
        self.assertTrue(reference.differs("lru", "1.00", "1.01"))
        self.assertFalse(reference.differs("lru", "1.00", "1.00"))
        self.assertFalse(reference.differs("lfu", "1.00", "1.01"))


class Coverage(unittest.TestCase):
    def summary(self, missed):
        return (
            "Filename Regions Missed Cover Functions Missed Executed Lines Missed Cover\n"
            f"cache.rs 1 0 100% 1 0 100% 100 {missed} 0%\n"
            "tests/it.rs 1 0 100% 1 0 100% 100 100 0%\n"
            f"TOTAL 1 0 100% 1 0 100% 200 100 0%\n"
        )

    def run_it(self, text):
        return fails(lambda path: coverage.main(95, path), text)

    def test_too_little_fails(self):
        self.assertFalse(self.run_it(self.summary(5)))
        self.assertTrue(self.run_it(self.summary(6)))

    def test_nothing_at_all_fails(self):
        self.assertTrue(self.run_it("Filename\n"))


class Instructions(unittest.TestCase):
    PROFILE = """\
events: Ir
ob=program
fl=a.rs
fn=a
10 5
fi=b.rs
7 2
fe=a.rs
11 1
cfi=c.rs
cfn=c
calls=3 20
12 40

fl=c.rs
fn=c
20 30
21 10

totals: 48
"""
    BEFORE = {("hit", "lru"): 100.0}

    def verdicts(self, now, before=BEFORE):
        return [verdict for *_, verdict in instructions.compare(now, before)]

    def judged(self, now):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            failed = instructions.judge(list(instructions.compare(now, self.BEFORE)))
        return failed, said.getvalue()

    def test_calls_are_part_of_the_caller_and_of_no_line(self):
        profile = instructions.read_profile(self.PROFILE.splitlines())
        self.assertEqual(profile.total, 48)
        self.assertEqual(profile.functions, {"a": [8, 48], "c": [40, 40]})
        self.assertEqual(
            profile.lines, {("a.rs", 10): 5, ("b.rs", 7): 2, ("a.rs", 11): 1, ("c.rs", 20): 30, ("c.rs", 21): 10}
        )

    def test_what_has_risen_or_is_new_fails(self):
        for now in ({("hit", "lru"): 103.1}, {("hit", "lru"): 100.0, ("miss", "lru"): 1.0}):
            failed, said = self.judged(now)
            self.assertTrue(failed)
            self.assertIn("--record", said)

    def test_what_stays_or_has_fallen_passes_and_a_fall_is_said(self):
        for count, is_said in ((103.0, False), (97.0, False), (96.9, True)):
            failed, said = self.judged({("hit", "lru"): count})
            self.assertFalse(failed)
            self.assertEqual("--record" in said, is_said, said)

    def test_a_record_is_read_as_it_was_written(self):
        counts = {("miss", "fifo"): 7.5, ("hit", "default"): 5.0, ("hit", "lru"): 6.0}
        here = {"rustc": "rustc 1.2.3", "host": "a-b-c"}
        text = instructions.write_record(here, counts)
        self.assertEqual(instructions.read_record(text), (here, counts))
        self.assertIn('    "hit": {"default": 5.0, "lru": 6.0},\n', text)

    def test_names_choose_operations_and_policies(self):
        self.assertEqual(instructions.chosen(["lru", "hit", "fifo"]), [("hit", "lru"), ("hit", "fifo")])
        self.assertEqual(len(instructions.chosen([])), 24)
        self.assertEqual(len(instructions.chosen(["evict"])), 4)


if __name__ == "__main__":
    unittest.main()
