"""What is quantized and how: a mode is a value, a scheme is a mode with its refinements.

The modes are FasterTransformer's int8_mode 1, 2 and 3, written down in docs/modes.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from bertc.core.keys import Key, key_of_fields
from bertc.errors import InputError
from bertc.ir.sites import GEMM_OUTPUTS, Role, Site

DEFAULT_SMOOTHING = 0.9
"""SmoothQuant's exponent (Xiao et al. 2022, arXiv:2211.10438); chosen in docs/decisions/0009-one-sided.md."""


class Granularity(StrEnum):
    """How many scales a weight and a GEMM output have."""

    TENSOR = "tensor"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One INT8 mode: the roles it quantizes, and whether the residual additions read INT8."""

    name: str
    roles: frozenset[Role]
    quantized_residual: bool
    granularity: Granularity
    """What the plain mode means; modes with INT8 GEMM outputs also come in `channel`."""

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


_OPERANDS = frozenset(
    {
        Role.HIDDEN,
        Role.QUERY,
        Role.KEY,
        Role.VALUE,
        Role.PROBS,
        Role.CONTEXT,
        Role.ATTENTION_NORM,
        Role.ACTIVATION,
    }
)

MODE_1 = Mode(name="1", roles=_OPERANDS, quantized_residual=False, granularity=Granularity.CHANNEL)
MODE_2 = Mode(
    name="2", roles=_OPERANDS | frozenset(GEMM_OUTPUTS), quantized_residual=True, granularity=Granularity.TENSOR
)
MODE_3 = Mode(name="3", roles=MODE_2.roles | {Role.SCORES}, quantized_residual=True, granularity=Granularity.TENSOR)
MODES = {mode.name: mode for mode in (MODE_1, MODE_2, MODE_3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A mode with its refinements.

    `smoothing` is the exponent, or None for none. `tie_qkv` gives Q, K and V one weight scale, one GEMM-output scale
    and one operand scale, as FasterTransformer's mode 2 has it. `one_sided` gives the sites that have a lower bound
    near 0, the outputs of the activation and of the softmax, a zero point of their own; every other site is symmetric.
    `split_outliers` computes the feed-forward's outlier channels several times (`bertc.quantize.split`). `float_sites`
    stay in float, `float_roles` too (a target's list of what it cannot run in INT8).
    """

    mode: Mode
    granularity: Granularity
    smoothing: float | None
    tie_qkv: bool
    one_sided: bool = False
    split_outliers: bool = False
    float_sites: frozenset[Site] = field(default_factory=frozenset)
    float_roles: frozenset[Role] = field(default_factory=frozenset)

    @property
    def per_channel(self) -> bool:
        """Whether weights and GEMM outputs have a scale per column."""
        return self.granularity is Granularity.CHANNEL

    def quantizes(self, site: Site) -> bool:
        """Say whether a Q/DQ pair stands on the site."""
        return site.role in self.mode.roles and site not in self.float_sites and site.role not in self.float_roles

    def cache_key(self) -> Key:
        """Return all of it: what each site and weight becomes."""
        return key_of_fields(self)

    def without_roles(self, roles: frozenset[Role]) -> Scheme:
        """Return the scheme with the roles left in float."""
        return replace(self, float_roles=self.float_roles | roles)


def scheme_from_options(
    mode: str,
    *,
    granularity: str | None = None,
    smoothing: float | None = None,
    keep_float: tuple[str, ...] = (),
    layers: int,
) -> Scheme:
    """Build a scheme from what a user writes.

    `granularity` None means the mode's own; `smoothing` None means 0.9 for channel granularity and none for tensor;
    0 switches it off. `keep_float` names sites (layer.3.output_gemm), layers (layer.3) or roles (output_gemm).
    Raises `InputError` on an unknown name.
    """
    if mode not in MODES:
        raise InputError(f"INT8 mode '{mode}' does not exist; choose one of {', '.join(MODES)}")
    if granularity and granularity not in tuple(Granularity):
        raise InputError(f"granularity '{granularity}' does not exist; choose one of {', '.join(Granularity)}")
    chosen = MODES[mode]
    grain = Granularity(granularity) if granularity else chosen.granularity
    if grain is Granularity.TENSOR and not chosen.quantized_residual:
        raise InputError(
            f"INT8 mode {mode} has per-channel weights by definition; use --granularity channel, or mode 2 for tensor"
        )
    default = DEFAULT_SMOOTHING if grain is Granularity.CHANNEL else None
    exponent = default if smoothing is None else smoothing or None
    if exponent is not None and not 0 < exponent < 1:
        raise InputError(f"the smoothing exponent must be between 0 (off) and 1, not {smoothing}")
    return Scheme(
        mode=chosen,
        granularity=grain,
        smoothing=exponent,
        tie_qkv=grain is Granularity.TENSOR,
        float_sites=_sites_from_names(keep_float, layers),
    )


def _sites_from_names(names: tuple[str, ...], layers: int) -> frozenset[Site]:
    """Expand names of sites, layers and roles to sites. Raises `InputError` for a name that is none of them."""
    every = [Site(layer, role) for layer in range(layers) for role in Role]
    chosen: set[Site] = set()
    for name in names:
        matched = [site for site in every if name in (site.name, str(site.role), f"layer.{site.layer}")]
        if not matched:
            raise InputError(
                f"keep_float names '{name}', which is no site, layer or role of this model with {layers} layers; "
                f"write e.g. layer.0.output_gemm, layer.0 or one of {', '.join(Role)}"
            )
        chosen.update(matched)
    return frozenset(chosen)
