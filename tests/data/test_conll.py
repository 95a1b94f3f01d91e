"""CoNLL in its dialects: what is a column, a comment, an index and a blank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertc.data.dataset import form_from_path, rows_from_path
from bertc.errors import InputError
from bertc.tasks import task_from_name
from tests.data.reading import dataset_of

NER = "token-classification"
ANNA = (("Anna", "lives", "in", "Leeds"), ("B-person", "O", "O", "B-location"))
GERMEVAL = "#\tdocument 1 [2009]\n1\tAnna\tB-person\tO\n2\tlives\tO\tO\n3\tin\tO\tO\n4\tLeeds\tB-location\tO\n"

Read = list[tuple[tuple[str, ...], tuple[str, ...] | None]]

FILES: dict[str, tuple[str, dict[str, str], Read]] = {
    "an index": (
        "1\tAnna\tO\tB-person\n2\tlives\tO\tO\n3\tin\tO\tO\n4\tLeeds\tO\tB-location\n\n1\tBob\tO\tB-person\n",
        {},
        [ANNA, (("Bob",), ("B-person",))],
    ),
    "an index from 0": ("0 a O\n1 b O\n\n0 c B-x\n", {}, [(("a", "b"), ("O", "O")), (("c",), ("B-x",))]),
    "numbers that do not count": ("1 O\n3 O\n", {}, [(("1", "3"), ("O", "O"))]),
    "numbers with tags alone": ("1 O\n2 B-x\n", {}, [(("1", "2"), ("O", "B-x"))]),
    "an index and no tags": ("1 a\n2 b\n", {}, [(("a", "b"), None)]),
    "a named index": ("1 x O\n2 y O\n", {"words": "1"}, [(("1", "2"), ("O", "O"))]),
    "GermEval": (GERMEVAL, {"tags": "3"}, [ANNA]),
    "GermEval's nested tags": (GERMEVAL, {"tags": "4"}, [(ANNA[0], ("O", "O", "O", "O"))]),
    "MultiCoNER": (
        "# id 7d2a domain=en\nanna _ _ B-person\nlives _ _ O\n\n# id 7d2b domain=en\nhello _ _ O\n",
        {},
        [(("anna", "lives"), ("B-person", "O")), (("hello",), ("O",))],
    ),
    "CoNLL-U": (
        "# sent_id = 1\n# text = al mar\n1-2\tal\t_\t_\n1\ta\tADP\t_\n2\tel\tDET\t_\n3\tmar\tNOUN\t_\n3.1\tno\tX\t_\n",
        {"tags": "3"},
        [(("a", "el", "mar"), ("ADP", "DET", "NOUN"))],
    ),
    "# is a word": ("Anna\tB-person\n#\tO\nLeeds\tO\n", {}, [(("Anna", "#", "Leeds"), ("B-person", "O", "O"))]),
    "# begins a sentence": (
        "#fun O\nx O\n\n# O\ny B-x\n", {}, [(("#fun", "x"), ("O", "O")), (("#", "y"), ("O", "B-x"))],
    ),
    "# alone": ("# O\n# O\n", {}, [(("#", "#"), ("O", "O"))]),
    "a blank of another kind": (
        "10\u00a0000 O\neuros\u2003 B-x\n", {}, [(("10\u00a0000", "euros\u2003"), ("O", "B-x"))],
    ),
    "a token of it, with tabs": (
        "10\u00a0000\tO\n\u00a0\tO\nx\tO\n", {}, [(("10\u00a0000", "\u00a0", "x"), ("O", "O", "O"))],
    ),
    "CoNLL-2003": ("EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n", {}, [(("EU", "rejects"), ("B-ORG", "O"))]),
    "CoNLL-2003's chunks": ("EU NNP B-NP B-ORG\nx VBZ B-VP O\n", {"tags": "3"}, [(("EU", "x"), ("B-NP", "B-VP"))]),
    "windows": ("a\tO\r\nb\tB-x\r\n\r\nc\tO\r\n", {}, [(("a", "b"), ("O", "B-x")), (("c",), ("O",))]),
}  # fmt: skip


def written(folder: Path, content: str, name: str = "a.conll") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_dialect_is_read(tmp_path: Path, name: str) -> None:
    content, columns, rows = FILES[name]
    data = dataset_of(written(tmp_path, content), task=NER, columns=columns)
    assert [(row.words, row.tags) for row in data.rows] == rows


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (GERMEVAL, {}, r"the tags may be column 3 \(B-location, B-person, O\) or column 4 \(O\); name one with tags=3"),
        ("a B-x B-x\nb O I-x\n", {}, "the tags may be column 2 .* or column 3"),
        ("a B-x NN\nb O VB\n", {}, r"column 2 \(B-x, O\) or column 3 \(NN, VB\)"),
        ("a B-x\n", {"tags": "3"}, "'tags=3': there is no such column; the file has 2"),
        ("a B-x\n", {"tags": "ner_tags"}, "named by number, words=NUMBER and tags=NUMBER"),
        ("a B-x\n", {"id": "1"}, "named by number"),
        ("a B-x\n", {"colour": "1"}, "'colour' is no column this task reads"),
        ("a O\nb O\n# a comment within\nc O\n", {}, "line 3: has 4 columns where the lines before have 2"),
        ("a O\n\u00a0\nb O\n", {}, "line 2: has 1 columns"),
    ],
)
def test_what_is_ambiguous_or_not_there_is_refused(
    tmp_path: Path, content: str, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dataset_of(written(tmp_path, content), task=NER, columns=columns)


def test_tags_do_not_matter_where_nothing_is_scored(tmp_path: Path) -> None:
    rows = rows_from_path(written(tmp_path, GERMEVAL), layout=task_from_name(NER).layout)
    assert [row.words for row in rows] == [ANNA[0]]


@pytest.mark.parametrize("name", ["GermEval", "MultiCoNER", "CoNLL-U"])
def test_what_is_no_token_is_counted(tmp_path: Path, name: str) -> None:
    content, columns, _ = FILES[name]
    data = dataset_of(written(tmp_path, content), task=NER, columns=columns)
    counts: dict[str, Any] = {
        "GermEval": {"comment lines": 1},
        "MultiCoNER": {"comment lines": 2},
        "CoNLL-U": {"comment lines": 2, "lines that are no token": 2},
    }
    assert dict(data.left_out) == counts[name]
    assert dict(data.columns) == {"words": "2", "tags": "3"} or name == "MultiCoNER"


def test_comments_do_not_hide_the_form(tmp_path: Path) -> None:
    assert form_from_path(written(tmp_path, FILES["MultiCoNER"][0], "a.txt")) == "conll"
    assert form_from_path(written(tmp_path, "# a title\nsome text\n", "b.txt")) == "lines"
