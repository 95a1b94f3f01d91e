#!/usr/bin/env bash
# tokenizers: BPE dropout is saved in tokenizer.json and stays on wherever the file is used.
#
# Versions: tokenizers 0.23.3, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: dropout is a regularisation of training; a tokenizer that is loaded to encode is deterministic, as a model
# is in eval mode.
# Seen: the saved tokenizer splits the same text in another way each time, in the tokenizers library and in
# transformers' general class, without a word. There is no eval mode; model.dropout has to be set to None by hand.
# RobertaTokenizer builds its own BPE from the vocabulary and is deterministic.
#
#   tokenizers 0.23.3, transformers 5.24.0
#   guess: one way to split the text in each line
#   tokenizers library       43 ways in 200 calls
#   PreTrainedTokenizerFast  41 ways in 200 calls
#   RobertaTokenizer         1 ways in 200 calls
#   dropout set to None      1 ways in 200 calls
#
# Matters to: whoever trains with BPE dropout and ships the folder: answers differ from call to call, and calibration,
# validation and cached results with them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3 transformers==5.24.0 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import json
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

print(f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}")
print("guess: one way to split the text in each line")
TEXT, TIMES = "hello helpful world", 200
trained = Tokenizer(models.BPE(dropout=0.1))
trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(
    vocab_size=330,
    special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
trained.train_from_iterator(["hello helpful world", "the world is full of help"] * 20, trainer)
os.mkdir("model")
trained.save("model/tokenizer.json")
with open("model/config.json", "w") as file:
    json.dump({"model_type": "roberta", "vocab_size": trained.get_vocab_size()}, file)


def ways(split):
    """Return in how many ways a function splits the text."""
    return len({tuple(split(TEXT)) for _ in range(TIMES)})


loaded = Tokenizer.from_file("model/tokenizer.json")
found = {"tokenizers library": ways(lambda text: loaded.encode(text).tokens)}
for name in ("PreTrainedTokenizerFast", "RobertaTokenizer"):
    with open("model/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": name}, file)
    found[name] = ways(transformers.AutoTokenizer.from_pretrained("model").tokenize)
loaded.model.dropout = None
found["dropout set to None"] = ways(lambda text: loaded.encode(text).tokens)
for name, count in found.items():
    print(f"{name:24} {count} ways in {TIMES} calls")
same = min(found["tokenizers library"], found["PreTrainedTokenizerFast"]) > 1
same = same and found["RobertaTokenizer"] == found["dropout set to None"] == 1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
