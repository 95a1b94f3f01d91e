#!/usr/bin/env bash
# peft: an adapter for classification leaves out the new pooler of BERT, DeBERTa and ALBERT, and all of XLNet's head.
#
# Versions: peft 0.21.2, transformers 5.24.0, torch 2.13.0, safetensors 0.8.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: with task_type SEQ_CLS, whatever was newly initialized above the base model is trained and saved: loaded
# onto the same base, the adapter gives the same answers.
# Seen: what is saved are modules whose names end in classifier or score. The pooler of DeBERTa, and of BERT and ALBERT
# where the base was saved without (after training on masked words), and XLNet's summary and logits_proj, are random,
# are not trained and are in no file; each load has others, and the answers are those of chance. transformers lists them
# as MISSING in both loads, as it lists the classifier, which is right to be; peft says nothing.
#
#   peft 0.21.2, transformers 5.24.0, torch 2.13.0
#   guess: the adapter, loaded onto the model that was trained, answers as it did; it holds whatever was new
#   RoBERTa  trained 1.00, loaded 1.00 1.00 1.00 1.00 1.00, in the adapter: ['classifier.dense.bias',
#       'classifier.dense.weight', 'classifier.out_proj.bias', 'classifier.out_proj.weight']
#   BERT     trained 1.00, loaded 0.36 0.50 0.59 0.68 0.48, in the adapter: ['classifier.bias', 'classifier.weight']
#   DeBERTa  trained 1.00, loaded 0.25 0.42 0.46 0.51 0.41, in the adapter: ['classifier.bias', 'classifier.weight']
#   ALBERT   trained 1.00, loaded 0.30 0.32 0.55 0.30 0.47, in the adapter: ['classifier.bias', 'classifier.weight']
#   XLNet    trained 1.00, loaded 0.64 0.16 0.09 0.97 0.16, in the adapter: []
#
# Matters to: whoever ships LoRA adapters of DeBERTa, or of a BERT that was trained on in one's own field. Cure:
# modules_to_save with the pooler's name, or merge and save the whole model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.24.0 torch==2.13.0 \
  safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
print("guess: the adapter, loaded onto the model that was trained, answers as it did; it holds whatever was new")
SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
XLNET = transformers.XLNetConfig(vocab_size=100, d_model=32, n_layer=2, n_head=4, d_inner=64, initializer_range=0.2)
FAMILIES = {
    "RoBERTa": (transformers.RobertaForMaskedLM, transformers.RobertaConfig(**SIZES), "query"),
    "BERT": (transformers.BertForMaskedLM, transformers.BertConfig(**SIZES), "query"),
    "DeBERTa": (transformers.DebertaV2ForMaskedLM, transformers.DebertaV2Config(**SIZES), "query_proj"),
    "ALBERT": (transformers.AlbertForMaskedLM, transformers.AlbertConfig(**SIZES, embedding_size=16), "query"),
    "XLNet": (transformers.XLNetLMHeadModel, XLNET, "layer_1"),
}
torch.set_num_threads(1)
torch.manual_seed(0)
IDS = torch.randint(5, 100, (256, 8))
LABELS = (IDS[:, 0] >= 50).long()


def accuracy(model):
    """Return the share of right labels."""
    with torch.no_grad():
        return (model(input_ids=IDS).logits.argmax(-1) == LABELS).float().mean().item()


def trained(model):
    """Train what may be trained, until the labels are learned."""
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 1e-2)
    for _ in range(100):
        model(input_ids=IDS, labels=LABELS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def measured(name):
    """Return the accuracy before saving and with five seeds after loading, and what the adapter holds beside LoRA."""
    make, config, target = FAMILIES[name]
    make(config).save_pretrained(f"{name}/base")
    base = AutoModelForSequenceClassification.from_pretrained(f"{name}/base", num_labels=2)
    given = LoraConfig(task_type="SEQ_CLS", r=8, target_modules=[target])
    model = trained(get_peft_model(base, given).eval())
    before = accuracy(model)
    model.save_pretrained(f"{name}/adapter")
    after = []
    for seed in range(5):
        torch.manual_seed(seed)
        fresh = AutoModelForSequenceClassification.from_pretrained(f"{name}/base", num_labels=2)
        after.append(accuracy(PeftModel.from_pretrained(fresh, f"{name}/adapter").eval()))
    with safe_open(f"{name}/adapter/adapter_model.safetensors", "pt") as stored:
        keys = [key.removeprefix("base_model.model.") for key in stored.keys()]  # noqa: SIM118
    held = sorted(key for key in keys if "lora_" not in key)
    return before, after, held


found = {}
for name in FAMILIES:
    before, after, held = measured(name)
    found[name] = before, sum(after) / 5, held
    print(f"{name:8} trained {before:.2f}, loaded {' '.join(f'{each:.2f}' for each in after)}, in the adapter: {held}")
same = found["RoBERTa"][0] == found["RoBERTa"][1] > 0.95
same = same and all(found[name][0] > 0.95 and found[name][1] < found[name][0] - 0.1 for name in ("BERT", "DeBERTa"))
same = same and found["XLNet"][2] == [] and all(found[name][1] < found[name][0] for name in ("ALBERT", "XLNet"))
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
