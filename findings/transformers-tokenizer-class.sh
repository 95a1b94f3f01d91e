#!/usr/bin/env bash
# transformers: the class in tokenizer_config.json decides whether the rules in tokenizer.json count, and token types.
#
# Versions: torch 2.13.0, transformers 5.24.0, tokenizers 0.23.3.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: tokenizer.json is the tokenizer: its normalizer, splitting and template are used whatever class is named,
# and a BERT model gets token types 0 and 1 for a pair.
# Seen: with BertTokenizer (or no class at all) only the vocabulary is taken from tokenizer.json; normalizer,
# pre-tokenizer and template are BERT's own, built anew. With PreTrainedTokenizerFast or TokenizersBackend the file is
# used as it is, but no token types are returned, so that the model takes 0 for both texts. The tokenizers library,
# and whatever serves with it, always follows the file.
#
#   transformers 5.24.0, tokenizers 0.23.3
#   guess: the same tokens in each line, and token types 0 and 1 for a pair in each
#   tokenizers library       [CLS] new york t-shirt [SEP]                 types [0, 0, 0, 1, 1]
#   BertTokenizer            [CLS] new _ york t - shirt [SEP]             types [0, 0, 0, 1, 1]
#   PreTrainedTokenizerFast  [CLS] new york t-shirt [SEP]                 types None
#   TokenizersBackend        [CLS] new york t-shirt [SEP]                 types None
#
# Matters to: whoever changed a tokenizer's rules and trains with one library and serves with another; whoever copies
# a pair model's tokenizer under the general class: the answers change and nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 \
  tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import json
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
print("guess: the same tokens in each line, and token types 0 and 1 for a pair in each")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "new", "york", "t", "shirt", "t-shirt", "_", "-", "a"]
rules = Tokenizer(models.WordPiece({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
rules.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("_", " ")])
rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
rules.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
TEXT = "New_York T-shirt"
right = rules.encode(TEXT).tokens
print(f"{'tokenizers library':24} {' '.join(right):44} types {rules.encode('a', 'a').type_ids}")
os.mkdir("model")
rules.save("model/tokenizer.json")
with open("model/config.json", "w") as file:
    json.dump({"model_type": "bert", "vocab_size": len(WORDS)}, file)
special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
found = {}
for name in ("BertTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"):
    with open("model/tokenizer_config.json", "w") as file:
        json.dump(special | {"tokenizer_class": name}, file)
    tokenizer = transformers.AutoTokenizer.from_pretrained("model")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(TEXT)["input_ids"])
    types = tokenizer("a", "a").get("token_type_ids")
    found[name] = tokens == right, types is not None
    print(f"{name:24} {' '.join(tokens):44} types {types}")
wanted = {"BertTokenizer": (False, True), "PreTrainedTokenizerFast": (True, False), "TokenizersBackend": (True, False)}
raise SystemExit(0 if found == wanted else "the behaviour is no longer so")
PYTHON
