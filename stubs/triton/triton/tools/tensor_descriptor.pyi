from collections.abc import Sequence
from typing import Any, Self

class TensorDescriptor:
    @classmethod
    def from_tensor(cls, tensor: Any, block_shape: Sequence[int]) -> Self: ...
