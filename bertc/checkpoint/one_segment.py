"""What is told of a model that has segments and a tokenizer that gives none."""

from __future__ import annotations

from bertc.checkpoint.text_encoder import TextEncoder
from bertc.ir.architecture import Architecture


def notes_on_segments(architecture: Architecture, encoder: TextEncoder) -> tuple[str, ...]:
    """Return a sentence where all tokens of a model with segments (XLNet) have the type 0.

    XLNet's tokenizer gave a text, its pair and the classifier token types of their own until transformers 4; that of 5
    gives none unless its files ask for them (transformers 5.24, tokenization_xlnet.py, `model_input_names`).
    """
    if architecture.relative_sinusoids is None or encoder.gives_types:
        return ()
    return (
        (
            "all tokens are of one segment, as transformers 5 has it; a model that was trained with transformers 4 or "
            "before knows segments: then write token_type_ids into model_input_names of tokenizer_config.json"
        ),
    )
