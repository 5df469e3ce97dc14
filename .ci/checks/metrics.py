#!/usr/bin/env python3
"""Reads metrics with the parsers of prometheus_client and compares the two formats.

usage: metrics.py PROMETHEUS OPENMETRICS    the same metrics as two files of text
"""

import collections
import pathlib
import sys


def read(text, parse):
    """Kind and samples of each family."""
    families = {}
    for family in parse(text):
        if family.name in families:
            raise ValueError(f"{family.name} is there twice")
        families[family.name] = family
    return families


def kind_of(family):
    # Infos are gauges in the older format.
    return "gauge" if family.type == "info" else family.type


def problems(prometheus, open_metrics):
    """What is wrong with the two sets of families, or differs between them."""
    for families in (prometheus, open_metrics):
        for family in families.values():
            if not family.documentation.strip():
                yield f"{family.name} has no help"
            if not family.samples:
                yield f"{family.name} has no samples"
            for labels, count in repeated(family).items():
                yield f"{family.name} has {count} samples of {labels}"
            yield from bad_buckets(family)
    names = {name.removesuffix("_info"): family for name, family in prometheus.items()}
    for name in sorted(names.keys() ^ open_metrics.keys()):
        yield f"{name} is in one of the formats only"
    for name in sorted(names.keys() & open_metrics.keys()):
        one, other = names[name], open_metrics[name]
        if one.type != kind_of(other):
            yield f"{name} is a {one.type} in one format and a {other.type} in the other"
        if set(series(one)) != set(series(other)):
            yield f"{name} has other series in one format than in the other"


def series(family):
    return [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]


def repeated(family):
    return {found: count for found, count in collections.Counter(series(family)).items() if count > 1}


def bad_buckets(family):
    """Histograms whose buckets fall, or whose last bucket is not their count."""
    if family.type != "histogram":
        return
    buckets, counts = collections.defaultdict(list), {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        key = tuple(sorted(labels.items()))
        if sample.name.endswith("_bucket"):
            buckets[key].append((float(bound), sample.value))
        if sample.name.endswith("_count"):
            counts[key] = sample.value
    for key, found in buckets.items():
        values = [value for _, value in sorted(found)]
        if values != sorted(values) or found[-1] != (float("inf"), counts.get(key)):
            yield f"{family.name} has buckets that fall or do not add up, at {key}"


def main(prometheus, open_metrics):
    from prometheus_client import parser
    from prometheus_client.openmetrics import parser as open_parser

    one = read(pathlib.Path(prometheus).read_text("utf-8"), parser.text_string_to_metric_families)
    text = pathlib.Path(open_metrics).read_text("utf-8")
    other = read(text, open_parser.text_string_to_metric_families)
    wrong = list(problems(one, other))
    for line in wrong:
        print(line)
    samples = sum(len(family.samples) for family in other.values())
    print(f"{len(other)} families with {samples} samples read in both formats")
    return bool(wrong) or not other


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
