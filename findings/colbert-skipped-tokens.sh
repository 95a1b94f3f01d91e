#!/usr/bin/env bash
# ColBERT: mask_punctuation drops unknown words of documents, and with SentencePiece keeps the punctuation.
#
# Versions: colbert-ai 0.2.22, torch 2.13.0, transformers 4.57.6 (5 cannot run it), numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: with mask_punctuation, ColBERT's default, a document has a vector for each token but punctuation.
# Seen: the list of tokens to skip is made of the first token that the tokenizer gives each sign when it stands alone.
# Where a vocabulary lacks one sign that is [UNK], and every unknown word is dropped from documents. With
# SentencePiece (XLM-RoBERTa) it is the piece with the mark of a word's beginning, or the mark itself: a sign behind a
# word is another piece and keeps its vector, and the mark before an unknown word loses its own.
#
#   colbert-ai 0.2.22, transformers 4.57.6
#   guess: what is dropped is punctuation, and all of it
#   BERT                 [CLS] [unused1] the [UNK] virus spread , ( the virus ) . [SEP]; no vector: , ( ) .
#   BERT without a tilde [CLS] [unused1] the [UNK] virus spread , ( the virus ) . [SEP]; no vector: [UNK] , ( ) .
#   XLM-RoBERTa          <s> [unused1] ▁the ▁ <unk> ▁virus ▁spread , ▁( the ▁virus ) . </s>; no vector: ▁ ▁(
#
# Matters to: whoever trains ColBERT on a vocabulary of his own or on a multilingual encoder: rare words cannot be
# found, or the index is larger than it was meant to be.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps colbert-ai==0.2.22
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==4.57.6 numpy==2.4.6 \
  scipy==1.17.1 gitpython==3.2.1 ujson==6.1.0 python-dotenv==1.2.4
venv/bin/python - <<'PYTHON'
import importlib.metadata
import json
import os
import string
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.simplefilter("ignore")

import torch
import transformers
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.colbert import ColBERT
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
ColBERT.loaded_extensions = True  # C++ that searches; documents need none
print(f"colbert-ai {importlib.metadata.version('colbert-ai')}, transformers {transformers.__version__}")
print("guess: what is dropped is punctuation, and all of it")
SIZES = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = ["the", "virus", "spread"]


def bert(signs):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", *WORDS, *signs]
    rules = Tokenizer(models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    rules.normalizer, rules.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    rules.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return rules, names | {"tokenizer_class": "BertTokenizer"}, transformers.BertConfig, pieces


def xlm_roberta(signs):
    begun = [f"▁{word}" for word in WORDS] + ["the", "▁", "▁(", "[unused0]", "[unused1]"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *begun, *signs, "<mask>"]
    rules = Tokenizer(models.Unigram([(piece, -float(row)) for row, piece in enumerate(pieces)], unk_id=3))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return rules, {"tokenizer_class": "XLMRobertaTokenizer"}, transformers.XLMRobertaConfig, pieces


def dropped(name, kind, signs, text):
    """Return the tokens of a document that have no vector."""
    rules, settings, config, pieces = kind(signs)
    os.mkdir(name)
    rules.save(f"{name}/tokenizer.json")
    with open(f"{name}/tokenizer_config.json", "w") as file:
        json.dump(settings, file)
    config = config(vocab_size=len(pieces), max_position_embeddings=64, **SIZES)  # pads with 0 or 1, as pieces do
    transformers.AutoModel.from_config(config).save_pretrained(name)
    checkpoint = Checkpoint(name, colbert_config=ColBERTConfig(checkpoint=name, dim=8), verbose=0)
    ids, mask = checkpoint.doc_tokenizer.tensorize([text])
    vectors, kept = checkpoint.doc(ids, mask, keep_dims="return_mask")
    tokens = checkpoint.raw_tokenizer.convert_ids_to_tokens(ids[0].tolist())
    gone = [token for token, stays in zip(tokens, kept[0].flatten().tolist(), strict=True) if not stays]
    print(f"{name:20} {' '.join(tokens)}; no vector: {' '.join(gone) or 'none'}")
    return gone


SIGNS = list(string.punctuation)
TEXT = "the ebola virus spread, (the virus)."
found = [
    dropped("BERT", bert, SIGNS, TEXT),
    dropped("BERT without a tilde", bert, [sign for sign in SIGNS if sign != "~"], TEXT),
    dropped("XLM-RoBERTa", xlm_roberta, SIGNS, TEXT),
]
wanted = [[*",()."], ["[UNK]", *",()."], ["▁", "▁("]]
raise SystemExit(0 if found == wanted else "the behaviour is no longer so")
PYTHON
