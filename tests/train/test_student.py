"""The student computes what the simulator computes, before training and after it, in every scheme and task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.core.batch import Batch
from bertc.errors import InputError
from bertc.export.embeddings import TABLES, store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.quantize.insert import quantize_graph
from bertc.tasks import task_from_name
from bertc.train.network import Network
from bertc.train.student import (
    Student,
    student_from_checkpoint,
    table_from_student,
    teacher_from_checkpoint,
    weights_from_student,
)
from tests.conftest import TinyOf
from tests.fixtures import ARCHITECTURES
from tests.tiny import Array, TinyModel, run_values, tiny_scheme
from tests.train.runs import scale_parameters

SCHEMES = {
    "float": None,
    "mode 1": tiny_scheme("1"),
    "mode 2": tiny_scheme("2"),
    "mode 2 channel": tiny_scheme("2", "channel"),
    "mode 3": tiny_scheme("3"),
    "mixed": tiny_scheme("2", keep_float=("layer.0.query_gemm", "layer.1.key", "layer.1.gelu")),
}


def student_of(model: TinyModel, scheme: Scheme | None, *, learned: bool = True, **options: object) -> Student:
    settings: dict[str, object] = {"table": model.table, "masks": None} | options
    return student_from_checkpoint(
        model.checkpoint,
        scheme=scheme,
        method=RangeMethod(),
        learned_scales=learned,
        **settings,  # type: ignore[arg-type]
    )


def test_a_masked_language_model_is_not_trained(tiny_of: TinyOf) -> None:
    """Its last matrix is the embedding table, which would be trained twice, apart."""
    for task in ("fill-mask", "sparse-embedding"):
        with pytest.raises(InputError, match="does not train masked language models"):
            student_of(tiny_of(task), None)


def feeds_of(network: Network, batch: Batch) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.feeds(network.inputs).items()}


def logits_of(network: Network, batch: Batch) -> dict[str, Array]:
    with torch.no_grad():
        return {name: value.numpy() for name, value in network(feeds_of(network, batch)).items()}


def train_steps(network: Network, batch: Batch, steps: int = 4) -> None:
    """Follow random targets: a step must move weights and scales a good way."""
    generator = torch.Generator().manual_seed(0)
    groups = [
        {"params": list(network.initializer_parameters().values()), "lr": 2e-3},
        {"params": scale_parameters(network), "lr": 5e-2},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    for _ in range(steps):
        optimizer.zero_grad()
        found = network(feeds_of(network, batch))
        loss = sum(((value - torch.randn(value.shape, generator=generator)) ** 2).mean() for value in found.values())
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()


def simulated(student: Student, checkpoint: Checkpoint, batch: Batch) -> dict[str, Array]:
    """Build the student's checkpoint as `bertc build` does."""
    graph = graph_from_checkpoint(checkpoint)
    if student.scheme is not None:
        table = table_from_student(student, checkpoint_digest=checkpoint.digest)
        graph = simulator_of(graph, table, student.scheme)
    return Interpreter(graph).run(batch)


def simulator_of(graph: ir.Model, table: CalibrationTable, scheme: Scheme) -> ir.Model:
    """Return what an INT8 target gets: Q/DQ, and the embedding tables as codes."""
    quantized = quantize_graph(graph, table, scheme, RangeMethod())
    return store_embeddings(quantized.graph).graph


def written(student: Student, folder: Path) -> Checkpoint:
    folder.mkdir()
    write_checkpoint(student.checkpoint, folder, weights_from_student(student))
    return replace(checkpoint_from_path(folder), head=student.checkpoint.head)


def differences(found: dict[str, Array], expected: dict[str, Array], batch: Batch) -> Array:
    """Return the largest difference per text, padding left out."""
    assert found.keys() == expected.keys()
    largest = np.zeros(batch.size)
    for name, values in expected.items():
        error = np.abs(found[name] - values)
        if values.shape[:2] == batch.mask.shape:
            error = error * batch.mask.reshape(*batch.mask.shape, *(1,) * (values.ndim - 2))
        largest = np.maximum(largest, error.reshape(batch.size, -1).max(axis=1))
    return largest


def is_same(found: dict[str, Array], expected: dict[str, Array], batch: Batch, *, exact: bool) -> bool:
    """To 1e-4; unless `exact`, some texts may be off: a product summed in another order flips a code now and then, and
    a weight's code is all texts'."""
    off = differences(found, expected, batch)
    return bool(np.mean(off > 1e-4) <= (0 if exact else 0.8) and off.max() < 0.2)


CASES = [("sequence-classification", name) for name in SCHEMES] + [
    (task, "mode 2 channel")
    for task in ARCHITECTURES
    if task != "sequence-classification" and not task_from_name(task).token_scores
]


@pytest.mark.parametrize(("task", "name"), CASES)
def test_the_student_is_the_simulator_before_and_after_training(
    task: str, name: str, tiny_of: TinyOf, tmp_path: Path
) -> None:
    model, scheme = tiny_of(task), SCHEMES[name]
    student = student_of(model, scheme)
    graph = model.graph
    if scheme is not None:
        graph = simulator_of(graph, model.table, scheme)
    before = logits_of(student.network, model.batch)
    assert is_same(before, Interpreter(graph).run(model.batch), model.batch, exact=scheme is None)

    train_steps(student.network, model.batch)
    after = logits_of(student.network, model.batch)
    built = simulated(student, written(student, tmp_path / "trained"), model.batch)
    assert is_same(after, built, model.batch, exact=scheme is None)
    assert not is_same(before, built, model.batch, exact=False)


def test_the_build_has_the_codes_and_scales_that_were_trained(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    scheme = tiny_scheme("2")
    student = student_of(tiny_classifier, scheme)
    train_steps(student.network, tiny_classifier.batch)
    checkpoint = written(student, tmp_path / "trained")
    table = table_from_student(student, checkpoint_digest=checkpoint.digest)
    assert table.checkpoint == checkpoint.digest
    graph = graph_from_checkpoint(checkpoint)
    # The calibrator has no say any more.
    built = quantize_graph(graph, table, scheme, RangeMethod(calibrator="max"))
    for site, scale in built.scales.items():
        assert float(student.network.scale(f"{site}.scale").detach()) == float(scale), site
    assert len({float(built.scales[Site(0, role)]) for role in (Role.QUERY, Role.KEY, Role.VALUE)}) == 1
    untrained = quantize_graph(tiny_classifier.graph, tiny_classifier.table, scheme, RangeMethod(calibrator="max"))
    assert all(float(untrained.scales[site]) != float(scale) for site, scale in built.scales.items())
    weights = student.network.initializer_parameters()
    for name in ("layer.1.key_gemm", "layer.0.output_gemm"):
        codes, scale = (array_of(built.graph.graph.initializers[f"{name}.weight{end}"]) for end in ("", "_scale"))
        # In float32, where a tie may fall to either side.
        np.testing.assert_allclose(codes, weights[f"{name}.weight"].detach().numpy() / scale, atol=0.5 + 1e-4)


def test_one_wrong_range_is_noticed(tiny_classifier: TinyModel) -> None:
    scheme = tiny_scheme("2")
    student = student_of(tiny_classifier, scheme)
    table = table_from_student(student, checkpoint_digest="tiny")
    batch = tiny_classifier.batch
    for factor, same in ((1.0, True), (1.02, False)):
        site = Site(1, Role.ATTENTION_NORM)
        other = replace(table, overrides={**table.overrides, site: table.overrides[site] * factor})
        graph = simulator_of(tiny_classifier.graph, other, scheme)
        assert is_same(logits_of(student.network, batch), Interpreter(graph).run(batch), batch, exact=False) is same


@pytest.mark.parametrize("name", ["float", "mode 2 channel"])
def test_what_is_pruned_stays_zero_and_the_rest_comes_back_unchanged(
    name: str, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    pruned = "layer.0.intermediate_gemm.weight"
    mask = np.random.default_rng(0).random((64, 128)) < 0.5
    student = student_of(tiny_classifier, SCHEMES[name], masks={pruned: mask})
    tensors = weights_from_student(student)
    original = tiny_classifier.checkpoint.weights
    for tensor, array in tensors.items():
        expected = original.array(tensor)
        if tensor == "encoder.layer.0.intermediate.dense.weight":
            expected = expected * mask.T
        np.testing.assert_allclose(array, expected, rtol=1e-6)
    train_steps(student.network, tiny_classifier.batch)
    trained = weights_from_student(student)["encoder.layer.0.intermediate.dense.weight"]
    np.testing.assert_array_equal(trained != 0, mask.T)
    batch = tiny_classifier.batch
    built = simulated(student, written(student, tmp_path / "trained"), batch)
    assert is_same(logits_of(student.network, batch), built, batch, exact=False)


@pytest.mark.parametrize(("name", "rounded"), [("float", False), ("mode 2", True)])
def test_the_embedding_tables_are_read_as_the_engine_stores_them_and_trained(
    name: str, rounded: bool, tiny_classifier: TinyModel
) -> None:
    student = student_of(tiny_classifier, SCHEMES[name])
    batch = tiny_classifier.batch
    names = list(TABLES)
    plain = dict(zip(names, run_values(tiny_classifier.graph, batch, names), strict=True))
    stored = dict(zip(names, run_values(store_embeddings(tiny_classifier.graph).graph, batch, names), strict=True))
    with torch.no_grad():
        values = student.network(feeds_of(student.network, batch), names)
    found = {name: values[name].detach().numpy().copy() for name in names}
    parameters = student.network.initializer_parameters()
    before = {table: parameters[table].detach().clone() for table in TABLES.values()}
    train_steps(student.network, batch, steps=1)
    for value, table in TABLES.items():
        np.testing.assert_array_equal(found[value], (stored if rounded else plain)[value])
        assert not np.array_equal(stored[value], plain[value])
        assert not torch.equal(parameters[table], before[table])


def test_masks_and_tables_that_do_not_fit_are_refused(tiny_classifier: TinyModel) -> None:
    for masks, message in (
        ({"layer.0.gelu_gemm.weight": np.ones((64, 64), bool)}, "does not have"),
        ({"layer.0.query_gemm.weight": np.ones((64, 32), bool)}, r"\[64, 32\]"),
    ):
        with pytest.raises(InputError, match=message):
            student_of(tiny_classifier, None, masks=masks)
    with pytest.raises(InputError, match="calibration table"):
        student_of(tiny_classifier, tiny_scheme("1"), table=None)
    with pytest.raises(InputError, match="no ranges"):
        table_from_student(student_of(tiny_classifier, None), checkpoint_digest="")


@pytest.mark.parametrize("name", ["mode 1", "mode 2", "mode 2 channel"])
def test_a_site_s_value_is_comparable_with_the_teacher_s(name: str, tiny_classifier: TinyModel) -> None:
    """Smoothing undone: what is left of the difference is the quantization's."""
    teacher = teacher_from_checkpoint(tiny_classifier.checkpoint)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    student = student_of(tiny_classifier, SCHEMES[name])
    wanted = [f"layer.1.{role}" for role in ("hidden", "probs", "scores", "attention_norm", "gelu")]
    wanted += ["layer.0.hidden", "encoder.output"]
    feeds, mask = feeds_of(teacher, tiny_classifier.batch), tiny_classifier.batch.mask.astype(bool)
    with torch.no_grad():
        exact, found = teacher(feeds, wanted), student.network(feeds, wanted)
    assert set(found) == {"logits", *wanted}
    for site in wanted:
        expected, value = exact[site].numpy(), found[site].numpy()
        if expected.ndim == 3:
            expected, value = expected[mask], value[mask]
        assert value.dtype == np.float32 and np.linalg.norm(value - expected) < 0.1 * np.linalg.norm(expected), site
    with pytest.raises(InputError, match=r"layer\.9"):
        teacher(feeds, ["layer.9.hidden"])
