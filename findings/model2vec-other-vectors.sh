#!/usr/bin/env bash
# model2vec: sentence-transformers gives other vectors from the same folder, and INT8 vectors come without their scale.
#
# Versions: model2vec 0.10.0, sentence-transformers 6.2.0, tokenizers 0.23.3, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a folder that both libraries read gives the same vectors, up to rounding; quantize_to="int8" stores codes
# and a scale, so that encode gives nearly what the float model gives.
# Seen: model2vec leaves unknown words out, sentence-transformers adds the unknown token's vector. model2vec cuts a text
# to 512 times the tokens' median length in characters before it splits it, so that what stands behind a long run of
# spaces is gone: zeros. from_model2vec forgets that the model normalizes. The INT8 model has no scale: its vectors are
# codes, 11 times too long here, beside those of a float model under the same name.
#
#   model2vec 0.10.0, sentence-transformers 6.2.0
#   guess: 1.00 and equal lengths in each line
#   two words                    SentenceTransformer(folder)  cosine  1.00    lengths  1.00  1.00
#   two words                    from_model2vec               cosine  1.00    lengths  1.00  8.23
#   a word and two unknown ones  SentenceTransformer(folder)  cosine  0.55    lengths  1.00  1.00
#   a word and two unknown ones  from_model2vec               cosine  0.55    lengths  1.00  8.68
#   unknown words alone          SentenceTransformer(folder)  cosine  0.00    lengths  0.00  1.00
#   unknown words alone          from_model2vec               cosine  0.00    lengths  0.00 11.02
#   4000 spaces and two words    SentenceTransformer(folder)  cosine  0.00    lengths  0.00  1.00
#   4000 spaces and two words    from_model2vec               cosine  0.00    lengths  0.00  8.23
#   two words                    quantize_to=int8             cosine  1.00    lengths  8.23 89.59
#
# Matters to: whoever trains with one library and serves with the other, or mixes INT8 and float vectors in an index
# of dot products or distances.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check model2vec==0.10.0 sentence-transformers==6.2.0 \
  tokenizers==0.23.3 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging
import warnings

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

from importlib.metadata import version

import numpy as np
from model2vec import StaticModel
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

print(f"model2vec {version('model2vec')}, sentence-transformers {version('sentence-transformers')}")
print("guess: 1.00 and equal lengths in each line")
WORDS = ["[UNK]", "[PAD]", *(f"word{number}" for number in range(98))]
tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
table = np.random.default_rng(0).normal(size=(100, 16), scale=3).astype(np.float32)
StaticModel(table, tokenizer, normalize=True).save_pretrained("normal")
StaticModel(table, tokenizer, normalize=False).save_pretrained("plain")
TEXTS = {
    "two words": "word5 word6",
    "a word and two unknown ones": "word5 strange other",
    "unknown words alone": "strange other",
    "4000 spaces and two words": " " * 4000 + "word5 word6",
}


def compared(ours, other):
    """Return the cosine of two vectors (0 where one is zero) and their lengths."""
    lengths = np.linalg.norm(ours), np.linalg.norm(other)
    return float(ours @ other / max(lengths[0] * lengths[1], 1e-9)), *map(float, lengths)


by_itself = StaticModel.from_pretrained("normal").encode(list(TEXTS.values()))
by_folder = SentenceTransformer("normal").encode(list(TEXTS.values()))
by_module = SentenceTransformer(modules=[StaticEmbedding.from_model2vec("normal")]).encode(list(TEXTS.values()))
seen = {}
for index, name in enumerate(TEXTS):
    for way, vectors in (("SentenceTransformer(folder)", by_folder), ("from_model2vec", by_module)):
        cosine, one, two = seen[name, way] = compared(by_itself[index], vectors[index])
        print(f"{name:28} {way:28} cosine {cosine:5.2f}    lengths {one:5.2f} {two:5.2f}")
floats = StaticModel.from_pretrained("plain").encode("word5 word6")
codes = StaticModel.from_pretrained("plain", quantize_to="int8").encode("word5 word6")
cosine, one, two = seen["int8"] = compared(floats, codes)
print(f"{'two words':28} {'quantize_to=int8':28} cosine {cosine:5.2f}    lengths {one:5.2f} {two:5.2f}")
folder = "SentenceTransformer(folder)"
same = seen["two words", folder][0] > 0.999 and seen["a word and two unknown ones", folder][0] < 0.9
same = same and seen["unknown words alone", folder][1] < 0.01 < 0.99 < seen["unknown words alone", folder][2]
same = same and seen["4000 spaces and two words", folder][1] < 0.01 < seen["4000 spaces and two words", folder][2]
same = same and seen["two words", "from_model2vec"][2] > 2 and seen["int8"][2] > 5 * seen["int8"][1]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
