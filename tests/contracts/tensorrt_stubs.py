"""Write type stubs of the installed TensorRT bindings: what their docstrings and signatures say, for mypy.

Run in a process of its own, with the bindings on the path: `python tensorrt_stubs.py FOLDER`. The extension says its
signatures in docstrings (pybind11's form); `tensorrt.plugin` is Python. What pybind11 does and does not say is said
here: a null pointer comes as None, a sequence is taken for `Dims` and an array for `Weights`.
"""

from __future__ import annotations

import inspect
import keyword
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

HEAD = """import collections.abc, tensorrt, typing, typing_extensions
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Iterator, List, Tuple, TypeVar, overload
from numpy.typing import NDArray
__version__: str
_F = TypeVar("_F", bound=Callable[..., Any])
"""
SIGNATURE = r"^(?:\d+\. )?{}\((.*)\) -> (.*)$"
GIVEN = {"Dims": "Dims | Sequence[int]", "Weights": "Weights | NDArray[Any]", "buffer": "typing_extensions.Buffer"}
GIVEN |= {"typing.SupportsInt": "int", "typing.SupportsFloat": "float"}
"""What an argument takes; a number is asked for, though pybind11 3 takes what can become one."""

NAMED = {"nvonnxparser::IParserError": "ParserError"}
VALUES = {"Dims", "Weights", "Permutation"}
"""Classes that are returned by value, which is never None."""

SPECIAL = {"__init__", "__getitem__", "__setitem__", "__len__", "__int__", "__call__", "__sub__"}
BUFFERS = {"IHostMemory"}
KNOWN = {"int", "bool", "float", "str", "bytes", "object", "None", "list", "dict", "tuple", "typing", "List", "Tuple"}
KNOWN |= {"NDArray", "Any", "Sequence", "typing_extensions", "Buffer", "collections", "abc", "Callable", "Severity"}


class Extension:
    """The bindings' classes and functions, as lines of a stub."""

    def __init__(self, module: ModuleType) -> None:
        self.names = vars(module)
        own = {value: name for name, value in self.names.items() if isinstance(value, type)}
        self.classes = {value: name for value, name in own.items() if value.__module__.startswith("tensorrt_bindings")}

    def lines(self) -> Iterator[str]:
        """Write the whole module."""
        yield from HEAD.splitlines()
        for name, value in self.names.items():
            if isinstance(value, type):
                yield from self.of_class(name, value) if value in self.classes else ()
            elif not name.startswith("_") and callable(value) and value.__doc__:
                yield from self.of_call(name, value.__doc__)

    def of_class(self, name: str, found: type) -> Iterator[str]:
        """Write a class with its members, the inner ones first."""
        bases = [self.classes[base] for base in found.__bases__ if base in self.classes]
        yield f"class {name.rpartition('.')[2]}({', '.join(bases)}):"
        yield "    _: Any"
        if found.__name__ in BUFFERS:
            yield "    def __buffer__(self, flags: int, /) -> memoryview: ..."
        for member, value in vars(found).items():
            yield from ("    " + line for line in self.of_member(found, member, value))

    def of_member(self, owner: type, name: str, value: Any) -> Iterator[str]:
        """Write one member of a class."""
        if isinstance(value, type):
            yield from self.of_class(f"{owner.__name__}.{name}", value)
        elif isinstance(value, property):
            found = re.search(r"-> (.*)", value.fget.__doc__ or "") if value.fget else None
            kind = self.kind(found[1], given=False) if found else "Any"
            yield from ("@property", f"def {name}(self) -> {kind}: ...")
            if value.fset:
                taken = re.search(r", \w+: (.*)\) ->", value.fset.__doc__ or "")
                kind = self.kind(taken[1], given=True) if taken else "Any"
                yield from (f"@{name}.setter", f"def {name}(self, value: {kind}) -> None: ...")
        elif isinstance(value, owner):
            yield f"{name}: ClassVar[{owner.__qualname__}]"
        elif name in SPECIAL or not name.startswith("_"):
            document = getattr(value, "__doc__", None) or ""
            yield from self.of_call(name, document, static=isinstance(value, staticmethod))
            if name == "__getitem__":
                yield "def __iter__(self) -> Iterator[Any]: ..."

    def of_call(self, name: str, document: str, *, static: bool = False) -> Iterator[str]:
        """Write a function, once for each overload that its docstring names."""
        found = re.findall(SIGNATURE.format(re.escape(name)), document, re.MULTILINE)
        found = [each for each in found if each[0] != "*args, **kwargs"]
        for given, gives in found:
            arguments = [self.argument(each) for each in split(given) if each]
            for place, argument in enumerate(arguments):  # C++ takes one without a default behind one that has it
                if any(" = ..." in each for each in arguments[:place]) and " = ..." not in argument:
                    arguments[place] += " = ..."
            yield from ["@overload"] * (len(found) > 1) + ["@staticmethod"] * static
            yield f"def {name}({', '.join(arguments)}) -> {self.kind(gives, given=False)}: ..."

    def argument(self, text: str) -> str:
        """Write one argument; one without a type is what it is."""
        name, colon, rest = text.partition(":")
        kind, equals, default = rest.partition(" = ")
        if not colon or name == "self":
            return name
        name += "_" * keyword.iskeyword(name)
        kind = self.kind(kind.strip(), given=True) + " | None" * (default == "None")
        return f"{name}: {kind}" + " = ..." * bool(equals)

    def kind(self, text: str, *, given: bool) -> str:
        """Write a type as Python has it; what it does not know is Any."""
        text = NAMED.get(text, re.sub(r"tensorrt_bindings\.tensorrt\.", "", text))
        text = re.sub(r"numpy\.ndarray(\[.*\])?", "NDArray[Any]", text)
        if given and text in GIVEN:
            return GIVEN[text]
        if "::" in text or not set(re.findall(r"[^\W\d]\w*", text)) <= KNOWN | set(self.names):
            return "Any"
        found = self.names.get(text)
        null = isinstance(found, type) and not hasattr(found, "__members__") and text not in VALUES
        return f"{text} | None" if null and not given else text


def split(text: str) -> list[str]:
    """Cut arguments at the commas outside brackets.

    >>> split("self: A, b: List[int, str] = <C.D: 1>, *")
    ['self: A', 'b: List[int, str] = <C.D: 1>', '*']
    """
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "[(<{") - (character in "])>}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def plugin_lines(module: ModuleType) -> Iterator[str]:
    """Write the Python module in which quick plugins are written, from its signatures."""
    yield from (*HEAD.splitlines(), "op: Any")
    for name, value in vars(module).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            yield plugin_call(name, value)
        elif inspect.isclass(value) and value.__module__.startswith(module.__name__):
            yield from plugin_class(name, value)


def plugin_class(name: str, found: type) -> Iterator[str]:
    """Write a class with what it and its bases define; without a property it has what it is made of."""
    yield f"class {name}({', '.join(base.__name__ for base in found.__bases__ if is_shown(base))}):"
    yield "    _: Any"
    members = {key: value for base in reversed(found.__mro__[:-1]) for key, value in vars(base).items()}
    for key, value in members.items():
        if isinstance(value, property):
            kind = plugin_kind(inspect.signature(value.fget).return_annotation)
            yield f"    @property\n    def {key}(self) -> {kind}: ..."
            if value.fset:
                yield f"    @{key}.setter\n    def {key}(self, value: Any) -> None: ..."
        elif inspect.isfunction(value) and (key in SPECIAL or not key.startswith("_")):
            yield "    " + plugin_call(key, value)
    if not any(isinstance(value, property) for value in members.values()):
        for key, parameter in inspect.signature(found).parameters.items():
            yield f"    {key}: {plugin_kind(parameter.annotation)}"


def is_shown(found: type) -> bool:
    """Whether a class is one of the module's public names."""
    return getattr(sys.modules["tensorrt_bindings.plugin"], found.__name__, None) is found


def plugin_call(name: str, found: Any) -> str:
    """Write a function."""
    signature = inspect.signature(found)
    arguments = []
    for key, each in signature.parameters.items():
        star = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        default = "" if each.default is each.empty else " = ..."
        arguments.append(key if key == "self" else f"{star}{key}: {plugin_kind(each.annotation)}{default}")
    gives = "None" if name == "__init__" else plugin_kind(signature.return_annotation)
    return f"def {name}({', '.join(arguments)}) -> {gives}: ..."


def plugin_kind(annotation: Any) -> str:
    """Write an annotation: a decorator gives what it takes, and what has no public name is Any."""
    if typing.get_origin(annotation) is typing.Union:
        return " | ".join(map(plugin_kind, typing.get_args(annotation)))
    if annotation is typing.Callable:
        return "Callable[[_F], _F]"
    name = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(name, str):
        annotation = getattr(sys.modules["tensorrt_bindings.plugin"], name, Any)
    if not isinstance(annotation, type) or annotation is inspect.Parameter.empty:
        return "Any"
    if annotation.__module__ == "tensorrt_bindings.tensorrt":
        return f"tensorrt.{annotation.__name__}"
    return annotation.__name__ if is_shown(annotation) or annotation.__module__ == "builtins" else "Any"


def main(folder: Path) -> None:
    """Write both modules."""
    import tensorrt
    from tensorrt_bindings import plugin

    for name, lines in (("__init__", Extension(tensorrt).lines()), ("plugin", plugin_lines(plugin))):
        path = folder / "tensorrt" / f"{name}.pyi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
