#!/usr/bin/env bash
# openvino-tokenizers: since 2026.4 a converted tokenizer cuts nothing, also where max_length is given.
#
# Versions: openvino-tokenizers 2026.4.1.0, openvino 2026.4.1, transformers 5.24.0, tokenizers 0.23.3, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: convert_tokenizer(tokenizer) makes a tokenizer that cuts at the tokenizer's model_max_length, as that of
# 2026.3 does, and with max_length=16 at 16.
# Seen: from Python both give every token, without a word. truncation=True is what cuts; the command line sets it where
# --max-length is given, and there alone. 2026.3.1, which has no such option, gives 16 in every other line.
#
#   openvino-tokenizers 2026.4.1.0, openvino 2026.4.1, transformers 5.24.0
#   guess: 16 tokens wherever a length was said
#   transformers, truncation=True                        16 tokens of 62, the last is [SEP]
#   convert_tokenizer(tokenizer)                         62 tokens of 62, the last is [SEP]
#   convert_tokenizer(tokenizer, max_length=16)          62 tokens of 62, the last is [SEP]
#   convert_tokenizer(tokenizer, truncation=True)        16 tokens of 62, the last is [SEP]
#   command line                                         62 tokens of 62, the last is [SEP]
#   command line, --max-length 16                        16 tokens of 62, the last is [SEP]
#
# Matters to: whoever exports a tokenizer beside an encoder, by optimum-cli too, which passes no such option. What was a
# cut text is now an error about shapes for every longer text where positions are learned (BERT, RoBERTa, exported by
# optimum-intel 2.2), and another vector where they are not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check openvino-tokenizers==2026.4.1.0 openvino==2026.4.1 \
  transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import subprocess
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import openvino as ov
import openvino_tokenizers
import transformers
from openvino_tokenizers import convert_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

print(
    f"openvino-tokenizers {openvino_tokenizers.__version__.split('-')[0]}, openvino {ov.__version__.split('-')[0]},"
    f" transformers {transformers.__version__}"
)
print("guess: 16 tokens wherever a length was said")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world"]
TEXT = "hello world " * 30


def tokenizer():
    """Return BERT's tokenizer over a few words, for 16 tokens."""
    pieces = Tokenizer(models.WordPiece({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=16, **names)


def ids(converted):
    """Return the ids that a converted tokenizer gives."""
    return ov.compile_model(converted, "CPU")([TEXT])["input_ids"][0].tolist()


def by_command(*options):
    """Return the model that the command line converts a saved tokenizer to."""
    command = ["venv/bin/convert_tokenizer", "tokenizer", "-o", "converted", *options]
    subprocess.run(command, check=True, capture_output=True)
    return ov.Core().read_model("converted/openvino_tokenizer.xml")


tokenizer().save_pretrained("tokenizer")
whole = len(tokenizer()(TEXT)["input_ids"])
found = {
    "transformers, truncation=True": tokenizer()(TEXT, truncation=True)["input_ids"],
    "convert_tokenizer(tokenizer)": ids(convert_tokenizer(tokenizer())),
    "convert_tokenizer(tokenizer, max_length=16)": ids(convert_tokenizer(tokenizer(), max_length=16)),
    "convert_tokenizer(tokenizer, truncation=True)": ids(convert_tokenizer(tokenizer(), truncation=True)),
    "command line": ids(by_command()),
    "command line, --max-length 16": ids(by_command("--max-length", "16")),
}
for name, got in found.items():
    print(f"{name:50} {len(got):4} tokens of {whole}, the last is {WORDS[got[-1]]}")
lengths = [len(got) for got in found.values()]
same = lengths == [16, whole, whole, 16, whole, 16]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
