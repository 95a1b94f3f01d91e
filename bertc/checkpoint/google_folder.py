"""A folder of Google's BERT in transformers' words: bert_config.json, vocab.txt and a checkpoint of TensorFlow.

What Google's code (github.com/google-research/bert) takes from its flags or does in its own way is said here: its gelu
is the approximation with tanh, and whether text becomes lower case stands in no file, but shows in the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertc.checkpoint.files import read_bytes
from bertc.errors import InputError

CONFIG = "bert_config.json"
INDEX = "*.ckpt*.index"
STATE = "checkpoint"  # a small file in which TensorFlow names the newest
FILES_BESIDE = f"copy {CONFIG} and vocab.txt of the model that it began with into the folder"
NEWEST = re.compile(rb'^model_checkpoint_path:\s*"(?:[^"]*/)?([^"/]+)"', re.MULTILINE)
SPECIAL = re.compile(r"\[.*\]")
CAPITAL = re.compile(r"[A-Z]")


def is_google_folder(folder: Path) -> bool:
    """Say whether a folder has Google's configuration and not transformers', which would go before."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def config_from_google(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return bert_config.json as config.json would say it.

    >>> config_from_google({"hidden_act": "gelu", "hidden_size": 768})
    {'model_type': 'bert', 'hidden_act': 'gelu_new', 'hidden_size': 768}
    """
    found = {"model_type": "bert", **config}
    if found.get("hidden_act") == "gelu":
        found["hidden_act"] = "gelu_new"
    return found


def lower_case_from_vocabulary(folder: Path) -> bool | None:
    """Say whether a folder's vocabulary is of lower-cased text: no word has a capital letter of A to Z.

    None where it need not tell: in a folder of transformers, or one with the files of its tokenizers.
    """
    vocabulary = folder / "vocab.txt"
    said = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    if said or not is_google_folder(folder) or not vocabulary.is_file():
        return None
    words = read_bytes(vocabulary).decode("utf-8", "replace").splitlines()
    return not any(CAPITAL.search(SPECIAL.sub("", word)) for word in words)


def notes_on_google_folder(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Give what was understood and stands in no file. `config` is in transformers' words."""
    if is_google_folder(folder) and config.get("hidden_act") == "gelu_new":
        yield f"the gelu of {CONFIG} is Google's, which is the approximation with tanh"
    lower = lower_case_from_vocabulary(folder)
    if lower is not None:
        kept = (
            "has no capital letters, so texts become lower case" if lower else "has capital letters, so texts keep them"
        )
        yield f"vocab.txt {kept}; a tokenizer_config.json with do_lower_case would decide it"


def index_from_folder(folder: Path) -> Path | None:
    """Return the index of a folder's TensorFlow checkpoint, the newest as TensorFlow says; None where there is none.

    Raises `InputError` if there are several, and no word on which is meant.
    """
    found = {path.name: path for path in sorted(folder.glob(INDEX))}
    if len(found) < 2:
        return next(iter(found.values()), None)
    state = folder / STATE
    named = NEWEST.search(read_bytes(state)) if state.is_file() else None
    name = f"{named[1].decode('utf-8', 'replace')}.index" if named else None
    if name not in found:
        raise InputError(
            f"{folder} holds {len(found)} checkpoints of TensorFlow ({', '.join(found)}), and no file {STATE!r} that "
            "names one of them; keep one"
        )
    return found[name]
