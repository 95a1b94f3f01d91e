"""What a user's words become: a scheme, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from bertc.errors import InputError
from bertc.ir.scheme import DEFAULT_SMOOTHING, MODES, Granularity, scheme_from_options
from bertc.ir.sites import GEMM_OUTPUTS, Role, Site, site_from_name

LAYERS = 4


def test_modes_are_the_columns_of_the_table() -> None:
    one, two, three = (MODES[name].roles for name in ("1", "2", "3"))
    assert set(Role) - one == {*GEMM_OUTPUTS, Role.SCORES}
    assert two - one == set(GEMM_OUTPUTS) and three - two == {Role.SCORES} and one < two < three
    assert [MODES[name].quantized_residual for name in ("1", "2", "3")] == [False, True, True]


@pytest.mark.parametrize(
    "mode, granularity, expected, smoothing, tied",
    [
        ("1", None, Granularity.CHANNEL, DEFAULT_SMOOTHING, False),
        ("2", None, Granularity.TENSOR, None, True),
        ("2", "channel", Granularity.CHANNEL, DEFAULT_SMOOTHING, False),
        ("3", None, Granularity.TENSOR, None, True),
        ("3", "channel", Granularity.CHANNEL, DEFAULT_SMOOTHING, False),
    ],
)
def test_defaults_follow_the_mode_and_its_granularity(
    mode: str, granularity: str | None, expected: Granularity, smoothing: float | None, tied: bool
) -> None:
    scheme = scheme_from_options(mode, granularity=granularity, layers=LAYERS)
    assert (scheme.granularity, scheme.smoothing, scheme.tie_qkv) == (expected, smoothing, tied)
    assert scheme.per_channel is not tied


def test_smoothing_zero_switches_it_off_and_a_number_is_taken() -> None:
    assert scheme_from_options("1", smoothing=0, layers=LAYERS).smoothing is None
    assert scheme_from_options("2", smoothing=0.5, layers=LAYERS).smoothing == 0.5


@pytest.mark.parametrize(
    "mode, options, message",
    [
        ("4", {}, "choose one of 1, 2, 3"),
        ("", {}, "does not exist"),
        ("1", {"granularity": "tensor"}, "mode 2 for tensor"),
        ("1", {"smoothing": 1.0}, "between 0"),
        ("1", {"smoothing": -0.5}, "between 0"),
        ("1", {"keep_float": ("layer.9",)}, "'layer.9'"),
        ("1", {"keep_float": ("layer.0.outputgemm",)}, "'layer.0.outputgemm'"),
        ("1", {"keep_float": ("gelu", "")}, "''"),
        ("2", {"granularity": "column"}, "column"),
    ],
)
def test_what_makes_no_sense_is_refused(mode: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        scheme_from_options(mode, layers=LAYERS, **options)


@pytest.mark.parametrize(
    "name, sites",
    [
        ("layer.1.gelu", {Site(1, Role.ACTIVATION)}),
        ("layer.3", {Site(3, role) for role in Role}),
        ("output_gemm", {Site(layer, Role.OUTPUT_GEMM) for layer in range(LAYERS)}),
    ],
)
def test_keep_float_takes_sites_layers_and_roles(name: str, sites: set[Site]) -> None:
    scheme = scheme_from_options("2", keep_float=(name,), layers=LAYERS)
    assert scheme.float_sites == sites
    assert not any(scheme.quantizes(site) for site in sites)
    assert scheme.quantizes(Site(0, Role.CONTEXT))


def test_roles_that_a_target_lacks_leave_the_scheme() -> None:
    scheme = scheme_from_options("3", layers=LAYERS)
    less = scheme.without_roles(frozenset({Role.PROBS})).without_roles(frozenset({Role.SCORES}))
    assert scheme.quantizes(Site(0, Role.PROBS))
    assert not less.quantizes(Site(0, Role.PROBS)) and not less.quantizes(Site(3, Role.SCORES))
    assert less.quantizes(Site(0, Role.CONTEXT))


def test_site_names_read_back() -> None:
    for role in Role:
        assert site_from_name(Site(11, role).name) == Site(11, role)


@pytest.mark.parametrize("name", ["", "layer.1", "layer.x.gelu", "layer.1.gelu.2", "block.1.gelu", "layer.1.gelus"])
def test_what_is_no_site_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a site"):
        site_from_name(name)
