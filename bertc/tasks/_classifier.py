"""What sequence classification and text ranking share: a text or a pair, and the layers that give its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertc.core.exits import LAYERS, exit_name
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem, Squash
from bertc.core.outputs import Output
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.task import Encoder, HeadBuilder, HeadFiles, SizedValue
from bertc.tasks._declared import Declared

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class TextClassifier(Declared):
    """The scores of each text or pair of texts, one output with a number per label."""

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return the scores of each text, and those of each exit, or at which classifier each text left."""
        scores = Output(name="logits", per_token=False)
        if head.exit_threshold is not None:
            return scores, Output(name=LAYERS, per_token=False, read=False)
        return (scores, *(Output(name=exit_name(each.layer), per_token=False, read=False) for each in head.exits))

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the family's layers behind each text's vector."""
        from bertc.ir.pooling import emit_pooled
        from bertc.tasks._exits import emit_exit

        arch = builder.arch

        def pooled(tokens: ir.Value) -> ir.Value:
            return emit_pooled(builder.emit, builder.packing, tokens, arch.hidden, arch.pooling)

        before = arch.dense_before_pooling
        x = pooled(builder.dense(states[-1])) if before else builder.dense(pooled(states[-1]))
        scores = len(head.labels)
        logits = builder.linear(x, arch.classifier, (arch.hidden, scores), "head.classifier_gemm", "logits")
        exits = [emit_exit(builder, each, states[each.layer + 1], scores) for each in head.exits]
        return [(value, (scores,)) for value in (logits, *exits)]

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode each row's text or pair."""
        if not rows:
            return []
        pairs = [row.texts[1] for row in rows] if len(rows[0].texts) == 2 else None
        encoded = encoder.encode_batch([row.texts[0] for row in rows], pairs, max_length=max_length)
        return [
            Feature(
                input_ids=np.asarray(item.ids, np.int64),
                token_type_ids=np.asarray(item.type_ids, np.int64),
                row=index,
                truncated=bool(item.truncated),
            )
            for index, item in enumerate(encoded)
        ]


def problem_from_files(files: HeadFiles, rows: int) -> Problem:
    """Return what the scores mean, as config.json or transformers says. Raises `InputError` for what cannot be."""
    named = files.config.get("problem_type")
    if named is None:
        return Problem.REGRESSION if rows == 1 else Problem.SINGLE_LABEL
    path = f"{files.folder}/config.json"
    if named not in tuple(Problem):
        known = ", ".join(Problem)
        raise InputError(f"{path}: the problem_type {named!r} is unknown; write one of {known}")
    if named == Problem.SINGLE_LABEL and rows == 1:
        raise InputError(f"{path}: {named} needs two labels or more, there is 1; correct problem_type")
    return Problem(named)


def squashed(logits: NDArray[np.float32], head: Head) -> NDArray[np.float32]:
    """Return the scores that a head makes of logits."""
    if head.squash != Squash.SIGMOID:
        return logits
    return np.asarray(0.5 * (1 + np.tanh(logits.astype(np.float64) / 2)), np.float32)  # the sigmoid, without overflow
