"""What was read is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertc.core.head import Head
from bertc.jobs.inputs import reading_of_validation
from bertc.recipe import ValidationRecipe
from tests.evaluate.toy import INTENT, MULTI, NER, STARS

FILES: list[tuple[Head, str, str, dict[str, str], str]] = [
    (INTENT, "a.tsv", "text\tlabel\na\t0\nb\tspam\n", {},
     "tsv with a header; columns text=text, label=label; labels '0' is ham; 2 rows"),
    (INTENT, "a.csv", "a,ham\nb,spam\n", {"text": "1", "label": "2"},
     "csv without a header, its first line is a row; columns text=1, label=2; labels by name; 2 rows"),
    (INTENT, "a.txt", "a\n\nb\n", {}, "lines; 2 rows, 0 with a label; 1 blank lines left out"),
    (MULTI, "a.csv", "text,a,b,c\nx,0,1,1\ny,0,0,0\n", {},
     "csv with a header; columns text=text, label[a]=a, label[b]=b, label[c]=c; labels '[0, 0, 0]' is none, "
     "'[0, 1, 1]' is b, c; 2 rows"),
    (STARS, "a.jsonl", '{"text": "x", "label": 3.5}\n', {}, "jsonl; columns text=text, label=label; 1 rows"),
    (STARS, "a.tsv", "sentence1\tsentence2\tlabel\nq\tp\t1\nq\t\t2\n\tp\t3\n", {},
     "tsv with a header; columns text_a=sentence1, text_b=sentence2, label=label; 3 rows; 2 with an empty text "
     "beside the other"),
    (STARS, "a.tsv", "sentence1\tsentence2\tlabel\nq\tp\t1\nq\tr\t2\n", {},
     "tsv with a header; columns text_a=sentence1, text_b=sentence2, label=label; 2 rows"),
    (NER, "a.conll", "# c\na 1\nb O\n", {},
     "conll; columns words=1, tags=2; labels '1' is B-person; tags BIO; 1 rows; 1 comment lines left out"),
]  # fmt: skip


@pytest.mark.parametrize(("head", "name", "content", "columns", "said"), FILES)
def test_a_file_is_read_as(
    tmp_path: Path, head: Head, name: str, content: str, columns: dict[str, str], said: str
) -> None:
    (tmp_path / name).write_text(content)
    wanted = ValidationRecipe(data=str(tmp_path / name), columns=columns)
    reading = reading_of_validation(wanted, head)
    assert reading is not None and reading.sentence() == said == reading.as_dict()["sentence"]


def test_without_data_nothing_is_said() -> None:
    assert reading_of_validation(ValidationRecipe(), INTENT) is None
