"""config.pbtxt against the published schema, and the folder it stands in."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from google.protobuf import text_format

from bertc.artefact.triton_server import (
    Service,
    check_free,
    config_from_model,
    finished_model,
    name_from_path,
    python_config,
)
from bertc.errors import EnvironmentLackError, InputError
from bertc.graph.encoder import INPUTS
from bertc.targets import target_from_name
from tests.conftest import TinyOf
from tests.fixtures import tiny_vocab
from tests.tiny import OUTPUTS, TinyModel, quantized, tiny_scheme
from tests.triton_schema import read_config, schema_from_proto

HIDDEN = 64
DIMS = {
    "sequence-classification": {"logits": [2]},
    "text-ranking": {"logits": [1]},
    "token-classification": {"logits": [-1, 3]},
    "question-answering": {"start_logits": [-1], "end_logits": [-1]},
    "feature-extraction": {"last_hidden_state": [-1, HIDDEN], "sentence_embedding": [HIDDEN]},
    "late-interaction": {"last_hidden_state": [-1, HIDDEN], "token_embeddings": [-1, 48]},
    "fill-mask": {"logits": [len(tiny_vocab())]},
    "sparse-embedding": {"sentence_embedding": [len(tiny_vocab())]},
}
SERVICE = Service(name="tiny", backend="onnxruntime", file="model.onnx", gpu=False)


def config_of(model: TinyModel, service: Service = SERVICE) -> str:
    return config_from_model(target_from_name("float").onnx_from_graph(model.graph), service)


@pytest.mark.parametrize("task", OUTPUTS)
def test_a_config_is_what_the_schema_allows_and_what_the_model_has(task: str, tiny_of: TinyOf) -> None:
    config = read_config(config_of(tiny_of(task)))
    assert (config.name, config.backend, config.default_model_filename) == ("tiny", "onnxruntime", "model.onnx")
    assert config.max_batch_size == 32 and config.HasField("dynamic_batching")
    assert [value.name for value in config.input] == list(INPUTS)
    assert all(
        list(value.dims) == [-1] and types_name(config, value.data_type) == "TYPE_INT64" for value in config.input
    )
    assert {value.name: list(value.dims) for value in config.output} == DIMS[task]
    assert {types_name(config, value.data_type) for value in config.output} == {"TYPE_FP32"}
    assert len(config.instance_group) == 1 and not config.instance_group[0].profile


def types_name(config: object, number: int) -> str:
    enum = config.DESCRIPTOR.file.enum_types_by_name["DataType"]  # type: ignore[attr-defined]
    return str(enum.values_by_number[number].name)


def test_the_processor_is_said_aloud(tiny_classifier: TinyModel) -> None:
    """Without it, a server with a GPU would run the INT8 of a CPU on it."""
    assert "kind: KIND_CPU" in config_of(tiny_classifier)
    served = Service(name="tiny", backend="tensorrt", file="model.plan", gpu=True, most_texts=8, profiles=2)
    config = read_config(config_of(tiny_classifier, served))
    (group,) = config.instance_group
    assert group.DESCRIPTOR.enum_types_by_name["Kind"].values_by_number[group.kind].name == "KIND_GPU"
    assert list(group.profile) == ["0", "1"] and config.max_batch_size == 8


def test_the_python_backend_s_config_takes_texts_or_ids_of_any_length() -> None:
    config = read_config(python_config("tiny", {"logits": [-1, 3], "sentence_embedding": [4]}))
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "python", 32)
    assert config.HasField("dynamic_batching") and not config.default_model_filename
    given = {value.name: (types_name(config, value.data_type), list(value.dims)) for value in config.input}
    assert given == {
        **dict.fromkeys(("text", "pair"), ("TYPE_STRING", [1])),
        **dict.fromkeys(INPUTS, ("TYPE_INT64", [-1])),
    }
    assert all(value.optional and value.allow_ragged_batch for value in config.input)
    found = {value.name: (types_name(config, value.data_type), list(value.dims)) for value in config.output}
    arrays = {"logits": ("TYPE_FP32", [-1, 3]), "sentence_embedding": ("TYPE_FP32", [4])}
    assert found == {"answer": ("TYPE_STRING", [1])} | arrays
    assert config.parameters["threads"].string_value == "0"


def test_a_tensorrt_model_s_inputs_have_its_types(tiny_classifier: TinyModel) -> None:
    lowered = target_from_name("tensorrt").onnx_from_graph(quantized(tiny_classifier, tiny_scheme("1")).graph)
    config = read_config(config_from_model(lowered, SERVICE))
    assert {types_name(config, value.data_type) for value in config.input} == {"TYPE_INT32"}


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("max_batch_size", "maximum_batch_size"),
        ("TYPE_INT64", "TYPE_LONG"),
        ("KIND_CPU", "KIND_XPU"),
        ("dims: [ -1 ]", 'dims: [ "n" ]'),
        ("max_batch_size: 32", "max_batch_size: many"),
        ("dynamic_batching {", "dynamic_batching { preferred: 3"),
    ],
)
def test_the_schema_refuses_what_triton_does_not_know(right: str, wrong: str, tiny_classifier: TinyModel) -> None:
    text = config_of(tiny_classifier)
    assert right in text
    with pytest.raises(text_format.ParseError):
        read_config(text.replace(right, wrong))


def test_names_and_types_are_read_from_a_proto_and_comments_are_not() -> None:
    text = """// message Commented { }
    message Outer {  enum Kind { A = 0; B = 1; }  repeated Kind kinds = 2;
      oneof choice { Inner inner = 3; }  map<string, Inner> named = 4;  message Inner {} }"""
    assert schema_from_proto(text) == {
        "messages": {
            "Outer": {
                "kinds": [2, "Kind", True],
                "inner": [3, "Inner", False],
                "named": [4, "map<string,Inner>", False],
            },
            "Outer.Inner": {},
        },
        "enums": {"Outer.Kind": {"A": 0, "B": 1}},
    }


@pytest.mark.parametrize(
    "path, name",
    [
        ("/models/MiniLM-L6", "MiniLM-L6"),
        ("org/my model", "my_model"),
        ('a"b{', "a_b"),
        ("/", "model"),
        ("out/", "out"),
    ],
)
def test_a_model_is_called_as_its_folder(path: str, name: str) -> None:
    assert name_from_path(path) == name


def test_a_model_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    with pytest.raises(ZeroDivisionError), finished_model(repository, "tiny") as folder:
        (folder / "model.onnx").write_bytes(b"half")
        raise ZeroDivisionError
    assert not list(repository.iterdir())
    with finished_model(repository, "tiny") as folder:
        (folder / "model.onnx").write_bytes(b"whole")
    assert [path.relative_to(repository).as_posix() for path in repository.rglob("*.onnx")] == ["tiny/1/model.onnx"]
    assert list(repository.iterdir()) == [repository / "tiny"]


def test_a_full_disk_leaves_no_model_and_is_the_repository_s(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "OUT/bertc.json")
    with (
        pytest.raises(EnvironmentLackError, match=r"models: the disk is full"),
        finished_model(tmp_path / "models", "a"),
    ):
        raise full
    with pytest.raises(PermissionError), finished_model(tmp_path / "models", "a"):
        raise PermissionError
    assert not list((tmp_path / "models").iterdir())


def test_a_model_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(InputError, match="not overwritten"):
        check_free(tmp_path, "tiny")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"), finished_model(tmp_path / "file", "tiny"):
        pass
