#!/usr/bin/env bash
# JAX: a histogram of FP16 numbers counts to 2048 in a bin, of BF16 numbers to 256.
#
# Versions: jax 0.10.2 (the newest that Python 3.11 gets), numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: counts are integers, or floats with room for them, as in numpy, whose counts are INT64 for any type.
# Seen: the ones are added up in the type of the data. In FP16 2048 + 1 is 2048 and in BF16 256 + 1 is 256, so every bin
# with more stops there, without a word, and a quantile read off the counts moves. In float32 the end is 16.8 million.
# The documentation does not name the type of the counts; no issue of it was found.
#
#   jax 0.10.2, numpy 2.4.6
#   guess: counts add up to the 200000 activations in every type, as in numpy
#   numpy     [5, 291, 4220, 27342, 68160, 68251, 27152, 4303, 269, 7]: 200000, 99 % below 3
#   float32   [5, 291, 4220, 27342, 68160, 68251, 27152, 4303, 269, 7]: 200000, 99 % below 3
#   float16   [5, 291, 2048, 2048, 2048, 2048, 2048, 2048, 269, 7]: 12860, 99 % below 4
#   bfloat16  [5, 256, 256, 256, 256, 256, 256, 256, 256, 7]: 2060, 99 % below 4
#
# Matters to: whoever calibrates by histograms of activations in the model's own type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check jax==0.10.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

print(f"jax {jax.__version__}, numpy {np.__version__}")
print("guess: counts add up to the 200000 activations in every type, as in numpy")
activations = np.random.default_rng(0).normal(size=200_000).astype(np.float16)
edges = np.linspace(-5, 5, 11)


def share_kept(counts, share):
    """Return up to which edge lies this share of the counts, as a calibration by percentile looks for it."""
    totals = np.cumsum(np.asarray(counts, np.float64))
    return float(edges[1:][np.searchsorted(totals, share * totals[-1])])


seen = {}
right = np.histogram(activations.astype(np.float32), edges)[0]
print(f"numpy     {right.tolist()}: {right.sum()}, 99 % below {share_kept(right, 0.99):.0f}")
for kind in (jnp.float32, jnp.float16, jnp.bfloat16):
    counts = np.asarray(jnp.histogram(jnp.asarray(activations, kind), jnp.asarray(edges, kind))[0], np.float64)
    seen[kind] = counts
    name = jnp.dtype(kind).name
    print(f"{name:9} {counts.astype(int).tolist()}: {int(counts.sum())}, 99 % below {share_kept(counts, 0.99):.0f}")
same = np.array_equal(seen[jnp.float32], right)
same = same and seen[jnp.float16].max() == 2048 and seen[jnp.bfloat16].max() == 256
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
