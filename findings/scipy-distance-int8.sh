#!/usr/bin/env bash
# scipy: cosine, euclidean and cityblock of INT8 and UINT8 vectors wrap around in eight bits, cdist does not.
#
# Versions: scipy 1.17.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: scipy.spatial.distance.cosine(a, b) is cdist([a], [b], "cosine"), as for floats; integers become floats
# first, as in sqeuclidean and correlation of the same module.
# Seen: cosine multiplies and adds in eight bits: of UINT8 codes the distance is 0 for vectors 24 degrees apart, of
# INT8 codes any number from 0 to 2, or there is a math domain error, as the sums happen to wrap. euclidean, cityblock
# and chebyshev subtract in eight bits. sqeuclidean, correlation, pdist and cdist are right. All that is said is a
# RuntimeWarning, and not by each function.
#
#   scipy 1.17.1, numpy 2.4.6
#   guess: each function gives what cdist gives, whatever the type
#   100 pairs of 384 codes, functions of two vectors against cdist: pairs that differ by more than 1e-3 of it
#   cosine         int8 100    uint8 100    float32   0
#   euclidean      int8 100    uint8 100    float32   0
#   cityblock      int8 100    uint8 100    float32   0
#   chebyshev      int8 100    uint8 100    float32   0
#   sqeuclidean    int8   0    uint8   0    float32   0
#   correlation    int8   0    uint8   0    float32   0
#   one pair of uint8: cosine 0.000, cdist 0.089
#
# Matters to: whoever compares quantized embeddings, or a runtime's codes with a simulator's, pair by pair.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

warnings.simplefilter("ignore")

import numpy as np
import scipy
from scipy.spatial import distance

print(f"scipy {scipy.__version__}, numpy {np.__version__}")
print("guess: each function gives what cdist gives, whatever the type")
rng = np.random.default_rng(0)
floats = rng.normal(scale=40, size=(200, 384))
SIGNED = np.clip(np.rint(floats), -128, 127).astype(np.int8)
CODES = {
    "int8": SIGNED,
    "uint8": (SIGNED.astype(int) + 128).astype(np.uint8),
    "float32": SIGNED.astype(np.float32),
}


def measured(name, one, other):
    """Return the function's distance, nan where it raises an error."""
    try:
        return float(getattr(distance, name)(one, other))
    except ValueError:
        return float("nan")


def wrong(name, codes):
    """Return how many pairs have another distance than by cdist."""
    pairs = list(zip(codes[::2], codes[1::2], strict=True))
    truth = [distance.cdist(one[None], other[None], name)[0, 0] for one, other in pairs]
    seen = [measured(name, one, other) for one, other in pairs]
    return int(sum(not np.isclose(*each, rtol=1e-3) for each in zip(seen, truth, strict=True)))


print("100 pairs of 384 codes, functions of two vectors against cdist: pairs that differ by more than 1e-3 of it")
counts = {}
for name in ("cosine", "euclidean", "cityblock", "chebyshev", "sqeuclidean", "correlation"):
    counts[name] = {kind: wrong(name, codes) for kind, codes in CODES.items()}
    print(f"{name:14}", "    ".join(f"{kind} {count:3}" for kind, count in counts[name].items()))
pair = CODES["uint8"][:2]
direct, by_table = measured("cosine", *pair), distance.cdist(pair[:1], pair[1:], "cosine")[0, 0]
print(f"one pair of uint8: cosine {direct:.3f}, cdist {by_table:.3f}")
same = all(counts[name][kind] > 90 for name in ("cosine", "euclidean", "cityblock") for kind in ("int8", "uint8"))
same = same and not any(counts[name]["float32"] for name in counts) and not any(counts["sqeuclidean"].values())
same = same and not any(counts["correlation"].values())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
