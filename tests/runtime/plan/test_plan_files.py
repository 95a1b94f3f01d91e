"""A plan on disk: the same bytes again, mapped and aligned; and damaged files, all of which are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.core.versions import __version__
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import ABI, Plan
from bertc.runtime.plan.plan_files import ARRAYS, PLAN, read_plan, write_plan
from tests.tiny import TinyModel, tiny_model

Compiled = tuple[Plan, Mapping[str, NDArray[Any]]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A plan with tables whose sizes are no multiples of 64 bytes."""
    model: TinyModel = tiny_model(tmp_path_factory.mktemp("odd"), hidden=50, intermediate=70)
    return plan_from_graph(store_embeddings(model.graph).graph)


@pytest.fixture
def written(compiled: Compiled, tmp_path: Path) -> Path:
    return write_plan(*compiled, tmp_path)


def test_what_is_written_is_read(compiled: Compiled, written: Path) -> None:
    plan, arrays = compiled
    found, mapped = read_plan(written)
    assert found == plan and list(mapped) == list(arrays)
    for name, array in arrays.items():
        assert mapped[name].dtype == array.dtype and mapped[name].ctypes.data % 64 == 0
        np.testing.assert_array_equal(mapped[name], array)
    assert any(array.nbytes % 64 for array in arrays.values())


def test_arrays_are_mapped_read_only(written: Path) -> None:
    _, mapped = read_plan(written)
    array = mapped["embeddings.sum.word"]
    assert not array.flags.owndata and not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_any_program_reads_the_arrays(compiled: Compiled, written: Path) -> None:
    from safetensors.numpy import load_file

    found = load_file(written.with_name(ARRAYS))
    for name, array in compiled[1].items():
        np.testing.assert_array_equal(found[name], array)


def test_the_same_plan_gives_the_same_bytes(compiled: Compiled, written: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again = write_plan(*compiled, tmp_path / "again")
    for name in (PLAN, ARRAYS):
        assert written.with_name(name).read_bytes() == again.with_name(name).read_bytes()
    assert written.stat().st_size < 10_000
    assert json.loads(written.read_bytes())["bertc"] == __version__


Edit = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "edit, told",
    [
        (
            lambda content: content | {"abi": ABI + 1},
            rf"another version of plans \({ABI + 1}, this one is {ABI}\)",
        ),
        (lambda content: content | {"abi": True}, "another version"),
        (lambda content: content | {"more": 1}, "has to hold abi, bertc and plan"),
        (lambda content: [content], "has to hold abi, bertc and plan"),
        (lambda content: content | {"plan": 3}, "steps, buffers and outputs"),
        (lambda content: content["plan"]["steps"][1].update(n=51) or content, r"native\.json: .*step 1 \(norm"),
    ],
)
def test_a_damaged_plan_is_refused(edit: Edit, told: str, written: Path) -> None:
    written.write_text(json.dumps(edit(json.loads(written.read_bytes()))), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        read_plan(written)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"nul"])
def test_what_is_no_json_is_refused(content: bytes, written: Path) -> None:
    written.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_plan(written)


def test_a_plan_of_a_hundred_megabytes_is_refused_unread(written: Path) -> None:
    with written.open("r+b") as stream:
        stream.truncate(100_000_000)
    with pytest.raises(InputError, match="is no plan"):
        read_plan(written)


@pytest.mark.parametrize("name", [PLAN, ARRAYS])
def test_a_missing_file_is_refused_by_its_name(name: str, written: Path) -> None:
    written.with_name(name).unlink()
    with pytest.raises(InputError, match=rf"{name} cannot be read"):
        read_plan(written)


def edit_header(path: Path, edit: Callable[[dict[str, Any]], None], *, shift: int = 0) -> None:
    """Change the header of a safetensors file, `shift` bytes longer than it was."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length + shift)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


WORD = "embeddings.sum.word"


@pytest.mark.parametrize(
    "edit, told",
    [
        (lambda header: header[WORD].update(shape=[1, 1]), "needs 1 bytes"),
        (lambda header: header[WORD].update(dtype="F64"), "is damaged"),
        (lambda header: header[WORD].update(dtype="U8"), "of the type U8"),
        (lambda header: header[WORD].update(data_offsets=[0, 2**40], shape=[2**40]), "truncated"),
        (lambda header: header.pop(WORD), "leaves a hole"),
        (lambda header: header.update(more=header.pop(WORD)), "no array of the plan|no step uses"),
    ],
)
def test_a_damaged_header_is_refused(edit: Callable[[dict[str, Any]], None], told: str, written: Path) -> None:
    edit_header(written.with_name(ARRAYS), edit)
    with pytest.raises(InputError, match=told):
        read_plan(written)


def test_arrays_that_do_not_begin_at_a_multiple_of_64_bytes_are_refused(written: Path) -> None:
    edit_header(written.with_name(ARRAYS), lambda header: None, shift=4)
    with pytest.raises(InputError, match="multiple of 64 bytes"):
        read_plan(written)


def test_a_truncated_or_longer_file_is_refused(written: Path) -> None:
    path = written.with_name(ARRAYS)
    content = path.read_bytes()
    generator = random.Random(0)
    for end in (0, 7, 8, 100, len(content) - 1, *(generator.randrange(len(content)) for _ in range(10))):
        path.write_bytes(content[:end])
        with pytest.raises(InputError):
            read_plan(written)
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="belong to no tensor"):
        read_plan(written)


def test_a_flipped_byte_of_a_plan_is_refused_or_harmless(written: Path) -> None:
    content = written.read_bytes()
    generator = random.Random(1)
    refused = 0
    for _ in range(200):
        place = generator.randrange(len(content))
        written.write_bytes(content[:place] + bytes([generator.randrange(256)]) + content[place + 1 :])
        try:
            read_plan(written)
        except InputError:
            refused += 1
    assert refused > 100
