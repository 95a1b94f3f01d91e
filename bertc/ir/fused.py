"""What a fused attention of a runtime needs, as data, and the refusal of what it cannot take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bertc.errors import InputError
from bertc.ir.architecture import Architecture
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionNeeds:
    """One kind of attention. An empty set or None sets no condition.

    Versions of the runtime are from `since` to before `until`. The GPU's compute capability, times ten, is at least
    `least_capability`, and one of `capabilities`. `float_roles` have no place in it, `int8_roles` it takes in INT8
    only. `package` is what a build needs besides the runtime.
    """

    summary: str
    since: tuple[int, int]
    until: tuple[int, int]
    least_capability: int
    capabilities: frozenset[int] = frozenset()
    head_sizes: frozenset[int] = frozenset()
    head_sizes_because: str = ""
    longest: int | None = None
    longest_because: str = ""
    float_roles: frozenset[Role] = frozenset()
    int8_roles: frozenset[Role] = frozenset()
    package: str = ""


def check_attention(
    kinds: Mapping[str, AttentionNeeds], name: str, *, architecture: Architecture, length: int, scheme: Scheme | None
) -> None:
    """Raise `InputError` with the reason where a kind of attention cannot run the model."""
    needs = kinds[name]
    size = architecture.head_size
    if needs.head_sizes and size not in needs.head_sizes:
        possible = " or ".join(str(each) for each in sorted(needs.head_sizes))
        raise InputError(
            f"--attention {name} takes heads of size {possible} ({needs.head_sizes_because}), and this model's have "
            f"size {size}; choose {_others(kinds, name, size)}"
        )
    if needs.longest is not None and length > needs.longest:
        raise InputError(
            f"--attention {name} takes at most {needs.longest} tokens ({needs.longest_because}), and this engine is to "
            f"take {length}; choose --max-length {needs.longest}"
        )
    for layer in range(architecture.layers if scheme is not None else 0):
        assert scheme is not None
        _check_roles(needs, name, layer, scheme)


def _check_roles(needs: AttentionNeeds, name: str, layer: int, scheme: Scheme) -> None:
    for role in needs.float_roles:
        if scheme.quantizes(Site(layer, role)):
            raise InputError(
                f"--attention {name} has no place to quantize {role}, as INT8 mode {scheme.mode.name} does; "
                f"leave it in float with --keep-float {role}, or choose another attention"
            )
    for role in sorted(needs.int8_roles):
        if not scheme.quantizes(Site(layer, role)):
            raise InputError(
                f"--attention {name} is INT8 throughout, and {Site(layer, role)} is to stay in float; "
                "quantize it, or choose another attention"
            )


def _others(kinds: Mapping[str, AttentionNeeds], name: str, size: int) -> str:
    fitting = [other for other, needs in kinds.items() if other != name and size in (needs.head_sizes or {size})]
    return " or ".join(f"--attention {other}" for other in fitting)
