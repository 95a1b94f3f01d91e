#!/usr/bin/env bash
# onnxruntime-extensions: the tokenizer made from an uncased BERT's keeps accents, and a word with one becomes unknown.
#
# Versions: onnxruntime-extensions 0.15.2, onnxruntime 1.32.0, onnx 1.23.2, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: gen_processing_models(tokenizer) gives a model with the tokenizer's own ids. strip_accents null, which is
# what uncased BERTs have in tokenizer_config.json, means what it means there: accents go where text is lower-cased.
# Seen: null is taken as false. Accents stay, their words are not in the vocabulary, and the pieces found before the
# unknown letter are kept beside the unknown token, where BERT gives that token alone. With strip_accents=True all ids
# are equal. Nothing is cut at model_max_length.
#
#   onnxruntime-extensions 0.15.2, onnxruntime 1.32.0, transformers 5.24.0
#   guess: both give the same tokens
#   strip_accents null   Cafe          both           [CLS] cafe [SEP]
#   strip_accents null   Café          transformers   [CLS] cafe [SEP]
#                                      extensions     [CLS] caf [UNK] [SEP]
#   strip_accents null   naïve         transformers   [CLS] na ##ive [SEP]
#                                      extensions     [CLS] na [UNK] [SEP]
#   strip_accents null   Ångström      transformers   [CLS] angstrom [SEP]
#                                      extensions     [CLS] [UNK] [SEP]
#   strip_accents true   Café          both           [CLS] cafe [SEP]
#   strip_accents true   naïve         both           [CLS] na ##ive [SEP]
#   strip_accents true   Ångström      both           [CLS] angstrom [SEP]
#   200 words under model_max_length 16: transformers 16 tokens, extensions 202
#
# Matters to: whoever puts the tokenizer into the ONNX file, to serve without Python: English hides it, names and other
# languages lose their words.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime-extensions==0.15.2 onnxruntime==1.32.0 \
  onnx==1.23.2 transformers==5.24.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import numpy as np
import onnxruntime as ort
import onnxruntime_extensions
import transformers
from onnxruntime_extensions import gen_processing_models, get_library_path
from transformers import BertTokenizer

print(
    f"onnxruntime-extensions {onnxruntime_extensions.__version__}, onnxruntime {ort.__version__},"
    f" transformers {transformers.__version__}"
)
print("guess: both give the same tokens")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cafe", "caf", "na", "##ive", "angstrom"]
with open("vocab.txt", "w") as file:
    file.write("".join(piece + "\n" for piece in PIECES))


def loaded(**settings):
    """Return an uncased BERT's tokenizer as it is after saving and loading, and the session made from it."""
    made = BertTokenizer(vocab="vocab.txt", do_lower_case=True, model_max_length=16, **settings)
    made.save_pretrained("saved")
    tokenizer = BertTokenizer.from_pretrained("saved")
    options = ort.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    model, _ = gen_processing_models(tokenizer, pre_kwargs={})
    return tokenizer, ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def both(tokenizer, session, text):
    """Return the tokens of either."""
    ids = session.run(["input_ids"], {session.get_inputs()[0].name: np.array([text])})[0].reshape(-1)
    return [PIECES[row] for row in tokenizer(text, truncation=True)["input_ids"]], [PIECES[row] for row in ids]


differing = set()
for value, words in ((None, ("Cafe", "Café", "naïve", "Ångström")), (True, ("Café", "naïve", "Ångström"))):
    pair = loaded(strip_accents=value)
    for word in words:
        first = f"strip_accents {'null' if value is None else 'true':6} {word:12}"
        wanted, got = both(*pair, word)
        if wanted == got:
            print(f"{first}  {'both':14} {' '.join(got)}")
            continue
        differing.add((value, word))
        print(f"{first}  {'transformers':14} {' '.join(wanted)}")
        print(f"{'':34} {'extensions':14} {' '.join(got)}")
wanted, got = both(*loaded(), "cafe " * 200)
print(f"200 words under model_max_length 16: transformers {len(wanted)} tokens, extensions {len(got)}")
same = differing == {(None, "Café"), (None, "naïve"), (None, "Ångström")} and (len(wanted), len(got)) == (16, 202)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
