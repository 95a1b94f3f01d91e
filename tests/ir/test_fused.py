"""What a fused attention cannot take is refused with the reason and a remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bertc.errors import InputError
from bertc.export.tensorrt.limits import NEEDS
from bertc.ir.fused import check_attention
from bertc.ir.scheme import Scheme
from tests.tiny import TinyModel, tiny_scheme


def check(model: TinyModel, name: str, *, size: int, length: int = 128, scheme: Scheme | None = None) -> None:
    architecture = replace(model.checkpoint.architecture, hidden=2 * size, heads=2)
    check_attention(NEEDS, name, architecture=architecture, length=length, scheme=scheme or tiny_scheme("1"))


@pytest.mark.parametrize(
    "name, size", [("decomposed", 32), ("decomposed", 100), ("native", 32), ("packed", 64), ("kernel", 32)]
)
def test_what_it_can_take_is_taken(name: str, size: int, tiny_classifier: TinyModel) -> None:
    for mode, granularity in (("1", None), ("2", None), ("2", "channel")):
        check(tiny_classifier, name, size=size, scheme=tiny_scheme(mode, granularity))


@pytest.mark.parametrize(
    "name, options, message",
    [
        (
            "native",
            {"size": 40},
            r"native takes heads of size 16 or 32 or 64 .* 40; choose --attention decomposed",
        ),
        ("packed", {"size": 64, "length": 513}, r"at most 512 tokens .* take 513; choose --max-length 512"),
        ("native", {"size": 64, "length": 513}, r"at most 512 tokens .* take 513; choose --max-length 512"),
        ("packed", {"size": 64, "scheme": tiny_scheme("3")}, r"no place to quantize scores, as INT8 mode 3"),
        ("native", {"size": 64, "scheme": tiny_scheme("3")}, r"--keep-float scores"),
        (
            "kernel",
            {"size": 40},
            r"kernel takes heads of size 32 or 64 \(the kernel is checked for these\), .* size 40; ",
        ),
        ("kernel", {"size": 64, "scheme": tiny_scheme("3")}, r"no place to quantize scores, as INT8 mode 3"),
        ("kernel", {"size": 64, "scheme": tiny_scheme("1", keep_float=("probs",))}, r"layer\.0\.probs is to stay"),
        ("kernel", {"size": 64, "scheme": tiny_scheme("1", keep_float=("layer.1",))}, r"layer\.1\.context is to stay"),
    ],
)
def test_what_it_cannot_take_is_refused(
    name: str, options: dict[str, Any], message: str, tiny_classifier: TinyModel
) -> None:
    with pytest.raises(InputError, match=message):
        check(tiny_classifier, name, **options)


def test_the_edges_are_taken(tiny_classifier: TinyModel) -> None:
    check(tiny_classifier, "packed", size=64, length=512)
    check(tiny_classifier, "native", size=64, length=512)
    check(tiny_classifier, "kernel", size=64, length=4096)
    check(tiny_classifier, "decomposed", size=64, length=4096, scheme=tiny_scheme("3"))
    check(tiny_classifier, "native", size=64, scheme=tiny_scheme("3", keep_float=("scores",)))


def test_every_condition_has_its_reason() -> None:
    for needs in NEEDS.values():
        assert needs.summary and needs.since < needs.until and needs.least_capability
        assert bool(needs.head_sizes) == bool(needs.head_sizes_because)
        assert bool(needs.longest) == bool(needs.longest_because)
