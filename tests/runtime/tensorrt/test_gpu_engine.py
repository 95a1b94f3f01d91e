"""TensorRT's engines against the double: what they are fed and give, batches that stay on the GPU, CUDA graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.core.batch import Batch
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.engine import Engine
from bertc.runtime.tensorrt.gpu_engine import TensorrtEngine, open_engine
from tests.tensorrt_double import Double
from tests.tensorrt_tiny import TARGET, Install, lowered, skip_before
from tests.tiny import TinyModel, run_engine


@pytest.mark.parametrize("attention", ["decomposed", "native", "packed"])
@pytest.mark.parametrize("version", ["v10.14", "v11.4"])
def test_the_engine_feeds_and_reads_what_the_file_computes(
    version: str, attention: str, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    double = install(Double(version=version))
    tiny = tiny_classifier
    model = lowered(tiny, attention)
    path = TARGET.runtime.write_model(model, tmp_path)
    (expected,) = run_engine(model, tiny.batch, ["logits"])
    engine = TARGET.runtime.engine_from_path(path, threads=1)
    for _ in range(2):
        (found,) = engine.run(tiny.batch, ["logits"])
        np.testing.assert_array_equal(found, expected)
    engine.close()
    assert not double.cuda.memory, "memory that nobody freed"


def ids_of(rows: int, length: int, seed: int = 0) -> Batch:
    ids = np.random.default_rng(seed).integers(5, 90, (rows, length))
    return Batch(input_ids=ids, token_type_ids=ids * 0, mask=ids * 0 + 1, order=tuple(range(rows)))


@pytest.fixture
def opened(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> tuple[Engine, Double]:
    """An engine of the double with profiles up to 32, 64 and 128 tokens, its calls so far forgotten."""
    double = install(Double(version="v11.1"))
    engine = TARGET.runtime.engine_from_path(TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path), threads=1)
    double.calls.clear()
    return engine, double


@pytest.mark.parametrize("length, number", [(1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (128, 2)])
def test_a_length_has_the_smallest_profile_that_takes_it(
    length: int, number: int, opened: tuple[Engine, Double]
) -> None:
    engine, double = opened
    engine.run(ids_of(2, length), ["logits"])
    chosen = [call for call in double.calls if "set_optimization_profile_async" in call]
    assert chosen == ([f"IExecutionContext.set_optimization_profile_async({number}, 7)"] if number else [])


def test_a_batch_that_is_too_large_is_run_in_parts(opened: tuple[Engine, Double]) -> None:
    engine, double = opened
    (found,) = engine.run(ids_of(600, 3), ["logits"])
    assert found.shape == (600, 2)
    assert sum("execute_async_v3" in call for call in double.calls) == 2
    (last,) = engine.run(ids_of(600, 3), ["logits"])
    np.testing.assert_array_equal(found, last)


def test_a_text_that_is_too_long_is_refused(opened: tuple[Engine, Double]) -> None:
    with pytest.raises(InputError, match="at most 128 tokens, and a text has 129"):
        opened[0].run(ids_of(1, 129), ["logits"])


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("attention", ["decomposed", "native"])
@pytest.mark.parametrize("version", ["v10.14", "v11.1"])
def test_a_bound_batch_runs_again_and_takes_others_of_its_shape(
    version: str, attention: str, graphs: bool, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    double = install(Double(version=version))
    path = TARGET.runtime.write_model(lowered(tiny_classifier, attention), tmp_path)
    one, other, wider = ids_of(2, 40), ids_of(2, 40, seed=1), ids_of(3, 70)
    with open_engine(path, graphs=graphs) as engine:
        expected = [engine.run(batch, ["logits"]) for batch in (one, other, wider)]
        first, second = engine.bind(one, ["logits"]), engine.bind(wider, ["logits"])
        double.calls.clear()
        for bound in (first, second, first):
            bound.run()
        assert double.calls == (["cudaGraphLaunch"] * 3 if graphs else RUNS)
        np.testing.assert_array_equal(first.read(), expected[0])
        engine.run(wider, ["logits"])  # has a context of its own, so it spoils no graph
        first.write(engine.feeds(other))
        first.run()
        second.run()
        np.testing.assert_array_equal(first.read(), expected[1])
        np.testing.assert_array_equal(second.read(), expected[2])
        first.close()
        second.close()
    assert not double.cuda.memory and not double.cuda.streams and not double.cuda.graphs, "what nobody freed"


RUNS = [f"IExecutionContext.execute_async_v3({stream})" for stream in (8, 9, 8)]


def test_a_bound_batch_refuses_another_shape(opened: tuple[Engine, Double]) -> None:
    engine = opened[0]
    assert isinstance(engine, TensorrtEngine)
    bound = engine.bind(ids_of(2, 5), ["logits"])
    with pytest.raises(InputError, match=r"input_ids has shape \[2, 6\] and the memory bound for it \[2, 5\]"):
        bound.write(engine.feeds(ids_of(2, 6)))
    with pytest.raises(InputError, match="at most 512 texts of this length at once, and the batch has 513"):
        engine.bind(ids_of(513, 5), ["logits"])


def test_an_engine_whose_shapes_depend_on_the_texts_has_no_graph(
    install: Install, wide: TinyModel, tmp_path: Path
) -> None:
    double = install(Double(version="v11.1"))
    engine = open_engine(TARGET.runtime.write_model(lowered(wide, "packed"), tmp_path), graphs=True)
    expected = engine.run(wide.batch, ["logits"])
    with pytest.raises(EnvironmentLackError, match=r"does not run as a CUDA graph .* open it without graphs"):
        engine.bind(wide.batch, ["logits"])
    assert not double.cuda.graphs
    np.testing.assert_array_equal(engine.run(wide.batch, ["logits"]), expected)
    engine.close()
    assert not double.cuda.memory and not double.cuda.streams


def test_an_engine_whose_shapes_cannot_be_inferred_is_refused(
    install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    install(Double(refused=frozenset({"infer_shapes"})))
    engine = TARGET.runtime.engine_from_path(TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path), threads=1)
    with pytest.raises(EnvironmentLackError, match=r"cannot infer the engine's shapes: .*code: -1; build it again"):
        engine.run(ids_of(2, 5), ["logits"])
    install(Double())
    TARGET.runtime.engine_from_path(tmp_path / "model.plan", threads=1).run(ids_of(2, 5), ["logits"])
