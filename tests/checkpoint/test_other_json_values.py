"""What sentence-transformers', PyLate's and Stanford's files may hold by mistake: refused in a sentence, or taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.errors import InputError
from tests.fixtures import write_json, write_tiny_bert, write_tiny_pylate, write_tiny_sentences
from tests.tasks.test_sparse_embedding import write_splade

DENSE = ("in_features", "out_features", "bias", "activation_function", "use_residual")
DENSE += ("module_input_name", "module_output_name")
LIBRARY = ("similarity_fn_name", "truncate_dim", "default_prompt_name", "model_type", "activation_fn", "prompts")
PYLATE = ("query_prefix", "document_prefix", "query_length", "document_length", "attend_to_expansion_tokens")
PYLATE += ("do_query_expansion", "skiplist_words")
STANFORD = ("query_token_id", "doc_token_id", "query_maxlen", "doc_maxlen", "attend_to_mask_tokens")
STANFORD += ("mask_punctuation", "similarity", "interaction", "dim")
OTHERS = (["max"], [], [["a"]], {"max": 1}, {}, 1.5, -1, 0, True, "", None)


def sentences(path: Path) -> Path:
    return write_tiny_sentences(path, modules=("Transformer", "Pooling", "Dense", "Normalize"))


def stanford(path: Path) -> Path:
    return write_tiny_bert(path, task="late-interaction")


FILES: dict[str, tuple[Callable[[Path], Path], str, tuple[str, ...]]] = {
    "Dense of a text": (sentences, "2_Dense/config.json", DENSE),
    "Dense of tokens": (write_tiny_pylate, "1_Dense/config.json", DENSE),
    "the library's own": (sentences, "config_sentence_transformers.json", LIBRARY),
    "a transformer's limits": (sentences, "sentence_bert_config.json", ("max_seq_length", "do_lower_case")),
    "PyLate's own": (write_tiny_pylate, "config_sentence_transformers.json", (*LIBRARY, *PYLATE)),
    "SPLADE's own": (write_splade, "config_sentence_transformers.json", LIBRARY),
    "Pooling": (sentences, "1_Pooling/config.json", ("pooling_mode", "pooling_mode_mean_tokens")),
    "SpladePooling": (write_splade, "1_SpladePooling/config.json", ("pooling_strategy", "activation_function")),
    "Stanford's": (stanford, "artifact.metadata", STANFORD),
}


@pytest.mark.parametrize("name", FILES)
def test_a_value_of_another_kind_is_no_accident(name: str, tmp_path: Path) -> None:
    write, file, entries = FILES[name]
    path = write(tmp_path) / file
    usual = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for entry in entries:
        for value in OTHERS:
            write_json(path, usual | {entry: value})
            see_what_is_made_of_it(tmp_path, f"{entry}: {value!r}")
    write_json(path, usual)
    checkpoint_from_path(tmp_path)


@pytest.mark.parametrize("write", [sentences, write_tiny_pylate, write_splade])
def test_nor_is_one_in_the_list_of_modules(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path) / "modules.json"
    modules = json.loads(path.read_text(encoding="utf-8"))
    for place, module in enumerate(modules):
        for entry in ("type", "path", "name", "idx"):
            for value in OTHERS:
                write_json(path, [*modules[:place], module | {entry: value}, *modules[place + 1 :]])
                see_what_is_made_of_it(tmp_path, f"{place} {entry}: {value!r}")


@pytest.mark.parametrize(
    ("entry", "value"), [("similarity_fn_name", {}), ("similarity_fn_name", ["dot"]), ("similarity_fn_name", [])]
)
def test_what_is_empty_is_not_what_is_missing(entry: str, value: Any, tmp_path: Path) -> None:
    write_json(sentences(tmp_path) / "config_sentence_transformers.json", {entry: value})
    with pytest.raises(InputError, match=f"{entry} .* is not supported"):
        checkpoint_from_path(tmp_path)


def see_what_is_made_of_it(path: Path, what: str) -> None:
    try:
        checkpoint_from_path(path)
    except InputError as error:
        assert str(error).strip(), what
    except Exception as error:
        raise AssertionError(f"{what} gives {error!r}") from error
