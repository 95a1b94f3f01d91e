"""`bertc.load`: answers of every task, streams, and what it refuses."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertc as package
from bertc.artefact.layout import MANIFEST_FILE
from bertc.core.array_value import packed_from_array
from bertc.core.batch import Batch
from bertc.core.crf import Crf, Over
from bertc.core.head import Exit, Head, Interaction, Pooling, Problem, Projection, Similarity, Squash
from bertc.core.lstm import Direction, Lstm
from bertc.data.rows import Row, row_from_texts
from bertc.errors import EnvironmentLackError, InputError
from bertc.jobs.predict import head_from_document
from bertc.runtime.engine import OrtEngine
from bertc.runtime.machine.cpu import cpu_features
from tests.artefacts import Bertc, PathOf
from tests.fixtures import tiny_sentence
from tests.tiny import OUTPUTS

TEXTS = [tiny_sentence(seed, 3 + seed % 11) for seed in range(20)]


PACKED = packed_from_array(np.ones((4, 1), np.float32))
ONE = packed_from_array(np.ones((1, 1), np.float32))
DIRECTION = Direction(inputs=PACKED, states=PACKED, bias=packed_from_array(np.ones(4, np.float32)))
FULL_HEAD = Head(
    task="token-classification",
    labels=("a", "b"),
    problem=Problem.REGRESSION,
    pooling=Pooling.MAX,
    normalize=True,
    layer_weights=(0.25, 0.75),
    projections=(Projection(folder="2_Dense", sizes=(8, 4), bias=False, tanh=True),),
    dimensions=2,
    similarity=Similarity.DOT,
    interaction=Interaction(
        query_marker=None,
        document_marker=2,
        query_length=8,
        document_length=16,
        filler=3,
        filler_seen=True,
        skipped=(5, 7),
    ),
    squash=Squash.SIGMOID,
    crf=Crf(transitions=((0.5,),), start=(1.0,), end=(2.0,), over=Over.TOKENS, constrained=True),
    lstm=Lstm(layers=((DIRECTION,),), weight=ONE, bias=packed_from_array(np.ones(1, np.float32)), over=Over.WORDS),
    exits=(Exit(layer=1, dense="pooler", classifier="classifiers.1", pooling=Pooling.MEAN),),
    exit_threshold=0.5,
    mask=4,
)


def fields_at_default(value: Any, name: str = "head") -> Iterator[str]:
    """Give the fields that have their default value, in what a value holds too."""
    if isinstance(value, tuple):
        for item in value:
            yield from fields_at_default(item, name)
    for each in fields(value) if is_dataclass(value) else ():
        found = getattr(value, each.name)
        if found == each.default:
            yield f"{name}.{each.name}"
        yield from fields_at_default(found, f"{name}.{each.name}")


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert not [*fields_at_default(FULL_HEAD)], "a new field of a head is given a value of its own here"
    assert [*fields_at_default(replace(FULL_HEAD, mask=None))] == ["head.mask"]
    for head in (FULL_HEAD, Head(task="question-answering")):
        document = json.loads(json.dumps(asdict(head)))
        assert head_from_document(document, tmp_path) == head
    with pytest.raises(InputError, match="describes no head"):
        head_from_document({"task": "question-answering"}, tmp_path)


def test_labels_with_scores(artefact: Path) -> None:
    with package.load(artefact, threads=1) as model:
        one, many = model.predict(TEXTS[0]), model.predict(TEXTS)
        assert model.head.labels == ("negative", "positive") and not model.unvalidated
    assert len(one) == 1 and len(many) == 20
    assert sum(many[3]["scores"].values()) == pytest.approx(1.0)
    assert many[3]["score"] == max(many[3]["scores"].values())


def test_spans_entities_and_embeddings(artefact_of: PathOf) -> None:
    with package.load(artefact_of("question-answering")) as model:
        (answer,) = model.predict("what is it", "john lost a red car in london")
        assert answer["answer"] == "john lost a red car in london"[answer["start"] : answer["end"]]
    with package.load(artefact_of("token-classification")) as model:
        (found,) = model.predict(["mary is in paris"])
        assert found["words"] == ["mary", "is", "in", "paris"] and len(found["tags"]) == 4
    with package.load(artefact_of("feature-extraction")) as model:
        assert [len(item["embedding"]) for item in model.predict(["a", "b c"])] == [64, 64]
        (pair,) = model.predict(["good film"], ["good film"])
        assert pair["similarity"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("task", [task for task in OUTPUTS if task not in ("text-ranking", "late-interaction")])
def test_packing_is_not_seen_in_the_answers(
    task: str, ort_artefact_of: PathOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Batch] = []
    run = OrtEngine.run
    monkeypatch.setattr(OrtEngine, "run", lambda self, batch, names: ran.append(batch) or run(self, batch, names))
    short = ["good film", "who lost it", "bad"] * 10
    short = [f"{text} [MASK]" for text in short] if task == "fill-mask" else short
    texts, pairs = (short, short[::-1]) if task == "question-answering" else (TEXTS, None)
    texts = short if task == "fill-mask" else texts
    answers = {}
    for packing in (True, False):
        with package.load(ort_artefact_of(task), threads=1, packing=packing) as model:
            assert (model.row_length is not None) == packing
            ran.clear()
            answers[packing] = model.predict(texts, pairs)
            assert any(batch.starts for batch in ran) == packing
    assert len(answers[True]) == len(answers[False]) == len(texts)
    for one, other in zip(answers[True], answers[False], strict=True):
        assert one.keys() == other.keys()
        if task == "sequence-classification":
            assert one["scores"] == pytest.approx(other["scores"], abs=0.05)
        if task == "feature-extraction":
            assert one["embedding"] == pytest.approx(other["embedding"], abs=0.1)


def test_an_artefact_that_says_no_row_length_is_not_packed(ort_artefact: Path, tmp_path: Path) -> None:
    """Those of before packing have none, and their graphs would read a sentence's number as any other token's."""
    folder = tmp_path / "old"
    shutil.copytree(ort_artefact, folder)
    document = json.loads((folder / "bertc.json").read_text(encoding="utf-8"))
    assert 3 <= document.pop("row_length") <= document["max_length"]
    (folder / "bertc.json").write_text(json.dumps(document), encoding="utf-8")
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    content = (folder / "bertc.json").read_bytes()
    manifest["files"]["bertc.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    with package.load(folder, threads=1) as model:
        assert model.row_length is None and len(model.predict(TEXTS)) == 20


def test_the_default_target_does_not_pack(artefact: Path) -> None:
    answers = []
    for packing in (True, False):
        with package.load(artefact, threads=1, packing=packing) as model:
            assert model.row_length is None
            answers.append(model.predict(TEXTS))
    assert answers[0] == answers[1]


def test_labels_of_rows_do_not_matter(artefact: Path) -> None:
    rows = [row_from_texts("good film", label="no such label"), row_from_texts("bad film")]
    with package.load(artefact) as model:
        assert len(list(model.predict_rows(rows))) == 2


def test_a_stream_is_read_as_it_is_answered_and_not_kept(artefact: Path) -> None:
    read = 0

    def rows(count: int) -> Iterator[Row]:
        nonlocal read
        for number in range(count):
            read += 1
            yield row_from_texts(TEXTS[number % len(TEXTS)])

    with package.load(artefact, threads=1) as model:
        stream = model.predict_rows(rows(1000), batch=8)
        next(stream)
        assert read == 8
        peaks = []
        gc.collect()
        gc.freeze()  # with all libraries imported, a collection takes a second
        for count in (100, 1000):
            tracemalloc.start()
            for number, _ in enumerate(model.predict_rows(rows(count), batch=16)):
                if number % 50 == 0:
                    gc.collect()  # what ONNX Runtime leaves in cycles is not kept, and would be counted by chance
            assert number + 1 == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    gc.unfreeze()
    assert peaks[1] < 1.5 * peaks[0]


def test_an_empty_text_keeps_its_place(artefact: Path) -> None:
    with package.load(artefact) as model:
        alone = model.predict(["good", "bad"])
        assert model.predict(["", "good", " \n", "bad", ""]) == [None, alone[0], None, alone[1], None]
        assert model.predict("") == [None] and model.predict([" "], ["pair"]) != [None]
        rows = (row_from_texts(text) for text in ("a", "", "b", ""))
        assert [answer is None for answer in model.predict_rows(rows, batch=2)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("texts", "pairs", "message"),
    [
        (["good", None], None, r"texts\[1\] is None \(NoneType\), no text; give a str"),
        ([("who?", "Ada")], None, r"\(tuple\), no text; give the second texts as a list of their own, pairs=\["),
        (["good", float("nan"), 3], None, r"texts\[1\] is nan \(float\), no text"),
        (["good", b"bad"], None, r"texts\[1\] is b'bad' \(bytes\)"),
        (["a", "b"], ["c", None], r"pairs\[1\] is None"),
        (None, None, "texts is NoneType, not a text or a list of texts"),
        (b"good", None, "texts is bytes"),
        ({"text": "good"}, None, "texts is dict"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(artefact: Path, texts: Any, pairs: Any, message: str) -> None:
    with package.load(artefact) as model, pytest.raises(InputError, match=message):
        model.predict(texts, pairs)


def test_what_it_refuses(artefact: Path, artefact_of: PathOf, tmp_path: Path) -> None:
    with package.load(artefact) as model:
        with pytest.raises(InputError, match="2 texts came with 1 pairs"):
            model.predict(["a", "b"], ["c"])
        assert model.predict([]) == []
    with package.load(artefact_of("question-answering")) as model, pytest.raises(InputError, match="needs its context"):
        model.predict("what is it")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        package.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(artefact, copy)
    (copy / "bertc.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest mismatch, bertc\.json"):
        package.load(copy)


def test_a_machine_that_lacks_the_instructions_is_refused(artefact: Path, tmp_path: Path) -> None:
    if not cpu_features().features_known:
        pytest.skip("this system does not tell its instruction sets")
    copy = tmp_path / "copy"
    shutil.copytree(artefact, copy)
    document = json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8"))
    document["valid_on"]["cpu_features_any"] = ["avx99"]
    (copy / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(EnvironmentLackError, match="avx99"):
        package.load(copy)


def with_verdict(artefact: Path, folder: Path, **changes: bool) -> Path:
    """Copy an artefact whose build had another verdict."""
    shutil.copytree(artefact, folder)
    report = folder / "report.json"
    report.write_text(json.dumps(json.loads(report.read_text("utf-8")) | changes), encoding="utf-8")
    manifest = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
    content = report.read_bytes()
    manifest["files"]["report.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["unvalidated"] = changes.get("unvalidated", False)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"passed": False}, "did not pass its gates"), ({"passed": False, "unvalidated": True}, "is unvalidated")],
)
def test_an_artefact_that_did_not_pass_says_so(
    artefact: Path, tmp_path: Path, changes: dict[str, bool], words: str, bertc: Bertc
) -> None:
    folder = with_verdict(artefact, tmp_path / "out", **changes)
    with pytest.warns(UserWarning, match=words) as caught, package.load(folder, threads=1) as model:
        assert not model.passed and len(model.predict(TEXTS)) == 20
    assert len(caught) == 1 and caught[0].filename == __file__
    called = bertc("predict", folder, "--text", "good film", "--threads", "1")
    assert called.code == 0 and called.err.count("\n") == 1 and words in called.err
    assert not bertc("predict", folder, "--text", "good film", "-q").err


def test_an_artefact_that_passed_says_nothing(artefact: Path, bertc: Bertc) -> None:
    with package.load(artefact, threads=1) as model:
        assert model.passed and not model.caution
    assert not bertc("predict", artefact, "--text", "good film").err
