"""Products on the GPU: which ways there are to launch one, and the launch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from triton.tools.tensor_descriptor import TensorDescriptor

from bertc.runtime.cuda.kernels.gemm import gemm, gemm_described
from bertc.runtime.cuda.tuning import Way

HOPPER = 9
"""The first compute capability whose tensor descriptors the hardware reads."""


LOADS = (None,)
SMALL = (
    (64, 32, 128, 4, 4, LOADS),
    (64, 64, 128, 4, 4, LOADS),
    (64, 32, 256, 4, 4, LOADS),
    (64, 64, 256, 4, 3, LOADS),
    (16, 32, 512, 4, 3, LOADS),
    (16, 64, 512, 4, 3, LOADS),
    (32, 32, 512, 8, 3, LOADS),
)
MIDDLE = (
    (64, 64, 128, 4, 4, (None, 0)),
    (64, 128, 128, 4, 4, (None, 0)),
    (64, 32, 256, 4, 4, LOADS),
    (64, 64, 256, 4, 3, (None, 0)),
    (128, 64, 128, 4, 4, (0,)),
    (128, 128, 128, 8, 3, (0,)),
)
LARGE = (
    (128, 128, 128, 8, 3, (0, 2, None)),
    (128, 128, 128, 4, 3, (0, 2)),
    (128, 128, 64, 4, 4, (0, 2)),
    (128, 256, 128, 8, 3, (1, 0)),
    (128, 256, 64, 8, 4, (1, 0)),
    (256, 128, 128, 8, 3, (1, 0)),
    (64, 128, 128, 4, 4, (0, None)),
    (64, 64, 128, 4, 4, (0,)),
)
"""Rows and columns of a tile, bytes of its depth, warps, stages, and how operands come (`Product.ways`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """a [rows, k padded] by b [n padded, k padded] to out [rows, n padded], and what follows; None where nothing does.

    Vectors are float32 [n padded]. `gated`: the residual is multiplied by.
    """

    a: torch.Tensor
    b: torch.Tensor
    out: torch.Tensor
    activation: int = 0
    scale: torch.Tensor | None = None
    requant_scale: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    residual: torch.Tensor | None = None
    residual_scale: torch.Tensor | None = None
    gated: bool = False
    inverse: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and depth."""
        return self.a.shape[0], self.b.shape[0], self.b.shape[1]

    @property
    def key(self) -> str:
        """What the time depends on: rows in powers of two, columns, depth, types and what follows."""
        m, n, k = self.shape
        types = [str(each.dtype).removeprefix("torch.") for each in (self.a, self.out)]
        residual = "" if self.residual is None else str(self.residual.dtype).removeprefix("torch.")
        follows = f"{'q' * (self.requant_scale is not None)}{self.activation}{residual}"
        return f"gemm {triton.next_power_of_2(m)} {n} {k} {' '.join(types)} {follows}"

    def ways(self, capability: int) -> list[Way]:
        """Return the ways that are worth a measurement; the first is a good one for most.

        `described`: operands come through tensor descriptors, in so many programs for each multiprocessor, as many as
        there are tiles if that is 0; without it by ordinary loads.
        """
        m, n, k = self.shape
        item = self.a.element_size()
        shapes = SMALL if m <= 64 else MIDDLE if m <= 512 else LARGE
        ways: list[Way] = []
        for rows, columns, depth, warps, stages, kinds in shapes:
            if m <= 64:
                rows = min(rows, max(16, _power(m)))
            block = {"BLOCK_M": rows, "BLOCK_N": min(columns, _power(n)), "BLOCK_K": min(depth // item, _power(k))}
            for described in kinds if capability >= HOPPER else (None,):
                way = block | {"GROUP": 8, "num_warps": warps, "num_stages": stages, "described": described}
                ways += [way] * (way not in ways)
        return ways

    def launch(self, way: Way) -> None:
        """Compute it."""
        m, n, k = self.shape
        options = {name: value for name, value in way.items() if name != "described"}
        residual = self.residual
        lacking = self.out  # a pointer that is not read
        given = (self.scale, self.requant_scale, self.bias, residual, self.residual_scale, self.inverse)
        vectors = [lacking if each is None else each for each in given]
        stride = 0 if residual is None else residual.stride(0)
        flags = {
            "SCALED": self.scale is not None,
            "REQUANTIZED": self.requant_scale is not None,
            "BIASED": self.bias is not None,
            "ACTIVATION": self.activation,
            "RESIDUAL": residual_kind(residual, self.residual_scale, gated=self.gated),
        }
        tiles = triton.cdiv(m, way["BLOCK_M"]) * triton.cdiv(n, way["BLOCK_N"])
        if way["described"] is None:
            even = k % way["BLOCK_K"] == 0 and n % way["BLOCK_N"] == 0
            gemm[(tiles,)](
                self.a, self.b, self.out, *vectors, m, n, k, self.a.stride(0), self.out.stride(0), stride,
                **flags, EVEN=even, **options,
            )  # fmt: skip
            return
        a = TensorDescriptor.from_tensor(self.a, [way["BLOCK_M"], way["BLOCK_K"]])
        b = TensorDescriptor.from_tensor(self.b, [way["BLOCK_N"], way["BLOCK_K"]])
        even = n % way["BLOCK_N"] == 0
        programs = way["described"] * multiprocessors(self.a.device) or tiles
        gemm_described[(min(tiles, programs),)](
            a, b, self.out, *vectors, m, n, k, self.out.stride(0), stride, **flags, EVEN=even, **options
        )


def residual_kind(residual: torch.Tensor | None, scale: torch.Tensor | None, *, gated: bool = False) -> int:
    """Return what the kernels do with a residual: nothing, add numbers, add codes of a scale, or multiply by it."""
    if residual is None:
        return 0
    return 3 if gated else 1 if scale is None else 2


def _power(size: int) -> int:
    return int(triton.next_power_of_2(size))


def multiprocessors(device: torch.device) -> int:
    """Return how many multiprocessors a GPU has; 4 in the interpreter."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 4
