#!/usr/bin/env bash
# torchmetrics: a MetricCollection merges metrics that differ in their threshold or ignore_index, if the first batch
# lets it.
#
# Versions: torchmetrics 1.9.0, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: in a collection each metric has the value that it has alone, or a collection refuses what it cannot do.
# Seen: after the first batch metrics of one kind whose counts are equal share them from then on, and with them one
# threshold or one ignore_index: that of the first. Two thresholds are merged if no score of the first batch is between
# them, F1 with and without O if the first batch has no O. With other batches, or in another order, all values are
# right; so they are with compute_groups=False.
#
#   torchmetrics 1.9.0, torch 2.13.0
#   guess: in a collection each metric has the value that it has alone
#   first batch both sure   alone {'at_50': 0.667, 'at_60': 1.0}
#                           in a collection {'at_50': 0.667, 'at_60': 0.667}
#   first batch in between  alone {'at_50': 0.667, 'at_60': 1.0}
#                           in a collection {'at_50': 0.667, 'at_60': 1.0}
#   first batch no O        alone {'every_tag': 0.833, 'without_O': 0.667}
#                           in a collection {'every_tag': 0.833, 'without_O': 0.833}
#   first batch mostly O    alone {'every_tag': 0.833, 'without_O': 0.667}
#                           in a collection {'every_tag': 0.833, 'without_O': 0.667}
#
# Matters to: whoever looks at several thresholds at once, or at tags with and without O: the two curves are one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryF1Score, MulticlassF1Score

print(f"torchmetrics {version('torchmetrics')}, torch {torch.__version__}")
print("guess: in a collection each metric has the value that it has alone")
SCORES = {
    "both sure": (torch.tensor([0.9, 0.1, 0.95, 0.2]), torch.tensor([1, 0, 1, 0])),
    "in between": (torch.tensor([0.55, 0.58, 0.9, 0.52]), torch.tensor([0, 0, 1, 0])),
}
TAGS = {
    "no O": (torch.tensor([1, 2, 1, 2]), torch.tensor([1, 2, 2, 2])),
    "mostly O": (torch.tensor([0, 0, 0, 0, 0, 0, 1, 0]), torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])),
}


def thresholds():
    """Return F1 at two thresholds."""
    return {"at_50": BinaryF1Score(threshold=0.5), "at_60": BinaryF1Score(threshold=0.6)}


def of_tags():
    """Return F1 of tags with and without O, which is class 0."""
    every = MulticlassF1Score(3, average="micro")
    return {"every_tag": every, "without_O": MulticlassF1Score(3, average="micro", ignore_index=0)}


def measured(metrics, batches):
    """Return the values of metrics, by name, after these batches."""
    for batch in batches:
        for metric in metrics.values():
            metric.update(*batch)
    return {name: round(metric.compute().item(), 3) for name, metric in metrics.items()}


def together(metrics, batches, **options):
    """Return the values of a collection, by name, after these batches."""
    collection = MetricCollection(metrics, **options)
    for batch in batches:
        collection.update(*batch)
    return {name: round(value.item(), 3) for name, value in collection.compute().items()}


found = {}
for make, data in ((thresholds, SCORES), (of_tags, TAGS)):
    for order in (list(data), list(data)[::-1]):
        batches = [data[name] for name in order]
        alone, joined = measured(make(), batches), together(make(), batches)
        apart = together(make(), batches, compute_groups=False)
        found[make.__name__, order[0]] = alone, joined, apart
        print(f"first batch {order[0]:11} alone {alone}")
        print(f"{'':23} in a collection {joined}")
merged = [found["thresholds", "both sure"], found["of_tags", "no O"]]
spared = [found["thresholds", "in between"], found["of_tags", "mostly O"]]
same = all(len(set(joined.values())) == 1 and joined != alone == apart for alone, joined, apart in merged)
same = same and all(joined == alone for alone, joined, _ in spared)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
