#!/usr/bin/env bash
# prometheus-client and opentelemetry: a sum of numpy's FP16 or FP32 numbers stays in their type and stops growing.
#
# Versions: prometheus-client 0.26.0, opentelemetry-sdk 1.45.2, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: values become Python's floats, as set() of prometheus-client makes them, and sums are those of doubles.
# Seen: inc, observe, add and record add what they are given to a Python number, and with numpy 2 the result has numpy's
# type and is the sum from then on. One number in FP16 is enough: later ones of Python are rounded with it, and ones end
# at 2048; in FP32 they are lost beyond 16.8 million. Counts go on, so that the mean falls. No error and no warning.
#
#   prometheus-client 0.26.0, opentelemetry-sdk 1.45.2, numpy 2.4.6
#   guess: sums of doubles, whatever type a number comes in
#   5000 ones, Python's: right 5000
#     prometheus-client  c_total 5000, h_sum 5000, h_count 5000, g 5000
#     opentelemetry      c 5000, h_sum 5000, h_count 5000
#   5000 ones in FP16: right 5000
#     prometheus-client  c_total 2048, h_sum 2048, h_count 5000, g 2048
#     opentelemetry      c 2048, h_sum 2048, h_count 5000
#   one in FP16, then Python's: right 5000
#     prometheus-client  c_total 2048, h_sum 2048, h_count 5000, g 2048
#     opentelemetry      c 2048, h_sum 2048, h_count 5000
#   batches of 8192 tokens in FP32: right 4.09601e+07
#     prometheus-client  c_total 40960000, h_sum 40960000, h_count 5100, g 40960000
#     opentelemetry      c 40960000, h_sum 40960000, h_count 5100
#   a float, then INT8: right 5000
#     prometheus-client  c_total 5000, h_sum 5000, h_count 5000, g 5000
#     opentelemetry      c 5000, h_sum 5000, h_count 5000
#
# Matters to: whoever counts tokens by mask.sum() or watches confidences and losses as the engine gives them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prometheus-client==0.26.0 \
  opentelemetry-sdk==1.45.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

print(", ".join(f"{name} {version(name)}" for name in ("prometheus-client", "opentelemetry-sdk", "numpy")))
print("guess: sums of doubles, whatever type a number comes in")
TIMES = 5000


def prometheus(values):
    """Return what a counter, a histogram's sum and count, and a gauge hold behind these values."""
    registry = CollectorRegistry()
    counter, gauge = (kind("c" if kind is Counter else "g", "-", registry=registry) for kind in (Counter, Gauge))
    histogram = Histogram("h", "-", registry=registry)
    for value in values:
        counter.inc(value)
        histogram.observe(value)
        gauge.inc(value)
    names = ("c_total", "h_sum", "h_count", "g")
    return {name: float(registry.get_sample_value(name)) for name in names}


def opentelemetry(values):
    """Return what a counter and a histogram's sum and count hold behind these values."""
    reader = InMemoryMetricReader()
    meter = MeterProvider(metric_readers=[reader]).get_meter("meter")
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
    for value in values:
        counter.add(value)
        histogram.record(value)
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    points = {metric.name: metric.data.data_points[0] for metric in metrics}
    return {"c": float(points["c"].value), "h_sum": float(points["h"].sum), "h_count": float(points["h"].count)}


CASES = {
    "5000 ones, Python's": [1.0] * TIMES,
    "5000 ones in FP16": [np.float16(1)] * TIMES,
    "one in FP16, then Python's": [np.float16(1)] + [1.0] * (TIMES - 1),
    "batches of 8192 tokens in FP32": [np.float32(8192.0)] * TIMES + [np.float32(1)] * 100,
    "a float, then INT8": [1.0] + [np.int8(1)] * (TIMES - 1),
}
seen = {}
for name, values in CASES.items():
    right = float(sum(float(value) for value in values))
    seen[name] = right, prometheus(values), opentelemetry(values)
    print(f"{name}: right {right:g}")
    for library, found in zip(("prometheus-client", "opentelemetry"), seen[name][1:], strict=True):
        print(f"  {library:18}", ", ".join(f"{key} {value:.10g}" for key, value in found.items()))
half = seen["5000 ones in FP16"]
same = half[1]["c_total"] == half[1]["h_sum"] == half[2]["c"] == half[2]["h_sum"] == 2048
same = same and half[1]["h_count"] == half[2]["h_count"] == TIMES
plain = seen["5000 ones, Python's"]
same = same and plain[1]["h_sum"] == plain[2]["h_sum"] == TIMES
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
