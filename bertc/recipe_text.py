"""A recipe as a TOML file for people: every field, its meaning, and an example where it has no value."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from bertc.recipe import Recipe, text_from_recipe

# Per field its meaning, and what to write as an example where the default is no value at all.
MEANINGS: dict[str, tuple[str, str]] = {
    "calibration.data": ("Text to calibrate on, best the training text. Relative to this file.", '"train.tsv"'),
    "calibration.columns": ('Columns by role, where the usual names do not find them: { text = "sentence" }', ""),
    "calibration.samples": ("Rows of text.", ""),
    "calibration.seed": ("Seed of the choice of rows.", ""),
    "calibration.calibrator": ("percentile, max, mse or entropy.", ""),
    "calibration.percentile": ("Left out: 99.99, and the maximum on the residual stream.", "99.99"),
    "calibration.table": ("A table of an earlier calibration in the place of text.", '"calibration.json"'),
    "sparsity.pattern": ("2:4 prunes two of four weights. Left out: nothing is pruned.", '"2:4"'),
    "sparsity.criterion": ("magnitude, wanda or sparsegpt.", ""),
    "sparsity.skip": ('Sites, layers or roles of GEMMs to leave dense: ["layer.3.output_gemm", "layer.0"]', ""),
    "sparsity.permute": ("Search an order of the channels in which 2:4 keeps more.", ""),
    "calibration.per_site": ('Chosen per site by the error at the layer\'s output: ["smoothing", "calibrator"]', ""),
    "quantization.mode": ("INT8 mode 1, 2 or 3 (docs/modes.md).", ""),
    "quantization.granularity": ("tensor or channel. Left out: the mode's own.", '"channel"'),
    "quantization.smoothing": ("SmoothQuant's exponent, 0 for none. Left out: 0.9 with granularity channel.", "0.9"),
    "quantization.keep_float": ('Sites, layers or roles to leave in float: ["layer.3.output_gemm", "layer.0"]', ""),
    "quantization.rounding": (
        "gptq or nearest. Left out: what is better on the calibration text.",
        '"nearest"',
    ),
    "quantization.bias_correction": ("Left out: what is better on the calibration text.", "false"),
    "validation.data": ("Labelled data that proves the accuracy. Relative to this file.", '"validation.tsv"'),
    "validation.columns": ("Columns by role, as above.", ""),
    "validation.reference": (
        "The float model to compare with. Left out: the checkpoint.",
        '"before-training"',
    ),
    "validation.limit": ("Use a seeded sample of that many rows. Left out: all.", "1000"),
    "validation.gates": ('Largest drop of any metric: ["accuracy:1%", "recall[spam]:0.005abs"]', ""),
    "validation.max_drop": ("Largest drop of the main metric.", '"1%"'),
    "validation.min_agreement": ("Smallest share of decisions that are the float model's.", "0.99"),
    "validation.preset": ("The part of float's main metric to keep; 99% where no other gate is named.", '"99.9%"'),
    "validation.decide": ("point: by the drop itself; bound: by its 95 % interval.", ""),
    "validation.unvalidated": ("Build without validation data, which is stamped into the artefact.", ""),
    "engine.target": ("bertc doctor lists the targets; auto-cpu is the fastest that passes.", ""),
    "engine.attention": (
        "tensorrt: native, packed, plugin, kernel or decomposed. Left out: the target's own choice.",
        '"native"',
    ),
    "engine.threads": ("0: all cores.", ""),
    "engine.max_length": ("Most tokens of a text. Left out: the model's own.", "128"),
    "search.enabled": ("Search the fastest scheme that keeps within the budget above.", ""),
    "search.rows": ("Rows of the calibration text, beside those that calibrate, that judge the search.", ""),
    "search.trials": ("Schemes to evaluate at most, about.", ""),
    "search.workers": ("Processes that evaluate them. 0: one per core.", ""),
    "training.data": ("What bertc finetune trains on. Relative to this file.", '"train.tsv"'),
    "training.columns": ("Columns by role, as above.", ""),
    "training.teacher": ("The checkpoint to learn from. Left out: the checkpoint itself, in float.", '"teacher"'),
    "training.quantize": ("Train the INT8 model of [quantization]; false: the float model.", ""),
    "training.learned_scales": ("Train the ranges of activations too.", ""),
    "training.distill": ("What is learnt from the teacher, with weights: logits, hidden, attention.", ""),
    "training.temperature": ("Of the distillation of logits.", ""),
    "training.replace": ("Largest share of a text's tokens replaced by random ones, for a teacher to judge.", ""),
    "training.labels": ("Weight of the data's own labels.", ""),
    "training.epochs": ("Passes over the data; or give steps or minutes. Left out: 1,500 steps.", "3.0"),
    "training.steps": ("Optimizer steps.", "1500"),
    "training.minutes": ("About how long to train here.", "5.0"),
    "training.batch_size": ("Texts of a batch.", ""),
    "training.accumulate": ("Batches of a step.", ""),
    "training.learning_rate": ("The largest.", ""),
    "training.scale_rate": ("The largest learning rate of the ranges, which are learnt as logarithms.", ""),
    "training.schedule": ("How the learning rate falls: linear or cosine.", ""),
    "training.warmup": ("Part of the steps in which it rises.", ""),
    "training.weight_decay": ("AdamW's, of matrices.", ""),
    "training.clip": ("Largest norm of a step's gradient.", ""),
    "training.precision": ("auto, fp32 or bf16 (auto: where the processor multiplies it).", ""),
    "training.held_out": ("Rows of the training data that decide when to stop; 0 for none.", ""),
    "training.evaluations": ("How often they are looked at.", ""),
    "training.patience": ("Looks without a gain before training stops.", ""),
    "training.seed": ("Of the order of the data and the choice of what is held out.", ""),
    "training.device": ("auto, cpu or cuda.", ""),
}


def commented_recipe(recipe: Recipe, *, schema: str = "") -> str:
    """Return the recipe as TOML with all fields explained; `schema` is the help on the data's columns."""
    lines = ["# A recipe of bertc: bertc build --recipe THIS_FILE -o OUT. Flags override it.", ""]
    lines += text_from_recipe(recipe).partition("\n\n")[0].splitlines()
    if schema:
        lines += ["", *(f"# {line}" for line in schema.splitlines())]
    for name, section in recipe:
        if isinstance(section, BaseModel):
            lines += ["", f"[{name}]", *_section_lines(name, section, recipe)]
    return "\n".join(lines) + "\n"


def _section_lines(name: str, section: BaseModel, recipe: Recipe) -> Iterator[str]:
    """Write a section's fields: a comment each, and a line that is commented out where there is no value."""
    values = _values_of(text_from_recipe(recipe), name)
    for field in type(section).model_fields:
        meaning, example = MEANINGS[f"{name}.{field}"]
        yield f"# {meaning}"
        yield f"{field} = {values[field]}" if field in values else f"# {field} = {example}"


def _values_of(text: str, section: str) -> dict[str, str]:
    """Return field -> value as written in one section of a recipe's TOML."""
    body = text.partition(f"\n[{section}]\n")[2].partition("\n\n")[0]
    return dict(line.split(" = ", 1) for line in body.splitlines())
