"""An encoded text: one input of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.keys import Key, digest_of_array


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One encoded model input. A row may give several (windows of a long context).

    `input_ids` and `token_type_ids` are int64 [length], without padding. `row` is the index of the data set row it
    belongs to, `truncated` says that text was cut off to fit. `seen` is how many tokens, the first ones, others attend
    to (None: all); what stands behind them has outputs, and attends to those. `detail` is the task's own (token
    offsets, word numbers) and means nothing to other code.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    row: int
    truncated: bool = False
    seen: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of tokens, special tokens included."""
        return int(self.input_ids.shape[0])

    def cache_key(self) -> Key:
        """Return what a model reads of it: ids and types, and what of them is seen."""
        read = [self.input_ids, self.token_type_ids]
        return digest_of_array(np.stack(read if self.seen is None else [*read, np.arange(self.length) < self.seen]))
