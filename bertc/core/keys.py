"""Keys of values: what tells one value from another, as something JSON can write.

A value that a cached stage takes has a `cache_key()`, and a stage's key is made of the keys of exactly the values that
its function takes (`bertc.cache.stages`). What has no key is refused, so that nothing is left out by accident. Part
of the shared language.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

Key = Any
"""None, a boolean, a number, a text, or lists and dictionaries of those."""


@runtime_checkable
class Keyed(Protocol):
    """A value that knows its key: equal keys mean that every stage gives the same result for both."""

    def cache_key(self) -> Key:
        """Return what tells this value from others of its type."""


def key_of(value: Any) -> Key:
    """Return the key of a value. Raises `TypeError` for a type that has none.

    >>> key_of({"b": (1, None), "a": frozenset({"y", "x"})})
    {'a': ['x', 'y'], 'b': [1, None]}
    """
    if isinstance(value, Keyed):
        return value.cache_key()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), "sha256": digest_of_array(value)}
    if isinstance(value, Mapping):
        return {str(name): key_of(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, AbstractSet):
        return sorted((key_of(item) for item in value), key=repr)
    if isinstance(value, (tuple, list)):
        return [key_of(item) for item in value]
    raise TypeError(f"a {type(value).__name__} has no cache key; give it a cache_key()")


def key_of_fields(value: Any) -> Key:
    """Return a dataclass's key: all of its fields, so that a new one is never forgotten."""
    assert is_dataclass(value)
    return {field.name: key_of(getattr(value, field.name)) for field in fields(value)}


def digest_of_array(array: np.ndarray[Any, Any]) -> str:
    """Return the sha256 of an array's numbers, in rows."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()
