"""ONNX Runtime's CUDA provider: whether it can run here, its sessions, and which provider has which node.

It is an extra: what needs it raises `EnvironmentLackError` where provider, driver or GPU is missing. Nobody has
executed it on a GPU yet (docs/ort-cuda.md); the tests drive it against a session that only plays the GPU.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bertc.core.batch import Batch
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.engine import Array, Engine, OrtEngine
from bertc.runtime.machine.gpu import driver_of_machine
from bertc.runtime.optimized import Optimized
from bertc.runtime.ort.binding import NO_GRAPH, BoundBatch
from bertc.runtime.ort.inference_session import OrtRuntime, optimized_from_nodes

PROVIDER, HOST = "CUDAExecutionProvider", "CPUExecutionProvider"
DEVICE = "cuda"
REQUIREMENT = "onnxruntime-gpu>=1.24,<2"
"""1.24 is the first that tells which provider has which node (onnxruntime#26781)."""

RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
MISSING = (
    "ONNX Runtime has no CUDA provider here; on a machine with an NVIDIA GPU, uninstall the package onnxruntime and "
    f'install "{REQUIREMENT}", which replaces it (extra cuda)'
)
INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 9, 12, 13})
"""ONNX's numbers of the integer types and bool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How many nodes run on the GPU, and how many of integers alone ONNX Runtime keeps on the CPU, where shapes are."""

    gpu: int
    cpu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledOnnxruntime:
    """The ONNX Runtime that is imported: its version, the CUDA that it was built for (if it says), its provider."""

    version: str
    cuda: str
    has_cuda: bool


def installed_onnxruntime() -> InstalledOnnxruntime:
    """Ask ONNX Runtime what it is."""
    import onnxruntime as ort

    return InstalledOnnxruntime(
        version=ort.__version__,
        cuda=str(getattr(ort, "cuda_version", "") or ""),
        has_cuda=PROVIDER in ort.get_available_providers(),
    )


class CudaEngine(OrtEngine):
    """A session on the GPU, whose inputs and outputs are bound to the GPU's memory."""

    def __init__(self, session: Any, *, graphs: bool = False) -> None:
        super().__init__(session)
        self._graphs = graphs
        self._bound = 0

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch as it is; those per text come row by row, in the batch's order."""
        bound = BoundBatch(self._session, self.feeds(batch), outputs, device=DEVICE)
        bound.run()
        return bound.read()

    def bind(self, batch: Batch, outputs: Sequence[str]) -> BoundBatch:
        """Keep a batch on the GPU to run it again and again, as one CUDA graph if the session was opened for that.

        `write(engine.feeds(other))` puts another batch of the same shape in its place.
        """
        self._bound += 1
        graph = self._bound if self._graphs else NO_GRAPH
        return BoundBatch(self._session, self.feeds(batch), outputs, device=DEVICE, graph=graph)


def check_installed() -> None:
    """Raise `EnvironmentLackError` where the provider, the driver or a GPU is missing."""
    import onnxruntime as ort

    if PROVIDER not in ort.get_available_providers():
        raise EnvironmentLackError(MISSING)
    driver = driver_of_machine()
    if driver.lack:
        raise EnvironmentLackError(f"ONNX Runtime's CUDA provider has no GPU: {driver.lack}")


def open_session(model: Path, *, graphs: bool = False) -> CudaEngine:
    """Open a session on the first GPU, every node where it belongs.

    With `graphs`, a bound batch runs as a CUDA graph. It is not the default: every shape needs a graph of its own, and
    texts come in as many shapes as they like.

    Raises `InputError` when the file is no model that this version can run, `EnvironmentLackError` where the provider
    is missing or does not take what it has to.
    """
    session = _session(model, graphs=graphs)
    placement_of_session(session, model)
    return CudaEngine(session, graphs=graphs)


def optimized_from_path(model: Path) -> Optimized:
    """Let ONNX Runtime optimize a model for the GPU, count what came out, and check where its nodes run."""
    import onnx
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="bertc-") as folder:
        path = Path(folder) / "optimized.onnx"
        placement = placement_of_session(_session(model, optimized=path), model)
        nodes = onnx.load(str(path)).graph.node
    found = optimized_from_nodes(nodes, f"onnxruntime-gpu {ort.__version__}", REQUIREMENT)
    return replace(found, fused={**found.fused, "nodes_on_gpu": placement.gpu, "nodes_on_cpu": placement.cpu})


def placement_of_session(session: Any, model: Path) -> Placement:
    """Count the nodes by provider.

    Raises `EnvironmentLackError` when ONNX Runtime left the provider out or gave it not every node that computes with
    floating-point numbers: it does both with no more than a line in a log (onnxruntime#10267).
    """
    if PROVIDER not in session.get_providers():
        raise EnvironmentLackError(
            "ONNX Runtime could not load its CUDA provider: most often CUDA or cuDNN is missing or of another version; "
            'install what fits, for example with pip install "onnxruntime-gpu[cuda,cudnn]"'
        )
    places = [
        (part.ep_name, node) for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()
    ]
    if not places:
        raise EnvironmentLackError(f"ONNX Runtime does not say where its nodes run; install {REQUIREMENT}")
    integers = _integer_nodes(model)
    wrong = [(node.op_type, node.name) for place, node in places if place != PROVIDER and node.name not in integers]
    if wrong:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(kind for kind, _ in wrong).items()))
        raise EnvironmentLackError(
            f"ONNX Runtime's CUDA provider did not take {len(wrong)} of {len(places)} nodes ({kinds}; the first is "
            f"{wrong[0][1] or 'unnamed'}), which would run on the CPU; install another version of {REQUIREMENT}"
        )
    on_gpu = sum(place == PROVIDER for place, _ in places)
    return Placement(gpu=on_gpu, cpu=len(places) - on_gpu)


def _integer_nodes(model: Path) -> frozenset[str]:
    """Return the names of the nodes whose results are all known to be integers: what shapes are made of."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(onnx.load(str(model))).graph
    values = (*inferred.value_info, *inferred.output)
    integers = {value.name for value in values if value.type.tensor_type.elem_type in INTEGERS}
    return frozenset(node.name for node in inferred.node if integers.issuperset(filter(None, node.output)))


def _session(model: Path, *, optimized: Path | None = None, graphs: bool = False) -> Any:
    check_installed()
    import onnxruntime as ort

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot find; the session's failure says so too
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # every batch has another shape
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    provider = (PROVIDER, {"enable_cuda_graph": "1"}) if graphs else PROVIDER
    try:
        return ort.InferenceSession(str(model), options, providers=[provider, HOST])
    except Exception as error:  # ONNX Runtime raises some ten unrelated classes of its own
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{model} cannot be opened by onnxruntime-gpu {ort.__version__}: {reason}") from error


@dataclass(frozen=True, slots=True)
class OrtCudaRuntime(OrtRuntime):
    """ONNX Runtime on an NVIDIA GPU: the same file, another provider."""

    on_gpu: ClassVar[bool] = True
    sparsity: ClassVar[str] = "it multiplies by zeros as by any other number, in FP16"

    @property
    def options(self) -> Mapping[str, Any]:
        """None: those of `OrtRuntime` are about the CPU's integer products, of which no session here has any."""
        return {}

    def check_here(self, attention: str | None) -> None:
        """Refuse where ONNX Runtime's CUDA provider, the driver or a GPU is missing."""
        check_installed()

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Open a session on the GPU; threads do not matter."""
        return open_session(model)

    def optimized_from_path(self, model: Path) -> Optimized:
        """Read ONNX Runtime's optimized model, and which provider has which node."""
        return optimized_from_path(model)
