#!/usr/bin/env bash
# langchain and chonkie: chunks by tokens are decoded tokens, not the text; unknown words are gone, indices are wrong.
#
# Versions: langchain-text-splitters 1.1.3, chonkie 1.7.0, sentence-transformers 6.2.0, transformers 5.24.0, tokenizers
# 0.23.3, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a chunk is a piece of the text: tokens have offsets, and start_index and end_index say where it stands.
# Seen: both decode the ids. Of an uncased BERT that is lower case without accents, with spaces about points and
# apostrophes; what the vocabulary lacks is [UNK] in langchain and nothing in chonkie. chonkie's indices are sums of the
# decoded pieces' lengths, and drift. Text that is stored and shown, searched by words or given to a reader is then
# another one.
#
#   langchain-text-splitters 1.1.3, chonkie 1.7.0, sentence-transformers 6.2.0
#   guess: a chunk is a piece of the text, the pieces together are the text, and start_index says where it begins
#   the text: The Café in Zürich costs 12.50 €, and the dog's bowl is free. (Open on Mondays.)
#   langchain  'the cafe in zurich costs 12. 50 [UNK]'
#   langchain  ", and the dog ' s bowl is free"
#   langchain  '. ( open on mondays. )'
#   chonkie    'the cafe in zurich costs 12. 50', at its indices the text has 'The Café in Zürich costs 12.50 '
#   chonkie    ", and the dog ' s bowl is free", at its indices the text has "€, and the dog's bowl is free."
#   chonkie    '. ( open on mondays. )', at its indices the text has ' (Open on Mondays.)'
#   in no piece of langchain's: €, Café, 12.50, dog's
#
# Matters to: whoever cuts documents for embeddings with SentenceTransformersTokenTextSplitter or TokenChunker and keeps
# the chunks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check langchain-text-splitters==1.1.3 chonkie==1.7.0 \
  sentence-transformers==6.2.0 transformers==5.24.0 tokenizers==0.23.3 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

from importlib.metadata import version

import transformers
from chonkie import TokenChunker
from langchain_text_splitters import SentenceTransformersTokenTextSplitter
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
names = ("langchain-text-splitters", "chonkie", "sentence-transformers")
print(", ".join(f"{name} {version(name)}" for name in names))
print("guess: a chunk is a piece of the text, the pieces together are the text, and start_index says where it begins")
TEXT = "The Café in Zürich costs 12.50 €, and the dog's bowl is free. (Open on Mondays.)"
WORDS = "the cafe in zurich costs 12 50 and dog bowl is free open on monday . , ' ( ) s".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(VOCABULARY)})
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
BertModel(BertConfig(vocab_size=len(VOCABULARY), **sizes)).save_pretrained("bert")
tokenizer.save_pretrained("bert")
SentenceTransformer(modules=[Transformer("bert"), Pooling(8)]).save_pretrained("model")
splitter = SentenceTransformersTokenTextSplitter(model_name="model", tokens_per_chunk=9, chunk_overlap=0)
of_langchain = splitter.split_text(TEXT)
of_chonkie = TokenChunker(tokenizer.backend_tokenizer, chunk_size=9, chunk_overlap=0)(TEXT)
print(f"the text: {TEXT}")
for piece in of_langchain:
    print(f"langchain  {piece!r}")
for piece in of_chonkie:
    print(f"chonkie    {piece.text!r}, at its indices the text has {TEXT[piece.start_index : piece.end_index]!r}")
lost = [word for word in ("€", "Café", "12.50", "dog's") if not any(word in piece for piece in of_langchain)]
print(f"in no piece of langchain's: {', '.join(lost)}")
same = not any(piece in TEXT for piece in of_langchain) and "[UNK]" in "".join(of_langchain)
same = same and not any(piece.text == TEXT[piece.start_index : piece.end_index] for piece in of_chonkie)
same = same and "€" not in "".join(piece.text for piece in of_chonkie)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
