"""`benchmarks/peers` without its peers: turns, ratios, tables and pictures, and the yardsticks."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "peers"
Module = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Give a function that imports a module of the benchmark's folder; they leave with the test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        if path.stem != "__main__":  # which is the program that runs the tests
            sys.modules.pop(path.stem, None)


@pytest.fixture
def turns(module: Module, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = module("turns")
    monkeypatch.setattr(found, "PAUSE", 0)
    return found


def document(**latency: dict[str, list[float]]) -> dict[str, Any]:
    """Two shapes in three rounds: NNCF at its two hints, bertc on OpenVINO and on its own engine."""
    names = ("NNCF INT8", "NNCF INT8, FP32 hint", "bertc openvino 1", "bertc native 1", "bertc native 2 channel")
    large = {
        name: [factor * each for each in (8.0, 10.0, 12.0)]
        for name, factor in zip(names, (10, 12, 8, 4, 5), strict=True)
    }
    small = {
        name: [factor * each for each in (0.8, 1.0, 1.2)] for name, factor in zip(names, (12, 10, 8, 5, 3), strict=True)
    }
    return {
        "checkpoint": "tiny",
        "cpu": "a CPU",
        "threads": 2,
        "system": "Linux",
        "versions": {"openvino": "1"},
        "date": "2026-11-28",
        "commit": "0123456789abcdef",
        "command": "python benchmarks/peers",
        "dimensions": {"hidden": 384, "layers": 6, "intermediate": 1536, "first_tokens": True},
        "engines": [{"name": name, "tool": name.split()[0], "how": "", "note": ""} for name in names],
        "rounds": 3,
        "latency": {"1x32": small, "16x128": large, **latency},
        "yardsticks": {
            "1x32": {"native GEMM": [16.0, 20.0, 24.0], "torch._int_mm": [80.0, 100.0, 120.0]},
            "16x128": {"native GEMM": [16.0, 20.0, 24.0]},
        },
    }


def test_turns_are_taken_in_every_round_in_an_order_that_changes(turns: ModuleType) -> None:
    taken: list[str] = []

    def turn(name: str) -> Callable[[], float]:
        return lambda: float(len(taken.append(name) or taken))  # type: ignore[func-returns-value]

    figures, failed = turns.interleaved({"a": turn("a"), "b": turn("b")}, 3)
    assert taken == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]} and failed == {}


def test_who_fails_has_no_figures_and_a_reason(turns: ModuleType) -> None:
    def broken() -> float:
        raise turns.FailedError("no such operator")

    figures, failed = turns.interleaved({"a": lambda: 1.0, "b": broken}, 2)
    assert figures == {"a": [1.0, 1.0]} and failed == {"b": "no such operator"}


class Played:
    """A process that says how often it was asked, or fails in one order."""

    def __init__(self, turns: ModuleType, broken: str = "") -> None:
        self.turns, self.broken, self.asked = turns, broken, 0

    def ask(self, do: str, *, order: str = "", **what: Any) -> dict[str, float]:
        if order and order == self.broken:
            raise self.turns.FailedError("out of memory")
        self.asked += 1
        return {"seconds": self.asked, "milliseconds": 5.0}


def test_all_orders_of_a_text_are_timed_in_the_same_rounds(turns: ModuleType) -> None:
    processes = {"a": Played(turns), "b": Played(turns)}
    figures, failed = turns.timed_stream(processes, "sst2", 32, ("arrival", "sorted"), 2, 64)
    assert failed == {}
    assert {order: set(found) for order, found in figures.items()} == {"arrival": {"a", "b"}, "sorted": {"a", "b"}}
    both = figures["arrival"]["a"] + figures["sorted"]["a"]
    assert sorted(both) == [3, 4, 5, 6] and sorted(figures["arrival"]["a"])[0] < 5 < 1 + sorted(both)[-1]


def test_who_fails_in_one_order_has_figures_in_none(turns: ModuleType) -> None:
    processes = {"a": Played(turns), "b": Played(turns, broken="sorted")}
    figures, failed = turns.timed_stream(processes, "sst2", 32, ("arrival", "sorted"), 2, 64)
    assert failed == {"b": "out of memory"}
    assert all(set(found) == {"a"} for found in figures.values())


def test_a_turn_of_a_shape_repeats_a_short_run(turns: ModuleType) -> None:
    figures, failed = turns.timed_shape({"a": Played(turns)}, "1x32", 3)
    assert figures == {"a": [5.0, 5.0, 5.0]} and failed == {}


def test_a_ratio_is_within_a_round_and_has_quartiles(module: Module) -> None:
    figures = module("figures")
    middle, text = figures.compared([1.0, 2.0, 4.0, 1.0, 1.0], [2.0, 2.0, 4.0, 3.0, 4.0])
    assert middle == 2.0 and text == "2.00x (1.00 to 3.00)"
    assert figures.compared([2.0], [3.0]) == (1.5, "1.50x (1.50 to 1.50)")
    with pytest.raises(ValueError, match="zip"):
        figures.compared([1.0, 2.0], [1.0])


def test_the_page_compares_with_the_better_hint_at_each_shape_and_with_our_other_engine(module: Module) -> None:
    page = module("tables").markdown(document())
    assert (
        "**bertc native 2 channel** over the best of NNCF INT8 at each shape: geometric mean 2.582, least 2.00" in page
    )
    assert "1x32 3.33x (3.33 to 3.33) over NNCF INT8, FP32 hint; 16x128 2.00x (2.00 to 2.00) over NNCF INT8" in page
    assert "**bertc native 2 channel** over the best of bertc openvino at each shape: geometric mean 2.066" in page
    assert "**bertc native 2 channel** over the best of bertc native 1 at each shape: geometric mean 1.155" in page
    assert "## Latency as a ratio to the fastest of NNCF INT8" in page and "llama.cpp at each shape" not in page
    assert "| bertc native 1 | 2.00x (2.00 to 2.00) | 2.50x (2.50 to 2.50) | 2.24x |" in page


def test_without_the_peer_there_is_no_ratio_to_it(module: Module) -> None:
    content = document()
    content["engines"] = [each for each in content["engines"] if each["tool"] == "bertc"]
    page = module("tables").markdown(content)
    assert "NNCF" not in page and "## Latency as a ratio to the fastest of bertc openvino" in page


def test_throughput_compares_orders_within_a_round(module: Module) -> None:
    part = {"text": "sst2", "batch": 32, "texts": 10, "tokens": 100, "padded": 150}
    ours, arrival, in_order = [1.0, 2.0, 3.0], [3.0, 6.0, 9.0], [2.0, 4.0, 6.0]
    content = document() | {
        "throughput": [
            {**part, "order": "arrival", "seconds": {"bertc native 1": ours, "NNCF INT8": arrival}},
            {**part, "order": "sorted", "seconds": {"bertc native 1": ours, "NNCF INT8": in_order}},
        ]
    }
    page = module("tables").markdown(content)
    assert "**bertc native 1** as texts arrive: 3.00x (3.00 to 3.00) over NNCF INT8 (arrival); 2.00x" in page


def test_products_are_counted_with_and_without_the_last_layers_rows(module: Module) -> None:
    roofline = module("roofline")
    dimensions = document()["dimensions"]
    layer = 32 * (4 * 384**2 + 2 * 384 * 1536) + 2 * 32 * 32 * 384
    assert roofline.products(dimensions, "1x32") == 6 * layer
    last = 32 * 2 * 384**2 + 2 * 384**2 + 2 * 384 * 1536 + 2 * 32 * 384
    assert roofline.products(dimensions, "1x32", first_tokens=True) == 5 * layer + last


def test_the_roofline_takes_the_faster_yardstick_and_is_a_picture(module: Module) -> None:
    roofline = module("roofline")
    content = document()
    name, peak = roofline.peaks(content)["1x32"]
    assert name == "native GEMM" and peak[1] == module("yardsticks").PRODUCTS[name] / 20e-3
    page = "\n".join(roofline.roofline_table(content))
    part = roofline.products(content["dimensions"], "1x32") / 5e-3 / peak[1]
    assert f"{part:.0%} ({part:.0%} to {part:.0%})" in page and "for first tokens alone" in page
    picture = ElementTree.fromstring(roofline.roofline(content))
    assert "bertc native 1" in "".join(picture.itertext()) and "llama.cpp" not in "".join(picture.itertext())


def test_without_a_yardstick_there_is_no_roofline(module: Module) -> None:
    content = document() | {"yardsticks": {}}
    assert module("roofline").roofline_table(content) == []
    assert "Products per second" not in module("tables").markdown(content)


def test_the_bars_are_a_picture(module: Module) -> None:
    picture = ElementTree.fromstring(module("tables").plot(document()))
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-2:] == ["bertc native 2 channel", "2.58"]


def test_the_native_yardstick_multiplies_as_much_as_it_says(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    from bertc.runtime.plan.kernel_plan import Op

    yardsticks = module("yardsticks")
    seen = []
    real = importlib.import_module("bertc.runtime.native.native_engine").NativeEngine
    monkeypatch.setattr(
        "bertc.runtime.native.native_engine.NativeEngine",
        lambda plan, arrays, **options: seen.append(plan) or real(plan, arrays, **options),
    )
    engine, batch = yardsticks.native_gemms(1)
    with engine:
        (first,) = engine.run(batch, ["first"])
    products = sum(batch.input_ids.size * step.k * step.n for step in seen[0].steps if step.op is Op.GEMM_INT8)
    assert products == yardsticks.PRODUCTS["native GEMM"] and first.shape[:2] == batch.input_ids.shape


def test_engines_have_names_and_models_of_their_own(module: Module) -> None:
    engines = module("engines")
    found = [*engines.all_engines(), *engines.YARDSTICKS]
    assert len({engine.name for engine in found}) == len(found)
    assert set(engines.QUICK) <= {engine.name for engine in found}
    assert {"bertc native 1", "bertc native 2 channel", "llama.cpp Q8_0"} <= {engine.name for engine in found}
    assert {engine.python for engine in found} | {engine.runs_in for engine in found} == set(
        module("environments").REQUIREMENTS
    )
    assert {engine.name for engine in engines.YARDSTICKS} == set(module("yardsticks").PRODUCTS)


class LlamaDouble:
    """What the benchmark calls of llama_cpp; a text's embedding is the sum of its tokens, and of its positions."""

    LLAMA_POOLING_TYPE_CLS = 2

    class Batch(ctypes.Structure):
        _fields_ = (
            ("n_tokens", ctypes.c_int32),
            ("token", ctypes.POINTER(ctypes.c_int32)),
            ("pos", ctypes.POINTER(ctypes.c_int32)),
            ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
            ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            ("logits", ctypes.POINTER(ctypes.c_int8)),
        )

    def __init__(self, status: int = 0) -> None:
        self.status, self.calls, self.rows = status, [], {}  # type: ignore[var-annotated]
        self.llama_model_default_params = self.llama_context_default_params = SimpleNamespace
        self.llama_backend_init = lambda: None
        self.llama_model_load_from_file = self.llama_init_from_model = lambda *given: given
        self.llama_model_n_ctx_train, self.llama_model_n_embd = (lambda model: 64), (lambda model: 2)
        self.llama_get_embeddings_seq = lambda context, number: (ctypes.c_float * 2)(*self.rows[number])

    def llama_batch_init(self, most: int, width: int, sequences: int) -> Batch:
        numbers, flags = (lambda: (ctypes.c_int32 * most)()), (ctypes.c_int8 * most)()
        self.kept = [(ctypes.c_int32 * 1)() for _ in range(most)]
        pointers = [ctypes.cast(each, ctypes.POINTER(ctypes.c_int32)) for each in self.kept]
        table = (ctypes.POINTER(ctypes.c_int32) * most)(*pointers)
        return self.Batch(0, numbers(), numbers(), numbers(), table, flags)

    def llama_encode(self, context: Any, batch: Batch) -> int:
        places = range(batch.n_tokens)
        self.calls.append([batch.token[place] for place in places])
        assert all(batch.n_seq_id[place] == 1 and batch.logits[place] == 1 for place in places)
        self.rows = {batch.seq_id[place][0]: [0, 0] for place in places}
        for place in places:
            row = self.rows[batch.seq_id[place][0]]
            row[0], row[1] = row[0] + batch.token[place], row[1] + batch.pos[place]
        return self.status


def llama(module: Module, monkeypatch: pytest.MonkeyPatch, folder: Path, tokens: int, double: LlamaDouble) -> Any:
    eye, nothing = np.eye(2, dtype=np.float32) / 100, np.zeros(2, np.float32)
    parts = {"pooler.weight": eye, "pooler.bias": nothing, "classifier.weight": eye, "classifier.bias": nothing}
    np.savez(folder / "head.npz", **parts)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "llama_cpp", double)  # type: ignore[arg-type]
    return module("openers").Llama({"folder": folder, "threads": 1, "options": {"tokens": tokens}})


@pytest.mark.parametrize("tokens, calls", [(1, [[3, 4, 5], [6], [7, 8]]), (4, [[3, 4, 5, 6], [7, 8]])])
def test_llama_gets_texts_without_padding_and_as_many_as_fit(
    tokens: int, calls: list[list[int]], module: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    double = LlamaDouble()
    engine = llama(module, monkeypatch, tmp_path, tokens, double)
    ids = np.array([[3, 4, 5], [6, 0, 0], [7, 8, 0]])
    (logits,) = engine.run({"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})
    assert double.calls == calls
    np.testing.assert_allclose(logits, np.tanh(np.array([[12, 3], [6, 0], [15, 1]]) / 100) / 100, rtol=1e-5)


def test_a_batch_that_llama_refuses_ends_the_engine(
    module: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = llama(module, monkeypatch, tmp_path, 1, LlamaDouble(status=-1))
    with pytest.raises(SystemExit, match="does not run a batch"):
        engine.run({"input_ids": np.ones((1, 2), np.int64), "attention_mask": np.ones((1, 2), np.int64)})
