"""Compiled OpenVINO models in a folder: used again, never trusted when damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bertc import load
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.openvino import compiled_model as runtime
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.tiny import Array, TinyModel, quantized, tiny_scheme

TARGET = target_from_name("openvino")
pytestmark = pytest.mark.openvino


class Counted:
    """Counts compilations, which is what a cache saves."""

    def __init__(self, core: object) -> None:
        self.inner = core
        self.compiled = 0

    def __call__(self) -> Counted:
        return self

    def compile_model(self, *arguments: object) -> object:
        self.compiled += 1
        return self.inner.compile_model(*arguments)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, openvino_int8: None) -> Counted:
    """Count what OpenVINO compiles."""
    found = Counted(runtime.openvino_core())
    monkeypatch.setattr(runtime, "openvino_core", found)
    return found


@pytest.fixture
def model(tiny_classifier: TinyModel, tmp_path: Path, counted: Counted) -> Iterator[Path]:
    """Write a tiny INT8 model."""
    graph = quantized(tiny_classifier, tiny_scheme("1")).graph
    folder = tmp_path / "model"
    folder.mkdir()
    yield TARGET.runtime.write_model(TARGET.onnx_from_graph(graph), folder)


def answers(path: Path, model: TinyModel, cache: Path | None, threads: int = 1) -> Array:
    engine = TARGET.runtime.engine_from_path(path, threads=threads, cache=cache)
    try:
        (found,) = engine.run(model.batch, ["logits"])
        return found
    finally:
        engine.close()


def test_the_second_opening_compiles_nothing_and_answers_the_same(
    model: Path, tiny_classifier: TinyModel, tmp_path: Path, counted: Counted
) -> None:
    cache = tmp_path / "deep" / "cache"
    without = answers(model, tiny_classifier, None)
    first = answers(model, tiny_classifier, cache)
    assert counted.compiled == 2 and len(list(cache.iterdir())) == 1
    second = answers(model, tiny_classifier, cache)
    assert counted.compiled == 2
    np.testing.assert_array_equal(first, without)
    np.testing.assert_array_equal(second, first)


def test_without_a_folder_nothing_is_kept(
    model: Path, tiny_classifier: TinyModel, tmp_path: Path, counted: Counted
) -> None:
    answers(model, tiny_classifier, None)
    answers(model, tiny_classifier, None)
    assert counted.compiled == 2 and {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize("damage", ["empty", "short", "a bit", "a bit of the digest", "foreign"])
def test_a_damaged_file_is_compiled_anew_and_replaced(
    damage: str, model: Path, tiny_classifier: TinyModel, tmp_path: Path, counted: Counted
) -> None:
    cache = tmp_path / "cache"
    first = answers(model, tiny_classifier, cache)
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    broken = bytearray(content)
    broken[3 if damage == "a bit of the digest" else len(broken) // 2] ^= 1
    kept.write_bytes({"empty": b"", "short": content[:1000], "foreign": b"x" * 5000}.get(damage, bytes(broken)))
    np.testing.assert_array_equal(answers(model, tiny_classifier, cache), first)
    assert counted.compiled == 2
    answers(model, tiny_classifier, cache)
    assert counted.compiled == 2 and list(cache.iterdir()) == [kept]


def test_other_options_and_other_weights_are_other_models(
    model: Path, tiny_classifier: TinyModel, tmp_path: Path, counted: Counted
) -> None:
    cache = tmp_path / "cache"
    answers(model, tiny_classifier, cache, threads=1)
    answers(model, tiny_classifier, cache, threads=2)
    runtime.open_model(model, threads=1, precision="bf16", cache=cache).close()
    TARGET.runtime.write_model(TARGET.onnx_from_graph(quantized(tiny_classifier, tiny_scheme("2")).graph), model.parent)
    answers(model, tiny_classifier, cache, threads=1)
    assert counted.compiled == 4 and len(list(cache.iterdir())) == 4


def test_a_model_that_is_gone_is_refused_though_its_compilation_is_there(
    model: Path, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    answers(model, tiny_classifier, tmp_path / "cache")
    model.with_suffix(".bin").unlink()
    with pytest.raises(InputError, match="cannot be opened by openvino"):
        answers(model, tiny_classifier, tmp_path / "cache")


def test_a_folder_that_cannot_be_written_is_said(model: Path, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(EnvironmentLackError, match=r"file cannot keep the compiled model .*another folder"):
        answers(model, tiny_classifier, tmp_path / "file")


def test_load_takes_the_folder(bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, counted: Counted) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    options = ("--calibration-data", rows, "--unvalidated", "--target", "openvino", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", out, *options).code == 0
    before = counted.compiled
    with (
        pytest.warns(UserWarning, match="is unvalidated"),
        load(out, cache=str(cache)) as first,
        load(out, cache=cache) as second,
    ):
        assert first.predict("a film") == second.predict("a film")
    assert counted.compiled == before + 1 and len(list(cache.iterdir())) == 1
