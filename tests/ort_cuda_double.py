"""A GPU that is only played: ONNX Runtime's CPU session that calls itself the CUDA provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from bertc.runtime.machine.gpu import Driver, Gpu
from bertc.runtime.ort import cuda as library
from bertc.runtime.ort.binding import GRAPH_OPTION

GPU = Driver(cuda="13.0", gpus=(Gpu(name="NVIDIA L4", capability=89, memory_bytes=24 << 30),), lack="")
Session = onnxruntime.InferenceSession


@dataclass
class Played:
    """How the played provider behaves, and what it was asked."""

    refused: frozenset[str] = frozenset()
    loads: bool = True
    records: bool = True
    asked: list[Any] = field(default_factory=list)
    graphs: list[str] = field(default_factory=list)
    """Which CUDA graph each run was to be."""

    def runner(self, session: Any) -> Callable[[Any, Any], None]:
        """Return a function that runs a binding and notes its graph."""

        def run(binding: Any, options: Any) -> None:
            self.graphs.append(options.get_run_config_entry(GRAPH_OPTION))
            session.run_with_iobinding(binding, options)

        return run

    def open(self, model: str, options: Any, providers: list[str]) -> Any:
        """Open the CPU's session and let it call itself the GPU's."""
        self.asked.append((providers, options.get_session_config_entry(library.RECORD_PLACEMENT)))
        session = Session(model, options, providers=[library.HOST])
        found = [node for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()]

        def part(place: str, nodes: list[Any]) -> Any:
            return SimpleNamespace(ep_name=place, get_nodes=lambda: nodes)

        def placed() -> list[Any]:
            on_gpu = [node for node in found if node.op_type not in self.refused]
            on_cpu = [node for node in found if node.op_type in self.refused]
            return [part(library.PROVIDER, on_gpu), part(library.HOST, on_cpu)] if self.records else []

        return SimpleNamespace(
            get_providers=lambda: [library.PROVIDER, library.HOST] if self.loads else [library.HOST],
            get_provider_graph_assignment_info=placed,
            get_inputs=session.get_inputs,
            io_binding=session.io_binding,
            run_with_iobinding=self.runner(session),
        )


Play = Callable[[Played], Played]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Give a function that puts the played provider in the place of ONNX Runtime's."""

    def of(played: Played) -> Played:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [library.PROVIDER, library.HOST])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load something"))
        monkeypatch.setattr(library, "driver_of_machine", lambda: GPU)
        monkeypatch.setattr(library, "DEVICE", "cpu")
        kept = Session

        def opened(model: Any, options: Any = None, providers: Any = None, **more: Any) -> Any:
            if providers and library.PROVIDER in (providers[0], providers[0][0]):
                return played.open(model, options, providers)
            return kept(model, options, providers=providers, **more)

        monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
        return played

    return of
