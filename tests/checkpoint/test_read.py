"""Folders: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.core.plugins import FAMILIES
from bertc.errors import EnvironmentLackError, InputError
from tests.fixtures import ARCHITECTURES, edit_json, tiny_vocab, write_json, write_tiny_bert

NOT_NAMED = ("text-ranking", "sparse-embedding")
"""Tasks that the files do not tell: the rows, or the user, choose them."""


@pytest.mark.parametrize("task", [task for task in ARCHITECTURES if task not in NOT_NAMED])
def test_reads_each_head(tmp_path: Path, task: str) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model", task=task))
    assert checkpoint.family == "bert"
    assert checkpoint.head.task == task
    assert checkpoint.config["hidden_size"] == 64
    assert checkpoint.encoder.max_length == 128
    assert checkpoint.weights.shape("embeddings.word_embeddings.weight") == (len(tiny_vocab()), 64)
    assert checkpoint.ignored_bytes == 0


def test_takes_a_string(tiny: Path) -> None:
    assert checkpoint_from_path(str(tiny)).path == tiny


def test_reading_imports_no_torch(tiny: Path) -> None:
    code = (
        "import sys; from bertc.checkpoint import checkpoint_from_path; checkpoint_from_path(sys.argv[1]); "
        "assert not {'torch', 'transformers', 'huggingface_hub', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny)], check=True, cwd=Path(__file__).parents[2])


def test_digest_is_of_content_alone(tiny: Path, tmp_path: Path) -> None:
    digest = checkpoint_from_path(tiny).digest
    copy = shutil.copytree(tiny, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    os.utime(copy / "config.json", (1, 1))
    assert len(digest) == 2 * hashlib.sha256().digest_size
    assert checkpoint_from_path(copy).digest == digest


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"])
def test_digest_changes_with_each_file(tiny: Path, name: str) -> None:
    digest = checkpoint_from_path(tiny).digest
    content = (tiny / name).read_bytes()
    if name == "model.safetensors":
        content = content[:-1] + bytes([content[-1] ^ 1])
    elif name == "vocab.txt":
        content += b"unheard\n"
    else:
        content += b"\n"
    (tiny / name).write_bytes(content)
    assert checkpoint_from_path(tiny).digest != digest


def test_digest_covers_the_pooling(sentences: Path) -> None:
    digest = checkpoint_from_path(sentences).digest
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    write_json(sentences / "1_Pooling" / "config.json", flags)
    assert checkpoint_from_path(sentences).digest != digest


@pytest.mark.parametrize("path", ["./none", "/none", "../none", "a/b/c", "none", ""])
def test_a_missing_path_is_refused_without_the_network(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.checkpoint.hub._download", lambda *_: pytest.fail("asked the network"))
    if path == "":
        monkeypatch.chdir("/")
    with pytest.raises(InputError, match=r"does not exist|no config\.json"):
        checkpoint_from_path(path)


def test_a_mistyped_folder_is_refused_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.checkpoint.hub._download", lambda *_: pytest.fail("asked the network"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(InputError, match="models/typo does not exist"):
        checkpoint_from_path("models/typo")


def test_a_hub_id_is_downloaded(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert "model.safetensors" in allow_patterns
        assert "pytorch_model.bin" not in allow_patterns
        return str(tiny)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert checkpoint_from_path("some-org/some.model").family == "bert"
    assert asked == ["some-org/some.model"]


def test_no_network_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(name: str, **_: object) -> str:
        raise OSError(f"no route to {name}\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(
        EnvironmentLackError, match=r"org/name is no local folder .*no route to org/name\); check"
    ) as told:
        checkpoint_from_path("org/name")
    assert "\n" not in str(told.value)


def test_no_hub_package_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EnvironmentLackError, match=r"pip install 'bertc\[hub\]'"):
        checkpoint_from_path("org/name")


def test_a_link_into_the_hub_cache_is_followed(tmp_path: Path) -> None:
    source = write_tiny_bert(tmp_path / "source", shards=2)
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in source.iterdir():
        shutil.copy(file, blobs / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert checkpoint_from_path(snapshot).digest == checkpoint_from_path(source).digest


def test_a_file_is_no_folder(tiny: Path) -> None:
    with pytest.raises(InputError, match="is a file; give the folder"):
        checkpoint_from_path(tiny / "config.json")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json; give the folder of a Hugging Face checkpoint$"):
        checkpoint_from_path(tmp_path)


def test_a_folder_of_checkpoints_names_them(tmp_path: Path) -> None:
    """As transformers' Trainer leaves its output; a module of sentence-transformers is no checkpoint."""
    (tmp_path / "1_Pooling").mkdir()
    write_json(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    (tmp_path / "logs" / "config.json").mkdir(parents=True)
    with pytest.raises(InputError, match=r"checkpoint$"):
        checkpoint_from_path(tmp_path)
    for steps in (500, 1000):
        write_tiny_bert(tmp_path / f"checkpoint-{steps}")
    with pytest.raises(InputError, match=r"holds no config\.json; .* there is one in checkpoint-1000, checkpoint-500$"):
        checkpoint_from_path(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "holds a JSON list, not an object"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
    ],
)
def test_config_that_is_no_object(tiny: Path, content: str | bytes, told: str) -> None:
    (tiny / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"config\.json.*{told}"):
        checkpoint_from_path(tiny)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"hidden_size": -64}, "hidden_size is -64"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"hidden_size": 64.0}, "hidden_size is 64.0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
        ({"num_attention_heads": 3}, "hidden_size 64 is no multiple of num_attention_heads 3"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps is 'tiny'"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
        ({"model_type": "gpt2"}, "model_type 'gpt2'; bertc supports only: .*bert"),
        ({"model_type": "../bert"}, "model_type '../bert'"),
        ({"model_type": None}, "has no model_type"),
        ({"model_type": 3}, "has no model_type"),
    ],
)
def test_absurd_config(tiny: Path, entries: dict[str, object], told: str) -> None:
    edit_json(tiny / "config.json", **entries)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tiny)


def test_families_are_listed_without_importing_them() -> None:
    assert "bert" in FAMILIES.names()
    assert not any(name.startswith("_") for name in FAMILIES.names())


def test_code_named_by_a_checkpoint_is_not_run(tiny: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (tiny / "evil.py").write_text(f"open({str(touched)!r}, 'w')\nclass Model: ...\n")
    edit_json(tiny / "config.json", auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Model"})
    edit_json(tiny / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Model", None]})
    checkpoint = checkpoint_from_path(tiny)
    checkpoint.encoder.save(tmp_path)
    assert not touched.exists()
    assert "auto_map" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
