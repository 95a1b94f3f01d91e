"""The names of an artefact's files, each once. The files of its engine are its runtime's (`Runtime.model_files`)."""

from __future__ import annotations

from bertc.calibrate import table

MANIFEST_FILE = "manifest.json"
"""Names all other files with their digests, and is written last."""

CONFIG_FILE = "config.json"
HEAD_FILE = "bertc.json"
"""The head, and how many tokens a text and a row may have."""

MODULES_FILE = "modules.json"
"""sentence-transformers' modules; each has a folder of its own, with its `MODULE_CONFIG_FILE`."""

MODULE_CONFIG_FILE = "config.json"

SENTENCE_FILE = "sentence_bert_config.json"
"""sentence-transformers' settings of the encoder, which lie in the encoder's own folder."""

ENGINES_FOLDER = "engines"
"""Of an artefact with several engines: a folder of each by its target, with all that is not shared."""

ENGINES_FILE = "engines.json"
"""Which engines there are, in their order, and what was found of each. Its presence says that they are several."""

RECIPE_FILE = "recipe.toml"
TABLE_FILE = table.TABLE_FILE
"""The calibration table, named as the one that travels with a checkpoint."""

ROWS_FILE = "rows.npz"
"""What engine and float model gave out for every row of the validation data."""

REPORT_FILE = "report.json"
PAGE_FILE = "report.html"

SWEEP_FILE = "sweep.json"
"""The figures of all builds of a sweep; the page beside it is named as any folder's first."""

SWEEP_PAGE = "index.html"

SPARSITY_FILE = "sparsity.json"
"""Beside a checkpoint that was pruned: what was pruned of each weight."""

TRAINING_FILE = "training.json"
"""Beside a checkpoint that was trained: how."""
