#!/usr/bin/env bash
# tokenizers: SentencePiece's normalization loses tone marks and leaves letters apart that SentencePiece puts together.
#
# Versions: tokenizers 0.23.3, transformers 5.24.0, sentencepiece 0.2.3, protobuf 7.36.2.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: transformers' tokenizer for a SentencePiece model normalizes as SentencePiece does: it has the same compiled
# map of characters (nmt_nfkc, that of XLM-RoBERTa, T5 and their kin), byte for byte.
# Seen: SentencePiece looks for the longest entry from each place of the text. tokenizers cuts the text into graphemes
# first; one of up to five bytes is replaced by its shortest entry as a whole, so of an e with circumflex and acute only
# the circumflex stays, and one of six or more is looked up character by character, which composes nothing: decomposed
# Hangul and kana and half-width katakana with their marks stay in parts. Composed text is equal in both. Nothing is
# told.
#
#   tokenizers 0.23.3, transformers 5.24.0, sentencepiece 0.2.3
#   guess: both give each text's composed pieces
#   Vietnamese, composed:   SentencePiece tiếng Việt, tokenizers tiếng Việt
#   Vietnamese, decomposed: SentencePiece tiếng Việt, tokenizers tiêng Viẹt
#   Korean, composed:       SentencePiece 한국어, tokenizers 한국어
#   Korean, decomposed:     SentencePiece 한국어, tokenizers <unk>
#   Japanese, composed:     SentencePiece ガソリン, tokenizers ガソリン
#   Japanese, half-width:   SentencePiece ガソリン, tokenizers カ<unk>ソリン
#
# Matters to: whoever serves XLM-RoBERTa, multilingual E5, BGE-M3 or T5 on text from macOS, PDF files or old Japanese
# systems, or compares it with a runtime that has SentencePiece itself: bring text into NFKC first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3 transformers==5.24.0 \
  sentencepiece==0.2.3 protobuf==7.36.2
venv/bin/python - <<'PYTHON'
import os
import unicodedata

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"

import sentencepiece
import tokenizers
import transformers

print(f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}, ", end="")
print(f"sentencepiece {sentencepiece.__version__}")
print("guess: both give each text's composed pieces")
WORDS = {"Vietnamese": "tiếng Việt", "Korean": "한국어", "Japanese": "ガソリン"}
OTHERS = ["tiêng Viẹt", "e ê ẹ", "カソリン ハ"]  # pieces for what is left when a mark is lost
HALF_WIDTH = "ｶﾞｿﾘﾝ"
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([*WORDS.values(), *OTHERS] * 50),
    model_prefix="sentencepiece.bpe",
    model_type="unigram",
    vocab_size=40,
    hard_vocab_limit=False,
    character_coverage=1.0,
    normalization_rule_name="nmt_nfkc",
    bos_id=0,
    pad_id=1,
    eos_id=2,
    unk_id=3,
    minloglevel=2,
)
native = sentencepiece.SentencePieceProcessor(model_file="sentencepiece.bpe.model")
copy = transformers.XLMRobertaTokenizer.from_pretrained(".")


def read(ids, pieces):
    """Return what pieces say, with <unk> for a run of unknown ones."""
    text = "".join("<unk>" if row == 3 else piece for row, piece in zip(ids, pieces, strict=True))
    while "<unk><unk>" in text:
        text = text.replace("<unk><unk>", "<unk>")
    return text.replace("▁", " ").strip()


found = {}
for language, text in WORDS.items():
    other = HALF_WIDTH if language == "Japanese" else unicodedata.normalize("NFD", text)
    for form, given in (("composed", text), ("half-width" if other == HALF_WIDTH else "decomposed", other)):
        rows = native.encode(given)
        theirs = read(rows, [native.id_to_piece(row) for row in rows])
        pieces = copy.tokenize(given)
        ours = read([3 if piece not in copy.get_vocab() else 4 for piece in pieces], pieces)
        found[form, language] = (theirs == text, ours == text)
        print(f"{language + ', ' + form + ':':23} SentencePiece {theirs}, tokenizers {ours}")
same = all(left for left, _ in found.values())
same = same and all(right == (form == "composed") for (form, _), (_, right) in found.items())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
