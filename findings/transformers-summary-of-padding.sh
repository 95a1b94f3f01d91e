#!/usr/bin/env bash
# transformers: a classifier's summary_type "mean" averages padding too, and XLNet's "first" is padding.
#
# Versions: torch 2.13.0, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the attention mask keeps padding out of the answer: a text has the same logits alone and in a batch.
# Seen: the mask stops at attention. With "mean" the padding's states are averaged with the text's; XLNet's tokenizer
# pads at the left, so that "first", which in the other models is the text's first token, is padding. The logits of a
# text change with the length of its neighbours.
#
#   transformers 5.24.0, torch 2.13.0
#   guess: one answer in each line, whatever the text is padded to
#   XLNet    padded at the left  last  logits at lengths 5, 10 and 40:   1.01   0.59    1.01   0.59    1.01   0.59
#   XLM      padded at the right first logits at lengths 5, 10 and 40:  -1.22   0.58   -1.22   0.58   -1.22   0.58
#   Flaubert padded at the right first logits at lengths 5, 10 and 40:  -1.22   0.58   -1.22   0.58   -1.22   0.58
#   XLNet    padded at the left  first logits at lengths 5, 10 and 40:   1.24   0.61    1.00   0.47    0.99   0.53
#   XLNet    padded at the left  mean  logits at lengths 5, 10 and 40:   1.23   0.54    1.09   0.50    0.99   0.51
#   XLM      padded at the right mean  logits at lengths 5, 10 and 40:  -0.11   1.34   -0.06   0.67   -0.01   0.17
#   Flaubert padded at the right mean  logits at lengths 5, 10 and 40:  -0.11   1.34   -0.06   0.67   -0.01   0.17
#
# Matters to: whoever trains with other batches than he serves, and whoever validates one text at a time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import torch
import transformers

torch.set_num_threads(1)
print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}")
print("guess: one answer in each line, whatever the text is padded to")
PAD, TEXT, LENGTHS = 2, [7, 8, 9, 10, 11], (5, 10, 40)
SIZES = {
    "XLNet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "pad_token_id": PAD, "initializer_range": 0.3},
    "XLM": {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_index": PAD, "embed_init_std": 0.5, "init_std": 0.5},
}
SIZES["Flaubert"] = SIZES["XLM"]


def spread(family, summary):
    """Print a text's logits at several lengths; return how far apart they are."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(vocab_size=20, summary_type=summary, **SIZES[family])
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    side = getattr(transformers, f"{family}Tokenizer").padding_side
    logits = []
    for length in LENGTHS:
        ids, mask, padding = TEXT, [1] * len(TEXT), length - len(TEXT)
        ids = [PAD] * padding + ids if side == "left" else ids + [PAD] * padding
        mask = [0] * padding + mask if side == "left" else mask + [0] * padding
        with torch.no_grad():
            row = model(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask])).logits[0]
        logits.append(row)
    said = "  ".join(f"{first:6.2f} {second:6.2f}" for first, second in logits)
    print(f"{family:8} padded at the {side:5} {summary:5} logits at lengths 5, 10 and 40: {said}")
    return float((torch.stack(logits) - logits[0]).abs().max())


steady = [spread(*case) for case in (("XLNet", "last"), ("XLM", "first"), ("Flaubert", "first"))]
moved = [spread(*case) for case in (("XLNet", "first"), ("XLNet", "mean"), ("XLM", "mean"), ("Flaubert", "mean"))]
raise SystemExit(0 if max(steady) < 1e-3 and min(moved) > 0.1 else "the behaviour is no longer so")
PYTHON
