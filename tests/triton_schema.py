"""The published schema of Triton Inference Server's config.pbtxt, and a reader that takes what it allows.

    python -m tests.triton_schema model_config.proto COMMIT

writes tests/golden/triton/model_config.json from protobuf/model_config.proto of triton-inference-server/common at that
commit: names, numbers and types of fields, and values of enumerations; no text of the file. `read_config` lets the
parser of protobuf read a config with a schema made of that list, so that a name that Triton does not know is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

SOURCE = "https://github.com/triton-inference-server/common: protobuf/model_config.proto"
NAMES = Path(__file__).parent / "golden" / "triton" / "model_config.json"
PACKAGE = "inference"
Schema = dict[str, Any]
FIELD = re.compile(
    r"(?P<repeated>repeated\s+)?(?P<type>map<\s*\w+\s*,\s*[\w.]+\s*>|[\w.]+)\s+(?P<name>\w+)\s*=\s*(?P<n>\d+)"
)
FieldProto = descriptor_pb2.FieldDescriptorProto


def schema_from_proto(text: str) -> dict[str, Schema]:
    """Return {"messages": {full name: {field: [number, type, repeated]}}, "enums": {full name: {value: number}}}."""
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    found: dict[str, Schema] = {"messages": {}, "enums": {}}
    scope: list[tuple[str, str]] = []
    for part in re.findall(r"[^;{}]+|[;{}]", plain):
        words = part.split()
        if part in "{;":
            continue
        if part == "}":
            scope.pop()
        elif words[:1] in (["message"], ["enum"], ["oneof"]):
            kind, name = words[0], words[1]
            scope.append((kind, name))
            if kind != "oneof":
                found[f"{kind}s"][_full(scope)] = {}
        elif scope and words and words[0] not in ("reserved", "option"):
            if scope[-1][0] == "enum":
                value, number = part.split("=")
                found["enums"][_full(scope)][value.strip()] = int(number)
            else:
                field = FIELD.search(part)
                assert field is not None, part
                kind = re.sub(r"\s", "", field["type"])
                found["messages"][_full(scope)][field["name"]] = [int(field["n"]), kind, bool(field["repeated"])]
    return found


def _full(scope: list[tuple[str, str]]) -> str:
    return ".".join(name for kind, name in scope if kind != "oneof")


def read_config(text: str) -> Any:
    """Parse a config.pbtxt as ModelConfig. Raises `text_format.ParseError` for what the schema does not have."""
    schema = json.loads(NAMES.read_text(encoding="utf-8"))
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name in schema["messages"]:
        parent, _, own = name.rpartition(".")
        made[name] = (made[parent].nested_type if parent else file.message_type).add(name=own)
    for name, values in schema["enums"].items():
        parent, _, own = name.rpartition(".")
        enum = (made[parent] if parent else file).enum_type.add(name=own)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in schema["messages"].items():
        for field, (number, kind, repeated) in fields.items():
            _add_field(made[name], name, field, number, kind, repeated, schema)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.ModelConfig"))()
    return text_format.Parse(text, config)


def _add_field(
    message: Any, scope: str, name: str, number: int, kind: str, repeated: bool, schema: dict[str, Schema]
) -> None:
    if kind.startswith("map<"):
        key, value = kind[4:-1].split(",")
        own = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=own)
        entry.options.map_entry = True
        _add_field(entry, scope, "key", 1, key, False, schema)
        _add_field(entry, scope, "value", 2, value, False, schema)
        message.field.add(
            name=name, number=number, label=3, type=FieldProto.TYPE_MESSAGE, type_name=f".{PACKAGE}.{scope}.{own}"
        )
        return
    field = message.field.add(name=name, number=number, label=3 if repeated else 1)
    simple = getattr(FieldProto, f"TYPE_{kind.upper()}", None)
    if simple is not None:
        field.type = simple
        return
    outer = scope.split(".")
    places = [".".join([*outer[:depth], kind]) for depth in range(len(outer), -1, -1)]
    full = next(place for place in places if place in schema["messages"] or place in schema["enums"])
    field.type = FieldProto.TYPE_MESSAGE if full in schema["messages"] else FieldProto.TYPE_ENUM
    field.type_name = f".{PACKAGE}.{full}"


if __name__ == "__main__":
    document = {"source": SOURCE, "commit": sys.argv[2], **schema_from_proto(Path(sys.argv[1]).read_text("utf-8"))}
    NAMES.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
