#!/usr/bin/env bash
# transformers.js: truncation cuts the finished sequence at its end: no [SEP], and of a pair the second text goes first.
#
# Versions: @huggingface/transformers 4.3.2 (npm), transformers 5.24.0, tokenizers 0.23.3.
# Measured: 2026-12, Node 20, Python 3.11, Linux, x86-64.
# Expected: truncation: true gives the ids of truncation=True in Python: text is cut so that the special tokens fit, and
# of a pair the longer text is cut.
# Seen: the sequence is put together first and then cut to the length. A text that is too long has no [SEP] (no </s>, no
# end token that last-token pooling reads). Of a pair the second text is cut, however short; behind a first text that
# fills the length nothing of it is left, and every second text has the same ids, hence the same score. The pipelines
# truncate in this way always. No warning. What is not too long is the same in both.
#
#   @huggingface/transformers 4.3.2, transformers 5.24.0
#   guess: truncation gives the same ids in both languages
#   a short text      same ids: true
#   a long text       js ends with: brown fox jumps        python: brown fox [SEP]
#   a pair, short     same ids: true
#   long and "magic"  js: 16 tokens, of the second text 0    python: of the second text 1
#   long and "number" has the ids of long and "magic": js true, python false
#   "magic" and long  js ends with: the quick brown        python: the quick [SEP]
#   81 pairs of 1 to 17 words: same ids 21, those that fit 21
#
# Matters to: whoever trains in Python and serves classifiers, embeddings and above all rerankers in Node or a browser.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3
npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/transformers@4.3.2 >/dev/null
venv/bin/python - <<'PYTHON'
import json

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = "the quick brown fox jumps over lazy dog . magic number".split()
names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
tokenizer = Tokenizer(models.WordPiece({name: at for at, name in enumerate(names)}, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
)
special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **special)
fast.save_pretrained("model")
LONG = "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog."
single = ["The quick brown fox", LONG]
pairs = [["The fox", "The dog"], [LONG, "magic"], [LONG, "number"], ["magic", LONG]]
words = LONG.split()
pairs += [[" ".join(words[:one]), " ".join(words[:other])] for one in range(1, 19, 2) for other in range(1, 19, 2)]
expected = [fast(text, truncation=True)["input_ids"] for text in single]
expected += [fast(*pair, truncation=True)["input_ids"] for pair in pairs]
whole = [len(fast(*pair)["input_ids"]) for pair in pairs]
json.dump({"single": single, "pairs": pairs, "expected": expected, "whole": whole, "names": names}, open("cases", "w"))
PYTHON
cat >check.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { AutoTokenizer, env } from "@huggingface/transformers";

env.allowRemoteModels = false;
env.localModelPath = "./";
const { single, pairs, expected, whole, names } = JSON.parse(readFileSync("cases"));
const tokenizer = await AutoTokenizer.from_pretrained("model");
const options = { truncation: true, return_tensor: false };
const seen = single.map((text) => tokenizer(text, options).input_ids);
seen.push(...pairs.map(([one, other]) => tokenizer(one, { ...options, text_pair: other }).input_ids));
const same = seen.map((ids, at) => ids.join() === expected[at].join());
const end = (ids) => ids.slice(-3).map((id) => names[id]).join(" ");
const count = (ids, word) => ids.filter((id) => names[id] === word).length;
console.log("guess: truncation gives the same ids in both languages");
console.log(`a short text      same ids: ${same[0]}`);
console.log(`a long text       js ends with: ${end(seen[1])}        python: ${end(expected[1])}`);
console.log(`a pair, short     same ids: ${same[2]}`);
const kept = [seen, expected].map((ids) => count(ids[3], "magic"));
console.log(`long and "magic"  js: ${seen[3].length} tokens, of the second text ${kept[0]}    ` +
  `python: of the second text ${kept[1]}`);
const alike = [seen, expected].map((ids) => ids[3].join() === ids[4].join());
console.log(`long and "number" has the ids of long and "magic": js ${alike[0]}, python ${alike[1]}`);
console.log(`"magic" and long  js ends with: ${end(seen[5])}        python: ${end(expected[5])}`);
const equal = same.slice(6).filter(Boolean).length;
const fit = whole.slice(4).filter((size) => size <= 16).length;
console.log(`${pairs.length - 4} pairs of 1 to 17 words: same ids ${equal}, those that fit ${fit}`);
const so = same[0] && same[2] && !same[1] && kept[0] === 0 && kept[1] === 1 && alike[0] && !alike[1];
if (!so || equal !== fit) {
  console.error("the behaviour is no longer so");
  process.exit(1);
}
JAVASCRIPT
venv/bin/python - <<'PYTHON'
import json
from importlib.metadata import version
from pathlib import Path

package = json.loads(Path("node_modules/@huggingface/transformers/package.json").read_text())
print(f"{package['name']} {package['version']}, transformers {version('transformers')}")
PYTHON
node check.mjs
