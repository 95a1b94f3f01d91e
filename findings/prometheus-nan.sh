#!/usr/bin/env bash
# prometheus-client: one NaN makes a histogram's sum NaN for as long as the process lives, and is counted nowhere.
#
# Versions: prometheus-client 0.26.0.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a NaN is refused, or counted somewhere; the mean of what comes later can be had.
# Seen: the sum is NaN from then on, and with it every mean over time, also of later hours; a histogram's count leaves
# the NaN out, and its bucket up to infinity does, while a Summary counts it. So the fault that should be seen has no
# count, and the mean that could show it has no value.
#
#   prometheus-client 0.26.0
#   guess: a NaN is refused, or counted somewhere; the mean of what comes later can be had
#   10 times 0.8             histogram count  10, up to +Inf  10, sum   8.0   summary count  10, sum   8.0
#   and one NaN              histogram count  10, up to +Inf  10, sum   nan   summary count  11, sum   nan
#   and 100 times 0.8        histogram count 110, up to +Inf 110, sum   nan   summary count 111, sum   nan
#
# Matters to: whoever watches scores, margins or lengths of embeddings of a served model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prometheus-client==0.26.0
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Histogram, Summary

print(f"prometheus-client {version('prometheus-client')}")
print("guess: a NaN is refused, or counted somewhere; the mean of what comes later can be had")
registry = CollectorRegistry()
scores = Histogram("score", "The score of the best label.", buckets=(0.5, 0.9), registry=registry)
summary = Summary("margin", "The margin of the best label.", registry=registry)


def read(name):
    """Return the value of a sample."""
    return registry.get_sample_value(name)


def show(when):
    """Print what a scrape would have."""
    infinite = registry.get_sample_value("score_bucket", {"le": "+Inf"})
    values = f"histogram count {read('score_count'):3.0f}, up to +Inf {infinite:3.0f}, sum {read('score_sum'):5.1f}"
    print(f"{when:24} {values}   summary count {read('margin_count'):3.0f}, sum {read('margin_sum'):5.1f}")
    return read("score_count"), read("score_sum")


def observe(value, times):
    """Observe a value several times."""
    for _ in range(times):
        scores.observe(value)
        summary.observe(value)


observe(0.8, 10)
show("10 times 0.8")
observe(float("nan"), 1)
show("and one NaN")
observe(0.8, 100)
count, total = show("and 100 times 0.8")
same = count == 110 and total != total and read("margin_count") == 111
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
