"""A wrong recipe is one sentence: the file, the key, what is allowed, the nearest known name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertc.core.plugins import TARGETS, TASKS
from bertc.errors import InputError
from bertc.recipe import Recipe, recipe_from_document, recipe_from_path

SECTIONS = (
    "[calibration], [sparsity], [quantization], [validation], [search], [early_exit], [engine], [training] "
    "and [student]"
)
TARGETS = ", ".join(f'"{name}"' for name in TARGETS.names())
TASKS = " or ".join(", ".join(f'"{name}"' for name in TASKS.names()).rsplit(", ", 1))

# What stands below the line checkpoint = "model", and the sentence after the file's name.
FAULTS = (
    # names that are none
    (
        "[calibration]\nsead = 3",
        "calibration.sead is no field of [calibration] (did you mean seed?)",
    ),
    (
        "[calibration]\nthreads = 3",
        "calibration.threads is no field of [calibration] (it is one of [engine])",
    ),
    (
        "[sparsity]\nzzz = 3",
        "sparsity.zzz is no field of [sparsity] (there are pattern, criterion, skip and permute)",
    ),
    ("tsak = 3", "tsak is no field of a recipe (did you mean task?)"),
    ("samples = 3", "samples stands before the sections, but is a field of [calibration]"),
    ("seed = 3", "seed stands before the sections, but is a field of [calibration] and [training]"),
    ("flavour = 1", f"flavour is no field of a recipe (there are checkpoint, task, {SECTIONS})"),
    ("[calibratoin]\nseed = 3", "[calibratoin] is no section of a recipe (did you mean [calibration]?)"),
    ("[zzz]", f"[zzz] is no section of a recipe (there are {SECTIONS})"),
    # sections that are no tables
    (
        'calibration = "train.tsv"',
        'calibration is "train.tsv", but it is a section; write its fields below a line [calibration]',
    ),
    (
        "[[calibration]]\nseed = 3",
        "calibration is a list, but it is a section; write its fields below a line [calibration]",
    ),
    # values of the wrong type
    ("[calibration]\nsamples = 1.5", "calibration.samples is 1.5, but it takes an integer of at least 1"),
    ('[calibration]\nsamples = "3"', 'calibration.samples is "3", but it takes an integer of at least 1'),
    ("[calibration]\nsamples = true", "calibration.samples is true, but it takes an integer of at least 1"),
    ("[calibration]\nseed = 2026-01-02", "calibration.seed is 2026-01-02, but it takes an integer"),
    ('[sparsity]\npermute = "yes"', 'sparsity.permute is "yes", but it takes true or false'),
    ("[sparsity]\npermute = 1", "sparsity.permute is 1, but it takes true or false"),
    ('[training]\nclip = "1"', 'training.clip is "1", but it takes a number above 0'),
    ("[calibration]\ndata = {}", "calibration.data is a table, but it takes a text"),
    ('[sparsity]\nskip = "layer.0"', 'sparsity.skip is "layer.0", but it takes a list of texts'),
    ("[sparsity]\nskip = [[1]]", "sparsity.skip has a list, but it takes a list of texts"),
    ('[calibration]\ncolumns = "text"', 'calibration.columns is "text", but it takes a table of texts'),
    ("[calibration]\ncolumns = { text = 1 }", "calibration.columns.text is 1, but it takes a text"),
    ('[training]\ndistill = { logits = "1" }', 'training.distill.logits is "1", but it takes a number'),
    # values out of their range
    ("[calibration]\nsamples = 0", "calibration.samples is 0, but it takes an integer of at least 1"),
    ("[calibration]\npercentile = 50", "calibration.percentile is 50, but it takes a number above 50 and at most 100"),
    ("[quantization]\nsmoothing = 1", "quantization.smoothing is 1, but it takes a number of at least 0 and below 1"),
    ("[engine]\nthreads = 257", "engine.threads is 257, but it takes an integer from 0 to 256"),
    ("[training]\nlearning_rate = inf", "training.learning_rate is inf, but it takes a number above 0"),
    ("[validation]\nmin_agreement = nan", "validation.min_agreement is nan, but it takes a number from 0 to 1"),
    # choices
    ('[quantization]\nmode = "4"', 'quantization.mode is "4", but it takes "1", "2" or "3"'),
    ("[quantization]\nmode = 4", 'quantization.mode is 4, but it takes "1", "2" or "3"'),
    ("[quantization]\nmode = true", 'quantization.mode is true, but it takes "1", "2" or "3"'),
    ("[quantization]\nmode = 2.0", 'quantization.mode is 2.0, but it takes "1", "2" or "3"'),
    (
        '[quantization]\ngranularity = "chanel"',
        'quantization.granularity is "chanel", but it takes "tensor" or "channel" (did you mean channel?)',
    ),
    (
        '[calibration]\nper_site = ["smoothin"]',
        'calibration.per_site has "smoothin", but it takes a list of "smoothing" or "calibrator" '
        "(did you mean smoothing?)",
    ),
    (
        "[training]\ndistill = { hiden = 1.0 }",
        'training.distill has the key "hiden", but it takes a table with the keys "logits", "hidden" or "attention" '
        "(did you mean hidden?)",
    ),
    (
        'task = "sequence-clasification"',
        f'task is "sequence-clasification", but it takes {TASKS} (did you mean sequence-classification?)',
    ),
    (
        '[engine]\ntarget = "ort_cpu"',
        f'engine.target is "ort_cpu", but it takes {TARGETS} or "auto-cpu", or several targets with '
        "commas, each once (did you mean ort-cpu?)",
    ),
    (
        '[calibration]\ncalibrator = "percentil"',
        'calibration.calibrator is "percentil", but it takes "entropy", "max", "mse" or "percentile" '
        "(did you mean percentile?)",
    ),
    (
        '[sparsity]\ncriterion = "random"',
        'sparsity.criterion is "random", but it takes "magnitude", "sparsegpt" or "wanda"',
    ),
    # several values that do not go together
    (
        "[training]\nepochs = 1\nsteps = 3",
        "[training]: epochs, steps and minutes exclude each other; give one",
    ),
    (
        "[training]\ndistill = { logits = -1 }",
        "[training]: a weight of distill is negative; leave the name away to switch it off",
    ),
    (
        "[training]\ndistill = {}",
        "[training]: neither distill nor labels has a weight, so there is nothing to learn",
    ),
    (
        "[training]\npatience = 3\nheld_out = 0",
        "[training]: patience waits for a gain on held-out rows, and held_out is 0; give rows, or no patience",
    ),
    (
        "[student]\ndistill = { hidden = -1 }",
        "[student]: a weight of distill is negative; leave the name away to switch it off",
    ),
    (
        "[student]\ndistill = { logits = 0 }",
        "[student]: no name in distill has a weight, so the student learns nothing from its teacher",
    ),
    # several faults: the first in the file, and how many more
    (
        "[engine]\nthreads = 257\nmax_length = 2\n[calibration]\nsead = 3\nsamples = 0",
        "engine.threads is 257, but it takes an integer from 0 to 256 (and 3 more)",
    ),
    (
        "[calibration]\nsead = 3\nsamples = 0",
        "calibration.sead is no field of [calibration] (did you mean seed?) (and 1 more)",
    ),
    (
        '[sparsity]\nskip = ["layer.0", 1, 2]',
        "sparsity.skip has 1, but it takes a list of texts (and 1 more)",
    ),
)
SYNTAX = (
    ("checkpoint = ", "line 1, column 14: this is no TOML: Invalid value; correct the line"),
    ('task = "a"\ntask = "b"', "line 2, column 11: this is no TOML: Cannot overwrite a value; correct the line"),
    (
        "[engine\nthreads = 1",
        "line 1, column 8: this is no TOML: Expected ']' at the end of a table declaration; correct the line",
    ),
    ("[engine]\nthreads = [1,\n2", "line 3, column 2: this is no TOML: Unclosed array; correct the line"),
)


def refusal(path: Path, text: str, overrides: dict[str, Any] | None = None) -> str:
    """Return what is said of a recipe file."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        recipe_from_path(path, overrides or {})
    return str(caught.value)


@pytest.mark.parametrize(("text", "sentence"), FAULTS, ids=[text.replace("\n", " ") for text, _ in FAULTS])
def test_a_wrong_recipe_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "recipe.toml"
    assert refusal(path, f'checkpoint = "model"\n{text}\n') == f"{path}: {sentence}"


@pytest.mark.parametrize(("text", "sentence"), SYNTAX, ids=[text.replace("\n", " ") for text, _ in SYNTAX])
def test_what_is_no_toml_is_named_with_line_and_column(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "recipe.toml"
    assert refusal(path, text) == f"{path}, {sentence}"


def test_the_checkpoint_must_be_there_and_a_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    missing = 'checkpoint is missing; write checkpoint = "model", or name it as an argument'
    assert refusal(path, "") == f"{path}: {missing}"
    assert refusal(path, "checkpoint = 3") == f"{path}: checkpoint is 3, but it takes a text"
    assert refusal(path, "[engine]\nthreads = 300").endswith("from 0 to 256 (and 1 more)"), "what is missing comes last"


def test_a_fault_of_a_flag_is_no_fault_of_the_file(tmp_path: Path) -> None:
    path, text = tmp_path / "recipe.toml", 'checkpoint = "m"\n[training]\nclip = 1\n'
    said = refusal(path, text, {"training": {"distill": {"hiden": 1.0}}})
    assert said.startswith('the command line: training.distill has the key "hiden"')
    assert refusal(path, text, {"training": {"clip": 0.0}}).startswith("the command line: training.clip is 0.0")
    assert refusal(path, text + "warmup = 1\n", {"training": {"clip": 2.0}}).startswith(f"{path}: training.warmup is 1")


def test_a_section_that_is_no_table_is_refused_with_overrides_too(tmp_path: Path) -> None:
    said = refusal(tmp_path / "a.toml", 'checkpoint = "m"\ncalibration = "t.tsv"', {"calibration": {"samples": 3}})
    assert said.startswith(f'{tmp_path / "a.toml"}: calibration is "t.tsv", but it is a section')


def test_a_long_value_is_cut() -> None:
    with pytest.raises(InputError, match=r'granularity is "x{40}\.\.\.", but'):
        recipe_from_document({"checkpoint": "m", "quantization": {"granularity": "x" * 1000}}, "test")


@pytest.mark.parametrize("mode", [2, "2"])
def test_a_mode_may_be_a_number(mode: object) -> None:
    recipe = recipe_from_document({"checkpoint": "m", "quantization": {"mode": mode}}, "test")
    assert recipe.quantization.mode == "2"


def test_what_fits_without_being_written_as_it_is_kept_is_taken() -> None:
    document = {"checkpoint": "m", "training": {"clip": 2, "learning_rate": 1}, "engine": {"target": "auto-cpu"}}
    recipe = recipe_from_document(document, "test")
    assert (recipe.training.clip, recipe.engine.target) == (2.0, "auto-cpu")
    assert recipe_from_document({"checkpoint": "m", "sparsity": {"skip": ["a"]}}, "test").sparsity.skip == ("a",)
    assert Recipe(checkpoint="m").task is None
