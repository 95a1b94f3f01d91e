#!/usr/bin/env bash
# torch: histc, histogram and HistogramObserver count to 16.8 million in a bin and no further, per thread.
#
# Versions: torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a histogram counts what it is given, whatever the number of threads, or says that it cannot.
# Seen: counts are float32, each value adds 1, and 2^24 + 1 is 2^24. Each thread has counts of its own, so that the
# limit is twice as high with two. What is lost is the fullest bin, zeros behind a ReLU or padding for instance:
# percentiles by such counts are too high.
#
#   torch 2.13.0
#   guess: a histogram counts what it is given
#   10 million zeros, histc    , threads 1: 10,000,000 counted
#   10 million zeros, histc    , threads 2: 10,000,000 counted
#   10 million zeros, histogram, threads 1: 10,000,000 counted
#   10 million zeros, histogram, threads 2: 10,000,000 counted
#   20 million zeros, histc    , threads 1: 16,777,216 counted
#   20 million zeros, histc    , threads 2: 20,000,000 counted
#   20 million zeros, histogram, threads 1: 16,777,216 counted
#   20 million zeros, histogram, threads 2: 20,000,000 counted
#   60 million zeros, histc    , threads 1: 16,777,216 counted
#   60 million zeros, histc    , threads 2: 33,554,432 counted
#   60 million zeros, histogram, threads 1: 16,777,216 counted
#   60 million zeros, histogram, threads 2: 33,554,432 counted
#   60 million activations behind a ReLU, one thread, 50,481,709 of them zero
#   counted 26,263,812
#   99% are below 1.62 by the counts, below 1.32 in truth
#   90% are below 0.71 by the counts, below 0.28 in truth
#   HistogramObserver has counted 26,263,812
#
# Matters to: whoever calibrates on one tensor of many millions of activations: ranges then depend on the machine's
# threads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import torch
from torch.ao.quantization import HistogramObserver

print(f"torch {torch.__version__}")
print("guess: a histogram counts what it is given")


def counted(values, threads, count):
    """Return how many values a histogram of 4 bins has in all."""
    torch.set_num_threads(threads)
    return int(count(values).double().sum().item())


WAYS = {
    "histc": lambda values: torch.histc(values, bins=4, min=0.0, max=4.0),
    "histogram": lambda values: torch.histogram(values, bins=4, range=(0.0, 4.0)).hist,
}
seen = {}
for millions in (10, 20, 60):
    zeros = torch.zeros(millions * 1_000_000)
    for name, count in WAYS.items():
        for threads in (1, 2):
            seen[name, millions, threads] = counted(zeros, threads, count)
            print(
                f"{millions} million zeros, {name:9}, threads {threads}: {seen[name, millions, threads]:>10,} counted"
            )
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
activations = torch.randn(60_000_000, generator=generator).sub_(1.0).relu_()
largest = activations.max().item()
counts = torch.histc(activations, bins=2048, min=0.0, max=largest).double()


def percentile(counts, share):
    """Return the value below which this share of the counts is."""
    return ((counts.cumsum(0) / counts.sum()) < share).sum().item() * largest / 2048


exact = counts.clone()
exact[0] = activations.numel() - exact[1:].sum()
ranges = {share: (percentile(counts, share), percentile(exact, share)) for share in (0.99, 0.9)}
print(f"60 million activations behind a ReLU, one thread, {int((activations == 0).sum()):,} of them zero")
print(f"counted {int(counts.sum()):,}")
for share, (one, other) in ranges.items():
    print(f"{share:.0%} are below {one:.2f} by the counts, below {other:.2f} in truth")
observer = HistogramObserver()
observer(activations)
print(f"HistogramObserver has counted {int(observer.histogram.double().sum()):,}")
same = seen["histc", 60, 1] == seen["histogram", 60, 1] == 2**24 and seen["histc", 60, 2] == 2**25
same = same and seen["histc", 10, 1] == 10_000_000 and ranges[0.9][0] > 1.1 * ranges[0.9][1]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
