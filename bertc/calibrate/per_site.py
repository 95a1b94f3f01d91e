"""Smoothing exponents and ranges chosen site by site, by the error that they cause at the layer's output.

The candidates are tried on a sample of tokens: the GEMMs that read the site are computed with quantized input and
weights and compared with the float result. As in SmoothQuant+ (Pan et al. 2023, arXiv:2312.03788) and the range search
of post-training quantization (Nagel et al. 2021, arXiv:2106.08295, section 3.1), but for one site at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.ir.affine import codes_from_weights, fake_quantize, scale_from_amax, weight_amax

EXPONENTS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Of the largest value seen, tried as ranges."""

Array = NDArray[np.float32]


def output_error(sample: Array, weights: Array, *, amax: float) -> float:
    """Return the mean squared error of x W with INT8 input (range `amax`) and per-channel INT8 weights.

    sample: x [tokens, in]; weights: W [in, out].
    """
    scale = scale_from_amax(weight_amax(weights, per_channel=True))
    rounded = codes_from_weights(weights, scale) * scale
    difference = fake_quantize(sample, scale_from_amax(amax)) @ rounded - sample @ weights
    return float(np.mean(np.square(difference, dtype=np.float64)))


def best_range(sample: Array, weights: Array, amax: float) -> float:
    """Return the best of `SHARES` of `amax` as the range of x; `amax` itself where nothing is better."""
    return min((amax * share for share in SHARES), key=lambda limit: output_error(sample, weights, amax=limit))
